"""Hooks, models and dictionaries: what is read is what transformers and sae-lens say it is."""

import pytest
import torch
from sae_lens import SAE
from transformers import AutoModelForCausalLM

from extract.config import load_config
from extract.corpus.token_texts import token_texts
from extract.models.hooks import capture_activations, run_truncated
from extract.models.layout import decoder_blocks
from extract.models.loading import load_tokenizer
from extract.models.model_set import ModelSet
from extract.models.output_head import final_gain
from extract.models.sites import Site
from extract.saes.decoder_rows import promoted_tokens
from extract.saes.dictionary import Dictionary
from store.errors import UserError
from store.points import RESID_POST
from tests.support.world import make_sae


@pytest.mark.parametrize(
    ("name", "layer", "point"),
    [
        ("blocks.12.hook_resid_post", 12, "resid_post"),
        ("model.layers.5.output", 5, "resid_post"),
        ("model.layers.5", 5, "resid_post"),
        ("language_model.model.layers.7", 7, "resid_post"),
        ("transformer.h.3", 3, "resid_post"),
        ("gpt_neox.layers.3", 3, "resid_post"),
        ("blocks.12.hook_resid_pre", 12, "resid_pre"),
        ("model.layers.5.input", 5, "resid_pre"),
        ("hook_embed", 0, "embed"),
        ("blocks.3.hook_resid_mid", 3, "resid_mid"),
        ("blocks.3.hook_mlp_in", 3, "resid_mid"),
        ("blocks.3.attn.hook_z", 3, "attn_z"),
        ("model.layers.3.self_attn.o_proj.input", 3, "attn_z"),
        ("transformer.h.3.attn.c_proj.input", 3, "attn_z"),
        ("gpt_neox.layers.3.attention.dense.input", 3, "attn_z"),
        ("blocks.3.hook_attn_out", 3, "attn_out"),
        ("model.layers.3.self_attn", 3, "attn_out"),
        ("blocks.3.hook_mlp_out", 3, "mlp_out"),
        ("model.layers.3.mlp.output", 3, "mlp_out"),
        ("model.layers.3.post_feedforward_layernorm.output", 3, "mlp_out"),
        ("model.layers.3.pre_feedforward_layernorm.output", 3, "mlp_in"),
        ("blocks.3.mlp.hook_in", 3, "mlp_in"),
        ("blocks.3.ln2.hook_normalized", 3, "mlp_in_normalized"),
    ],
)
def test_site_of_hook(name, layer, point):
    assert Site.of_hook(name) == Site(layer, point)


@pytest.mark.parametrize("name", ["", "blocks.1.attn.hook_q", "blocks.1.mlp.hook_post", "layers.3.mlp.gate_proj", "layers.x"])
def test_hooks_that_are_no_point(name):
    with pytest.raises(UserError, match="no point that is read here"):
        Site.of_hook(name)


def at(*layers):
    return [Site(layer, RESID_POST) for layer in layers]


@pytest.fixture(scope="module")
def base(world):
    return AutoModelForCausalLM.from_pretrained(world.base).eval()


@pytest.fixture(scope="module")
def ids():
    return torch.arange(10, 30).reshape(2, 10)


def test_captured_residuals_are_the_hidden_states(base, ids):
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        expected = base(ids, output_hidden_states=True).hidden_states
    with capture_activations(base, at(0, 3)) as residuals:
        run_truncated(base, ids, mask)
    assert torch.equal(residuals[Site(0, RESID_POST)], expected[1])
    assert torch.equal(residuals[Site(3, RESID_POST)], expected[4])


def test_nothing_above_the_last_layer_is_computed(base, ids):
    reached = []
    handle = decoder_blocks(base)[3].register_forward_hook(lambda *_: reached.append(3))
    with capture_activations(base, at(1, 2)):
        run_truncated(base, ids, torch.ones_like(ids))
    handle.remove()
    assert reached == []


def test_hooks_leave_even_after_an_error(base):
    before = set(decoder_blocks(base)[1]._forward_hooks)  # transformers keeps some of its own
    with pytest.raises(RuntimeError), capture_activations(base, at(1)):
        assert set(decoder_blocks(base)[1]._forward_hooks) > before
        raise RuntimeError
    assert set(decoder_blocks(base)[1]._forward_hooks) == before


@pytest.fixture(scope="module")
def models(world, tmp_path_factory):
    variants = {
        "tuned": {"adapter": str(world.adapter)},
        "again": {"adapter": str(world.adapter)},
        "whole": {"model": str(world.base)},
    }
    config = load_config(world.config(tmp_path_factory.mktemp("models"), variants=variants))
    return ModelSet(config, "cpu", torch.float32)


def residual(models, name, ids):
    with models.active(name, ids) as model, capture_activations(model, at(3)) as residuals:
        run_truncated(model, ids, torch.ones_like(ids))
    return residuals[Site(3, RESID_POST)]


def test_adapters_share_the_base_and_leave_it_untouched(models, base, ids):
    """Base after adapters are loaded and used = base alone; two names for one adapter agree; and it does change something."""
    before = residual(models, "base", ids)
    tuned = residual(models, "tuned", ids)
    with torch.inference_mode():
        assert torch.equal(before, base(ids, output_hidden_states=True).hidden_states[4])
    assert torch.equal(residual(models, "base", ids), before)
    assert torch.equal(residual(models, "again", ids), tuned)
    assert torch.equal(residual(models, "whole", ids), before)
    assert not torch.equal(tuned, before)
    weights = {p.data_ptr() for n, p in models.base.named_parameters() if "lora" not in n}
    shared = {p.data_ptr() for n, p in models._weights("tuned").named_parameters() if "lora" not in n}
    assert weights == shared


def test_digests_tell_models_apart(models):
    assert models.digests["tuned"] == models.digests["again"]
    assert models.digests["whole"] == models.digests["base"]
    assert models.digests["tuned"] != models.digests["base"]


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("standard", {}),
        ("standard", {"normalize_activations": "layer_norm"}),
        ("standard", {"normalize_activations": "constant_norm_rescale"}),
        ("jumprelu", {"apply_b_dec_to_input": False}),
        ("topk", {"k": 4}),
        ("topk", {"k": 4, "rescale_acts_by_decoder_norm": True}),
        ("gated", {}),
    ],
)
def test_codes_and_reconstructions_are_those_of_sae_lens(architecture, changes):
    torch.manual_seed(0)
    sae = SAE.from_dict(
        {
            "architecture": architecture, "d_in": 16, "d_sae": 40, "dtype": "float32", "device": "cpu",
            "apply_b_dec_to_input": True, "normalize_activations": "none",
            "metadata": {"hook_name": "blocks.1.hook_resid_post"}, **changes,
        }
    )  # fmt: skip
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_()
    dictionary = Dictionary(sae, "test")
    residuals = torch.randn(30, 16) * 5 + 2
    codes, reconstruction = dictionary.encode(residuals)
    dense = torch.zeros(30, 40)
    dense[codes.row, codes.feature] = codes.value
    expected = sae.encode(residuals)
    assert torch.equal(dense, expected)
    torch.testing.assert_close(reconstruction.float(), sae.decode(expected), rtol=1e-4, atol=1e-3)


def test_scaled_activation_is_what_the_decoder_adds():
    """With rescaled TopK the code already carries the norm, so the effective decoder has unit rows."""
    sae = SAE.from_dict(
        {"architecture": "topk", "d_in": 8, "d_sae": 16, "k": 3, "dtype": "float32", "device": "cpu",
         "rescale_acts_by_decoder_norm": True, "metadata": {"hook_name": "blocks.1.hook_resid_post"}}
    )  # fmt: skip
    with torch.no_grad():
        sae.W_dec.mul_(3)
    torch.testing.assert_close(Dictionary(sae, "t").decoder_norm, torch.ones(16, dtype=torch.float64))


def test_token_texts_keep_spaces_and_name_what_has_no_text(world):
    tokenizer = load_tokenizer(str(world.base))
    ids = tokenizer.encode("the dog", add_special_tokens=False)
    assert "".join(token_texts(tokenizer, ids)) == "the dog"
    assert token_texts(tokenizer, [tokenizer.bos_token_id]) == ["<bos>"]
    half = tokenizer.convert_tokens_to_ids("Ã")  # first byte of a two-byte character, in the letters of byte-level BPE
    assert token_texts(tokenizer, [half]) == ["<0xC3>"]


def test_promoted_tokens_are_the_largest_direct_effects(world, tmp_path, base):
    """Against the whole matrix at once, with Gemma's gain stored as 1 + weight."""
    with torch.no_grad():
        base.model.norm.weight.copy_(torch.linspace(-0.5, 0.5, 32))
    torch.testing.assert_close(final_gain(base), 1 + base.model.norm.weight.detach())
    dictionary = Dictionary(SAE.load_from_disk(make_sae(tmp_path / "sae", world.base, 2)), "t")
    found = promoted_tokens(base, dictionary, 3, lambda _n: None)
    unit = dictionary.sae.W_dec / dictionary.sae.W_dec.norm(dim=1, keepdim=True)
    logits = (unit * (1 + base.model.norm.weight)) @ base.lm_head.weight.T
    order = logits.argsort(dim=1, descending=True)
    assert (torch.from_numpy(found["promoted"]) == order[:, :3]).all()
    assert (torch.from_numpy(found["suppressed"]) == order.flip(1)[:, :3]).all()
