"""Where the points of a decoder block sit in an architecture's modules: by what families call them. What was found by name is
tried on tokens when a model is loaded (:mod:`extract.models.point_trial`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.pytorch_utils import Conv1D

from store.errors import UserError, first_line
from store.points import (
    ATTN_OUT,
    ATTN_Z,
    EMBED,
    MLP_IN,
    MLP_IN_NORMALIZED,
    MLP_OUT,
    RESID_MID,
    RESID_POST,
    RESID_PRE,
    called,
)

ATTENTION = ("self_attn", "attn.attention", "attn", "attention", "self_attention", "norm_attn_norm.attn")
OUT_PROJECTION = ("o_proj", "out_proj", "c_proj", "dense")
MLP = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "mlp_block")
BEFORE_MLP = (
    "pre_feedforward_layernorm", "pre_ff_layernorm", "ffn_norm", "feedforward_layernorm", "ln_2", "norm_2", "channel_pre_norm",
    "norm_attn_norm.norm_2", "post_attention_layernorm",
)  # fmt: skip
"""Norms that only the MLP reads, the surest name first."""
AFTER_ATTENTION, AFTER_MLP = ("post_self_attn_layernorm",), ("post_feedforward_layernorm", "post_mlp_layernorm")
"""Norms of what a sublayer gives, before it is added to the stream; where there is one after the MLP, post_attention_layernorm
is the other."""
PARALLEL = ("use_parallel_residual", "parallel_attn")
"""Settings of families that can let attention and MLP read the same."""
ADD_WITHIN = {
    "bloom": {ATTN_OUT: "self_attention.dense", MLP_OUT: "mlp.dense_4h_to_h"},
    "mpt": {MLP_OUT: "ffn.down_proj"},
}
"""Families whose sublayers add the stream themselves -> the module of what they add to it."""

Side = Literal["output", "input", "stream", "normalized"]
"""Of a module: what it gives; what it is given; the same, which the block goes on with too; that without a norm's gain."""


@dataclass(frozen=True)
class Place:
    """A module of a block, by name ("" is the block), and which side of it."""

    module: str
    side: Side

    @property
    def is_norm(self) -> bool:
        """Whether it is a norm's."""
        return "norm" in self.module.rsplit(".", 1)[-1]

    @classmethod
    def called(cls, path: str, side: str | None) -> "Place":
        """What a module path of Hugging Face means, in a block."""
        return cls(path, "input" if side == "input" else "output")


@dataclass(frozen=True)
class Layout:
    """Where an architecture has the points.

    Attributes:
        blocks: of each layer, point -> place.
        widths: of each layer, of ``attn_z``; 0 where it has none.
        d_model: of every other point.
        family: the architecture's name.
    """

    blocks: Sequence[Mapping[str, Place]]
    widths: Sequence[int]
    d_model: int
    family: str

    def width(self, layer: int, point: str) -> int:
        """Numbers that a token has there."""
        return self.widths[layer] if point == ATTN_Z else self.d_model

    def check(self, layer: int, point: str, what: str) -> None:
        """Refuse a point that a block lacks.

        Args:
            what: wants it, to begin a sentence with.

        Raises:
            UserError: the model has no such layer, or no such point there.
        """
        if layer >= len(self.blocks):
            raise UserError(
                f"{what} reads layer {layer}, but the base has layers 0 to {len(self.blocks) - 1}; it belongs to another model."
            )
        if point not in self.blocks[layer]:
            has = ", ".join(self.blocks[layer])
            raise UserError(
                f"{what} reads {point} ({called(point)}), which layer {layer} of the base, of the family {self.family}, does "
                f"not have; it has {has}."
            )

    def point_at(self, layer: int, place: Place) -> str | None:
        """The point that sits at a place, as a dictionary names it; None where none does."""
        places = self.blocks[layer]
        names = {own: point for point, own in places.items()}
        if (norm := places.get(MLP_IN_NORMALIZED)) is not None:
            names.setdefault(Place(norm.module, "output"), MLP_IN)
        if (mid := places.get(RESID_MID)) is not None:
            names.setdefault(Place(mid.module, "input"), RESID_MID)
        if (attention := places.get(ATTN_OUT)) is not None and "." in attention.module:  # GPT-Neo's stands in another
            outer = attention.module.rsplit(".", 1)[0]
            names |= {Place(outer, "output"): ATTN_OUT} if outer in ATTENTION and attention.module in ATTENTION else {}
        if (z := places.get(ATTN_Z)) is not None and z.module.startswith(f"{places[ATTN_OUT].module}."):
            names.setdefault(Place(z.module, "output"), ATTN_OUT)
        return names.get(place)


def layout_of(config: PretrainedConfig) -> Layout:
    """The layout of an architecture, from its configuration alone.

    Raises:
        UserError: transformers cannot build it.
    """
    return _layout(type(config).model_type, json.dumps(config.to_dict(), sort_keys=True, default=str))


@lru_cache(maxsize=8)
def _layout(family: str, settings: str) -> Layout:
    return of_model(on_meta(CONFIG_MAPPING[family].from_dict(json.loads(settings))))


def on_meta(config: PretrainedConfig) -> nn.Module:
    """A model without its weights, on torch's meta device: no memory is taken.

    Raises:
        UserError: transformers cannot build it from its configuration.
    """
    try:
        with torch.device("meta"):
            kind = AutoModelForCausalLM if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else AutoModel
            return kind.from_config(config, trust_remote_code=False)
    except Exception as error:  # impossible settings surface as whatever its code runs into
        raise UserError(f"The base cannot be built from its config.json: {first_line(error)}") from error


def of_model(model: nn.Module) -> Layout:
    """The layout of a model."""
    config = model.config.get_text_config()
    blocks = decoder_blocks(model)
    places = [places_in(block, config) for block in blocks]
    places[0] = {EMBED: Place("", "input")} | places[0]
    widths = [_width(block, of_block.get(ATTN_Z)) for block, of_block in zip(blocks, places, strict=True)]
    return Layout(places, widths, config.hidden_size, config.model_type)


def places_in(block: nn.Module, config: PretrainedConfig) -> dict[str, Place]:
    """Point -> place, of those that a block has, in the order in which they are computed."""
    within = ADD_WITHIN.get(config.model_type, {})
    attention, mlp = _first(block, ATTENTION), _first(block, MLP)
    projection = attention and _first(block, [f"{attention}.{name}" for name in OUT_PROJECTION])
    after_mlp = _first(block, AFTER_MLP)
    after_attention = _first(block, AFTER_ATTENTION) or (after_mlp and _first(block, ["post_attention_layernorm"]))
    norm = next((name for name in BEFORE_MLP if name != after_attention and _first(block, [name])), None)
    first, last = mlp, mlp
    if mlp is None and _first(block, ["fc1"]) and _first(block, ["fc2"]):  # OPT and its kin have no module of the MLP
        first, last = "fc1", "fc2"
        norm = "final_layer_norm" if getattr(config, "do_layer_norm_before", True) else None
    parallel = any(getattr(config, name, False) for name in PARALLEL) or not (norm or after_mlp or first == "fc1")
    found = {RESID_PRE: Place("", "input")}
    if projection:
        found[ATTN_Z] = Place(projection, "input")
    if attention:
        found[ATTN_OUT] = Place(within.get(ATTN_OUT) or after_attention or attention, "output")
    if first and not parallel:
        found[RESID_MID] = Place(norm or first, "stream")
    if first and norm:
        found[MLP_IN_NORMALIZED] = Place(norm, "normalized")
    if first:
        found[MLP_IN] = Place(first, "input")
        found[MLP_OUT] = Place(within.get(MLP_OUT) or after_mlp or last, "output")
    return found | {RESID_POST: Place("", "output")}


def _first(block: nn.Module, names: Sequence[str]) -> str | None:
    """The first of some modules that a block has."""
    return next((name for name in names if _module(block, name) is not None), None)


def _module(block: nn.Module, name: str) -> nn.Module | None:
    try:
        return block.get_submodule(name)
    except AttributeError:
        return None


def _width(block: nn.Module, place: Place | None) -> int:
    """What the module of a linear map reads; Conv1D, of GPT-2, keeps its weight the other way round."""
    if place is None:
        return 0
    for module in block.get_submodule(place.module).modules():
        if hasattr(module, "in_features"):
            return module.in_features
        if isinstance(module, Conv1D):
            return module.weight.shape[0]
    return 0


def decoder_blocks(model: nn.Module) -> nn.ModuleList:
    """The decoder blocks of any Hugging Face causal model: the ``ModuleList`` of ``num_hidden_layers`` entries.

    Of several such lists the one inside the language model (not that of an image encoder), nearest to its top.

    Raises:
        UserError: the model has no such list.
    """
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    count = config.num_hidden_layers
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    for place in (decoder, model):
        found = [
            (name, module)
            for name, module in place.named_modules()
            if isinstance(module, nn.ModuleList) and len(module) == count
        ]
        if found:
            return min(found, key=lambda pair: pair[0].count("."))[1]
    raise UserError(
        f"The model {type(model).__name__} has no list of {count} decoder blocks, so its residual stream "
        "cannot be read; use a decoder-only Hugging Face model."
    )
