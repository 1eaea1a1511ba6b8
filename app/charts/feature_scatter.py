"""A list of features as a chart, a mark a feature: how often each fires, or how far it moves against the evidence for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import altair as alt
import pandas as pd

from app import words
from app.charts import axes
from app.words import meanings, palette

MOST_RATIO = 1.5
"""A feature that noise never moves stands so many times beyond the furthest other one."""


def frequency_scatter(rows: pd.DataFrame, total: int) -> alt.LayerChart:
    """Base against variant frequency, both logarithmic; a feature that never fires in one stands in a lane at the edge.

    rows: layer, feature, name, label, kind, shift, freq_base, freq_variant, listed (whether it is ringed, as a row of the table
    beside it); total: features of the filter, so that the chart can say how many are left out. Click selects 'point'.
    """
    data = _most(rows)
    frame = _Frame.around(pd.concat([data["freq_base"], data["freq_variant"]]))
    shown = f"{len(data):,} most shifted of {total:,} features" if total > len(data) else f"{total:,} features"
    title = axes.chart_title(
        "How often each feature fires, base against variant",
        f"{shown} · dashed: as often in both · lanes at the edge: never fires there · click a mark to open it",
    )
    points = _points(data, frame)
    rings = _rings(points.data, points.encoding.x, points.encoding.y)
    return (_guides(frame) + rings + points).properties(height=480, title=title)


def evidence_scatter(rows: pd.DataFrame, total: int) -> alt.LayerChart:
    """Effect against evidence: shift in units of its floor, and |z| over documents, a mark a feature by its verdict.

    rows: layer, feature, name, label, verdict, shift, floor_ratio, z, q, listed (whether it is ringed, as a row of the table
    beside it); total: features of the filter, so that the chart can say how many are left out: those beyond MOST_POINTS,
    and those without floor or z. Click selects 'point'.
    """
    known = _most(rows[rows["floor_ratio"].notna() & rows["z"].notna()])
    finite = known["floor_ratio"].replace(math.inf, float("nan"))
    furthest = MOST_RATIO * max(1.0, float(finite.max()) if finite.notna().any() else 1.0)
    size = finite.fillna(furthest)
    columns = ["layer", "feature", "name", "label", "verdict", "shift", "floor_ratio", "z", "q", "listed"]
    data = known[columns].assign(
        effect=size.where(known["shift"] >= 0, -size),
        evidence=known["z"].abs(),
        verdict=known["verdict"].fillna(meanings.NO_VERDICT),
        floor_ratio=[words.ratio(value) for value in known["floor_ratio"]],
    )
    verdicts = list(meanings.VERDICTS)
    colours = alt.Scale(domain=verdicts, range=[meanings.VERDICTS[name].colour for name in verdicts])
    shapes = alt.Scale(domain=verdicts, range=[meanings.VERDICTS[name].shape for name in verdicts])
    reach = float(data["effect"].abs().max()) * 1.1 if len(data) else 2.0
    x = alt.X(
        "effect:Q",
        title="shift ÷ floor (log scale beyond ±1; dashed: as far as noise of the same size moves such features)",
        scale=alt.Scale(type="symlog", constant=1, domain=[-max(2.0, reach), max(2.0, reach)], nice=False),
        axis=alt.Axis(values=_both_signs(max(2.0, reach)), format="+,~r", grid=False),
    )
    y = alt.Y("evidence:Q", title="evidence: |z| over documents", axis=alt.Axis(grid=False, tickCount=6))
    points = (
        alt.Chart(data)
        .mark_point(size=42, opacity=0.75, strokeWidth=1.3, cursor="pointer")
        .encode(
            x=x,
            y=y,
            fill=alt.Fill("verdict:N", title=None, scale=colours, legend=alt.Legend(orient="top", columns=4)),
            stroke=alt.Stroke("verdict:N", title=None, scale=colours),
            shape=alt.Shape("verdict:N", title=None, scale=shapes),
            tooltip=[
                alt.Tooltip("name:N", title="feature"),
                alt.Tooltip("label:N"),
                alt.Tooltip("verdict:N"),
                alt.Tooltip("shift:Q", format="+,.3~r"),
                alt.Tooltip("floor_ratio:N", title="over floor"),
                alt.Tooltip("z:Q", format="+.1f"),
                alt.Tooltip("q:Q", format=".2~g"),
            ],
        )
        .add_params(alt.selection_point(name="point", fields=["layer", "feature"], on="click"))
    )
    guides = alt.Chart(pd.DataFrame({"x": [-1.0, 1.0]})).mark_rule(color=axes.GUIDE_COLOUR, strokeDash=[4, 4]).encode(x="x:Q")
    left_out = total - len(data)
    shown = f"{len(data):,} of {total:,} features" if left_out else f"{total:,} features"
    missing = f"{shown} (the others come later in this order, or vary on no document)" if left_out else shown
    title = axes.chart_title("How far each feature moves, against the evidence for it", f"{missing} · click a mark to open it")
    return (guides + _rings(data, x, y) + points).properties(height=440, title=title)


def _most(rows: pd.DataFrame) -> pd.DataFrame:
    """At most MOST_POINTS rows, those that are listed among them."""
    return rows.sort_values("listed", ascending=False, kind="stable").head(axes.MOST_POINTS).sort_index()


def _rings(data: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    """A ring around every mark that is listed in the table beside the chart."""
    ring = alt.Chart(data[data["listed"]]).mark_point(
        size=150, strokeWidth=1.4, opacity=0.9, color=axes.GUIDE_COLOUR, filled=False
    )
    return ring.encode(x=x, y=y)


def _both_signs(reach: float) -> list[float]:
    """Ticks at 0, 1 and every power of ten (with 3 times it where there are few) up to `reach`, on both sides."""
    powers = [10.0**n * k for n in range(int(math.log10(reach)) + 1) for k in ((1, 3) if reach < 1000 else (1,))]
    up = [tick for tick in powers if tick <= reach]
    return [-tick for tick in reversed(up)] + [0.0] + up


@dataclass(frozen=True)
class _Frame:
    """Where the scatter's two axes begin and end, both alike: the smallest and the largest frequency above 0."""

    smallest: float
    largest: float

    @classmethod
    def around(cls, frequencies: pd.Series) -> _Frame:
        positive = frequencies[frequencies > 0]
        return cls(float(positive.min()), float(positive.max())) if len(positive) else cls(1e-4, 1e-1)

    @property
    def lane(self) -> float:
        """Where a feature that never fires is drawn, a logarithmic axis having no 0."""
        return self.smallest / 4

    @property
    def edge(self) -> float:
        """The line between that lane and the plot."""
        return self.smallest / 2

    def axis(self) -> alt.Axis:
        """A tick at every power of ten, and one that says 'never' in the lane."""
        powers = range(math.ceil(math.log10(self.smallest)), math.floor(math.log10(self.largest)) + 1)
        label = f"datum.value < {self.edge} ? 'never' : format(datum.value, '~%')"
        return alt.Axis(values=[self.lane] + [10.0**power for power in powers], labelExpr=label, grid=False)

    def scale(self) -> alt.Scale:
        return alt.Scale(type="log", domain=[self.lane / 1.4, self.largest * 1.4], nice=False)


def _guides(frame: _Frame) -> alt.LayerChart:
    """The diagonal, where a feature fires as often in both, and the two lines beside the lanes."""
    ends = [frame.smallest, frame.largest]
    corners = pd.DataFrame({"x": ends, "y": ends, "edge": frame.edge})
    diagonal = alt.Chart(corners).mark_line(color=axes.GUIDE_COLOUR, strokeDash=[4, 4], strokeWidth=1).encode(x="x:Q", y="y:Q")
    edges = alt.Chart(corners.head(1)).mark_rule(color=axes.GUIDE_COLOUR)
    return edges.encode(x="edge:Q") + edges.encode(y="edge:Q") + diagonal


def _points(data: pd.DataFrame, frame: _Frame) -> alt.Chart:
    """A mark a feature, coloured and shaped by its kind."""
    placed = data.assign(x=data["freq_base"].clip(lower=frame.lane), y=data["freq_variant"].clip(lower=frame.lane))
    kinds, axis, scale = list(palette.KIND_COLOURS), frame.axis(), frame.scale()
    colours = alt.Scale(domain=kinds, range=list(palette.KIND_COLOURS.values()))
    shapes = alt.Scale(domain=kinds, range=list(palette.KIND_SHAPES.values()))
    return (
        alt.Chart(placed)
        .mark_point(filled=True, size=38, opacity=0.7, cursor="pointer")
        .encode(
            x=alt.X("x:Q", title="frequency in base (share of tokens, log scale)", scale=scale, axis=axis),
            y=alt.Y("y:Q", title="frequency in variant (share of tokens, log scale)", scale=scale, axis=axis),
            color=alt.Color("kind:N", title=None, scale=colours, legend=alt.Legend(orient="top")),
            shape=alt.Shape("kind:N", title=None, scale=shapes, legend=None),
            tooltip=[
                alt.Tooltip("name:N", title="feature"),
                alt.Tooltip("label:N"),
                alt.Tooltip("kind:N"),
                alt.Tooltip("shift:Q", format="+,.3~r"),
                alt.Tooltip("freq_base:Q", title="in base", format=".2%"),
                alt.Tooltip("freq_variant:Q", title="in variant", format=".2%"),
            ],
        )
        .add_params(alt.selection_point(name="point", fields=["layer", "feature"], on="click"))
    )
