"""DataFrame -> altair chart; no Streamlit in here. Every axis has its unit, every mark a tooltip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from app.words import metrics as words
from store.names import BASE
from store.text import on_one_line

MOST_POINTS = 2000
"""No chart is sent more marks than this; what was left out is said on the chart."""

AXIS_HEIGHT = 84
"""Pixels that the axis below a map takes, which count as the chart's own."""

LEGEND_HEIGHT = 46
"""Pixels that a legend above takes, likewise."""

TITLE_HEIGHT = 52
"""Pixels that a title with its subtitle takes, likewise."""

MOST_WRITTEN = 12
"""Up to so many layers a map's cells have their value written in them; more would overlap."""

MOST_RATIO = 1.5
"""A feature that noise never moves stands so many times beyond the furthest other one."""

MOST_LETTERS = 80
"""Of a name in a chart."""

GUIDE_COLOUR = "rgba(128,128,128,0.7)"

INSIDE = -4
"""Pixels that the first and the last label of an axis from left to right stand inside it: else the last one's end is cut."""

BRIEFLY = "format(datum.value, abs(datum.value) < 1 ? '.3~r' : '.3~s')"
"""An axis' label: 50k for 50,000, but 0.5 for what the same format would call 500m."""

BASE_AND_VARIANT = (BASE, "variant")


def line_name(text: str, before: str = "of") -> str:
    """A name of somebody else's for a line of a tooltip: 'of NAME', without what would end a string of Vega's.

    Vega's tooltips take a line that is called `image` for a picture's address, and one called `title` for a heading; both
    would be fetched or shown when a mouse passes. With a word before it no name is one of theirs.
    """
    return f"{before} {printed(text)}".translate({ord('"'): "″", ord("\\"): "⧵"})


def printed(text: str) -> str:
    """A name of somebody else's for an axis, a legend or a title: one short line, with what cannot be seen as its number."""
    return words.short(on_one_line(text), MOST_LETTERS)


def heat_map(rows: pd.DataFrame, metric: str, order: list[str]) -> alt.Chart | alt.LayerChart:
    """Variant x layer, one metric, the value in each cell; darker where the change is larger. Click selects 'cell'.

    rows: variant, layer, value, gate, n_tokens; order: the variants from top to bottom.
    """
    word = words.metric(metric)
    known = rows["value"].dropna()
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    down = word.sign < 0
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
    colours = alt.Scale(scheme="blues", domain=[low, high], reverse=down)
    squares = cells.mark_rect(cursor="pointer", stroke="rgba(128,128,128,0.35)").encode(
        color=alt.condition("isValid(datum.value)", alt.Color("value:Q", scale=colours, legend=None), alt.value("#00000000"))
    )
    texts = cells.mark_text(fontSize=13, cursor="pointer").encode(
        text=alt.Text("value:Q", format=word.format),
        color=ink("value"),
    )
    height = 34 * max(1, rows["variant"].nunique()) + AXIS_HEIGHT
    chart = squares.add_params(click)
    if rows["layer"].nunique() <= MOST_WRITTEN:
        chart = chart + texts
    return chart.properties(height=height)


def ink(field: str) -> dict:
    """Of the number in a coloured cell: black or white, whichever is more than 4.5:1 on the colour that `field` has there."""
    return alt.condition(f"luminance(scale('color', datum.{field})) > 0.179", alt.value("#000000"), alt.value("#ffffff"))


def series_colour(position: int) -> str:
    """The colour of the series at that position of a profile's order."""
    return words.SERIES_COLOURS[position % len(words.SERIES_COLOURS)]


def series_is_dashed(position: int) -> bool:
    """Whether that series is dashed: where there are more series than colours, the colours come again, dashed."""
    return position // len(words.SERIES_COLOURS) % 2 == 1


def frequency_scatter(rows: pd.DataFrame, total: int) -> alt.LayerChart:
    """Base against variant frequency, both logarithmic; a feature that never fires in one stands in a lane at the edge.

    rows: layer, feature, name, label, kind, shift, freq_base, freq_variant, listed (whether it is ringed, as a row of the table
    beside it); total: features of the filter, so that the chart can say how many are left out. Click selects 'point'.
    """
    data = _most(rows)
    frame = _Frame.around(pd.concat([data["freq_base"], data["freq_variant"]]))
    shown = f"{len(data):,} most shifted of {total:,} features" if total > len(data) else f"{total:,} features"
    title = chart_title(
        "How often each feature fires, base against variant",
        f"{shown} · dashed: as often in both · lanes at the edge: never fires there · click a mark to open it",
    )
    points = _points(data, frame)
    rings = _rings(points.data, points.encoding.x, points.encoding.y)
    return (_guides(frame) + rings + points).properties(height=480, title=title)


def evidence_scatter(rows: pd.DataFrame, total: int) -> alt.LayerChart:
    """Effect against evidence: shift in units of its floor, and |z| over documents, a mark a feature by its verdict.

    rows: layer, feature, name, label, verdict, shift, floor_ratio, z, q, listed (whether it is ringed, as a row of the table
    beside it); total: features of the filter, so that the chart can say how many are left out: those beyond MOST_POINTS, and
    those without floor or z. Click selects 'point'.
    """
    known = _most(rows[rows["floor_ratio"].notna() & rows["z"].notna()])
    finite = known["floor_ratio"].replace(math.inf, float("nan"))
    furthest = MOST_RATIO * max(1.0, float(finite.max()) if finite.notna().any() else 1.0)
    size = finite.fillna(furthest)
    columns = ["layer", "feature", "name", "label", "verdict", "shift", "floor_ratio", "z", "q", "listed"]
    data = known[columns].assign(
        effect=size.where(known["shift"] >= 0, -size),
        evidence=known["z"].abs(),
        verdict=known["verdict"].fillna(words.NO_VERDICT),
        floor_ratio=[words.ratio(value) for value in known["floor_ratio"]],
    )
    verdicts = list(words.VERDICTS)
    colours = alt.Scale(domain=verdicts, range=[words.VERDICTS[name].colour for name in verdicts])
    shapes = alt.Scale(domain=verdicts, range=[words.VERDICTS[name].shape for name in verdicts])
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
    guides = alt.Chart(pd.DataFrame({"x": [-1.0, 1.0]})).mark_rule(color=GUIDE_COLOUR, strokeDash=[4, 4]).encode(x="x:Q")
    left_out = total - len(data)
    shown = f"{len(data):,} of {total:,} features" if left_out else f"{total:,} features"
    missing = f"{shown} (the others come later in this order, or vary on no document)" if left_out else shown
    title = chart_title("How far each feature moves, against the evidence for it", f"{missing} · click a mark to open it")
    return (guides + _rings(data, x, y) + points).properties(height=440, title=title)


def _most(rows: pd.DataFrame) -> pd.DataFrame:
    """At most MOST_POINTS rows, those that are listed among them."""
    return rows.sort_values("listed", ascending=False, kind="stable").head(MOST_POINTS).sort_index()


def _rings(data: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    """A ring around every mark that is listed in the table beside the chart."""
    ring = alt.Chart(data[data["listed"]]).mark_point(size=150, strokeWidth=1.4, opacity=0.9, color=GUIDE_COLOUR, filled=False)
    return ring.encode(x=x, y=y)


def _both_signs(reach: float) -> list[float]:
    """Ticks at 0, 1 and every power of ten (with 3 times it where there are few) up to `reach`, on both sides."""
    powers = [10.0**n * k for n in range(int(math.log10(reach)) + 1) for k in ((1, 3) if reach < 1000 else (1,))]
    up = [tick for tick in powers if tick <= reach]
    return [-tick for tick in reversed(up)] + [0.0] + up


def segment_shares(rows: pd.DataFrame, order: list[str]) -> alt.Chart:
    """Which tokens the change sits on: a bar a layer, the segments' shares of sum ||delta||^2; order: the segments.

    rows: layer, segment, share, token_share, n_tokens.
    """
    place = {name: i for i, name in enumerate(order)}
    return (
        alt.Chart(rows.assign(place=rows["segment"].map(place)))
        .mark_bar(stroke="rgba(128,128,128,0.4)")
        .encode(
            x=alt.X(
                "share:Q",
                title="share of the change, Σ‖δ‖²",
                stack="zero",
                axis=alt.Axis(format="%", grid=False, tickCount=10, labelFlushOffset=INSIDE),
            ),
            y=alt.Y("layer:N", title="layer", sort=None),
            order=alt.Order("place:Q"),
            color=alt.Color(
                "segment:N",
                title=None,
                scale=alt.Scale(domain=order, range=[series_colour(i) for i in range(len(order))]),
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
        .properties(height=34 * max(1, rows["layer"].nunique()) + AXIS_HEIGHT + LEGEND_HEIGHT)
    )


def spectrum(rows: pd.DataFrame) -> alt.Chart:
    """Shares of sum ||delta||^2 along the mean of the change and its principal directions. rows: name, share, component."""
    return (
        alt.Chart(rows[["name", "share", "component"]])
        .mark_bar()
        .encode(
            x=alt.X("name:N", title=None, sort=alt.SortField("component"), axis=alt.Axis(labelAngle=0)),
            y=alt.Y("share:Q", title="share of the change, Σ‖δ‖²", axis=alt.Axis(format="%", tickCount=5)),
            color=alt.condition("datum.component == 0", alt.value(words.VARIANT_COLOUR), alt.value(words.BASE_COLOUR)),
            tooltip=[alt.Tooltip("name:N", title="direction"), alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(height=250)
    )


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
    diagonal = alt.Chart(corners).mark_line(color=GUIDE_COLOUR, strokeDash=[4, 4], strokeWidth=1).encode(x="x:Q", y="y:Q")
    edges = alt.Chart(corners.head(1)).mark_rule(color=GUIDE_COLOUR)
    return edges.encode(x="edge:Q") + edges.encode(y="edge:Q") + diagonal


def _points(data: pd.DataFrame, frame: _Frame) -> alt.Chart:
    """A mark a feature, coloured and shaped by its kind."""
    placed = data.assign(x=data["freq_base"].clip(lower=frame.lane), y=data["freq_variant"].clip(lower=frame.lane))
    kinds, axis, scale = list(words.KIND_COLOURS), frame.axis(), frame.scale()
    colours = alt.Scale(domain=kinds, range=list(words.KIND_COLOURS.values()))
    shapes = alt.Scale(domain=kinds, range=list(words.KIND_SHAPES.values()))
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
            axis=alt.Axis(values=ticks, labelExpr=BRIEFLY, grid=False),
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
        .encode(stroke=alt.value(words.VARIANT_COLOUR))
    )
    title = chart_title("Activations where it fires", "half-octave bins")
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
    axis = alt.Axis(
        values=ticks, labelExpr=f"datum.value < {low * 0.99} ? 'silent' : {BRIEFLY}", grid=False
    )  # fmt: skip
    scale = alt.Scale(type="log", domain=[lane, high], nice=False)
    cells = (
        alt.Chart(data)
        .mark_rect(stroke="rgba(128,128,128,0.4)", strokeWidth=0.5)
        .encode(
            x=alt.X("base_from:Q", title="activation in base (log scale)", scale=scale, axis=axis),
            x2="base_to:Q",
            y=alt.Y("variant_from:Q", title=f"in {printed(variant)} (log scale)", scale=scale, axis=axis),
            y2="variant_to:Q",
            color=alt.Color(
                "count:Q",
                scale=alt.Scale(type="log", range=list(words.COUNT_COLOURS), domain=[1, max(2, int(data["count"].max()))]),
                legend=alt.Legend(title="tokens", orient="top", format=",d", gradientLength=150, tickCount=4),
            ),
            tooltip=[
                alt.Tooltip("base_said:N", title="base"),
                alt.Tooltip("variant_said:N", title=line_name(variant)),
                alt.Tooltip("count:Q", title="tokens", format=","),
            ],
        )
    )
    ends = pd.DataFrame({"x": [low, high], "y": [low, high], "edge": lane * math.sqrt(2) * 2**0.25})
    diagonal = alt.Chart(ends).mark_line(color=GUIDE_COLOUR, strokeDash=[4, 4], strokeWidth=1).encode(x="x:Q", y="y:Q")
    edge = alt.Chart(ends.head(1)).mark_rule(color=GUIDE_COLOUR)
    title = chart_title("Base against variant, token by token", "dashed: as strong in both · lanes at the edge: silent there")
    chart = cells + diagonal + edge.encode(x="edge:Q") + edge.encode(y="edge:Q")
    return chart.properties(height=340 + LEGEND_HEIGHT, title=title)


def by_group(rows: pd.DataFrame, variant: str, title: str, axis: str, line: bool) -> alt.LayerChart:
    """Mean activation in base and variant, group by group: lines over groups that have an order, else a bar between two marks.

    rows: of store.read.firings.by_domain or by_place (group, model, mean, share, n_tokens), in the order to show them.
    """
    order = list(dict.fromkeys(rows["group"]))
    mean = alt.Axis(labelExpr=BRIEFLY, tickCount=4)
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
        between = base.mark_line(strokeWidth=3, color=GUIDE_COLOUR).encode(detail="group:N")
    height = 280 if line else 22 * max(2, len(order)) + AXIS_HEIGHT + LEGEND_HEIGHT + TITLE_HEIGHT
    title = chart_title(title, "over all tokens of the documents on the left")
    return (between + points).properties(height=height, title=title)


def chart_title(text: str, subtitle: str, **settings: Any) -> alt.TitleParams:
    return alt.TitleParams(
        text, subtitle=subtitle, anchor="start", fontSize=14, subtitleColor=words.QUIET_COLOUR, subtitleFontSize=12, **settings
    )


def _model_colour(variant: str) -> alt.Color:
    return alt.Color(
        "model:N",
        title=None,
        scale=alt.Scale(domain=list(BASE_AND_VARIANT), range=[words.BASE_COLOUR, words.VARIANT_COLOUR]),
        legend=alt.Legend(orient="top"),
    )
