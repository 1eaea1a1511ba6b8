"""Hooks of torch at the sides of a module (:data:`extract.models.layout.Side`): each calls a function with the activation
there, and puts what it gives, where it gives anything, in its place."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from extract.models.norms import gain_and_bias, normalized

BEFORE_GAIN = "before_gain"
"""An attribute of a tensor."""


def first_argument(arguments: tuple, options: dict) -> torch.Tensor:
    """The activation that a module is called with."""
    return arguments[0] if arguments else options["hidden_states"]


def at_output(on: Callable) -> Callable:
    """A hook of what a module gives."""

    def hook(_module: nn.Module, _inputs: tuple, output: Any) -> Any:
        activation, beside = apart(output)
        found = on(activation)
        return None if found is None else together(found.to(activation.device), beside)

    return hook


def _on_output(module: nn.Module, on: Callable) -> RemovableHandle:
    return module.register_forward_hook(at_output(on))


def _on_input(module: nn.Module, on: Callable) -> RemovableHandle:
    def hook(_module: nn.Module, arguments: tuple, options: dict) -> tuple[tuple, dict] | None:
        activation = first_argument(arguments, options)
        found = on(activation)
        if found is None:
            return None
        found = found.to(activation.device)  # of a model that is spread over devices
        return ((found, *arguments[1:]), options) if arguments else (arguments, {**options, "hidden_states": found})

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _on_stream(module: nn.Module, on: Callable) -> RemovableHandle:
    """The block keeps the tensor that it gives the module, to add to it: it is changed in place."""

    def hook(_module: nn.Module, arguments: tuple, options: dict) -> None:
        activation = first_argument(arguments, options)
        if (found := on(activation)) is not None:
            activation.copy_(found)

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _on_normalized(module: nn.Module, on: Callable) -> RemovableHandle:
    """Between a norm's scaling and its gain. What was put there is kept with what the norm then gives, for later hooks."""

    def hook(norm: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor | None:
        put = getattr(output, BEFORE_GAIN, None)
        found = on(normalized(norm, inputs[0]) if put is None else put)
        if found is None:
            return None
        found = found.to(output.device)
        gain, bias = gain_and_bias(norm, output.shape[-1])
        given = (found * gain + bias).to(output.dtype)
        setattr(given, BEFORE_GAIN, found)
        return given

    return module.register_forward_hook(hook)


HOOKS = {"output": _on_output, "input": _on_input, "stream": _on_stream, "normalized": _on_normalized}


def apart(output: Any) -> tuple[Any, tuple | None]:
    """(the activation [batch, position, width] in a module's output, what else a tuple or a list has, else None)."""
    return (output[0], output[1:]) if isinstance(output, (tuple, list)) else (output, None)


def together(activation: torch.Tensor, beside: tuple | list | None) -> torch.Tensor | tuple | list:
    """The inverse of :func:`apart`, for an activation [batch, position, width]."""
    if beside is None:
        return activation
    return [activation, *beside] if isinstance(beside, list) else (activation, *beside)
