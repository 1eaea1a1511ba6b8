"""Names and sentences as a page writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from store.numbers import UNKNOWN
from store.text import markdown, on_one_line

MARKS = "\\`*_{}[]()<>#+-.!|~$:^=&"
"""Every character that Markdown, or Streamlit's colours and formulas, may take for more than itself."""

COMMAND = re.compile(r"'((?:python -m|make|hf) [^'`]+)'")
"""What a sentence of ours says to type, in quotes."""

NAMED_FEATURE = re.compile(r"L([0-9]{1,4}):([0-9]{1,9})")

AUTOMATIC = "automatic"
"""The label_source of labels that were worked out of where a feature fires."""
AUTO = " (auto)"
"""What is said behind such a label, or once above many of them."""


def feature_name(layer: int, feature: int) -> str:
    """How a feature is written everywhere: 'L12:431'; the search box understands it too."""
    return f"L{int(layer)}:{int(feature)}"


def named_feature(text: str) -> tuple[int, int] | None:
    """The layer and number that a name of :func:`feature_name` says; None for anything else."""
    found = NAMED_FEATURE.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else None


def file_name(*parts: str) -> str:
    """The name of a file to download, without its ending: letters and digits of any script, at most 60 of a part."""
    plain_parts = [re.sub(r"\W+", "-", part).strip("-")[:60] for part in parts]
    return "_".join(part for part in plain_parts if part)


def short(text: str, length: int) -> str:
    """Text of at most `length` letters, the cut marked by an ellipsis: between words, and never inside a token in quotes.

    Only where that would leave less than a third, as of one long word, it is cut where it has to be.
    """
    if len(text) <= length:
        return text
    kept = text[: length - 1]
    ends = [at for at in range(1, length) if text[at].isspace() and not _is_quoted(text[:at])]
    if ends and ends[-1] >= length / 3:
        kept = kept[: ends[-1]]
    return kept.rstrip(" ,;:·→(“") + "…"


def label(text: str | None, source: str | None, length: int = 80) -> str:
    """What a feature is taken to stand for, in at most `length` letters; one that no person gave is marked. Empty for none.

    source: the store's label_source.
    """
    if not isinstance(text, str) or not text:
        return ""
    mark = AUTO if source == AUTOMATIC else ""
    return short(text, length - len(mark)) + mark


def all_automatic(sources: Iterable[str | None]) -> bool:
    """Whether features have labels and no person gave any of them, so that it is said once; sources: their label_source."""
    return {source for source in sources if isinstance(source, str)} == {AUTOMATIC}


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


def _is_quoted(before: str) -> bool:
    """Whether what follows a text stands in quotes that it opened."""
    return before.count("“") > before.count("”")
