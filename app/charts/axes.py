"""What all charts share: sizes, titles, names of strangers, colours of series; no Streamlit in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from app import words
from app.words import palette
from store.text import on_one_line

MOST_POINTS = 2000
"""No chart is sent more marks than this; what was left out is said on the chart."""

DRAWN_AS_SVG = {"embedOptions": {"renderer": "svg"}}
"""usermeta of a chart of about MOST_POINTS marks, which Streamlit would draw as pixels: those cannot be saved as SVG."""

AXIS_HEIGHT = 84
"""Pixels that the axis below a map takes, which count as the chart's own."""

LEGEND_HEIGHT = 46
"""Pixels that a legend above takes, likewise."""

TITLE_HEIGHT = 52
"""Pixels that a title with its subtitle takes, likewise."""

MOST_LETTERS = 80
"""Of a name in a chart."""

GUIDE_COLOUR = "rgba(128,128,128,0.7)"

INSIDE = -4
"""Pixels that the first and the last label of an axis from left to right stand inside it: else the last one's end is cut."""

BRIEFLY = "format(datum.value, abs(datum.value) < 1 ? '.3~r' : '.3~s')"
"""An axis' label: 50k for 50,000, but 0.5 for what the same format would call 500m."""


SIGNED_SHARE = "datum.value == 0 ? '0' : format(datum.value, '+.0%')"
"""Likewise, of a change."""


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


def series_colour(position: int) -> str:
    """The colour of the series at that position of a profile's order."""
    return palette.SERIES_COLOURS[position % len(palette.SERIES_COLOURS)]


def series_looks(order: Sequence[str], runs: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """Colour and style of each series of a profile.

    Where there are more series than colours, the colours come again, dashed. runs: series -> the one that it is another run
    of (or itself), whose colour it has, dotted.
    """
    first = [name if runs is None else runs.get(name, name) for name in order]
    places = {name: place for place, name in enumerate(dict.fromkeys(first))}
    looks = []
    for name, of in zip(order, first, strict=True):
        style = "dashed" if places[of] // len(palette.SERIES_COLOURS) % 2 == 1 else "solid"
        looks.append((series_colour(places[of]), style if name == of else "dotted"))
    return looks


def ink(field: str) -> dict:
    """Of the number in a coloured cell: black or white, whichever is more than 4.5:1 on the colour that `field` has there."""
    return alt.condition(f"luminance(scale('color', datum.{field})) > 0.179", alt.value("#000000"), alt.value("#ffffff"))
