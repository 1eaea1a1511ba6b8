"""The change of a feature and its interval over clusters: values worked by hand."""

from math import hypot, sqrt

import numpy as np
import pytest

from extract.bench.change_coverage import change_coverage
from store.metrics.shares import SHARE_SUMS, Change

T2, NORMAL = 4.30265, 1.95996
"""Quantiles .975 of t with two degrees of freedom and of the normal law, from a table."""


def sums(*features):
    """SHARE_SUMS of features, each (base's sums of its clusters, variant's)."""
    pairs = [(np.array(a, dtype=float), np.array(b, dtype=float)) for a, b in features]
    found = [(a.sum(), b.sum(), (a**2).sum(), (b**2).sum(), (a * b).sum()) for a, b in pairs]
    return dict(zip(SHARE_SUMS, np.array(found).T, strict=True))


def test_three_clusters_by_hand():
    """a 2 2 2, b 2 1 0: R = 1/2, sum (b - R a)^2 / 36 = (1 + 0 + 1) / 36 = 1/18, k = 3, so V = (4 / 2) / 18 = 1/9.

    With one more cluster that did not change R is (3/2 + 1) / 4 = 5/8, so that the interval lies about -3/8; half of it is
    hypot(t_2 sqrt(1/9) 3/4, 1.96 (1/2) / 4) = 1.10: from -1, below which nothing can be, to 0.73.
    """
    change = Change.of(sums(([2, 2, 2], [2, 1, 0])))
    assert (change.value[0], change.clusters[0]) == (-0.5, pytest.approx(3))
    assert (change.low[0], change.high[0], change.nearest[0]) == (-1, pytest.approx(0.7282, abs=1e-4), 0)


def test_three_clusters_that_agree_nearly():
    """a 100 100 100, b 50 51 49: R = 1/2, scatter (0 + 1 + 1) / 90,000, V = twice that = 1/22,500."""
    change = Change.of(sums(([100, 100, 100], [50, 51, 49])))
    half = hypot(T2 * sqrt(1 / 22_500) * 3 / 4, NORMAL * 0.5 / 4)
    assert change.value[0] == -0.5
    assert change.low[0] == pytest.approx(-3 / 8 - half, abs=1e-4)
    assert change.high[0] == change.nearest[0] == pytest.approx(-3 / 8 + half, abs=1e-4)


@pytest.mark.parametrize("k", [3, 10, 40])
def test_a_complete_loss_of_even_clusters(k):
    """Nothing varies; the one more cluster alone says how much may be left: -(1 - 1/(k + 1)) +- 1.96 / (k + 1)."""
    change = Change.of(sums(([7] * k, [0] * k), ([0] * k, [7] * k)))
    assert change.value.tolist() == [-1, 1] and change.clusters == pytest.approx([k, k])
    assert change.low[0] == -1 and change.high[1] == 1
    assert change.nearest == pytest.approx([-(k - NORMAL) / (k + 1), (k - NORMAL) / (k + 1)], abs=1e-5)


def test_of_ten_even_clusters_a_complete_loss_is_a_loss_of_half_for_certain():
    assert Change.of(sums(([1] * 10, [0] * 10))).high[0] == pytest.approx(-8.04 / 11, abs=1e-3)


def test_no_change_is_none_for_certain():
    """The same sums in every cluster: R is 1, nothing varies, and one more that did not change adds nothing."""
    change = Change.of(sums(([1, 2, 1, 2], [1, 2, 1, 2])))
    assert (change.value[0], change.low[0], change.high[0], change.nearest[0]) == (0, 0, 0, 0)


def test_a_feature_that_fires_in_neither():
    change = Change.of(sums(([0, 0, 0], [0, 0, 0])))
    assert np.isnan([change.value[0], change.low[0], change.high[0]]).all()
    assert change.clusters[0] == 0 and change.nearest[0] == 0


def test_one_cluster_that_holds_all_is_one():
    """Whatever the others, which hold a hundredth: k = 100^2 / (99^2 + 100 x .01^2), little above 1, and no interval."""
    change = Change.of(sums(([99, *[0.01] * 100], [0.0] * 101), ([1], [0])))
    assert change.value.tolist() == [-1, -1]
    assert change.clusters == pytest.approx([100**2 / (99**2 + 0.01), 1])
    assert np.isnan(change.low).all() and np.isnan(change.high).all() and (change.nearest == 0).all()


def test_a_gain_is_the_loss_read_backwards():
    """Exchange base and variant, and every number changes its sign: doubled is half lost."""
    rng = np.random.default_rng(0)
    pairs = [(rng.gamma(2, size=20), rng.gamma(1, size=20)) for _ in range(30)]
    there, back = Change.of(sums(*pairs)), Change.of(sums(*((b, a) for a, b in pairs)))
    np.testing.assert_allclose(there.value, -back.value)
    np.testing.assert_allclose(there.low, -back.high)
    np.testing.assert_allclose(there.nearest, -back.nearest)
    assert Change.of(sums(([1, 2, 3], [2, 4, 6]))).value[0] == pytest.approx(0.5)


def test_clusters_count_by_how_evenly_they_share_the_activation():
    """Of 4 1 1 1 1, sum 8: 64 / 20. The larger side counts: that of the base where it fell, of the variant where it rose."""
    change = Change.of(sums(([4, 1, 1, 1, 1], [1, 1, 1, 1, 1]), ([1, 1, 1, 1, 1], [4, 1, 1, 1, 1])))
    assert change.clusters == pytest.approx([3.2, 3.2])


def test_more_clusters_that_agree_less_know_less():
    """Half the clusters lost all against all clusters lost half: the same change, and the interval of the first is wider."""
    change = Change.of(sums(([2] * 20, [2, 0] * 10), ([2] * 20, [1] * 20)))
    assert change.value.tolist() == [-0.5, -0.5]
    assert change.high[0] - change.low[0] > 2 * (change.high[1] - change.low[1])


@pytest.mark.parametrize("loss", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_coverage_of_known_losses(loss):
    """95 % -+ three standard errors of 1,000 features, at most 97 up to half lost; where little is left, wider is right."""
    for n_clusters in (20, 100):
        covered = change_coverage(n_clusters, loss, 1000, seed=1)
        assert 0.92 <= covered <= (0.975 if loss <= 0.5 else 1), n_clusters
