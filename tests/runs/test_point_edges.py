"""Where a point was once read or written wrongly, or may be: found by a second way of computing it."""

from types import SimpleNamespace

import pytest
import torch
from sae_lens.saes.transcoder import Transcoder, TranscoderConfig
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma4TextConfig,
    GPT2Config,
    GraniteConfig,
    JambaConfig,
    LlamaConfig,
)

from extract.models.hooks import capture_activations, run_truncated
from extract.models.output_head import logit_effects
from extract.models.point_trial import _alike, _rounding, kind_of_block, try_point
from extract.models.sites import Site
from extract.models.to_stream import to_stream
from extract.saes.dictionary import Dictionary
from store.errors import UserError
from tests.support.world import one_thread

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 60, "pad_token_id": 0}
IDS = torch.tensor([[5, 6, 7], [8, 9, 7]])
MASK = torch.ones_like(IDS)


def made(config) -> torch.nn.Module:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def llama():
    return made(LlamaConfig(**SMALL, num_key_value_heads=2, intermediate_size=48))


@pytest.mark.parametrize(
    "point", ["resid_pre", "attn_z", "attn_out", "resid_mid", "mlp_in_normalized", "mlp_in", "mlp_out", "resid_post"]
)
def test_a_capture_that_is_set_later_reads_what_was_put_there(llama, point):
    site, put = Site(1, point), torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(1))
    with site.edit(llama, lambda _activation: put), capture_activations(llama, [site]) as captured:
        run_truncated(llama, IDS, MASK)
    assert torch.equal(captured[site], put)


def test_what_is_resumed_from_stays_as_it_was_given():
    """Falcon adds what attention gave to what its MLP gives, in place."""
    model, site = made(FalconConfig(**SMALL, new_decoder_architecture=False, multi_query=False)), Site(1, "mlp_out")
    with capture_activations(model, [site]) as captured:
        run_truncated(model, IDS, MASK)
    activation = captured[site].clone().requires_grad_(True)
    before = activation.detach().clone()
    with site.resume(model, activation, captured.beside[site]):
        logits = model(input_ids=IDS, attention_mask=MASK, use_cache=False).logits
    assert torch.equal(activation, before)
    torch.testing.assert_close(logits, model(input_ids=IDS, attention_mask=MASK, use_cache=False).logits)
    (gradient,) = torch.autograd.grad(logits[0, 0, 5], activation)
    assert gradient[0, 0].norm() > 0 and gradient[0, 1:].norm() == 0 == gradient[1].norm()


@pytest.mark.parametrize("point", ["resid_post", "mlp_out", "attn_z"])
def test_blocks_that_share_keys_and_values_are_resumed_from(point):
    config = Gemma4TextConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=8, intermediate_size=48,
        vocab_size=60, num_kv_shared_layers=2, layer_types=["full_attention"] * 4, global_head_dim=8,
        hidden_size_per_layer_input=8, vocab_size_per_layer_input=60, pad_token_id=0,
    )  # fmt: skip
    model, site = made(config), Site(2, point)
    whole = model(input_ids=IDS, attention_mask=MASK, use_cache=False).logits
    with capture_activations(model, [site]) as captured:
        run_truncated(model, IDS, MASK)
    with site.resume(model, captured[site], captured.beside[site]):
        torch.testing.assert_close(model(input_ids=IDS, attention_mask=MASK, use_cache=False).logits, whole)
    with site.resume(model, 2 * captured[site], captured.beside[site]):
        assert not torch.allclose(model(input_ids=IDS, attention_mask=MASK, use_cache=False).logits, whole)


def test_a_transcoder_of_a_centred_model_is_given_the_mlps_input_as_it_is():
    """What is written to the stream has no mean there; what the MLP is given, past its norm's gain, has one."""
    sae = Transcoder(TranscoderConfig(d_in=4, d_out=4, d_sae=6, apply_b_dec_to_input=False))
    sae.cfg.metadata.hook_name, sae.cfg.metadata.hook_name_out = "blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"
    dictionary = Dictionary(sae, "t", centred=True)
    activation = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    assert dictionary.centred and not dictionary.centres(dictionary.reads)
    assert dictionary.prepare(activation).tolist() == [[-2.0, -1.0, 0.0, 3.0]]
    assert dictionary.prepare(activation, dictionary.reads).tolist() == activation.tolist()


@pytest.mark.parametrize(("point", "factor"), [("resid_post", 1.0), ("mlp_out", 0.25), ("attn_z", 0.25)])
def test_what_granite_adds_is_scaled(point, factor):
    """A step along a direction moves the stream, and so the logits before the norm's scale, by that factor of it."""
    config = GraniteConfig(**SMALL, num_key_value_heads=2, intermediate_size=48, residual_multiplier=0.25)
    model = made(config)
    direction = torch.randn(1, 32, generator=torch.Generator().manual_seed(2))
    written = direction @ model.model.layers[1].self_attn.o_proj.weight.T if point == "attn_z" else direction
    torch.testing.assert_close(to_stream(model, 1, point, direction), factor * written, rtol=1e-5, atol=1e-6)
    assert logit_effects(model, to_stream(model, 1, point, direction)).shape == (1, 60)


def test_a_sublayers_output_is_no_norms():
    """TransformerLens' mlp.hook_out is the module's output; of Gemma 2 a norm follows, and hook_mlp_out is that norm's."""
    assert Site.of_hook("blocks.1.mlp.hook_out") == Site(1, "mlp_out")
    places = {"attn_out": SimpleNamespace(is_norm=True), "mlp_out": SimpleNamespace(is_norm=False)}
    layout = SimpleNamespace(blocks=[places])
    assert Site.of_hook("blocks.0.mlp.hook_out", layout) == Site(0, "mlp_out")
    assert Site.of_hook("blocks.0.hook_attn_out", layout) == Site(0, "attn_out")
    with pytest.raises(UserError, match="no point"):
        Site.of_hook("blocks.0.attn.hook_out", layout)


def test_what_rounding_takes_is_not_held_against_a_model():
    """In bfloat16 (8 bits) a token of size 1000 is known to about 8, so that 50 that was added to it cannot be told."""
    stream, added = torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)
    stream[0, :, 0], added[0, :, 1] = torch.tensor([1000.0, 10.0]), torch.tensor([50.0, 5.0])
    other = added.clone()
    other[0, 0] = torch.tensor([0.0, 0.0, 50.0, 0.0])
    assert _rounding(stream.bfloat16()).tolist() == [7.8125, 0.078125]
    assert not _alike(added, other, _rounding(stream))
    assert _alike(added, other, _rounding(stream.bfloat16()))
    other[0, 1] = torch.tensor([0.0, 0.0, 5.0, 0.0])
    assert not _alike(added, other, _rounding(stream.bfloat16()))


def test_a_model_that_overflows_is_told_as_such():
    model = made(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=60, n_positions=16))
    model.transformer.h[1].mlp.c_proj.bias.fill_(float("inf"))
    with pytest.raises(UserError, match=r"NaN or infinite activations at layer 1.*wider dtype"):
        try_point(model, Site(1, "mlp_out"), IDS, "The base 'x'")


def test_one_block_of_each_kind_is_tried(llama):
    """Of a model of a hundred alike one is enough; those that mix attention and others have several kinds."""
    assert len({kind_of_block(llama, layer) for layer in range(3)}) == 1
    mixed = JambaConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48, vocab_size=60,
        num_experts=2, attn_layer_offset=1, attn_layer_period=2, mamba_d_state=4, use_mamba_kernels=False,
        expert_layer_period=9, pad_token_id=0,
    )  # fmt: skip
    kinds = [kind_of_block(made(mixed), layer) for layer in range(3)]
    assert kinds[0] == kinds[2] != kinds[1]
