"""Contributions as numbers a predicted token, with intervals over clusters of documents and shares of false claims. Pure numpy.

A contribution is a sum over the predictions of passages; R = sum x_c / sum n_c over clusters c, n_c their predictions. Its
variance is that of a ratio of cluster totals (Cochran 1977, section 6.3): k / (k - 1) * sum (x_c - R n_c)^2 / (sum n_c)^2 for k
clusters, its interval Student's with k - 1 degrees of freedom.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from store.metrics.thresholds import LEVEL

LEAST_CLUSTERS = 5
"""A feature that contributes in fewer clusters is not tested."""
KEPT = 100
"""Features of each variant, layer and domain that are kept, by the largest gain, the most negative, and the largest kl."""


@dataclass(frozen=True)
class ClusterSums:
    """Sums over k clusters of what some quantities add up to in each, [quantities] each; pure sums, so that 0 need not stand.

    Attributes:
        total: of x_c; squares: of x_c^2; products: of x_c n_c.
        n: of n_c, predictions; n_squares: of n_c^2.
    """

    total: np.ndarray
    squares: np.ndarray
    products: np.ndarray
    n: float
    n_squares: float
    clusters: int

    @classmethod
    def of(cls, x: np.ndarray, n: np.ndarray) -> "ClusterSums":
        """From x [clusters, quantities] and n [clusters]."""
        return cls(x.sum(0), (x**2).sum(0), (x * n[:, None]).sum(0), float(n.sum()), float((n**2).sum()), len(n))

    @classmethod
    def of_pairs(cls, cluster: np.ndarray, feature: np.ndarray, x: np.ndarray, n: np.ndarray, d_sae: int) -> "ClusterSums":
        """From what some (cluster, feature) add, [pairs] each, 0 elsewhere.

        Args:
            cluster: int, place in ``n``; a pair may stand several times.
            n: [clusters].
        """
        keys, place = np.unique(cluster * d_sae + feature, return_inverse=True)
        sums = np.bincount(place, x, minlength=len(keys))
        of_cluster, of_feature = n[keys // d_sae], keys % d_sae
        total, squares, products = (
            np.bincount(of_feature, values, minlength=d_sae) for values in (sums, sums**2, sums * of_cluster)
        )
        return cls(total, squares, products, float(n.sum()), float((n**2).sum()), len(n))


@dataclass(frozen=True)
class Ratios:
    """Contributions a predicted token, [quantities] each.

    Attributes:
        low, high: 95 % interval over clusters; NaN below two clusters.
        p: two-sided, of no contribution; NaN where there is no interval.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray

    @classmethod
    def of(cls, sums: ClusterSums) -> "Ratios":
        """Without predictions everything is NaN."""
        if not sums.n:
            nothing = np.full(len(sums.total), np.nan)
            return cls(nothing, nothing, nothing, nothing)
        value = sums.total / sums.n
        if sums.clusters < 2:
            nothing = np.full(len(value), np.nan)
            return cls(value, nothing, nothing, nothing)
        squares = sums.squares - 2 * value * sums.products + value**2 * sums.n_squares
        k = sums.clusters
        error = np.sqrt(np.clip(squares, 0, None) * k / (k - 1)) / sums.n
        half = stats.t.ppf((1 + LEVEL) / 2, k - 1) * error
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2 * stats.t.sf(np.abs(value / error), k - 1)
        return cls(value, value - half, value + half, np.where(value == 0, 1.0, p))


def false_shares(p: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Shares of false claims q [quantities] among those with a p at most as large (Benjamini and Hochberg 1995).

    Args:
        tested: bool; the others get NaN.
    """
    q = np.full(len(p), np.nan)
    if tested.any():
        q[tested] = stats.false_discovery_control(np.clip(p[tested], 0, 1))
    return q


def carrying_half(contributions: np.ndarray) -> int | None:
    """How many features make half of the sum of all, the largest of its sign first; None where the sum is 0.

    The others take away from it, so that the first few may make more than the whole.
    """
    total = contributions.sum()
    if not len(contributions) or total == 0:
        return None
    largest = np.sort(contributions * np.sign(total))[::-1]
    return int(np.argmax(np.cumsum(largest) >= abs(total) / 2)) + 1


def carried(gain: float, features: float) -> float:
    """How much of what passes through a layer its features alone make: the lesser of both sizes, 0 where they oppose.

    What they make beyond the whole is taken away again by what the dictionary cannot express.
    """
    return min(abs(gain), abs(features)) if gain * features > 0 else 0.0


def completeness(path: np.ndarray, true: np.ndarray) -> float:
    """By how much of what passes through a layer the integrated gradients miss it: |sum path - sum true| / sum |true|.

    Args:
        path, true: [passages]; NaN where nothing passes through it.
    """
    size = np.abs(true).sum()
    return float(abs(path.sum() - true.sum()) / size) if size else float("nan")


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, of the contributions of every feature [d_sae] of two models; NaN where all of one's are equal."""
    if not (np.ptp(a) and np.ptp(b)):
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
