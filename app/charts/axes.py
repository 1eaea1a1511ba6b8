"""What all charts share: sizes, titles, names of strangers, colours of series; no Streamlit in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd

from app import words
from app.words import palette
from store.text import on_one_line

MOST_POINTS = 2000
"""No chart is sent more marks than this; what was left out is said on the chart."""

DRAWN_AS_SVG = {"embedOptions": {"renderer": "svg"}}
"""usermeta of a chart of about MOST_POINTS marks, which Streamlit would draw as pixels: those cannot be saved as SVG."""

ONE_OF_MANY = {"cursor": "pointer", "aria": False}
"""Of a mark that is one of so many: thousands of names would slow a page, and who hears it has the table beside the chart."""

AXIS_HEIGHT = 84
"""Pixels that the axis below a map takes, which count as the chart's own."""

LEGEND_HEIGHT = 46
"""Pixels that a legend above takes, likewise."""

TITLE_HEIGHT = 52
"""Pixels that a title with its subtitle takes, likewise."""

MOST_LETTERS = 80
"""Of a name in a chart."""

PANEL_WIDTH = 262
"""Pixels of a small chart beside others: four stand side by side at 1440, two at 1024."""

GUIDE_COLOUR = "rgba(128,128,128,0.7)"

CHANCE_TICK = {"color": palette.CHANCE_COLOUR, "thickness": 4, "stroke": "#ffffff", "strokeWidth": 0.8}
"""How a tick of what chance gives is drawn on a coloured bar: its edge keeps it apart from the bar, and from a dark page."""

INSIDE = -4
"""Pixels that the first and the last label of an axis from left to right stand inside it: else the last one's end is cut."""

UPRIGHT = {"labelFlush": False, "labelOverlap": False, "tickCount": 4}
"""Of the axis up a small chart: every label stands whole at its tick, the first and the last one too."""
NEAR_EDGE = 16
"""Pixels from an end of such an axis within which a label counts as its first or last."""

NEAR_ZERO = 0.35
"""An axis begins at 0 where the smallest value is below this share of the largest."""

BRIEFLY = "format(datum.value, abs(datum.value) < 1 ? '.3~r' : '.3~s')"
"""An axis' label: 50k for 50,000, but 0.5 for what the same format would call 500m."""


SIGNED_SHARE = "datum.value == 0 ? '0' : format(datum.value, '+.0%')"
"""Likewise, of a change."""


def across(**settings: Any) -> alt.Axis:
    """An axis of numbers from left to right, whose labels no edge of the chart cuts."""
    return alt.Axis(labelFlush=NEAR_EDGE, labelFlushOffset=INSIDE, **settings)


def reaches_zero(values: pd.Series) -> bool:
    """Whether 0 means something beside values that are never negative: it lies near them."""
    return bool(len(values) and values.min() < NEAR_ZERO * values.max())


def chart_title(text: str, subtitle: str, **settings: Any) -> alt.TitleParams:
    return alt.TitleParams(
        text,
        subtitle=subtitle,
        anchor="start",
        fontSize=14,
        subtitleColor=palette.QUIET_COLOUR,
        subtitleFontSize=12,
        **settings,
    )


def line_name(text: str, before: str = "of") -> str:
    """A name of somebody else's for a line of a tooltip: 'of NAME', without what would end a string of Vega's.

    Vega's tooltips take a line that is called `image` for a picture's address, and one called `title` for a heading; both
    would be fetched or shown when a mouse passes. With a word before it no name is one of theirs.
    """
    return f"{before} {printed(text)}".translate({ord('"'): "″", ord("\\"): "⧵"})


def printed(text: str) -> str:
    """A name of somebody else's for an axis, a legend or a title: one short line, with what cannot be seen as its number."""
    return words.short(on_one_line(text), MOST_LETTERS)


DASHES = {"dashed": [5, 4], "dotted": [2, 3]}
"""CSS line styles as Vega's dashes."""


class Look(NamedTuple):
    """Of a line: its colour and its CSS line style."""

    colour: str
    style: str = "solid"

    @property
    def dash(self) -> list[int]:
        """The style as Vega has it."""
        return DASHES.get(self.style, [1, 0])


def series_looks(names: Sequence[str]) -> dict[str, Look]:
    """Domains, segments or groups -> neutral colours, which come again dashed and dotted where there are more names."""
    colours, styles = palette.SERIES_COLOURS, ("solid", *DASHES)
    return {
        name: Look(colours[place % len(colours)], styles[place // len(colours) % len(styles)])
        for place, name in enumerate(names)
    }


def recipe_looks(groups: Mapping[str, Sequence[str]]) -> dict[str, Look]:
    """Variants -> the colour of their recipe, by its place; dashed where colours come again, dotted of its runs but the first.

    Args:
        groups: the first variant of each recipe -> it and its other runs, in the store's order.
    """
    colours, looks = palette.RECIPE_COLOURS, {}
    for place, (first, members) in enumerate(groups.items()):
        style = "dashed" if place // len(colours) % 2 else "solid"
        looks |= {name: Look(colours[place % len(colours)], style if name == first else "dotted") for name in members}
    return looks


def ink(field: str) -> dict:
    """Of the number in a coloured cell: black or white, whichever is more than 4.5:1 on the colour that `field` has there."""
    return alt.condition(f"luminance(scale('color', datum.{field})) > 0.179", alt.value("#000000"), alt.value("#ffffff"))
