"""A glob of checkpoints in a configuration stands for a variant of each."""

import pytest
import yaml

from extract.config import load_config
from store.errors import UserError


@pytest.fixture
def read(tmp_path):
    """Write a configuration's variants beside some folders and files (name ending in .gguf), and read it."""

    def read(variants, folders=(), beside=""):
        for name in folders:
            place = tmp_path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch() if place.suffix == ".gguf" else place.mkdir()
        rest = {"base": "b", "saes": [{"release": "r", "id": "i"}], "corpus": [{"path": "c.jsonl"}]}
        file = tmp_path / beside / "run.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(rest | {"variants": variants}, sort_keys=False), encoding="utf-8")
        return load_config(file).variants

    return read


def test_a_glob_is_a_variant_of_each_folder_in_order_of_steps(read, tmp_path):
    folders = [f"runs/checkpoint-{step}" for step in ("1000", "90", "0", "200")] + ["runs/logs", "runs/.checkpoint-5"]
    found = read(
        {"safety": {"adapter": "./s"}, "maths-*": {"adapter": "runs/checkpoint-*", "task": ["m"]}, "code": {"adapter": "./c"}},
        folders,
    )
    assert list(found) == ["safety", "maths-0", "maths-90", "maths-200", "maths-1000", "code"]
    checkpoint = found["maths-90"]
    assert (checkpoint.series, checkpoint.step, checkpoint.task) == ("maths", 90, ["m"])
    assert checkpoint.adapter == str(tmp_path / "runs" / "checkpoint-90")
    assert (found["code"].series, found["code"].step) == (None, None)


def test_the_star_may_stand_anywhere_in_the_path_and_need_not_match_the_number_alone(read):
    deep = read({"d-*": {"model": "out/step_*/final"}}, ["out/step_00020/final", "out/step_00003/final", "out/step_00004"])
    assert [(name, variant.step) for name, variant in deep.items()] == [("d-3", 3), ("d-20", 20)]
    words = ["all/step_7", "all/checkpoint-20", "all/global_step300", "all/0004", "all/iter-5", "all/ckpt6"]
    found = read({"w_*": {"adapter": "all/*", "series": "mine"}}, words)
    assert [variant.step for variant in found.values()] == [4, 5, 6, 7, 20, 300]
    assert next(iter(read({"w_*": {"adapter": "all/*", "series": "mine"}}).values())).series == "mine"


def test_a_checkpoint_that_is_a_file_is_a_model_and_no_adapter(read):
    files = ["g/m-5.gguf", "g/m-15.gguf"]
    assert [variant.step for variant in read({"g-*": {"model": "g/m-*.gguf"}}, files).values()] == [5, 15]
    with pytest.raises(UserError, match=r"match no folder at 'g/m-\*\.gguf'"):
        read({"g-*": {"adapter": "g/m-*.gguf"}})


def test_the_configuration_s_own_folder_may_have_a_star_in_its_name(read):
    assert list(read({"m-*": {"adapter": "../c-*"}}, ["c-4"], beside="a*9")) == ["m-4"]


def test_a_second_seed_s_glob_replicates_the_first_s_step_by_step(read):
    globs = {"m-*": {"adapter": "one/c-*"}, "m2-*": {"adapter": "two/c-*", "replicate_of": "m-*"}}
    found = read(globs, ["one/c-1", "one/c-2", "two/c-2"])
    assert {name: variant.replicate_of for name, variant in found.items()} == {"m-1": None, "m-2": None, "m2-2": "m-2"}
    with pytest.raises(UserError, match="the variant 'm2-3' is a replicate of 'm-3', which is no variant"):
        read(globs, ["two/c-3"])


@pytest.mark.parametrize(
    ("variants", "folders", "said"),
    [
        ({"m-*": {"adapter": "r/c-*"}}, ["r"], "match no folder at 'r/c-\\*'; check the path"),
        ({"m-*": {"adapter": "r/c-*"}}, [], "cannot be looked for at 'r/c-\\*': there is no such file or folder"),
        ({"m-*": {"adapter": "r/c-*"}}, ["r/c-1", "r/c-final"], "match 'c-final', where the '\\*' stands for 'final', which"),
        ({"m-*": {"adapter": "r/*"}}, ["r/ep1-step9"], "match 'ep1-step9', where the '\\*' stands for 'ep1-step9', wh"),
        ({"m-*": {"adapter": "r/m-*"}}, ["r/m-seed1", "r/m-seed2"], "'seed1', which is no step .* with replicate_of"),
        ({"m-*": {"adapter": "r/m-*"}}, ["r/m-v1", "r/m-v2"], "stands for 'v1', which is no step"),
        ({"m-*": {"adapter": "r/m-*"}}, ["r/m-r8", "r/m-r16"], "stands for 'r16', which is no step"),
        ({"m-*": {"adapter": "r/m-seed*"}}, ["r/m-seed1"], "match 'm-seed1', whose number counts 'seed' and no steps; move it"),
        ({"m-*": {"adapter": "r/seed_*/a"}}, ["r/seed_1/a"], "match 'seed_1', whose number counts 'seed' and no steps"),
        ({"m-*": {"adapter": "r/m-v*"}}, ["r/m-v1"], "whose number counts 'v' and no steps"),
        ({"m-*": {"adapter": "r/run-*"}}, ["r/run-1"], "whose number counts 'run' and no steps"),
        ({"m-*": {"adapter": "r/epoch-*"}}, ["r/epoch-1"], "whose number counts 'epoch' and no steps"),
        ({"m-seed-*": {"adapter": "r/*"}}, ["r/1", "r/2"], "whose number counts 'seed' and no steps"),
        ({"m-*": {"adapter": "r/checkpoint-*"}}, ["r/checkpoint-100-old", "r/checkpoint-200"], "stands for '100-old', wh"),
        ({"m-*": {"adapter": "r/c-1*"}}, ["r/c-100"], "stands for a part of the number only, '00'; put it in place"),
        ({"m-*": {"adapter": "r/c-*0"}}, ["r/c-100"], "stands for a part of the number only, '10'; put it in place"),
        ({"m-*": {"adapter": "r/c-*"}}, ["r/c-10", "r/c-010"], "match 'c-010' and 'c-10', both of step 10"),
        ({"m-*": {"adapter": "r/c-1"}}, ["r/c-1"], "must give one adapter or model with one '\\*' in its path"),
        ({"m-*": {"adapter": "r*/c-*"}}, [], "must give one adapter or model with one '\\*' in its path"),
        ({"m-*": {"adapter": "a/*", "model": "b/*"}}, [], "must give one adapter or model"),
        ({"m-*": {"planted": {"layer": 1, "feature": 2}}}, [], "must give one adapter or model"),
        ({"m-*": None}, [], "must give one adapter or model"),
        ({"m-*": {"adapter": "r/c-*", "step": 5}}, ["r/c-1"], "may give no step"),
        ({"-*": {"adapter": "r/c-*"}}, ["r/c-1"], "need a name before the '\\*'"),
        ({"m-*": {"adapter": "r/c-*"}, "m-1": {"adapter": "./x"}}, ["r/c-1"], "'m-1' stands in the configuration beside"),
        ({"m-*": {"adapter": "r/c-*"}, "m*": {"adapter": "r/c*", "series": "n"}}, ["r/c-1"], None),
    ],
)  # fmt: skip
def test_a_glob_that_cannot_be_read_is_told_in_a_sentence(read, variants, folders, said):
    if said is None:
        assert list(read(variants, folders)) == ["m-1", "m1"]
        return
    with pytest.raises(UserError, match=said) as told:
        read(variants, folders)
    assert str(told.value).endswith(".") and "\n" not in str(told.value)
