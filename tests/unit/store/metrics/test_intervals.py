"""Intervals over documents: against a jackknife by brute force, a bootstrap, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from extract.bench.coverage import SyntheticLaw, coverage
from extract.bench.discoveries import SIZES
from store.format.document_sums import DOCUMENT_SUMS
from store.metrics.evidence import strata
from store.metrics.intervals import excess_intervals, intervals
from store.metrics.layer_metrics import METRICS, layer_values

LAW = SyntheticLaw.of(SIZES, spread=1.0, seed=0)
WITHOUT_INTERVAL = "systematic_share"
EXCESS_SIGN = {name: metric.sign for name, metric in METRICS.items() if metric.has_excess}


def drawn(seed, times=1):
    return LAW.draw(np.random.default_rng(seed), times)


def of_store(sums, domain):
    _, base_norm2, variant_norm2 = LAW.summed(sums)
    return intervals(
        sums, domain, base_total_norm2=base_norm2, variant_total_norm2=variant_norm2, mean_norm=LAW.mean_norm
    )


def excess_of_store(variant, control, domain):
    norms = {"observed_total_norm2": LAW.summed(variant)[2], "control_total_norm2": LAW.summed(control)[2]}
    return excess_intervals(variant, control, domain, **norms)


def without(sums, document):
    return {name: np.delete(values, document, axis=0) for name, values in sums.items()}


def half_width(errors, domain):
    """95 % from what leaving each document out does to a number: the definition in docs/metrics.md, written as loops."""
    labels = np.unique(domain)
    stratum_of = strata(np.array([(domain == label).sum() for label in labels]))
    variance = satterthwaite = of_variance = 0.0
    for stratum in range(stratum_of.max() + 1):
        chosen = errors[np.isin(domain, labels[stratum_of == stratum])]
        n = len(chosen)
        squares = (chosen - chosen.mean()) ** 2
        variance += n / (n - 1) * squares.sum()
        satterthwaite += (n / (n - 1) * squares.sum()) ** 2 / (n - 1)
        of_variance += (n / (n - 1)) ** 2 * ((squares - squares.mean()) ** 2).sum()
    df = min(variance**2 / satterthwaite, 2 * variance**2 / of_variance)
    return stats.t.ppf(0.975, df) * variance**0.5


def jackknife(sums, domain, value):
    """(value, half width) of every number of ``value(sums)`` by leaving each document out."""
    names = list(value(sums))
    left_out = np.array([list(value(without(sums, document)).values()) for document in range(len(domain))])
    whole = np.array(list(value(sums).values()))
    return {name: (whole[i], half_width(left_out[:, i] - whole[i], domain)) for i, name in enumerate(names)}


EXACT = [name for name in LAW.values(drawn(0)[0]) if not name.startswith("fvu")]


@pytest.fixture(scope="module")
def brute_force():
    """Of a store of 300 documents, with every metric worked out anew for each document left out."""
    variant, _, domain = drawn(0)
    return of_store(variant, domain), jackknife(variant, domain, LAW.values)


@pytest.mark.parametrize("metric", EXACT)
def test_against_the_jackknife(brute_force, metric):
    """Ratios exactly; functions of ratios (the first two) as far as the function is straight over one document."""
    (low, high), (value, half) = brute_force[0][metric], brute_force[1][metric]
    rough = metric in ("mean_alignment", "relative_shift")
    assert (low + high) / 2 == pytest.approx(value, rel=1e-12)
    assert (high - low) / 2 == pytest.approx(half, rel=0.02 if rough else 1e-8)


@pytest.mark.parametrize("metric", ["fvu_base", "fvu_variant"])
def test_fvu_against_the_jackknife(brute_force, metric):
    """The jackknife knows every document's mean; the interval only its distance from the pilot's."""
    (low, high), (value, half) = brute_force[0][metric], brute_force[1][metric]
    assert (low + high) / 2 == pytest.approx(value, rel=1e-12)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)


def test_fvu_of_one_domain_against_the_jackknife():
    """Where the group's mean is far from the pilot's, the width is right to a quarter."""
    variant, _, domain = drawn(0)
    chosen = domain == len(SIZES) - 1
    sums = {name: values[chosen] for name, values in variant.items()}
    value, half = jackknife(sums, domain[chosen], LAW.values)["fvu_variant"]
    low, high = of_store(sums, domain[chosen])["fvu_variant"]
    assert (low + high) / 2 == pytest.approx(value, rel=1e-12)
    assert (high - low) / 2 == pytest.approx(half, rel=0.25)


def test_excess_against_the_jackknife():
    """Both sides without the same document: paired."""
    variant, control, domain = drawn(1)
    together = variant | {f"control {name}": values for name, values in control.items()}

    def excess(sums):
        of_variant = LAW.values({name: values for name, values in sums.items() if not name.startswith("control ")})
        of_control = LAW.values({name[8:]: values for name, values in sums.items() if name.startswith("control ")})
        return {name: EXCESS_SIGN[name] * (of_variant[name] - of_control[name]) for name in EXCESS_SIGN if name in of_variant}

    expected = jackknife(together, domain, excess)
    found = excess_of_store(variant, control, domain)
    assert set(found) == set(expected) == set(EXCESS_SIGN) - {WITHOUT_INTERVAL}
    for name, (value, low, high) in found.items():
        assert value == pytest.approx(expected[name][0], rel=1e-9)
        assert (high - low) / 2 == pytest.approx(expected[name][1], rel=0.1 if name == "fvu_variant" else 1e-7)


def test_against_a_bootstrap():
    """Documents drawn anew within their domain: the standard error is the interval's half width / 1.96, nearly."""
    variant, _, domain = drawn(2, times=4)
    rng, values = np.random.default_rng(0), []
    places = [np.flatnonzero(domain == label) for label in np.unique(domain)]
    for _ in range(600):
        again = np.concatenate([rng.choice(place, size=len(place)) for place in places])
        values.append(list(LAW.values({name: column[again] for name, column in variant.items()}).values()))
    spread = np.std(values, axis=0)
    for (low, high), expected in zip(of_store(variant, domain).values(), spread, strict=True):
        assert (high - low) / 2 / 1.96 == pytest.approx(expected, rel=0.15)


def test_excess_of_the_same_codes_is_0_for_certain():
    variant, _, domain = drawn(3)
    for value, low, high in excess_of_store(variant, variant, domain).values():
        assert value == low == high == 0


def test_excess_is_positive_where_more_changed():
    """Less overlap and a larger distance than under the control."""
    variant, _, domain = drawn(4)
    control = variant | {"overlap": variant["overlap"] * 1.2, "l1_divergence": variant["l1_divergence"] * 0.8}
    found = excess_of_store(variant, control, domain)
    assert found["overlap"][1] > 0
    assert found["l1_divergence"][1] > 0


def test_excess_of_other_tokens_is_refused():
    variant, control, domain = drawn(5)
    with pytest.raises(ValueError, match="same tokens"):
        excess_of_store(variant, control | {"n_tokens": control["n_tokens"] + 1}, domain)


def test_domains_are_strata():
    """Domains that differ in everything and documents that agree within theirs leave no doubt."""
    domain = np.repeat(["a", "b"], 30)
    sums = dict.fromkeys(DOCUMENT_SUMS, np.full(60, 10.0)) | {"overlap": np.repeat([2.0, 8.0], 30)}
    low, high = of_store_without_vectors(sums, domain)["overlap"]
    assert low == pytest.approx(high) == pytest.approx(0.5)
    low, high = of_store_without_vectors(sums, np.repeat("a", 60))["overlap"]
    assert high - low > 0.1


def of_store_without_vectors(sums, domain):
    return intervals(sums, domain, base_total_norm2=1.0, variant_total_norm2=1.0, mean_norm=1.0)


@pytest.mark.parametrize("n", [0, 1, 49])
def test_below_50_documents_there_is_none(n):
    rng = np.random.default_rng(n)
    sums = {name: rng.uniform(1, 2, size=n) for name in DOCUMENT_SUMS}
    domain = np.repeat("a", n)
    for low, high in of_store_without_vectors(sums, domain).values():
        assert np.isnan(low)
        assert np.isnan(high)
    paired = excess_intervals(sums, sums, domain, observed_total_norm2=1.0, control_total_norm2=1.0)
    value, low, _ = paired["overlap"]
    assert np.isnan(low)
    assert value == 0 if n else np.isnan(value)


def test_a_document_without_tokens_is_none():
    """49 documents with tokens and any number without are still too few, and 50 do not change by others without."""
    rng = np.random.default_rng(0)
    sums = {name: np.append(rng.uniform(1, 2, size=50), np.zeros(30)) for name in DOCUMENT_SUMS}
    domain = np.repeat("a", 80)
    kept = {name: values[:50] for name, values in sums.items()}
    assert of_store_without_vectors(sums, domain) == of_store_without_vectors(kept, domain[:50])
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


def test_what_hangs_on_one_document_has_no_interval():
    """Only one document has any code."""
    sums = dict.fromkeys(DOCUMENT_SUMS, np.full(60, 5.0)) | {name: np.eye(60)[0] for name in ("minimum", "maximum")}
    assert np.isnan(of_store_without_vectors(sums, np.repeat("a", 60))["weighted_overlap"]).all()


def test_no_change_is_no_shift_for_certain():
    """A re-run that gives the same numbers."""
    sums = dict.fromkeys(DOCUMENT_SUMS, np.full(60, 5.0)) | {"delta_norm2": np.zeros(60)}
    assert of_store_without_vectors(sums, np.repeat("a", 60))["relative_shift"] == (0.0, 0.0)


def test_coverage_of_200_stores():
    """95 % +- 3 standard errors of 200 draws, for every metric and every excess."""
    found = coverage(SIZES, 200, spread=1.0, seed=5)
    assert len(found) == 15 + 8
    assert all(type(share) is float for share in found.values())  # as JSON takes it
    for name, share in found.items():
        assert 0.90 <= share <= 0.995, name


@pytest.mark.long
def test_coverage_of_1000_stores():
    """The project's target: 93 to 97 %."""
    for name, share in coverage(SIZES, 1000, spread=1.0, seed=3).items():
        assert 0.93 <= share <= 0.97, name
