"""Tiny random models of many architectures, and where in their modules the points of a block are: written by hand from their
code in transformers, so that what :mod:`extract.models.layout` finds by names is held against something else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

LAYERS = 3
WORDS = {"vocab_size": 60}
MARKS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA = {
    "hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "intermediate_size": 48, **WORDS, **MARKS,
}  # fmt: skip
NEOX = {key: value for key, value in LLAMA.items() if key not in ("num_key_value_heads", "head_dim", *MARKS)}
GPT2 = {"n_embd": 32, "n_layer": LAYERS, "n_head": 4, "n_positions": 64, **WORDS, **MARKS}
OPT = {"hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "ffn_dim": 64, **WORDS}
OPT |= {"max_position_embeddings": 64}
MAMBA = {"hidden_size": 32, "num_hidden_layers": LAYERS, "state_size": 8, **WORDS, **MARKS}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
SHARED = {"shared_expert_intermediate_size": 16}
FULL = {"layer_types": ["full_attention"] * LAYERS}
LINEAR = {"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
DEEPSEEK = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "head_dim": 8,
    "num_key_value_heads": 4, "n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2,
    "moe_intermediate_size": 16, "first_k_dense_replace": 1,
}  # fmt: skip
ROPE = {"rope_theta": 10000.0, "rope_type": "default"}
VISION = {"hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32,
          "patch_size": 8, "model_type": "pixtral"}  # fmt: skip
QWEN_VISION = {"depth": LAYERS, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "out_hidden_size": 32}


@dataclass(frozen=True)
class Architecture:
    """One architecture, tiny.

    Attributes:
        settings: of its configuration.
        family: its ``model_type``.
        blocks: path of its list of blocks.
        attention: what attention gives, as it is added to the residual stream; "" where no layer has attention.
        projection: what reads the heads, side by side.
        norm: that only the MLP reads; "" where there is none.
        mlp: what is called with the MLP's input.
        mlp_out: what the MLP gives, as it is added; None: what ``mlp`` gives.
        mixers: of the layers that have something else in the place of attention, layer -> what it adds.
        gain: what a norm multiplies by is its weight and this.
        scale: what the family multiplies what it adds by.
        parallel: whether attention and MLP read the same.
        embedding: what the family multiplies embeddings by.
        refused: points that its modules have, where it computes something else: refused by a trial.
        in_test: whether it is tried in ``make test`` too.
    """

    settings: Mapping[str, Any]
    family: str
    blocks: str = "model.layers"
    attention: str = "self_attn"
    projection: str = "self_attn.o_proj"
    norm: str = "post_attention_layernorm"
    mlp: str = "mlp"
    mlp_out: str | None = None
    mixers: Mapping[int, str] = field(default_factory=dict)
    gain: float = 0.0
    scale: float = 1.0
    parallel: bool = False
    embedding: float = 1.0
    refused: tuple[str, ...] = ()
    in_test: bool = False

    def config(self) -> PretrainedConfig:
        """Its configuration."""
        return CONFIG_MAPPING[self.family](**self.settings)

    def points(self, layer: int) -> tuple[str, ...]:
        """What a block has, in the order in which it is computed."""
        has = {"resid_pre": True, "resid_post": True, "embed": layer == 0}
        has["attn_z"] = has["attn_out"] = bool(self.attention) and layer not in self.mixers
        has["mlp_in"] = has["mlp_out"] = bool(self.mlp)
        has["resid_mid"] = bool(self.mlp) and not self.parallel
        has["mlp_in_normalized"] = bool(self.mlp) and bool(self.norm)
        has["attn_z"] &= bool(self.projection)
        return tuple(point for point in POINTS if has[point])

    def works(self, layer: int) -> tuple[str, ...]:
        """Those of them that are read and written."""
        return tuple(point for point in self.points(layer) if point not in self.refused)

    def layers(self, point: str) -> list[int]:
        """Layers at which a point is read and written."""
        return [layer for layer in range(LAYERS) if point in self.works(layer)]

    def hook(self, layer: int, point: str) -> str | None:
        """The name of Hugging Face's that sae-lens would write for a point; None where it has none."""
        paths = {
            "resid_pre": ".input",
            "resid_post": "",
            "attn_z": f".{self.projection}.input",
            "attn_out": f".{self.attention}",
            "mlp_in": f".{self.mlp}.input",
            "mlp_out": f".{self.mlp_out or self.mlp}",
        }
        return f"{self.blocks}.{layer}{paths[point]}" if point in paths else None


POINTS = ("embed", "resid_pre", "attn_z", "attn_out", "resid_mid", "mlp_in_normalized", "mlp_in", "mlp_out", "resid_post")


def _like_llama(family: str, settings: Mapping[str, Any] | None = None, **others: Any) -> Architecture:
    return Architecture({**LLAMA, **(settings or {})}, family, **others)


def _like_gemma(family: str, **others: Any) -> Architecture:
    norms = {
        "attention": "post_attention_layernorm",
        "norm": "pre_feedforward_layernorm",
        "mlp_out": "post_feedforward_layernorm",
    }
    return _like_llama(family, FULL, **{**norms, "gain": 1.0, "embedding": 32**0.5, **others})


def _like_gpt2(family: str, settings: Mapping[str, Any] | None = None, **others: Any) -> Architecture:
    names = {"blocks": "transformer.h", "attention": "attn", "projection": "attn.c_proj", "norm": "ln_2"}
    return Architecture({**GPT2, **(settings or {})}, family, **{**names, **others})


def _like_gptj(family: str) -> Architecture:
    return _like_gpt2(family, {"rotary_dim": 4}, projection="attn.out_proj", norm="", parallel=True)


def _like_opt(family: str, settings: Mapping[str, Any], blocks: str, **others: Any) -> Architecture:
    names = {"projection": "self_attn.out_proj", "norm": "final_layer_norm", "mlp": "fc1", "mlp_out": "fc2"}
    return Architecture(settings, family, blocks, **{**names, **others})


def _like_olmo2(family: str) -> Architecture:
    return _like_llama(
        family, FULL, attention="post_attention_layernorm", norm="", mlp_out="post_feedforward_layernorm"
    )  # fmt: skip


def _mixer_only(family: str, **settings: Any) -> Architecture:
    nothing = {"attention": "", "projection": "", "norm": "", "mlp": ""}
    return Architecture({**MAMBA, **settings}, family, "backbone.layers", **nothing)


def _of_images(family: str, text: Mapping[str, Any], vision: Mapping[str, Any]) -> Architecture:
    settings = {"text_config": {**LLAMA, **text}, "vision_config": dict(vision)}
    return Architecture(settings, family, "model.language_model.layers")


IN_ATTENTION = ("attn_out", "resid_mid")
ARCHITECTURES: dict[str, Architecture] = {
    "llama": _like_llama("llama", in_test=True),
    "gpt2": _like_gpt2("gpt2", in_test=True),
    "gpt_neox": Architecture(
        NEOX, "gpt_neox", "gpt_neox.layers", "attention", "attention.dense", parallel=True, in_test=True
    ),
    "gemma3_text": _like_gemma("gemma3_text", in_test=True),
    "qwen3_moe": _like_llama("qwen3_moe", EXPERTS, in_test=True),
    "mamba": Architecture(
        MAMBA, "mamba", "backbone.layers", attention="", projection="", norm="", mlp="", in_test=True
    ),
    "mistral": _like_llama("mistral"),
    "ministral": _like_llama("ministral", FULL),
    "qwen2": _like_llama("qwen2"),
    "qwen3": _like_llama("qwen3"),
    "phi3": _like_llama("phi3"),
    "olmo": _like_llama("olmo"),
    "smollm3": _like_llama("smollm3"),
    "arcee": _like_llama("arcee"),
    "seed_oss": _like_llama("seed_oss"),
    "ernie4_5": _like_llama("ernie4_5"),
    "helium": _like_llama("helium"),
    "glm": _like_llama("glm"),
    "internlm3": _like_llama("internlm3"),
    "bitnet": _like_llama("bitnet"),
    "moshi": _like_llama("moshi"),
    "hunyuan_v1_dense": _like_llama("hunyuan_v1_dense"),
    "starcoder2": _like_llama("starcoder2"),
    "stablelm": _like_llama("stablelm"),
    "nemotron": _like_llama("nemotron", gain=1.0),
    "granite": _like_llama("granite", {"residual_multiplier": 0.5, "embedding_multiplier": 3.0}, scale=0.5, embedding=3.0),
    "apertus": _like_llama("apertus", norm="feedforward_layernorm"),
    "glm4": _like_llama("glm4", attention="post_self_attn_layernorm", mlp_out="post_mlp_layernorm"),
    "olmo2": _like_olmo2("olmo2"),
    "olmo3": _like_olmo2("olmo3"),
    "exaone4": _like_olmo2("exaone4"),
    "cohere": _like_llama("cohere", norm="", parallel=True),
    "cohere2": _like_llama("cohere2", FULL, norm="", parallel=True),
    "gemma": _like_llama("gemma", gain=1.0, embedding=32**0.5),
    "gemma2": _like_gemma("gemma2"),
    "gemma4_text": _like_gemma("gemma4_text", gain=0.0, refused=("resid_mid", "mlp_out")),
    "recurrent_gemma": _like_llama(
        "recurrent_gemma", {"lru_width": 32, "block_types": ["recurrent", "recurrent", "attention"]}, attention="",
        projection="", norm="channel_pre_norm", mlp="mlp_block", mixers=dict.fromkeys(range(LAYERS), "temporal_block"),
        gain=1.0, embedding=5.65625,  # the root of 32, in bfloat16
    ),
    "mixtral": _like_llama("mixtral", LOCAL),
    "qwen2_moe": _like_llama("qwen2_moe", EXPERTS | SHARED),
    "olmoe": _like_llama("olmoe", EXPERTS),
    "granitemoe": _like_llama("granitemoe", LOCAL, mlp="block_sparse_moe"),
    "gpt_oss": _like_llama("gpt_oss", LOCAL | FULL),
    "deepseek_v3": _like_llama("deepseek_v3", DEEPSEEK),
    "llama4_text": _like_llama("llama4_text", mlp="feed_forward"),
    "minimax": _like_llama("minimax", LOCAL | FULL, refused=("attn_out", "resid_mid", "mlp_out")),
    "jamba": _like_llama(
        "jamba",
        {"num_experts": 2, "attn_layer_offset": 1, "attn_layer_period": 2, "mamba_d_state": 4, "use_mamba_kernels": False},
        norm="pre_ff_layernorm", mlp="feed_forward", mixers={0: "mamba", 2: "mamba"},
    ),
    "lfm2": _like_llama(
        "lfm2", {"layer_types": ["full_attention", "conv", "full_attention"]}, projection="self_attn.out_proj",
        norm="ffn_norm", mlp="feed_forward", mixers={1: "conv"},
    ),
    "qwen3_next": _like_llama(
        "qwen3_next", EXPERTS | SHARED | LINEAR | {"layer_types": ["linear_attention", "full_attention", "linear_attention"]},
        mixers={0: "linear_attn", 2: "linear_attn"}, gain=1.0,
    ),
    "mamba2": _mixer_only("mamba2", num_heads=8, head_dim=8, n_groups=1, expand=2),
    "gpt_neo": Architecture(
        {"hidden_size": 32, "num_layers": LAYERS, "num_heads": 4, "attention_types": [[["global"], LAYERS]],
         "max_position_embeddings": 64, **WORDS},
        "gpt_neo", "transformer.h", "attn", "attn.attention.out_proj", "ln_2",
    ),
    "gpt_bigcode": _like_gpt2("gpt_bigcode"),
    "gptj": _like_gptj("gptj"),
    "codegen": _like_gptj("codegen"),
    "falcon": Architecture(
        NEOX, "falcon", "transformer.h", "self_attention", "self_attention.dense", norm="", parallel=True
    ),
    "phi": Architecture(NEOX, "phi", projection="self_attn.dense", norm="", parallel=True),
    "persimmon": Architecture(NEOX, "persimmon", projection="self_attn.dense"),
    "bloom": Architecture(
        {"hidden_size": 32, "n_layer": LAYERS, "n_head": 4, **WORDS}, "bloom", "transformer.h", "self_attention.dense",
        "self_attention.dense", mlp_out="mlp.dense_4h_to_h",
    ),
    "mpt": Architecture(
        {"d_model": 32, "n_layers": LAYERS, "n_heads": 4, "max_seq_len": 64, **WORDS}, "mpt", "transformer.blocks", "attn",
        "attn.out_proj", "norm_2", "ffn", "ffn.down_proj",
    ),
    "opt": _like_opt("opt", OPT | {"word_embed_proj_dim": 32}, "model.decoder.layers"),
    "opt-350m": _like_opt(
        "opt", OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False}, "model.decoder.layers", norm="",
        refused=("attn_out", "resid_mid", "mlp_out"),
    ),
    "biogpt": _like_opt("biogpt", NEOX | {"max_position_embeddings": 64}, "biogpt.layers", embedding=32**0.5),
    "xglm": _like_opt(
        "xglm", {"d_model": 32, "num_layers": LAYERS, "attention_heads": 4, "ffn_dim": 64, **WORDS}, "model.layers",
        embedding=32**0.5,
    ),
    "qwen2_5_vl": _of_images(
        "qwen2_5_vl", {"model_type": "qwen2_5_vl_text", "rope_parameters": ROPE | {"mrope_section": [1, 1, 2]}}, QWEN_VISION
    ),
    "mistral3": _of_images("mistral3", {"model_type": "mistral"}, VISION),
}  # fmt: skip


@lru_cache(maxsize=2)
def tiny(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A random model in evaluation mode, whose norms' gains and biases are random too."""
    config = ARCHITECTURES[name].config()
    torch.manual_seed(0)
    kind = AutoModelForCausalLM if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else AutoModelForImageTextToText
    model = kind.from_config(config).to(dtype).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model
