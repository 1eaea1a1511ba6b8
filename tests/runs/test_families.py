"""Families of models, tiny and random: each is read as transformers computes it, or refused in one sentence; and counted."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    BertConfig,
    CohereConfig,
    Gemma3nTextConfig,
    GptOssConfig,
    MambaConfig,
    Mistral3Config,
    MixtralConfig,
    NemotronConfig,
    OlmoConfig,
    OPTConfig,
    Qwen3MoeConfig,
    T5Config,
    XLMConfig,
    XLNetConfig,
)

from extract.config import RunConfig
from extract.models.hooks import capture_activations, run_truncated
from extract.models.layout import decoder_blocks
from extract.models.loading import load_model
from extract.models.memory import parameters
from extract.models.model_set import ModelSet
from extract.models.output_head import logit_effects
from extract.models.sites import Site
from store.errors import UserError
from store.points import RESID_POST
from tests.support.architectures import ARCHITECTURES, tiny

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 60,
         "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
PLAIN = {key: SMALL[key] for key in ("hidden_size", "num_hidden_layers", "vocab_size")}
OPT_350M = {"word_embed_proj_dim": 16, "do_layer_norm_before": False, "ffn_dim": 64, "num_attention_heads": 2}


def saved(folder, config, kind=AutoModelForCausalLM) -> str:
    """A model, or a random one of a configuration, on disk."""
    if isinstance(config, torch.nn.Module):
        config.save_pretrained(folder)
        return str(folder)
    torch.manual_seed(0)
    model = kind.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return str(folder)


def tried(base: str, device: str, **changes) -> ModelSet:
    planted = {"x": {"planted": {"layer": 1, "feature": 1}}}
    config = {"base": base, "variants": planted, "saes": [{"path": "x"}], "corpus": [{"path": "x"}], "context_length": 16}
    return ModelSet(RunConfig.model_validate(config | changes), device, torch.float32)


@pytest.mark.parametrize(
    ("config", "first"),
    [(MambaConfig(**PLAIN, state_size=8, pad_token_id=0), 0), (OPTConfig(**PLAIN, **OPT_350M), 1), (OlmoConfig(**SMALL), 1),
     (Qwen3MoeConfig(**SMALL, num_key_value_heads=1, head_dim=16, moe_intermediate_size=16, num_experts=4,
                    num_experts_per_tok=2), 1)],
    ids=lambda value: getattr(value, "model_type", value),
)  # fmt: skip
def test_residuals_are_the_models_own_hidden_states(tmp_path, config, first):
    """Mamba's begin with the first block's, others' with the embedding."""
    base = saved(tmp_path / "base", config)
    tried(base, "meta")
    models = tried(base, "cpu")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode(), models.active("base", ids) as model:
        expected = model(input_ids=ids, output_hidden_states=True).hidden_states
        with capture_activations(model, [Site(1, RESID_POST)]) as residuals:
            run_truncated(model, ids, torch.ones_like(ids))
    torch.testing.assert_close(residuals[Site(1, RESID_POST)], expected[1 + first])


@pytest.mark.parametrize("config", [OPTConfig(**PLAIN, **OPT_350M), CohereConfig(**SMALL, logit_scale=1.0),
                                    NemotronConfig(**SMALL, num_key_value_heads=2)],
                         ids=lambda config: config.model_type)  # fmt: skip
def test_promoted_tokens_follow_the_way_to_the_head(tmp_path, config):
    """What a direction adds to the logits is what a step along it does, where the norm's own scale stays as it is."""
    model = load_model(saved(tmp_path / "base", config))
    direction = torch.randn(1, 32, generator=torch.Generator().manual_seed(1))
    if config.model_type == "opt":
        expected = model.lm_head(model.model.decoder.project_out(direction))
    else:
        gain = model.model.norm.weight + (1 if config.model_type == "nemotron" else 0)
        expected = (direction * gain) @ model.lm_head.weight.T
    torch.testing.assert_close(logit_effects(model, direction), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        (XLNetConfig(d_model=32, n_layer=3, n_head=2, d_inner=64, vocab_size=60), {}, r"shape \[3, 2, 32\]"),
        (Gemma3nTextConfig(**SMALL, num_key_value_heads=1, head_dim=16, vocab_size_per_layer_input=60, laurel_rank=4,
                           hidden_size_per_layer_input=8, num_kv_shared_layers=0, activation_sparsity_pattern=None,
                           layer_types=["full_attention"] * 3), {}, r"shape \[4, 2, 3, 32\]"),
        (BertConfig(**SMALL), {"token_kl": 5}, "reads text in both directions.*token_kl: 0"),
        (BertConfig(**SMALL), {}, "promoted_tokens: 0"),
        (MambaConfig(**PLAIN, state_size=8), {"promoted_tokens": 61}, "has 60 output tokens"),
    ],
    ids=["xlnet", "gemma3n", "bert-kl", "bert", "vocabulary"],
)  # fmt: skip
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_what_is_not_one_residual_stream_to_the_next_token(tmp_path, config, changes, words, device):
    base = saved(tmp_path / "base", config)
    with pytest.raises(UserError, match=words):
        tried(base, device, **changes)


def test_an_encoder_is_read_where_nothing_predicts(tmp_path):
    base = saved(tmp_path / "base", BertConfig(**SMALL))
    for device in ("meta", "cpu"):
        tried(base, device, promoted_tokens=0)


def test_a_list_of_modules_that_are_no_blocks(tmp_path):
    """XLM has none, but lists of attentions and of MLPs, each as long as a list of blocks would be."""
    base = saved(tmp_path / "base", XLMConfig(emb_dim=32, n_layers=3, n_heads=2, vocab_size=60))
    with pytest.raises(UserError, match="is not the residual stream"):
        tried(base, "cpu", promoted_tokens=0)


def test_an_encoder_with_a_decoder(tmp_path):
    config = T5Config(d_model=32, num_layers=2, num_heads=2, d_ff=64, vocab_size=60, d_kv=16)
    base = saved(tmp_path / "base", config, AutoModelForSeq2SeqLM)
    for device in ("meta", "cpu"):
        with pytest.raises(UserError, match="'t5', an encoder with a decoder"):
            tried(base, device)


def test_of_a_model_that_reads_images_the_language_model_is_read(tmp_path):
    """Its image encoder has a list of as many blocks, of the same width."""
    vision = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32,
              "patch_size": 8, "model_type": "pixtral"}  # fmt: skip
    text = {**SMALL, "num_key_value_heads": 1, "head_dim": 16, "model_type": "mistral"}
    base = saved(tmp_path / "base", Mistral3Config(text_config=text, vision_config=vision), AutoModelForImageTextToText)
    for device in ("meta", "cpu"):
        models = tried(base, device, token_kl=5)
        assert decoder_blocks(models.base) is models.base.model.language_model.layers


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if one.in_test else pytest.mark.thorough) for name, one in ARCHITECTURES.items()]
)
def test_a_checkpoint_of_each_architecture_is_loaded(tmp_path, name):
    """Saved and read again, with what features promote and with predictions: nothing of it is refused or left out."""
    base, ids = saved(tmp_path / "base", tiny(name)), torch.tensor([[5, 6, 7]])
    for device in ("meta", "cpu"):
        models = tried(base, device, token_kl=5)
    assert not [note for note in models.notes if "not read" in note]
    with torch.inference_mode(), models.active("base", ids) as model:
        torch.testing.assert_close(model(ids, use_cache=False).logits, tiny(name)(ids, use_cache=False).logits)


@pytest.mark.parametrize(
    ("config", "billions", "active"),
    [
        (Qwen3MoeConfig(num_hidden_layers=48, hidden_size=2048, num_attention_heads=32, num_key_value_heads=4, head_dim=128,
                        moe_intermediate_size=768, num_experts=128, num_experts_per_tok=8, vocab_size=151936), 30.5, 2.7),
        (MixtralConfig(), 46.7, 12.6),
        (GptOssConfig(num_hidden_layers=24, num_local_experts=32, num_experts_per_tok=4), 20.9, 3.0),
    ],
    ids=["qwen3-30b-a3b", "mixtral-8x7b", "gpt-oss-20b"],
)  # fmt: skip
def test_parameters_of_mixtures(config, billions, active):
    """As published: all of them, and those that a token passes through (here without embedding and head)."""
    assert parameters(config) / 1e9 == pytest.approx(billions, rel=0.02)
    assert parameters(config, embeddings=False) / 1e9 == pytest.approx(active, rel=0.05)
