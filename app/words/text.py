"""Names and sentences as a page writes them."""

from __future__ import annotations

import re
from collections.abc import Callable

from store.numbers import UNKNOWN
from store.text import markdown, on_one_line

MARKS = "\\`*_{}[]()<>#+-.!|~$:^=&"
"""Every character that Markdown, or Streamlit's colours and formulas, may take for more than itself."""

COMMAND = re.compile(r"'((?:python -m|make|hf) [^'`]+)'")
"""What a sentence of ours says to type, in quotes."""

HIDDEN = "[hidden: may be harmful]"
"""What is said in the place of a text that is covered until asked for."""


def feature_name(layer: int, feature: int) -> str:
    """How a feature is written everywhere: 'L12:431'; the search box understands it too."""
    return f"L{int(layer)}:{int(feature)}"


def file_name(*parts: str) -> str:
    """The name of a file to download, without its ending: letters and digits of any script, at most 60 of a part."""
    plain_parts = [re.sub(r"\W+", "-", part).strip("-")[:60] for part in parts]
    return "_".join(part for part in plain_parts if part)


def short(text: str, length: int) -> str:
    """Text cut to a length, the cut marked."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def span(low: float | None, high: float | None, write: Callable[[float], str]) -> str:
    """'-70 % to -52 %', or one number where both are written alike; '–' where an end is unknown."""
    first, last = write(low), write(high)
    if UNKNOWN in (first, last):
        return UNKNOWN
    return first if first == last else f"{first} to {last}"


def plain(text: str) -> str:
    """Untrusted text for a place that reads Markdown: every mark escaped, so that it shows as it is."""
    return markdown(text, MARKS)


def sentence(text: str) -> str:
    """A sentence of ours for a place that reads Markdown: as :func:`plain`, but what it says to type is code, to be copied."""
    parts = COMMAND.split(on_one_line(text))
    return "".join(f"`{part}`" if at % 2 else plain(part) for at, part in enumerate(parts))
