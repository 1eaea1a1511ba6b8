"""95 % intervals over clusters of documents: of the metrics of a layer, and of their excess over a control or twin.

Documents that were made from one template, article or work are alike: they count as one. The variance of a metric is that of
its clusters' influence (store/metrics/estimates.py) within strata: the jackknife. The quantile is t's with as many degrees of
freedom as that variance is known to. Pure numpy and scipy. Definitions: docs/metrics.md, "Intervals".
"""

from collections.abc import Mapping

import numpy as np
from scipy import stats

from store.metrics.estimates import GroupSums
from store.metrics.layer_metrics import METRICS, estimates
from store.metrics.thresholds import LEVEL, MIN_CLUSTERS, STRATUM_CLUSTERS


def intervals(
    documents: Mapping[str, np.ndarray],
    domain: np.ndarray,
    cluster: np.ndarray,
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
        cluster: [documents] the number or name of each document's cluster; a cluster lies in one domain.
        base_total_norm2, variant_total_norm2, mean_norm: as for ``layer_values``.

    Returns:
        Metric -> (low, high), symmetric about the metric; NaN below MIN_CLUSTERS clusters, and where the metric is undefined
        or hangs on a single cluster.
    """
    sums, domain = by_cluster(documents, domain, cluster)
    group = GroupSums.of_clusters(sums, base_total_norm2, variant_total_norm2, mean_norm)
    out = {}
    for name, estimate in estimates(group).items():
        half = _half_width(estimate.influence, domain)
        out[name] = (estimate.value - half, estimate.value + half)
    return out


def excess_intervals(
    observed: Mapping[str, np.ndarray],
    control: Mapping[str, np.ndarray],
    domain: np.ndarray,
    cluster: np.ndarray,
    *,
    observed_total_norm2: float,
    control_total_norm2: float,
) -> dict[str, tuple[float, float, float]]:
    """How much more changed than under a control or twin, for every metric with an excess that has an interval.

    Paired: the influence on the difference is the difference of the influences, cluster by cluster.

    Args:
        observed, control: the documents' sums of variant and control, as in :func:`intervals`; the same documents in the
            same order, over the same tokens.
        domain, cluster: [documents], as in :func:`intervals`.
        observed_total_norm2, control_total_norm2: ||sum_t h||^2 of the variant and of the control.

    Returns:
        Metric -> (excess, low, high); low and high NaN as in :func:`intervals`.

    Raises:
        ValueError: the two do not have the same tokens in each document.
    """
    if not np.array_equal(observed["n_tokens"], control["n_tokens"]):
        raise ValueError("observed and control must have the same documents, with the same tokens, in the same order")
    of_models = []
    for documents, norm2 in ((observed, observed_total_norm2), (control, control_total_norm2)):
        sums, of_cluster = by_cluster(documents, domain, cluster)
        of_models.append(estimates(GroupSums.of_clusters(sums, np.nan, norm2, np.nan)))
    out = {}
    for name, of_variant in of_models[0].items():
        if METRICS[name].has_excess:
            of_control = of_models[1][name]
            excess = METRICS[name].excess(of_variant.value, of_control.value)
            with np.errstate(invalid="ignore"):  # both infinite: the metric hangs on a single cluster
                influence = of_variant.influence - of_control.influence
            half = _half_width(influence, of_cluster)
            out[name] = (excess, excess - half, excess + half)
    return out


def by_cluster(
    documents: Mapping[str, np.ndarray], domain: np.ndarray, cluster: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(each sum, float64 [clusters], the label of each cluster's domain [clusters]) of the documents with counted tokens.

    Args:
        documents: an array [documents] for each sum; ``n_tokens`` is one.
        domain, cluster: [documents].
    """
    counts = documents["n_tokens"] > 0
    _, first, place = np.unique(np.asarray(cluster)[counts], return_index=True, return_inverse=True)
    sums = {name: np.bincount(place, weights=values[counts], minlength=len(first)) for name, values in documents.items()}
    return sums, np.asarray(domain)[counts][first]


def strata(n_clusters: np.ndarray) -> np.ndarray:
    """The stratum of each domain, int [domains], from 0; -1 where a domain has no cluster.

    A domain of at least STRATUM_CLUSTERS clusters is a stratum. The smaller ones are one stratum together, and where that is
    still too small it joins the smallest other one. Putting strata together adds the differences of their means to the
    variance: too wide rather than too narrow (Cochran 1977, section 5A.12).

    Args:
        n_clusters: int [domains].
    """
    n_clusters = np.asarray(n_clusters)
    own = n_clusters >= STRATUM_CLUSTERS
    small = (n_clusters > 0) & ~own
    out = np.full(len(n_clusters), -1)
    out[own] = np.arange(own.sum())
    together = n_clusters[small].sum()
    if together >= STRATUM_CLUSTERS or not own.any():
        out[small] = own.sum()
    elif small.any():
        out[small] = out[own][np.argmin(n_clusters[own])]
    return out


def _half_width(influence: np.ndarray, domain: np.ndarray) -> float:
    """Half the width: t * sqrt(V), V = sum over strata s of V_s,
    V_s = (n_s + 1) / (n_s - 1) * sum e_c^2, e_c = influence - mean_s. With n_s / (n_s - 1), which is that of even clusters, few
    uneven ones cover too little: 1 + 1 / n_s makes up for that, as in store/metrics/shares.py.

    Degrees of freedom: V^2 / sum(V_s^2 / (n_s - 1)), Satterthwaite's; or, where fewer, 2 V^2 / (the variance of V, from the
    spread of e_c^2): where a few long clusters make up most of V, it is known no better than they are many.
    """
    if len(influence) < MIN_CLUSTERS:
        return float("nan")
    _, number, sizes = np.unique(domain, return_inverse=True, return_counts=True)
    stratum = strata(sizes)[number]
    n = np.bincount(stratum)

    def means(values: np.ndarray) -> np.ndarray:
        return (np.bincount(stratum, weights=values) / n)[stratum]

    squares = (influence - means(influence)) ** 2
    inflation = (n + 1) / (n - 1)
    parts = inflation * np.bincount(stratum, weights=squares)
    variance = parts.sum()
    if variance == 0:
        return 0.0
    of_variance = (inflation**2 * np.bincount(stratum, weights=(squares - means(squares)) ** 2)).sum()
    uncertainty = max((parts**2 / (n - 1)).sum(), of_variance / 2)
    return float(stats.t.ppf((1 + LEVEL) / 2, variance**2 / uncertainty) * np.sqrt(variance))
