"""Where in a model an activation is read, edited, and resumed from: a point of a layer. A further point is an entry of POINTS.

An activation is read by a hook, not from ``output_hidden_states``, whose last entry has already passed the final norm.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from store.errors import UserError

RESID_POST = "resid_post"


@dataclass(frozen=True)
class Point:
    """A place that every layer has.

    Attributes:
        hooks: what its hooks are called (a regular expression, whose group is a number) -> what to add to that for the layer.
        modules: (decoder blocks, layer) -> the modules that need not run where the activation there is given; it is the output
            of the last of them, or the first of several.
    """

    hooks: Mapping[str, int]
    modules: Callable[[Sequence[nn.Module], int], Sequence[nn.Module]]


POINTS = {
    RESID_POST: Point(
        hooks={
            r"blocks\.(\d+)\.hook_resid_post": 0,  # TransformerLens
            r"blocks\.(\d+)\.hook_resid_pre": -1,
            r"(?:\w+\.)*(?:layers|h|blocks)\.(\d+)(?:\.output)?": 0,  # Hugging Face, as sae-lens writes it to hf_hook_name
        },
        modules=lambda blocks, layer: blocks[: layer + 1],
    ),
}
"""Point -> how it is found. ``resid_post`` is the residual stream after a decoder block."""


@dataclass(frozen=True)
class Site:
    """A point of a layer; a run, and a store, has one point, so that there the layer names it.

    Attributes:
        layer: number of the decoder block.
        point: of POINTS.
    """

    layer: int
    point: str

    @classmethod
    def of_hook(cls, hook_name: str) -> "Site":
        """What a dictionary's hook name means, in Hugging Face's or in TransformerLens' words.

        Raises:
            UserError: it means no site that is read here.
        """
        for name, point in POINTS.items():
            for pattern, offset in point.hooks.items():
                if (match := re.fullmatch(pattern, hook_name)) and (layer := int(match[1]) + offset) >= 0:
                    return cls(layer, name)
        raise UserError(
            f"The dictionary's hook '{hook_name}' is not a residual stream output (resid_post); "
            "use a dictionary trained on the output of a decoder block."
        )

    def module(self, model: nn.Module) -> nn.Module:
        """The module whose output is the activation.

        Raises:
            UserError: the model has no such layer, or no decoder blocks.
        """
        blocks = decoder_blocks(model)
        if not 0 <= self.layer < len(blocks):
            raise UserError(f"The model has layers 0 to {len(blocks) - 1}, so layer {self.layer} cannot be read.")
        return self._modules(blocks)[-1]

    def _modules(self, blocks: nn.ModuleList) -> Sequence[nn.Module]:
        return POINTS[self.point].modules(list(blocks), self.layer)

    @contextmanager
    def edit(self, model: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
        """Replace the activation during forward passes inside the context.

        Hooks run in the order in which they were set: one that is set later reads, or edits, what this one leaves.

        Args:
            change: [batch, position, d_model] in the model's dtype -> the same shape and dtype.
        """

        def hook(_module: nn.Module, _inputs: tuple, output: Any) -> Any:
            activation, beside = apart(output)
            return together(change(activation), beside)

        handle = self.module(model).register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def resume(self, model: nn.Module, activation: torch.Tensor, beside: tuple | None) -> Iterator[None]:
        """Forward passes inside the context take the activation as given, and compute only what comes after it.

        Args:
            activation: [batch, position, d_model] in the model's dtype.
            beside: what the module gives beside it (:func:`apart`).
        """

        def given(*_inputs: Any, **_options: Any) -> Any:
            return together(activation, beside)

        skipped = self._modules(decoder_blocks(model))
        own = [module.__dict__.get("forward") for module in skipped]  # accelerate puts one there
        try:
            for module in skipped:
                module.forward = given
            yield
        finally:
            for module, forward in zip(skipped, own, strict=True):
                if forward is None:
                    del module.forward
                else:
                    module.forward = forward


@dataclass(frozen=True)
class PlantedChange:
    """A change of the base that is ready to be made.

    Attributes:
        site: where.
        of: (activation [batch, position, d_model], input_ids [batch, position]) -> the changed one, same shape and dtype.
    """

    site: Site
    of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def apart(output: Any) -> tuple[Any, tuple | None]:
    """(the activation [batch, position, d_model] in a module's output, what else a tuple has, or None where it is none)."""
    return (output[0], tuple(output[1:])) if isinstance(output, (tuple, list)) else (output, None)


def together(activation: torch.Tensor, beside: tuple | None) -> torch.Tensor | tuple:
    """The inverse of :func:`apart`, for an activation [batch, position, d_model]."""
    return activation if beside is None else (activation, *beside)


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
