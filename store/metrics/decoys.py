"""How many of the changes that are claimed a random change of the weights would have given: twins as decoys. Pure numpy.

Every feature of every twin is a decoy: what a change of the weights that means nothing, as large as the variant's, did to
it. Where the variant's own changes are no more than that, as many decoys as features pass any bar; so the share of false
ones among the features beyond a bar is at most about (1 + decoys beyond it, a draw) / (features beyond it), the +1 because
one more decoy might have been there (target-decoy competition: Elias and Gygi 2007; Barber and Candes 2015). Falls and
rises are told apart.

The bar is laid on the *score*: how far the end of a change's interval that is nearer to no change lies, as -log of the
share that stays, so that a decoy's can be divided by how much larger its twin is than the variant (shift grows as the first
power of the size). It is in units of what twins do to features of like frequency and strength: rare and weak ones change
easily.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np

from store.metrics.shares import Change

FREQUENCIES, STRENGTHS = 5, 3
"""Strata of like features: fifths by how often they fire in the base, in each of them thirds by how strongly..."""
LEAST_FEATURES = 60
"""...where each then has so many features or more; else fewer strata."""
USUAL_PERCENTILE = 95
"""Of the decoys' scores in a stratum: the unit of its scores."""
MOST_WAYS = 16
"""Of taking one twin of each run of a recipe."""
LEAST_UNIT = 0.1
"""A change of a tenth is nothing, however steady twins leave like features."""


def scores(change: Change, direction: int, size_ratio: float = 1.0) -> np.ndarray:
    """Score [d_sae] of a change in one direction, 0 where the interval holds no change.

    Args:
        direction: -1 for falls, 1 for rises.
        size_ratio: the variant's relative shift at the layer over the twin's.
    """
    sure = np.clip(direction * change.nearest, 0.0, 1.0)
    return -np.log1p(-np.minimum(sure, 1 - 1e-12)) * size_ratio


def strata(firings: np.ndarray, activation: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The stratum of each feature, int [d_sae] from 0: of like frequency, and there of like strength.

    Args:
        firings: [d_sae] tokens where it fires in the base.
        activation: [d_sae] sum of its scaled activation there.
        counted: bool [d_sae], the features whose quantiles part the strata.
    """
    n = int(counted.sum())
    n_strengths = STRENGTHS if n >= STRENGTHS * LEAST_FEATURES else 1
    n_frequencies = int(np.clip(n // (n_strengths * LEAST_FEATURES), 1, FREQUENCIES))
    by_frequency = _parts(firings, counted, n_frequencies)
    strength = np.divide(activation, firings, out=np.zeros(len(firings)), where=firings > 0)
    by_strength = np.zeros(len(firings), dtype=np.int64)
    for number in range(n_frequencies):
        within = by_frequency == number
        by_strength[within] = _parts(strength[within], counted[within], n_strengths)
    return by_frequency * n_strengths + by_strength


def units(of_twins: Sequence[np.ndarray], stratum: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """What a score is measured in, [d_sae]: USUAL_PERCENTILE of the twins' scores in its stratum, at least LEAST_UNIT.

    Args:
        of_twins: scores [d_sae] of each twin.
        counted: bool [d_sae], those whose scores enter.
    """
    out = np.full(len(stratum), LEAST_UNIT)
    for number in np.unique(stratum[counted]):
        decoys = [of_twin[counted & (stratum == number)] for of_twin in of_twins]
        out[stratum == number] = max(LEAST_UNIT, float(np.percentile(np.concatenate(decoys), USUAL_PERCENTILE)))
    return out


def shared(of_members: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """The least score [d_sae] over members, for every way of taking one twin of each: what recurs by chance.

    Where there are more than MOST_WAYS, for so many of them, in which each twin stands about as often.

    Args:
        of_members: for every member of a group the scores [d_sae] of its twins.
    """
    if math.prod(map(len, of_members)) <= MOST_WAYS:
        return [np.min(chosen, axis=0) for chosen in product(*of_members)]
    ways = ([twins[(k + m * (k // len(twins))) % len(twins)] for m, twins in enumerate(of_members)] for k in range(MOST_WAYS))
    return [np.min(chosen, axis=0) for chosen in ways]


def false_shares(targets: np.ndarray, decoys: Sequence[np.ndarray], independent: int) -> np.ndarray:
    """The estimated share of false ones among the features that score at least as high, [d_sae]; monotone, at most 1.

    (1 / independent + decoys beyond, a draw) / features beyond.

    Args:
        targets: scores [d_sae] of the variant; 0 or less: not in question, NaN comes back.
        decoys: for each draw the decoys' scores, those in question.
        independent: how many of the draws are: ways of taking one twin of each run share their twins.
    """
    out = np.full(len(targets), np.nan)
    asked = np.flatnonzero(targets > 0)
    if not len(asked) or not decoys:
        return out
    mine = np.sort(targets[asked])
    beyond = sum(len(of_draw) - np.searchsorted(np.sort(of_draw), mine) for of_draw in decoys)
    at_least = len(mine) - np.searchsorted(mine, mine)
    share = np.minimum((1 / independent + beyond / len(decoys)) / at_least, 1.0)
    share = np.minimum.accumulate(share)  # a lower bar may have the smaller share, never a higher one the larger
    out[asked] = share[np.searchsorted(mine, targets[asked])]
    return out


def bar(targets: np.ndarray, share: np.ndarray, decoys: Iterable[np.ndarray], level: float) -> float:
    """The lowest score that is claimed; where none is, what would have to be beaten: the highest decoy (0 without any)."""
    claimed = targets[share <= level]
    return float(claimed.min()) if len(claimed) else max((float(of_draw.max(initial=0.0)) for of_draw in decoys), default=0.0)


def _parts(values: np.ndarray, counted: np.ndarray, n: int) -> np.ndarray:
    """Which of n parts of about as many counted values each lies in, int [len(values)]."""
    if n == 1 or not counted.any():
        return np.zeros(len(values), dtype=np.int64)
    return np.searchsorted(np.quantile(values[counted], np.arange(1, n) / n), values, side="right")
