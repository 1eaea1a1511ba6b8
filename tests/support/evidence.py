"""The statistics of docs/metrics.md a second time, naively: strata, intervals, tests, floors, verdicts, feature by feature."""

from collections import Counter
from itertools import combinations

import numpy as np
from scipy import stats


def strata(labels: list[str]) -> list[str]:
    """The stratum of each document: its domain; those of fewer than 10 documents together, or with the smallest domain."""
    sizes = Counter(labels)
    large = {label: size for label, size in sizes.items() if size >= 10}
    together = "small"
    if large and sum(size for size in sizes.values() if size < 10) < 10:
        together = min(sorted(large), key=large.get)
    return [label if label in large else together for label in labels]


def half_width(without: np.ndarray, labels: list[str]) -> float:
    """Half of a jackknife interval of 95 % from the estimates without each document."""
    variance, satterthwaite, spread = 0.0, 0.0, 0.0
    groups = np.array(strata(labels))
    for group in sorted(set(groups)):
        values = without[groups == group]
        n, e2 = len(values), (values - values.mean()) ** 2
        part = n / (n - 1) * e2.sum()
        variance += part
        satterthwaite += part**2 / (n - 1)
        spread += (n / (n - 1)) ** 2 * ((e2 - e2.mean()) ** 2).sum()
    if variance == 0:
        return 0.0
    df = min(variance**2 / satterthwaite, 2 * variance**2 / spread if spread > 0 else np.inf)
    return stats.t.ppf(0.975, df) * np.sqrt(variance)


def systematic(change: np.ndarray, document: np.ndarray) -> float:
    """Mean dot product of the changes of two tokens of different documents, over the mean square of a token's change.

    Args:
        change: float64 [tokens, d_sae]; document: [tokens].
    """
    numbers = sorted(set(document))
    sums = {d: change[document == d].sum(0) for d in numbers}
    sizes = Counter(document.tolist())
    together = pairs = 0.0
    for left, right in combinations(numbers, 2):
        together += 2 * float(sums[left] @ sums[right])
        pairs += 2 * sizes[left] * sizes[right]
    each = (change**2).sum(1).mean()
    return together / pairs / each if pairs and each > 0 else np.nan


def decided(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    *,
    differences: np.ndarray,
    labels: list[str],
    document: np.ndarray,
    near: np.ndarray,
    cosines: np.ndarray,
    misfit: bool,
) -> dict[str, np.ndarray]:
    """z, q, near_threshold, minimum_detectable, moved_to (NaN for none) and verdict of every feature.

    Args:
        a, b, c: scaled codes of base, variant and isotropic control, [tokens, d_sae].
        differences: [documents, d_sae], sums of b - c.
        labels: domain of each of those documents.
        document: of each token.
        near: share of the flips near the threshold.
        cosines: [d_sae, d_sae] of decoder rows.
        misfit: whether the gate says 'does not fit'.
    """
    n_tokens, d_sae = a.shape
    shift = (b - a).mean(0)
    floor = np.percentile(np.abs((c - a).mean(0)), 99)
    z, p, df, error = (np.full(d_sae, np.nan) for _ in range(4))
    for feature in range(d_sae):
        z[feature], df[feature], error[feature] = tested(differences[:, feature], labels)
        p[feature] = 2 * stats.t.sf(abs(z[feature]), df[feature])
    firings = (a > 0).sum(0) + (b > 0).sum(0)
    seen = [len(set(document[(a[:, j] > 0) | (b[:, j] > 0)])) for j in range(d_sae)]
    testable = [j for j in range(d_sae) if firings[j] >= 50 and seen[j] >= 20]
    q = adjusted({j: 1.0 if np.isnan(p[j]) else p[j] for j in testable})
    rejected = [p[j] for j in testable if q[j] < 0.05]
    passes = {j for j in testable if abs(shift[j]) > floor and q[j] < 0.05 and z[j] * shift[j] > 0}
    minimum = np.full(d_sae, np.nan)
    for j in testable:
        alpha = max([0.05 / len(testable), *rejected])
        degrees = np.inf if np.isnan(df[j]) else df[j]
        se = error[j] / n_tokens
        minimum[j] = max(floor, stats.t.ppf(1 - alpha / 2, degrees) * se) + stats.t.ppf(0.8, degrees) * se
    moved, verdict = np.full(d_sae, np.nan), np.full(d_sae, "untestable", dtype=object)
    for j in testable:
        others = [k for k in passes if k != j and cosines[j, k] > 0.7 and shift[j] * shift[k] < 0]
        others = sorted((k for k in others if abs(shift[k]) >= abs(shift[j]) / 2), key=lambda k: -cosines[j, k])
        if j not in passes:
            verdict[j] = "within noise"
        elif near[j] >= 0.5:
            verdict[j] = "near threshold"
        elif others:
            verdict[j], moved[j] = "moved", others[0]
        elif misfit:
            verdict[j] = "does not fit"
        else:
            verdict[j] = "suppressed" if shift[j] < 0 else "amplified"
    return {
        "z": z,
        "q": np.array([q.get(j, np.nan) for j in range(d_sae)]),
        "near_threshold": near,
        "minimum_detectable": minimum,
        "moved_to": moved,
        "verdict": verdict,
    }


def tested(differences: np.ndarray, labels: list[str]) -> tuple[float, float, float]:
    """(z, degrees of freedom, standard error of the sum) of one feature's document sums of b - c."""
    groups = np.array(strata(labels))
    parts, sizes = [], []
    for group in sorted(set(groups)):
        values = differences[groups == group]
        n = len(values)
        parts.append(n / (n - 1) * ((values - values.mean()) ** 2).sum())
        sizes.append(n)
    variance = sum(parts)
    if variance == 0:
        return np.nan, np.nan, 0.0
    df = variance**2 / sum(part**2 / (n - 1) for part, n in zip(parts, sizes, strict=True))
    return differences.sum() / np.sqrt(variance), df, np.sqrt(variance)


def adjusted(p: dict[int, float]) -> dict[int, float]:
    """Benjamini and Hochberg's q of each p: the smallest m p / rank from its own rank on."""
    order = sorted(p, key=p.get)
    raised = [min(1.0, len(p) * p[j] / rank) for rank, j in enumerate(order, start=1)]
    return {j: min(raised[place:]) for place, j in enumerate(order)}
