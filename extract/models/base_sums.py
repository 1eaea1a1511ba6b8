"""The base's weights as they were, by their sums, to see whether an adapter changed them."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn


class Untouched:
    """The base's weights as they are before an adapter, to see whether one changed them.

    Some ways to begin an adapter write past torch's count of a tensor's versions, so each tensor's sum is kept; a sum reads the
    weights once, which takes far less than loading them.
    """

    def __init__(self, base: nn.Module) -> None:
        self._sums = [(tensor, _sum(tensor)) for tensor in _tensors(base)]

    def follow(self, copies: Mapping[int, Any]) -> None:
        """Go on with a copy of the base; copies: id of a tensor -> its copy, the memo of ``copy.deepcopy``."""
        self._sums = [(copies[id(tensor)], before) for tensor, before in self._sums]

    def is_broken(self, model: nn.Module) -> bool:
        """Whether a tensor of the base is no longer in a model with adapters, or holds other numbers."""
        present = {id(tensor) for tensor in _tensors(model)}
        return any(id(tensor) not in present or _sum(tensor) != before for tensor, before in self._sums)


def _sum(tensor: torch.Tensor) -> float:
    if tensor.is_floating_point() and tensor.itemsize == 1:  # of quantised weights, which torch does not add up
        tensor = tensor.view(torch.uint8)
    return 0.0 if tensor.is_meta else float(tensor.sum(dtype=torch.float64))


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()
