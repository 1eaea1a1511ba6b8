"""Known truth: does the statistics say what is there, and nothing else? ``python -m extract bench-truth``.

Each section makes data whose answer is known, sends it through the functions that a real merge uses, and returns rows of
(name, value, target, met). A section is a function of ``quick``; another one is a line in :data:`SECTIONS`.
"""

from collections.abc import Callable

from extract import ROOT
from extract.bench.change_coverage import coverage_of_change
from extract.bench.coverage import interval_coverage
from extract.bench.discoveries import false_claims, power
from extract.bench.nulls import known_nulls
from extract.bench.page import Row
from extract.bench.planted_losses import planted_losses
from extract.bench.planted_truth import planted_on_the_base

PAGE = ROOT / "docs" / "bench-truth.md"

SECTIONS: dict[str, Callable[[bool], list[Row]]] = {
    "Synthetic stores: nothing trained": false_claims,
    "Synthetic stores: losses in both runs": power,
    "Synthetic stores: intervals": interval_coverage,
    "Synthetic features: intervals of their change": coverage_of_change,
    "The demo's base: nulls beside a real pair": known_nulls,
    "The demo's base: losses and rises in both runs": planted_losses,
    "The demo's base: one planted feature at a time": planted_on_the_base,
}


def run(quick: bool = False) -> dict[str, list[Row]]:
    """Every section's rows, by its title; ``quick`` draws fewer stores."""
    return {title: section(quick) for title, section in SECTIONS.items()}
