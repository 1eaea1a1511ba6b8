"""What a variant learned and what it cost, in sentences, beside what a random change of the weights of that size does. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from store.numbers import significant

MUCH = 0.7
"""A correlation of the contributions of all features with another run's from which on both work through the same ones."""

signed = partial(significant, signed=True)


@dataclass(frozen=True)
class Learned:
    """A change of log-likelihood, nats a predicted token.

    Attributes:
        low, high: its 95 % interval; NaN where there is none.
        twins: of random changes of the weights of that size, on the same text.
    """

    gain: float
    low: float
    high: float
    twins: Sequence[float]

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
    """What of it passes through one layer: all, its features alone, and how many of them make half of that."""

    layer: int
    gain: float
    features: float
    carrying_half: int | None

    @property
    def order(self) -> str:
        """How its features are ordered so that those which carry most come first: by 'gain', or by 'loss'."""
        return "gain" if self.features >= 0 else "loss"


def task_sentence(found: Learned) -> str:
    """'On its own task it learned 0.75 nats a token (0.6 to 0.9); a random change of that size: -0.33.'"""
    if not found.twins:
        return f"On its own task the text gains {signed(found.gain)} nats a token{_interval(found)}; there are no twins."
    verb = "it learned" if found.is_learned else "nothing was learned that stands beyond chance:"
    return f"On its own task {verb} {signed(found.gain)} nats a token{_interval(found)}; {_beside(found)}."


def cost_sentence(found: Learned) -> str:
    """'On text that no variant was trained for it costs 0.22 nats a token, no more than a random change of that size: 0.25.'"""
    what = "On text that no variant was trained for"
    if not found.twins:
        return f"{what} it gains {signed(found.gain)} nats a token{_interval(found)}; there are no twins."
    if found.gain >= 0:
        return f"{what} it costs nothing: {signed(found.gain)} nats a token{_interval(found)}; {_beside(found)}."
    beyond = "more than" if found.is_cost else "no more than"
    cost = f"{significant(-found.gain)} nats a token{_interval(found, -1)}"
    return f"{what} it costs {cost}, {beyond} a random change of that size: {_range([-twin for twin in found.twins])}."


def through_sentence(found: Through) -> str:
    """'0.57 of it passes through layer 12, 0.3 through its features, of which 9 carry half.'"""
    half = "" if found.carrying_half is None else f", of which {found.carrying_half:,} carry half"
    if found.carrying_half == 1:
        half = ", half of which one carries"
    return (
        f"{signed(found.gain)} of it passes through layer {found.layer}, {signed(found.features)} through its features{half}."
    )


def agreement_sentence(runs: Sequence[float], twins: Sequence[float]) -> str:
    """'The recipe's other runs work through the same features (correlation +0.9; a random change of the weights: +0.02).'"""
    if not runs:
        return ""
    chance = f"; a random change of the weights: {_range(twins)}" if twins else ""
    same = "work through the same features" if min(runs) >= MUCH else "work only in part through the same features"
    return f"The recipe's other runs {same} (correlation {_range(runs)}{chance})."


def _interval(found: Learned, sign: int = 1) -> str:
    if found.low != found.low:
        return ""
    low, high = sorted((sign * found.low, sign * found.high))
    return f" ({significant(low)} to {significant(high)})"


def _beside(found: Learned) -> str:
    return f"a random change of that size: {_range(found.twins)}"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return signed(low) if low == high else f"{signed(low)} to {signed(high)}"
