"""Folders of other libraries are read as they lie there, where their files and names say what sae-lens has to know; where they
do not, or where sae-lens would read something else, a sentence says so."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from extract.config_sections import SaeConfig
from extract.saes.reading import read_sae
from store.errors import UserError
from tests.support.loader_files import (
    B_DEC,
    B_ENC,
    CENTRED,
    D_IN,
    D_SAE,
    LINEAR,
    PLAIN,
    THRESHOLD,
    W_DEC,
    W_ENC,
    W_SKIP,
    K,
    X,
    check_codes,
    in_npz,
    in_pickle,
    in_safetensors,
    jump,
    relu,
    topk,
    with_text,
)  # fmt: skip

SPARSIFY = {"expansion_factor": 1, "normalize_decoder": True, "num_latents": D_SAE, "k": K, "signed": False, "d_in": D_IN}
SPARSE = {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
JUMPED = jump(X @ W_ENC + B_ENC)


def sparsify(**changes) -> Callable:
    return with_text("{}/cfg.json", SPARSIFY | changes, in_safetensors("{}/sae.safetensors", **SPARSE))


def learned(**changes) -> Callable:
    trainer = {"layer": 3, "dict_class": "AutoEncoder", "activation_dim": D_IN, "dict_size": D_SAE, "lm_name": "a/pythia-70m",
               "submodule_name": "resid_post_layer_3"}  # fmt: skip
    tensors = {**LINEAR, "encoder.bias": B_ENC, "bias": B_DEC}
    return with_text(
        "{}/config.json", {"trainer": trainer | changes, "buffer": {"ctx_len": 128}}, in_pickle("{}/ae.pt", **tensors)
    )


def scope_2(point: str, out: str | None = None, **tensors: np.ndarray) -> Callable:
    place = "model.layers.9."
    facts = {"architecture": "jump_relu", "model_name": "google/gemma-3-270m", "hf_hook_point_in": place + point}
    facts |= {"hf_hook_point_out": place + out, "affine_connection": bool(tensors)} if out else {}
    given = {"w_enc": W_ENC, "w_dec": W_DEC, "b_enc": B_ENC, "b_dec": B_DEC, "threshold": THRESHOLD, **tensors}
    return with_text("{}/config.json", facts, in_safetensors("{}/params.safetensors", **given))


def llama(**changes) -> Callable:
    facts = {"d_model": D_IN, "d_sae": D_SAE, "jump_relu_threshold": 0.4, "hook_point_in": "blocks.7.hook_mlp_out",
             "dataset_average_activation_norm": {"in": 2.0}}  # fmt: skip
    tensors = {"encoder.weight": W_ENC.T, "decoder.weight": W_DEC.T, "encoder.bias": B_ENC, "decoder.bias": B_DEC}
    return with_text("{}/hyperparams.json", facts | changes, in_safetensors("{}/checkpoints/final.safetensors", **tensors))


SCOPE = in_npz(**PLAIN, threshold=THRESHOLD)
LLAMA_SCALE = D_IN**0.5 / 2
LLAMA_CODES = jump(LLAMA_SCALE * X @ W_ENC + B_ENC, 0.4 * LLAMA_SCALE)
PRE, POST = "pre_feedforward_layernorm.output", "post_feedforward_layernorm.output"
SPARSE_CODES = topk(CENTRED + B_ENC)


@pytest.mark.parametrize(("folder", "write", "hooks", "codes", "decoded"), [
    ("run/layers.5", sparsify(), ["blocks.5.hook_resid_post"], SPARSE_CODES, None),
    ("run/layers.5.mlp", sparsify(), ["model.layers.5.mlp.output"], SPARSE_CODES, None),
    ("run/embed_tokens", sparsify(num_latents=0, expansion_factor=2.5), ["hook_embed"], SPARSE_CODES, None),
    ("trainer_0", learned(), ["blocks.3.hook_resid_post"], relu(CENTRED + B_ENC), None),
    ("gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82", SCOPE, ["blocks.12.hook_resid_post"], JUMPED, None),
    ("models--google--gemma-scope-9b-pt-att/snapshots/1/layer_2/width_16k/l0_8", SCOPE, ["blocks.2.attn.hook_z"], JUMPED, None),
    ("gemma-scope-2b-pt-mlp/layer_12/width_16k/average_l0_82", SCOPE, ["blocks.12.hook_mlp_out"], JUMPED, None),
    ("gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_54", SCOPE,
     ["blocks.3.ln2.hook_normalized", "blocks.3.hook_mlp_out"], JUMPED, None),
    ("clt/mine", scope_2("output"), ["model.layers.9.output"], JUMPED, None),
    ("mine", scope_2("self_attn.o_proj.input"), ["model.layers.9.self_attn.o_proj.input"], JUMPED, None),
    ("mine", scope_2(POST), ["model.layers.9." + POST], JUMPED, None),
    ("mine", scope_2(PRE, POST), ["model.layers.9." + PRE, "model.layers.9." + POST], JUMPED, None),
    ("mine", scope_2(PRE, POST, affine_skip_connection=W_SKIP), ["model.layers.9." + PRE, "model.layers.9." + POST], JUMPED,
     JUMPED @ W_DEC + B_DEC + X @ W_SKIP),
    ("mine", llama(), ["blocks.7.hook_mlp_out"], LLAMA_CODES, (LLAMA_CODES @ W_DEC + B_DEC) / LLAMA_SCALE),
])  # fmt: skip
def test_a_folder_of_another_library(tmp_path, no_network, folder, write, hooks, codes, decoded):
    write(tmp_path, folder)
    config = SaeConfig(path=str(tmp_path / folder))
    for device in ("meta", "cpu"):
        read = read_sae(config, device, torch.float32)
        named = [read.settings.get(f"hf_hook_name{end}") or read.settings.get(f"hook_name{end}") for end in ("", "_out")]
        assert list(filter(None, named)) == hooks
        assert not read.notes
    check_codes(read, codes, codes @ W_DEC + B_DEC if decoded is None else decoded)


def test_a_folder_of_this_folder(tmp_path, monkeypatch):
    """Given as it is, from where one stands."""
    sparsify()(tmp_path, "layers.5")
    monkeypatch.chdir(tmp_path)
    check_codes(read_sae(SaeConfig(path="layers.5"), "cpu", torch.float32), SPARSE_CODES, SPARSE_CODES @ W_DEC + B_DEC)


@pytest.mark.parametrize(("folder", "write", "words"), [
    ("my_sae", sparsify(), ["sparsify", "layers.12"]),
    ("layers.5", sparsify(transcode=True, skip_connection=True), ["sparsify", "skip_connection, transcode"]),
    ("layers.5", sparsify(activation="groupmax"), ["activation: groupmax"]),
    ("layers.5", sparsify(signed=True), ["'signed': True"]),
    ("my_sae", learned(dict_class="AutoEncoderNew"), ["AutoEncoderNew", "AutoEncoderTopK"]),
    ("my_sae", learned(submodule_name="mlp_layer_3"), ["'mlp_layer_3'", "residual stream"]),
    ("my_sae", SCOPE, ["Gemma Scope", "gemma-scope-2b-pt-res/layer_12"]),
    ("gemma-scope-2b-pt-res/layer_1/width_16k", in_npz(w=W_ENC), ["Gemma Scope", "lacks 'W_enc'"]),
    ("my_sae", scope_2("self_attn.q_proj.output"), ["Gemma Scope 2", "self_attn.q_proj.output"]),
    ("my_sae", llama(hook_point_out="blocks.8.hook_mlp_out"), ["Llama Scope", "blocks.8.hook_mlp_out"]),
    ("my_sae", llama(dataset_average_activation_norm={}), ["Llama Scope", "lacks 'in'"]),
    ("my_sae", with_text("{}/config.json", {}, in_pickle("{}/ae.pt", **LINEAR)), ["dictionary_learning", "lacks 'trainer'"]),
    ("my_sae", with_text("{}/config.json", [], in_pickle("{}/ae.pt", **LINEAR)), ["dictionary_learning", "is damaged"]),
    ("my_sae", in_pickle("{}/ae.pt", **LINEAR), ["dictionary_learning", "no config.json"]),
])  # fmt: skip
def test_a_folder_that_would_be_read_as_something_else(tmp_path, folder, write, words):
    write(tmp_path, folder)
    said = set()
    for device in ("meta", "cpu"):
        with pytest.raises(UserError) as error:
            read_sae(SaeConfig(path=str(tmp_path / folder)), device, torch.float32)
        said.add(str(error.value))
    (sentence,) = said
    assert folder in sentence and "\n" not in sentence
    for word in words:
        assert word in sentence, sentence


def test_a_pickle_in_a_folder(tmp_path, monkeypatch):
    """Read by the restricted unpickler, or not at all."""
    learned()(tmp_path, "sae")
    config = SaeConfig(path=str(tmp_path / "sae"))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UserError, match="pickle"):
        read_sae(config, "cpu", torch.float32)
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    torch.save({"encoder.weight": Path("harmful")}, tmp_path / "sae" / "ae.pt")
    with pytest.raises(UserError, match="could not be loaded"):
        read_sae(config, "cpu", torch.float32)


def test_an_archive_that_was_cut_off(tmp_path):
    folder = tmp_path / "gemma-scope-2b-pt-res/layer_1/width_16k"
    SCOPE(tmp_path, "gemma-scope-2b-pt-res/layer_1/width_16k")
    (folder / "params.npz").write_bytes((folder / "params.npz").read_bytes()[:500])
    with pytest.raises(UserError, match="Gemma Scope, and is damaged"):
        read_sae(SaeConfig(path=str(folder)), "meta", torch.float32)


def test_a_damaged_configuration(tmp_path):
    sparsify()(tmp_path, "layers.5")
    (tmp_path / "layers.5" / "cfg.json").write_text(json.dumps(SPARSIFY)[:20])
    with pytest.raises(UserError, match="is damaged"):
        read_sae(SaeConfig(path=str(tmp_path / "layers.5")), "cpu", torch.float32)
