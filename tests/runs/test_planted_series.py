"""A series from the configuration to the answers: onsets that are known, and none where nothing was planted."""

import pytest

from extract.__main__ import main
from extract.config import load_config
from store import open_store
from store.format.manifest import read_manifest
from store.read.store import Store
from tests.support.planted_series import LASTING, LAYER, OWN, PASSING, make_planted_series


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    return tmp_path_factory.mktemp("planted-series")


@pytest.fixture(scope="module")
def store(world, folder) -> Store:
    with open_store(make_planted_series(world, folder)) as opened:
        yield opened


def test_the_manifest_says_of_each_checkpoint_its_training_and_step(store):
    made = read_manifest(store.path).variants
    assert {name: (about["series"], about["step"]) for name, about in made.items() if name.startswith("random")} == {
        "random-10": ("random", 10), "random-200": ("random", 200),
        "random-b-10": ("random-b", 10), "random-b-200": ("random-b", 200),
    }  # fmt: skip
    assert made["random-b-200"]["replicate_of"] == "random-200"
    assert len({about["sha256"] for about in made.values()}) == len(made)
    rows = store.series()
    assert rows[rows["series"] == "losses"]["step"].to_list() == [0, 1, 2, 4]
    assert dict(zip(rows["series"], rows["repeats"], strict=True)) == {
        "losses": None, "losses-b": "losses", "noise": None, "noise-b": "noise", "random": None, "random-b": "random"
    }  # fmt: skip


@pytest.mark.parametrize("series", ["losses", "losses-b"])
def test_each_onset_is_the_step_at_which_its_loss_was_planted(store, series):
    assert store.course_level(series) == "every run"
    found = store.courses(series)
    lasting, passing = found[~found["came_and_went"]], found[found["came_and_went"]]
    assert tuple(lasting["feature"]) == LASTING and lasting["onset"].eq(2).all() and lasting["first"].eq(2).all()
    assert tuple(passing["feature"]) == PASSING and passing["onset"].isna().all()
    assert set(found["way"]) == {"suppressed"}


def test_what_one_run_alone_lost_has_no_onset_and_changes_as_it_was_planted(store):
    """Nor what was taken by a quarter: less than half."""
    assert set(OWN).isdisjoint(store.courses("losses")["feature"])
    own = store.feature_over_steps("losses", LAYER, OWN[0])
    assert own["verdict"].to_list()[2:] == ["this run only"] * 2 and own["change"].to_list()[2:] == pytest.approx([-1, -1])
    rows = store.feature_over_steps("losses", LAYER, LASTING[0])
    assert rows["change"].iloc[0] == 0 and -0.5 < rows["change"].iloc[1] < -0.2 and rows["change"].iloc[2] == pytest.approx(-1)
    assert (rows["change_low"] <= rows["change"]).all() and (rows["change"] <= rows["change_high"]).all()


@pytest.mark.parametrize("series", ["noise", "random"])
def test_where_nothing_was_planted_nothing_has_an_onset(store, series):
    """Although its features do change, ever more: that alone is no finding."""
    assert store.course_level(series) == "every run"
    assert store.courses(series).empty
    rows = store.layers_over_steps(series)
    observed = rows[rows["control"] == "observed"].sort_values("step")
    overlap = observed[observed["metric"] == "overlap"]["value"].to_list()
    assert overlap[-1] < overlap[0] < 1


def test_over_steps_the_change_grows(store):
    rows = store.layers_over_steps("losses")
    overlap = rows[(rows["metric"] == "overlap") & (rows["control"] == "observed")].sort_values("step")["value"].to_list()
    assert overlap[0] == 1 and overlap[0] > overlap[1] > overlap[2]


def test_check_says_what_a_series_costs(store, folder, world, capsys):
    assert main(["check", str(folder / "run.yaml")]) == 0
    said = capsys.readouterr().out
    assert "series    random: 2 checkpoints, of the steps 10 and 200; each is read as a variant with 2 twins each, 6 " in said
    assert len(load_config(folder / "run.yaml").variants) == 16
