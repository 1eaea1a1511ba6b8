"""DataFrame -> altair chart for the page Across variants, as the modules beside it are for others; no Streamlit in here."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from app.charts import axes
from app.words import palette

MOST_SETS = 16
"""No more sets are drawn than this, the largest; that some are left out is said beside the chart."""

MOST_ROOMY = 6
"""Up to so many variants a pair's cell has room for a number of the usual size."""

LEGEND_HEIGHT = 34
"""Pixels that a line of legend on top takes of a chart's own height."""

MIDDLE_COLOUR = "#f1f1f1"
"""Between decrease and increase: no change. Opaque, so that what is written on it is read on any theme."""

_CHANGES = alt.Scale(
    domain=[-1, 0, 1], range=[palette.DECREASE_COLOUR, MIDDLE_COLOUR, palette.INCREASE_COLOUR], clamp=True
)  # fmt: skip

DIRECTIONS = {
    "down": ("fell wherever it changed", palette.DECREASE_COLOUR),
    "up": ("rose wherever it changed", palette.INCREASE_COLOUR),
    "opposite": ("fell in one, rose in another", palette.NEUTRAL_COLOUR),
}
"""Direction of a change over variants -> what it is called, and its colour."""

BOTH_SAME, BOTH_OPPOSITE, NEITHER = "both, same way", "both, opposite ways", "neither"


def set_bars(rows: pd.DataFrame, chosen: str) -> alt.LayerChart:
    """How many features changed in exactly which recipes: a bar a set, split by direction, a tick where chance would put it.

    rows: set (its key), name, count, down, up, opposite, expected; in the order to draw. Click selects 'set'.
    """
    data = rows[rows["count"].rank(method="first", ascending=False) <= MOST_SETS]
    long = data.melt(["set", "name", "count", "expected"], list(DIRECTIONS), "direction", "features")
    long["meaning"] = long["direction"].map(lambda direction: DIRECTIONS[direction][0])
    long["rank"] = long["direction"].map(list(DIRECTIONS).index)
    meanings = [meaning for meaning, _ in DIRECTIONS.values()]
    order = data["name"].to_list()
    y = alt.Y("name:N", title=None, sort=order, axis=alt.Axis(labelFontSize=13, labelLimit=300, labelOverlap=False))
    bars = (
        alt.Chart(long)
        .mark_bar(cursor="pointer", height={"band": 0.62})
        .encode(
            x=alt.X(
                "features:Q",
                title="features",
                axis=alt.Axis(tickMinStep=1, tickCount=8, format=",d", labelFlushOffset=axes.INSIDE),
                scale=alt.Scale(domain=[0, 1.04 * float(data[["count", "expected"]].max().max())], nice=False),
            ),
            y=y,
            color=alt.Color(
                "meaning:N",
                title=None,
                scale=alt.Scale(domain=meanings, range=[colour for _, colour in DIRECTIONS.values()]),
                legend=alt.Legend(orient="top", labelLimit=260),
            ),
            order=alt.Order("rank:O"),
            opacity=alt.condition(alt.datum.set == chosen, alt.value(1.0), alt.value(0.55)),
            tooltip=[
                alt.Tooltip("name:N", title="changed in"),
                alt.Tooltip("meaning:N", title="direction"),
                alt.Tooltip("features:Q", format=","),
                alt.Tooltip("count:Q", title="of the whole set", format=","),
                alt.Tooltip("expected:Q", title="by chance", format=",.3~r"),
            ],
        )
        .add_params(alt.selection_point(name="set", fields=["set"], on="click"))
    )
    chance = (
        alt.Chart(data)
        .mark_tick(**axes.CHANCE_TICK, size=24)
        .encode(
            x="expected:Q",
            y=y,
            tooltip=[alt.Tooltip("name:N", title="changed in"), alt.Tooltip("expected:Q", title="by chance", format=",.3~r")],
        )
    )
    return (bars + chance).properties(height=30 * len(data) + axes.AXIS_HEIGHT + LEGEND_HEIGHT)


def pair_map(cells: pd.DataFrame, order: list[str], title: str, low: float, high: float) -> alt.LayerChart:
    """Variant x variant, one number of each pair written in its cell. Click selects 'pair'.

    cells: variant_a, variant_b (both ways round), value, written (the value as text), n, same_task; order: the variants;
    title: of the number; low, high: the ends of the colours.
    """
    base = alt.Chart(cells).encode(
        x=alt.X("variant_b:N", title=None, sort=order, axis=alt.Axis(labelAngle=-40, labelOverlap=False, labelLimit=120)),
        y=alt.Y("variant_a:N", title=None, sort=order, axis=alt.Axis(labelFontSize=13, labelLimit=140)),
        tooltip=[
            alt.Tooltip("variant_a:N", title="variant"),
            alt.Tooltip("variant_b:N", title="against"),
            alt.Tooltip("written:N", title=title),
            alt.Tooltip("task:N", title="they are"),
            alt.Tooltip("n:Q", title="features compared", format=","),
        ],
    )
    squares = base.mark_rect(cursor="pointer", stroke="rgba(128,128,128,0.35)").encode(
        color=alt.Color("value:Q", scale=alt.Scale(domain=[low, high], range=palette.RAMP, clamp=True), legend=None)
    )
    size = 14 if len(order) <= MOST_ROOMY else 11
    texts = base.mark_text(fontSize=size, cursor="pointer").encode(text="written:N", color=axes.ink("value"))
    click = alt.selection_point(name="pair", fields=["variant_a", "variant_b"], on="click")
    return (squares.add_params(click) + texts).properties(height=max(180, 46 * len(order) + axes.AXIS_HEIGHT))


def change_scatter(rows: pd.DataFrame, variant_a: str, variant_b: str, colours: tuple[str, str]) -> alt.LayerChart:
    """Every feature's change in one variant against its change in another, from all lost to all new.

    rows: layer, feature, name, label, change_a, change_b, changed_a, changed_b, said_a, said_b (verdicts in words). Click
    selects 'point'. colours: of the two variants' recipes.
    """
    scale = alt.Scale(domain=[-1.05, 1.05], nice=False)
    axis = alt.Axis(values=[-1, -0.5, 0, 0.5, 1], labelExpr=axes.SIGNED_SHARE, grid=True)
    names = {
        BOTH_SAME: (palette.SERIES_COLOURS[2], "circle"),
        BOTH_OPPOSITE: (palette.SERIES_COLOURS[2], "diamond"),
        f"{variant_a} alone": (colours[0], "triangle-up"),
        f"{variant_b} alone": (colours[1], "square"),
        NEITHER: (palette.SERIES_COLOURS[3], "circle"),
    }
    data = rows.assign(changed_in=[_changed_in(row, variant_a, variant_b) for row in rows.itertuples()])
    data["rank"] = (data["changed_in"] != NEITHER).astype(int)
    corners = pd.DataFrame({"x": [-1.0, 1.0], "y": [-1.0, 1.0], "zero": 0.0})
    line = {"color": axes.GUIDE_COLOUR, "strokeWidth": 1}
    diagonal = alt.Chart(corners).mark_line(strokeDash=[4, 4], **line).encode(x="x:Q", y="y:Q")
    zero = alt.Chart(corners.head(1))
    points = (
        alt.Chart(data.sort_values("rank", kind="stable"))
        .mark_point(filled=True, size=42, **axes.ONE_OF_MANY)
        .encode(
            x=alt.X("change_a:Q", title=f"lost or new in {axes.printed(variant_a)}", scale=scale, axis=axis),
            y=alt.Y("change_b:Q", title=f"lost or new in {axes.printed(variant_b)}", scale=scale, axis=axis),
            opacity=alt.condition(alt.datum.changed_in == NEITHER, alt.value(0.35), alt.value(0.85)),
            color=alt.Color(
                "changed_in:N",
                title=None,
                scale=alt.Scale(domain=list(names), range=[colour for colour, _ in names.values()]),
                legend=alt.Legend(orient="top", columns=2, labelLimit=200),
            ),
            shape=alt.Shape(
                "changed_in:N", title=None, scale=alt.Scale(domain=list(names), range=[shape for _, shape in names.values()])
            ),
            tooltip=[
                alt.Tooltip("name:N", title="feature"),
                alt.Tooltip("label:N"),
                alt.Tooltip("change_a:Q", title=f"change {axes.line_name(variant_a)}", format="+.1%"),
                alt.Tooltip("said_a:N", title=axes.line_name(variant_a)),
                alt.Tooltip("change_b:Q", title=f"change {axes.line_name(variant_b)}", format="+.1%"),
                alt.Tooltip("said_b:N", title=axes.line_name(variant_b)),
            ],
        )
        .add_params(alt.selection_point(name="point", fields=["layer", "feature"], on="click"))
    )
    guides = zero.mark_rule(**line).encode(x="zero:Q") + zero.mark_rule(**line).encode(y="zero:Q") + diagonal
    return (guides + points).properties(height=470, usermeta=axes.DRAWN_AS_SVG)


def domain_map(rows: pd.DataFrame, variants: list[str], domains: list[str]) -> alt.LayerChart:
    """One feature's change in every variant (down) and domain (across), written in the cells; empty where it never fires.

    rows: variant, domain, change, written, freq_base, freq_variant.
    """
    data = rows.dropna(subset="change")
    across = alt.Axis(labelAngle=-30, labelOverlap=False, labelLimit=120)
    base = alt.Chart(data).encode(
        x=alt.X("domain:N", title=None, sort=domains, scale=alt.Scale(domain=domains), axis=across),
        y=alt.Y(
            "variant:N",
            title=None,
            sort=variants,
            scale=alt.Scale(domain=variants),
            axis=alt.Axis(labelFontSize=13, labelLimit=140),
        ),
        tooltip=[
            alt.Tooltip("variant:N"),
            alt.Tooltip("domain:N"),
            alt.Tooltip("change:Q", format="+.1%"),
            alt.Tooltip("freq_base:Q", title="fires in base on", format=".2%"),
            alt.Tooltip("freq_variant:Q", title="in the variant on", format=".2%"),
        ],
    )
    squares = base.mark_rect(stroke="rgba(128,128,128,0.35)").encode(color=alt.Color("change:Q", scale=_CHANGES, legend=None))
    texts = base.mark_text(fontSize=12).encode(text="written:N", color=axes.ink("change"))
    return (squares + texts).properties(height=28 * len(variants) + axes.AXIS_HEIGHT)


def cosine_profile(rows: pd.DataFrame, matched: float) -> alt.LayerChart:
    """How near each feature's nearest counterpart in another dictionary is: share of features by cosine, a line a group.

    rows: low (where a bin of the cosine begins), group, share; matched: the cosine from which one counts as a counterpart.
    """
    looks = axes.series_looks(list(dict.fromkeys(rows["group"])))
    lines = (
        alt.Chart(rows)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X(
                "low:Q",
                title="cosine with its nearest counterpart",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(labelFlushOffset=axes.INSIDE),
            ),
            y=alt.Y("share:Q", title="share of features", axis=alt.Axis(format="%", tickCount=4)),
            color=alt.Color(
                "group:N",
                title=None,
                scale=alt.Scale(domain=list(looks), range=[look.colour for look in looks.values()]),
                legend=alt.Legend(orient="top", labelLimit=240),
            ),
            tooltip=[
                alt.Tooltip("group:N", title="features"),
                alt.Tooltip("low:Q", title="cosine from", format=".2f"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )
    rule = alt.Chart(pd.DataFrame({"matched": [matched]})).mark_rule(color=axes.GUIDE_COLOUR, strokeDash=[4, 4])
    return (rule.encode(x="matched:Q") + lines).properties(height=230)


def _changed_in(row: object, variant_a: str, variant_b: str) -> str:
    if row.changed_a and row.changed_b:
        return BOTH_SAME if row.change_a * row.change_b > 0 else BOTH_OPPOSITE
    return f"{variant_a} alone" if row.changed_a else f"{variant_b} alone" if row.changed_b else NEITHER


def cosine_shares(pairs: pd.DataFrame) -> pd.DataFrame:
    """The distribution of the best cosines in bins of 0.05, as shares of changed and of other features: low, group, share."""
    edges = np.linspace(0, 1, 21)
    groups = {"changed": pairs[pairs["changed"]], "all others": pairs[~pairs["changed"]]}
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "low": edges[:-1],
                    "group": f"{name} ({len(rows):,})",
                    "share": np.histogram(rows["cosine"].clip(0, 1), edges)[0] / len(rows),
                }
            )
            for name, rows in groups.items()
            if len(rows)
        ]
    )
