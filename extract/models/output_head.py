"""The output head of a model, and the norm before it: what they read, and what a direction in the stream does to the logits."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import nn
from transformers import PreTrainedModel

from extract.models.norms import gain_and_bias

NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f")


def final_norm(model: PreTrainedModel) -> nn.Module | None:
    """The norm between the last block and the output head; None where a model has none, since its blocks end in one."""
    decoder = model.get_decoder()
    named = next((getattr(decoder, name) for name in NORMS if isinstance(getattr(decoder, name, None), nn.Module)), None)
    if named is None:
        after = list(decoder.children())
        blocks = [place for place, child in enumerate(after) if isinstance(child, nn.ModuleList)]
        norms = [child for child in after[blocks[-1] + 1 if blocks else 0 :] if "norm" in type(child).__name__.lower()]
        named = norms[-1] if norms else None
    return of_the_base(named)


def final_gain(model: PreTrainedModel) -> torch.Tensor:
    """float32 [d_model]: what the model's last norm multiplies each direction by, apart from its per-token scale."""
    norm = final_norm(model)
    if getattr(norm, "weight", None) is None:
        return torch.ones(model.config.get_text_config().hidden_size, device=model.device)
    return gain_and_bias(norm, len(norm.weight))[0]


def head_input(model: nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """[batch, position, width], what the output head reads."""
    with _capture_head_input(model) as captured, suppress(_StopAtHead):
        model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    return captured.pop()


class _StopAtHead(Exception):
    """Raised when a forward pass comes to the output head, so that no logits are computed there."""


@contextmanager
def _capture_head_input(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """A list that a forward pass inside the context puts the head's input in, [batch, position, width], and ends there."""
    captured: list[torch.Tensor] = []

    def hook(_module: nn.Module, inputs: tuple) -> None:
        captured.append(inputs[0])
        raise _StopAtHead

    handle = model.get_output_embeddings().register_forward_pre_hook(hook)
    try:
        yield captured
    finally:
        handle.remove()


def logit_effects(model: PreTrainedModel, directions: torch.Tensor) -> torch.Tensor:
    """float32 [n, words]: what directions [n, d_model] in the residual stream add to the logits, past the norm's gain."""
    return through_norm(model, directions) @ unembedding(model).T


def through_norm(model: PreTrainedModel, directions: torch.Tensor) -> torch.Tensor:
    """float32 [n, width of the head]: directions past the last norm's gain, and a projection where the head is narrower."""
    directions = directions * final_gain(model)
    project = getattr(model.get_decoder(), "project_out", None)
    return directions if project is None else directions @ of_the_base(project).weight.detach().float().T


def unembedding(model: PreTrainedModel) -> torch.Tensor:
    """float32 [words, width of the head]."""
    return of_the_base(model.get_output_embeddings()).weight.detach().float()


def of_the_base(module: nn.Module | None) -> nn.Module | None:
    """The base's own module where an adapter brought a copy of it or stands around it (PEFT)."""
    module = getattr(module, "original_module", module)
    return getattr(module, "base_layer", module)
