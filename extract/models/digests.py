"""Hashes of weights, to tell models and dictionaries apart."""

import hashlib
from collections.abc import Mapping

import torch


def tensors_digest(tensors: Mapping[str, torch.Tensor], extra: str = "") -> str:
    """SHA-256 over named tensors: names, types, shapes and bytes."""
    total = hashlib.sha256(extra.encode())
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().cpu().contiguous()
        total.update(f"{name}{flat.dtype}{tuple(flat.shape)}".encode())
        total.update(flat.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
