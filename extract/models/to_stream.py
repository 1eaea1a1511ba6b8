"""From a point of a block to the residual stream: what a direction there adds to it."""

import torch
from torch import nn

from extract.models.layout import decoder_blocks, places_in
from extract.models.norms import gain_and_bias
from extract.models.output_head import of_the_base
from store.points import ADDED, ATTN_OUT, ATTN_Z, STREAM

TO_STREAM = (*STREAM, *ADDED, ATTN_Z)
"""Points from which a linear map leads to the residual stream; what an MLP reads only comes to it through the MLP."""


@torch.no_grad()
def to_stream(model: nn.Module, layer: int, point: str, directions: torch.Tensor) -> torch.Tensor:
    """What directions [n, width] at a point of TO_STREAM add to the residual stream, float32 [n, d_model].

    Of ``attn_z`` by the output projection, and past the gain of a norm that follows it (Gemma 2), apart from its per-token
    scale.
    """
    directions = directions.float()
    config = model.config.get_text_config()
    if point in STREAM:
        return directions
    scale = getattr(config, "residual_multiplier", 1.0)  # Granite
    if point != ATTN_Z:
        return directions * scale
    block = decoder_blocks(model)[layer]
    places = places_in(block, config)
    projection = of_the_base(block.get_submodule(places[ATTN_Z].module))
    nothing = torch.zeros_like(directions[:1]).to(_dtype(projection))
    written = (projection(directions.to(nothing.dtype)) - projection(nothing)).float() * scale
    after = of_the_base(block.get_submodule(places[ATTN_OUT].module))
    is_norm = "norm" in type(after).__name__.lower()
    return written * gain_and_bias(after, written.shape[-1])[0] if is_norm else written


def _dtype(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
