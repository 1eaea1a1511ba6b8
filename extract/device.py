"""Between host and device without waiting: what comes back comes together, as one copy."""

from collections.abc import Sequence

import torch


def to_device(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """A tensor of the host's on a device; the copy is begun, and what is computed with it there comes after it."""
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Fetch:
    """Tensors of one device on their way to the host."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        """Begin."""
        # The widest first, so that each begins where its type may.
        self._order = sorted(range(len(tensors)), key=lambda number: -tensors[number].element_size())
        self._kinds = [(tensor.dtype, tensor.shape) for tensor in tensors]
        device = tensors[0].device if tensors else torch.device("cpu")
        nothing = torch.zeros(0, dtype=torch.uint8, device=device)
        packed = torch.cat([nothing, *(_bytes(tensors[number]) for number in self._order)])
        self._event = None
        self._packed = packed
        if device.type == "cuda":
            self._packed = torch.empty(packed.shape, dtype=torch.uint8, pin_memory=True)
            self._packed.copy_(packed, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def result(self) -> list[torch.Tensor]:
        """The tensors on the host, in the order in which they were given; waits for them."""
        if self._event is not None:
            self._event.synchronize()
        found: list[torch.Tensor] = [self._packed] * len(self._order)
        start = 0
        for number in self._order:
            dtype, shape = self._kinds[number]
            stop = start + shape.numel() * dtype.itemsize
            found[number] = self._packed[start:stop].view(dtype).reshape(shape)
            start = stop
        return found


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
