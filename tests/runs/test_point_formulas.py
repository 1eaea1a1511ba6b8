"""Points of a block against one architecture written out as a formula, and gradients through what is above them."""

import pytest
import torch
from torch import nn

from extract.models.hooks import capture_activations, run_truncated
from extract.models.sites import Site
from tests.support.architectures import ARCHITECTURES, LAYERS, POINTS, tiny
from tests.support.points_by_hand import IDS, MASK, by_hand, logits, other


def llama_by_formula(model: nn.Module, point: str, layer: int, given: torch.Tensor) -> torch.Tensor:
    """Logits of Llama in plain tensor operations, with an activation of one layer given."""
    weights, heads, kept, size = model.state_dict(), 4, 2, 8
    steps = torch.arange(3)
    angles = steps[:, None] * 10000.0 ** (-torch.arange(0, size, 2) / size).repeat(2)[None]
    later = torch.full((3, 3), -torch.inf).triu(1)

    def normed(x: torch.Tensor, name: str) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weights[f"{name}.weight"]

    def turned(x: torch.Tensor) -> torch.Tensor:
        half = torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1)
        return x * angles.cos() + half * angles.sin()

    def instead(at: str, block: int, x: torch.Tensor) -> torch.Tensor:
        return given if (at, block) == (point, layer) else x

    stream = instead("embed", 0, weights["model.embed_tokens.weight"][IDS])
    for block in range(LAYERS):
        own = {key.removeprefix(f"model.layers.{block}."): weight for key, weight in weights.items()}
        stream = instead("resid_pre", block, stream)
        read = normed(stream, f"model.layers.{block}.input_layernorm")
        q, k, v = (
            (read @ own[f"self_attn.{name}_proj.weight"].T).reshape(2, 3, -1, size).transpose(1, 2) for name in ("q", "k", "v")
        )
        k, v = (x.repeat_interleave(heads // kept, 1) for x in (turned(k), v))
        seen = (turned(q) @ k.mT / size**0.5 + later).softmax(-1) @ v
        z = instead("attn_z", block, seen.transpose(1, 2).reshape(2, 3, -1))
        stream = stream + instead("attn_out", block, z @ own["self_attn.o_proj.weight"].T)
        stream = instead("resid_mid", block, stream)
        scaled = stream / (stream.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        scaled = instead("mlp_in_normalized", block, scaled)
        read = instead("mlp_in", block, scaled * own["post_attention_layernorm.weight"])
        gate, up = read @ own["mlp.gate_proj.weight"].T, read @ own["mlp.up_proj.weight"].T
        stream = stream + instead("mlp_out", block, (torch.nn.functional.silu(gate) * up) @ own["mlp.down_proj.weight"].T)
        stream = instead("resid_post", block, stream)
    return normed(stream, "model.norm") @ weights["lm_head.weight"].T


@pytest.mark.parametrize("point", POINTS)
def test_what_is_written_is_the_formulas(point):
    model = tiny("llama")
    for layer in ARCHITECTURES["llama"].layers(point):
        given = other(by_hand("llama")[layer, point])
        given.requires_grad_(True)
        with Site(layer, point).edit(model, lambda _activation, given=given: given):
            found = logits(model)
        expected = llama_by_formula(model, point, layer, given)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
        slopes = [torch.autograd.grad(of.square().sum(), given)[0] for of in (found, expected)]
        torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", pytest.param("falcon", marks=pytest.mark.thorough)])
def test_gradients_through_what_is_above(name, point):
    """In float64, in which these families compute throughout. Falcon adds in place to what its MLP gives."""
    model = tiny(name, torch.float64)
    for layer in ARCHITECTURES[name].layers(point):
        site = Site(layer, point)
        with capture_activations(model, [site]) as captured:
            run_truncated(model, IDS, MASK)
        at = captured[site].clone()
        given = (at + 0.1 * other(at)).requires_grad_(True)
        steps = [torch.randn(at.shape, generator=torch.Generator().manual_seed(seed), dtype=at.dtype) for seed in (2, 3)]

        def value(activation: torch.Tensor, site=site, beside=captured.beside[site]) -> torch.Tensor:
            with site.resume(model, activation, beside):
                return logits(model).square().sum()

        gradient = torch.autograd.grad(value(given), given)[0]
        with torch.no_grad():
            for step in steps:
                difference = (value(given + 1e-5 * step) - value(given - 1e-5 * step)) / 2e-5
                assert float((gradient * step).sum()) == pytest.approx(float(difference), rel=1e-4, abs=1e-6)
