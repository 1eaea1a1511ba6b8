"""A review report as one HTML page: what its template (review_page.html.j2) asks for. Pure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from markupsafe import Markup

from store.metrics import feature_columns
from store.metrics.thresholds import DENSE
from store.names import kind_name
from store.numbers import percent
from store.reports.review import list_in_words
from store.templates import macros

MOST_LISTED = 2000
"""Features named one by one where they were not reviewed; the JSON names all."""

STYLE = Markup(Path(__file__).with_name("review_page.css").read_text(encoding="utf-8"))
COLOURS = {"base": "31,131,198", "variant": "221,107,16"}
FACTS = [column for column in feature_columns.COLUMNS.values() if column.fact]
"""What is said of a judged feature."""


def as_html(content: dict[str, Any]) -> str:
    """The page for the content of :func:`store.reports.review.collect`."""
    return str(PAGE.page(content, STYLE))


def shaded(value: float, top: float, model: str) -> str:
    """A CSS colour, its opacity growing with the square root of value / top; empty where there is none."""
    return f"rgba({COLOURS[model]},{max(0.06, 0.62 * math.sqrt(value / top)):.2f})" if value > 0 else ""


def printable(text: str) -> str:
    """For a title, which holds no markup: a character that cannot be shown becomes a replacement."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


PAGE = macros(
    Path(__file__).with_name("review_page.html.j2"), in_words=list_in_words, facts=FACTS, most_listed=MOST_LISTED,
    printable=printable, shaded=shaded, kind_name=kind_name, dense=percent(DENSE), share=feature_columns.share,
)  # fmt: skip
