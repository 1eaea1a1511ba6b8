"""Numbers over the steps of a training: layers, one feature, what was learned; no Streamlit in here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import altair as alt
import pandas as pd

from app.charts import axes
from app.words import metrics, palette
from app.words.step_words import ONSET, STEP
from store.names import CLAIMED, OBSERVED, TWIN

UNEVEN = 8
"""From so many times the smallest gap between two steps on the largest would crowd the others: the axis is then logarithmic."""
PANEL_HEIGHT = 260
ROOM = 18
"""Pixels beyond the first and the last step, in which their labels stand whole."""
IS_CLAIMED = " || ".join(f"datum.verdict == '{verdict}'" for verdict in CLAIMED)


def step_axis(steps: Sequence[int]) -> alt.X:
    """Steps as far apart as they are, or by their logarithms (a schedule that doubles); a tick a step, as labels have room."""
    gaps = [after - before for before, after in pairwise(steps)]
    scale = {"type": "symlog", "constant": max(1, min(gaps))} if gaps and max(gaps) >= UNEVEN * min(gaps) else {}
    axis = alt.Axis(values=list(steps), format=",d", labelFlush=False, labelOverlap="greedy", labelSeparation=6, grid=False)
    scale = alt.Scale(domain=[steps[0], steps[-1]], nice=False, padding=ROOM, **scale)
    return alt.X("step:Q", title=STEP, scale=scale, axis=axis)


def layer_panel(
    rows: pd.DataFrame, layer: int, colour: str, measured: Sequence[str], ends: tuple[float, float]
) -> alt.LayerChart:
    """Some metrics of one layer over steps, each with its interval over the band of its twins. Click selects 'point'.

    Args:
        rows: of the layer and these metrics, observed and twins: step, variant, metric, control, value, low, high, n_tokens,
            n_clusters; series, of which each has a line of its own; is_repeat, whether it is of another run of the training.
        colour: of the training.
        measured: the metrics, the first solid, the second dashed.
        ends: of the upright axis, the same in every panel.
    """
    rows = rows.dropna(subset="value")
    rows = rows.assign(called=rows["metric"].map(lambda name: metrics.metric(name).label))
    observed = rows[rows["control"] == OBSERVED]
    form = metrics.metric(measured[0]).format
    x = step_axis(sorted(set(observed["step"])))
    scale = alt.Scale(domain=list(ends), nice=True, zero=False)
    y = {"title": None, "scale": scale, "axis": alt.Axis(format=form, **axes.UPRIGHT)}
    dash = alt.StrokeDash(
        "metric:N", legend=None, scale=alt.Scale(domain=list(measured), range=[[1, 0], axes.DASHES["dashed"]][: len(measured)])
    )  # fmt: skip
    lines = alt.Chart(observed).encode(x=x, y=alt.Y("value:Q", **y), detail=["metric:N", "series:N"])
    lines = lines.encode(color=alt.value(colour))
    tooltip = [
        alt.Tooltip("variant:N"), alt.Tooltip("step:Q", title=STEP, format=",d"), alt.Tooltip("called:N", title="what"),
        alt.Tooltip("value:Q", format=form), alt.Tooltip("low:Q", title="95 % from", format=form),
        alt.Tooltip("high:Q", title="to", format=form), alt.Tooltip("n_clusters:Q", title="clusters", format=","),
    ]  # fmt: skip
    points = lines.mark_point(filled=True, opacity=1, cursor="pointer").encode(
        size=alt.condition("datum.is_repeat", alt.value(20), alt.value(50)), tooltip=tooltip
    )
    marks = [
        *_band(rows[rows["control"].str.startswith(TWIN) & ~rows["is_repeat"]], x, y, form),
        lines.transform_filter("datum.is_repeat").mark_line(strokeWidth=1, opacity=0.8).encode(strokeDash=dash),
        lines.transform_filter("!datum.is_repeat && isValid(datum.low)").mark_rule(strokeWidth=1.5).encode(
            y=alt.Y("low:Q", **y), y2="high:Q"
        ),
        lines.transform_filter("!datum.is_repeat").mark_line(strokeWidth=3).encode(strokeDash=dash),
        points.add_params(alt.selection_point(name="point", fields=["variant"], on="click")),
    ]
    title = alt.TitleParams(f"layer {layer}", anchor="start", fontSize=14)
    return alt.layer(*marks).properties(height=PANEL_HEIGHT, title=title)


def feature_change(rows: pd.DataFrame, onset: int | None, material: float) -> alt.LayerChart:
    """One feature's change at each step with its interval, over what its twins do; the onset marked.

    Args:
        rows: of Store.feature_over_steps: step, variant, change, change_low, change_high, twin_low, twin_high, verdict.
        onset: None where it has none.
        material: share from which a change is material.
    """
    rows = rows.dropna(subset="change")
    x = step_axis(sorted(set(rows["step"])))
    y = {
        "title": "share lost (−) or new (+)",
        "scale": alt.Scale(domain=[-1.05, 1.05], nice=False),
        "axis": alt.Axis(values=[-1, -material, 0, material, 1], labelExpr=axes.SIGNED_SHARE, grid=False, labelOverlap=False),
    }
    bounds = alt.Chart(pd.DataFrame({"change": [-material, 0.0, material]}))
    marks: list[Any] = [bounds.mark_rule(color=axes.GUIDE_COLOUR, strokeDash=[4, 4]).encode(y=alt.Y("change:Q", **y))]
    twins = rows.dropna(subset=["twin_low", "twin_high"]).rename(columns={"twin_low": "low", "twin_high": "high"})
    marks += _band(twins.assign(metric="change", called="random changes of that size"), x, y, "+.1%", is_span=True)
    if onset is not None:
        mark = alt.Chart(pd.DataFrame({"step": [onset], "text": [f"{ONSET.lower()} {onset:,}"]}))
        marks.append(mark.mark_rule(color=palette.QUIET_COLOUR, strokeWidth=1.5).encode(x=x))
        is_late = onset > (rows["step"].min() + rows["step"].max()) / 2
        look = {"align": "right" if is_late else "left", "dx": -5 if is_late else 5, "fontSize": 12, "fontWeight": "bold"}
        marks.append(mark.mark_text(y=10, color=palette.QUIET_COLOUR, **look).encode(x=x, text="text:N"))
    colours = alt.Scale(domain=list(CLAIMED), range=[palette.DECREASE_COLOUR, palette.INCREASE_COLOUR])
    colour = alt.condition(IS_CLAIMED, alt.Color("verdict:N", scale=colours, legend=None), alt.value(palette.QUIET_COLOUR))
    line = alt.Chart(rows).encode(x=x, y=alt.Y("change:Q", **y))
    tooltip = [
        alt.Tooltip("variant:N"), alt.Tooltip("step:Q", title=STEP, format=",d"), alt.Tooltip("change:Q", format="+.1%"),
        alt.Tooltip("change_low:Q", title="95 % from", format="+.1%"), alt.Tooltip("change_high:Q", title="to", format="+.1%"),
        alt.Tooltip("verdict:N"),
    ]  # fmt: skip
    marks += [
        line.mark_line(color=palette.QUIET_COLOUR, strokeWidth=2),
        line.transform_filter("isValid(datum.change_low)").mark_rule(strokeWidth=2).encode(
            y=alt.Y("change_low:Q", **y), y2="change_high:Q", color=colour
        ),
        line.mark_point(filled=True, opacity=1, size=60).encode(
            color=colour, tooltip=tooltip, shape=alt.condition(IS_CLAIMED, alt.value("diamond"), alt.value("circle"))
        ),
    ]  # fmt: skip
    said = "coloured: claimed · line: 95 % interval · grey band: random changes of that size"
    height = 130 + axes.AXIS_HEIGHT + axes.TITLE_HEIGHT
    return alt.layer(*marks).properties(height=height, title=axes.chart_title("Change over steps", said))


def feature_level(rows: pd.DataFrame) -> alt.LayerChart:
    """How strong a feature is on average at each step, and in the base. rows: step, variant, mean_base, mean_variant."""
    rows = rows.dropna(subset="mean_variant")
    x = step_axis(sorted(set(rows["step"])))
    y = alt.Y("mean:Q", title="activation", scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(**axes.UPRIGHT))
    base = alt.Chart(pd.DataFrame({"mean": [float(rows["mean_base"].iloc[0])], "what": ["base"]}))
    line = alt.Chart(rows.rename(columns={"mean_variant": "mean"})).encode(x=x, y=y)
    tooltip = [
        alt.Tooltip("variant:N"), alt.Tooltip("step:Q", title=STEP, format=",d"),
        alt.Tooltip("mean:Q", title="mean activation", format=".3~r"), alt.Tooltip("mean_base:Q", title="base", format=".3~r"),
    ]  # fmt: skip
    marks = [
        base.mark_rule(color=palette.BASE_COLOUR, strokeWidth=2, strokeDash=[5, 4]).encode(y=y, tooltip=["what:N", "mean:Q"]),
        line.mark_line(color=palette.VARIANT_COLOUR, strokeWidth=2),
        line.mark_point(color=palette.VARIANT_COLOUR, filled=True, opacity=1, size=50).encode(tooltip=tooltip),
    ]
    said = "orange: at each step · blue, dashed: the base"
    height = 90 + axes.AXIS_HEIGHT + axes.TITLE_HEIGHT
    return alt.layer(*marks).properties(height=height, title=axes.chart_title("Mean activation over steps", said))


def learned(rows: pd.DataFrame, title: str, colour: str) -> alt.LayerChart:
    """What was learned in one place at each step, nats a token, over the band of the twins.

    rows: observed and twins: step, variant, control, gain, low, high, n_clusters.
    """
    rows = rows.dropna(subset="gain").rename(columns={"gain": "value"})
    observed = rows[rows["control"] == OBSERVED]
    x = step_axis(sorted(set(observed["step"])))
    y = {"title": "nats a token", "scale": alt.Scale(zero=True, nice=True), "axis": alt.Axis(**axes.UPRIGHT)}
    twins = rows[rows["control"] != OBSERVED].assign(metric="gain", called="random changes of that size")
    line = alt.Chart(observed).encode(x=x, y=alt.Y("value:Q", **y), color=alt.value(colour))
    tooltip = [
        alt.Tooltip("variant:N"), alt.Tooltip("step:Q", title=STEP, format=",d"),
        alt.Tooltip("value:Q", title="nats a token", format="+.3~r"), alt.Tooltip("low:Q", title="95 % from", format="+.3~r"),
        alt.Tooltip("high:Q", title="to", format="+.3~r"), alt.Tooltip("n_clusters:Q", title="clusters", format=","),
    ]  # fmt: skip
    marks = [
        *_band(twins, x, y, "+.3~r"),
        alt.Chart(pd.DataFrame({"value": [0.0]})).mark_rule(color=axes.GUIDE_COLOUR).encode(y=alt.Y("value:Q", **y)),
        line.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q", **y), y2="high:Q"),
        line.mark_line(strokeWidth=3),
        line.mark_point(filled=True, opacity=1, size=50).encode(tooltip=tooltip),
    ]
    return alt.layer(*marks).properties(height=PANEL_HEIGHT, title=alt.TitleParams(title, anchor="start", fontSize=14))


def _band(rows: pd.DataFrame, x: alt.X, y: dict[str, Any], form: str, is_span: bool = False) -> list[alt.Chart]:
    """What random changes of the weights do at each step, from the lowest to the highest; nothing where none were made.

    rows: step, metric, called, and value of each twin, or (is_span) low and high of all.
    """
    if rows.empty:
        return []
    spans = rows[["step", "metric", "called", "low", "high"]]
    if not is_span:
        values = rows.groupby(["metric", "called", "step"])["value"]
        spans = pd.DataFrame({"low": values.min(), "high": values.max()}).reset_index()
    tooltip = [
        alt.Tooltip("called:N", title="random changes, of"), alt.Tooltip("step:Q", title=STEP, format=",d"),
        alt.Tooltip("low:Q", title="from", format=form), alt.Tooltip("high:Q", title="to", format=form),
    ]  # fmt: skip
    area = alt.Chart(spans).mark_area(
        color=palette.CONTROL_COLOUR, stroke=palette.CONTROL_COLOUR, strokeWidth=1, opacity=0.35
    )
    return [area.encode(x=x, y=alt.Y("low:Q", **y), y2="high:Q", detail="metric:N", tooltip=tooltip)]
