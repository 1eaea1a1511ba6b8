"""95 % intervals over documents for the metrics of a layer, and for their excess over a control. Pure numpy and scipy.

The variance of a metric is that of its documents' influence (store/metrics/estimates.py) within strata: the jackknife. The
quantile is t's with as many degrees of freedom as that variance is known to. Definitions: docs/metrics.md, "Intervals".
"""

from collections.abc import Mapping

import numpy as np
from scipy import stats

from store.metrics.estimates import GroupSums
from store.metrics.evidence import strata
from store.metrics.layer_metrics import METRICS, estimates
from store.metrics.thresholds import LEVEL, MIN_DOCUMENTS


def intervals(
    documents: Mapping[str, np.ndarray],
    domain: np.ndarray,
    *,
    base_total_norm2: float,
    variant_total_norm2: float,
    mean_norm: float,
) -> dict[str, tuple[float, float]]:
    """The interval of every metric of :func:`store.metrics.layer_metrics.layer_values`, over one group of tokens.

    Args:
        documents: an array [documents] for each of DOCUMENT_SUMS (store/format/document_sums.py). A document stands once (its
            segments added up); one without counted tokens is ignored.
        domain: [documents] the label of each document's domain.
        base_total_norm2, variant_total_norm2, mean_norm: as for ``layer_values``.

    Returns:
        Metric -> (low, high), symmetric about the metric; NaN below MIN_DOCUMENTS documents, and where the metric is
        undefined or hangs on a single document.
    """
    domain = np.asarray(domain)[documents["n_tokens"] > 0]
    group = GroupSums.of_documents(documents, base_total_norm2, variant_total_norm2, mean_norm)
    out = {}
    for name, estimate in estimates(group).items():
        half = _half_width(estimate.influence, domain)
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
    """How much more changed than under a control, for every metric of the catalogue with an excess that has an interval.

    Paired: the influence on the difference is the difference of the influences, document by document.

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
    domain = np.asarray(domain)[observed["n_tokens"] > 0]
    norms = ((observed, observed_total_norm2), (control, control_total_norm2))
    of_variant, of_control = (
        estimates(GroupSums.of_documents(sums, np.nan, norm2, np.nan)) for sums, norm2 in norms
    )
    out = {}
    for name, estimate in of_variant.items():
        if METRICS[name].has_excess:
            excess = METRICS[name].excess(estimate.value, of_control[name].value)
            with np.errstate(invalid="ignore"):  # both infinite: the metric hangs on a single document
                influence = estimate.influence - of_control[name].influence
            half = _half_width(influence, domain)
            out[name] = (excess, excess - half, excess + half)
    return out


def _half_width(influence: np.ndarray, domain: np.ndarray) -> float:
    """Half the width: t * sqrt(V), V = sum over strata s of V_s, V_s = n_s / (n_s - 1) * sum e_d^2, e_d = influence - mean_s.

    Degrees of freedom: V^2 / sum(V_s^2 / (n_s - 1)), Satterthwaite's; or, where fewer, 2 V^2 / (the variance of V, from the
    spread of e_d^2): where a few long documents make up most of V, it is known no better than they are many.
    """
    if len(influence) < MIN_DOCUMENTS:
        return float("nan")
    _, number, sizes = np.unique(domain, return_inverse=True, return_counts=True)
    stratum = strata(sizes)[number]
    n = np.bincount(stratum)

    def means(values: np.ndarray) -> np.ndarray:
        return (np.bincount(stratum, weights=values) / n)[stratum]

    squares = (influence - means(influence)) ** 2
    inflation = n / (n - 1)
    parts = inflation * np.bincount(stratum, weights=squares)
    variance = parts.sum()
    if variance == 0:
        return 0.0
    of_variance = (inflation**2 * np.bincount(stratum, weights=(squares - means(squares)) ** 2)).sum()
    uncertainty = max((parts**2 / (n - 1)).sum(), of_variance / 2)
    return float(stats.t.ppf((1 + LEVEL) / 2, variance**2 / uncertainty) * np.sqrt(variance))
