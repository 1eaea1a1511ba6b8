"""Whether all models of a run fit into memory together, worked out from their shapes before any is loaded."""

from dataclasses import dataclass

import psutil
import torch
from transformers import PretrainedConfig

from extract.config import RunConfig, twin_model, twins
from extract.models.layout import on_meta
from extract.models.quantization import weight_bytes
from store.names import BASE

WEIGHTS_SHARE = 0.8
"""Of the free memory; the rest is for activations, dictionaries and codes."""

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_k")
"""What families call the experts of a block, and how many of them a token passes through."""


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
    set_bytes = weight_bytes(on_meta(base), dtype, config.quantization)
    sets = len(weight_sets(config))
    free = free_memory(device)
    together = config.models_in_memory == "all" or (
        config.models_in_memory == "auto" and (sets == 1 or sets * set_bytes <= WEIGHTS_SHARE * free)
    )
    return Needs(set_bytes, sets, free, sets > 1 and not together)


def weight_sets(config: RunConfig) -> list[str]:
    """The base, and every variant that is a full checkpoint with its twins, in the configuration's order."""
    checkpoints = [name for name, variant in config.variants.items() if variant.model is not None]
    return [BASE, *(of for name in checkpoints for of in (name, *(twin_model(name, twin) for twin in twins(config))))]


def free_memory(device: str) -> int:
    """Bytes, of a GPU or of this machine."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0]
    return psutil.virtual_memory().available


def parameters(config: PretrainedConfig, embeddings: bool = True) -> int:
    """A model's parameters: transformers builds it on torch's meta device, without memory, and they are counted.

    Args:
        embeddings: with embedding and output head; without, of a mixture of experts those that a token passes through.

    Raises:
        UserError: transformers cannot build it from its configuration.
    """
    model = on_meta(config)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    if embeddings:
        return sum(sizes.values())
    ends = [module for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module is not None]
    outside = sum({id(parameter): parameter.numel() for end in ends for parameter in end.parameters()}.values())
    experts = sum(size for name, size in sizes.items() if ".experts." in name)
    count = next((n for name in EXPERTS if isinstance(n := getattr(config, name, None), int)), 0)
    chosen = next((n for name in CHOSEN if isinstance(n := getattr(config, name, None), int)), count)
    idle = experts * (1 - chosen / count) if count else 0
    return int(sum(sizes.values()) - outside - idle)
