"""95 % intervals over documents for the metrics of a layer, and for their excess over a control. Pure numpy and scipy.

Every metric is a ratio R = sum x_d / sum y_d over documents, or a function of one. Leaving document d out changes R by -r_d,
r_d = (x_d - R y_d) / (sum y - y_d): the variance of R is that of the r_d within strata (the jackknife), and the quantile is
t's with as many degrees of freedom as that variance is known to. Definitions: docs/metrics.md, "Intervals".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats

from store.metrics.evidence import strata
from store.metrics.layer import EXCESS_SIGN

LEVEL = 0.95
"""Of every interval."""

MIN_DOCUMENTS = 50
"""Below this many documents there is no interval."""


def intervals(
    documents: Mapping[str, np.ndarray],
    domain: np.ndarray,
    *,
    base_total_norm2: float,
    variant_total_norm2: float,
    mean_norm: float,
) -> dict[str, tuple[float, float]]:
    """The interval of every metric of :func:`store.metrics.layer.layer_values`, over one group of tokens.

    Args:
        documents: an array [documents] for each of :data:`store.metrics.layer.DOCUMENT_SUMS`. A document stands once (its
            segments added up); one without counted tokens is ignored.
        domain: [documents] the label of each document's domain.
        base_total_norm2, variant_total_norm2, mean_norm: as for ``layer_values``.

    Returns:
        Metric -> (low, high), symmetric about the metric; NaN below MIN_DOCUMENTS documents, and where the metric is
        undefined or hangs on a single document.
    """
    counts = documents["n_tokens"] > 0
    estimates = _estimates(documents, counts, base_total_norm2, variant_total_norm2, mean_norm)
    half_width = partial(_half_width, domain=np.asarray(domain)[counts])
    out = {}
    for name, estimate in estimates.items():
        half = half_width(estimate.residuals)
        out[name] = (estimate.value - half, estimate.value + half)
    return out


def excess_intervals(
    observed: Mapping[str, np.ndarray],
    control: Mapping[str, np.ndarray],
    domain: np.ndarray,
    *,
    observed_total_norm2: float,
    control_total_norm2: float,
) -> dict[str, tuple[float, float, float]]:
    """How much more changed than under a control, for every metric of EXCESS_SIGN that has an interval.

    Paired: the residuals of the difference are the differences of the residuals, document by document.

    Args:
        observed, control: the documents' sums of variant and control, as in :func:`intervals`; the same documents in the
            same order, over the same tokens.
        domain: [documents].
        observed_total_norm2, control_total_norm2: ||sum_t h||^2 of the variant and of the control.

    Returns:
        Metric -> (excess, low, high); low and high NaN as in :func:`intervals`.

    Raises:
        ValueError: the two do not have the same tokens in each document.
    """
    if not np.array_equal(observed["n_tokens"], control["n_tokens"]):
        raise ValueError("observed and control must have the same documents, with the same tokens, in the same order")
    counts = observed["n_tokens"] > 0
    of_variant = _estimates(observed, counts, np.nan, observed_total_norm2, np.nan)
    of_control = _estimates(control, counts, np.nan, control_total_norm2, np.nan)
    out = {}
    for name, sign in EXCESS_SIGN.items():
        if name in of_variant:
            excess = sign * (of_variant[name].value - of_control[name].value)
            with np.errstate(invalid="ignore"):  # both infinite: the metric hangs on a single document
                residuals = of_variant[name].residuals - of_control[name].residuals
            half = _half_width(residuals, np.asarray(domain)[counts])
            out[name] = (excess, excess - half, excess + half)
    return out


@dataclass(frozen=True)
class _Estimate:
    """A metric and what each document adds to its error, [documents]."""

    value: float
    residuals: np.ndarray

    def through(self, value: float, slope: float) -> "_Estimate":
        """A smooth function of this one, by its value and derivative here."""
        return _Estimate(float(value), slope * self.residuals)


def _estimates(
    documents: Mapping[str, np.ndarray],
    counts: np.ndarray,
    base_total_norm2: float,
    variant_total_norm2: float,
    mean_norm: float,
) -> dict[str, _Estimate]:
    """Every metric of ``layer_values`` with its residuals."""
    sums = {name: np.asarray(values, dtype=np.float64)[counts] for name, values in documents.items()}
    n = sums["n_tokens"]

    def ratio(numerator: str, denominator: str = "n_tokens") -> _Estimate:
        return _ratio(sums[numerator], sums[denominator])

    def fvu(model: str, total_norm2: float) -> _Estimate:
        return _ratio(sums[f"{model}_error2"], _variances(sums, model, total_norm2))

    norm2, shift2 = ratio("base_norm2"), ratio("delta_norm2", "base_norm2")
    uncovered, with_code = ratio("delta_error2", "delta_norm2"), _ratio(sums["n_latent_cosine"], n)
    size = np.sqrt(norm2.value) if norm2.value > 0 else np.nan
    return {
        "cosine": ratio("cosine"),
        "centred_cosine": ratio("centred_cosine"),
        "mean_alignment": norm2.through(mean_norm / size, -mean_norm / (2 * size**3)),
        "relative_shift": shift2.through(np.sqrt(shift2.value), 0.5 / np.sqrt(shift2.value) if shift2.value else 0.0),
        "overlap": ratio("overlap"),
        "weighted_overlap": ratio("minimum", "maximum"),
        "latent_cosine": ratio("latent_cosine", "n_latent_cosine"),
        "l1_divergence": ratio("l1_divergence"),
        "l0_base": ratio("l0_base"),
        "l0_variant": ratio("l0_variant"),
        "l0_inflation": ratio("l0_variant", "l0_base"),
        "fvu_base": fvu("base", base_total_norm2),
        "fvu_variant": fvu("variant", variant_total_norm2),
        "delta_coverage": uncovered.through(1 - uncovered.value, -1.0),
        "no_code_share": with_code.through(1 - with_code.value, -1.0),
    }


def _ratio(x: np.ndarray, y: np.ndarray) -> _Estimate:
    """sum x / sum y; NaN where sum y is not positive, its residuals too where one document holds all of y."""
    total = y.sum()
    if not total > 0:
        return _Estimate(float("nan"), np.full(len(x), np.nan))
    value = float(x.sum() / total)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _Estimate(value, (x - value * y) / (total - y))


def _variances(sums: Mapping[str, np.ndarray], model: str, total_norm2: float) -> np.ndarray:
    """Each document's part of sum ||h - mean(h)||^2, about the group's mean, [documents].

    Known are the sums about the pilot's mean mu. The group's mean m lies off it: sum ||h - mu||^2 is larger by
    N ||m - mu||^2, which is taken off in proportion to the tokens.
    """
    n, norm2 = sums["n_tokens"], sums[f"{model}_norm2"].sum()
    if not n.sum() > 0:
        return np.zeros(len(n))
    variance = norm2 - total_norm2 / n.sum()
    if not variance > 1e-12 * norm2:  # as in layer_values: rounding
        return np.zeros(len(n))
    centred2 = sums[f"{model}_centred2"]
    return centred2 - n * (centred2.sum() - variance) / n.sum()


def _half_width(residuals: np.ndarray, domain: np.ndarray) -> float:
    """Half the width: t * sqrt(V), V = sum over strata s of V_s, V_s = n_s / (n_s - 1) * sum e_d^2, e_d = r_d - mean_s.

    Degrees of freedom: V^2 / sum(V_s^2 / (n_s - 1)), Satterthwaite's; or, where fewer, 2 V^2 / (the variance of V, from the
    spread of e_d^2): where a few long documents make up most of V, it is known no better than they are many.
    """
    if len(residuals) < MIN_DOCUMENTS:
        return float("nan")
    _, number, sizes = np.unique(domain, return_inverse=True, return_counts=True)
    stratum = strata(sizes)[number]
    n = np.bincount(stratum)

    def means(values: np.ndarray) -> np.ndarray:
        return (np.bincount(stratum, weights=values) / n)[stratum]

    squares = (residuals - means(residuals)) ** 2
    inflation = n / (n - 1)
    parts = inflation * np.bincount(stratum, weights=squares)
    variance = parts.sum()
    if variance == 0:
        return 0.0
    of_variance = (inflation**2 * np.bincount(stratum, weights=(squares - means(squares)) ** 2)).sum()
    uncertainty = max((parts**2 / (n - 1)).sum(), of_variance / 2)
    return float(stats.t.ppf((1 + LEVEL) / 2, variance**2 / uncertainty) * np.sqrt(variance))
