"""Mixes of dictionaries and bases that cannot be: each is one sentence, of `check` without weights and of `run`."""

from pathlib import Path

import pytest
import torch
from sae_lens import SAE
from transformers import AutoModelForCausalLM, GPTNeoXConfig, MambaConfig, MiniMaxConfig

from extract.__main__ import main
from tests.support.architectures import FULL, LLAMA, LOCAL, MAMBA, NEOX
from tests.support.world import World, make_tokenizer, one_thread

PARALLEL = GPTNeoXConfig(**NEOX | {"vocab_size": 400, "bos_token_id": 2, "eos_token_id": 1})
WITHOUT_ATTENTION = MambaConfig(**MAMBA | {"vocab_size": 400, "bos_token_id": 2, "eos_token_id": 1})
SCALED = MiniMaxConfig(**LLAMA | LOCAL | FULL | {"vocab_size": 400, "bos_token_id": 2, "eos_token_id": 1})


def saved_sae(folder: Path, hook: str, width: int = 32) -> dict[str, str]:
    sae = SAE.from_dict(
        {"architecture": "standard", "d_in": width, "d_sae": 40, "dtype": "float32", "device": "cpu",
         "apply_b_dec_to_input": True, "normalize_activations": "none", "metadata": {"hook_name": hook, "prepend_bos": True}}
    )  # fmt: skip
    sae.save_model(folder / hook)
    return {"path": str(folder / hook)}


def base_of(folder: Path, config) -> str:
    make_tokenizer(folder)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return str(folder)


def refused(config: Path, folder: Path, capsys, commands=("check", "run")) -> list[str]:
    """What each command says, in one line."""
    said = []
    for command in commands:
        out = ["--out", str(folder / "store")] if command == "run" else []
        with one_thread():
            assert main([command, str(config), *out]) == 2
        printed = capsys.readouterr()
        said.append(" ".join((printed.err or printed.out).split()) if command == "run" else printed.out + printed.err)
    assert not (folder / "store").exists()
    return said


@pytest.mark.parametrize(
    ("hooks", "words"),
    [
        (["blocks.1.hook_resid_mid", "blocks.2.hook_attn_out"],
         "The dictionaries are of several points ('blocks.1.hook_resid_mid' resid_mid, 'blocks.2.hook_attn_out' attn_out)"),
        (["blocks.9.hook_mlp_out"], "reads layer 9, but the base has layers 0 to 4; it belongs to another model."),
        (["blocks.1.hook_k"], "The dictionary's hook 'blocks.1.hook_k' is no point that is read here"),
        (["model.layers.1.self_attn.q_proj"], "is no point that is read here"),
    ],
    ids=["several", "deep", "unknown", "unknown-module"],
)  # fmt: skip
def test_hooks(world: World, tmp_path, capsys, hooks, words):
    config = world.config(tmp_path, saes=[saved_sae(tmp_path, hook) for hook in hooks])
    assert all(words in said for said in refused(config, tmp_path, capsys))


@pytest.mark.parametrize("hook", ["blocks.1.hook_attn_out", "blocks.1.attn.hook_z"])
def test_a_width_of_another_model(world: World, tmp_path, capsys, hook):
    config = world.config(tmp_path, saes=[saved_sae(tmp_path, hook, width=16)])
    words = "of width 16, but the base's is 32 wide; it belongs to another model."
    assert all(words in said for said in refused(config, tmp_path, capsys))


def test_a_replica_of_another_point(world: World, tmp_path, capsys):
    one, other = (saved_sae(tmp_path, f"blocks.1.{name}") for name in ("hook_mlp_out", "hook_attn_out"))
    config = world.config(tmp_path, saes=[one], replicas=[other])
    words = "is of attn_out, the dictionary of layer 1 of mlp_out; give one of the same point."
    assert all(words in said for said in refused(config, tmp_path, capsys))


@pytest.mark.parametrize(
    ("shape", "hook", "words"),
    [
        (PARALLEL, "blocks.1.hook_resid_mid", "reads resid_mid (the residual stream between attention and MLP), which layer 1"),
        (WITHOUT_ATTENTION, "blocks.1.attn.hook_z", "which layer 1 of the base, of the family mamba, does not have; it has"),
        (WITHOUT_ATTENTION, "blocks.1.hook_mlp_out", "which layer 1 of the base, of the family mamba, does not have; it has"),
    ],
    ids=["parallel", "mamba-z", "mamba-mlp"],
)
def test_what_the_base_lacks(world: World, tmp_path, capsys, shape, hook, words):
    variants = {"x": {"planted": {"layer": 1, "feature": 0}}}
    base = base_of(tmp_path / "base", shape)
    config = world.config(tmp_path, base=base, variants=variants, saes=[saved_sae(tmp_path, hook)])
    assert all(words in said for said in refused(config, tmp_path, capsys))


def test_what_the_base_computes_otherwise(world: World, tmp_path, capsys):
    """Only a trial with weights tells."""
    variants = {"x": {"planted": {"layer": 1, "feature": 0}}}
    base = base_of(tmp_path / "base", SCALED)
    config = world.config(tmp_path, base=base, variants=variants, saes=[saved_sae(tmp_path, "blocks.1.hook_mlp_out")])
    [said] = refused(config, tmp_path, capsys, ("run",))
    assert "cannot be read at mlp_out (what the MLP adds to the residual stream) of layer 1: what its modules give" in said
