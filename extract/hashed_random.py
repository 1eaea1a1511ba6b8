"""Random numbers that are a hash of what they are for, so that nothing depends on batches, shards, workers or their order."""

import hashlib

import torch

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64, the increment of SplitMix64
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def text_key(*texts: str) -> int:
    """A 63-bit number for a text, or for several in order."""
    digest = hashlib.sha256("\0".join(texts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def mix(keys: torch.Tensor, *salts: int | torch.Tensor) -> torch.Tensor:
    """int64 keys of the shape of ``keys`` (broadcast with the salts), each bit depending on every input's.

    One round of SplitMix64's finaliser (Steele, Lea & Flood 2014) for each input.
    """
    mixed = _finalise(keys)
    for salt in salts:
        mixed = _finalise(mixed ^ (salt * _GOLDEN if isinstance(salt, torch.Tensor) else _wrapped(salt * _GOLDEN)))
    return mixed


def gaussian(keys: torch.Tensor, width: int) -> torch.Tensor:
    """Standard normal numbers, float32 [n, width], a row for each key (int64 [n]); by Box and Muller."""
    pairs = -(-width // 2)
    counter = torch.arange(1, pairs + 1, device=keys.device)
    bits = mix(keys[:, None], counter[None, :])
    radius = (-2 * torch.log(_uniform(bits >> 32))).sqrt()
    angle = _uniform(bits) * (2 * torch.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :width]


def uniform(keys: torch.Tensor) -> torch.Tensor:
    """float32 in (0, 1) like ``keys``."""
    return _uniform(mix(keys))


def below(keys: torch.Tensor, limit: torch.Tensor | int) -> torch.Tensor:
    """int64 like ``keys``: a number from 0 to limit - 1 for each (limit at least 1)."""
    return _shift(mix(keys), 1) % limit


def _uniform(bits: torch.Tensor) -> torch.Tensor:
    """float32 in (0, 1) from the lower 32 bits; 24 of them fit."""
    return ((bits & 0xFFFFFFFF) >> 8).float() * 2.0**-24 + 2.0**-25


def _finalise(value: torch.Tensor) -> torch.Tensor:
    value = value + _GOLDEN
    value = (value ^ _shift(value, 30)) * _MIX_1
    value = (value ^ _shift(value, 27)) * _MIX_2
    return value ^ _shift(value, 31)


def _shift(value: torch.Tensor, by: int) -> torch.Tensor:
    """Logical shift to the right; torch's own copies the sign."""
    return (value >> by) & ((1 << (64 - by)) - 1)


def _wrapped(number: int) -> int:
    """A Python integer as int64 arithmetic would have it."""
    return (number + 2**63) % 2**64 - 2**63
