"""States of trainings as they were found: what one ended with, and two trainings of one name."""

import json
from pathlib import Path

import pytest

from extract.setup.folder import look_through
from extract.setup.parts import Parts, Weights
from extract.setup.recipes import replicates
from extract.setup.states import told_apart, with_ends, with_steps


def adapter(folder: str, base: str = "me/base", **state: int) -> Path:
    """An adapter's files, and what its trainer wrote of its state."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    (place / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (place / "adapter_model.safetensors").touch()
    if state:
        (place / "trainer_state.json").write_text(json.dumps(state))
    return place


def model(folder: str, base: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "config.json").write_text(json.dumps({"_name_or_path": base}))
    (Path(folder) / "model.safetensors").touch()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def found(folder: str = ".") -> tuple[dict[str, tuple], list[tuple[str, str]], list[str]]:
    """Name -> (folder, series, step); what is not used and why; the remarks."""
    parts = look_through(Path(folder))
    weights, remarks = with_steps(told_apart(with_ends(parts.weights)), parts)
    return {one.name: (one.spec, one.series, one.step) for one in weights}, parts.unused, remarks


@pytest.mark.parametrize("end", ["runs/maths", "runs/maths/final", "runs/maths/final_adapter"])
@pytest.mark.parametrize(("own", "of_last"), [({"global_step": 30}, {}), ({}, {"global_step": 20, "max_steps": 30})])
def test_what_a_training_ended_with_is_its_last_step(end, own, of_last):
    adapter("runs/maths/checkpoint-10")
    adapter("runs/maths/checkpoint-20", **of_last)
    adapter(end, **own)
    variants, unused, remarks = found()
    assert variants == {
        "maths-10": ("runs/maths/checkpoint-10", "maths", 10), "maths-20": ("runs/maths/checkpoint-20", "maths", 20),
        "maths-30": (end, "maths", 30),
    }  # fmt: skip
    assert remarks == [f"'{end}' is taken as step 30 of 'maths', its last, by trainer_state.json."]
    assert not unused


def test_of_a_training_s_own_folder_too():
    for place, state in (("m/checkpoint-10", {}), ("m/final", {"global_step": 30})):
        adapter(place, **state)
    assert list(found("m")[0]) == ["m-10", "m-30"]


@pytest.mark.parametrize(
    ("end", "own", "of_last"),
    [
        ("maths", {}, {}),
        ("maths", {}, {"max_steps": 20}),  # of the last checkpoint's step, and of other weights
        ("maths", {"global_step": 20}, {"max_steps": 30}),  # its own word goes before the plan
        ("maths", {"global_step": -1}, {}),
        ("maths/best", {}, {"max_steps": 30}),  # which may be any
    ],
)
def test_an_end_of_no_known_step_is_left_out_and_told(end, own, of_last):
    adapter("maths/checkpoint-10")
    adapter("maths/checkpoint-20", **of_last)
    adapter(end, **own)
    variants, unused, remarks = found()
    assert list(variants) == ["maths-10", "maths-20"] and remarks == []
    ((place, why),) = unused
    assert place == end and "no trainer_state.json says that it is of a step after the last checkpoint's" in why


def test_damaged_words_of_a_trainer_say_nothing():
    adapter("maths/checkpoint-10")
    for text in ("{", "[]", '{"global_step": "30"}', '{"global_step": true}', '{"global_step": 1e3}'):
        (adapter("maths") / "trainer_state.json").write_text(text)
        assert list(found()[0]) == ["maths-10"]


def test_the_base_that_checkpoints_name_is_no_end():
    model("base", "elsewhere")
    model("base/checkpoint-10", str(Path("base").resolve()))
    adapter("base/checkpoint-20")
    assert [one.name for one in with_ends(look_through(Path()).weights) if one.series is None] == ["base"]


def test_models_beside_adapters_are_an_end_where_the_base_is_known():
    model("m/merged", "x")
    adapter("m/checkpoint-10", max_steps=15)
    weights = look_through(Path()).weights
    assert [one.series for one in with_ends(weights)] == ["m", None]
    assert [(one.series, one.step) for one in with_ends(weights, of_any_kind=True)] == [("m", 10), ("m", 15)]


def test_two_folders_of_one_name_are_two_trainings():
    for place in ("runs/maths/checkpoint-10", "old/maths/checkpoint-10", "old/maths/checkpoint-20", "code/checkpoint-10"):
        adapter(place)
    variants, _, _ = found()
    assert {name: series for name, (_, series, _) in variants.items()} == {
        "code-10": "code", "old-maths-10": "old-maths", "old-maths-20": "old-maths", "runs-maths-10": "runs-maths",
    }  # fmt: skip
    assert variants["old-maths-10"][0] == "old/maths/checkpoint-10"
    weights = {name: Weights(spec, "adapter", name, series=of, step=at) for name, (spec, of, at) in variants.items()}
    assert replicates(weights) == {}


def test_seeds_stay_runs_of_a_recipe_where_a_stranger_has_one_s_name():
    for place in ("new/maths-seed1", "new/maths-seed2", "old/maths-seed1"):
        adapter(f"{place}/checkpoint-10")
    variants, _, _ = found()
    assert list(variants) == ["new-maths-seed1-10", "new-maths-seed2-10", "old-maths-seed1-10"]
    weights = {name: Weights(spec, "adapter", name, series=of, step=at) for name, (spec, of, at) in variants.items()}
    assert replicates(weights) == {"new-maths-seed2-10": "new-maths-seed1-10"}


def test_folders_of_seeds_are_seeds_above_and_below():
    for seed in (1, 2):
        adapter(f"above/seed{seed}/maths/checkpoint-10")
        adapter(f"below/code/seed{seed}/checkpoint-10")
    variants, _, _ = found()
    assert {series for _, series, _ in variants.values()} == {"maths-seed1", "maths-seed2", "code-seed1", "code-seed2"}


def test_adapters_without_steps_are_told_apart_too_and_long_names_stay_two():
    for place in ("a/maths", "b/maths"):
        adapter(place)
    assert list(found()[0]) == ["a-maths", "b-maths"]
    for place in ("x", "y"):
        adapter(f"{place}/{'long' * 12}/checkpoint-1")
    series = [of for _, of, _ in found()[0].values() if of]
    assert len(set(series)) == 2 and all(len(of) <= 41 for of in series)


def test_two_checkpoints_of_one_step_are_none_of_each_other():
    for name in ("checkpoint-010", "checkpoint-10", "checkpoint-20"):
        adapter(f"maths/{name}")
    variants, unused, _ = found()
    assert {name: spec for name, (spec, _, _) in variants.items()} == {
        "maths-10": "maths/checkpoint-10", "maths-20": "maths/checkpoint-20",
    }  # fmt: skip
    ((place, why),) = unused
    assert place == "maths/checkpoint-010" and why.startswith("it is of step 10 of 'maths', as 'maths/checkpoint-10' is")


def test_what_the_user_named_stays_as_it_is():
    given = [Weights(f"{place}/maths", "adapter", "mine", True, series="mine", step=1) for place in "ab"]
    assert told_apart(given) == with_ends(given) == given
    assert with_steps(given, Parts())[0] == given
    assert replicates(dict(zip(("mine-1", "mine-1_2"), given, strict=True))) == {}  # which the configuration then refuses
