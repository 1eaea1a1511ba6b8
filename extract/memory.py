"""Whether all models of a run fit into memory together, worked out from their shapes before any is loaded."""

from dataclasses import dataclass

import psutil
import torch
from transformers import PretrainedConfig

from extract.config import RunConfig
from store.names import BASE

WEIGHTS_SHARE = 0.8
"""Of the free memory; the rest is for activations, dictionaries and codes."""


@dataclass(frozen=True)
class Needs:
    """What the weights of a run take, and what there is.

    Attributes:
        set_bytes: of one set of weights: the base's, or a full checkpoint's; adapters share the base's.
        sets: how many there are.
        free_bytes: free memory of the device.
        one_at_a_time: whether only one set is in memory at a time.
    """

    set_bytes: int
    sets: int
    free_bytes: int
    one_at_a_time: bool


def needs(config: RunConfig, base: PretrainedConfig, device: str, dtype: torch.dtype) -> Needs:
    """Which way a run will go.

    Args:
        base: the base's shape.
    """
    set_bytes = parameters(base) * dtype.itemsize
    sets = len(weight_sets(config))
    free = free_memory(device)
    together = config.models_in_memory == "all" or (
        config.models_in_memory == "auto" and (sets == 1 or sets * set_bytes <= WEIGHTS_SHARE * free)
    )
    return Needs(set_bytes, sets, free, sets > 1 and not together)


def weight_sets(config: RunConfig) -> list[str]:
    """The base and every variant that is a full checkpoint, in the configuration's order."""
    return [BASE, *(name for name, variant in config.variants.items() if variant.model is not None)]


def free_memory(device: str) -> int:
    """Bytes, of a GPU or of this machine."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0]
    return psutil.virtual_memory().available


def parameters(config: PretrainedConfig, embeddings: bool = True) -> int:
    """A decoder's parameters from its shape: attention, gated MLP, and the embedding once."""
    d_model = config.hidden_size
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or d_model // heads
    key_value_heads = getattr(config, "num_key_value_heads", None) or heads
    inner = getattr(config, "intermediate_size", None) or 4 * d_model
    block = 2 * d_model * head_dim * (heads + key_value_heads) + 3 * d_model * inner
    return config.num_hidden_layers * block + (config.vocab_size * d_model if embeddings else 0)
