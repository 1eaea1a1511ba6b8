"""Questions across variants on stores of hand-written numbers: see tests/support/compare_store.py.

Long because all questions across variants are held to one table of numbers worked by hand.
"""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from app.charts import variant_charts
from app.words import comparison
from store import Store, UserError, open_store
from store.metrics.ranks import spearman
from tests.support.compare_store import HOSTILE, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("compare") / "full")


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory):
    """The same without twins, verdicts and a second dictionary."""
    return write(tmp_path_factory.mktemp("compare") / "plain", evidence=False, replicas=False)


@pytest.fixture(scope="module")
def store(folder):
    with open_store(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def plain(plain_folder):
    with open_store(plain_folder) as opened:
        yield opened


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_a_replicate_is_a_run_of_the_same_task(store):
    assert store.groups().values.tolist() == [
        ["maths", "maths", 1], ["code", "code", 1], ["safety", "safety", 2], ["safety-seed2", "safety", 2],
    ]  # fmt: skip


def test_a_name_that_looks_like_a_second_seed_makes_none(tmp_path):
    with open_store(write(tmp_path / "s", variants=("maths", "maths-seed2"), replicas=False)) as opened:
        assert opened.groups()["n_runs"].tolist() == [1, 1]


def test_a_task_whose_first_run_is_not_in_the_store_is_called_by_the_next():
    made = {"x": {}, "a": {"replicate_of": "gone"}, "b": {"replicate_of": "gone"}}
    asked = SimpleNamespace(variants=list(made), manifest=SimpleNamespace(variants=made))
    assert Store.groups(asked).values.tolist() == [["x", "x", 1], ["a", "a", 2], ["b", "a", 2]]


# --- sets ------------------------------------------------------------------------------------------------------------


def counts(table):
    rows = table[["tasks", "extent", "count", "down", "up", "opposite"]].to_dict("records")
    return [("+".join(row.pop("tasks")), *row.values()) for row in rows]


def test_features_are_counted_by_exactly_the_tasks_they_changed_in(store):
    table = store.change_sets(layer=7)
    assert counts(table) == [
        ("safety", "one", 3, 2, 0, 1),
        ("maths", "one", 1, 0, 1, 0),
        ("maths+code", "several", 1, 0, 0, 1),
        ("maths+safety", "several", 1, 0, 1, 0),
        ("maths+code+safety", "all", 1, 1, 0, 0),
    ]
    assert set(table["rule"]) == {"verdict"}


def test_chance_is_over_the_features_that_could_have_been_called(store):
    """8 of them (0 to 6, and 8): maths called 4, code 2, safety 5."""
    expected = store.change_sets(layer=7)["expected"].tolist()
    assert expected == pytest.approx(
        [8 * 0.5 * 0.75 * 0.625, 8 * 0.5 * 0.75 * 0.375, 8 * 0.5 * 0.25 * 0.375, 8 * 0.5 * 0.75 * 0.625, 8 * 0.5 * 0.25 * 0.625]
    )


def test_every_run_of_a_task_can_be_asked_for(store):
    assert counts(store.change_sets(layer=7, runs="every")) == [
        ("maths", "one", 2, 0, 2, 0),
        ("safety", "one", 2, 1, 0, 1),
        ("maths+code", "several", 1, 0, 0, 1),
        ("maths+code+safety", "all", 1, 1, 0, 0),
    ]


def test_two_seeds_alone_are_one_task(tmp_path):
    """f0, f1, f4 and f6 of the first two columns, taken for two runs: never more than one task."""
    with open_store(write(tmp_path / "s", variants=("safety", "safety-seed2"), replicas=False)) as opened:
        assert opened.change_sets(layer=7)["extent"].tolist() == ["one"]


def test_all_layers_are_the_sum_of_layers(store):
    """|change| >= 0.12. Layer 3, of 4: maths 0 (-1/4), 3 (3/11), code 0 (-1/8), 3 (1/5). Layer 7, of the 8 that could be seen:
    maths 0, 1, 4, 6, code 0, 2 (-1/8), 4, 8, safety 0, 1 (-1/8), 2, 3, 5, 6."""
    table = store.change_sets(rule="material", share=0.12)
    assert counts(table) == [
        ("safety", "one", 2, 1, 0, 1),  # L7:3, L7:5
        ("code", "one", 1, 1, 0, 0),  # L7:8
        ("maths+code", "several", 3, 1, 1, 1),  # L3:0, L3:3, L7:4
        ("maths+safety", "several", 2, 0, 1, 1),  # L7:6, L7:1
        ("code+safety", "several", 1, 1, 0, 0),  # L7:2
        ("maths+code+safety", "all", 1, 1, 0, 0),  # L7:0
    ]
    assert table["expected"].iloc[0] == pytest.approx(8 * (4 / 8) * (4 / 8) * (6 / 8))  # nothing of safety at layer 3


def test_a_domain_without_verdicts_goes_by_material_changes(store):
    """A quarter of the shift, negated. Below -0.22: maths 1, 4, 6, 7 (-1/4), code 7, safety 5 (-3/4), 6 (-3/8), 7."""
    assert store.change_rules("maths").values.tolist() == [["material", 0.5]]
    assert counts(store.change_sets(layer=7, domain="maths")) == [("safety", "one", 1, 1, 0, 0)]
    table = store.change_sets(layer=7, domain="maths", share=0.22)
    assert counts(table) == [
        ("maths", "one", 2, 2, 0, 0),
        ("safety", "one", 1, 1, 0, 0),
        ("maths+safety", "several", 1, 1, 0, 0),
        ("maths+code+safety", "all", 1, 1, 0, 0),
    ]
    assert table[["rule", "share"]].drop_duplicates().values.tolist() == [["material", 0.22]]


def test_a_store_without_verdicts_goes_by_material_changes(plain):
    """Layer 3: maths -1/4, 0, 1/9, 3/11, code -1/8, 0, 1/5."""
    assert plain.change_rules().values.tolist() == [["material", 0.5]]
    assert plain.change_sets(layer=3).empty
    assert counts(plain.change_sets(layer=3, share=0.19)) == [
        ("maths", "one", 1, 1, 0, 0),
        ("maths+code", "several", 1, 0, 1, 0),
    ]


def test_what_could_not_have_been_seen_is_no_material_change(store, plain):
    """Feature 7 doubled in every variant, but nothing could have been claimed of it; without verdicts its firings suffice."""
    assert 7 not in store.changed_features(["maths", "code", "safety"], layer=7, rule="material")["feature"].tolist()
    assert 7 in plain.changed_features(["maths", "code", "safety"], layer=7, rule="material")["feature"].tolist()


@pytest.mark.parametrize("question", ["change_sets", "variant_pairs"])
def test_a_rule_that_the_store_does_not_allow_is_refused(store, plain, question):
    with pytest.raises(UserError, match="cannot say by 'verdict'"):
        getattr(plain, question)(rule="verdict")
    with pytest.raises(UserError, match="cannot say by 'verdict' what changed in domain 'maths'"):
        getattr(store, question)(rule="verdict", domain="maths")
    with pytest.raises(UserError, match="no rule 'guess'"):
        getattr(store, question)(rule="guess")


def test_runs_are_any_or_every(store):
    with pytest.raises(UserError, match="any, every"):
        store.change_sets(runs="most")


def test_the_features_of_a_set_come_furthest_first_with_every_variants_change(store):
    """Largest changes: -1, 24/32, -1/2."""
    table = store.changed_features(["safety"], layer=7)
    assert table["feature"].tolist() == [2, 5, 3]
    assert table["direction"].tolist() == ["down", "opposite", "down"]
    assert table["label"].tolist() == [HOSTILE, "label 5", "label 3"]
    assert table["n_changed"].tolist() == [2, 2, 1]
    assert table["change_maths"].tolist() == pytest.approx([1 / 17, 1 / 17, 1 / 9])
    assert table["change_safety-seed2"].tolist() == pytest.approx([-7 / 8, -1 / 2, -1 / 8])
    assert table["changed_safety-seed2"].tolist() == [True, True, False]
    assert not table["changed_maths"].any()


def test_the_order_in_which_tasks_are_named_makes_no_difference(store):
    assert store.changed_features(["safety", "maths"], layer=7)["feature"].tolist() == [6]


def test_a_feature_that_has_no_row_in_a_variant_did_not_change_there(store):
    table = store.changed_features(["code"], layer=7, rule="material", share=0.4)
    assert table["feature"].tolist() == [8]
    assert table[["change_maths", "change_code", "change_safety"]].values[0] == pytest.approx([0.0, -0.5, 0.0])


def test_pages_of_a_set_follow_each_other(store):
    """In every task by 0.05 or more: 2 (-1), 0 (-6/8), 6 (12/20), 3 and 4 (1/2)."""
    asked = {"tasks": ["maths", "code", "safety"], "layer": 7, "rule": "material", "share": 0.05, "limit": 1}
    found = [store.changed_features(**asked, offset=at)["feature"].tolist() for at in range(6)]
    assert found == [[2], [0], [6], [3], [4], []]


# --- pairs -----------------------------------------------------------------------------------------------------------


def test_rank_correlation_gives_ties_their_mean_rank():
    """Ranks 1, 2.5, 2.5, 4 and 1, 4, 2.5, 2.5 about 2.5: products 2.25, squares 4.5 and 4.5."""
    assert spearman(np.array([1.0, 2.0, 2.0, 4.0]), np.array([10.0, 30.0, 20.0, 20.0])) == pytest.approx(0.5)


def test_rank_correlation_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(3)
    x, y = random.integers(-4, 5, 300) / 8, random.normal(size=300).round(1)
    assert spearman(x, x + y) == pytest.approx(stats.spearmanr(x, x + y).statistic, abs=1e-12)


def test_rank_correlation_of_a_constant_or_of_two_values_is_undefined():
    assert math.isnan(spearman(np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])))
    assert math.isnan(spearman(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    assert math.isnan(spearman(np.array([]), np.array([])))


@pytest.fixture(scope="module")
def maths_and_code(store):
    """Layer 3: shifts -2, 0, 1, 3 and -1, 0, (no row: 0), 2."""
    table = store.variant_pairs(layer=3, k=50)
    return table[(table["variant_a"] == "maths") & (table["variant_b"] == "code")].iloc[0]


def test_correlation_of_shifts_counts_a_feature_silent_in_one_as_unmoved_there(maths_and_code):
    """Ranks 1, 2, 3, 4 and 1, 2.5, 2.5, 4: 4.5 / sqrt(5 x 4.5)."""
    assert maths_and_code["n"] == 4
    assert maths_and_code["spearman"] == pytest.approx(math.sqrt(0.9))
    assert not maths_and_code["same_task"]


def test_correlation_of_std_shifts_leaves_out_what_is_undefined(maths_and_code):
    """Features 0, 2, 3: -1, 2, 1 and -1, 0, 3, ranks 1, 3, 2 and 1, 2, 3: 1 - 6 x 2 / (3 x 8)."""
    assert maths_and_code["spearman_std"] == pytest.approx(0.5)


def test_correlation_of_changes_is_over_what_could_be_seen_in_both(store, plain, maths_and_code):
    """Features 0, 1, 3: (-11, 0, 12) / 44 and (-5, 0, 8) / 40, so 150 / sqrt(794 / 3 x 86)."""
    assert maths_and_code["n_seen"] == 3
    assert maths_and_code["correlation"] == pytest.approx(150 / math.sqrt(794 / 3 * 86))
    of_seeds = [one.variant_pairs(layer=7).iloc[-1] for one in (store, plain)]
    assert [pair["n_seen"] for pair in of_seeds] == [7, 8]  # feature 7 could not be seen, 8 fires in neither


def test_the_most_moved_in_common_beside_chance(store, maths_and_code):
    """Maths moved 0, 2, 3 and code 0, 3: two in common, 3 x 2 / 4 by chance; of the two most moved: both, 2 x 2 / 4."""
    assert maths_and_code[["top_k", "top_shared", "top_expected"]].tolist() == [2, 2, 1.5]
    first = store.variant_pairs(layer=3, k=2).iloc[0]
    assert first[["top_k", "top_shared", "top_expected"]].tolist() == [2, 2, 1.0]
    one = store.variant_pairs(layer=7, k=1).set_index(["variant_a", "variant_b"])
    assert one.loc[("code", "safety-seed2"), "top_shared"] == 1  # feature 7 moved most in both
    assert one.loc[("maths", "safety"), "top_shared"] == 0  # feature 1, feature 5


def test_a_layer_where_a_variant_has_no_row_has_no_correlation(store):
    table = store.variant_pairs(layer=3).set_index(["variant_a", "variant_b"])
    silent = table.loc[("safety", "safety-seed2")]
    assert silent["n"] == 0
    assert math.isnan(silent["spearman"])
    assert math.isnan(silent["top_expected"])


def test_what_another_run_reproduces(store):
    """safety called 0, 2, 3, 5, 6, its second seed 0, 2, 5: 5 with the other sign; 3 and 6 moved alike without being called."""
    table = store.variant_pairs(layer=7).set_index(["variant_a", "variant_b"])
    runs = table.loc[("safety", "safety-seed2")]
    names = ["called_a", "called_b", "called_same", "called_opposite", "called_either", "signs_agree"]
    assert runs["same_task"]
    assert runs[names].tolist() == [5, 3, 2, 1, 5, 4]
    tasks = table.loc[("maths", "code")]  # 0, 1, 4, 6 and 0, 4; signs agree of 0 and 6
    assert not tasks["same_task"]
    assert tasks[names].tolist() == [4, 2, 1, 1, 4, 2]


def test_pairs_of_all_layers_are_those_of_each(store):
    table = store.variant_pairs()
    pd.testing.assert_frame_equal(table[table["layer"] == 7].reset_index(drop=True), store.variant_pairs(layer=7))
    assert len(table) == 2 * 6


def test_side_by_side(store):
    table = store.side_by_side("maths", "code", layer=7, limit=3)
    assert table["feature"].tolist() == [1, 4, 6]
    assert table[["shift_a", "shift_b"]].values.tolist() == [[8, 0], [8, -4], [8, 1]]
    assert table[["change_a", "change_b"]].values == pytest.approx(np.array([[0.5, 0], [0.5, -0.5], [0.5, 1 / 9]]))
    assert table["changed_a"].tolist() == [True, True, True]
    assert table["changed_b"].tolist() == [False, True, False]
    assert table["verdict_b"].tolist() == ["steady", "suppressed", "steady"]
    assert table[["seen_a", "seen_b"]].all(axis=None)
    whole = store.side_by_side("code", "safety", layer=7, limit=None)
    assert len(whole) == 9
    fires_in_one = whole.loc[whole["feature"] == 8].iloc[0]
    assert fires_in_one[["shift_a", "shift_b", "change_b", "seen_a", "seen_b"]].tolist() == [-4, 0, 0, True, False]
    assert whole["feature"].tolist() == [5, 6, 2, 7, 0, 3, 4, 8, 1]


def test_one_feature_across_variants_and_domains(store):
    table = store.feature_across(7, 0)
    assert list(zip(table["variant"], table["domain"], strict=True))[:4] == [
        ("maths", "all"), ("maths", "harmful"), ("maths", "maths"), ("code", "all"),
    ]  # fmt: skip
    assert table["shift"].tolist()[0] == -4.0
    assert math.isnan(table["shift"].tolist()[1])
    assert table["change"].tolist()[2] == pytest.approx(1 / 9)
    assert table["gate"].tolist()[0] == "fits"
    assert len(table) == 4 * 3


# --- a second dictionary ---------------------------------------------------------------------------------------------


def test_what_a_second_dictionary_shows(store):
    """Changed 0, 2, 3, 5, 6: 3 has no counterpart, 5's moved the other way.

    Ranks of 0, 2, 5, 6: 2, 1, 4, 3 and 1, 2, 3, 4: 1 - 6 x 4 / (4 x 15). Of the others 1 and 7 have one; 7's did not move.
    """
    table = store.replica_summary(7)
    assert table["variant"].tolist() == ["safety", "safety"]
    assert table[["changed", "n", "matched", "same_sign"]].values.tolist() == [[True, 5, 4, 3], [False, 3, 2, 1]]
    assert table["spearman"].iloc[0] == pytest.approx(0.6)
    assert math.isnan(table["spearman"].iloc[1])  # two pairs
    assert store.replica_layers()["layer"].tolist() == [7]


def test_a_store_without_a_second_dictionary_has_no_replicas(plain, store):
    assert plain.replica_layers().empty
    assert plain.replica_summary(7).empty
    assert store.replica_pairs("maths", 7).empty


def test_a_set_of_tasks_has_a_name():
    assert comparison.recipes_name(["maths"], 3) == "maths alone"
    assert comparison.recipes_name(["maths", "code"], 3) == "maths and code"
    assert comparison.recipes_name(["maths", "code"], 2) == "maths and code"
    assert comparison.recipes_name(["maths", "code", "safety"], 3) == "all 3 recipes"


def test_only_the_largest_sets_are_drawn(monkeypatch):
    monkeypatch.setattr(variant_charts, "MOST_SETS", 2)
    rows = pd.DataFrame(
        {"set": list("abc"), "name": list("abc"), "count": [1, 5, 3], "down": 0, "up": 0, "opposite": 0, "expected": 1.0}
    )
    drawn = variant_charts.set_bars(rows, "b").to_dict()
    names = [{row["name"] for row in data} for data in drawn["datasets"].values()]
    assert names == [{"b", "c"}, {"b", "c"}]
