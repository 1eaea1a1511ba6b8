"""From additive sums to numbers. Pure numpy; nothing here reads a file or knows a model.

Metrics of a layer: store/metrics/layer_metrics.py.

Notation, as in docs/metrics.md: base model A and variant B on the same tokens; residuals ``h_a``, ``h_b`` and
``delta = h_b - h_a``; scaled codes ``a``, ``b`` (raw code x ||W_dec,j||); N tokens that count.
"""

from collections.abc import Mapping

import numpy as np

from store.metrics.thresholds import FIT_FVU, FIT_TIMES, MISFIT_FVU, MISFIT_TIMES, NEARLY_ALL
from store.names import GATES, KINDS

FEATURE_SUMS = ("n11", "n10", "n01", "n_documents", "near", "a", "b", "a2", "b2", "both_a", "both_b")
"""Per feature and domain: tokens where it fires in both / base only / variant only, documents where it fires in either,
of the tokens where one side only fires those where it does so near the threshold, sums of a, b, a^2, b^2 over all tokens,
and of a and b over the tokens where both fire."""

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


def feature_values(sums: Mapping[str, np.ndarray], n_tokens: int) -> dict[str, np.ndarray]:
    """The feature metrics that a store keeps, from the sums of one variant, layer and domain; the others are VIRTUAL columns.

    Args:
        sums: an array [features] for each of :data:`FEATURE_SUMS`.
        n_tokens: N, the counted tokens of the domain at the layer.

    Returns:
        Column of feature_stats -> array [features]; NaN where undefined. ``shift`` and the means are scaled activation
        per counted token; ``kind`` is without a noise floor; ``std_shift`` divides by sqrt((var_a + var_b) / 2), population
        variances over the N tokens.
    """
    mean_a, mean_b = sums["a"] / n_tokens, sums["b"] / n_tokens
    # Not from the difference of the two means, which would lose digits where they nearly agree.
    shift = (sums["b"] - sums["a"]) / n_tokens
    variance_a = np.maximum(sums["a2"] / n_tokens - mean_a**2, 0.0)
    variance_b = np.maximum(sums["b2"] / n_tokens - mean_b**2, 0.0)
    rates = firing_rates(sums, n_tokens)
    return {
        "n_tokens": np.full(np.shape(shift), n_tokens),
        **{name: sums[name] for name in ("n11", "n10", "n01", "n_documents")},
        "mean_base": mean_a,
        "shift": shift,
        "std_shift": _ratios(shift, np.sqrt((variance_a + variance_b) / 2)),
        "magnitude_ratio": _ratios(sums["both_b"], sums["both_a"]),
        "kind": feature_kind(shift, rates["suppression"], rates["emergence"]),
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


def feature_kind(
    shift: np.ndarray, suppression: np.ndarray, emergence: np.ndarray, floor: np.ndarray | float = 0.0
) -> np.ndarray:
    """Name the change of each feature: one of :data:`KINDS`, as an array of strings [d_sae]; all arguments [d_sae].

    ``unchanged`` where |shift| <= floor, the noise floor of :func:`store.metrics.evidence.floors` (0 without controls).

    The sign of ``shift`` decides first, so that a feature that fires on other tokens than before is named by whether its
    mean fell or rose: down is ``vanished`` where at least 9 in 10 of the base's firings are gone, else ``attenuated``;
    up is ``appeared`` where at least 9 in 10 of the variant's firings are new, else ``amplified``.
    """
    vanished, attenuated, unchanged, amplified, appeared = KINDS
    return np.select(
        [np.abs(shift) <= floor, (shift < 0) & (suppression >= NEARLY_ALL), shift < 0, emergence >= NEARLY_ALL],
        [unchanged, vanished, attenuated, appeared],
        amplified,
    )


def systematic_share(
    total_norm2: float, document_norm2_sum: float, n_tokens: int, document_n2_sum: float, code_delta_norm2_sum: float
) -> float:
    """The share of the latent change that points the same way on every token: unbiased about 0 where none does.

    Args:
        total_norm2: ||sum_d S_d||^2, S_d the sum of b - a over the counted tokens of document d.
        document_norm2_sum: sum_d ||S_d||^2.
        n_tokens: N, of all or of each.
        document_n2_sum: sum_d n_d^2, n_d the document's counted tokens.
        code_delta_norm2_sum: sum over all counted tokens of ||b - a||^2.

    Returns:
        [(total_norm2 - document_norm2_sum) / (N^2 - document_n2_sum)] / [code_delta_norm2_sum / N]: only pairs of
        different documents enter. 1 where every token changes alike, may be negative; NaN below two documents or where
        nothing changed.
    """
    return _ratio(
        _ratio(total_norm2 - document_norm2_sum, n_tokens**2 - document_n2_sum), _ratio(code_delta_norm2_sum, n_tokens)
    )


def beyond_noise(shift: np.ndarray, shift_isotropic: np.ndarray) -> tuple[int, float]:
    """(number, share of sum |shift|) of the features whose |shift| exceeds every feature's |shift_isotropic|.

    The share is NaN where no feature shifted at all. Both arguments [d_sae].
    """
    size = np.abs(shift)
    beyond = size > np.max(np.abs(shift_isotropic), initial=0.0)
    return int(beyond.sum()), _ratio(size[beyond].sum(), size.sum())


def histogram_edges(activation_unit: float) -> np.ndarray:
    """The 33 bin edges [HISTOGRAM_BINS + 1] of a layer, in scaled activation; the outer bins also hold what is beyond."""
    return activation_unit * 2.0 ** (np.arange(-HISTOGRAM_BINS // 2, HISTOGRAM_BINS // 2 + 1) / 2)


def power_of_two(value: float) -> float:
    """The power of two nearest to a positive number (in the logarithm); 1 where there is none."""
    return float(2.0 ** np.round(np.log2(value))) if value > 0 else 1.0


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator) / float(denominator) if denominator > 0 else float("nan")


def _ratios(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    out = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)
