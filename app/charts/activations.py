"""The activations of one feature in base and variant: how strong, where, and token by token."""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from app import words
from app.charts import axes
from app.words import palette
from store.names import BASE

BASE_AND_VARIANT = (BASE, "variant")


def histogram(rows: pd.DataFrame, variant: str, height: int = 300) -> alt.LayerChart:
    """Activations of one feature in base and variant on the same half-octave bins: filled base, outlined variant.

    rows: model ('base' or the variant), bin, low, high, count.
    """
    data = rows[rows["model"].isin([BASE, variant])].assign(
        model=lambda d: d["model"].where(d["model"] == BASE, "variant"), zero=0
    )
    low, high = float(data["low"].min()), float(data["high"].max())
    x_scale = alt.Scale(type="log", base=2, domain=[low, high], nice=False)
    ticks = [low * 4**i for i in range(int(math.log(high / low, 4)) + 1)]
    base = alt.Chart(data).encode(
        x=alt.X(
            "low:Q",
            title="scaled activation (log scale)",
            scale=x_scale,
            axis=axes.across(values=ticks, labelExpr=axes.BRIEFLY, grid=False),
        ),
        x2="high:Q",
        y=alt.Y("count:Q", title="tokens", axis=alt.Axis(tickMinStep=1, tickCount=5, format=",d")),
        y2="zero:Q",
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("low:Q", title="from", format=",.3~r"),
            alt.Tooltip("high:Q", title="to", format=",.3~r"),
            alt.Tooltip("count:Q", title="tokens", format=","),
        ],
        color=_model_colour(variant),
    )
    filled = base.transform_filter(f"datum.model == '{BASE}'").mark_rect(opacity=0.45)
    outlined = (
        base.transform_filter("datum.model == 'variant'")
        .mark_rect(fillOpacity=0.12, strokeWidth=2)
        .encode(stroke=alt.value(palette.VARIANT_COLOUR))
    )
    title = axes.chart_title("Activations where it fires", "half-octave bins")
    return (filled + outlined).properties(height=height, title=title)


def density(rows: pd.DataFrame, variant: str) -> alt.LayerChart:
    """How often which activation in the base comes with which in the variant, half-octave bins on the same two axes.

    rows: of store.read.firings.density; a feature that is silent in one of the two stands in a lane at the edge.
    """
    firing = rows[["base_low", "variant_low"]].replace(0.0, float("nan"))
    low = float(firing.min().min())
    high = float(rows[["base_high", "variant_high"]].max().max())
    data, lane = rows.copy(), low / 2
    for name in BASE_AND_VARIANT:
        silent = data[f"{name}_low"] == 0
        data[f"{name}_from"] = data[f"{name}_low"].mask(silent, lane)
        data[f"{name}_to"] = data[f"{name}_high"].mask(silent, lane * math.sqrt(2))
        data[f"{name}_said"] = [
            "silent" if s else f"{words.number(a)} to {words.number(b)}"
            for s, a, b in zip(silent, data[f"{name}_low"], data[f"{name}_high"], strict=True)
        ]
    every = 4 ** max(1, math.ceil(math.log(high / low, 4) / 6))
    ticks = [lane * 2**0.25] + [low * every**i for i in range(int(math.log(high / low, every)) + 1)]
    marked = {"values": ticks, "labelExpr": f"datum.value < {low * 0.99} ? 'silent' : {axes.BRIEFLY}", "grid": False}
    scale = alt.Scale(type="log", domain=[lane, high], nice=False)
    cells = (
        alt.Chart(data)
        .mark_rect(stroke="rgba(128,128,128,0.4)", strokeWidth=0.5)
        .encode(
            x=alt.X("base_from:Q", title="activation in base (log scale)", scale=scale, axis=axes.across(**marked)),
            x2="base_to:Q",
            y=alt.Y("variant_from:Q", title=f"in {axes.printed(variant)} (log scale)", scale=scale, axis=alt.Axis(**marked)),
            y2="variant_to:Q",
            color=alt.Color(
                "count:Q",
                scale=alt.Scale(type="log", range=palette.RAMP, domain=[1, max(2, int(data["count"].max()))]),
                legend=alt.Legend(title="tokens", orient="top", format=",d", gradientLength=150, tickCount=4),
            ),
            tooltip=[
                alt.Tooltip("base_said:N", title="base"),
                alt.Tooltip("variant_said:N", title=axes.line_name(variant)),
                alt.Tooltip("count:Q", title="tokens", format=","),
            ],
        )
    )
    ends = pd.DataFrame({"x": [low, high], "y": [low, high], "edge": lane * math.sqrt(2) * 2**0.25})
    diagonal = alt.Chart(ends).mark_line(color=axes.GUIDE_COLOUR, strokeDash=[4, 4], strokeWidth=1).encode(x="x:Q", y="y:Q")
    edge = alt.Chart(ends.head(1)).mark_rule(color=axes.GUIDE_COLOUR)
    title = axes.chart_title(
        "Base against variant, token by token", "dashed: as strong in both · lanes at the edge: silent there"
    )
    chart = cells + diagonal + edge.encode(x="edge:Q") + edge.encode(y="edge:Q")
    return chart.properties(height=340 + axes.LEGEND_HEIGHT, title=title)


def by_group(rows: pd.DataFrame, variant: str, title: str, axis: str, line: bool) -> alt.LayerChart:
    """Mean activation in base and variant, group by group: lines over groups that have an order, else a bar between two marks.

    rows: of store.read.firings.by_domain or by_place (group, model, mean, share, n_tokens), in the order to show them.
    """
    order = list(dict.fromkeys(rows["group"]))
    mean = (alt.Axis if line else axes.across)(labelExpr=axes.BRIEFLY, tickCount=4)
    along = alt.Axis(labelLimit=130, grid=False, labelOverlap=line, **({"labelAngle": 0} if line else {}))
    group = alt.X if line else alt.Y
    value = alt.Y if line else alt.X
    places = {
        "x" if line else "y": group("group:N", title=axis, sort=order, axis=along),
        "y" if line else "x": value("mean:Q", title="mean activation", axis=mean, scale=alt.Scale(zero=True)),
    }
    base = alt.Chart(rows).encode(**places)
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        color=_model_colour(variant),
        shape=alt.Shape(
            "model:N", title=None, scale=alt.Scale(domain=list(BASE_AND_VARIANT), range=["circle", "diamond"]),
            legend=alt.Legend(orient="top"),
        ),
        tooltip=[
            alt.Tooltip("group:N", title=axis),
            alt.Tooltip("model:N"),
            alt.Tooltip("mean:Q", title="mean activation", format=",.3~r"),
            alt.Tooltip("share:Q", title="fires on", format=".2%"),
            alt.Tooltip("n_tokens:Q", title="tokens", format=","),
        ],
    )  # fmt: skip
    between = base.mark_line(strokeWidth=2).encode(color=_model_colour(variant))
    if not line:
        between = base.mark_line(strokeWidth=3, color=axes.GUIDE_COLOUR).encode(detail="group:N")
    height = 280 if line else 22 * max(2, len(order)) + axes.AXIS_HEIGHT + axes.LEGEND_HEIGHT + axes.TITLE_HEIGHT
    title = axes.chart_title(title, "over all tokens of the documents on the left")
    return (between + points).properties(height=height, title=title)


def _model_colour(variant: str) -> alt.Color:
    return alt.Color(
        "model:N",
        title=None,
        scale=alt.Scale(domain=list(BASE_AND_VARIANT), range=[palette.BASE_COLOUR, palette.VARIANT_COLOUR]),
        legend=alt.Legend(orient="top"),
    )
