"""How many predictions are sampled where no number is given."""

import pytest
from pydantic import ValidationError

from extract.config import A_PREDICTION, LEAST_PREDICTIONS, RunConfig
from extract.run.check import _sample_notes

CONFIG = {
    "base": "base", "saes": [{"path": "sae"}], "corpus": [{"path": "texts.jsonl"}],
    "variants": {
        "a": {"adapter": "a"}, "a2": {"adapter": "a2", "replicate_of": "a"},
        "b": {"adapter": "b"}, "b2": {"adapter": "b2", "replicate_of": "b"},
    },
}  # fmt: skip


def predictions(n_tokens: int, **changes: object) -> int:
    return RunConfig.model_validate(CONFIG | changes).predictions(n_tokens)


def test_they_take_as_long_as_the_shards():
    """With two twins each 13 models were read, and 6 are measured; with none 5 and 4."""
    assert predictions(600 * A_PREDICTION) == 600 * 13 // 6
    assert predictions(600 * A_PREDICTION, twins=0) == 600 * 5 // 4


def test_a_number_that_is_given_counts_and_a_few_there_always_are():
    assert predictions(10**6, contributions=70) == 70
    assert predictions(100) == LEAST_PREDICTIONS


def with_tasks(**tasks: list[str]) -> RunConfig:
    """The variants a, a2, b, b2 with these tasks."""
    variants = {name: of | {"task": tasks.get(name, [])} for name, of in CONFIG["variants"].items()}
    return RunConfig.model_validate(CONFIG | {"variants": variants, "tokens": 100})


def test_runs_of_one_recipe_have_one_task():
    config = with_tasks(a=["x", "y"], a2=["y", "x"], b=["z"])
    assert [sorted(variant.task) for variant in config.variants.values()] == [["x", "y"], ["x", "y"], ["z"], ["z"]]
    assert config.tasks(["a2", "b2"]) == ["x", "y", "z"]
    with pytest.raises(ValidationError, match="the variant 'b2' is a replicate of 'b', but its task is x and not z"):
        with_tasks(b=["z"], b2=["x"])
    with pytest.raises(ValidationError, match="its task is x and not none"):
        with_tasks(a2=["x"])


def test_how_many_predictions_tell_what_was_learned():
    """Five clusters of 32 predictions of each task, 160: of 8 x 64 eight domains with one task give it 2 in 9, with two 2 in
    10; six with one 2 in 7."""
    eight, six = set("abcdefgh"), set("abcdef")
    [said] = _sample_notes(with_tasks(a=["a"]), eight)
    assert "512 predictions are read, and it takes 720 (contributions: 90) for 5 clusters" in said
    [said] = _sample_notes(with_tasks(a=["a"], b=["b"]), eight)
    assert "it takes 800 (contributions: 100)" in said
    [said] = _sample_notes(with_tasks(a=["a"]), six)
    assert "it takes 560 (contributions: 70)" in said
    assert not _sample_notes(with_tasks(a=["a"]), set("abcde"))  # 2 in 6: 60
    assert not _sample_notes(with_tasks(), eight)
