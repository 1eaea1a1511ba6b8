"""Twins as decoys: shares of false ones, worked by hand, and on draws whose truth is known."""

import numpy as np
import pytest

from store.metrics import decoys
from store.metrics.shares import Change


def test_share_of_false_ones_is_one_more_than_the_decoys_beyond_over_the_features_beyond() -> None:
    """Two draws. At 3: 2 features, no decoy: (1/2 + 0/2) / 2. At 2: 3 and 1 decoy: (1/2 + 1/2) / 3. At 1: 4 and 4 decoys."""
    targets = np.array([3.0, 0.0, 2.0, 4.0, 1.0])
    found = decoys.false_shares(targets, [np.array([2.5, 1.5, 0.2]), np.array([1.0, 1.2, 0.0])], 2)
    np.testing.assert_allclose(found, [1 / 4, np.nan, 1 / 3, 1 / 4, 5 / 8])


def test_ways_of_taking_one_twin_of_each_run_are_no_draws_of_their_own() -> None:
    """Four ways of two twins each: of what might have been there half a decoy counts, of what was there a quarter each."""
    four = [np.array([2.5]), np.array([0.1]), np.array([0.1]), np.array([0.1])]
    found = decoys.false_shares(np.array([3.0, 3.0, 2.0]), four, 2)
    np.testing.assert_allclose(found, [1 / 4, 1 / 4, (1 / 2 + 1 / 4) / 3])


def test_a_higher_score_never_has_the_larger_share() -> None:
    """At 5: one feature, (1 + 0) / 1 / 1 = 1; at 1 there are 50, whose share is 1 / 50: the highest has no more than that."""
    found = decoys.false_shares(np.r_[5.0, np.ones(49)], [np.array([0.5])], 1)
    np.testing.assert_allclose(found, 1 / 50)


def test_a_share_is_at_most_1_and_undefined_without_decoys() -> None:
    np.testing.assert_array_equal(decoys.false_shares(np.array([1.0]), [np.full(30, 2.0)], 1), [1.0])
    assert np.isnan(decoys.false_shares(np.array([1.0]), [], 1)).all()
    assert np.isnan(decoys.false_shares(np.zeros(3), [np.ones(3)], 1)).all()


def test_equal_scores_have_equal_shares() -> None:
    found = decoys.false_shares(np.array([2.0, 2.0, 2.0, 2.0]), [np.array([2.0])], 1)
    np.testing.assert_allclose(found, (1 + 1) / 4)


def test_what_recurs_by_chance_is_the_least_of_each_pair() -> None:
    pairs = decoys.shared([[np.array([1.0, 4.0]), np.array([2.0, 0.0])], [np.array([3.0, 2.0])]])
    np.testing.assert_array_equal(pairs, [[1.0, 2.0], [2.0, 0.0]])


def test_of_many_ways_each_twin_stands_about_as_often() -> None:
    """Three runs of four twins, 64 ways: 16 of them, in which every twin of every run stands four times."""
    runs = [[np.array([float(10 * run + twin)]) for twin in range(4)] for run in range(3)]
    firsts = decoys.shared([[twin * 1.0 for twin in runs[0]], *([np.array([99.0])] * 4 for _ in range(2))])
    assert len(firsts) == decoys.MOST_WAYS
    assert sorted(float(one[0]) for one in firsts) == [0.0] * 4 + [1.0] * 4 + [2.0] * 4 + [3.0] * 4


def test_the_bar_is_the_lowest_claim_or_the_highest_decoy() -> None:
    targets, share = np.array([3.0, 2.0, 1.0]), np.array([0.01, 0.05, 0.2])
    assert decoys.bar(targets, share, [np.array([9.0])], 0.05) == 2.0
    assert decoys.bar(targets, np.ones(3), [np.array([0.5]), np.array([9.0])], 0.05) == 9.0
    assert decoys.bar(targets, np.ones(3), [], 0.05) == 0.0


def test_score_is_the_sure_part_of_a_change_and_divided_by_how_much_larger_the_twin_is() -> None:
    """At least half lost for sure: -ln(1 - 0.5); a twin twice as large counts half. Other direction, or 0 within: no score."""
    change = Change(np.array([-0.8, -0.8, 0.9]), np.array([-0.9, -0.9, 0.75]), np.array([-0.5, 0.1, 0.95]), np.full(3, 30.0))
    np.testing.assert_allclose(decoys.scores(change, -1), [np.log(2), 0.0, 0.0])
    np.testing.assert_allclose(decoys.scores(change, 1), [0.0, 0.0, np.log(4)])
    np.testing.assert_allclose(decoys.scores(change, -1, size_ratio=0.5), [np.log(2) / 2, 0.0, 0.0])


def test_strata_are_of_like_frequency_and_there_of_like_strength() -> None:
    """900 features: 5 x 3 strata of 60; the rare and weak lie in the first, the frequent and strong in the last."""
    firings, strength = np.repeat(np.arange(1, 31), 30), np.tile(np.arange(1, 31), 30)
    stratum = decoys.strata(firings, firings * strength, np.ones(900, dtype=bool))
    assert np.bincount(stratum).tolist() == [60] * 15
    assert stratum[0] == 0
    assert stratum[-1] == 14


def test_few_features_are_one_stratum() -> None:
    assert set(decoys.strata(np.arange(50), np.ones(50), np.ones(50, dtype=bool))) == {0}


def test_units_are_what_twins_do_to_a_stratum() -> None:
    """The 95th percentile of 0, 1, .. 100 is 95; where twins leave features as they are, a tenth."""
    of_twin = np.r_[np.arange(101.0), np.zeros(101)]
    stratum = np.repeat([0, 1], 101)
    found = decoys.units([of_twin], stratum, np.ones(202, dtype=bool))
    np.testing.assert_allclose(found, np.repeat([95.0, 0.1], 101))


@pytest.mark.parametrize("n_true", [0, 60])
def test_no_more_than_a_twentieth_of_the_claims_is_false(n_true: int) -> None:
    """1,000 features whose score and decoys' are of one law, heavy in the tail; n_true others score higher. Over 200 draws."""
    random, false, found = np.random.default_rng(3), [], []
    for _ in range(200):
        null = random.standard_t(3, 1000)
        targets = np.r_[null, 14 + random.standard_t(3, n_true)]
        share = decoys.false_shares(np.maximum(targets, 0), list(np.maximum(random.standard_t(3, (2, 1000)), 0)), 2)
        claimed = share <= 0.05
        false.append(claimed[:1000].sum() / max(1, claimed.sum()))
        found.append(claimed[1000:].mean() if n_true else 0.0)
    assert np.mean(false) <= 0.05
    if n_true:
        assert np.mean(found) > 0.5
