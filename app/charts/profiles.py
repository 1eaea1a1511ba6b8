"""Profiles: one layer metric over depth as Vega-Lite, beside its controls and twins; no Streamlit in here.

A page shows some twenty of them, and altair takes 30 ms for one. What a profile looks like depends on little of its data, so
that a look can be drawn once, kept, and given the data of the moment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from app.charts import axes
from app.words import meanings, metrics, palette
from store.names import OBSERVED, TWIN

MOST_BESIDE = 6
"""Up to so many series each have their control's line; for more a control is one band, from its lowest to its highest."""

EDGE = [6, 3, 1, 3]
"""Of a band of twins."""

TICK_STEPS = {",.0f": 1, ".1f": 0.1, ".3f": 0.001}
"""Number format -> the smallest step that it can show."""

BAND = "band"
"""The dataset of bands over all lines."""

TWINS = meanings.TWINS
"""The dataset of the bands of single lines, from the lowest of a variant's twins to the highest."""

NO_LINES = (OBSERVED, BAND, TWINS)
"""Datasets that are no line of a control."""


def relative(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of one metric, observed, controls and twins, with every number as a share of the largest size that was observed.

    Of a metric where a lower value is a larger change (cosine, overlap) 1 - value is taken, so that higher is more change.
    """
    down = metrics.metric(metric).sign < 0
    names = ["value", "low", "high"]
    numbers = rows[names].astype(float)
    if down:
        numbers = (1 - numbers).rename(columns={"low": "high", "high": "low"})[names]
    largest = numbers["value"].abs()[rows["control"] == OBSERVED].max()
    return rows.assign(**(numbers / largest if largest > 0 else numbers * float("nan")))


def constant(rows: pd.DataFrame) -> float | None:
    """The one value that a metric has in all its rows, observed, controls and twins: nothing to draw; None where it varies."""
    known = rows["value"].dropna()
    is_one = len(known) > 0 and known.max() - known.min() <= 1e-9 * max(1.0, abs(known.max()))
    return float(known.iloc[0]) if is_one else None


def profile(
    rows: pd.DataFrame,
    metric: str,
    series: str,
    order: list[str],
    controls: pd.DataFrame | None = None,
    focus: str | None = None,
    is_relative: bool = False,
    looks: Mapping[str, axes.Look] | None = None,
    drawn: Callable[..., dict[str, Any]] = lambda draw, look: draw(look).to_dict(),
) -> dict[str, Any]:
    """One metric over depth, one line a series (variant, domain or segment), with its interval where there is one.

    rows: layer, series column, value, low, high, n_tokens, n_clusters. controls: the same with control, what stands in the
    variant's place, drawn beside: in grey, or in the series' colour where there are several, or as a band where there are
    many; twins are a band anyway, from the lowest of them to the highest. focus: the series that stands out, the others
    pale; None for all alike. is_relative: the values are those of :func:`relative`. looks: of every series; neutral ones else.
    drawn: what makes Vega-Lite of a function and what it draws, a copy where it keeps it. Click on a point selects 'point'.
    Returns a Vega-Lite specification, data included.
    """
    word = metrics.relative_metric(metric) if is_relative else metrics.metric(metric)
    columns = ["layer", series, "value", "low", "high", "n_tokens", "n_clusters"]
    data = {OBSERVED: rows[columns]}
    beside = pd.DataFrame() if controls is None else controls[[*columns, "control"]].dropna(subset="value")
    known = pd.concat([rows["value"], beside["value"]] if len(beside) else [rows["value"]]).dropna()
    data |= _beside(beside, series, many=len(order) > MOST_BESIDE) if len(beside) else {}
    look = _Look(
        metric=metric,
        is_relative=is_relative,
        series=series,
        order=tuple(order),
        from_zero=is_relative or (word.is_never_negative and axes.reaches_zero(known)),
        has_interval=bool(rows["low"].notna().any()),
        lines=tuple((name, len(order) == 1 and bool(data[name]["low"].notna().any())) for name in data if name not in NO_LINES),
        has_band=BAND in data,
        has_twins=TWINS in data,
        focus=focus,
        looks=tuple((looks or axes.series_looks(order))[name] for name in order),
    )
    specification = drawn(_draw, look)
    specification["datasets"] = {name: json.loads(frame.to_json(orient="records")) for name, frame in data.items()}
    return specification


def _beside(rows: pd.DataFrame, series: str, many: bool) -> dict[str, pd.DataFrame]:
    """Datasets of what stands beside the lines: one for each control, TWINS for the bands of twins; only BAND where many."""
    named = rows.assign(control=rows["control"].mask(rows["control"].str.startswith(TWIN), TWINS))
    if many:
        bands = _spans(named, ["control", "layer"])
        return {BAND: bands.assign(control=bands["control"].map(lambda name: meanings.CONTROL_NAMES.get(name, name)))}
    twins = named[named["control"] == TWINS]
    found = {TWINS: _spans(twins, [series, "layer"])} if len(twins) else {}
    return found | {str(control): of_control for control, of_control in named.groupby("control") if control != TWINS}


def _spans(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Lowest and highest value of each group, in half the time of ``agg`` with names."""
    values = rows.groupby(by)["value"]
    return pd.DataFrame({"low": values.min(), "high": values.max()}).reset_index()


@dataclass(frozen=True)
class _Look:
    """What a profile looks like, whatever its numbers.

    Attributes:
        from_zero: whether the axis holds 0.
        lines: the controls that are lines, and whether each has a band of its interval.
        has_band: whether controls and twins are one band each instead, from the lowest to the highest line.
        has_twins: whether each line has a band of its twins.
        looks: colour and style of each line.
    """

    metric: str
    is_relative: bool
    series: str
    order: tuple[str, ...]
    from_zero: bool
    has_interval: bool
    lines: tuple[tuple[str, bool], ...]
    has_band: bool
    has_twins: bool
    focus: str | None
    looks: tuple[axes.Look, ...]


def _draw(look: _Look) -> alt.LayerChart:
    """A look as a chart; its data are datasets by name."""
    word = metrics.relative_metric(look.metric) if look.is_relative else metrics.metric(look.metric)
    series, order = look.series, list(look.order)
    y = {
        "title": None,
        "scale": alt.Scale(zero=look.from_zero, nice=True),
        "axis": alt.Axis(format=word.format, tickMinStep=TICK_STEPS.get(word.format, 0), **axes.UPRIGHT),
    }
    colour = alt.Color(f"{series}:N", scale=alt.Scale(domain=order, range=[one.colour for one in look.looks]), legend=None)
    base = alt.Chart(alt.NamedData(OBSERVED)).encode(
        x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0, grid=False)), y=alt.Y("value:Q", **y), color=colour
    )
    standing_out = {}
    if look.focus is not None:
        standing_out["opacity"] = alt.condition(alt.datum[series] == look.focus, alt.value(1), alt.value(0.35))
    lines = base.mark_line(strokeWidth=2 if look.focus is None else 3).encode(
        **standing_out,
        strokeDash=alt.StrokeDash(
            f"{series}:N",
            scale=alt.Scale(domain=order, range=[one.dash for one in look.looks]),
            legend=None,
        ),
    )
    points = base.mark_point(size=45, filled=True, opacity=1, cursor="pointer").encode(
        tooltip=[
            alt.Tooltip(f"{series}:N"),
            alt.Tooltip("layer:O"),
            alt.Tooltip("value:Q", title=word.label, format=word.format),
            alt.Tooltip("low:Q", title="95 % from", format=word.format),
            alt.Tooltip("high:Q", title="to", format=word.format),
            alt.Tooltip("n_tokens:Q", title="tokens", format=","),
            alt.Tooltip("n_clusters:Q", title="clusters", format=","),
        ]
    )
    points = points.add_params(alt.selection_point(name="point", fields=["layer", series], on="click"))
    marks = [_band(y, word)] if look.has_band else _control_lines(look, y, word)
    if look.has_twins:
        marks.insert(0, _twins(look, y, word))
    if look.has_interval:
        marks.append(base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", **y), y2="high:Q"))
    chart = alt.layer(*marks, lines, points).resolve_scale(strokeDash="independent", strokeWidth="independent")
    return chart.properties(height=230, title=axes.chart_title(word.label, word.scale, offset=8))


def _band(y: dict[str, Any], word: metrics.Metric) -> alt.Chart:
    """Controls and twins beside many lines: each from its lowest to its highest."""
    area = alt.Chart(alt.NamedData(BAND)).mark_area(
        color=palette.CONTROL_COLOUR, opacity=0.3, stroke=palette.CONTROL_COLOUR, strokeWidth=1
    )
    return area.encode(
        x="layer:O",
        y=alt.Y("low:Q", **y),
        y2="high:Q",
        detail="control:N",
        tooltip=[
            alt.Tooltip("control:N"),
            alt.Tooltip("layer:O"),
            alt.Tooltip("low:Q", title="from", format=word.format),
            alt.Tooltip("high:Q", title="to", format=word.format),
        ],
    )


def _twins(look: _Look, y: dict[str, Any], word: metrics.Metric) -> alt.LayerChart:
    """The twins of each line, from the lowest to the highest: in grey beside a single line, else in its colour."""
    alone = {"color": palette.CONTROL_COLOUR} if len(look.order) == 1 else {}
    base = alt.Chart(alt.NamedData(TWINS)).encode(x="layer:O")
    if not alone:
        base = base.encode(color=f"{look.series}:N", detail=f"{look.series}:N")
    tooltip = [
        alt.Tooltip(f"{look.series}:N", title="random changes of that size of"),
        alt.Tooltip("layer:O"),
        alt.Tooltip("low:Q", title="from", format=word.format),
        alt.Tooltip("high:Q", title="to", format=word.format),
    ]
    area = base.mark_area(opacity=0.22, **alone).encode(y=alt.Y("low:Q", **y), y2="high:Q", tooltip=tooltip)
    edge = base.mark_line(strokeWidth=1, strokeDash=EDGE, opacity=0.9, **alone)
    return area + edge.encode(y=alt.Y("low:Q", **y)) + edge.encode(y=alt.Y("high:Q", **y))


def _control_lines(look: _Look, y: dict[str, Any], word: metrics.Metric) -> list[alt.Chart]:
    """Controls beside few lines: a line each, in grey beside a single one, else in the colours of the series."""
    tooltip = [
        alt.Tooltip("control:N"),
        alt.Tooltip(f"{look.series}:N"),
        alt.Tooltip("layer:O"),
        alt.Tooltip("value:Q", title=word.label, format=word.format),
    ]
    marks = []
    alone = len(look.order) == 1
    for control, has_interval in look.lines:
        style, width = palette.CONTROL_LINES.get(control, ("dashed", 1))
        base = alt.Chart(alt.NamedData(control)).encode(x="layer:O")
        colour = {"color": palette.CONTROL_COLOUR} if alone else {"opacity": 0.75}
        line = base.mark_line(strokeWidth=width, strokeDash=axes.DASHES[style], point={"size": 14}, **colour)
        line = line.encode(y=alt.Y("value:Q", **y), tooltip=tooltip)
        if not alone:
            line = line.encode(color=f"{look.series}:N")
        if has_interval:
            area = base.mark_area(color=palette.CONTROL_COLOUR, opacity=0.18)
            marks.append(area.encode(y=alt.Y("low:Q", **y), y2="high:Q"))
        marks.append(line)
    return marks
