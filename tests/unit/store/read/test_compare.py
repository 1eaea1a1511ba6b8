"""Questions across variants on stores of hand-written numbers: see tests/support/compare_store.py.

Long because all questions across variants are held to one table of numbers worked by hand.
"""

import math

import numpy as np
import pandas as pd
import pytest

from app.charts import variant_charts
from app.words import comparison
from store import UserError, open_store
from store.metrics.ranks import spearman
from store.read.changes import tasks_of
from tests.support.compare_store import HOSTILE, NOISE, SUP, VARIANTS, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("compare") / "full")


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory):
    """The same without verdicts, floors and a second dictionary."""
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


def test_a_second_seed_is_a_run_of_the_same_task():
    assert tasks_of(VARIANTS, {}) == {"maths": "maths", "code": "code", "safety": "safety", "safety-seed2": "safety"}


def test_a_task_is_called_by_the_run_without_a_seed_in_its_name():
    assert tasks_of(["safety-seed2", "safety"], {}) == {"safety-seed2": "safety", "safety": "safety"}
    assert tasks_of(["x-seed1", "x-seed2"], {}) == {"x-seed1": "x-seed1", "x-seed2": "x-seed1"}


def test_variants_with_the_same_domains_given_are_one_task_whatever_they_are_called():
    given = {"lora": ["harmful", "alarming"], "full": ["alarming", "harmful"], "other": ["maths"]}
    assert tasks_of(["lora", "full", "other"], given) == {"lora": "lora", "full": "lora", "other": "other"}


def test_domains_given_go_before_names():
    assert tasks_of(["x", "x-seed2"], {"x": ["maths"], "x-seed2": ["code"]}) == {"x": "x", "x-seed2": "x-seed2"}


def test_a_seed_without_a_task_takes_that_of_its_recipe():
    given = {"x": ["maths"], "y": ["maths"], "x-seed2": []}
    assert set(tasks_of(["x", "x-seed2", "y"], given).values()) == {"x"}


def test_tasks_come_from_the_manifest(tmp_path):
    with open_store(write(tmp_path / "s", settings={"tasks": {"maths": ["maths"], "code": ["maths"]}})) as opened:
        table = opened.variant_tasks()
    assert table.values.tolist() == [["maths", "maths", 2], ["code", "maths", 2], ["safety", "safety", 2],
                                     ["safety-seed2", "safety", 2]]  # fmt: skip


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
    """f0, f2, f3, f5 and f6 of the first two columns, taken for two runs: never more than one task."""
    with open_store(write(tmp_path / "s", variants=("x", "x-seed2"), replicas=False)) as opened:
        assert opened.change_sets(layer=7)["extent"].tolist() == ["one"]


def test_all_layers_are_the_sum_of_layers(store):
    """|shift| > 0.21 x floor. Layer 3 (1.89): maths 0, 3, code 3, of 4. Layer 7 (0.105): maths 0 to 7, code 0, 2, 4, 6, 7, 8,
    safety 0, 2, 3, 5, 6, 7, of 9."""
    table = store.change_sets(rule="floor", multiple=0.21)
    assert counts(table) == [
        ("maths", "one", 2, 1, 1, 0),  # L3:0, L7:1
        ("code", "one", 1, 0, 1, 0),  # L7:8
        ("maths+code", "several", 2, 0, 1, 1),  # L3:3, L7:4
        ("maths+safety", "several", 2, 0, 0, 2),  # L7:3, L7:5
        ("maths+code+safety", "all", 4, 1, 2, 1),  # L7:0, L7:2 opposite, L7:6, L7:7
    ]
    assert table["expected"].iloc[0] == pytest.approx(4 * (2 / 4) * (3 / 4) + 9 * (8 / 9) * (3 / 9) * (3 / 9))


def test_a_domain_without_verdicts_goes_by_its_floor(store):
    """Floor 2 and shift negated: maths f0 +4, f1 -3; code f0 +3; safety f2 +5; safety-seed2 f0 +2.5, f2 +4.5."""
    assert store.change_rules("maths")["rule"].tolist() == ["floor", "rms"]
    table = store.change_sets(layer=7, domain="maths")
    assert counts(table) == [
        ("maths", "one", 1, 1, 0, 0),
        ("safety", "one", 1, 0, 1, 0),
        ("maths+code+safety", "all", 1, 0, 1, 0),
    ]
    assert table[["rule", "multiple"]].drop_duplicates().values.tolist() == [["floor", 1.0]]


def test_a_store_without_a_floor_goes_by_multiples_of_the_typical_shift(plain):
    """Maths at layer 3: shifts -2, 0, 1, 3, root mean square sqrt(14 / 4) = 1.87; code: -1, 0, 2, of sqrt(5 / 3) = 1.29."""
    assert plain.change_rules().values.tolist() == [["rms", 3.0]]
    assert plain.change_sets(layer=3).empty
    assert counts(plain.change_sets(layer=3, multiple=1.5)) == [("maths+code", "several", 1, 0, 1, 0)]
    assert counts(plain.change_sets(layer=3, multiple=1.56)) == [("maths", "one", 1, 0, 1, 0)]  # 1.29 x 1.56 > 2


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


def test_the_features_of_a_set_come_furthest_first_with_every_variants_shift(store):
    table = store.changed_features(["safety"], layer=7)
    assert table["feature"].tolist() == [2, 3, 5]  # |-5|, |-1.5|, |-1.2|
    assert table["direction"].tolist() == ["down", "down", "opposite"]
    assert table["label"].tolist() == [HOSTILE, "label 3", "label 5"]
    assert table["n_changed"].tolist() == [2, 1, 2]
    assert table["shift_maths"].tolist() == pytest.approx([0.2, 0.3, 0.2])
    assert table["shift_safety-seed2"].tolist() == pytest.approx([-4.5, -0.4, -1.2])
    assert table["changed_safety-seed2"].tolist() == [True, False, True]
    assert not table["changed_maths"].any()


def test_the_order_in_which_tasks_are_named_makes_no_difference(store):
    assert store.changed_features(["safety", "maths"], layer=7)["feature"].tolist() == [6]


def test_a_feature_that_fires_in_one_variant_alone_did_not_shift_in_the_others(store):
    table = store.changed_features(["code"], layer=7, rule="floor", multiple=1.1)
    assert table["feature"].tolist() == [8]
    assert table[["shift_maths", "shift_code", "shift_safety"]].values[0] == pytest.approx([0.0, 0.6, 0.0])


def test_pages_of_a_set_follow_each_other(store):
    """In every task beyond 0.105: 2 (-5), 0 (-4), 6 (1.5), 7 (0.9)."""
    asked = {"tasks": ["maths", "code", "safety"], "layer": 7, "rule": "floor", "multiple": 0.21, "limit": 1}
    assert [store.changed_features(**asked, offset=at)["feature"].tolist() for at in range(5)] == [[2], [0], [6], [7], []]


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


def test_correlation_under_noise_is_of_the_isotropic_control(maths_and_code, plain):
    """.1, .2, .3, .4 and .4, .3, 0, .1, ranks 1, 2, 3, 4 and 4, 3, 1, 2: 1 - 6 x 18 / (4 x 15)."""
    assert maths_and_code["spearman_noise"] == pytest.approx(-0.8)
    assert plain.variant_pairs(layer=3)["spearman_noise"].isna().all()


def test_the_most_moved_in_common_beside_chance(store, maths_and_code):
    """Maths moved 0, 2, 3 and code 0, 3: two in common, 3 x 2 / 4 by chance; of the two most moved: both, 2 x 2 / 4."""
    assert maths_and_code[["top_k", "top_shared", "top_expected"]].tolist() == [2, 2, 1.5]
    first = store.variant_pairs(layer=3, k=2).iloc[0]
    assert first[["top_k", "top_shared", "top_expected"]].tolist() == [2, 2, 1.0]
    one = store.variant_pairs(layer=7, k=1).set_index(["variant_a", "variant_b"])
    assert one.loc[("maths", "code"), "top_shared"] == 1  # feature 0 moved most in both
    assert one.loc[("maths", "safety"), "top_shared"] == 0  # feature 0, feature 2


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
    tasks = table.loc[("maths", "code")]  # 0, 1, 4, 6 and 0, 4; signs agree of 0, 1 and 6
    assert not tasks["same_task"]
    assert tasks[names].tolist() == [4, 2, 1, 1, 4, 3]


def test_pairs_of_all_layers_are_those_of_each(store):
    table = store.variant_pairs()
    pd.testing.assert_frame_equal(table[table["layer"] == 7].reset_index(drop=True), store.variant_pairs(layer=7))
    assert len(table) == 2 * 6


def test_side_by_side(store):
    table = store.side_by_side("maths", "code", layer=7, limit=3)
    assert table["feature"].tolist() == [0, 1, 4]
    assert table[["shift_a", "shift_b"]].values == pytest.approx(np.array([[-4.0, -3.0], [3.0, 0.1], [2.0, -2.0]]))
    assert table["changed_a"].tolist() == [True, True, True]
    assert table["changed_b"].tolist() == [True, False, True]
    assert table["verdict_b"].tolist() == [SUP, NOISE, SUP]
    whole = store.side_by_side("code", "safety", layer=7, limit=None)
    assert len(whole) == 9
    assert whole.loc[whole["feature"] == 8, ["shift_a", "shift_b"]].values[0] == pytest.approx([0.6, 0.0])
    assert whole["feature"].tolist() == [2, 0, 4, 3, 6, 5, 7, 8, 1]


def test_one_feature_across_variants_and_domains(store):
    table = store.feature_across(7, 0)
    assert list(zip(table["variant"], table["domain"], strict=True))[:4] == [
        ("maths", "all"), ("maths", "harmful"), ("maths", "maths"), ("code", "all"),
    ]  # fmt: skip
    assert table["shift"].tolist()[0] == -4.0
    assert math.isnan(table["shift"].tolist()[1])
    assert table["shift"].tolist()[2] == 4.0
    assert table["gate"].tolist()[0] == "fits"
    assert len(table) == 4 * 3


# --- a second dictionary ---------------------------------------------------------------------------------------------


def test_what_a_second_dictionary_shows(store):
    """Changed 0, 2, 3, 5, 6: 3 has no counterpart, 5 moved the other way, 0 and 6 beyond the floor of 0.5.

    Ranks of 0, 2, 5, 6: 2, 1, 3, 4 and 1, 2, 3, 4. Of the others 1 and 7 have one; 7's did not move.
    """
    table = store.replica_summary(7)
    assert table["variant"].tolist() == ["safety", "safety"]
    assert table[["changed", "n", "matched", "same_sign", "beyond"]].values.tolist() == [
        [True, 5, 4, 3, 2], [False, 3, 2, 1, 0],
    ]  # fmt: skip
    assert table["spearman"].iloc[0] == pytest.approx(0.8)
    assert math.isnan(table["spearman"].iloc[1])  # two pairs
    assert store.replica_layers()["layer"].tolist() == [7]


def test_a_store_without_a_second_dictionary_has_no_replicas(plain, store):
    assert plain.replica_layers().empty
    assert plain.replica_summary(7).empty
    assert store.replica_pairs("maths", 7).empty


def test_a_set_of_tasks_has_a_name():
    assert comparison.tasks_name(["maths"], 3) == "maths alone"
    assert comparison.tasks_name(["maths", "code"], 3) == "maths and code"
    assert comparison.tasks_name(["maths", "code"], 2) == "maths and code"
    assert comparison.tasks_name(["maths", "code", "safety"], 3) == "all 3 tasks"


def test_only_the_largest_sets_are_drawn(monkeypatch):
    monkeypatch.setattr(variant_charts, "MOST_SETS", 2)
    rows = pd.DataFrame(
        {"set": list("abc"), "name": list("abc"), "count": [1, 5, 3], "down": 0, "up": 0, "opposite": 0, "expected": 1.0}
    )
    drawn = variant_charts.set_bars(rows, "b").to_dict()
    names = [{row["name"] for row in data} for data in drawn["datasets"].values()]
    assert names == [{"b", "c"}, {"b", "c"}]


def test_a_point_is_coloured_by_where_it_changed():
    row = {"layer": 7, "feature": 0, "name": "L7:0", "label": None, "said_a": "", "said_b": ""}
    cases = [(1.0, 2.0, True, True), (1.0, -2.0, True, True), (1.0, 0.1, True, False), (0.1, 2.0, False, True),
             (0.1, 0.1, False, False)]  # fmt: skip
    names = ["shift_a", "shift_b", "changed_a", "changed_b"]
    rows = pd.DataFrame([row | dict(zip(names, case, strict=True)) for case in cases])
    drawn = variant_charts.shift_scatter(rows, "maths", "code").to_dict()
    found = {(p["shift_a"], p["shift_b"]): p["changed_in"] for d in drawn["datasets"].values() for p in d if "changed_in" in p}
    assert found == {
        (1.0, 2.0): "both, same way", (1.0, -2.0): "both, opposite ways", (1.0, 0.1): "maths alone", (0.1, 2.0): "code alone",
        (0.1, 0.1): "neither",
    }  # fmt: skip
