"""A list of features as a chart, a mark a feature: how much of it is lost or new, or how often it fires in base and variant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from app.charts import axes
from app.words import meanings, palette
from store.names import kind_name

MODIFIED = "event.shiftKey || event.ctrlKey || event.metaKey"
PICKING = "click a mark to open it, with Shift or Ctrl to pick it; drag a box to pick what is inside"


def frequency_scatter(rows: pd.DataFrame, total: int) -> alt.LayerChart:
    """Base against variant frequency, both logarithmic; a feature that never fires in one stands in a lane at the edge.

    rows: layer, feature, name, label, kind, change, freq_base, freq_variant, listed (whether it is ringed, as a row of the
    table beside it); total: features of the filter, so that the chart can say how many are left out. Selections: as
    :func:`_selections`, a box over x and y.
    """
    data = _most(rows)
    frame = _frame_of_both(data)
    shown = f"{len(data):,} of {total:,} features, the first of this order" if total > len(data) else f"{total:,} features"
    title = axes.chart_title(
        "How often each feature fires, base against variant",
        f"{shown} · dashed: as often in both · lanes at the edge: never fires there · {PICKING}",
    )
    points = _points(_placed(data, frame), frame)
    rings = _rings(points.data, points.encoding.x, points.encoding.y)
    return (_guides(frame) + rings + points).properties(height=480, title=title, usermeta=axes.DRAWN_AS_SVG)


def change_scatter(rows: pd.DataFrame, total: int, material: float) -> alt.LayerChart:
    """Share lost or gained against how often a feature fires, a mark a feature by its verdict.

    rows: layer, feature, name, label, verdict, change, change_low, change_high, freq_base, freq_variant, listed (whether it is
    ringed, as a row of the table beside it); total: features of the filter, so that the chart can say how many are left out;
    material: share from which a change is material, drawn on both sides. Selections: as :func:`_selections`, a box over often
    and change.
    """
    columns = ["layer", "feature", "name", "label", "verdict", "change", "change_low", "change_high", "listed"]
    known = _most(rows[rows["change"].notna()])
    often = _often(known)
    frame = _Frame.around(often)
    data = known[columns].assign(often=often, verdict=known["verdict"].fillna(meanings.NO_VERDICT))
    looks = {name: (one.colour, one.shape) for name, one in meanings.VERDICTS.items()}
    if (data["verdict"] == meanings.NO_VERDICT).any():
        looks[meanings.NO_VERDICT] = (palette.CONTROL_COLOUR, "circle")
    shown = [name for name in looks if name in set(data["verdict"])]
    colours = alt.Scale(domain=shown, range=[looks[name][0] for name in shown])
    x = alt.X(
        "often:Q", title="fires on (base or variant, whichever is more; log scale)", axis=frame.axis(),
        scale=alt.Scale(type="log", domain=[frame.smallest / 1.4, frame.largest * 1.4], nice=False),
    )  # fmt: skip
    y = alt.Y(
        "change:Q", title="share lost (below 0) or new (above)", scale=alt.Scale(domain=[-1.05, 1.05], nice=False),
        axis=alt.Axis(values=[-1, -material, 0, material, 1], labelExpr=axes.SIGNED_SHARE, grid=False),
    )  # fmt: skip
    points = (
        alt.Chart(data)
        .mark_point(size=42, opacity=0.75, strokeWidth=1.3, **axes.ONE_OF_MANY)
        .encode(
            x=x,
            y=y,
            fill=alt.Fill("verdict:N", title=None, scale=colours, legend=alt.Legend(orient="top", columns=4)),
            stroke=alt.Stroke("verdict:N", title=None, scale=colours),
            shape=alt.Shape("verdict:N", title=None, scale=alt.Scale(domain=shown, range=[looks[name][1] for name in shown])),
            tooltip=[
                alt.Tooltip("name:N", title="feature"),
                alt.Tooltip("label:N"),
                alt.Tooltip("verdict:N"),
                alt.Tooltip("change:Q", format="+.1%"),
                alt.Tooltip("change_low:Q", title="95 % from", format="+.1%"),
                alt.Tooltip("change_high:Q", title="to", format="+.1%"),
                alt.Tooltip("often:Q", title="fires on", format=".2%"),
            ],
        )
        .add_params(*_selections())
    )
    bounds = pd.DataFrame({"change": [-material, 0.0, material]})
    guides = alt.Chart(bounds).mark_rule(color=axes.GUIDE_COLOUR, strokeDash=[4, 4]).encode(y="change:Q")
    said = f"{len(data):,} of {total:,} features, the first of this order" if total > len(data) else f"{total:,} features"
    title = axes.chart_title(
        "How much of each feature is lost or new",
        f"{said} · dashed: no change, and from where a change is material · {PICKING}",
    )
    return (guides + _rings(data, x, y) + points).properties(height=440, title=title, usermeta=axes.DRAWN_AS_SVG)


def inside(rows: pd.DataFrame, box: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """The rows whose marks stand in a box that was drawn in one of the two charts.

    Args:
        rows: as of the chart.
        box: the selection 'box': the two fields that it spans -> the two ends.
    """
    drawn = _most(rows)
    placed = _placed(drawn, _frame_of_both(drawn)).assign(often=_often(drawn))
    kept = pd.Series(True, index=placed.index)
    for field, ends in box.items():
        kept &= placed[field].between(min(ends), max(ends))
    return placed[kept]


def _often(rows: pd.DataFrame) -> pd.Series:
    """How often each fires, in base or variant, whichever is more."""
    return rows[["freq_base", "freq_variant"]].max(axis=1)


def _frame_of_both(rows: pd.DataFrame) -> _Frame:
    return _Frame.around(pd.concat([rows["freq_base"], rows["freq_variant"]]))


def _placed(rows: pd.DataFrame, frame: _Frame) -> pd.DataFrame:
    """Rows with x and y, where their marks stand: those that never fire in the lane."""
    return rows.assign(x=rows["freq_base"].clip(lower=frame.lane), y=rows["freq_variant"].clip(lower=frame.lane))


def _selections() -> tuple[alt.Parameter, ...]:
    """'point', of a click; 'pick', of one with a key held; 'box', of what the mouse draws."""
    key = {"fields": ["layer", "feature"], "toggle": False, "clear": False}
    return (
        alt.selection_point(name="point", on=f"click[!({MODIFIED})]", **key),
        alt.selection_point(name="pick", on=f"click[{MODIFIED}]", **key),
        alt.selection_interval(name="box", translate=False, zoom=False),
    )


def _most(rows: pd.DataFrame) -> pd.DataFrame:
    """At most MOST_POINTS rows, those that are listed among them."""
    return rows.sort_values("listed", ascending=False, kind="stable").head(axes.MOST_POINTS).sort_index()


def _rings(data: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    """A ring around every mark that is listed in the table beside the chart."""
    ring = alt.Chart(data[data["listed"]]).mark_point(
        size=150, strokeWidth=1.4, opacity=0.9, color=axes.GUIDE_COLOUR, filled=False
    )
    return ring.encode(x=x, y=y)


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


def _points(placed: pd.DataFrame, frame: _Frame) -> alt.Chart:
    """A mark a feature, coloured and shaped by its kind."""
    placed = placed.assign(kind=placed["kind"].map(kind_name))
    kinds, axis, scale = [kind_name(kind) for kind in palette.KIND_COLOURS], frame.axis(), frame.scale()
    colours = alt.Scale(domain=kinds, range=list(palette.KIND_COLOURS.values()))
    shapes = alt.Scale(domain=kinds, range=list(palette.KIND_SHAPES.values()))
    return (
        alt.Chart(placed)
        .mark_point(filled=True, size=38, opacity=0.7, **axes.ONE_OF_MANY)
        .encode(
            x=alt.X("x:Q", title="frequency in base (share of tokens, log scale)", scale=scale, axis=axis),
            y=alt.Y("y:Q", title="frequency in variant (share of tokens, log scale)", scale=scale, axis=axis),
            color=alt.Color("kind:N", title=None, scale=colours, legend=alt.Legend(orient="top")),
            shape=alt.Shape("kind:N", title=None, scale=shapes, legend=None),
            tooltip=[
                alt.Tooltip("name:N", title="feature"),
                alt.Tooltip("label:N"),
                alt.Tooltip("kind:N"),
                alt.Tooltip("change:Q", format="+.1%"),
                alt.Tooltip("freq_base:Q", title="in base", format=".2%"),
                alt.Tooltip("freq_variant:Q", title="in variant", format=".2%"),
            ],
        )
        .add_params(*_selections())
    )
