"""Activations of :mod:`tests.support.architectures` read and replaced by torch's plain hooks, on paths written by hand."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache

import torch
from torch import nn

from tests.support.architectures import ARCHITECTURES, LAYERS, Architecture, tiny

IDS = torch.tensor([[5, 6, 7], [8, 9, 7]])
MASK = torch.ones_like(IDS)


def _tensor_of(output) -> torch.Tensor:
    return output[0] if isinstance(output, (tuple, list)) else output


def _in_place_of(output, tensor: torch.Tensor):
    if isinstance(output, (tuple, list)):
        return type(output)([tensor.reshape(output[0].shape), *output[1:]])
    return tensor.reshape(output.shape)


@contextmanager
def at_input(module: nn.Module, on: Callable) -> Iterator[None]:
    def hook(_module, arguments, options):
        found = on(arguments[0] if arguments else options["hidden_states"])
        if found is None:
            return None
        return ((found, *arguments[1:]), options) if arguments else (arguments, options | {"hidden_states": found})

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def at_output(module: nn.Module, on: Callable) -> Iterator[None]:
    def hook(_module, _arguments, output):
        found = on(_tensor_of(output))
        return None if found is None else _in_place_of(output, found)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _block_of(name: str, model: nn.Module, layer: int) -> nn.Module:
    return model.get_submodule(f"{ARCHITECTURES[name].blocks}.{layer}")


def _gain_and_bias(name: str, block: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the norm before the MLP, by its weights."""
    norm = block.get_submodule(ARCHITECTURES[name].norm)
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    gain = torch.ones(32) if weight is None else weight + ARCHITECTURES[name].gain
    return gain, torch.zeros(32) if bias is None else bias


@lru_cache(maxsize=2)
def by_hand(name: str) -> dict[tuple[int, str], torch.Tensor]:
    """Everything of one pass: (layer, point) -> [2, 3, width]."""
    one, model = ARCHITECTURES[name], tiny(name)
    with listened(one, model, range(LAYERS)) as seen, torch.no_grad():
        model(input_ids=IDS, attention_mask=MASK, use_cache=False)
    for layer in range(LAYERS if one.norm else 0):
        gain, bias = _gain_and_bias(name, _block_of(name, model, layer))
        seen[layer, "mlp_in_normalized"] = (seen.pop((layer, "after_norm")) - bias) / gain
    seen[0, "embed"] = _embeddings(name, model)
    return {at: activation.reshape(*IDS.shape, -1) for at, activation in seen.items()}


@contextmanager
def listened(one: Architecture, model: nn.Module, layers: Iterable[int]) -> Iterator[dict[tuple[int, str], torch.Tensor]]:
    """What forward passes inside the context have, the last of them: (layer, point) -> the activation, without a graph.

    Of the norm before the MLP what it gives, as "after_norm".
    """
    seen: dict[tuple[int, str], torch.Tensor] = {}

    def keep(layer: int, point: str) -> Callable:
        def on(activation: torch.Tensor) -> None:
            seen[layer, point] = activation.detach().clone()

        return on

    with ExitStack() as stack:
        for layer in layers:
            block = model.get_submodule(f"{one.blocks}.{layer}")
            stack.enter_context(at_input(block, keep(layer, "resid_pre")))
            stack.enter_context(at_output(block, keep(layer, "resid_post")))
            if one.mlp:
                stack.enter_context(at_input(block.get_submodule(one.mlp), keep(layer, "mlp_in")))
                stack.enter_context(at_output(block.get_submodule(one.mlp_out or one.mlp), keep(layer, "mlp_out")))
                if not one.parallel:
                    stack.enter_context(at_input(block.get_submodule(one.norm or one.mlp), keep(layer, "resid_mid")))
                if one.norm:
                    stack.enter_context(at_output(block.get_submodule(one.norm), keep(layer, "after_norm")))
            if one.attention and layer not in one.mixers:
                stack.enter_context(at_input(block.get_submodule(one.projection), keep(layer, "attn_z")))
                stack.enter_context(at_output(block.get_submodule(one.attention), keep(layer, "attn_out")))
        yield seen


@torch.no_grad()
def _embeddings(name: str, model: nn.Module) -> torch.Tensor:
    rows = model.get_input_embeddings().weight[IDS] * ARCHITECTURES[name].embedding
    if name == "bloom":
        return model.transformer.word_embeddings_layernorm(rows)
    return model.model.decoder.project_in(rows) if name == "opt-350m" else rows


@contextmanager
def replaced_by_hand(name: str, model: nn.Module, layer: int, point: str, given: torch.Tensor) -> Iterator[None]:
    """Passes whose activation at a point is given, by what comes before it: of the stream what is added to it."""
    one, block, own = ARCHITECTURES[name], _block_of(name, model, layer), by_hand(name)[layer, point]
    if point == "embed":
        with at_input(block, lambda stream: stream + (given - own)):
            yield
    elif point == "resid_mid":
        added = block.get_submodule(one.mixers.get(layer, one.attention))
        with at_output(added, lambda output: output + ((given - own) / one.scale).reshape(output.shape)):
            yield
    elif point == "mlp_in_normalized":
        gain, bias = _gain_and_bias(name, block)
        with at_output(block.get_submodule(one.norm), lambda output: (given * gain + bias).reshape(output.shape)):
            yield
    else:
        path, at = {
            "resid_pre": ("", at_input), "resid_post": ("", at_output), "attn_z": (one.projection, at_input),
            "attn_out": (one.attention, at_output),
            "mlp_in": (one.mlp, at_input), "mlp_out": (one.mlp_out or one.mlp, at_output),
        }[point]  # fmt: skip
        with at(block.get_submodule(path), lambda activation: given.clone().reshape(activation.shape)):
            yield


def logits(model: nn.Module) -> torch.Tensor:
    return model(input_ids=IDS, attention_mask=MASK, use_cache=False).logits


def other(activation: torch.Tensor) -> torch.Tensor:
    """A given activation in the place of one: about as large, and quite different."""
    noise = torch.randn(activation.shape, generator=torch.Generator().manual_seed(1)).to(activation)
    return activation + activation.std() * noise
