"""Evidence about features: worked by hand, against brute force, and on noise that is known to be noise.

Long because each verdict is worked by hand.
"""

import numpy as np
import pandas as pd
import pytest

from store.metrics import evidence, reasons
from store.metrics.feature_numbers import beyond_noise, feature_kind, systematic_share
from store.names import VERDICTS

NAN = float("nan")


def sums_of(documents):
    """(total, square) [domains, 1] of one feature from a list of D_d for each domain."""
    total = np.array([[float(np.sum(domain))] for domain in documents])
    return total, np.array([[float(np.sum(np.square(domain)))] for domain in documents])


def test_z_of_one_domain():
    """D = 1, 2, 3, 2: sum 8, squares 18; V = 4/3 (18 - 64/4) = 8/3; z = 8 / sqrt(8/3) = sqrt(24), 3 degrees of freedom."""
    z, se, df = evidence.document_z(*sums_of([[1, 2, 3, 2]]), np.array([4]))
    assert z[0] == pytest.approx(24**0.5)
    assert se[0] == pytest.approx((8 / 3) ** 0.5)
    assert df[0] == pytest.approx(3)


def test_z_of_two_domains():
    """A: 1 and 3, five times each, V = 10/9 (50 - 400/10) = 100/9. B: a 3 and nineteen 0, V = 20/19 (9 - 9/20) = 9."""
    z, se, df = evidence.document_z(*sums_of([[1, 3] * 5, [3] + [0] * 19]), np.array([10, 20]))
    assert se[0] == pytest.approx((181 / 9) ** 0.5)
    assert z[0] == pytest.approx(69 / 181**0.5)
    assert df[0] == pytest.approx((181 / 9) ** 2 / ((100 / 9) ** 2 / 9 + 81 / 19))


def test_small_domains_are_one_stratum():
    """Domains of 1 and 2 documents with D = 4 | 1, 1: together 3 documents, V = 3/2 (18 - 36/3) = 9, z = 6/3."""
    z, _, df = evidence.document_z(*sums_of([[4], [1, 1]]), np.array([1, 2]))
    assert (z[0], df[0]) == (pytest.approx(2), pytest.approx(2))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([12, 30], [0, 1]),
        ([12, 4, 30, 7], [0, 2, 1, 2]),  # 4 and 7 are enough together
        ([30, 4, 12, 0], [0, 1, 1, -1]),  # 4 joins the smaller of the others
        ([3, 2], [0, 0]),
        ([1], [0]),
        ([0, 0], [-1, -1]),
    ],
)
def test_strata(sizes, expected):
    assert evidence.strata(np.array(sizes)).tolist() == expected


@pytest.mark.parametrize("sizes", [[0], [1], [0, 1]])
def test_fewer_than_two_documents_have_no_z(sizes):
    documents = [[5.0] * size for size in sizes]
    for values in evidence.document_z(*sums_of(documents), np.array(sizes)):
        assert np.isnan(values[0])


def test_no_variance_has_no_z():
    """0 everywhere, and 0.1 in every document (whose variance is nothing but rounding)."""
    for value in (0.0, 0.1):
        z, se, df = evidence.document_z(*sums_of([[value] * 30]), np.array([30]))
        assert np.isnan(z[0])
        assert np.isnan(df[0])
        assert se[0] == 0


def test_a_feature_of_one_small_domain_has_that_domains_degrees_of_freedom():
    """12 of 312 documents, normal noise: p is exact. With the corpus's 310 degrees, 0.7 % would have p < 0.001."""
    d = np.random.default_rng(0).normal(size=(12, 100_000))
    total, square = np.zeros((2, d.shape[1])), np.zeros((2, d.shape[1]))
    total[0], square[0] = d.sum(axis=0), (d**2).sum(axis=0)
    z, _, df = evidence.document_z(total, square, np.array([12, 300]))
    p = evidence.p_values(z, df)
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.003)
    assert np.mean(p < 0.001) == pytest.approx(0.001, abs=0.0004)


def test_p_values_against_a_table():
    """Two-sided 5 % points of t: 2.2281 with 10 degrees of freedom, 2.0423 with 30, 1.9600 with very many."""
    p = evidence.p_values(np.array([2.2281, -2.0423, 1.9600, NAN]), np.array([10, 30, 1e9, NAN]))
    assert p[:3] == pytest.approx([0.05] * 3, rel=1e-3)
    assert np.isnan(p[3])


def test_q_by_hand():
    """Of the testable 0.005, 0.01, 0.03, 0.04 the products with 4/rank are 0.02, 0.02, 0.04, 0.04; 0.001 is not testable."""
    p = np.array([0.01, 0.04, 0.001, 0.03, 0.005])
    q = evidence.q_values(p, np.array([True, True, False, True, True]))
    assert q[[0, 1, 3, 4]] == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert np.isnan(q[2])


def test_a_testable_feature_without_p_counts_in_the_family():
    """0.03 alone would be 0.03; of two it is 0.06."""
    assert evidence.q_values(np.array([0.03, NAN]), np.array([True, True])).tolist() == pytest.approx([0.06, 1.0])


def test_q_of_no_testable_feature():
    assert np.isnan(evidence.q_values(np.array([0.01]), np.array([False]))).all()


def test_testable_needs_firings_and_documents():
    """Firings: 2 n11 + n10 + n01."""
    n11, n10, n01 = np.array([25, 24, 20, 20]), np.array([0, 1, 5, 5]), np.array([0, 0, 5, 5])
    assert evidence.testable(n11, n10, n01, np.array([20, 20, 20, 19])).tolist() == [True, False, True, False]


@pytest.mark.parametrize("n", [1, 199, 200, 201, 1000])
def test_floors_against_brute_force(n):
    rng = np.random.default_rng(n)
    shift, freq = rng.normal(size=n), rng.integers(0, 30, size=n) / 30  # many ties
    ranked = sorted(range(n), key=lambda j: (freq[j], j))
    expected = np.empty(n)
    for rank, feature in enumerate(ranked):
        first = min(max(rank - 100, 0), max(n - 200, 0))
        expected[feature] = np.percentile([abs(shift[j]) for j in ranked[first : first + 200]], 99)
    assert evidence.floors(shift, freq) == pytest.approx(expected, rel=1e-12)


def test_floors_of_no_feature():
    assert len(evidence.floors(np.zeros(0), np.zeros(0))) == 0


@pytest.mark.parametrize(
    ("floor", "p", "q", "expected"),
    [
        (0.0, 0.5, 0.9, 0.2 * (1.959964 + 0.841621)),  # nothing rejected: alpha 0.05 / 1 testable feature
        (1.0, 0.5, 0.9, 1.0 + 0.2 * 0.841621),
        (0.0, 0.02, 0.02, 0.2 * (1.959964 + 0.841621)),  # at least 0.05 / 1
    ],
)
def test_minimum_detectable_by_hand(floor, p, q, expected):
    """Normal quantiles from a table; se 2 over 10 tokens."""
    least = evidence.minimum_detectable(
        np.array([2.0]), np.array([1e9]), 10, np.array([p]), np.array([q]), np.array([True]), np.array([floor])
    )
    assert least[0] == pytest.approx(expected, rel=1e-5)


def test_minimum_detectable_follows_the_largest_rejected_p():
    """Of 100 testable features one is rejected at p = 0.002: z of 0.999 is 3.090232. The untestable one has none."""
    p, q = np.full(101, 0.9), np.full(101, 0.9)
    p[0], q[0] = 0.002, 0.04
    can_test = np.arange(101) < 100
    least = evidence.minimum_detectable(np.ones(101), np.full(101, 1e9), 1, p, q, can_test, np.zeros(101))
    assert least[:100] == pytest.approx(np.full(100, 3.090232 + 0.841621), rel=1e-5)
    assert np.isnan(least[100])


def test_minimum_detectable_where_nothing_varies_is_the_floor():
    least = evidence.minimum_detectable(
        np.zeros(1), np.array([NAN]), 10, np.array([NAN]), np.array([1.0]), np.array([True]), np.array([0.3])
    )
    assert least[0] == 0.3


def test_beyond_needs_floor_test_and_sign():
    shift = np.array([-0.5, -0.1, -0.5, 0.5, 0.5])
    z, q = np.array([-4.0, -4, -4, -4, NAN]), np.array([0.01, 0.01, 0.05, 0.01, 1.0])
    assert evidence.beyond(shift, np.full(5, 0.1), z, q).tolist() == [True, False, False, False, False]


def test_moved_to_takes_the_nearest_that_qualifies():
    """0 fell by 1. Nearest first: 1 fell too, 2 rose too little, 3 is not beyond noise, 4 and 5 would do; 6 has no other."""
    shift = np.array([-1.0, -1, 0.49, 1, 0.5, 2, 3])
    passes = np.array([True, True, True, False, True, True, True])
    feature, other = np.array([0, 0, 0, 0, 0, 6]), np.array([1, 2, 3, 4, 5, 5])
    cosine = np.array([0.99, 0.98, 0.97, 0.8, 0.75, 0.9])
    found = evidence.moved_to(shift, passes, (feature, other, cosine))
    assert found.tolist() == [4, -1, -1, -1, -1, -1, -1]
    far = evidence.moved_to(shift, passes, (feature, other, np.full(6, 0.7)))
    assert (far == -1).all()


def test_moved_to_without_neighbours():
    nothing = (np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    assert evidence.moved_to(np.ones(2), np.ones(2, bool), nothing).tolist() == [-1, -1]


def test_verdicts_in_their_order():
    """Each feature fulfils one condition more than the next; the first that holds counts."""
    found = evidence.verdicts(
        np.full(4, -1.0),
        passes=np.array([False, False, True, True]),
        testable=np.array([False, True, True, True]),
        near_threshold=np.array([0.9, 0.9, 0.5, NAN]),
        moved_to=np.array([2, 2, 2, 2]),
        gate="does not fit",
    )
    assert found.tolist() == ["untestable", "within noise", "near threshold", "moved"]


@pytest.mark.parametrize(
    ("gate", "expected"),
    [("does not fit", ["does not fit"] * 2), ("strained", ["suppressed", "amplified"]), ("fits", ["suppressed", "amplified"])],
)
def test_verdicts_by_sign_where_the_dictionary_fits(gate, expected):
    found = evidence.verdicts(
        np.array([-1.0, 1.0]),
        passes=np.ones(2, bool),
        testable=np.ones(2, bool),
        near_threshold=np.array([0.49, NAN]),
        moved_to=np.full(2, -1),
        gate=gate,
    )
    assert found.tolist() == expected


def whole_chain(documents, n_documents, sums, **changed):
    """feature_evidence of one domain: documents [d_sae] lists of the D_d that are not 0."""
    arguments = {
        "shift": np.array([np.sum(d) for d in documents]) / 1000,
        "shift_isotropic": np.zeros(len(documents)),
        "total": np.array([[np.sum(d) for d in documents]]),
        "square": np.array([[np.sum(np.square(d)) for d in documents]]),
        "n_documents": np.array([n_documents]),
        "n_tokens": 1000,
        "near_threshold": np.full(len(documents), NAN),
    }
    given = {name: changed.pop(name) for name in tuple(changed) if name in arguments}
    other = {"neighbours": lambda features: (np.zeros(0, int), np.zeros(0, int), np.zeros(0)), "gate": "fits"} | changed
    return evidence.feature_evidence(evidence.PooledChange(sums, **(arguments | given)), **other)


def counts(n, fires=True):
    return {name: np.full(n, 40 if fires else 0) for name in ("n11", "n10", "n01", "n_documents")}


def test_the_whole_chain_of_one_store():
    """Down in 40 documents, up in 40 with a near decoder row, as much up as down, and nothing."""
    documents = [[-1.0, -1.5] * 20, [1.0, 1.5] * 20, [1.0, -1.0] * 20, [0.0]]
    seen = []

    def neighbours(features):
        seen.append(features.tolist())
        return np.array([0]), np.array([1]), np.array([0.8])

    found = whole_chain(documents, 100, counts(4), neighbours=neighbours)
    assert seen == [[0, 1]]
    assert found["verdict"].tolist() == ["moved", "amplified", "within noise", "within noise"]
    assert found["moved_to"].tolist() == [1, -1, -1, -1]
    assert found["q"][2:] == pytest.approx([1.0, 1.0])
    assert np.isnan(found["z"][3])


def test_moved_to_is_given_for_that_verdict_only():
    """The near threshold comes first."""
    pair = (np.array([0]), np.array([1]), np.array([0.8]))
    found = whole_chain(
        [[-1.0, -1.5] * 20, [1.0, 1.5] * 20], 100, counts(2), neighbours=lambda _: pair, near_threshold=np.array([0.6, NAN])
    )
    assert found["verdict"].tolist() == ["near threshold", "amplified"]
    assert found["moved_to"].tolist() == [-1, -1]


@pytest.mark.parametrize("n_documents", [0, 1, 100])
def test_a_corpus_where_nothing_fires(n_documents):
    found = whole_chain([[0.0], [0.0]], n_documents, counts(2, fires=False))
    assert found["verdict"].tolist() == ["untestable"] * 2
    assert np.isnan(found["q"]).all()
    assert np.isnan(found["minimum_detectable"]).all()


ROW = {
    "verdict": "suppressed", "n11": 10, "n10": 300, "n01": 5, "n_documents": 40, "shift": -0.5, "shift_isotropic": 0.01,
    "mean_base": 0.8, "floor": 0.02, "z": -8.4, "q": 1e-9, "near_threshold": 0.1, "minimum_detectable": 0.04, "moved_to": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({}, ["-0.5", "beyond the floor of 0.02", "z = -8.4"]),
        ({"verdict": "amplified", "shift": 0.5}, ["+0.5", "beyond the floor"]),
        ({"verdict": "untestable", "n10": 1}, ["Could not have been seen here", "26 times", "40 documents", "50 firings"]),
        ({"verdict": "within noise", "shift": -0.01}, ["Tested", "-0.01 is within the floor of 0.02", "a loss of 5%"]),
        ({"verdict": "within noise", "q": 0.3, "z": -1.2}, ["does not differ", "q = 0.3", "0.04 or more would"]),
        ({"verdict": "within noise", "z": NAN, "q": 1.0}, ["document by document"]),
        ({"verdict": "within noise", "shift": 0.05, "shift_isotropic": 0.09}, ["+0.09", "smaller"]),
        ({"verdict": "within noise", "q": 0.3, "minimum_detectable": 0.9}, ["even a complete loss may not have been seen"]),
        ({"verdict": "near threshold", "near_threshold": 0.66}, ["66%", "threshold"]),
        ({"verdict": "moved", "moved_to": 17}, ["feature 17", "rose in its place"]),
        ({"verdict": "moved", "moved_to": 17.0, "shift": 0.5}, ["feature 17,", "fell in its place"]),
        ({"verdict": "does not fit"}, ["does not reconstruct"]),
        ({"verdict": None}, ["no isotropic control"]),
        ({"verdict": NAN}, ["no isotropic control"]),
    ],
)
def test_every_reason_names_what_decided(changed, parts):
    """From a dict and from a row of a DataFrame alike."""
    row = ROW | changed
    for given in (row, pd.DataFrame([row]).iloc[0]):
        text = reasons.reason(given)
        assert all(part in text for part in parts), text
        assert "nan" not in text.lower()


def test_not_seen_and_not_there_never_read_alike():
    unseen = [reasons.reason(None), reasons.reason(ROW | {"verdict": "untestable"})]
    assert all(text.startswith("Could not have been seen here") for text in unseen)
    for verdict in set(VERDICTS) - {"untestable"}:
        assert "not have been seen here" not in reasons.reason(ROW | {"verdict": verdict, "moved_to": 1})


def test_systematic_share_by_hand():
    """Documents of 2 and 3 tokens that all change by (1, 0): S = (2, 0), (3, 0); (25 - 13) / (25 - 13) over 5/5."""
    assert systematic_share(25.0, 13.0, 5, 13, 5.0) == 1.0
    assert systematic_share(1.0, 13.0, 5, 13, 5.0) == -1.0  # S = (2, 0), (-3, 0)
    assert np.isnan(systematic_share(4.0, 4.0, 2, 4, 2.0))  # one document
    assert np.isnan(systematic_share(0.0, 0.0, 5, 13, 0.0))


def test_systematic_share_is_unbiased_about_0():
    """Changes without a common direction, in 8 documents of 1 to 8 tokens; over 20,000 corpora the mean is 0."""
    rng = np.random.default_rng(1)
    n = np.arange(1, 9)
    sums = rng.normal(size=(20_000, 8, 3)) * np.sqrt(n)[:, None]
    total, each = (sums.sum(axis=1) ** 2).sum(axis=1), (sums**2).sum(axis=(1, 2))
    rest = (int(n.sum()), int(n @ n), 3.0 * n.sum())
    values = np.array([systematic_share(*pair, *rest) for pair in zip(total, each, strict=True)])
    assert abs(values.mean()) < 4 * values.std() / len(values) ** 0.5


def test_beyond_noise_by_hand():
    """The largest noise is 0.3: 0.5 and -0.4 exceed it, 0.3 does not; 0.9 of 1.2."""
    n, share = beyond_noise(np.array([0.5, -0.4, 0.3, 0.0]), np.array([-0.3, 0.1, 0.0, 0.0]))
    assert (n, share) == (2, pytest.approx(0.75))
    n, share = beyond_noise(np.zeros(3), np.zeros(3))
    assert n == 0
    assert np.isnan(share)


def test_kind_is_unchanged_up_to_the_floor():
    shift, share = np.array([-0.2, -0.21, 0.2, 0.3]), np.zeros(4)
    kinds = feature_kind(shift, share, share, np.full(4, 0.2))
    assert kinds.tolist() == ["unchanged", "attenuated", "unchanged", "amplified"]
