"""From additive sums to numbers. Pure numpy; nothing here reads a file or knows a model.

Metrics of a layer: store/metrics/layer_metrics.py.

Notation, as in docs/metrics.md: base model A and variant B on the same tokens; residuals ``h_a``, ``h_b`` and
``delta = h_b - h_a``; scaled codes ``a``, ``b`` (raw code x ||W_dec,j||); N tokens that count.
"""

from collections.abc import Mapping

import numpy as np

from store.metrics.shares import change_between
from store.metrics.thresholds import FIT_FVU, FIT_TIMES, MATERIAL, MISFIT_FVU, MISFIT_TIMES, NEARLY_ALL
from store.names import GATES, KINDS

FEATURE_SUMS = (
    "n11", "n10", "n01", "n_documents", "n_clusters", "near", "a", "b", "a2", "b2", "both_a", "both_b",
    "cluster_a2", "cluster_b2", "cluster_ab",
)  # fmt: skip
"""Per feature and domain: tokens where it fires in both / base only / variant only, documents and clusters where it fires in
either, of the tokens where one side only fires those where it does so near the threshold, sums of a, b, a^2, b^2 over all
tokens, and of a and b over the tokens where both fire; with A_c, B_c the sums of a and b in cluster c, the sums over clusters
of A_c^2, B_c^2 and A_c B_c."""

HISTOGRAM_BINS = 32
"""Half-octave bins over 2^-8 .. 2^8 times the layer's activation unit."""


def fit_gate(fvu_base: float, fvu_variant: float) -> str:
    """Whether the base's dictionary still describes the variant here.

    ``fits`` where fvu_variant <= min(0.5, 1.5 x fvu_base); ``does not fit`` where fvu_variant > 0.8 or > 3 x fvu_base;
    else ``strained``. An undefined fvu (NaN: fewer than two different tokens) cannot vouch for anything: ``strained``.
    """
    fits, strained, does_not_fit = GATES
    if fvu_variant > MISFIT_FVU or fvu_variant > MISFIT_TIMES * fvu_base:
        return does_not_fit
    return fits if fvu_variant <= min(FIT_FVU, FIT_TIMES * fvu_base) else strained


def feature_values(sums: Mapping[str, np.ndarray], n_tokens: int, material: float = MATERIAL) -> dict[str, np.ndarray]:
    """The feature metrics that a store keeps, from the sums of one variant, layer and domain; the others are VIRTUAL columns.

    Args:
        sums: an array [features] for each of :data:`FEATURE_SUMS`; n_documents and n_clusters may be left out.
        n_tokens: N, the counted tokens of the domain at the layer.
        material: share from which a change is material.

    Returns:
        Column of feature_stats -> array [features]; NaN where undefined. ``shift`` and the means are scaled activation
        per counted token; ``std_shift`` divides by sqrt((var_a + var_b) / 2), population
        variances over the N tokens.
    """
    mean_a, mean_b = sums["a"] / n_tokens, sums["b"] / n_tokens
    # Not from the difference of the two means, which would lose digits where they nearly agree.
    shift = (sums["b"] - sums["a"]) / n_tokens
    variance_a = np.maximum(sums["a2"] / n_tokens - mean_a**2, 0.0)
    variance_b = np.maximum(sums["b2"] / n_tokens - mean_b**2, 0.0)
    return {
        "n_tokens": np.full(np.shape(shift), n_tokens),
        **{name: sums[name] for name in ("n11", "n10", "n01", "n_documents", "n_clusters") if name in sums},
        "mean_base": mean_a,
        "shift": shift,
        "std_shift": _ratios(shift, np.sqrt((variance_a + variance_b) / 2)),
        "magnitude_ratio": _ratios(sums["both_b"], sums["both_a"]),
        "kind": feature_kind(change_between(sums["a"], sums["b"]), material),
    }


def firing_rates(sums: Mapping[str, np.ndarray], n_tokens: int | np.ndarray) -> dict[str, np.ndarray]:
    """How often features fire, for what is decided by it before there is a store, which works the same out when it is read.

    Args:
        sums: an array [features] for each of n11, n10, n01.
        n_tokens: N, of all or of each.

    Returns:
        freq_base, freq_variant, log_ratio, suppression, emergence -> array [features]; NaN where undefined.
    """
    n_a, n_b = sums["n11"] + sums["n10"], sums["n11"] + sums["n01"]
    return {
        "freq_base": n_a / n_tokens,
        "freq_variant": n_b / n_tokens,
        "log_ratio": np.log2((n_b + 0.5) / (n_a + 0.5)),
        "suppression": _ratios(sums["n10"], n_a),
        "emergence": _ratios(sums["n01"], n_b),
    }


def feature_kind(change: np.ndarray, material: float) -> np.ndarray:
    """Name the change of each feature: one of :data:`KINDS`, as an array of strings [features].

    ``vanished`` where at least 9 tenths are lost, ``weakened`` where a material share is; ``appeared`` where at least 9 tenths
    are new, ``strengthened`` where a material share is; else ``steady``.

    Args:
        change: [features], of :func:`store.metrics.shares.change_between`.
        material: share from which a change is material.
    """
    vanished, weakened, steady, strengthened, appeared = KINDS
    bounds = [change <= -NEARLY_ALL, change <= -material, change >= NEARLY_ALL, change >= material]
    return np.select(bounds, [vanished, weakened, appeared, strengthened], steady)


def neighbour_against(
    change: np.ndarray, material: np.ndarray, neighbours: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """The nearest decoder neighbour that changed materially the other way, int64 [d_sae]; -1 for none.

    Args:
        change: [d_sae].
        material: bool [d_sae]; both features must be.
        neighbours: arrays (feature, other, cosine) of decoder pairs beyond SAME_DIRECTION, nearest first for each feature.
    """
    feature, other, _ = (np.asarray(column) for column in neighbours)
    out = np.full(len(change), -1, dtype=np.int64)
    against = material[feature] & material[other] & (change[feature] * change[other] < 0)
    first, place = np.unique(feature[against], return_index=True)
    out[first] = other[against][place]
    return out


def histogram_edges(activation_unit: float) -> np.ndarray:
    """The 33 bin edges [HISTOGRAM_BINS + 1] of a layer, in scaled activation; the outer bins also hold what is beyond."""
    return activation_unit * 2.0 ** (np.arange(-HISTOGRAM_BINS // 2, HISTOGRAM_BINS // 2 + 1) / 2)


def power_of_two(value: float) -> float:
    """The power of two nearest to a positive number (in the logarithm); 1 where there is none."""
    return float(2.0 ** np.round(np.log2(value))) if value > 0 else 1.0


def _ratios(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    out = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)
