"""What a change amounts to, in three plain sentences: its size, its overlap against the noise floor, how systematic it is.

Pure functions of the rows of layer_metrics; the app and the page of findings say the same because both take it from here.
Three different things, never one sold as another: noise of a given size can change any number of features, so a low overlap
is no finding by itself, and a change that hardly lowers the overlap can still move a few features further than noise can.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from store.metrics.thresholds import MIN_DOCUMENTS
from store.names import OBSERVED
from store.numbers import fixed, number, percent

SIZES = (("small", 0.05), ("moderate", 0.2))
"""A change is called by the first bound that its relative shift is below, beyond them 'large'."""

RERUN_FACTOR = 2.0
"""Within this many times the base's own re-run, a shift is numerical noise; without a re-run, within NUMERICAL."""

NUMERICAL = 1e-5
"""Relative shift that rounding alone can make."""

MATERIAL_EXCESS = 0.01
"""A smaller excess of overlap is too small to matter, however surely it is not 0."""

MIN_BEYOND_NOISE = 10
"""So many features beyond the largest that noise moves are not chance. Were the variant noise of that size, it and the control
would be exchangeable, and the k features that moved furthest would all be the variant's with probability 2^-k."""

MIN_SYSTEMATIC_EXCESS = 0.05
"""Share of the latent change that points the same way, over what it is under noise, from which the change is systematic."""

PARTIAL_CONTROLS = {"shuffled": "another token's change", "mean_shift": "the mean change alone"}
"""Controls that keep part of what is systematic -> what they are called."""

HEADLINES = {
    "no change": "the variant does what the base does here",
    "no more than noise": "a random change of the same size would look like this",
    "systematic": "features move further, or more in one way, than a random change of the same size moves them",
    "more flips than noise": "more features switch than under noise of the same size, but none moves far: nothing systematic",
    "too few documents": "no statement is possible on so few documents",
    "no noise floor": "nothing to compare with: this store computed no control",
    "unknown": "the numbers are not defined here",
}
"""What a change comes down to -> what that means."""


@dataclass(frozen=True)
class Sentence:
    """One of the three. `level`: the decision in a word or two; `claim`: the decision as it is said; `numbers`: why."""

    level: str
    claim: str
    numbers: str

    @property
    def text(self) -> str:
        """The whole sentence."""
        return f"{self.claim}: {self.numbers}"


@dataclass(frozen=True)
class ChangeSummary:
    """The three sentences about one variant at one layer on one domain, and what they come down to (of HEADLINES).

    few_documents: whether they rest on fewer than MIN_DOCUMENTS, and may not hold beyond them.
    """

    headline: str
    few_documents: bool
    size: Sentence
    overlap: Sentence
    systematic: Sentence


def summarise(rows: pd.DataFrame, n_down: int | None = None) -> ChangeSummary:
    """What the change of one variant amounts to at one layer, on one domain.

    Args:
        rows: its rows of layer_metrics (segment 'all'): every metric, observed and under each control there is.
        n_down: how many of the features beyond noise fell (queries.beyond_noise); None where not known.
    """
    numbers = _Numbers(rows)
    size, overlap, systematic = _size(numbers), _overlap(numbers), _systematic(numbers, n_down)
    headline = _headline(size.level, overlap.level, systematic.level)
    return ChangeSummary(headline, numbers.n_documents < MIN_DOCUMENTS, size, overlap, systematic)


def _headline(size: str, overlap: str, systematic: str) -> str:
    if size == "none":
        return "no change"
    if systematic == "systematic":
        return "systematic"
    if "no noise floor" in (overlap, systematic):
        return "no noise floor"
    if overlap == "more":
        return "more flips than noise"
    if "too few documents" in (overlap, systematic):
        return "too few documents"
    return "unknown" if "unknown" in (overlap, systematic) else "no more than noise"


def _size(numbers: _Numbers) -> Sentence:
    shift = numbers.value("relative_shift")
    if shift is None:
        return Sentence("unknown", "Size unknown", "there is no norm to compare the change with.")
    said = f"relative shift {percent(shift)} of the base's norm"
    again = numbers.value("relative_shift", "rerun")
    if shift <= (NUMERICAL if again is None else max(NUMERICAL, RERUN_FACTOR * again)):
        beside = "" if again is None else f", and {percent(again)} when the base is run again"
        return Sentence("none", "No change beyond numerical noise", f"{said}{beside}.")
    word = next((name for name, bound in SIZES if shift < bound), "large")
    return Sentence(word, f"{word.capitalize()} change", f"{said}{numbers.interval('relative_shift', percent)}.")


def _overlap(numbers: _Numbers) -> Sentence:
    overlap = numbers.value("overlap")
    if overlap is None:
        return Sentence("unknown", "Overlap unknown", "no token counts here.")
    said, floor = _two_digits(overlap), numbers.value("overlap", "isotropic")
    if floor is None:
        claim = "Overlap without a noise floor beside it"
        return Sentence("no noise floor", claim, f"{said}; a random change of the same size may give as little.")
    said = f"overlap {said}; a random change of the same size gives {_two_digits(floor)}"
    said += numbers.interval("overlap", _two_digits, "isotropic")
    excess, low, high = numbers.excess("overlap", "isotropic")
    if low is None or high is None:
        claim = f"Too few documents ({numbers.n_documents:,}) to say whether more features changed than noise changes"
        return Sentence("too few documents", claim, f"{said}.")
    level = "no more"
    if low > 0 and excess >= MATERIAL_EXCESS:
        level = "more"
    elif high < 0 and excess <= -MATERIAL_EXCESS:
        level = "fewer"
    small = ", too small to matter" if level == "no more" and not low <= 0 <= high else ""
    claim = f"{level.capitalize()} features changed than noise of that size changes"
    return Sentence(level, claim, f"{said} (excess {_signed(excess)}{_between(low, high, _signed)}{small}).")


def _systematic(numbers: _Numbers, n_down: int | None) -> Sentence:
    beyond = numbers.value("n_beyond_noise")
    if numbers.value("overlap", "isotropic") is None or beyond is None:
        return Sentence("no noise floor", "Whether the change is systematic cannot be said", "there is no noise floor.")
    share, of_noise = numbers.value("systematic_share"), numbers.value("systematic_share", "isotropic") or 0.0
    few = numbers.n_documents < MIN_DOCUMENTS
    many = beyond >= MIN_BEYOND_NOISE
    one_way = share is not None and share - of_noise >= MIN_SYSTEMATIC_EXCESS and not few
    parts = [_features_beyond(int(beyond), n_down) + _beyond_under(numbers)]
    inflation, under_noise = numbers.value("l0_inflation"), numbers.value("l0_inflation", "isotropic")
    if inflation is not None and under_noise is not None:
        parts.append(f"L0 {_two_digits(inflation)}× against {_two_digits(under_noise)}× under noise")
    if share is not None:
        parts.append(f"{percent(share, 1)} of the latent change points the same way ({percent(of_noise, 1)} under noise)")
    said = f"{'; '.join(parts)}."
    if many or one_way:
        limit = f" Only {numbers.n_documents:,} documents: it may not hold beyond them." if few else ""
        return Sentence("systematic", "Systematic change", f"{said}{limit}")
    if few:
        return Sentence("too few documents", f"Too few documents ({numbers.n_documents:,}) to call it noise", said)
    return Sentence("noise", "No systematic change beyond noise", said)


def _features_beyond(n: int, n_down: int | None) -> str:
    if n == 0:
        return "no feature moves further than noise can"
    fallen = [] if n_down is None else [f"{n_down:,} of them down" if n > 1 else "down" if n_down else "up"]
    chance = [f"up to {MIN_BEYOND_NOISE - 1} may by chance"] if n < MIN_BEYOND_NOISE else []
    remarks = f" ({'; '.join(fallen + chance)})" if fallen or chance else ""
    return f"{n:,} feature{'s move' if n > 1 else ' moves'} further than noise can{remarks}"


def _beyond_under(numbers: _Numbers) -> str:
    """How many do under the controls that keep something of the change: whether it is the token's own, or one offset."""
    counts = [(numbers.value("n_beyond_noise", control), name) for control, name in PARTIAL_CONTROLS.items()]
    said = [f"{count:,.0f} under {name}" for count, name in counts if count is not None]
    return f", {' and '.join(said)}" if said else ""


class _Numbers:
    """The numbers of one summary by metric and control; None where there is none."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self._rows = {(row["metric"], row["control"]): row for row in rows.to_dict("records")}
        self.n_documents = max((int(row["n_documents"]) for row in self._rows.values()), default=0)

    def value(self, metric: str, control: str = OBSERVED) -> float | None:
        return self._number(metric, control, "value")

    def excess(self, metric: str, control: str) -> tuple[float | None, float | None, float | None]:
        """Excess and its interval."""
        return tuple(self._number(metric, control, name) for name in ("excess", "excess_low", "excess_high"))

    def interval(self, metric: str, show, control: str = OBSERVED) -> str:
        """' [4.0 % to 4.4 %]', or nothing where there is none."""
        return _between(self._number(metric, control, "low"), self._number(metric, control, "high"), show)

    def _number(self, metric: str, control: str, column: str) -> float | None:
        value = self._rows.get((metric, control), {}).get(column)
        return None if value is None or pd.isna(value) or math.isinf(value) else float(value)


def _between(low: float | None, high: float | None, show) -> str:
    return "" if low is None or high is None else f" [{show(low)} to {show(high)}]"


def _signed(value: float) -> str:
    return number(value, signed=True)


def _two_digits(value: float) -> str:
    return fixed(value, 2)
