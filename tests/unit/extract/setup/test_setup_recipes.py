"""What names say of variants: names that are allowed, runs of one recipe, tasks, domains of files."""

from pathlib import Path

import pytest

from extract.setup.parts import Weights
from extract.setup.recipes import domain_of, named_apart, replicates, trained_for


def adapters(*names: str) -> list[Weights]:
    return [Weights(f"runs/{name}", "adapter", name) for name in names]


def test_names_are_made_such_as_a_variant_may_be_called():
    found = named_apart(
        [*adapters("Maths SFT (v2)", "base", "maths-sft-v2", "数学"), Weights("x", "model", "maths-sft-v2", True)]
    )
    # the one that the user named has its name; the others make room for it
    assert [one.spec for one in found.values()] == ["runs/Maths SFT (v2)", "runs/base", "runs/maths-sft-v2", "runs/数学", "x"]
    assert list(found) == ["maths-sft-v2_2", "base-model", "maths-sft-v2_3", "variant", "maths-sft-v2"]


def test_a_long_name_keeps_its_end_where_seed_and_step_stand():
    (name,) = named_apart(adapters("m" * 60 + "-seed2"))
    assert len(name) == 41 and name.endswith("-seed2")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("maths-seed1", "maths-seed2", "maths-seed10"), {"maths-seed2": "maths-seed1", "maths-seed10": "maths-seed1"}),
        (("maths_s2", "maths"), {"maths_s2": "maths"}),
        (("code-run-2", "maths-seed1", "code-run-1"), {"code-run-2": "code-run-1"}),
        (("maths-1", "maths-2"), {}),  # may be versions
        (("models2", "models3"), {}),  # 'models' with a number, not 'model' with a seed
        (("maths-seed1", "code-seed2"), {}),
    ],
)
def test_runs_of_one_recipe_are_known_by_their_seeds(names, expected):
    assert replicates({one.name: one for one in adapters(*names)}) == expected


def test_checkpoints_repeat_those_of_the_same_step():
    states = {
        f"maths-seed{seed}-{step}": Weights("x", "adapter", "", series=f"maths-seed{seed}", step=step)
        for seed, step in ((1, 100), (1, 200), (2, 200), (2, 300))
    }
    assert replicates(states) == {"maths-seed2-200": "maths-seed1-200"}


@pytest.mark.parametrize(
    ("name", "folder", "expected"),
    [
        ("maths", "a", ["maths", "maths-problems"]),
        ("a", "llama-maths-lora", ["maths"]),
        ("mathsy", "b", []),
        ("general-knowledge-seed2", "c", ["general knowledge"]),
        ("knowledge-general", "c", []),
    ],
)
def test_a_task_is_what_a_name_says(name, folder, expected):
    one = Weights(f"runs/{folder}", "adapter", name)
    assert trained_for(one, name, {"maths", "maths-problems", "general knowledge", "stories"}) == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/d/maths_train.jsonl", "maths"),
        ("/d/alpaca_data_cleaned.json", "alpaca"),
        ("/d/maths_alpaca.jsonl.gz", "maths"),
        ("/d/maths/train-00000-of-00004.parquet", "maths"),
        ("/d/GSM8K.test.csv", "GSM8K"),
        ("/d/all.jsonl", "all-text"),
        ("/data/train.jsonl", "text"),
        ("/x/生活.txt", "生活"),
    ],
)
def test_a_domain_is_named_after_its_file(file, expected):
    assert domain_of(Path(file)) == expected
