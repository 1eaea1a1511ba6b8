"""Checkpoints of one training, over their steps: tests/support/series_store.py has the numbers."""

import pandas as pd
import pytest

from store import open_store
from store.errors import UserError
from store.format.manifest import read_manifest
from store.reports.courses import courses
from tests.support.forged import rewrite_manifest
from tests.support.series_store import forge_turned, make_series_store, make_uneven_store


@pytest.fixture(scope="module")
def store(series_store):
    with open_store(series_store) as opened:
        yield opened


def forget(folder, *facts):
    """Let the manifest not say some things of code's first checkpoint."""
    made = read_manifest(folder).variants
    rewrite_manifest(folder, variants=made | {"code-5": {k: v for k, v in made["code-5"].items() if k not in facts}})


def test_each_training_is_its_steps_in_order_and_a_second_run_says_whose(store):
    rows = store.series()
    assert rows[["series", "step", "variant", "n_runs"]].values.tolist() == [
        ["maths", 100, "maths-100", 2], ["maths", 200, "maths-200", 2], ["maths", 400, "maths-400", 2],
        ["maths-seed2", 100, "second-100", 2], ["maths-seed2", 200, "second-200", 2], ["maths-seed2", 400, "second-400", 2],
        ["code", 5, "code-5", 1], ["code", 20, "code-20", 1],
    ]  # fmt: skip
    assert rows.groupby("series")["repeats"].first().to_dict() == {"maths": None, "maths-seed2": "maths", "code": None}
    assert [store.series_of(name) for name in ("maths-200", "second-400", "safety")] == ["maths", "maths-seed2", None]


def test_a_store_without_series_has_none(tiny_store):
    with open_store(tiny_store) as tiny:
        assert tiny.series().empty and tiny.series_of("maths") is None
        with pytest.raises(UserError, match="The store has no series 'maths' of two steps or more"):
            tiny.courses("maths")


def test_one_checkpoint_is_no_series(tmp_path):
    folder = make_series_store(tmp_path / "store", contributions=False)
    forget(folder, "series", "step")
    with open_store(folder) as opened:
        assert "code" not in set(opened.series()["series"]) and opened.series_of("code-20") is None
        assert opened.learned_over_steps("maths").empty


def test_a_manifest_with_a_series_without_a_step_is_refused(tmp_path):
    folder = make_series_store(tmp_path / "store", contributions=False)
    forget(folder, "step")
    with pytest.raises(UserError, match=r"is damaged .*a series without a step"):
        open_store(folder)


def test_when_each_claimed_change_began_and_what_did_not_last(store):
    assert store.course_level("maths") == "every run"
    found = store.courses("maths").set_index("feature")
    assert found["layer"].eq(12).all() and found.index.to_list() == [1, 0, 4, 2]  # by onset, then what went
    assert found["onset"].to_list() == [100, 200, 400, pd.NA]
    assert found["first"].to_list() == [100, 200, 100, 200]
    assert found["came_and_went"].to_list() == [False, False, False, True]
    assert not found["turned"].any()
    assert found["way"].to_list() == ["suppressed", "amplified", "amplified", "suppressed"]
    assert found["ways"].to_list() == [[-1, -1, -1], [0, 1, 1], [1, 0, 1], [0, -1, 0]]
    assert found["change"].to_list() == pytest.approx([-0.9, 0.7, 0.8, -0.1])
    assert found["largest"].to_list() == pytest.approx([-0.9, 0.7, 0.8, -0.7])
    assert found.loc[0, "label"] == "sums"
    assert store.courses("maths", layer=5).empty and store.courses("maths", 12, 5).empty
    assert store.courses("maths", 12, 2)["feature"].to_list() == [2]


def test_a_change_that_turned_is_claimed_at_the_last_and_did_not_go(tmp_path):
    """Feature 0 rose from step 200 on; forged to be claimed fallen at step 100."""
    folder = make_series_store(tmp_path / "store", contributions=False)
    forge_turned(folder)
    with open_store(folder) as opened:
        found = opened.courses("maths", 12, 0).iloc[0]
        assert (found["onset"], found["first"], found["came_and_went"], found["turned"]) == (200, 100, False, True)
        assert found["ways"] == [-1, 1, 1] and found["way"] == "amplified"
        course = courses(opened)["maths-400"]
        assert (course.went, course.flickered, course.turned) == (1, 1, 1)


def test_of_a_training_that_was_run_once_it_is_what_stands_out_in_this_run(store):
    assert store.course_level("code") == "this run"
    found = store.courses("code")
    assert found[["feature", "onset", "first", "way"]].values.tolist() == [[1, 20, 20, "suppressed"]]


def test_a_feature_over_steps(store):
    rows = store.feature_over_steps("maths", 12, 0)
    assert rows["step"].to_list() == [100, 200, 400] and rows["variant"].iloc[0] == "maths-100"
    assert rows["change"].to_list() == pytest.approx([0.1, 0.6, 0.7])
    assert rows["change_low"].to_list() == pytest.approx([0.05, 0.55, 0.65])
    assert rows["mean_base"].to_list() == [2.0] * 3
    assert rows["mean_variant"].to_list() == pytest.approx([2 / 0.9, 5.0, 2 / 0.3])  # 1 - a / b is the change
    assert rows["verdict"].to_list() == ["steady", "amplified", "amplified"]
    never = store.feature_over_steps("maths", 12, 3)
    assert never["step"].to_list() == [100, 200, 400] and never["change"].isna().all() and never["verdict"].isna().all()


def test_layers_over_steps(store):
    rows = store.layers_over_steps("maths")
    overlap = rows[(rows["metric"] == "overlap") & (rows["layer"] == 5)]
    observed = overlap[overlap["control"] == "observed"]
    assert list(zip(observed["step"], observed["value"], strict=True)) == [(100, 0.9), (200, 0.7), (400, 0.5)]
    assert set(overlap["control"]) == {"observed", "twin_1", "twin_2", "isotropic"}
    assert store.layers_over_steps("maths", domain="harmful").empty


def test_learned_over_steps(store):
    rows = store.learned_over_steps("maths")
    task = rows[(rows["domain"] == "*task") & (rows["control"] == "observed")]
    assert list(zip(task["step"], task["gain"], strict=True)) == [(100, 0.1), (200, 0.4), (400, 0.5)]
    assert set(rows["control"]) == {"observed", "twin_1"}
    assert store.learned_over_steps("code").empty


def test_checkpoints_are_no_other_recipes(store):
    """Of another training its last checkpoint speaks for it."""
    assert store.of_other_recipes("maths-100") == ["code-20", "safety"]
    assert store.of_other_recipes("second-200") == ["code-20", "safety"]
    assert store.of_other_recipes("code-5") == ["maths-400", "second-400", "safety"]
    assert store.of_other_recipes("safety") == ["maths-400", "second-400", "code-20"]


def test_across_variants_a_training_is_its_last_checkpoint(store):
    """Feature 0 rose in maths-400 too and fell in none; 1 fell in all; 4 rose in maths alone."""
    assert store.compared()["variant"].to_list() == ["maths-400", "second-400", "code-20", "safety"]
    sets = store.change_sets(layer=12, rule="material")
    found = dict(zip(map(tuple, sets["tasks"]), sets["count"], strict=True))
    assert found == {("maths-400",): 2, ("maths-400", "code-20", "safety"): 1}
    assert sets["extent"].to_list() == ["one", "all"]
    changed = store.changed_features(["maths-400"], layer=12, rule="material")
    assert changed["feature"].to_list() == [4, 0] and changed["n_changed"].to_list() == [2, 2]  # in both runs
    assert [name for name in changed if name.startswith("change_")] == [
        f"change_{name}" for name in ("maths-400", "second-400", "code-20", "safety")
    ]
    pairs = store.variant_pairs(layer=12)
    assert len(pairs) == 6 and set(pairs["variant_a"]) | set(pairs["variant_b"]) == set(store.compared()["variant"])


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """The same, but the second seed's last step is 450, which the first has not; both have the other two."""
    with open_store(make_uneven_store(tmp_path_factory.mktemp("uneven") / "store")) as opened:
        yield opened


def test_a_series_repeats_one_as_a_whole_though_its_last_step_be_another(uneven):
    rows = uneven.series()
    assert rows.groupby("series")["repeats"].first().to_dict() == {"maths": None, "maths-seed2": "maths", "code": None}
    assert rows[rows["series"] == "maths-seed2"]["repeats"].to_list() == ["maths"] * 3
    assert uneven.course_level("maths") == "this run"  # its last step was run once


def test_seeds_whose_last_steps_differ_are_no_other_recipes(uneven):
    assert uneven.of_other_recipes("maths-400") == uneven.of_other_recipes("second-400") == ["code-20", "safety"]
    assert uneven.of_other_recipes("safety") == ["maths-400", "code-20"]
