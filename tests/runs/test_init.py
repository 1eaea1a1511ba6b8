"""A new user's path: ``init`` on what lies there, then ``check``, ``run`` and the store, with no edit by hand."""

import json
import re
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from safetensors.torch import load_file, save_file

from extract.__main__ import main
from extract.config import RunConfig, load_config
from store import open_store
from tests.support.world import make_adapter, make_base, make_gpt2, make_sae, one_thread, sentences, write_jsonl


@pytest.fixture(scope="module")
def made(world, tmp_path_factory):
    """Everything that a user has, made once."""
    root = tmp_path_factory.mktemp("made")
    with one_thread():
        for name, seed in (("maths", 7), ("maths-seed2", 8), ("checkpoint-20", 9), ("checkpoint-100", 10)):
            make_adapter(root / name, world.base, seed)
        make_base(root / "wide", seed=1, d_model=48)
        make_adapter(root / "of-wide", root / "wide", seed=1)
        make_sae(root / "sae-of-wide", root / "wide", 1)
    alpaca = [
        {"instruction": asked, "input": "", "output": said}
        for asked, said in zip(sentences(16, seed=4), sentences(16, seed=5), strict=True)
    ]
    write_jsonl(root / "maths_alpaca.jsonl", alpaca)
    write_jsonl(root / "stories.jsonl", [{"text": text} for text in sentences(24, seed=3)])
    return root


@pytest.fixture
def folder(world, made, tmp_path, monkeypatch):
    """A folder to work in, with a base, an adapter, dictionaries and an Alpaca file."""
    place = tmp_path / "mine"
    copied(world.base, place / "base")
    copied(made / "maths", place / "adapters" / "maths")
    for layer in (1, 3):
        copied(world.saes[layer], place / "saes" / f"layer_{layer}")
    copied(made / "maths_alpaca.jsonl", place / "data" / "maths_alpaca.jsonl")
    copied(made / "stories.jsonl", place / "data" / "stories.jsonl")
    monkeypatch.chdir(place)
    return place


def copied(source: Path, place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return Path((shutil.copytree if source.is_dir() else shutil.copy)(source, place))


def init(*words: object) -> int:
    return main(["init", *map(str, words)])


def refused(capsys, *words: object) -> str:
    """The one sentence that ``init`` is refused with; nothing is written."""
    capsys.readouterr()
    assert init(*words) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith("error: ") and line.endswith((".", ")")) and not told.out and not Path("run.yaml").exists()
    return line


def checked(config: str = "run.yaml") -> RunConfig:
    assert main(["check", config]) == 0
    return load_config(config)


def test_from_a_folder_to_a_store(folder, capsys):
    assert init(".") == 0
    told = capsys.readouterr().out
    assert "data      maths_alpaca.jsonl: read as Alpaca, 16 conversations, domain maths" in told
    assert "missing: A second run of the same recipe with another seed, of maths" in told
    assert told.splitlines()[-3:] == [
        "  python -m extract check run.yaml",
        "  python -m extract run run.yaml --out my-store",
        "  make app STORE=my-store",
    ]
    config = checked()
    assert config.base == str(folder / "base")
    assert {name: (variant.adapter, variant.task) for name, variant in config.variants.items()} == {
        "maths": (str(folder / "adapters" / "maths"), ["maths"])
    }
    assert [sae.path for sae in config.saes] == [str(folder / "saes" / "layer_1"), str(folder / "saes" / "layer_3")]
    assert {Path(source.path).name: source.domain for source in config.corpus} == {
        "maths_alpaca.jsonl": "maths", "stories.jsonl": "stories",
    }  # fmt: skip
    assert config.neutral_domains == ["stories"]
    text = Path("run.yaml").read_text(encoding="utf-8")
    assert str(folder) not in text and "./adapters/maths" in text  # what lies beside it is named relative to it
    assert "# The base: 5 layers, d_model 32" in text and "Layer 3 (resid_post): 64 features of width 32, jumprelu" in text
    assert main(["run", "run.yaml", "--out", "my-store"]) == 0 and main(["info", "my-store"]) == 0
    with open_store("my-store") as store:
        assert store.manifest.counts["tokens"] == config.tokens  # all that there are
        assert set(store.domains) == {"maths", "stories"}


def test_a_moved_folder_runs_where_it_is(folder, tmp_path):
    """Since everything in it is relative to the file."""
    assert init(".") == 0
    moved = shutil.move(folder, tmp_path / "moved")
    assert load_config(Path(moved) / "run.yaml").base == str(Path(moved) / "base")


def test_a_series_by_a_pattern(folder, made, capsys):
    for step in (20, 100):
        copied(made / f"checkpoint-{step}", folder / "outputs" / f"checkpoint-{step}")
    assert init("--base", "base", "--variant", "maths=outputs/checkpoint-*", "--sae", "saes", "--data", "data/stories.jsonl",
                "data/maths_alpaca.jsonl", "--task", "maths=maths", "--out", "series.yaml") == 0  # fmt: skip
    config = checked("series.yaml")
    assert {name: (one.series, one.step, one.task) for name, one in config.variants.items()} == {
        "maths-20": ("maths", 20, ["maths"]), "maths-100": ("maths", 100, ["maths"]),
    }  # fmt: skip
    assert len(config.saes) == 2
    assert main(["run", "series.yaml", "--out", "store"]) == 0
    capsys.readouterr()
    assert main(["info", "store"]) == 0 and "maths-100" in capsys.readouterr().out


def test_a_trainers_folder_is_a_series_whose_end_is_no_variant_of_its_own(folder, made, capsys):
    """The last checkpoint and the result of the training are the same weights."""
    shutil.rmtree(folder / "adapters")
    copied(made / "checkpoint-100", folder / "outputs")
    for step in (20, 100):
        copied(made / f"checkpoint-{step}", folder / "outputs" / f"checkpoint-{step}")
    assert init(".") == 0
    assert "not used: outputs: it has exactly the weights of 'outputs-100'" in capsys.readouterr().out
    assert list(checked().variants) == ["outputs-20", "outputs-100"]


def test_seeds_of_a_recipe_are_its_runs(folder, made, capsys):
    copied(made / "maths-seed2", folder / "adapters" / "maths-seed2")
    assert init(".") == 0
    told = capsys.readouterr().out
    assert "'maths' and 1 more are taken as runs of one recipe" in told and "A second run" not in told
    assert checked().variants["maths-seed2"].replicate_of == "maths"


def test_runs_that_were_trained_otherwise_are_none_of_one_recipe(folder, made, capsys):
    other = copied(made / "maths-seed2", folder / "adapters" / "maths-seed2") / "adapter_config.json"
    settings = json.loads(other.read_text())
    settings["target_modules"].reverse()  # which says nothing: PEFT writes a set
    other.write_text(json.dumps({**settings, "lora_alpha": 16}))
    assert init(".") == 0
    assert "'maths-seed2' is called like another run of 'maths' and is none" in capsys.readouterr().out
    assert checked().variants["maths-seed2"].replicate_of is None


def test_odd_names_come_back_as_they_are(folder):
    odd = folder / "adapters" / "it's: a [name], #1 \"x\" 数学 é"
    (folder / "adapters" / "maths").rename(odd)
    (folder / "data" / "maths_alpaca.jsonl").rename(folder / "data" / "{a}: b - 'c'.jsonl")
    assert init(".", "--task", "it-s-a-name-1-x=stories") == 0
    config = checked()
    assert {name: variant.adapter for name, variant in config.variants.items()} == {"it-s-a-name-1-x": str(odd)}
    assert str(folder / "data" / "{a}: b - 'c'.jsonl") in [source.path for source in config.corpus]


def test_ids_that_are_none_are_told_by_place(folder):
    """Two files that number their records alike; in a third the field is a category, which a run sees by itself."""
    for name in ("stories", "tales"):
        texts = enumerate(sentences(8, seed=len(name)))
        write_jsonl(folder / "data" / f"{name}.jsonl", [{"source": str(number), "text": text} for number, text in texts])
    write_jsonl(folder / "data" / "twice.jsonl", [{"source": str(n // 7), "text": t} for n, t in enumerate(sentences(8, 9))])
    assert init(".") == 0
    known = {Path(source.path).name: source.source_field for source in checked().corpus}
    assert known == {"maths_alpaca.jsonl": "source", "stories.jsonl": None, "tales.jsonl": None, "twice.jsonl": "source"}


def test_data_of_other_kinds(folder):
    """Texts, a table and a JSON array, named by their folder."""
    for name in ("a", "b"):
        (folder / "poems").mkdir(exist_ok=True)
        (folder / "poems" / f"{name}.txt").write_text(" ".join(sentences(4, seed=ord(name))))
    (folder / "data" / "news.csv").write_text("text\n" + "".join(f"{text}\n" for text in sentences(6, seed=8)))
    answer = {"from": "gpt", "value": "the cat."}
    chats = [{"conversations": [{"from": "human", "value": asked}, answer]} for asked in sentences(6, seed=9)]
    (folder / "data" / "chat_sharegpt.json").write_text(json.dumps(chats))
    assert init(".") == 0
    assert {Path(source.path).name: source.domain for source in checked().corpus} == {
        "chat_sharegpt.json": "chat", "maths_alpaca.jsonl": "maths", "news.csv": "news", "stories.jsonl": "stories",
        "*.txt": "poems",
    }  # fmt: skip
    text = Path("run.yaml").read_text()
    assert "# read as ShareGPT, 6 conversations; " in text and "# read as text, 2 documents (each a file" in text


def test_records_keep_domains_of_their_own(folder):
    rows = [{"text": text, "domain": ("red", "blue")[number % 2]} for number, text in enumerate(sentences(8, seed=6))]
    write_jsonl(folder / "data" / "stories.jsonl", rows)
    assert init(".") == 0
    assert [source.domain for source in checked().corpus if source.path.endswith("stories.jsonl")] == [None]


def test_without_bos(folder):
    """A tokenizer that has none, beside dictionaries that want one."""
    settings = json.loads((folder / "base" / "tokenizer_config.json").read_text())
    (folder / "base" / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if k != "bos_token"}))
    assert init(".") == 0
    assert checked().prepend_bos is False


def test_windows_are_no_longer_than_dictionaries_know(folder):
    file = folder / "saes" / "layer_1" / "cfg.json"
    settings = json.loads(file.read_text())
    settings["metadata"]["context_size"] = 64
    file.write_text(json.dumps(settings))
    assert init(".") == 0
    assert checked().context_length == 64


def test_nothing_is_written_over(folder, capsys):
    Path("run.yaml").write_text("mine")
    assert init(".") == 2 and "--force" in capsys.readouterr().err
    assert Path("run.yaml").read_text() == "mine"
    assert init(".", "--force") == 0
    assert yaml.safe_load(Path("run.yaml").read_text())["base"] == "./base"


def test_one_of_two_dictionaries_of_a_layer_is_taken_and_told(folder, capsys):
    copied(folder / "saes" / "layer_1", folder / "saes" / "second")
    assert init(".") == 0
    assert "not used: saes/second: 'layer_1' reads layer 1 too" in capsys.readouterr().out
    assert len(checked().saes) == 2


def test_a_dictionary_of_another_model(folder, made, capsys):
    assert "belongs to another model" in refused(capsys, ".", "--sae", made / "sae-of-wide")
    copied(made / "sae-of-wide", folder / "saes" / "wide")
    assert init(".") == 0  # beside others it is told, and not used
    assert "not used: saes/wide: it was not taken: The dictionary 'wide' reads" in capsys.readouterr().out
    Path("run.yaml").unlink()
    for layer in (1, 3):
        shutil.rmtree(folder / "saes" / f"layer_{layer}")
    assert "belongs to another model" in refused(capsys, ".")


def test_an_adapter_of_another_base(folder, made, capsys):
    assert "of-wide" in refused(capsys, ".", "--variant", made / "of-wide")


def test_what_no_run_can_be_made_of(folder, made, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "nothing was recognised" in refused(capsys, tmp_path / "empty")
    assert "no folder" in refused(capsys, tmp_path / "nowhere")
    assert "Nothing is given" in refused(capsys)
    assert "nothing at 'nowhere/at/all'" in refused(capsys, "--base", "nowhere/at/all", "--variant", "x=adapters/maths")
    shutil.rmtree(folder / "data")
    assert "no data" in refused(capsys, ".")
    write_jsonl(folder / "rows.jsonl", [{"a": 1}])
    assert "rows.jsonl" in refused(capsys, ".")
    assert "rows.jsonl" in refused(capsys, ".", "--data", "rows.jsonl")
    copied(made / "stories.jsonl", folder / "rows.jsonl")
    shutil.rmtree(folder / "adapters")
    assert "nothing that was fine-tuned" in refused(capsys, ".")
    copied(made / "maths", folder / "maths")
    shutil.rmtree(folder / "base")
    settings = json.loads((folder / "maths" / "adapter_config.json").read_text())
    for named in (None, "/nowhere/base"):
        (folder / "maths" / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": named}))
        assert "There is no base" in refused(capsys, ".")


def test_a_file_that_cannot_be_read(folder, capsys):
    (folder / "data" / "stories.jsonl").write_bytes(b'{"text": "a"}\n{"te')
    assert "line 2" in refused(capsys, ".", "--data", "data/stories.jsonl")


def test_several_bases(folder, made, capsys):
    (folder / "base").rename(folder / "first")
    copied(made / "wide", folder / "wide")
    settings = json.loads((folder / "adapters" / "maths" / "adapter_config.json").read_text())
    file = folder / "adapters" / "maths" / "adapter_config.json"
    file.write_text(json.dumps({**settings, "base_model_name_or_path": "somebody/else"}))
    assert "Which of several models" in refused(capsys, ".")
    file.write_text(json.dumps({**settings, "base_model_name_or_path": "somebody/First"}))
    assert "'wide'" in refused(capsys, ".")  # the other is a variant then, and none of this base
    shutil.rmtree(folder / "wide")
    assert init(".") == 0


def test_a_known_release_is_proposed_as_a_comment_where_the_hub_cannot_be_asked(folder, capsys, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    shutil.rmtree(folder / "saes")
    assert "registry knows none" in refused(capsys, ".")
    settings = json.loads((folder / "base" / "config.json").read_text())
    (folder / "base" / "config.json").write_text(json.dumps({**settings, "_name_or_path": "google/gemma-3-270m"}))
    assert init(".") == 0
    assert "has the release gemma-scope-2-270m-pt-res for this base" in capsys.readouterr().out
    text = Path("run.yaml").read_text()
    assert "saes" not in yaml.safe_load(text)
    config = RunConfig.model_validate(yaml.safe_load(re.sub(r"^# (saes:|- \{release)", r"\1", text, flags=re.MULTILINE)))
    assert {sae.release for sae in config.saes} == {"gemma-scope-2-270m-pt-res"} and len(config.saes) == 3


@pytest.mark.thorough
def test_a_known_release_is_taken_where_it_is_at_hand(folder, monkeypatch, tmp_path, capsys):
    """gpt2-small-res-jb, whose dictionaries here are of a small GPT-2, in a cache of the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("base", "saes", "adapters"):
        shutil.rmtree(folder / name)
    repository = tmp_path / "cache" / "models--jbloom--GPT2-Small-SAEs-Reformatted"
    snapshot = repository / "snapshots" / ("0" * 40)
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    with one_thread():
        base = make_gpt2(folder / "gpt2", n_layers=6)
        make_adapter(folder / "maths", base, seed=1)
        for layer in range(6):
            make_sae(snapshot / f"blocks.{layer}.hook_resid_pre", base, layer)
    assert init(".") == 0
    assert "has the release gpt2-small-res-jb for this base" in capsys.readouterr().out
    # a third, a half and two thirds of six layers
    assert [sae.id for sae in checked().saes] == [f"blocks.{layer}.hook_resid_pre" for layer in (2, 3, 4)]


def test_a_release_that_there_is_not(folder, capsys):
    assert "gemma-scope-2b-pt-res" in refused(capsys, ".", "--sae", "gemma-scope-2b-pt-rez")
    assert "gemma-scope-2b-pt-res" in refused(capsys, ".", "--sae", "gemma-scope-2b-pt-rez/layer_9/width_16k/canonical")


def test_conversations_need_a_chat_template(folder, capsys):
    file = folder / "base" / "chat_template.jinja"
    template = file.read_text()
    file.unlink()
    answer = {"role": "assistant", "content": "the cat."}
    turns = [{"messages": [{"role": "user", "content": asked}, answer]} for asked in sentences(8, seed=6)]
    write_jsonl(folder / "data" / "stories.jsonl", turns)
    assert "chat template" in refused(capsys, ".")
    (folder / "mine.jinja").write_text(template)
    assert init(".") == 0
    assert checked().chat_template == str(folder / "mine.jinja")
    (folder / "other.jinja").write_text(template)  # of two neither is taken, but the one that is named
    assert init(".", "--force", "--chat-template", "other.jinja") == 0
    assert checked().chat_template == str(folder / "other.jinja")


def test_checkpoints_and_weights_of_other_kinds(folder, world, made):
    """A full checkpoint beside an adapter, and an adapter with several domains that say nothing of it."""
    tensors = load_file(world.base / "model.safetensors")
    copied(world.base, folder / "tuned")
    changed = {name: 1.01 * tensor for name, tensor in tensors.items()}
    save_file(changed, folder / "tuned" / "model.safetensors", {"format": "pt"})
    assert init(".") == 0
    config = checked()
    assert config.variants["tuned"].model == str(folder / "tuned") and config.variants["tuned"].task == []
    assert config.neutral_domains == []  # of one variant nobody knows what it was trained for
