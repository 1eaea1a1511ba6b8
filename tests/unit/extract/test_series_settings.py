"""Which variants a configuration lets stand together in a series."""

import pytest
from pydantic import ValidationError

from extract.config import RunConfig, other_recipes, series


def configured(**given):
    rest = {"base": "b", "saes": [{"release": "r", "id": "i"}], "corpus": [{"path": "c.jsonl"}]}
    return RunConfig.model_validate(rest | {"variants": given})


def variants(**given):
    return configured(**given).variants


def at(step, of="m", **more):
    return {"adapter": f"./{of}{step}", "series": of, "step": step} | more


def test_a_series_is_its_variants_in_order_of_steps():
    found = variants(late=at(20), other={"adapter": "./o"}, early=at(3), second=at(3, adapter="./x", replicate_of="early"))
    assert series(found) == {"m": ["early", "second", "late"]}


def test_one_task_is_every_checkpoint_s():
    found = variants(a=at(1), b=at(2, task=["sums"]), c=at(2, adapter="./x", replicate_of="b"))
    assert {name: variant.task for name, variant in found.items()} == {name: ["sums"] for name in "abc"}


def test_a_planted_change_may_be_a_checkpoint():
    edits = {step: {"layer": 1, "feature": 2, "strength": step} for step in (0, 4)}
    found = variants(**{f"p{step}": {"planted": edit, "series": "p", "step": step} for step, edit in edits.items()})
    assert series(found) == {"p": ["p0", "p4"]}


def test_other_recipes_are_other_trainings_by_their_last_checkpoint():
    config = configured(
        m1=at(1), m2=at(2), again=at(2, of="seed", replicate_of="m2"), n1=at(1, of="n"), n9=at(9, of="n"), o={"adapter": "./o"}
    )
    assert other_recipes(config, "m1") == other_recipes(config, "again") == ["n9", "o"]
    assert other_recipes(config, "n1") == ["m2", "o"] and other_recipes(config, "o") == ["m2", "n9"]


def test_seeds_whose_last_steps_differ_are_one_training_with_one_task():
    runs = {"m1": at(1, task=["sums"]), "m2": at(2), "s1": at(1, of="s", replicate_of="m1"), "s5": at(5, of="s")}
    runs["t5"] = at(5, of="t", replicate_of="s5")
    config = configured(**runs, o={"adapter": "./o"})
    assert all(other_recipes(config, name) == ["o"] for name in runs)
    assert other_recipes(config, "o") == ["m2"]
    assert all(config.variants[name].task == ["sums"] for name in runs)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": {"adapter": "./a", "series": "m"}}, "give series and step together"),
        ({"a": {"adapter": "./a", "step": 5}}, "give series and step together"),
        ({"a": at(-1)}, "greater than or equal to 0"),
        ({"a": at(1, series="no name")}, "should match pattern"),
        ({"a": at(5), "b": at(5, adapter="./b")}, "'a' and 'b' of the series 'm' are both of step 5"),
        ({"a": at(5), "b": at(5, adapter="./b", replicate_of="c"), "c": at(5, of="n")}, "'a' and 'b' .* both of step 5"),
        ({"a": at(5), "b": at(6, adapter="./m5")}, "'a' and 'b' of the series 'm' have the same weights"),
        ({"a": at(5), "b": at(6, of="n", replicate_of="a")}, "'b' of step 6 is a replicate of 'a' of step 5"),
        (
            {"a": at(5, task=["x"]), "b": at(5, of="n", replicate_of="a"), "c": at(6, of="n", task=["y"]), "d": at(9)},
            "'a' and 'c' of the training 'm' have the tasks x and y",
        ),
        ({"a": at(5, task=["x"]), "b": at(6, task=["y"])}, "'a' and 'b' .* have the tasks x and y"),
    ],
)
def test_what_is_no_series_is_refused(given, said):
    with pytest.raises(ValidationError, match=said):
        variants(**given)
