"""Any answer to a query as a chart: which columns can be drawn, how, and two of them against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from app.charts import axes
from app.words import palette

MOST_CATEGORIES = 30
"""More different words than this are not told apart by a colour, nor are more bars readable."""

MARKS = ("points", "line", "bars")


def column_kind(values: pd.Series) -> str | None:
    """How a column is drawn: 'quantitative', 'ordinal', 'nominal' or 'temporal'; None where it cannot be (lists)."""
    if pd.api.types.is_bool_dtype(values):
        return "nominal"
    if pd.api.types.is_integer_dtype(values):
        return "ordinal" if values.nunique() <= MOST_CATEGORIES else "quantitative"
    if pd.api.types.is_numeric_dtype(values):
        return "quantitative"
    if pd.api.types.is_datetime64_any_dtype(values):
        return "temporal"
    known = values.dropna()
    return "nominal" if len(known) == 0 or known.map(lambda value: isinstance(value, str)).all() else None


def default_axes(frame: pd.DataFrame) -> tuple[str, str, str | None]:
    """Columns for x, y and colour that make a first chart: y a number, x what comes before it, colour a few words."""
    kinds = {name: kind for name in frame if (kind := column_kind(frame[name]))}
    numbers = [name for name in kinds if pd.api.types.is_numeric_dtype(frame[name])]
    y = next((name for name in numbers if kinds[name] == "quantitative"), (numbers or list(kinds))[-1])
    x = next((name for name in kinds if name != y and kinds[name] != "nominal"), next((n for n in kinds if n != y), y))
    colour = next((n for n in kinds if n not in (x, y) and kinds[n] == "nominal" and frame[n].nunique() <= 8), None)
    return x, y, colour


def default_mark(frame: pd.DataFrame, x: str, y: str) -> str:
    """Bars over words, a line over ordered whole numbers, points for all else."""
    kinds = column_kind(frame[x]), pd.api.types.is_numeric_dtype(frame[y])
    return {("nominal", True): "bars", ("ordinal", True): "line", ("temporal", True): "line"}.get(kinds, "points")


def chart(
    frame: pd.DataFrame, x: str, y: str, colour: str | None, mark: str, known: Mapping[str, axes.Look] | None = None
) -> alt.Chart:
    """Two columns of an answer against each other, one more as colour; at most axes.MOST_POINTS rows are drawn.

    known: word -> its look on every page: base and variants.

    The columns go in under names of our own: theirs may be anything. So may the words in them: long ones are cut.
    """
    roles = {"x": x, "y": y} | ({"colour": colour} if colour is not None else {})
    data = pd.DataFrame({role: frame[name] for role, name in roles.items()}).head(axes.MOST_POINTS)
    for role in roles:
        if column_kind(data[role]) == "nominal" and not pd.api.types.is_bool_dtype(data[role]):
            data[role] = data[role].map(axes.printed, na_action="ignore")
    kinds = {role: column_kind(data[role]) or "nominal" for role in roles}
    if pd.api.types.is_numeric_dtype(data["y"]) and not pd.api.types.is_bool_dtype(data["y"]):
        kinds["y"] = "quantitative"
    axis = alt.Axis(labelAngle=0, labelLimit=140) if kinds["x"] in ("ordinal", "nominal") else alt.Axis(labelLimit=140)
    scale = alt.Scale(zero=mark == "bars") if kinds["y"] == "quantitative" else alt.Undefined
    channels = {
        "x": alt.X("x", type=kinds["x"], title=axes.printed(x), axis=axis),
        "y": alt.Y("y", type=kinds["y"], title=axes.printed(y), scale=scale),
        "tooltip": [
            alt.Tooltip(role, type=kinds[role], title=axes.line_name(name, before=role)) for role, name in roles.items()
        ],
    }  # fmt: skip
    if colour is not None:
        channels |= _colours(data["colour"], kinds["colour"], axes.printed(colour), mark, known or {})
    base = alt.Chart(data).encode(**channels)
    drawn = {
        "points": lambda: base.mark_point(filled=True, size=45, opacity=0.75),
        "line": lambda: base.mark_line(point=True),
        "bars": lambda: base.mark_bar(),
    }[mark]()
    return drawn.properties(height=420)


def _colours(values: pd.Series, kind: str, title: str, mark: str, known: Mapping[str, axes.Look]) -> dict[str, Any]:
    """The channels of a colour: an amount's ramp, or the looks of words; those of a chart without a known one take recipes'."""
    if kind not in ("nominal", "ordinal"):
        return {"color": alt.Color("colour", type=kind, title=title, scale=alt.Scale(range=palette.RAMP))}
    order = _order(values)
    others = [name for name in order if name not in known]
    looks = axes.series_looks(others) if len(others) < len(order) else axes.recipe_looks({name: [name] for name in others})
    looks |= known
    scale = alt.Scale(domain=order, range=[looks[name].colour for name in order])
    channels = {"color": alt.Color("colour", type="nominal", title=title, scale=scale)}
    if mark == "line":
        dashes = alt.Scale(domain=order, range=[looks[name].dash for name in order])
        channels["strokeDash"] = alt.StrokeDash("colour", type="nominal", title=title, scale=dashes)
    if mark == "bars":
        channels["xOffset"] = alt.XOffset("colour", type=kind)
    return channels


def _order(values: pd.Series) -> list:
    return sorted(values.dropna().unique().tolist())[:MOST_CATEGORIES]


def few_enough(values: pd.Series) -> bool:
    """Whether a column can be a colour: numbers always, words where there are not too many different ones."""
    kind = column_kind(values)
    return kind == "quantitative" or (kind is not None and values.nunique() <= MOST_CATEGORIES)
