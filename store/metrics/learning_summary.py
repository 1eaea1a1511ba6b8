"""What a variant learned and what it cost, in sentences, beside what a random change of the weights of that size does. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from store.metrics.contributions import LEAST_CLUSTERS
from store.numbers import significant

MUCH = 0.7
"""A correlation of the contributions of all features with another run's from which on both work through the same ones."""

TOO_FEW = "too few clusters of documents to tell"

signed = partial(significant, signed=True)


@dataclass(frozen=True)
class Learned:
    """A change of log-likelihood, nats a predicted token.

    Attributes:
        low, high: its 95 % interval; NaN where there is none.
        n_clusters: of documents, that it is measured on.
        twins: of random changes of the weights of that size, on the same text.
    """

    gain: float
    low: float
    high: float
    n_clusters: int
    twins: Sequence[float]

    @property
    def has_interval(self) -> bool:
        """Whether there is one."""
        return not math.isnan(self.low)

    @property
    def is_open(self) -> bool:
        """Whether it says nothing because there are too few clusters: neither what was learned nor that nothing was."""
        return self.n_clusters < LEAST_CLUSTERS and not self.is_learned and not self.is_cost

    @property
    def is_learned(self) -> bool:
        """Whether it is above 0 and above every twin, with its interval; without twins nothing is."""
        return bool(self.twins) and self.low > max(0.0, *self.twins)

    @property
    def is_cost(self) -> bool:
        """Whether it is below 0 and below every twin, with its interval."""
        return bool(self.twins) and self.high < min(0.0, *self.twins)


@dataclass(frozen=True)
class Through:
    """What of it passes through one layer: all, its features alone, and how many of them make half of that.

    Attributes:
        whole: of the predictions that were taken apart, which are fewer than those of Learned.
    """

    layer: int
    whole: float
    gain: float
    features: float
    carrying_half: int | None

    @property
    def order(self) -> str:
        """How its features are ordered so that those which contribute most come first: by 'gain', or by 'loss'."""
        return "gain" if self.features >= 0 else "loss"


def task_sentence(found: Learned) -> str:
    """'On its own task it learned 0.75 nats a token (0.6 to 0.9); a random change of that size: -0.33.'"""
    amount = f"{signed(found.gain)} nats a token{_interval(found)}"
    if not found.twins:
        return f"On its own task the text gains {amount}; there are no twins."
    if found.is_open:
        return f"On its own task the text gains {amount}: {TOO_FEW}; {_beside(found)}."
    verb = "it learned" if found.is_learned else "nothing was learned that stands beyond chance:"
    verb = "it lost more than chance:" if found.is_cost else verb
    return f"On its own task {verb} {amount}; {_beside(found)}."


def cost_sentence(found: Learned) -> str:
    """'On text that no variant was trained for it costs 0.4 nats a token (0.3 to 0.5), more than a random change of that size:
    0.25.'"""
    what, amount = "On text that no variant was trained for", f"{signed(found.gain)} nats a token{_interval(found)}"
    if not found.twins:
        return f"{what} it gains {amount}; there are no twins."
    if found.is_open:
        return f"{what} it gains {amount}: {TOO_FEW}; {_beside(found)}."
    if found.high >= 0:
        return f"{what} {'it gains' if found.low > 0 else 'no cost can be told:'} {amount}; {_beside(found)}."
    beyond = "less than" if found.low > max(found.twins) else "not told from"
    beyond = "more than" if found.is_cost else beyond
    twins = _range([-twin for twin in found.twins], significant)
    amount = f"{significant(-found.gain)} nats a token{_interval(found, -1)}"
    return f"{what} it costs {amount}, {beyond} a random change of that size: {twins}."


def through_sentence(found: Through) -> str:
    """'Of +1 on the predictions that were taken apart +0.57 passes through layer 12: +0.3 through its features, 9 of which make
    half of that, +0.27 through what its dictionary cannot express.'"""
    half = "" if found.carrying_half is None else f", {found.carrying_half:,} of which make half of that"
    if found.carrying_half == 1:
        half = ", one of which makes half of that"
    return (
        f"Of {signed(found.whole)} on the predictions that were taken apart {signed(found.gain)} passes through layer "
        f"{found.layer}: {signed(found.features)} through its features{half}, {signed(found.gain - found.features)} through "
        "what its dictionary cannot express."
    )


def agreement(runs: Sequence[float], twins: Sequence[float]) -> Literal["much", "in part", "by chance"]:
    """How far runs work through the same features, from their correlations (at least one) and those of twins."""
    if twins and max(twins) >= min(runs):
        return "by chance"
    return "much" if min(runs) >= MUCH else "in part"


def agreement_sentence(runs: Sequence[float], twins: Sequence[float]) -> str:
    """'The recipe's other runs work through the same features (correlation +0.9; a random change of the weights: +0.02).'"""
    if not runs:
        return ""
    chance = f"; a random change of the weights: {_range(twins)}" if twins else ""
    how = {
        "much": "work through the same features", "in part": "work only in part through the same features",
        "by chance": "agree on the features no more than a random change of the weights does",
    }[agreement(runs, twins)]  # fmt: skip
    return f"The recipe's other runs {how} (correlation {_range(runs)}{chance})."


def _interval(found: Learned, sign: int = 1) -> str:
    if not found.has_interval:
        return ""
    low, high = sorted((sign * found.low, sign * found.high))
    return f" ({significant(low)} to {significant(high)})"


def _beside(found: Learned) -> str:
    return f"a random change of that size: {_range(found.twins)}"


def _range(values: Sequence[float], show: Callable[[float], str] = signed) -> str:
    low, high = min(values), max(values)
    return show(low) if low == high else f"{show(low)} to {show(high)}"
