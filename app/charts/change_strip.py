"""One feature's change beside what it does elsewhere: in other runs, under random changes of the weights, beside the norm."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from app.charts import axes
from app.words import palette

THIS_RUN = "this run"


def strip(row: Mapping[str, float], others: pd.DataFrame, material: float) -> alt.LayerChart | None:
    """Share lost or gained on one axis from all lost to all new, the material bounds drawn; None where it fires in neither.

    Args:
        row: of feature_stats, domain 'all': change, change_low, change_high, twin_low, twin_high, change_rescaled.
        others: the recipe's other runs: name (as the page calls it), change; those where it never fires have none.
        material: share from which a change is material.
    """
    if pd.isna(row["change"]):
        return None
    marks = [{"what": THIS_RUN, "change": row["change"], "low": row["change_low"], "high": row["change_high"]}]
    runs = others.dropna(subset="change")
    marks += [{"what": axes.printed(name), "change": change} for name, change in zip(runs["name"], runs["change"], strict=True)]
    rescaled = {"what": "the base at the variant's norm", "change": row["change_rescaled"]}
    marks += [rescaled] if pd.notna(row["change_rescaled"]) else []
    twins = {"what": "random changes of that size", "low": row["twin_low"], "high": row["twin_high"]}
    has_twins = pd.notna(row["twin_low"])
    order = [mark["what"] for mark in [*marks[: 1 + len(runs)], *([twins] if has_twins else []), *marks[1 + len(runs) :]]]
    data = pd.DataFrame(marks, columns=["what", "change", "low", "high"]).astype({"low": float, "high": float})
    y = alt.Y("what:N", title=None, sort=order, scale=alt.Scale(domain=order), axis=_ROWS)
    x = alt.X(
        "change:Q",
        title="share lost (below 0) or new (above)",
        scale=alt.Scale(domain=[-1.2, 1.2], nice=False),
        axis=alt.Axis(values=[-1, -material, 0, material, 1], labelExpr=_bounds(material), grid=False, labelOverlap=False),
    )
    ends = [alt.Tooltip(f"{end}:Q", title=title, format="+.1%") for end, title in (("low", "from"), ("high", "to"))]
    span = [alt.Tooltip("what:N"), *ends]
    bounds = pd.DataFrame({"change": [-material, 0.0, material]})
    layers = [alt.Chart(bounds).mark_rule(color=axes.GUIDE_COLOUR, strokeDash=[4, 4]).encode(x=x)]
    if has_twins:
        bar = alt.Chart(pd.DataFrame([twins])).mark_bar(
            color=palette.CONTROL_COLOUR, opacity=0.55, height=12, stroke=palette.CONTROL_COLOUR, strokeWidth=2
        )
        layers.append(bar.encode(x="low:Q", x2="high:Q", y=y, tooltip=span))
    fell, rose = alt.value(palette.DECREASE_COLOUR), alt.value(palette.INCREASE_COLOUR)
    of_run = alt.condition(alt.datum.change < 0, fell, rose)
    interval = alt.Chart(data.dropna(subset=["low", "high"])).mark_rule(strokeWidth=2).encode(color=of_run)
    layers.append(interval.encode(x="low:Q", x2="high:Q", y=y, tooltip=span))
    tooltip = [alt.Tooltip("what:N"), alt.Tooltip("change:Q", format="+.1%")]
    is_control = data["what"] == rescaled["what"]
    for rows, colour in ((data[~is_control], of_run), (data[is_control], alt.value(palette.CONTROL_COLOUR))):
        if len(rows):
            points = alt.Chart(rows).mark_point(filled=True, size=80, opacity=1)
            layers.append(points.encode(x=x, y=y, color=colour, tooltip=tooltip))
    said = "line: 95 % interval over clusters · bar: from the lowest to the highest"
    title = axes.chart_title("Change, and where else it shows", said)
    return alt.layer(*layers).properties(height=26 * len(order) + axes.AXIS_HEIGHT + axes.TITLE_HEIGHT, title=title)


_ROWS = alt.Axis(labelFontSize=12, labelLimit=210, labelOverlap=False, grid=False, ticks=False, domain=False)


def _bounds(material: float) -> str:
    """What the axis writes at its five ticks."""
    share = "format(datum.value, '+.0%')"
    lost, doubled = ("lost half", "doubled") if material == 0.5 else ("material", "material")
    return (
        f"datum.value == -1 ? 'all lost' : datum.value == {-material} ? '{lost}' : datum.value == {material} ? '{doubled}' : "
        f"datum.value == 1 ? 'all new' : datum.value == 0 ? '0' : {share}"
    )
