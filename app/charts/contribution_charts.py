"""DataFrame -> altair chart of what was learned and lost, in nats a predicted token; no Streamlit in here."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.charts import axes
from app.words import palette
from store.names import CHOSEN_BY
from store.text import marked

NATS = "nats a predicted token"
PLACES = {"task": "on its own task", "neutral": "on text that none was trained for", "all": "on all text"}
"""Where a gain is of -> what a chart calls it."""
PLACE_COLOURS = {
    "task": palette.INCREASE_COLOUR, "neutral": palette.DECREASE_COLOUR, "all": palette.BASE_COLOUR,
}  # fmt: skip
CONTRIBUTION, SIZE, RANDOM, SAME_NORM, LAYER = CHOSEN_BY
ORDERS = {
    CONTRIBUTION: "the largest contributions", SIZE: "the largest changes", RANDOM: "at random",
    SAME_NORM: "as much along the whole change",
}  # fmt: skip
"""By what a curve's features are chosen -> what a chart calls it."""
ORDER_COLOURS = {
    CONTRIBUTION: palette.INCREASE_COLOUR, SIZE: palette.BASE_COLOUR, RANDOM: palette.CONTROL_COLOUR, SAME_NORM: "#b8860b",
}  # fmt: skip
_SHAPES = {"task": "circle", "neutral": "square", "all": "diamond"}
ROW = 44
"""Pixels of a variant."""


def learned(rows: pd.DataFrame, order: list[str]) -> alt.LayerChart:
    """What each variant learned on its task and what it cost elsewhere, a row a variant; a grey tick for each twin.

    Args:
        rows: variant, place (of PLACES), control, gain, low, high.
        order: the variants.
    """
    axis = alt.Axis(tickCount=6, format="+.2~f", labelFlush=True)
    x = alt.X("gain:Q", title=f"change of the text's log-likelihood, {NATS}", axis=axis)
    y = alt.Y("variant:N", title=None, sort=order, axis=alt.Axis(labelFontSize=13, labelLimit=180, labelOverlap=False))
    known = [name for name in PLACES if name in set(rows["place"])]
    offset = alt.YOffset("place:N", scale=alt.Scale(domain=known))
    colour = alt.Color(
        "called:N", title=None, legend=alt.Legend(orient="top", labelLimit=260, symbolType="circle"),
        scale=alt.Scale(domain=[PLACES[name] for name in known], range=[PLACE_COLOURS[name] for name in known]),
    )  # fmt: skip
    rows = rows.assign(called=rows["place"].map(PLACES))
    is_twin = rows["control"] != "observed"
    zero = alt.Chart(pd.DataFrame({"gain": [0.0]})).mark_rule(color=axes.GUIDE_COLOUR, strokeDash=[4, 4]).encode(x="gain:Q")
    tooltip = [alt.Tooltip("variant:N"), alt.Tooltip("called:N", title="text")]
    number = [alt.Tooltip("gain:Q", title="gain", format="+.3f")]
    ends = [alt.Tooltip("low:Q", title="95 % from", format="+.3f"), alt.Tooltip("high:Q", title="to", format="+.3f")]
    twins = alt.Chart(rows[is_twin]).mark_tick(color=palette.CONTROL_COLOUR, thickness=3, size=ROW / 3)
    observed = alt.Chart(rows[~is_twin])
    place = {"y": y, "yOffset": offset}
    return (
        alt.layer(
            zero,
            twins.encode(x=x, **place, tooltip=[alt.Tooltip("control:N", title="random change"), *tooltip, *number]),
            observed.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", **place, color=colour),
            observed.mark_point(filled=True, size=80, opacity=1).encode(
                x=x, **place, color=colour, tooltip=[*tooltip, *number, *ends]
            ),
        )
        .resolve_scale(color="shared")
        .properties(height=ROW * len(order) + axes.AXIS_HEIGHT + axes.LEGEND_HEIGHT)
    )


def gain_profile(rows: pd.DataFrame, title: str) -> alt.LayerChart:
    """Where in depth one variant's gain is made: a line a place with its interval, the twins' range as a band.

    Args:
        rows: layer, place (of PLACES), control, gain, low, high, features, carrying_half, n_clusters.
        title: of the chart.
    """
    known = [name for name in PLACES if name in set(rows["place"])]
    rows = rows.assign(called=rows["place"].map(PLACES))
    scale = alt.Scale(domain=[PLACES[name] for name in known], range=[PLACE_COLOURS[name] for name in known])
    colour = alt.Color("called:N", legend=None, scale=scale)
    shape = alt.Shape("place:N", legend=None, scale=alt.Scale(domain=known, range=[_SHAPES[name] for name in known]))
    x = alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0, grid=False))
    y = alt.Y("gain:Q", title=None, axis=alt.Axis(format="+.2~f", tickCount=4))
    is_twin = rows["control"] != "observed"
    observed, twins = rows[~is_twin], rows[is_twin]
    layers = [alt.Chart(pd.DataFrame({"gain": [0.0]})).mark_rule(color=axes.GUIDE_COLOUR, strokeDash=[4, 4]).encode(y=y)]
    if len(twins):
        spans = twins.groupby(["layer", "called"], as_index=False)["gain"].agg(low="min", high="max")
        band = alt.Chart(spans).mark_bar(size=16, opacity=0.35, strokeWidth=1.5)
        edge = alt.Stroke("called:N", legend=None, scale=scale)
        tooltip = [alt.Tooltip("called:N", title="random changes"), *_ends("lowest", "highest")]
        ends = {"y": alt.Y("low:Q"), "y2": "high:Q"}
        layers.append(band.encode(x=x, **ends, color=alt.value(palette.CONTROL_COLOUR), stroke=edge, tooltip=tooltip))
    lines = alt.Chart(observed)
    layers += [
        lines.mark_area(opacity=0.15).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour),
        lines.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
        lines.mark_point(filled=True, size=45, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape,
            tooltip=[
                alt.Tooltip("called:N", title="text"), alt.Tooltip("layer:O"),
                alt.Tooltip("gain:Q", title="through the layer", format="+.3f"), *_ends("95 % from", "to"),
                alt.Tooltip("features:Q", title="through its features", format="+.3f"),
                alt.Tooltip("carrying_half:Q", title="features that make half", format=","),
                alt.Tooltip("n_clusters:Q", title="clusters", format=","),
            ],
        ),
    ]  # fmt: skip
    return alt.layer(*layers).properties(height=240, title=alt.TitleParams(axes.printed(title), anchor="start", fontSize=13))


def _ends(low: str, high: str) -> list[alt.Tooltip]:
    return [alt.Tooltip("low:Q", title=low, format="+.3f"), alt.Tooltip("high:Q", title=high, format="+.3f")]


def curve(rows: pd.DataFrame, title: str) -> alt.LayerChart:
    """How much of what passes through a layer the first k features make: a line an order, the whole layer as a dashed rule.

    Args:
        rows: chosen_by (of CHOSEN_BY), k, gain.
        title: of the chart.
    """
    lines = rows[rows["chosen_by"] != LAYER].assign(called=lambda of: of["chosen_by"].map(ORDERS))
    whole = rows[rows["chosen_by"] == LAYER]
    known = [name for name in ORDERS if name in set(lines["chosen_by"])]
    scale = alt.Scale(domain=[ORDERS[name] for name in known], range=[ORDER_COLOURS[name] for name in known])
    x = alt.X("k:Q", title="features undone", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=5, grid=False))
    y = alt.Y("gain:Q", title=None, axis=alt.Axis(format="+.2~f", tickCount=4))
    colour = alt.Color("called:N", legend=None, scale=scale)
    tooltip = [
        alt.Tooltip("called:N", title="chosen"), alt.Tooltip("k:Q", title="features", format=","),
        alt.Tooltip("gain:Q", title="so much goes", format="+.3f"),
    ]  # fmt: skip
    base = alt.Chart(lines).encode(x=x, y=y, color=colour, tooltip=tooltip)
    zero = alt.Chart(pd.DataFrame({"gain": [0.0]})).mark_rule(color=axes.GUIDE_COLOUR).encode(y=y)
    rule = alt.Chart(whole).mark_rule(color=palette.QUIET_COLOUR, strokeDash=[5, 4], strokeWidth=2)
    rule = rule.encode(y=y, tooltip=[alt.Tooltip("gain:Q", title="the whole layer", format="+.3f")])
    heading = alt.TitleParams(axes.printed(title), anchor="start", fontSize=13)
    return alt.layer(zero, rule, base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=40, opacity=1)).properties(
        height=240, title=heading
    )


def by_domain(rows: pd.DataFrame) -> alt.LayerChart:
    """One feature's contribution in each domain, with its interval.

    Args:
        rows: domain (as the page calls it), gain, low, high, kl, n_clusters.
    """
    order = rows["domain"].to_list()
    x = alt.X("gain:Q", title=NATS, axis=axes.across(format="+.3~f", tickCount=5))
    y = alt.Y("domain:N", title=None, sort=order, axis=alt.Axis(labelFontSize=12, labelLimit=210, labelOverlap=False))
    zero = alt.Chart(pd.DataFrame({"gain": [0.0]})).mark_rule(color=axes.GUIDE_COLOUR, strokeDash=[4, 4]).encode(x="gain:Q")
    base = alt.Chart(rows)
    tooltip = [
        alt.Tooltip("domain:N"), alt.Tooltip("gain:Q", format="+.4f"), *_ends("95 % from", "to"),
        alt.Tooltip("kl:Q", title="to KL", format="+.4f"), alt.Tooltip("n_clusters:Q", title="clusters", format=","),
    ]  # fmt: skip
    colour = alt.condition(alt.datum.gain < 0, alt.value(palette.DECREASE_COLOUR), alt.value(palette.INCREASE_COLOUR))
    title = axes.chart_title("What its change adds to the log-likelihood of the text", "line: 95 % interval over clusters")
    return alt.layer(
        zero,
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour),
        base.mark_point(filled=True, size=70, opacity=1).encode(x=x, y=y, color=colour, tooltip=tooltip),
    ).properties(height=22 * len(order) + axes.AXIS_HEIGHT + axes.TITLE_HEIGHT, title=title)


def word_bars(rows: pd.DataFrame, title: str) -> alt.LayerChart:
    """Tokens that rose or fell, a bar each; beside it a grey tick where the twins moved the same token.

    Args:
        rows: token, change, twin (null where none kept it); in the order to draw.
    """
    rows = rows.assign(token=[readable(token) for token in rows["token"]]).drop_duplicates("token")
    order = rows["token"].to_list()
    x = alt.X("change:Q", title="mean change of probability", axis=axes.across(format="+.2~%", tickCount=4))
    y = alt.Y("token:N", title=None, sort=order, axis=alt.Axis(labelFontSize=12, labelLimit=150, labelOverlap=False))
    colour = alt.condition(alt.datum.change < 0, alt.value(palette.DECREASE_COLOUR), alt.value(palette.INCREASE_COLOUR))
    tooltip = [
        alt.Tooltip("token:N"),
        alt.Tooltip("change:Q", format="+.3%"),
        alt.Tooltip("twin:Q", title="random change", format="+.3%"),
    ]
    bars = alt.Chart(rows).mark_bar(height={"band": 0.7}).encode(x=x, y=y, color=colour, tooltip=tooltip)
    ticks = alt.Chart(rows.dropna(subset="twin")).mark_tick(color=palette.CONTROL_COLOUR, thickness=3, size=12)
    heading = alt.TitleParams(axes.printed(title), anchor="start", fontSize=13)
    return alt.layer(bars, ticks.encode(x="twin:Q", y=y, tooltip=tooltip)).properties(
        height=20 * len(order) + axes.AXIS_HEIGHT + axes.TITLE_HEIGHT, title=heading
    )


def readable(token: str) -> str:
    """A token by itself as a person reads it: a space at its beginning as ␣, what cannot be seen as a mark."""
    return axes.printed(f"␣{marked(token[1:])}" if token.startswith(" ") else marked(token))
