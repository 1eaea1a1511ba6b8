"""What other runs and other recipes say of a feature: tests/support/compare_store.py has the numbers."""

import pytest

from store import open_store
from tests.support.compare_store import write


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with open_store(write(tmp_path_factory.mktemp("compare") / "full")) as opened:
        yield opened


KEYS = [(7, 5), (7, 0), (7, 2), (7, 3), (7, 4), (7, 9)]


def test_replicates_are_runs_of_one_recipe_and_never_others(store):
    assert store.of_other_recipes("safety") == store.of_other_recipes("safety-seed2") == ["maths", "code"]
    assert store.of_other_recipes("maths") == ["code", "safety", "safety-seed2"]


def test_a_claim_is_shared_by_the_recipes_that_claim_a_change_the_same_way(store):
    """safety: 5 rose (its second run fell), 0, 2 and 3 fell (3 little in the second), 4 hardly rose, 9 never fires."""
    found = store.claims("safety", KEYS)
    assert list(zip(found["layer"], found["feature"], strict=True)) == KEYS
    assert found["claimed_in"].to_list() == [[], ["maths", "code"], [], [], ["maths"], []]  # code's 4 fell
    assert found["n_others"].to_list() == [2] * 6
    assert found["runs_alike"].to_list() == [1, 2, 2, 1, 0, 0]
    assert found["n_runs"].to_list() == [2] * 6
    assert found["verdict"].fillna("").to_list() == ["amplified", "suppressed", "suppressed", "suppressed", "steady", ""]
    assert store.claims("maths", [(7, 0)])["claimed_in"].to_list() == [["code", "safety"]]  # two runs count once


def test_where_nothing_is_claimed_nothing_says_who_shares_it(tmp_path):
    with open_store(write(tmp_path / "plain", evidence=False, replicas=False)) as plain:
        found = plain.claims("safety", [(7, 0)])
        assert (found["n_others"].to_list(), found["claimed_in"].to_list(), found["runs_alike"].to_list()) == ([0], [[]], [2])


def test_changes_on_single_domains(store):
    """A domain's shift is a quarter of the whole one, the other way: from 8 to 9.5, and to 10."""
    found = store.changes_on("safety", [(7, 2), (7, 0), (7, 9)], ["maths", "harmful"])
    assert found[["layer", "feature", "domain"]].values.tolist() == [[7, 2, "maths"], [7, 0, "maths"]]
    assert found["change"].to_list() == pytest.approx([2 / 10, 1.5 / 9.5])
    assert found["seen"].all() and found["kl"].isna().all()  # 50 firings in 20 clusters; no contributions


def test_a_list_of_what_is_claimed_here_alone(store):
    fell = {"verdicts": ("suppressed",), "not_in": tuple(store.of_other_recipes("safety"))}
    assert store.feature_keys("safety", **fell)["feature"].to_list() == [2, 3]
    rose = fell | {"verdicts": ("amplified",)}
    assert store.feature_keys("safety", **rose)["feature"].to_list() == [5]  # 6 rose in maths too


def test_a_list_by_the_change_on_the_domains_in_focus(store):
    """The way each moved overall: what rose by 24 fell by 6 of 8 there (-0.75), what rose by 0.5 lost 0.125 (-0.016)."""
    found = store.feature_keys("safety", layer=7, sort="focus_change", focus=("maths",))
    assert found["feature"].to_list() == [4, 1, 3, 0, 2, 7, 6, 5]


def test_a_list_by_what_moves_the_prediction_on_the_domains_in_focus(contributing_store):
    """On maths 5, 0 and 1 of layer 12 move it by 0.06, 0.05 and 0.02; of harmful, whose list it is, nothing is kept."""
    with open_store(contributing_store) as opened:
        found = opened.feature_keys("maths", domain="harmful", sort="focus_kl", focus=("maths",), limit=4)
    assert found.values.tolist() == [[12, 5], [12, 0], [12, 1], [5, 5]]  # then by |change|: 5 is new


def test_a_list_of_picked_features_has_no_other(store):
    assert store.feature_keys("safety", picked=((7, 3), (7, 2), (3, 2), (7, 9)))["feature"].to_list() == [2, 3]
    assert store.feature_keys("safety", picked=()).empty
