"""Contributions by cluster: ratios, their intervals and shares of false claims, by hand."""

import numpy as np
import pytest

from store.metrics.contributions import ClusterSums, Ratios, carrying_half, completeness, correlation, false_shares


def test_a_ratio_of_two_clusters():
    """x = 2, 4 over n = 1, 3: R = 1.5; deviations 0.5 and -0.5, so that V = 2 * 0.5 / 16 = 1 / 16, and t with 1 degree of
    freedom, the Cauchy distribution, has its 97.5th percentile at tan(0.475 pi), and beyond 6 the tail atan(1 / 6) / pi."""
    found = Ratios.of(ClusterSums.of(np.array([[2.0], [4.0]]), np.array([1.0, 3.0])))
    half = np.tan(0.475 * np.pi) / 4
    assert found.value == pytest.approx([1.5])
    assert (found.low[0], found.high[0]) == pytest.approx((1.5 - half, 1.5 + half))
    assert found.p == pytest.approx([2 * np.arctan(1 / 6) / np.pi])


def test_pairs_are_the_same_sums_with_zeros_between():
    """Feature 0 stands in clusters 0 (in two pieces) and 2, feature 2 in cluster 1, feature 1 nowhere."""
    n = np.array([2.0, 1.0, 3.0])
    dense = np.array([[1.0, 0, 0], [0, 0, -2.0], [4.0, 0, 0]])
    cluster, feature, x = np.array([0, 2, 1, 0]), np.array([0, 0, 2, 0]), np.array([0.25, 4.0, -2.0, 0.75])
    found, expected = ClusterSums.of_pairs(cluster, feature, x, n, 3), ClusterSums.of(dense, n)
    for name, value in vars(expected).items():
        np.testing.assert_allclose(getattr(found, name), value)
    assert Ratios.of(found).p[1] == 1


@pytest.mark.parametrize(("clusters", "defined"), [(0, False), (1, True)])
def test_too_few_clusters_have_no_interval(clusters: int, defined: bool):
    found = Ratios.of(ClusterSums.of(np.ones((clusters, 1)), np.ones(clusters)))
    assert np.isnan([found.low[0], found.high[0], found.p[0]]).all()
    assert np.isfinite(found.value[0]) == defined


def test_false_shares_are_of_the_tested():
    """Benjamini and Hochberg of 0.01, 0.02 and 0.5: 3 / 1 * 0.01 and 3 / 2 * 0.02 are both 0.03."""
    p = np.array([0.02, 0.001, 0.5, 0.01])
    np.testing.assert_allclose(false_shares(p, np.array([True, False, True, True])), [0.03, np.nan, 0.5, 0.03])
    assert np.isnan(false_shares(p, np.zeros(4, dtype=bool))).all()


@pytest.mark.parametrize(
    ("contributions", "expected"),
    [([3, 1, -1], 1), ([1, 1, 1, 1], 2), ([-3, 1, -2], 1), ([-2, -2, 1, -2], 2), ([1, -1], None), ([], None)],
)
def test_how_many_carry_half(contributions: list[float], expected: int | None):
    """3 of 3 + 1 - 1 is more than half; of -3 + 1 - 2 = -4 the first makes 3; of -2 - 2 + 1 - 2 = -5 it takes two."""
    assert carrying_half(np.array(contributions, dtype=float)) == expected


def test_completeness_is_told_against_what_passes_through():
    """The sums miss each other by 0.1, of 3 + 1 that pass through, though these nearly cancel."""
    assert completeness(np.array([3.2, -1.1]), np.array([3.0, -1.0])) == pytest.approx(0.1 / 4)
    assert np.isnan(completeness(np.zeros(2), np.zeros(2)))


def test_correlation_by_hand():
    """Deviations (-1, 0, 1) and (-7, -1, 8) / 3: 5 / (sqrt(2) sqrt(114) / 3)."""
    assert correlation(np.array([1.0, 2, 3]), np.array([2.0, 4, 7])) == pytest.approx(15 / np.sqrt(228))
    assert np.isnan(correlation(np.array([1.0, 2, 3]), np.zeros(3)))
