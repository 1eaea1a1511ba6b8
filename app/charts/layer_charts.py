"""Where the change sits, layer by layer: on which variant and layer, on which tokens, along which directions."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.charts import axes
from app.words import metrics, palette

MOST_WRITTEN = 12
"""Up to so many layers a map's cells have their value written in them; more would overlap."""


def heat_map(rows: pd.DataFrame, metric: str, order: list[str]) -> alt.Chart | alt.LayerChart:
    """Variant x layer, one metric, the value in each cell, on a scale of its own (palette.RAMP). Click selects 'cell'.

    rows: variant, layer, value, gate, n_tokens; order: the variants from top to bottom.
    """
    word = metrics.metric(metric)
    known = rows["value"].dropna()
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    cells = alt.Chart(rows).encode(
        x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("variant:N", title=None, sort=order, axis=alt.Axis(labelFontSize=13, labelLimit=160)),
        tooltip=[
            alt.Tooltip("variant:N"),
            alt.Tooltip("layer:O"),
            alt.Tooltip("value:Q", title=word.label, format=word.format),
            alt.Tooltip("gate:N", title="fit"),
            alt.Tooltip("n_tokens:Q", title="tokens", format=","),
        ],
    )
    click = alt.selection_point(name="cell", fields=["variant", "layer"], on="click")
    colours = alt.Scale(range=palette.RAMP, domain=[low, high])
    squares = cells.mark_rect(cursor="pointer", stroke="rgba(128,128,128,0.35)").encode(
        color=alt.condition("isValid(datum.value)", alt.Color("value:Q", scale=colours, legend=None), alt.value("#00000000"))
    )
    texts = cells.mark_text(fontSize=13, cursor="pointer").encode(
        text=alt.Text("value:Q", format=word.format),
        color=axes.ink("value"),
    )
    height = 34 * max(1, rows["variant"].nunique()) + axes.AXIS_HEIGHT
    chart = squares.add_params(click)
    if rows["layer"].nunique() <= MOST_WRITTEN:
        chart = chart + texts
    return chart.properties(height=height)


def segment_shares(rows: pd.DataFrame, order: list[str]) -> alt.Chart:
    """Which tokens the change sits on: a bar a layer, the segments' shares of sum ||delta||^2; order: the segments.

    rows: layer, segment, share, token_share, n_tokens.
    """
    place = {name: i for i, name in enumerate(order)}
    looks = axes.series_looks(order)
    return (
        alt.Chart(rows.assign(place=rows["segment"].map(place)))
        .mark_bar(stroke="rgba(128,128,128,0.4)")
        .encode(
            x=alt.X(
                "share:Q",
                title="share of the change, Σ‖δ‖²",
                stack="zero",
                axis=alt.Axis(format="%", grid=False, tickCount=10, labelFlushOffset=axes.INSIDE),
            ),
            y=alt.Y("layer:N", title="layer", sort=None),
            order=alt.Order("place:Q"),
            color=alt.Color(
                "segment:N",
                title=None,
                scale=alt.Scale(domain=order, range=[looks[name].colour for name in order]),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=[
                alt.Tooltip("layer:N"),
                alt.Tooltip("segment:N"),
                alt.Tooltip("share:Q", title="of the change", format=".1%"),
                alt.Tooltip("token_share:Q", title="of the tokens", format=".1%"),
                alt.Tooltip("n_tokens:Q", title="tokens", format=","),
            ],
        )
        .properties(height=34 * max(1, rows["layer"].nunique()) + axes.AXIS_HEIGHT + axes.LEGEND_HEIGHT)
    )


def spectrum(rows: pd.DataFrame) -> alt.Chart:
    """Shares of sum ||delta||^2 along the mean of the change and its principal directions. rows: name, share, component."""
    return (
        alt.Chart(rows[["name", "share", "component"]])
        .mark_bar(color=palette.NEUTRAL_COLOUR)
        .encode(
            x=alt.X("name:N", title=None, sort=alt.SortField("component"), axis=alt.Axis(labelAngle=0)),
            y=alt.Y("share:Q", title="share of the change, Σ‖δ‖²", axis=alt.Axis(format="%", tickCount=5)),
            tooltip=[alt.Tooltip("name:N", title="direction"), alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(height=250)
    )
