"""From additive sums to numbers. Pure numpy; nothing here reads a file or knows a model.

Notation, as in docs/metrics.md: base model A and variant B on the same tokens; residuals ``h_a``, ``h_b`` and
``delta = h_b - h_a``; scaled codes ``a``, ``b`` (raw code x ||W_dec,j||); N tokens that count.
"""

from collections.abc import Mapping

import numpy as np

from store.names import KINDS

RESIDUAL_METRICS = (
    "cosine",
    "centred_cosine",
    "base_norm2",
    "variant_norm2",
    "base_centred2",
    "variant_centred2",
    "delta_norm2",
    "base_error2",
    "variant_error2",
    "delta_error2",
)
"""Per-token quantities that need the residuals themselves."""

CODE_METRICS = (
    "overlap",
    "minimum",
    "maximum",
    "latent_cosine",
    "n_latent_cosine",
    "l1_divergence",
    "code_delta_norm2",
    "l0_base",
    "l0_variant",
)
"""Per-token quantities that need only the codes."""

DOCUMENT_SUMS = ("n_tokens", *RESIDUAL_METRICS, *CODE_METRICS)
"""Columns of the table document_sums, each a sum over the counted tokens of one document and segment."""

COUNT_SUMS = ("n_tokens", "n_latent_cosine", "l0_base", "l0_variant")
"""Those of :data:`DOCUMENT_SUMS` that are counts (int64); the others are float64."""

FEATURE_SUMS = ("n11", "n10", "n01", "n_documents", "near", "a", "b", "a2", "b2", "both_a", "both_b")
"""Per feature and domain: tokens where it fires in both / base only / variant only, documents where it fires in either,
of the tokens where one side only fires those where it does so near the threshold, sums of a, b, a^2, b^2 over all tokens,
and of a and b over the tokens where both fire."""

EXCESS_SIGN = {
    "overlap": -1,
    "weighted_overlap": -1,
    "latent_cosine": -1,
    "delta_coverage": -1,
    "l1_divergence": 1,
    "l0_variant": 1,
    "l0_inflation": 1,
    "fvu_variant": 1,
    "systematic_share": 1,
}
"""excess = sign x (observed - control): positive always says that more changed than under the control."""

HISTOGRAM_BINS = 32
"""Half-octave bins over 2^-8 .. 2^8 times the layer's activation unit."""


def layer_values(
    sums: Mapping[str, float], base_total_norm2: float, variant_total_norm2: float, mean_norm: float
) -> dict[str, float]:
    """Every layer metric of one group of tokens.

    Args:
        sums: one number for each of :data:`DOCUMENT_SUMS`, summed over the group.
        base_total_norm2: ||sum_t h_a||^2 over the group's tokens.
        variant_total_norm2: ||sum_t h_b||^2.
        mean_norm: ||mu||, the norm of the base's mean residual in the pilot.

    Returns:
        Metric name -> value; NaN where there is nothing to divide by. Norms are in the residual stream's own units,
        ``l1_divergence`` in scaled activation per token, ``l0_*`` in features per token; the others have no unit.
    """
    n = sums["n_tokens"]
    fvu_base = _fvu(sums["base_error2"], sums["base_norm2"], base_total_norm2, n)
    fvu_variant = _fvu(sums["variant_error2"], sums["variant_norm2"], variant_total_norm2, n)
    return {
        "cosine": _ratio(sums["cosine"], n),
        "centred_cosine": _ratio(sums["centred_cosine"], n),
        "mean_alignment": _ratio(mean_norm, np.sqrt(_ratio(sums["base_norm2"], n))),
        "relative_shift": np.sqrt(_ratio(sums["delta_norm2"], sums["base_norm2"])),
        "overlap": _ratio(sums["overlap"], n),
        "weighted_overlap": _ratio(sums["minimum"], sums["maximum"]),
        "latent_cosine": _ratio(sums["latent_cosine"], sums["n_latent_cosine"]),
        "l1_divergence": _ratio(sums["l1_divergence"], n),
        "l0_base": _ratio(sums["l0_base"], n),
        "l0_variant": _ratio(sums["l0_variant"], n),
        "l0_inflation": _ratio(sums["l0_variant"], sums["l0_base"]),
        "fvu_base": fvu_base,
        "fvu_variant": fvu_variant,
        "delta_coverage": 1.0 - _ratio(sums["delta_error2"], sums["delta_norm2"]),
        "no_code_share": 1.0 - _ratio(sums["n_latent_cosine"], n),
    }


def fit_gate(fvu_base: float, fvu_variant: float) -> str:
    """Whether the base's dictionary still describes the variant here.

    ``fits`` where fvu_variant <= min(0.5, 1.5 x fvu_base); ``does not fit`` where fvu_variant > 0.8 or > 3 x fvu_base;
    else ``strained``. An undefined fvu (NaN: fewer than two different tokens) cannot vouch for anything: ``strained``.
    """
    if fvu_variant > 0.8 or fvu_variant > 3 * fvu_base:
        return "does not fit"
    if fvu_variant <= min(0.5, 1.5 * fvu_base):
        return "fits"
    return "strained"


def feature_values(
    sums: Mapping[str, np.ndarray], n_tokens: int, floor: np.ndarray | float = 0.0
) -> dict[str, np.ndarray]:
    """Every feature metric from the sums of one variant, layer and domain.

    Args:
        sums: an array [features] for each of :data:`FEATURE_SUMS`.
        n_tokens: N, the counted tokens of the domain at the layer.
        floor: [features] the noise floor of ``kind``; 0 without controls.

    Returns:
        Column of feature_stats -> array [features]; NaN where undefined. ``shift`` and the means are scaled activation
        per counted token; ``std_shift`` divides by sqrt((var_a + var_b) / 2), population variances over the N tokens.
    """
    n11, n10, n01 = sums["n11"], sums["n10"], sums["n01"]
    n_a, n_b = n11 + n10, n11 + n01
    mean_a, mean_b = sums["a"] / n_tokens, sums["b"] / n_tokens
    # Not from the difference of the two means, which would lose digits where they nearly agree.
    shift = (sums["b"] - sums["a"]) / n_tokens
    variance_a = np.maximum(sums["a2"] / n_tokens - mean_a**2, 0.0)
    variance_b = np.maximum(sums["b2"] / n_tokens - mean_b**2, 0.0)
    suppression, emergence = _ratios(n10, n_a), _ratios(n01, n_b)
    return {
        "n_tokens": np.full(np.shape(n11), n_tokens),
        "n11": n11,
        "n10": n10,
        "n01": n01,
        "n_documents": sums["n_documents"],
        "freq_base": n_a / n_tokens,
        "freq_variant": n_b / n_tokens,
        "log_ratio": np.log2((n_b + 0.5) / (n_a + 0.5)),
        "mean_base": mean_a,
        "mean_variant": mean_b,
        "shift": shift,
        "std_shift": _ratios(shift, np.sqrt((variance_a + variance_b) / 2)),
        "suppression": suppression,
        "emergence": emergence,
        "magnitude_ratio": _ratios(sums["both_b"], sums["both_a"]),
        "kind": feature_kind(shift, suppression, emergence, floor),
    }


def feature_kind(
    shift: np.ndarray, suppression: np.ndarray, emergence: np.ndarray, floor: np.ndarray | float = 0.0
) -> np.ndarray:
    """Name the change of each feature: one of :data:`KINDS`, as an array of strings.

    ``unchanged`` where |shift| <= floor, the noise floor of :func:`store.metrics.evidence.floors` (0 without controls).

    The sign of ``shift`` decides first, so that a feature that fires on other tokens than before is named by whether its
    mean fell or rose: down is ``vanished`` where at least 9 in 10 of the base's firings are gone, else ``attenuated``;
    up is ``appeared`` where at least 9 in 10 of the variant's firings are new, else ``amplified``.
    """
    vanished, attenuated, unchanged, amplified, appeared = KINDS
    return np.select(
        [np.abs(shift) <= floor, (shift < 0) & (suppression >= 0.9), shift < 0, emergence >= 0.9],
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
        n_tokens: N.
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

    The share is NaN where no feature shifted at all.
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


def _fvu(error2: float, norm2: float, total_norm2: float, n: float) -> float:
    """sum ||h - dec||^2 / sum ||h - mean(h)||^2; NaN where the tokens do not differ by more than float64 rounding."""
    variance = norm2 - _ratio(total_norm2, n)
    return _ratio(error2, variance) if variance > 1e-12 * norm2 else float("nan")


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator) / float(denominator) if denominator > 0 else float("nan")


def _ratios(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    out = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)
