"""Several features under each other as HTML, a row each (side_by_side.html.j2). Pure.

Labels, names of variants and passages are untrusted text: the template shows them as they are, or has them as markup already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from store.templates import macros, style

STYLE = style(Path(__file__).with_name("side_by_side.css"))


@dataclass(frozen=True)
class Row:
    """One feature, all as it is written.

    Attributes:
        address: of its page.
        change, interval, verdict, twins: in the variant; twins: from their lowest to their highest change.
        others: its change in every other recipe, in the order of the table's.
        passage: as HTML; empty where none is kept.
    """

    address: str
    name: str
    label: str
    change: str
    interval: str
    verdict: str
    twins: str
    others: Sequence[str]
    contribution: str
    passage: Markup


def table(rows: Sequence[Row], variant: str, recipes: Sequence[str], has_twins: bool, has_contributions: bool) -> Markup:
    """The features as one table; recipes: the other ones. Twins and contributions have a column where there are any."""
    return STYLE + HTML.table(rows, variant, recipes, has_twins, has_contributions)


HTML = macros(Path(__file__).with_name("side_by_side.html.j2"))
