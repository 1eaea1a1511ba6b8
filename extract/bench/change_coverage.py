"""Synthetic features whose loss is known: how often the interval of a feature's change holds the truth."""

import numpy as np

from extract.bench.coverage import COVERAGE_TARGET
from extract.bench.page import Row
from store.metrics.shares import SHARE_SUMS, Change

LOSSES = (0.0, 0.3, 0.5, 0.8, 0.95, 1.0)
CLUSTERS = (10, 20, 40, 100)
"""That a feature fires in."""
UNEVEN = 1.0
"""Standard deviation of the logarithm of a cluster's weight: 100 clusters share the activation as 48 even ones would."""
ALIKE = 0.2
"""Correlation of what becomes of two firings of one cluster."""
FIRINGS, SHAPE, NOISE = 2.0, 4.0, 0.15
"""Mean firings that a cluster of weight 1 has beyond its first; shape of an activation's gamma law; standard deviation of the
logarithm by which what is left of a cluster's activation differs from the base's."""


def coverage_of_change(quick: bool) -> list[Row]:
    """How often the interval of a change holds it, by how much is lost; of features in few and in many clusters."""
    n_features = 1000 if quick else 20_000
    low, high = COVERAGE_TARGET
    slack = 0.02 if quick else 0.0
    rows = []
    for loss in LOSSES:
        covered = {n: change_coverage(n, loss, n_features, seed=n) for n in CLUSTERS}
        worst = min(covered, key=covered.get)
        most = high if loss <= 0.5 else 1.0  # of little that is left little is known: wider there is right
        met = all(low - slack <= share <= most + slack for share in covered.values())
        target = f"{low} to {high}" if most == high else f"at least {low}"
        rows.append(Row(f"features that lost {loss:.0%}: the least covered (of {worst} clusters)", covered[worst], target, met))
    return rows


def change_coverage(n_clusters: int, loss: float, n_features: int, seed: int) -> float:
    """The share of features, of those with an interval, whose interval holds the true change, minus ``loss``.

    Args:
        n_clusters: that the feature fires in.
    """
    change = Change.of(draw_features(np.random.default_rng(seed), n_clusters, loss, n_features))
    known = np.isfinite(change.low)
    return float(np.mean((change.low <= -loss)[known] & (change.high >= -loss)[known]))


def draw_features(rng: np.random.Generator, n_clusters: int, loss: float, n_features: int) -> dict[str, np.ndarray]:
    """SHARE_SUMS of features that lose each of their firings with probability ``loss``, each [n_features].

    Clusters are of log-normal weight; what share of its firings one keeps is a beta law's, so that firings of a cluster go
    together; what is kept changes a little, by a factor whose mean is 1. The expected sum is (1 - loss) times the base's.
    """
    shape = (n_features, n_clusters)
    firings = 1 + rng.poisson(FIRINGS * np.exp(UNEVEN * rng.normal(size=shape)))
    size = (1 - ALIKE) / ALIKE
    kept_share = rng.beta((1 - loss) * size, loss * size, size=shape) if 0 < loss < 1 else 1 - loss
    kept = rng.binomial(firings, kept_share)
    left, lost = (
        np.where(number > 0, rng.gamma(SHAPE * np.maximum(number, 1)) / SHAPE, 0.0) for number in (kept, firings - kept)
    )
    a, b = left + lost, left * np.exp(NOISE * rng.normal(size=shape) - NOISE**2 / 2)
    sums = (a, b, a**2, b**2, a * b)
    return {name: values.sum(axis=1) for name, values in zip(SHARE_SUMS, sums, strict=True)}
