"""Each of sae-lens' loaders reads a small dictionary in its own format, by release and id, out of a cache of the hub and
without a network; codes and reconstructions are those of the formula that the dictionary was trained with, in numpy.

Long because each loader has a format."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from transformers import Gemma3TextConfig

from extract.config_sections import SaeConfig
from extract.models.layout import layout_of
from extract.models.sites import Site
from extract.saes.dictionary import Dictionary
from extract.saes.reading import read_sae
from extract.saes.registry import known
from store.errors import UserError
from tests.support.loader_files import (
    B_DEC,
    B_ENC,
    B_MAG,
    CENTRED,
    D_IN,
    D_SAE,
    LINEAR,
    PLAIN,
    R_MAG,
    SIZES,
    THRESHOLD,
    W_DEC,
    W_ENC,
    W_SKIP,
    K,
    Write,
    X,
    check_codes,
    gated,
    in_npz,
    in_pickle,
    in_safetensors,
    jump,
    relu,
    topk,
    with_text,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A dictionary of a loader.

    Attributes:
        release, id: a real one of the registry.
        write: puts its files into a repository.
        codes: float [50, D_SAE], of X.
        hooks: where it reads, and writes.
        decoded: float [50, D_IN]; None: codes x W_DEC + B_DEC.
        architecture: as sae-lens has it.
        overrides: sizes, where the loader takes them from the names of a large one.
    """

    release: str
    id: str | None
    write: Write
    codes: np.ndarray
    hooks: tuple[str, ...]
    architecture: str
    decoded: np.ndarray | None = None
    overrides: dict[str, Any] = field(default_factory=dict)


def gemma_2(release: str, id_: str, hook: str, **other: Any) -> Case:
    write = in_npz(W_enc=W_ENC, W_dec=W_DEC, b_enc=B_ENC, b_dec=B_DEC, threshold=THRESHOLD)
    case = {"codes": jump(X @ W_ENC + B_ENC), "architecture": "jumprelu"} | other
    return Case(release, id_, write, hooks=(hook,), overrides=SIZES, **case)


def gemma_3(kind: str, id_: str, *hooks: str, **other: Any) -> Case:
    names = {"hf_hook_point_in": hooks[0]} | ({"hf_hook_point_out": hooks[1]} if len(hooks) > 1 else {})
    facts = {"architecture": "jump_relu", "model_name": "google/gemma-3-270m", **names}
    tensors = {"w_enc": W_ENC, "w_dec": W_DEC, "b_enc": B_ENC, "b_dec": B_DEC, "threshold": THRESHOLD}
    case = {"codes": jump(X @ W_ENC + B_ENC), "architecture": "jumprelu"} | other
    if case["architecture"] == "jumprelu_skip_transcoder":
        facts["affine_connection"] = True
        tensors["affine_skip_connection"] = W_SKIP  # stored as (d_in, d_out)
    write = with_text("{}/config.json", facts, in_safetensors("{}/params.safetensors", **tensors))
    return Case(f"gemma-scope-2-270m-pt-{kind}", id_, write, hooks=hooks, **case)


def llama_scope(letter: str, hook: str) -> Case:
    release, id_ = f"llama_scope_lx{letter}_8x", f"l7{letter}_8x"
    scale = get_pretrained_saes_directory()[release].norm_scaling_factor[id_]
    facts = {"d_model": D_IN, "d_sae": D_SAE, "jump_relu_threshold": 0.4, "hook_point_in": hook, "hook_point_out": hook,
             "dataset_average_activation_norm": {"in": 2.0}}  # fmt: skip
    tensors = {"encoder.weight": W_ENC.T, "decoder.weight": W_DEC.T, "encoder.bias": B_ENC, "decoder.bias": B_DEC}
    write = with_text("{}/hyperparams.json", facts, in_safetensors("{}/checkpoints/final.safetensors", **tensors))
    codes = jump(scale * X @ W_ENC + B_ENC, 0.4 * D_IN**0.5 / 2)
    return Case(release, id_, write, codes, (hook,), "jumprelu", decoded=(codes @ W_DEC + B_DEC) / scale)


def distilled() -> Case:
    release, id_ = "llama_scope_r1_distill", "l7r_800m_slimpajama"
    scale = get_pretrained_saes_directory()[release].norm_scaling_factor[id_]
    facts = {"d_model": D_IN, "expansion_factor": 2.5, "hook_point_in": "blocks.7.hook_resid_post"}
    tensors = {"encoder.weight": W_ENC.T, "decoder.weight": W_DEC.T, "encoder.bias": B_ENC, "decoder.bias": B_DEC,
               "log_jumprelu_threshold": np.log(THRESHOLD)}  # fmt: skip
    write = with_text("{}/config.json", facts, in_safetensors("{}/sae_weights.safetensors", **tensors))
    codes = jump(scale * X @ W_ENC + B_ENC)
    decoded = (codes @ W_DEC + B_DEC) / scale
    return Case(release, id_, write, codes, ("blocks.7.hook_resid_post",), "jumprelu", decoded, {"d_sae": D_SAE})


def dictionary_learning(kind: str, codes: np.ndarray, architecture: str, **tensors: np.ndarray) -> Case:
    trainer = {"layer": 12, "dict_class": kind, "activation_dim": D_IN, "dict_size": D_SAE, "lm_name": "google/gemma-2-2b"}
    facts = {"trainer": trainer | {"k": K}, "buffer": {"ctx_len": 128}}
    write = with_text("{}/config.json", facts, in_pickle("{}/ae.pt", **tensors))
    release, id_ = "saebench_gemma-2-2b_width-2pow12_date-0108", "blocks.12.hook_resid_post__trainer_0"
    return Case(release, id_, write, codes, ("blocks.12.hook_resid_post",), architecture)


MLP = ("model.layers.9.pre_feedforward_layernorm.output", "model.layers.9.post_feedforward_layernorm.output")
HOOK_Z = "blocks.3.attn.hook_z"
JUMPED = jump(X @ W_ENC + B_ENC)
SAVED = {
    "architecture": "standard", "dtype": "float32", "model_name": "gpt2-small", "hook_name": "blocks.3.hook_attn_out",
    "normalize_activations": "none", **SIZES,
}  # fmt: skip
WANDB = {"d_model": {"value": D_IN}, "d_feature": {"value": D_SAE}, "batch_size": {"value": 4096}}

CASES = {
    "sae_lens": Case(
        "gpt2-small-attn-out-v5-32k", "blocks.3.hook_attn_out",
        with_text("{}/cfg.json", SAVED, in_safetensors("{}/sae_weights.safetensors", **PLAIN)),
        relu(CENTRED + B_ENC), ("blocks.3.hook_attn_out",), "standard",
    ),
    "connor_rob_hook_z": Case(
        "gpt2-small-hook-z-kk", "blocks.3.hook_z",
        with_text("{}_cfg.json", {"act_size": D_IN, "dict_size": D_SAE, "act_name": HOOK_Z}, in_pickle("{}", **PLAIN)),
        relu(CENTRED + B_ENC), (HOOK_Z,), "standard",
    ),
    "gemma_2": gemma_2("gemma-scope-2b-pt-res-canonical", "layer_12/width_16k/canonical", "blocks.12.hook_resid_post"),
    "gemma_2 mlp": gemma_2("gemma-scope-2b-pt-mlp-canonical", "layer_12/width_16k/canonical", "blocks.12.hook_mlp_out"),
    "gemma_2 attention": gemma_2("gemma-scope-2b-pt-att-canonical", "layer_12/width_16k/canonical", "blocks.12.attn.hook_z"),
    "gemma_2 embedding": gemma_2(
        "gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_6", "hook_embed",
        codes=jump(X / D_IN**0.5 @ W_ENC + B_ENC), decoded=D_IN**0.5 * jump(X / D_IN**0.5 @ W_ENC + B_ENC) @ W_DEC + B_DEC,
    ),
    "gemma_2_transcoder": Case(
        "gemma-scope-2b-pt-transcoders", "layer_0/width_16k/average_l0_76",
        in_npz(W_enc=W_ENC, W_dec=W_DEC, b_enc=B_ENC, b_dec=B_DEC, threshold=THRESHOLD),
        JUMPED, ("blocks.0.ln2.hook_normalized", "blocks.0.hook_mlp_out"), "jumprelu_transcoder",
        overrides=SIZES | {"d_out": D_IN},
    ),
    "gemma_3": gemma_3("res", "layer_12_width_16k_l0_medium", "model.layers.12.output"),
    "gemma_3 attention": gemma_3("att", "layer_12_width_16k_l0_big", "model.layers.12.self_attn.o_proj.input"),
    "gemma_3 mlp": gemma_3("mlp", "layer_12_width_16k_l0_big", "model.layers.12.post_feedforward_layernorm.output"),
    "gemma_3 transcoder": gemma_3("transcoders-all", "layer_9_width_16k_l0_big", *MLP, architecture="jumprelu_transcoder"),
    "gemma_3 affine": gemma_3(
        "transcoders-all", "layer_9_width_16k_l0_big_affine", *MLP, architecture="jumprelu_skip_transcoder",
        decoded=JUMPED @ W_DEC + B_DEC + X @ W_SKIP,
    ),
    "llama_scope residual": llama_scope("r", "blocks.7.hook_resid_post"),
    "llama_scope attention": llama_scope("a", "blocks.7.hook_attn_out"),
    "llama_scope mlp": llama_scope("m", "blocks.7.hook_mlp_out"),
    "llama_scope_r1_distill": distilled(),
    "dictionary_learning_1 AutoEncoder": dictionary_learning(
        "AutoEncoder", relu(CENTRED + B_ENC), "standard", **LINEAR, **{"encoder.bias": B_ENC, "bias": B_DEC}
    ),
    "dictionary_learning_1 AutoEncoderTopK": dictionary_learning(
        "AutoEncoderTopK", topk(CENTRED + B_ENC), "topk", **LINEAR,
        **{"encoder.bias": B_ENC, "b_dec": B_DEC, "k": np.array(K), "threshold": np.array(0.5, np.float32)},
    ),
    "dictionary_learning_1 GatedAutoEncoder": dictionary_learning(
        "GatedAutoEncoder", gated(X - B_DEC), "gated", **LINEAR,
        decoder_bias=B_DEC, r_mag=R_MAG, gate_bias=B_ENC, mag_bias=B_MAG,
    ),
    "dictionary_learning_1 JumpReluAutoEncoder": dictionary_learning(
        "JumpReluAutoEncoder", JUMPED, "jumprelu", **PLAIN, threshold=THRESHOLD
    ),
    "dictionary_learning_1 BatchTopKSAE": dictionary_learning(
        "BatchTopKSAE", jump(CENTRED + B_ENC, 0.5), "jumprelu", **LINEAR,
        **{"encoder.bias": B_ENC, "b_dec": B_DEC, "k": np.array(K), "threshold": np.array(0.5, np.float32)},
    ),
    "dictionary_learning_1 MatryoshkaBatchTopKSAE": dictionary_learning(
        "MatryoshkaBatchTopKSAE", jump(CENTRED + B_ENC, 0.5), "jumprelu", **PLAIN, threshold=np.array(0.5, np.float32)
    ),
    "deepseek_r1": Case(
        "deepseek-r1-distill-llama-8b-qresearch", None,
        in_pickle("{}", **LINEAR, **{"encoder.bias": B_ENC, "decoder.bias": B_DEC}),
        relu(X @ W_ENC + B_ENC), ("blocks.19.hook_resid_post",), "standard", overrides=SIZES,
    ),
    "goodfire": Case(
        "goodfire-llama-3.1-8b-instruct", None,
        in_pickle("{}", **{
            "encoder_linear.weight": W_ENC.T, "decoder_linear.weight": W_DEC.T,
            "encoder_linear.bias": B_ENC, "decoder_linear.bias": B_DEC,
        }),
        relu(X @ W_ENC + B_ENC), ("blocks.19.hook_resid_post",), "standard", overrides=SIZES,
    ),
    "qwen_scope": Case(
        "qwen-scope-3-1.7b-base-w32k-l50", "layer7",
        in_pickle("{}", W_enc=W_ENC.T, W_dec=W_DEC.T, b_enc=B_ENC, b_dec=B_DEC),
        topk(X @ W_ENC + B_ENC), ("model.layers.7",), "topk", overrides=SIZES | {"activation_fn_kwargs": {"k": K}},
    ),
    "mwhanna_transcoder": Case(
        "mwhanna-qwen3-4b-transcoders", "layer_7",
        with_text("wanb-config.yaml", WANDB, with_text("config.yaml", {"model_name": "Qwen/Qwen3-4B"}, in_safetensors(
            "{}", W_enc=W_ENC.T, W_dec=W_DEC, b_enc=B_ENC, b_dec=B_DEC
        ))),
        relu(X @ W_ENC + B_ENC), ("blocks.7.mlp.hook_in", "blocks.7.hook_mlp_out"), "transcoder",
    ),
    "mntss_clt_layer_transcoder": Case(
        "mntss-gemma-2-2b-2.5m-clt-as-per-layer", "layer_7",
        with_text(
            "config.yaml",
            {"model_name": "google/gemma-2-2b", "feature_input_hook": "hook_resid_mid", "feature_output_hook": "hook_mlp_out"},
            in_safetensors("W_enc_{}.safetensors", W_enc_7=W_ENC.T, b_enc_7=B_ENC, b_dec_7=B_DEC),
            in_safetensors("W_dec_{}.safetensors", W_dec_7=np.stack([0.25 * W_DEC, 0.75 * W_DEC], axis=1)),
        ),
        relu(X @ W_ENC + B_ENC), ("blocks.7.hook_resid_mid", "blocks.7.hook_mlp_out"), "transcoder",
    ),
}  # fmt: skip

SHAPE = Gemma3TextConfig(
    hidden_size=D_IN, intermediate_size=8, num_attention_heads=1, num_key_value_heads=1, head_dim=D_IN, num_hidden_layers=20,
    vocab_size=20, pad_token_id=0,
)  # fmt: skip


def prepared(case: Case, hub_cache, monkeypatch) -> SaeConfig:
    release = get_pretrained_saes_directory()[case.release]
    monkeypatch.setattr(release, "config_overrides", (release.config_overrides or {}) | case.overrides)
    id_ = case.id or next(iter(release.saes_map))
    case.write(hub_cache(release.repo_id), release.saes_map[id_])
    return SaeConfig(release=case.release, id=id_)


def hooks_of(settings: dict) -> tuple[str, ...]:
    given = [settings.get(f"hf_hook_name{end}") or settings.get(f"hook_name{end}") for end in ("", "_out")]
    return tuple(filter(None, given))


@pytest.mark.parametrize("name", CASES)
def test_a_loader_without_a_network(hub_cache, monkeypatch, name):
    case = CASES[name]
    config = prepared(case, hub_cache, monkeypatch)
    for device in ("meta", "cpu"):
        read = read_sae(config, device, torch.float32)
        assert hooks_of(read.settings) == case.hooks
        assert (read.sae.cfg.architecture(), read.sae.cfg.d_in, read.sae.cfg.d_sae) == (case.architecture, D_IN, D_SAE)
        assert read.file is not None or "mntss" in name
    assert hooks_of(known(config.release, config.id).settings) == case.hooks
    decoded = case.codes @ W_DEC + B_DEC if case.decoded is None else case.decoded
    check_codes(read, case.codes, decoded)
    dictionary = Dictionary.of(read, name, SHAPE)
    assert [dictionary.reads, *([dictionary.site] if dictionary.is_transcoder else [])] == [
        Site.of_hook(hook, layout_of(SHAPE)) for hook in case.hooks
    ]
    codes, reconstruction = dictionary.encode(torch.tensor(X))
    assert len(codes.value) == (case.codes > 0).sum()
    np.testing.assert_allclose(reconstruction, decoded, rtol=1e-4, atol=1e-3)
    assert bool(read.notes) == (name.split("_")[0] in ("mntss", "connor")), read.notes


def test_every_loader_has_a_case():
    """All that sae-lens has but sparsify, of which the registry has no release (tests/runs/test_folders.py), and temporal."""
    assert {name.split()[0] for name in CASES} | {"sparsify", "temporal"} == set(loaders.NAMED_PRETRAINED_SAE_LOADERS)


@pytest.mark.parametrize("name", ["gemma_3", "gemma_2 mlp", "mwhanna_transcoder", "dictionary_learning_1 AutoEncoder"])
def test_a_loader_whose_weights_are_not_cached(hub_cache, monkeypatch, name):
    """A run is refused; what is asked of the settings is answered."""
    case = CASES[name]
    config = prepared(case, hub_cache, monkeypatch)
    for file in hub_cache(known(config.release, config.id).repository).rglob("*"):
        if file.suffix in (".npz", ".safetensors", ".pt"):
            file.unlink()
    assert hooks_of(read_sae(config, "meta", torch.float32).settings) == case.hooks
    with pytest.raises(UserError, match="could not be loaded"):
        read_sae(config, "cpu", torch.float32)


def test_the_loaders_are_left_as_they_were(hub_cache, monkeypatch):
    before = loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes
    read_sae(prepared(CASES["gemma_3"], hub_cache, monkeypatch), "cpu", torch.float32)
    assert known("gemma-scope-2-270m-pt-res", "layer_12_width_16k_l0_medium").settings["d_sae"] == 16384
    assert (loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes) == before
