"""A new user's path: ``init`` on what lies there, then ``check``, ``run`` and the store, with no edit by hand."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from extract.__main__ import main
from extract.config import load_config, other_recipes
from extract.setup.draft import make_draft
from extract.setup.options import parts_of
from extract.setup.written_yaml import as_yaml
from store import open_store
from store.files import write_text
from tests.support.newcomer import checked, copied, init
from tests.support.world import make_adapter, make_gpt2, make_sae, one_thread, sentences, write_jsonl


def test_from_a_folder_to_a_store(newcomer, capsys):
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
    assert config.base == str(newcomer / "base")
    assert {name: (variant.adapter, variant.task) for name, variant in config.variants.items()} == {
        "maths": (str(newcomer / "adapters" / "maths"), ["maths"])
    }
    assert [sae.path for sae in config.saes] == [str(newcomer / "saes" / "layer_1"), str(newcomer / "saes" / "layer_3")]
    assert {Path(source.path).name: source.domain for source in config.corpus} == {
        "maths_alpaca.jsonl": "maths", "stories.jsonl": "stories",
    }  # fmt: skip
    assert config.neutral_domains == ["stories"]
    text = Path("run.yaml").read_text(encoding="utf-8")
    assert str(newcomer) not in text and "./adapters/maths" in text  # what lies beside it is named relative to it
    assert "# The base: 5 layers, d_model 32" in text and "Layer 3 (resid_post): 64 features of width 32, jumprelu" in text
    assert main(["run", "run.yaml", "--out", "my-store"]) == 0 and main(["info", "my-store"]) == 0
    with open_store("my-store") as store:
        assert store.manifest.counts["tokens"] == config.tokens  # all that there are
        assert set(store.domains) == {"maths", "stories"}


def test_a_moved_folder_runs_where_it_is(newcomer, tmp_path):
    """Since everything in it is relative to the file."""
    assert init(".") == 0
    moved = shutil.move(newcomer, tmp_path / "moved")
    assert load_config(Path(moved) / "run.yaml").base == str(Path(moved) / "base")


def test_a_series_by_a_pattern(newcomer, brought, capsys):
    for step in (20, 100):
        copied(brought / f"checkpoint-{step}", newcomer / "outputs" / f"checkpoint-{step}")
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


def test_a_trainers_folder_is_a_series_whose_end_is_no_variant_of_its_own(newcomer, brought, capsys):
    """The last checkpoint and the result of the training are the same weights."""
    shutil.rmtree(newcomer / "adapters")
    copied(brought / "checkpoint-100", newcomer / "outputs")
    for step in (20, 100):
        copied(brought / f"checkpoint-{step}", newcomer / "outputs" / f"checkpoint-{step}")
    assert init(".") == 0
    assert "not used: outputs: it has exactly the weights of 'outputs-100'" in capsys.readouterr().out
    assert list(checked().variants) == ["outputs-20", "outputs-100"]


def test_a_trainers_folder_with_an_end_of_its_own_is_a_series_up_to_it(newcomer, brought, capsys):
    """What lies beside the checkpoints is the last step by the trainer's word, and no recipe that is judged against them."""
    shutil.rmtree(newcomer / "adapters")
    copied(brought / "maths", newcomer / "runs" / "maths")
    for step in (20, 100):
        copied(brought / f"checkpoint-{step}", newcomer / "runs" / "maths" / f"checkpoint-{step}")
    assert init(".") == 0
    assert "not used: runs/maths: what 'maths' ended with" in capsys.readouterr().out
    assert list(checked().variants) == ["maths-20", "maths-100"]
    (newcomer / "runs" / "maths" / "trainer_state.json").write_text('{"global_step": 120}')
    assert init(".", "--force") == 0
    assert "'runs/maths' is taken as step 120 of 'maths', its last, by trainer_state.json." in capsys.readouterr().out
    config = checked()
    assert {name: (one.series, one.step) for name, one in config.variants.items()} == {
        "maths-20": ("maths", 20), "maths-100": ("maths", 100), "maths-120": ("maths", 120),
    }  # fmt: skip
    assert all(other_recipes(config, name) == [] for name in config.variants)


def test_strangers_of_one_name_are_no_runs_of_a_recipe(newcomer, brought):
    shutil.rmtree(newcomer / "adapters")
    for place, made in (("runs/maths", "checkpoint-20"), ("old/maths", "checkpoint-100"), ("maths/seed1", "maths")):
        copied(brought / made, newcomer / place / "checkpoint-10")
    copied(brought / "maths-seed2", newcomer / "maths" / "seed2" / "checkpoint-10")
    assert init(".", "--task", "maths-seed1=maths") == 0
    assert {name: (one.series, one.replicate_of) for name, one in checked().variants.items()} == {
        "maths-seed1-10": ("maths-seed1", None), "maths-seed2-10": ("maths-seed2", "maths-seed1-10"),
        "old-maths-10": ("old-maths", None), "runs-maths-10": ("runs-maths", None),
    }  # fmt: skip


def test_what_lies_too_deep_is_said_where_nothing_else_was_found(newcomer, brought, capsys):
    shutil.rmtree(newcomer / "adapters")
    copied(brought / "checkpoint-20", newcomer / "a" / "b" / "c" / "d" / "checkpoint-20")
    assert init(".") == 2
    assert "'a/b/c/d/' lies too deep to be looked through; give adapters or models with --variant" in capsys.readouterr().err


def test_two_trainings_of_a_recipe_are_compared_step_by_step(newcomer, brought):
    """Of the second one there is a step that the first has not."""
    shutil.rmtree(newcomer / "adapters")
    for seed, step, made in ((1, 20, "maths"), (1, 100, "checkpoint-20"), (2, 20, "maths-seed2"), (2, 60, "checkpoint-100")):
        copied(brought / made, newcomer / "runs" / f"maths-seed{seed}" / f"checkpoint-{step}")
    assert init(".", "--task", "maths=stories") == 0
    assert {name: (one.series, one.step, one.replicate_of, one.task) for name, one in checked().variants.items()} == {
        "maths-seed1-20": ("maths-seed1", 20, None, ["stories"]),
        "maths-seed1-100": ("maths-seed1", 100, None, ["stories"]),
        "maths-seed2-20": ("maths-seed2", 20, "maths-seed1-20", ["stories"]),
        "maths-seed2-60": ("maths-seed2", 60, None, ["stories"]),
    }


def test_seeds_of_a_recipe_are_its_runs(newcomer, brought, capsys):
    again = copied(brought / "maths-seed2", newcomer / "adapters" / "maths-seed2")
    for words in (["."], [".", "--variant", f"maths-seed2={again}", "maths=adapters/maths", "--force"]):
        assert init(*words) == 0
        told = capsys.readouterr().out
        assert "'maths' and 1 more are taken as runs of one recipe" in told and "A second run" not in told
        assert {name: (one.replicate_of, one.task) for name, one in checked().variants.items()} == {
            "maths": (None, ["maths"]), "maths-seed2": ("maths", ["maths"]),
        }  # fmt: skip
        capsys.readouterr()


def test_runs_that_were_trained_otherwise_are_none_of_one_recipe(newcomer, brought, capsys):
    other = copied(brought / "maths-seed2", newcomer / "adapters" / "maths-seed2") / "adapter_config.json"
    settings = json.loads(other.read_text())
    settings["target_modules"].reverse()  # which says nothing: PEFT writes a set
    other.write_text(json.dumps({**settings, "lora_alpha": 16}))
    assert init(".") == 0
    assert "'maths-seed2' is called like another run of 'maths' and is none" in capsys.readouterr().out
    assert checked().variants["maths-seed2"].replicate_of is None


def test_odd_names_come_back_as_they_are(newcomer):
    odd = newcomer / "adapters" / "it's: a [name], #1 \"x\" 数学 é"
    (newcomer / "adapters" / "maths").rename(odd)
    (newcomer / "data" / "maths_alpaca.jsonl").rename(newcomer / "data" / "{a}: b - 'c'.jsonl")
    assert init(".", "--task", "it-s-a-name-1-x=stories") == 0
    config = checked()
    assert {name: variant.adapter for name, variant in config.variants.items()} == {"it-s-a-name-1-x": str(odd)}
    assert str(newcomer / "data" / "{a}: b - 'c'.jsonl") in [source.path for source in config.corpus]


def test_what_is_written_is_what_was_meant(newcomer, brought):
    """Field by field, defaults too; from the file's own place and from another."""
    copied(brought / "checkpoint-20", newcomer / "- runs: #" / "checkpoint-20")
    draft = make_draft(parts_of(".", None, [], [], []), {"maths": ["stories"]})
    for place in (Path("x.yaml"), Path("a/b.yaml")):
        write_text(place, as_yaml(draft, place, ["next: step"]))
        assert load_config(place) == draft.config
    assert set(draft.config.variants) == {"maths", "runs-20"} and draft.config.variants["maths"].task == ["stories"]


def test_ids_that_are_none_are_told_by_place(newcomer):
    """Two files that number their records alike; in a third the field is a category, which a run sees by itself."""
    for name in ("stories", "tales"):
        texts = enumerate(sentences(8, seed=len(name)))
        write_jsonl(newcomer / "data" / f"{name}.jsonl", [{"source": str(number), "text": text} for number, text in texts])
    write_jsonl(newcomer / "data" / "twice.jsonl", [{"source": str(n // 7), "text": t} for n, t in enumerate(sentences(8, 9))])
    assert init(".") == 0
    known = {Path(source.path).name: source.source_field for source in checked().corpus}
    assert known == {"maths_alpaca.jsonl": "source", "stories.jsonl": None, "tales.jsonl": None, "twice.jsonl": "source"}


def test_data_of_other_kinds(newcomer):
    """Texts, a table and a JSON array, named by their folder."""
    for name in ("a", "b"):
        (newcomer / "poems").mkdir(exist_ok=True)
        (newcomer / "poems" / f"{name}.txt").write_text(" ".join(sentences(4, seed=ord(name))))
    (newcomer / "data" / "news.csv").write_text("text\n" + "".join(f"{text}\n" for text in sentences(6, seed=8)))
    answer = {"from": "gpt", "value": "the cat."}
    chats = [{"conversations": [{"from": "human", "value": asked}, answer]} for asked in sentences(6, seed=9)]
    (newcomer / "data" / "chat_sharegpt.json").write_text(json.dumps(chats))
    assert init(".") == 0
    assert {Path(source.path).name: source.domain for source in checked().corpus} == {
        "chat_sharegpt.json": "chat", "maths_alpaca.jsonl": "maths", "news.csv": "news", "stories.jsonl": "stories",
        "*.txt": "poems",
    }  # fmt: skip
    text = Path("run.yaml").read_text()
    assert "# read as ShareGPT, 6 conversations; " in text and "# read as text, 2 documents (each a file" in text


def test_records_keep_domains_of_their_own(newcomer):
    rows = [{"text": text, "domain": ("red", "blue")[number % 2]} for number, text in enumerate(sentences(8, seed=6))]
    write_jsonl(newcomer / "data" / "stories.jsonl", rows)
    assert init(".") == 0
    assert [source.domain for source in checked().corpus if source.path.endswith("stories.jsonl")] == [None]


def test_without_bos(newcomer):
    """A tokenizer that has none, beside dictionaries that want one."""
    file = newcomer / "base" / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    del settings["bos_token"]
    file.write_text(json.dumps(settings))
    assert init(".") == 0
    assert checked().prepend_bos is False


def test_windows_are_no_longer_than_dictionaries_know(newcomer):
    file = newcomer / "saes" / "layer_1" / "cfg.json"
    settings = json.loads(file.read_text())
    settings["metadata"]["context_size"] = 64
    file.write_text(json.dumps(settings))
    assert init(".") == 0
    assert checked().context_length == 64


def test_one_of_two_dictionaries_of_a_layer_is_taken_and_told(newcomer, capsys):
    copied(newcomer / "saes" / "layer_1", newcomer / "saes" / "second")
    assert init(".") == 0
    assert "not used: saes/second: 'layer_1' reads layer 1 too" in capsys.readouterr().out
    assert len(checked().saes) == 2


@pytest.mark.parametrize("cached", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_a_known_release_is_taken_where_no_dictionary_is_given(newcomer, hub_cache, capsys, cached):
    """gpt2-small-res-jb, of which a small GPT-2 is taken to be the base; in the hub's cache, or known by name alone."""
    for name in ("base", "saes", "adapters"):
        shutil.rmtree(newcomer / name)
    with one_thread():
        base = make_gpt2(newcomer / "gpt2", n_layers=6)
        make_adapter(newcomer / "maths", base, seed=1)
        for layer in range(6) if cached else ():
            place = hub_cache("jbloom/GPT2-Small-SAEs-Reformatted") / f"blocks.{layer}.hook_resid_pre"
            make_sae(place, base, layer, metadata={"hook_name": f"blocks.{layer}.hook_resid_pre"})
    assert init(".") == 0
    told = capsys.readouterr().out
    assert "has the release gpt2-small-res-jb for this base" in told and ("a run fetches them" in told) != cached
    # a third, a half and two thirds of six layers
    assert [sae.id for sae in checked().saes] == [f"blocks.{layer}.hook_resid_pre" for layer in (2, 3, 4)]


def test_checkpoints_and_weights_of_other_kinds(newcomer, world, brought):
    """A full checkpoint beside an adapter, and an adapter with several domains that say nothing of it."""
    tensors = load_file(world.base / "model.safetensors")
    copied(world.base, newcomer / "tuned")
    changed = {name: 1.01 * tensor for name, tensor in tensors.items()}
    save_file(changed, newcomer / "tuned" / "model.safetensors", {"format": "pt"})
    assert init(".") == 0
    config = checked()
    assert config.variants["tuned"].model == str(newcomer / "tuned") and config.variants["tuned"].task == []
    assert config.neutral_domains == []  # of one variant nobody knows what it was trained for
