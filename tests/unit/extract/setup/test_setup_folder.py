"""What lies in a folder is recognised by the names of its files; a line of options names the same."""

import json
from pathlib import Path

import pytest

from extract.saes.folders import LIBRARIES
from extract.setup.folder import look_through
from extract.setup.options import dictionaries_of, parts_of, sources_of, tasks_of, variants_of
from extract.setup.parts import SAVED, kind_of
from store.errors import UserError


def adapter(folder: Path, base: str = "me/base") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (folder / "adapter_model.safetensors").touch()
    (folder / "trainer_state.json").write_text("{}")
    return folder


def model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


def dictionary(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("cfg.json", "sae_weights.safetensors"):
        (folder / name).touch()
    return folder


@pytest.fixture
def world(tmp_path):
    model(tmp_path / "base")
    adapter(tmp_path / "adapters" / "maths")
    adapter(tmp_path / "code" / "seed2")
    for step in (1000, 90):
        adapter(tmp_path / "outputs" / f"checkpoint-{step}")
    dictionary(tmp_path / "saes" / "layer_1")
    (tmp_path / "saes" / "half").mkdir()
    (tmp_path / "saes" / "half" / "cfg.json").touch()
    (tmp_path / "data" / "maths").mkdir(parents=True)
    for name in ("data/maths/train.jsonl", "data/stories.parquet", "notes.yaml", "data/README.txt", "template.jinja", "x.gguf"):
        (tmp_path / name).touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "more.jsonl").touch()
    return tmp_path


def test_everything_is_recognised_by_its_files(world):
    found = look_through(world)
    weights = {one.name: (one.kind, one.base, one.series, one.step) for one in found.weights}
    assert weights == {
        "base": ("model", None, None, None),
        "x": ("model", None, None, None),
        "maths": ("adapter", "me/base", None, None),
        "code-seed2": ("adapter", "me/base", None, None),  # 'seed2' alone says nothing
        "outputs-90": ("adapter", "me/base", "outputs", 90),
        "outputs-1000": ("adapter", "me/base", "outputs", 1000),
    }
    assert [Path(sae["path"]).name for sae in found.saes] == ["layer_1"]
    assert [Path(source["path"]).name for source in found.data] == ["train.jsonl", "stories.parquet"]
    assert [file.name for file in found.templates] == ["template.jinja"]
    assert dict(found.unused) == {
        "notes.yaml": "", "data/README.txt": "", "saes/half/cfg.json": "no sae_weights.safetensors beside it",
    }  # fmt: skip


def test_what_lies_too_deep_is_told(world):
    deep = world / "a" / "b" / "c" / "d" / "e"
    adapter(deep)
    assert ("a/b/c/d/", "it lies too deep to be looked through") in look_through(world).unused


def test_a_folder_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("extract.setup.folder.MOST_ENTRIES", 3)
    for number in range(4):
        (tmp_path / f"{number}.jsonl").touch()
    with pytest.raises(UserError, match="more than 3 files"):
        look_through(tmp_path)


def test_a_pattern_is_a_series_where_the_star_is_a_number(world):
    for name in ("maths-100", "maths-20"):
        adapter(world / "checkpoints" / name)
    found = variants_of(f"maths-*={world}/checkpoints/maths-*")
    assert [(one.name, one.series, one.step) for one in found] == [("maths-20", "maths", 20), ("maths-100", "maths", 100)]
    found = variants_of(f"tuned={world}/outputs/checkpoint-*")
    assert [(one.name, one.series, one.step) for one in found] == [("tuned-90", "tuned", 90), ("tuned-1000", "tuned", 1000)]
    assert found == variants_of(f"tuned={world}/outputs")  # the folder of a trainer


def test_a_pattern_of_words_is_a_variant_each(world):
    for name in ("code", "maths-seed1"):
        adapter(world / "runs" / name)
    found = variants_of(f"sft-*={world}/runs/*")
    assert [(one.name, one.series) for one in found] == [("sft-code", None), ("sft-maths-seed1", None)]


def test_seeds_are_no_steps(world):
    for seed in (1, 2):
        adapter(world / "seeds" / f"maths-seed{seed}")
    found = variants_of(f"maths-seed*={world}/seeds/maths-seed*")
    assert [(one.name, one.series) for one in found] == [("maths-seed1", None), ("maths-seed2", None)]


@pytest.mark.parametrize(
    ("pattern", "folders", "expected"),
    [
        ("m=runs/seed*", ("seed1", "seed2"), ["m-seed1", "m-seed2"]),
        ("m-*=runs/m-*", ("m-seed1", "m-seed2"), ["m-seed1", "m-seed2"]),
        ("m-v*=runs/m-v*", ("m-v1", "m-v2"), ["m-v1", "m-v2"]),
        ("m=runs/m-r*", ("m-r8", "m-r16"), ["m-r16", "m-r8"]),
        ("m=runs/c-1*", ("c-100", "c-110"), ["m-00", "m-10"]),  # part of a number
    ],
)
def test_what_counts_something_else_is_no_step(tmp_path, monkeypatch, pattern, folders, expected):
    monkeypatch.chdir(tmp_path)
    for name in folders:
        adapter(Path("runs") / name)
    assert [(one.name, one.series, one.step) for one in variants_of(pattern)] == [(name, None, None) for name in expected]


def test_of_several_wildcards_the_last_is_the_step(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for training, step in (("maths", 100), ("maths", 200), ("code", 100)):
        adapter(Path("runs") / training / f"checkpoint-{step}")
    found = variants_of("sft-*=runs/*/checkpoint-*")
    assert [(one.name, one.series, one.step) for one in found] == [
        ("sft-code-100", "sft-code", 100), ("sft-maths-100", "sft-maths", 100), ("sft-maths-200", "sft-maths", 200),
    ]  # fmt: skip
    assert [(one.name, one.step) for one in variants_of("m=runs/maths/checkpoint-?00")] == [("m-100", 100), ("m-200", 200)]


def test_a_pattern_that_matches_steps_and_others_is_refused(world):
    adapter(world / "outputs" / "checkpoint-90-old")
    with pytest.raises(UserError, match=r"which has a step, and '.*checkpoint-90-old', which has none"):
        variants_of(f"m={world}/outputs/checkpoint-*")


def test_a_variant_by_its_path_alone(world):
    (one,) = variants_of(str(world / "adapters" / "maths"))
    assert (one.name, one.kind, one.given) == ("maths", "adapter", False)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a={}/nothing", "nothing at"),
        ("a={}/data", "neither an adapter"),
        ("a={}/nothing-*", "matches nothing"),
        ("a={}/data/*", "none of them a model or an adapter"),
        ("a-*={}/adapters/maths", "in the name alone"),
    ],
)
def test_what_is_no_variant_is_refused(world, line, says):
    with pytest.raises(UserError, match=says):
        variants_of(line.format(world))


def test_dictionaries_by_folder_folder_of_folders_and_release(world):
    assert dictionaries_of(str(world / "saes")) == [{"path": str(world / "saes" / "layer_1")}]
    assert dictionaries_of(str(world / "saes" / "half")) == [{"path": str(world / "saes" / "half")}]  # refused where it is read
    assert dictionaries_of("rel-res/layer_0/width_16k/l0_5") == [{"release": "rel-res", "id": "layer_0/width_16k/l0_5"}]
    assert dictionaries_of("rel-res") == [{"release": "rel-res"}]


def test_data_is_a_file_a_folder_or_a_dataset_of_the_hub(world):
    assert sources_of(str(world / "data" / "stories.parquet")) == [{"path": str(world / "data" / "stories.parquet")}]
    assert sources_of("me/words") == [{"dataset": "me/words", "limit": 2000}]
    with pytest.raises(UserError, match="nothing at"):
        sources_of(str(world / "nothing.jsonl"))


def test_data_of_a_folder_or_a_pattern_is_each_file_unless_there_are_many(world):
    names = [Path(source["path"]).name for source in sources_of(f"{world}/data")]
    assert names == ["train.jsonl", "stories.parquet"]  # the README beside them is none
    assert [Path(source["path"]).name for source in sources_of(f"{world}/data/*.parquet")] == ["stories.parquet"]
    for number in range(21):
        (world / "many").mkdir(exist_ok=True)
        (world / "many" / f"{number}.jsonl").touch()
    assert sources_of(f"{world}/many") == [{"path": f"{world}/many"}]
    assert sources_of(f"{world}/many/*.jsonl") == [{"path": f"{world}/many/*.jsonl"}]


def test_texts_of_a_folder_are_one_source(world):
    for name in ("texts/a.txt", "texts/b.txt", "texts/c.md", "one/a.txt", "saved/state.json", "saved/data.arrow"):
        (world / name).parent.mkdir(exist_ok=True)
        (world / name).touch()
    found = look_through(world)
    assert [Path(source["path"]).relative_to(world).as_posix() for source in found.data] == [
        "data/maths/train.jsonl", "data/stories.parquet", "one/a.txt", "saved", "texts/*.txt",
    ]  # fmt: skip
    assert ("texts/c.md", "a text, but rarely data; name it with --data where it is") in found.unused


def test_what_is_named_goes_before_what_lies_there(world):
    found = parts_of(
        str(world), str(world / "base"), [f"tuned={world}/adapters/maths"], [], [str(world / "data/stories.parquet")]
    )
    assert found.base == str(world / "base") and [one.name for one in found.variants] == ["tuned"] and found.weights == []
    assert [Path(sae["path"]).name for sae in found.saes] == ["layer_1"] and len(found.data) == 1
    assert (str(world / "outputs" / "checkpoint-90"), "--variant names others") in found.unused


def test_an_adapter_is_no_base(world):
    with pytest.raises(UserError, match="is no model"):
        parts_of(None, str(world / "adapters" / "maths"), [], [], [])


def test_a_dictionary_is_known_by_the_files_of_every_library(tmp_path):
    assert {frozenset(files) for files in SAVED[1:]} == {frozenset(library.files) for library in LIBRARIES}
    for number, files in enumerate(SAVED):
        for file in files:
            (tmp_path / str(number) / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / str(number) / file).touch()
        assert kind_of(tmp_path / str(number)) == "dictionary"


def test_tasks():
    assert tasks_of(["a=maths, code", "b=x", "a=y"]) == {"a": ["maths", "code", "y"], "b": ["x"]}
    with pytest.raises(UserError, match="name=domain"):
        tasks_of(["maths"])
