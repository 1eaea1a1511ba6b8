"""Known truth: does the statistics say what is there, and nothing else? ``python -m extract bench-truth``.

Each section makes data whose answer is known, sends it through the functions that a real merge uses, and returns rows of
(name, value, target, met). A section is a function of ``quick``; another one is a line in :data:`SECTIONS`.
"""

from collections.abc import Callable

from extract import ROOT
from extract.bench.change_coverage import coverage_of_change
from extract.bench.contribution_truth import contributions_and_patching
from extract.bench.coverage import interval_coverage
from extract.bench.discoveries import false_claims, power
from extract.bench.nulls import known_nulls
from extract.bench.page import Row
from extract.bench.planted_losses import planted_losses
from extract.bench.planted_truth import planted_on_the_base
from store.errors import UserError
from store.numbers import listed

PAGE = ROOT / "docs" / "bench-truth.md"

SECTIONS: dict[str, Callable[[bool], list[Row]]] = {
    "Synthetic stores: nothing trained": false_claims,
    "Synthetic stores: losses in both runs": power,
    "Synthetic stores: intervals": interval_coverage,
    "Synthetic features: intervals of their change": coverage_of_change,
    "The demo's base: nulls beside a real pair": known_nulls,
    "The demo's base: losses and rises in both runs": planted_losses,
    "The demo's base: one planted feature at a time": planted_on_the_base,
    "The demo's variants: contributions beside patching": contributions_and_patching,
}


def run(quick: bool = False, section: str = "") -> dict[str, list[Row]]:
    """The rows of the sections whose title has ``section`` in it, by title; ``quick`` draws fewer stores.

    Raises:
        UserError: no title has.
    """
    chosen = {title: rows for title, rows in SECTIONS.items() if section.lower() in title.lower()}
    if not chosen:
        raise UserError(f"--section is '{section}'; give a part of one of these titles: {listed(SECTIONS)}.")
    return {title: rows(quick) for title, rows in chosen.items()}
