"""How large the twins are made: each change is multiplied by a factor until its relative shift is its variant's.

The shift grows with about the first power of the factor (slopes of 1.00 to 1.09 were measured), so that secants of the
logarithms arrive in two or three readings of a sample of the pilot.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from extract.corpus.documents import Document
from store.numbers import percent

SAMPLE_TOKENS = 2_048
NEAR_ENOUGH = 0.05
"""By how much the twin's relative shift may differ from its variant's, in geometric mean over the layers."""
MOST_READINGS = 6
ROUNDING = 1e-3
"""A layer whose relative shift is below so much of the largest layer's does not say how large a change is."""
SLOPES = (0.25, 4.0)
"""Of the logarithm of the shift over that of the factor, as far as two readings are believed."""
LARGEST_STEP = 10.0
"""Of the factor, from one reading to the next."""

Shifts = Mapping[int, float]
"""Layer -> relative shift."""


@dataclass(frozen=True)
class TwinSize:
    """What a twin's size came to.

    Attributes:
        factor: by which its change is multiplied.
        ratio: its relative shift over the variant's, geometric mean over the layers that the variant changes; 1 where
            it changes none, and the twin is the base too.
    """

    factor: float
    ratio: float

    @property
    def is_near_enough(self) -> bool:
        """Whether it is as large as its variant."""
        return abs(self.ratio - 1) <= NEAR_ENOUGH


def sample(documents: Sequence[Document]) -> list[Document]:
    """The first of the pilot's documents, which take turns over the domains, until they have SAMPLE_TOKENS tokens."""
    chosen: list[Document] = []
    for document in documents:
        if sum(map(len, chosen)) >= SAMPLE_TOKENS:
            break
        chosen.append(document)
    return chosen


def relative_shift(base: torch.Tensor, other: torch.Tensor, sink_norm: float) -> float:
    """sqrt(sum ||h_b - h_a||^2 / sum ||h_a||^2) over the tokens that are no sinks.

    Args:
        base, other: float32 [n, d_model].
        sink_norm: a token whose base norm is beyond it does not count.
    """
    counts = base.norm(dim=1) <= sink_norm
    exact = base[counts].double()
    return float(((other[counts].double() - exact).square().sum() / exact.square().sum()).sqrt())


def find_size(read: Callable[[float], Shifts], variant: Shifts) -> TwinSize:
    """The factor at which a twin is as large as its variant, within NEAR_ENOUGH; after MOST_READINGS the nearest that was read.

    Args:
        read: factor -> the twin's relative shifts.
        variant: the variant's.
    """
    largest = max(variant.values())
    if largest == 0:
        return TwinSize(0.0, 1.0)
    moved = [layer for layer, shift in variant.items() if shift > ROUNDING * largest]
    tried: list[TwinSize] = []
    factor = 1.0
    for _ in range(MOST_READINGS):
        twin = read(factor)
        tried.append(TwinSize(factor, _geometric_mean(twin[layer] / variant[layer] for layer in moved)))
        if tried[-1].is_near_enough:
            break
        factor = _next(tried)
    return min(tried, key=lambda size: abs(math.log(size.ratio)) if size.ratio else math.inf)


def notes(sizes: Mapping[str, TwinSize]) -> list[str]:
    """A sentence for each twin that is not as large as its variant.

    Args:
        sizes: twin's name among the models -> its size.
    """
    return [
        f"The twin '{name}' came to {percent(size.ratio)} of its variant's size in {MOST_READINGS} readings, not to within "
        f"{percent(NEAR_ENOUGH)} of it; what its twins show is what changes of another size do."
        for name, size in sizes.items()
        if not size.is_near_enough
    ]


def _next(tried: Sequence[TwinSize]) -> float:
    """The next factor to read, by the secant through the last two readings; by the slope 1 where there is but one."""
    last = tried[-1]
    if last.ratio == 0:
        return last.factor * LARGEST_STEP
    slope = 1.0
    before = next((size for size in reversed(tried[:-1]) if size.ratio not in (0, last.ratio)), None)
    if before is not None:
        slope = math.log(last.ratio / before.ratio) / math.log(last.factor / before.factor)
        slope = min(max(slope, SLOPES[0]), SLOPES[1])
    step = last.ratio ** (-1 / slope)
    return last.factor * min(max(step, 1 / LARGEST_STEP), LARGEST_STEP)


def _geometric_mean(ratios: Iterable[float]) -> float:
    logarithms = [math.log(ratio) if ratio > 0 else -math.inf for ratio in ratios]
    return math.exp(sum(logarithms) / len(logarithms))
