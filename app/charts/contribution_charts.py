"""DataFrame -> altair chart of what was learned and lost, in nats a predicted token; no Streamlit in here."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from app.charts import axes
from app.words import palette
from store.names import CHOSEN_BY
from store.text import marked

NATS = "nats a predicted token"
PLACES = {"task": "on its own task", "neutral": "on text that none was trained for", "all": "on all text"}
"""Where a gain is of -> what a chart calls it."""
PLACE_LOOKS = {"task": ("circle", "solid"), "neutral": ("diamond", "dashed"), "all": ("square", "dotted")}
"""Where a gain is of -> its mark, filled on its own task and hollow elsewhere, and the style of its line."""
CONTRIBUTION, SIZE, RANDOM, SAME_NORM, LAYER = CHOSEN_BY
ORDERS = {
    CONTRIBUTION: "the largest contributions", SIZE: "the largest changes", RANDOM: "at random",
    SAME_NORM: "as much along the whole change",
}  # fmt: skip
"""By what a curve's features are chosen -> what a chart calls it."""
ORDER_STYLES = {CONTRIBUTION: "solid", SIZE: "dashed", RANDOM: "solid", SAME_NORM: "dotted"}
"""The style of a curve's line, in the colour of its recipe; what is drawn at random is grey."""


def _known(rows: pd.DataFrame) -> list[str]:
    """The places that rows have, in their order."""
    return [name for name in PLACES if name in set(rows["place"])]


def _marked(known: list[str]) -> dict[str, Any]:
    """The channels that tell places apart: shape, and filled or hollow."""
    names = [PLACES[name] for name in known]
    shapes = alt.Scale(domain=names, range=[PLACE_LOOKS[name][0] for name in known])
    filled = alt.Scale(domain=names, range=[0 if name == "neutral" else 1 for name in known])
    return {
        "shape": alt.Shape("called:N", legend=None, scale=shapes),
        "fillOpacity": alt.FillOpacity("called:N", legend=None, scale=filled),
    }


def gain_profile(rows: pd.DataFrame, title: str, colour: str) -> alt.LayerChart:
    """Where in depth one variant's gain is made: a line a place with its interval, the twins' range as a band.

    Args:
        rows: layer, place (of PLACES), control, gain, low, high, features, carrying_half, n_clusters.
        title: of the chart.
        colour: of the variant's recipe.
    """
    known = _known(rows)
    rows = rows.assign(called=rows["place"].map(PLACES))
    dashes = [axes.Look(colour, PLACE_LOOKS[name][1]).dash for name in known]
    dash = alt.StrokeDash("called:N", legend=None, scale=alt.Scale(domain=[PLACES[name] for name in known], range=dashes))
    one = alt.Detail("called:N")
    x = alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0, grid=False))
    y = alt.Y("gain:Q", title=None, axis=alt.Axis(labelExpr=_signed(), **axes.UPRIGHT))
    is_twin = rows["control"] != "observed"
    observed, twins = rows[~is_twin], rows[is_twin]
    layers = [alt.Chart(pd.DataFrame({"gain": [0.0]})).mark_rule(color=axes.GUIDE_COLOUR, strokeDash=[4, 4]).encode(y=y)]
    if len(twins):
        spans = twins.groupby(["layer", "called"], as_index=False)["gain"].agg(low="min", high="max")
        band = alt.Chart(spans).mark_bar(
            size=16, fillOpacity=0.3, strokeWidth=1.5, color=palette.CONTROL_COLOUR, stroke=palette.CONTROL_COLOUR
        )
        tooltip = [alt.Tooltip("called:N", title="random changes"), *_ends("lowest", "highest")]
        ends = {"y": alt.Y("low:Q"), "y2": "high:Q"}
        layers.append(band.encode(x=x, **ends, strokeDash=dash, tooltip=tooltip))
    lines = alt.Chart(observed)
    layers += [
        lines.mark_area(opacity=0.15, color=colour).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", detail=one),
        lines.mark_line(strokeWidth=2, color=colour).encode(x=x, y=y, strokeDash=dash),
        lines.mark_point(size=45, opacity=1, fill=colour, stroke=colour).encode(
            x=x, y=y, **_marked(known),
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


def curve(rows: pd.DataFrame, title: str, colour: str) -> alt.LayerChart:
    """How much of what passes through a layer the first k features make: a line an order, the whole layer as a dashed rule.

    Args:
        rows: chosen_by (of CHOSEN_BY), k, gain.
        title: of the chart.
        colour: of the variant's recipe.
    """
    lines = rows[rows["chosen_by"] != LAYER].assign(called=lambda of: of["chosen_by"].map(ORDERS))
    whole = rows[rows["chosen_by"] == LAYER]
    known = [name for name in ORDERS if name in set(lines["chosen_by"])]
    names, looks = [ORDERS[name] for name in known], [order_look(name, colour) for name in known]
    dash = alt.StrokeDash("called:N", legend=None, scale=alt.Scale(domain=names, range=[look.dash for look in looks]))
    x = alt.X("k:Q", title="features undone", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=5, grid=False))
    y = alt.Y("gain:Q", title=None, axis=alt.Axis(labelExpr=_signed(), **axes.UPRIGHT))
    hue = alt.Color("called:N", legend=None, scale=alt.Scale(domain=names, range=[look.colour for look in looks]))
    tooltip = [
        alt.Tooltip("called:N", title="chosen"), alt.Tooltip("k:Q", title="features", format=","),
        alt.Tooltip("gain:Q", title="so much goes", format="+.3f"),
    ]  # fmt: skip
    base = alt.Chart(lines).encode(x=x, y=y, color=hue, tooltip=tooltip)
    zero = alt.Chart(pd.DataFrame({"gain": [0.0]})).mark_rule(color=axes.GUIDE_COLOUR).encode(y=y)
    rule = alt.Chart(whole).mark_rule(color=palette.QUIET_COLOUR, strokeDash=[5, 4], strokeWidth=2)
    rule = rule.encode(y=y, tooltip=[alt.Tooltip("gain:Q", title="the whole layer", format="+.3f")])
    heading = alt.TitleParams(axes.printed(title), anchor="start", fontSize=13)
    line, points = base.mark_line(strokeWidth=2).encode(strokeDash=dash), base.mark_point(filled=True, size=40, opacity=1)
    return alt.layer(zero, rule, line, points).properties(height=240, title=heading)


def order_look(order: str, colour: str) -> axes.Look:
    """How the curve of an order is drawn beside others of one recipe, whose colour is given; at random in grey."""
    return axes.Look(palette.CONTROL_COLOUR if order == RANDOM else colour, ORDER_STYLES[order])


def by_domain(rows: pd.DataFrame) -> alt.LayerChart:
    """One feature's contribution in each domain, with its interval.

    Args:
        rows: domain (as the page calls it), gain, low, high, kl, n_clusters.
    """
    order = rows["domain"].to_list()
    x = alt.X("gain:Q", title=NATS, axis=axes.across(labelExpr=_signed(), tickCount=5))
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
    x = alt.X("change:Q", title="mean change of probability", axis=axes.across(labelExpr=_signed("+.2~%"), tickCount=4))
    y = alt.Y("token:N", title=None, sort=order, axis=alt.Axis(labelFontSize=12, labelLimit=150, labelOverlap=False))
    colour = alt.condition(alt.datum.change < 0, alt.value(palette.DECREASE_COLOUR), alt.value(palette.INCREASE_COLOUR))
    tooltip = [
        alt.Tooltip("token:N"),
        alt.Tooltip("change:Q", format="+.3%"),
        alt.Tooltip("twin:Q", title="random change", format="+.3%"),
    ]
    bars = alt.Chart(rows).mark_bar(height={"band": 0.7}).encode(x=x, y=y, color=colour, tooltip=tooltip)
    ticks = alt.Chart(rows.dropna(subset="twin")).mark_tick(**axes.CHANCE_TICK, size=12)
    heading = alt.TitleParams(axes.printed(title), anchor="start", fontSize=13)
    return alt.layer(bars, ticks.encode(x="twin:Q", y=y, tooltip=tooltip)).properties(
        height=20 * len(order) + axes.AXIS_HEIGHT + axes.TITLE_HEIGHT, title=heading
    )


def _signed(number: str = "+.3~f") -> str:
    """An axis' label of a change, in d3's format; 0 without a sign."""
    return f"datum.value == 0 ? '0' : format(datum.value, '{number}')"


def readable(token: str) -> str:
    """A token by itself as a person reads it: a space at its beginning as ␣, what cannot be seen as a mark."""
    return axes.printed(f"␣{marked(token[1:])}" if token.startswith(" ") else marked(token))
