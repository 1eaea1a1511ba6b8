"""Intervals over clusters: against a jackknife by brute force, a bootstrap, and how often they hold the truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from extract.bench.coverage import SIZES, SyntheticLaw, coverage, law_intervals, law_truth
from store.format.document_sums import DOCUMENT_SUMS
from store.metrics.intervals import excess_intervals, intervals, strata
from store.metrics.layer_metrics import METRICS, layer_values
from store.metrics.thresholds import MIN_CLUSTERS

LAW = SyntheticLaw.of(SIZES, spread=1.0, seed=0, per_cluster=(2,))
EXCESS_SIGN = {name: metric.sign for name, metric in METRICS.items() if metric.has_excess and metric.formula}


def drawn(seed, times=1):
    return LAW.draw(np.random.default_rng(seed), times)


def numbers(sums):
    """Those of DOCUMENT_SUMS: the totals are vectors."""
    return {name: values for name, values in sums.items() if values.ndim == 1}


def of_store(sums, domain, cluster):
    _, base_norm2, variant_norm2 = LAW.summed(sums)
    norms = {"base_total_norm2": base_norm2, "variant_total_norm2": variant_norm2, "mean_norm": LAW.mean_norm}
    return intervals(numbers(sums), domain, cluster, **norms)


def excess_of_store(variant, control, domain, cluster):
    norms = {"observed_total_norm2": LAW.summed(variant)[2], "control_total_norm2": LAW.summed(control)[2]}
    return excess_intervals(numbers(variant), numbers(control), domain, cluster, **norms)


def half_width(errors, domain):
    """95 % from what leaving each cluster out does to a number: the definition in docs/metrics.md, written as loops.

    domain: [clusters].
    """
    labels = np.unique(domain)
    stratum_of = strata(np.array([(domain == label).sum() for label in labels]))
    variance = satterthwaite = of_variance = 0.0
    for stratum in range(stratum_of.max() + 1):
        chosen = errors[np.isin(domain, labels[stratum_of == stratum])]
        n = len(chosen)
        squares = (chosen - chosen.mean()) ** 2
        variance += (n + 1) / (n - 1) * squares.sum()
        satterthwaite += ((n + 1) / (n - 1) * squares.sum()) ** 2 / (n - 1)
        of_variance += ((n + 1) / (n - 1)) ** 2 * ((squares - squares.mean()) ** 2).sum()
    df = min(variance**2 / satterthwaite, 2 * variance**2 / of_variance)
    return stats.t.ppf(0.975, df) * variance**0.5


def jackknife(sums, domain, cluster, value):
    """(value, half width) of every number of ``value(sums)`` by leaving out each cluster with all its documents."""
    names, clusters = list(value(sums)), list(dict.fromkeys(cluster.tolist()))
    without = [{name: values[cluster != number] for name, values in sums.items()} for number in clusters]
    left_out = np.array([list(value(rest).values()) for rest in without])
    whole = np.array(list(value(sums).values()))
    of_cluster = np.array([domain[cluster == number][0] for number in clusters])
    return {name: (whole[i], half_width(left_out[:, i] - whole[i], of_cluster)) for i, name in enumerate(names)}


EXACT = [name for name in LAW.values(drawn(0).variant) if not name.startswith("fvu")]


@pytest.fixture(scope="module")
def brute_force():
    """Of a store of 300 clusters of two documents, with every metric worked out anew for each cluster left out."""
    store = drawn(0)
    where = (store.domain, store.cluster)
    return of_store(store.variant, *where), jackknife(store.variant, *where, LAW.values)


@pytest.mark.parametrize("metric", EXACT)
def test_against_the_jackknife(brute_force, metric):
    """Ratios exactly; functions of ratios (the first two) as far as the function is straight over one cluster."""
    (low, high), (value, half) = brute_force[0][metric], brute_force[1][metric]
    rough = metric in ("mean_alignment", "relative_shift")
    assert (low + high) / 2 == pytest.approx(value, rel=1e-12)
    assert (high - low) / 2 == pytest.approx(half, rel=0.02 if rough else 1e-8)


@pytest.mark.parametrize("metric", ["fvu_base", "fvu_variant"])
def test_fvu_against_the_jackknife(brute_force, metric):
    """The jackknife knows every cluster's mean; the interval only its distance from the pilot's."""
    (low, high), (value, half) = brute_force[0][metric], brute_force[1][metric]
    assert (low + high) / 2 == pytest.approx(value, rel=1e-12)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)


def test_fvu_of_one_domain_against_the_jackknife():
    """Where the group's mean is far from the pilot's, the width is right to a quarter."""
    store = drawn(0)
    chosen = store.domain == len(SIZES) - 1
    sums = {name: values[chosen] for name, values in store.variant.items()}
    where = (store.domain[chosen], store.cluster[chosen])
    value, half = jackknife(sums, *where, LAW.values)["fvu_variant"]
    low, high = of_store(sums, *where)["fvu_variant"]
    assert (low + high) / 2 == pytest.approx(value, rel=1e-12)
    assert (high - low) / 2 == pytest.approx(half, rel=0.25)


def test_excess_against_the_jackknife():
    """Both sides without the same cluster: paired."""
    store = drawn(1)
    together = store.variant | {f"control {name}": values for name, values in store.control.items()}

    def excess(sums):
        of_variant = LAW.values({name: values for name, values in sums.items() if not name.startswith("control ")})
        of_control = LAW.values({name[8:]: values for name, values in sums.items() if name.startswith("control ")})
        return {name: EXCESS_SIGN[name] * (of_variant[name] - of_control[name]) for name in EXCESS_SIGN}

    where = (store.domain, store.cluster)
    expected = jackknife(together, *where, excess)
    found = excess_of_store(store.variant, store.control, *where)
    assert set(found) == set(expected) == set(EXCESS_SIGN)
    for name, (value, low, high) in found.items():
        assert value == pytest.approx(expected[name][0], rel=1e-9)
        assert (high - low) / 2 == pytest.approx(expected[name][1], rel=0.1 if name == "fvu_variant" else 1e-7)


def test_against_a_bootstrap():
    """Clusters of two drawn anew within their domain: the standard error is the interval's half width / 1.96, nearly."""
    store = drawn(2, times=4)
    rng, values = np.random.default_rng(0), []
    firsts = [np.flatnonzero(store.domain == label)[::2] for label in np.unique(store.domain)]
    for _ in range(600):
        first = np.concatenate([rng.choice(place, size=len(place)) for place in firsts])
        again = np.concatenate([first, first + 1])
        values.append(list(LAW.values({name: column[again] for name, column in store.variant.items()}).values()))
    spread = np.std(values, axis=0)
    for (low, high), expected in zip(of_store(store.variant, store.domain, store.cluster).values(), spread, strict=True):
        assert (high - low) / 2 / 1.96 == pytest.approx(expected, rel=0.15)


def test_excess_of_the_same_codes_is_0_for_certain():
    store = drawn(3)
    for value, low, high in excess_of_store(store.variant, store.variant, store.domain, store.cluster).values():
        assert value == low == high == 0


def test_excess_is_positive_where_more_changed():
    """Less overlap and a larger distance than under the control."""
    store = drawn(4)
    variant = store.variant
    control = variant | {"overlap": variant["overlap"] * 1.2, "l1_divergence": variant["l1_divergence"] * 0.8}
    found = excess_of_store(variant, control, store.domain, store.cluster)
    assert found["overlap"][1] > 0
    assert found["l1_divergence"][1] > 0


def test_excess_of_other_tokens_is_refused():
    store = drawn(5)
    control = store.control | {"n_tokens": store.control["n_tokens"] + 1}
    with pytest.raises(ValueError, match="same tokens"):
        excess_of_store(store.variant, control, store.domain, store.cluster)


def test_domains_are_strata():
    """Domains that differ in everything and documents that agree within theirs leave no doubt."""
    domain = np.repeat(["a", "b"], 30)
    sums = dict.fromkeys(DOCUMENT_SUMS, np.full(60, 10.0)) | {"overlap": np.repeat([2.0, 8.0], 30)}
    low, high = of_store_without_vectors(sums, domain)["overlap"]
    assert low == pytest.approx(high) == pytest.approx(0.5)
    low, high = of_store_without_vectors(sums, np.repeat("a", 60))["overlap"]
    assert high - low > 0.1


def of_store_without_vectors(sums, domain, cluster=None):
    cluster = np.arange(len(domain)) if cluster is None else cluster
    return intervals(sums, domain, cluster, base_total_norm2=1.0, variant_total_norm2=1.0, mean_norm=1.0)


def test_documents_of_one_cluster_are_one_by_hand():
    """20 clusters of three documents of 10 tokens; in the second half of them all overlap 8, in the first 2: mean 1/2.

    The ratio leaves one of 20 out: (x - 15) / (600 - 30) = +-9 / 570, x 6 or 24, so V = 21 / 19 * 20 * (9 / 570)^2 and the half
    width t_19 times its root. As 60 documents the same numbers look far surer: V = 61 / 59 * 60 * (3 / 590)^2.
    """
    sums = dict.fromkeys(DOCUMENT_SUMS, np.full(60, 10.0)) | {"overlap": np.repeat([2.0, 8.0], 30)}
    domain = np.repeat("a", 60)
    low, high = of_store_without_vectors(sums, domain, np.arange(60) // 3)["overlap"]
    assert ((low + high) / 2, (high - low) / 2) == pytest.approx((0.5, 2.0930 * (21 / 19 * 20) ** 0.5 * 9 / 570), rel=1e-4)
    low, high = of_store_without_vectors(sums, domain)["overlap"]
    assert (high - low) / 2 == pytest.approx(2.0010 * (61 / 59 * 60) ** 0.5 * 3 / 590, rel=1e-4)


def test_copies_of_a_text_tell_nothing_new():
    """Each document six times, in one cluster: the same intervals as of each once."""
    store = drawn(6)
    once = numbers(store.variant)
    again = {name: np.repeat(values, 6) for name, values in once.items()}
    copied = of_store_without_vectors(again, np.repeat(store.domain, 6), np.repeat(np.arange(len(store.domain)), 6))
    for name, interval in of_store_without_vectors(once, store.domain).items():
        if not name.startswith("fvu"):  # about the group's mean, whose norm is given here
            assert copied[name] == pytest.approx(interval, rel=1e-9), name


@pytest.mark.parametrize("clusters", [([12, 9, 0], [0, 0, -1]), ([3, 4, 3], [0, 0, 0]), ([15, 9, 8], [0, 1, 1])])
def test_domains_of_fewer_than_ten_clusters_are_put_together(clusters):
    """Two small ones join the large one where they are fewer than ten together; all are one where none is large."""
    sizes, expected = clusters
    assert strata(np.array(sizes)).tolist() == expected


@pytest.mark.parametrize("n", [0, 1, MIN_CLUSTERS - 1])
def test_below_the_fewest_clusters_there_is_none(n):
    rng = np.random.default_rng(n)
    sums = {name: rng.uniform(1, 2, size=n) for name in DOCUMENT_SUMS}
    domain = np.repeat("a", n)
    for low, high in of_store_without_vectors(sums, domain).values():
        assert np.isnan(low)
        assert np.isnan(high)
    thrice = {name: np.repeat(values, 3) for name, values in sums.items()}  # more documents are no more clusters
    assert np.isnan(of_store_without_vectors(thrice, np.repeat(domain, 3), np.repeat(np.arange(n), 3))["overlap"]).all()
    paired = excess_intervals(sums, sums, domain, np.arange(n), observed_total_norm2=1.0, control_total_norm2=1.0)
    value, low, _ = paired["overlap"]
    assert np.isnan(low)
    assert value == 0 if n else np.isnan(value)


def test_a_document_without_tokens_is_none():
    """One too few with tokens and any number without are still too few, and enough do not change by others without."""
    rng, n = np.random.default_rng(0), MIN_CLUSTERS
    sums = {name: np.append(rng.uniform(1, 2, size=n), np.zeros(30)) for name in DOCUMENT_SUMS}
    domain = np.repeat("a", n + 30)
    kept = {name: values[:n] for name, values in sums.items()}
    assert of_store_without_vectors(sums, domain) == of_store_without_vectors(kept, domain[:n])
    fewer = {name: values[1:] for name, values in sums.items()}
    assert np.isnan(of_store_without_vectors(fewer, domain[1:])["overlap"][0])


def test_undefined_metrics_have_no_interval():
    """All zeros but the tokens: nothing to divide by, and layer_values says NaN of the same metrics."""
    sums = dict.fromkeys(DOCUMENT_SUMS, np.zeros(60)) | {"n_tokens": np.full(60, 5)}
    found = of_store_without_vectors(sums, np.repeat("a", 60))
    added = {name: float(values.sum()) for name, values in sums.items()}
    for name, value in layer_values(added, 0.0, 0.0, 1.0).items():
        if np.isnan(value):
            assert np.isnan(found[name]).all(), name
    assert found["overlap"] == (0.0, 0.0)


def test_what_hangs_on_one_cluster_has_no_interval():
    """Only one has any code."""
    sums = dict.fromkeys(DOCUMENT_SUMS, np.full(60, 5.0)) | {name: np.eye(60)[0] for name in ("minimum", "maximum")}
    assert np.isnan(of_store_without_vectors(sums, np.repeat("a", 60))["weighted_overlap"]).all()


def test_no_change_is_no_shift_for_certain():
    """A re-run that gives the same numbers."""
    sums = dict.fromkeys(DOCUMENT_SUMS, np.full(60, 5.0)) | {"delta_norm2": np.zeros(60)}
    assert of_store_without_vectors(sums, np.repeat("a", 60))["relative_shift"] == (0.0, 0.0)


@pytest.mark.parametrize("per_cluster", [(1,), (2,)])
def test_coverage_of_200_stores(per_cluster):
    """95 % +- 3 standard errors of 200 draws, for every metric and every excess."""
    found = coverage(SIZES, 200, spread=1.0, seed=5, per_cluster=per_cluster)
    assert len(found) == 15 + 8
    assert all(type(share) is float for share in found.values())  # as JSON takes it
    for name, share in found.items():
        assert 0.90 <= share <= 0.995, name


def test_documents_of_a_template_that_count_for_themselves_would_hold_the_truth_too_rarely():
    """The null of the unit: six alike to a template, taken for six, cover 95 % nowhere near."""
    law = SyntheticLaw.of((30,), spread=1.0, seed=7, per_cluster=(6,))
    truth, rng = law_truth(law, np.random.default_rng(1)), np.random.default_rng(2)
    hits = {True: 0, False: 0}
    for _ in range(100):
        store = law.draw(rng)
        for by_cluster in hits:
            where = store.cluster if by_cluster else np.arange(len(store.cluster))
            low, high = law_intervals(law, replace(store, cluster=where))["overlap"]
            hits[by_cluster] += low <= truth["overlap"] <= high
    assert hits[True] >= 88 and hits[False] <= 80


@pytest.mark.long
@pytest.mark.parametrize("per_cluster", [(1,), (2,), (6,), range(1, 14)])
def test_coverage_of_1000_stores(per_cluster):
    """The project's target: 93 to 97 %."""
    for name, share in coverage(SIZES, 1000, spread=1.0, seed=3, per_cluster=per_cluster).items():
        assert 0.93 <= share <= 0.97, name
