"""How much of a feature's activation was lost, or is new, with an interval over clusters of documents. Pure numpy and scipy.

With A = sum of a and B = sum of b over the tokens that count, the *change* is (B - A) / max(A, B): minus the share of the
base's activation that is lost, or the share of the variant's that is new. -1: all lost, -0.5: lost half, 0.5: doubled, 1: new.

Let l be the larger of the two sums and s the smaller, by cluster l_c and s_c; R = sum s_c / sum l_c. The change is -(1 - R) or
1 - R, and the variance of R that of a ratio of cluster totals (Cochran 1977, section 6.3):
V = (k + 1) / (k - 1) * sum (s_c - R l_c)^2 / (sum l_c)^2. k = (sum l_c)^2 / sum l_c^2 is the number of clusters that share the
activation evenly (Kish 1965): one that holds nearly all counts as one. Cochran's factor is k / (k - 1), that of even clusters;
R lies nearer to the s_c / l_c of the large ones, so that uneven clusters scatter about it by less: 1 + 1 / k makes up for that
(coverage: extract/bench/change_coverage.py). Where nothing is left, V is 0, and how much there might be elsewhere is not known:
one more cluster, where nothing changed, stands for it, as in the estimate of a share of few (Agresti and Coull 1998).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from store.metrics.thresholds import LEVEL

SHARE_SUMS = ("a", "b", "cluster_a2", "cluster_b2", "cluster_ab")
"""Those of :data:`store.metrics.feature_numbers.FEATURE_SUMS` that a change is made from."""


@dataclass(frozen=True)
class Change:
    """Change of each feature of a layer; arrays [d_sae], NaN where it fires in neither model.

    Attributes:
        value: (B - A) / max(A, B).
        low, high: 95 % interval over clusters, within -1 and 1; NaN below two clusters.
        clusters: k, of the larger side.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    clusters: np.ndarray

    @property
    def nearest(self) -> np.ndarray:
        """The end of the interval that is nearer to no change; 0 where it holds 0, or there is none."""
        inner = np.where(self.value < 0, self.high, self.low)
        return np.where(inner * self.value > 0, inner, 0.0)

    @classmethod
    def of(cls, sums: Mapping[str, np.ndarray]) -> "Change":
        """From the sums of :data:`SHARE_SUMS`, [d_sae] each, all domains together."""
        a, b = sums["a"], sums["b"]
        fell = b < a
        larger, smaller = np.where(fell, a, b), np.where(fell, b, a)
        larger2 = np.where(fell, sums["cluster_a2"], sums["cluster_b2"])
        smaller2 = np.where(fell, sums["cluster_b2"], sums["cluster_a2"])
        fires = larger > 0
        rest = np.divide(smaller, larger, out=np.full(len(a), np.nan), where=fires)
        clusters = np.divide(larger**2, larger2, out=np.zeros(len(a)), where=fires)
        half = half_width(rest, scatter(smaller2, sums["cluster_ab"], larger2, rest, larger), widths(clusters))
        sign = np.where(fell, -1.0, 1.0)
        value = np.where(fires, change_between(a, b), np.nan)
        middle = sign * (1 - shrunk(rest, clusters))
        return cls(value, np.clip(middle - half, -1, 1), np.clip(middle + half, -1, 1), clusters)


def change_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(b - a) / the larger of the two, [features]; 0 where both are 0."""
    larger = np.maximum(a, b)
    return np.divide(b - a, larger, out=np.zeros(np.shape(larger)), where=larger > 0)


def scatter(smaller2: np.ndarray, product: np.ndarray, larger2: np.ndarray, rest: np.ndarray, larger: np.ndarray) -> np.ndarray:
    """sum (s_c - R l_c)^2 / (sum l_c)^2 [d_sae], from the sums over clusters of s_c^2, s_c l_c and l_c^2."""
    squares = smaller2 - 2 * rest * product + rest**2 * larger2
    squares = np.where(squares > 1e-12 * (smaller2 + larger2), squares, 0.0)  # below: rounding
    return np.divide(squares, larger**2, out=np.full(len(larger), np.nan), where=larger > 0)


def shrunk(rest: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """R with one more cluster in which nothing changed, as large as the others: (k R + 1) / (k + 1)."""
    return (clusters * rest + 1) / (clusters + 1)


def widths(clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the parts of :func:`half_width` are multiplied by, [d_sae] each; NaN below two clusters."""
    k = np.where(clusters > 2 - 1e-9, clusters, np.nan)  # two even ones, rounded
    own = stats.t.ppf((1 + LEVEL) / 2, k - 1) * np.sqrt((k + 1) / (k - 1)) * k / (k + 1)
    return own, stats.norm.ppf((1 + LEVEL) / 2) / (k + 1)


def half_width(rest: np.ndarray, scatter: np.ndarray, widths: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Half the interval of R [d_sae], the cluster more included.

    t with k - 1 degrees of freedom times sqrt((k + 1) / (k - 1) * scatter) for what the clusters say, and the normal quantile
    times the deviation of the one more, (1 - R) / (k + 1); both as of the shrunk ratio, squared and added up.
    """
    own, more = widths
    return np.hypot(own * np.sqrt(scatter), more * (1 - rest))
