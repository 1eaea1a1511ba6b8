"""The synthetic stores of the bench: their data are what they say, and their rows judge rightly."""

import numpy as np
import pytest

from extract.bench import discoveries
from extract.bench.power import class_of, power_row
from extract.bench.random_changes import Base, columns, copied


@pytest.fixture(scope="module")
def base() -> Base:
    return Base.draw(np.random.default_rng(0), n_features=400, n_clusters=100)


def test_sums_of_a_random_change_agree(base: Base) -> None:
    """Firings are kept or lost; what is expected to be left is, in features that fire often and were little moved."""
    side, left = base.side(np.random.default_rng(1))
    sums = side.sums
    np.testing.assert_array_equal(sums["n11"] + sums["n10"], base.firings.sum(axis=0))
    assert (sums["cluster_ab"] <= np.sqrt(sums["cluster_a2"] * sums["cluster_b2"]) + 1e-9).all()
    often = (base.firings.sum(axis=0) > 1000) & (left > 0.5) & (left < 1)
    ratio = (sums["b"] / sums["a"])[often] / left[often]
    assert ratio.mean() == pytest.approx(np.exp(0.15**2 / 2), abs=0.03)  # the mean of the noise of clusters, cut at 1


def test_what_is_taken_is_gone_and_what_is_added_is_there(base: Base) -> None:
    rng = np.random.default_rng(2)
    gone, _ = base.side(rng, stays=0.0)
    assert not gone.sums["b"].any() and not gone.sums["n11"].any() and not gone.sums["n01"].any()
    more, left = base.side(rng, stays=3.0)
    often = base.firings.sum(axis=0) > 1000
    assert np.median(more.change.value[often]) == pytest.approx(np.median(1 - 1 / left[often]), abs=0.05)


def test_a_run_that_trained_nothing_is_one_more_twin(base: Base) -> None:
    """Over 12 runs its changes are as often below as above a twin's, of rare features too."""
    rng = np.random.default_rng(3)
    rare = base.firings.sum(axis=0) < 200
    above = []
    for _ in range(12):
        member, _ = base.member(rng)
        above.append((member.own.change.value > member.twins[0].change.value)[rare].mean())
    assert np.mean(above) == pytest.approx(0.5, abs=0.1)


def test_copies_count_once_only_where_they_are_known(base: Base) -> None:
    member, _ = base.member(np.random.default_rng(4))
    known, not_known = (copied(member, 6, is_known).own for is_known in (True, False))
    np.testing.assert_array_equal(known.firings, 6 * member.own.firings)
    np.testing.assert_allclose(known.change.clusters, member.own.change.clusters)
    np.testing.assert_allclose(known.change.low, member.own.change.low)
    np.testing.assert_allclose(not_known.change.clusters, 6 * member.own.change.clusters)


def test_nothing_is_claimed_where_nothing_was_trained_and_what_was_lost_is() -> None:
    """Two stores of each kind."""
    for number in range(2):
        rng = np.random.default_rng([9, number])
        store = Base.draw(rng), rng
        assert discoveries._claims(columns(discoveries._members(store, 2))) == (0, 0)
        assert discoveries._claims(columns(discoveries._members(store, 1))) == (0, 0)
        trial = discoveries._trial(*store, loss=1.0)
        assert trial.claimed.mean() >= 0.9
        assert trial.false_share <= 0.2
        assert set(trial.firing_class) == {"50 to 99", "100 to 199", "200 to 499", "500 or more"}


def test_a_false_claim_is_counted() -> None:
    """One of 20 stores claims: 0.05 is allowed. Of one run nothing may be claimed at all."""
    (share, mean) = discoveries._null_rows("x", [(2, 0)] + [(0, 0)] * 19, n_runs=2, n_stores=100)
    assert (share.value, share.met, mean.value) == (0.05, True, 0.1)
    assert discoveries._null_rows("x", [(1, 0), (0, 0)], n_runs=2, n_stores=100)[0].met is False
    assert discoveries._null_rows("x", [(1, 0)] + [(0, 0)] * 99, n_runs=1, n_stores=100)[0].met is False
    assert discoveries._null_rows("x", [(1, 0)], n_runs=None, n_stores=100)[0].met is None


def test_classes_of_firings() -> None:
    assert class_of(np.array([49, 50, 99, 100, 499, 500])).tolist() == [
        "", "50 to 99", "50 to 99", "100 to 199", "200 to 499", "500 or more",
    ]  # fmt: skip
    row = power_row("x", np.array([True, True, True, False]), 0.75)
    assert (row.name, row.value, row.target, row.met) == ("x (of 4)", 0.75, "at least 0.75", True)
    assert power_row("x", np.array([True, False]), 0.75).met is False
