"""Reading and editing the residual stream: forward hooks that live in a context manager and always leave.

``resid_post`` of layer ``l`` is the output of decoder block ``l``. It is read by a hook, not from
``output_hidden_states``, whose last entry has already passed the final norm.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import nn

from store.errors import UserError


class _StopForward(Exception):
    """Raised by the hook of the last layer needed, so that nothing above it is computed."""


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


def layer_of_hook(hook_name: str) -> int:
    """The layer whose ``resid_post`` a hook name means.

    Understands Hugging Face names (``model.layers.12`` and ``model.layers.12.output``, as sae-lens writes them to
    ``hf_hook_name``) and TransformerLens names (``blocks.12.hook_resid_post``; ``hook_resid_pre`` of layer 13 is
    ``resid_post`` of layer 12).

    Raises:
        UserError: the name is not a residual stream position.
    """
    if match := re.fullmatch(r"blocks\.(\d+)\.hook_resid_(post|pre)", hook_name):
        layer = int(match[1]) - (match[2] == "pre")
        if layer >= 0:
            return layer
    if match := re.fullmatch(r"(?:\w+\.)*(?:layers|h|blocks)\.(\d+)(?:\.output)?", hook_name):
        return int(match[1])
    raise UserError(
        f"The dictionary's hook '{hook_name}' is not a residual stream output (resid_post); "
        "use a dictionary trained on the output of a decoder block."
    )


class Residuals(dict[int, torch.Tensor]):
    """layer -> ``resid_post`` [batch, position, d_model] in the model's dtype.

    Attributes:
        in_tuples: whether the model's blocks return tuples or lists, of which the residual stream is the first.
    """

    in_tuples = False


@contextmanager
def capture_residuals(model: nn.Module, layers: Sequence[int]) -> Iterator[Residuals]:
    """Capture ``resid_post`` of ``layers`` during forward passes inside the context.

    Yields a dictionary that each :func:`run_truncated` call refills.

    Raises:
        UserError: a layer that the model does not have.
    """
    blocks = decoder_blocks(model)
    if too_high := [layer for layer in layers if not 0 <= layer < len(blocks)]:
        raise UserError(f"The model has layers 0 to {len(blocks) - 1}, so layer {too_high[0]} cannot be read.")
    residuals = Residuals()
    last = max(layers)

    def hook_for(layer: int):
        def hook(_module: nn.Module, _inputs: tuple, output) -> None:
            residuals.in_tuples = isinstance(output, (tuple, list))
            residual = output[0] if residuals.in_tuples else output
            residuals[layer] = residual.detach() if isinstance(residual, torch.Tensor) else residual
            if layer == last:
                raise _StopForward

        return hook

    handles = [blocks[layer].register_forward_hook(hook_for(layer)) for layer in sorted(set(layers))]
    try:
        yield residuals
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def run_truncated(model: nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
    """One forward pass that ends after the last captured layer; no logits are computed.

    Args:
        input_ids: [batch, position] token ids, padded on the right.
        attention_mask: [batch, position], 1 where a token is real.
    """
    with suppress(_StopForward):
        model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)


def check_shape(residual: torch.Tensor | None, input_ids: torch.Tensor, d_model: int, what: str) -> None:
    """Refuse what is not one residual stream.

    Args:
        residual: what a block gave; None where it did not run.
        input_ids: [batch, position].
        what: the model in words, to begin a sentence with.

    Raises:
        UserError: it is not [batch, position, d_model].
    """
    wanted = [*input_ids.shape, d_model]
    got = f"arrays of the shape {list(residual.shape)}" if isinstance(residual, torch.Tensor) else "no array"
    if not isinstance(residual, torch.Tensor) or list(residual.shape) != wanted:
        raise UserError(
            f"{what} cannot be read: its blocks give {got} where a residual stream of {wanted} (batch, position, d_model) is "
            "expected; use a model whose blocks give that."
        )


@contextmanager
def edit_residuals(model: nn.Module, layer: int, edit: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Replace ``resid_post`` of a layer during forward passes inside the context.

    Hooks run in the order in which they were set: one that is set later reads, or edits, what this one leaves.

    Args:
        edit: [batch, position, d_model] in the model's dtype -> the same shape and dtype.
    """

    def hook(_module: nn.Module, _inputs: tuple, output):
        if isinstance(output, (tuple, list)):
            return (edit(output[0]), *output[1:])
        return edit(output)

    handle = decoder_blocks(model)[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def resume_after(model: nn.Module, layer: int, hidden: torch.Tensor, in_tuples: bool) -> Iterator[None]:
    """Forward passes inside the context take ``resid_post`` of a layer as given, and compute only what comes after it.

    Args:
        hidden: [batch, position, d_model] in the model's dtype.
        in_tuples: whether the model's blocks return tuples or lists (:class:`Residuals`).
    """

    def given(*_inputs, **_options) -> torch.Tensor | tuple[torch.Tensor]:
        return (hidden,) if in_tuples else hidden

    skipped = decoder_blocks(model)[: layer + 1]
    own = [block.__dict__.get("forward") for block in skipped]  # accelerate puts one there
    try:
        for block in skipped:
            block.forward = given
        yield
    finally:
        for block, forward in zip(skipped, own, strict=True):
            if forward is None:
                del block.forward
            else:
                block.forward = forward


@dataclass(frozen=True)
class PlantedChange:
    """A change that is ready to be made.

    Attributes:
        layer: block whose output is changed.
        of: (hidden [batch, position, d_model], input_ids [batch, position]) -> changed hidden, same shape and dtype.
    """

    layer: int
    of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
