"""Whether a feature's change is more than noise: tests over documents, noise floors, verdicts. Pure numpy and scipy.

The unit is the document: tokens of one text are not independent. For feature j and document d,
``D_d = sum over its counted tokens of (b - c)``, with b the variant's code and c the code of the base plus a random shift of
the same size (the isotropic control). If the variant were nothing but noise of that size, b and c could be exchanged, and
every D_d would be symmetric about 0. Definitions: docs/metrics.md, "Evidence about a feature".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from store.metrics.thresholds import (
    FLOOR_FEATURES,
    FLOOR_PERCENTILE,
    MOVED_SHARE,
    NEAR_THRESHOLD,
    POWER,
    SAME_DIRECTION,
    STRATUM_DOCUMENTS,
    TESTABLE_DOCUMENTS,
    TESTABLE_FIRINGS,
    Q,
)
from store.names import VERDICTS

Neighbours = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""From features [n] to arrays (feature, other, cosine) of decoder pairs beyond SAME_DIRECTION, nearest first for each."""


@dataclass(frozen=True)
class PooledChange:
    """How the features of one layer changed in one variant, all domains together; a, b, c: base, variant, isotropic control.

    Attributes:
        sums: n11, n10, n01, n_documents, each [d_sae], over all domains.
        shift: [d_sae] mean of b - a over the counted tokens.
        shift_isotropic: [d_sae] mean of c - a over the same tokens.
        near_threshold: [d_sae] share of the flips that are close to the threshold; NaN where there is none.
        total, square: float64 [domains, d_sae], sums over the documents of each domain of D_d and of D_d^2.
        n_documents: int [domains], all documents of each domain with counted tokens.
        n_tokens: N, counted tokens of all domains.
    """

    sums: Mapping[str, np.ndarray]
    shift: np.ndarray
    shift_isotropic: np.ndarray
    near_threshold: np.ndarray
    total: np.ndarray
    square: np.ndarray
    n_documents: np.ndarray
    n_tokens: int


def feature_evidence(change: PooledChange, neighbours: Neighbours, gate: str) -> dict[str, np.ndarray]:
    """Everything that feature_stats says of the pooled domains beyond the sums; the whole chain in one place.

    Args:
        neighbours: called once, with the features that go beyond noise.
        gate: the fit gate of this variant and layer, all domains together.

    Returns:
        Column -> array [d_sae]: floor, z, q, minimum_detectable (NaN where undefined), moved_to (-1 for none), verdict.
    """
    sums, shift = change.sums, change.shift
    z, se, df = document_z(change.total, change.square, change.n_documents)
    p = p_values(z, df)
    can_test = testable(sums["n11"], sums["n10"], sums["n01"], sums["n_documents"])
    q = q_values(p, can_test)
    floor = floors(change.shift_isotropic, (sums["n11"] + sums["n10"]) / max(1, change.n_tokens))
    passes = beyond(shift, floor, z, q)
    target = moved_to(shift, passes, neighbours(np.flatnonzero(passes)))
    verdict = verdicts(
        shift, passes=passes, testable=can_test, near_threshold=change.near_threshold, moved_to=target, gate=gate
    )
    return {
        "floor": floor,
        "z": z,
        "q": q,
        "minimum_detectable": minimum_detectable(se, df, change.n_tokens, p, q, can_test, floor),
        "moved_to": np.where(verdict == "moved", target, -1),
        "verdict": verdict,
    }


def strata(n_documents: np.ndarray) -> np.ndarray:
    """The stratum of each domain, int [domains], from 0; -1 where a domain has no document.

    A domain of at least STRATUM_DOCUMENTS documents is a stratum. The smaller ones are one stratum together, and where that
    is still too small it joins the smallest other one. Putting strata together adds the differences of their means to the
    variance: too wide rather than too narrow (Cochran 1977, section 5A.12).

    Args:
        n_documents: int [domains].
    """
    n_documents = np.asarray(n_documents)
    own = n_documents >= STRATUM_DOCUMENTS
    small = (n_documents > 0) & ~own
    out = np.full(len(n_documents), -1)
    out[own] = np.arange(own.sum())
    together = n_documents[small].sum()
    if together >= STRATUM_DOCUMENTS or not own.any():
        out[small] = own.sum()
    elif small.any():
        out[small] = out[own][np.argmin(n_documents[own])]
    return out


def document_z(total: np.ndarray, square: np.ndarray, n_documents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether D_d differs from 0 over documents.

    Args:
        total: float64 [domains, d_sae], sum of D_d over the documents of each domain; a document where nothing fires is 0.
        square: the same of D_d^2.
        n_documents: int [domains], all documents of the domain with counted tokens.

    Returns:
        (z, se, df), each [d_sae]: z = sum of all D_d / se; se^2 = sum over :func:`strata` s of V_s,
        V_s = n_s / (n_s - 1) * (sum D_d^2 - (sum D_d)^2 / n_s); df = (sum V_s)^2 / sum(V_s^2 / (n_s - 1)), Satterthwaite's:
        a feature that fires in one small domain has that domain's degrees of freedom, not the corpus's.
        z and df are NaN where se is 0, all three where there are fewer than two documents.
    """
    stratum = strata(n_documents)
    variance = np.zeros(total.shape[1])
    per_df = np.zeros(total.shape[1])
    for number in range(stratum.max(initial=-1) + 1):
        within = stratum == number
        n = int(np.asarray(n_documents)[within].sum())
        if n < 2:  # the only documents there are
            continue
        sum_, sum2 = total[within].sum(axis=0), square[within].sum(axis=0)
        scatter = sum2 - sum_**2 / n
        part = n / (n - 1) * np.where(scatter > 1e-12 * sum2, scatter, 0.0)  # below: rounding
        variance += part
        per_df += part**2 / (n - 1)
    defined = variance > 0
    se = np.sqrt(variance) if np.sum(n_documents) > 1 else np.full(len(variance), np.nan)
    z = np.divide(total.sum(axis=0), se, out=np.full(len(se), np.nan), where=defined)
    df = np.divide(variance**2, per_df, out=np.full(len(se), np.nan), where=defined & (per_df > 0))
    return z, se, df


def p_values(z: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Two-sided p [d_sae] of each z [d_sae] from t with df [d_sae] degrees of freedom; NaN where z is."""
    return 2 * stats.t.sf(np.abs(z), df)


def testable(n11: np.ndarray, n10: np.ndarray, n01: np.ndarray, n_documents: np.ndarray) -> np.ndarray:
    """bool [d_sae]: at least TESTABLE_FIRINGS of base and variant together, in at least TESTABLE_DOCUMENTS documents."""
    return (2 * n11 + n10 + n01 >= TESTABLE_FIRINGS) & (n_documents >= TESTABLE_DOCUMENTS)


def q_values(p: np.ndarray, testable: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's adjusted p over the testable features; NaN for the others.

    A testable feature without a p (b and c agree in every document) is no discovery and counts as p = 1.

    Args:
        p: [d_sae], NaN where there is none.
        testable: bool [d_sae].

    Returns:
        [d_sae].
    """
    q = np.full(len(p), np.nan)
    if np.any(testable):
        q[testable] = stats.false_discovery_control(np.where(np.isnan(p[testable]), 1.0, p[testable]), method="bh")
    return q


def floors(shift_isotropic: np.ndarray, freq_base: np.ndarray) -> np.ndarray:
    """What noise of that size does to features of like frequency, [d_sae].

    FLOOR_PERCENTILE of |shift_isotropic| over the FLOOR_FEATURES features around each one in the order of ``freq_base``
    (ties by feature number; the feature itself is among them; at either end the outermost ones). All features where a
    dictionary has no more than that.
    """
    size = np.abs(np.asarray(shift_isotropic, dtype=np.float64))
    n, width = len(size), FLOOR_FEATURES
    if n <= width:
        return np.full(n, np.percentile(size, FLOOR_PERCENTILE) if n else np.nan)
    order = np.argsort(freq_base, kind="stable")
    windows = np.lib.stride_tricks.sliding_window_view(size[order], width)
    place = (width - 1) * FLOOR_PERCENTILE / 100
    lower = int(place)
    values = np.empty(len(windows))
    for start in range(0, len(windows), 4096):  # a copy of all windows would be large
        chunk = np.partition(windows[start : start + 4096], (lower, lower + 1), axis=1)[:, lower : lower + 2]
        values[start : start + 4096] = chunk[:, 0] + (place - lower) * (chunk[:, 1] - chunk[:, 0])
    out = np.empty(n)
    out[order] = values[np.clip(np.arange(n) - width // 2, 0, n - width)]
    return out


def minimum_detectable(
    se: np.ndarray, df: np.ndarray, n_tokens: int, p: np.ndarray, q: np.ndarray, testable: np.ndarray, floor: np.ndarray
) -> np.ndarray:
    """The |shift| from which on this many documents would have shown a change with probability POWER, [d_sae].

    max(floor, t_{1 - alpha/2} * se / N) + t_{POWER} * se / N, alpha the largest p that was rejected, at least
    Q / testable features: the estimate must pass floor and test, and a shift that lies exactly there falls short half the time.
    NaN for features that are not testable: no shift of theirs would have been claimed.
    """
    out = np.full(len(se), np.nan)
    if not np.any(testable):
        return out
    alpha = max(Q / np.sum(testable), np.max(p[testable & (q < Q)], initial=0.0))
    known = np.where(np.isnan(df), np.inf, df)[testable]  # se is 0 there: the floor decides
    error = se[testable] / n_tokens
    out[testable] = np.maximum(floor[testable], stats.t.isf(alpha / 2, known) * error) + stats.t.ppf(POWER, known) * error
    return out


def beyond(shift: np.ndarray, floor: np.ndarray, z: np.ndarray, q: np.ndarray) -> np.ndarray:
    """bool [d_sae]: |shift| > floor, q < Q, and z has the sign of the shift.

    The last because z compares with the control: a rise that is smaller than the control's own is no rise.
    """
    return (np.abs(shift) > floor) & (q < Q) & (z * shift > 0)


def moved_to(
    shift: np.ndarray, passes: np.ndarray, neighbours: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """The neighbour that took over a feature's activation, or gave it, int64 [d_sae]; -1 for none.

    Args:
        shift: [d_sae].
        passes: bool [d_sae], :func:`beyond`; both features must.
        neighbours: arrays (feature, other, cosine) of pairs, nearest first for each feature; pairs that are not beyond
            SAME_DIRECTION are ignored.

    Returns:
        The nearest other whose shift has the other sign and is at least MOVED_SHARE times as large.
    """
    feature, other, cosine = (np.asarray(column) for column in neighbours)
    out = np.full(len(shift), -1, dtype=np.int64)
    if not len(feature):
        return out
    taken = (
        (cosine > SAME_DIRECTION)
        & passes[feature]
        & passes[other]
        & (shift[feature] * shift[other] < 0)
        & (np.abs(shift[other]) >= MOVED_SHARE * np.abs(shift[feature]))
    )
    first, place = np.unique(feature[taken], return_index=True)
    out[first] = other[taken][place]
    return out


def verdicts(
    shift: np.ndarray,
    *,
    passes: np.ndarray,
    testable: np.ndarray,
    near_threshold: np.ndarray,
    moved_to: np.ndarray,
    gate: str,
) -> np.ndarray:
    """What can be said of each feature: the first of docs/metrics.md's list that holds, one of store.names.VERDICTS.

    Args:
        shift: [d_sae].
        passes: bool [d_sae], :func:`beyond`.
        testable: bool [d_sae].
        near_threshold: [d_sae] share of flips close to the threshold; NaN where there is none.
        moved_to: int [d_sae], -1 for none.
        gate: the layer's fit gate for this variant.
    """
    suppressed, amplified, moved, does_not_fit, near, within_noise, untestable = VERDICTS
    misfit = np.full(len(shift), gate == does_not_fit)
    return np.select(
        [~testable, ~passes, near_threshold >= NEAR_THRESHOLD, moved_to >= 0, misfit, shift < 0],
        [untestable, within_noise, near, moved, does_not_fit, suppressed],
        amplified,
    )
