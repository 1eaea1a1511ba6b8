"""Twins of a variant: changes of the weights that are as large as its own and mean nothing, to tell training from chance.

A twin's change is the variant's with the coordinates of what it reads and of what it writes permuted, tensor by tensor, times a
factor that the pilot fixes (:mod:`extract.pilot.twin_sizes`): but for the factor, the change of every matrix keeps its singular
values. An axis that is the vocabulary, or positions, stays as it is. Every permutation is a hash of the variant's weights, the
twin, the tensor and the axis, so that all processes and devices draw the same.
"""

import copy
import warnings
from collections.abc import Collection, Mapping
from dataclasses import fields

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn.modules.conv import _ConvNd

from extract.device import to_device
from extract.hashed_random import mix, text_key
from extract.models.sites import PlantedChange

MORE_THAN_PRODUCTS = (
    "modules_to_save", "trainable_token_indices", "target_parameters", "ensure_weight_tying", "use_qalora",
)  # fmt: skip
"""Settings of a LoRA by which its change of the weights is not a product of two matrices of its own, module by module."""


def variant_of(twin: str) -> str:
    """The variant whose twin a model is (:func:`extract.config.twin_model`); of any other model its own name."""
    return twin.partition(":")[0]


def permutation(n: int, *key: str) -> torch.Tensor:
    """int64 [n], on the CPU: the same for the same key, anywhere."""
    return torch.argsort(mix(torch.arange(n), text_key("twin", *key)))


def permuted(tensor: torch.Tensor, axes: Collection[int], *key: str) -> torch.Tensor:
    """A tensor with the entries along each of some axes in another order, each axis in its own."""
    for axis in axes:
        order = permutation(tensor.shape[axis], *key, str(axis))
        tensor = tensor.index_select(axis, to_device(order, tensor.device))
    return tensor


def why_none_of_adapter(config: PeftConfig) -> str | None:
    """What an adapter is that has no twins, in words; None of a plain LoRA.

    What others change of the weights is not the product of two matrices of their own: permuting and scaling it would take
    another formula for each (for DoRA, with the norms of its rows).
    """
    kind = getattr(config.peft_type, "value", config.peft_type)
    if kind != "LORA":
        return f"a {kind} adapter"
    of_kinds = [field.name for field in fields(config) if field.metadata.get("is_lora_variant")]
    given = [name for name in (*of_kinds, *MORE_THAN_PRODUCTS) if getattr(config, name, None)]
    given += ["init_lora_weights: mica"] if getattr(config, "init_lora_weights", None) == "mica" else []
    return f"a LoRA with {given[0]}" if given else None


def add_to_adapters(model: PeftModel, adapter: str, twin: str) -> None:
    """Put a second adapter on a base, with the settings of one that is there; :func:`write_adapter` fills it.

    Args:
        adapter, twin: what PEFT calls them.
    """
    config = copy.deepcopy(model.peft_config[adapter])
    config.init_lora_weights = False  # the other ways to begin look at the base, or change it
    with warnings.catch_warnings(action="ignore"):  # said of the adapter itself
        model.add_adapter(twin, config)
    model.eval().requires_grad_(False)


@torch.no_grad()
def write_adapter(model: PeftModel, adapter: str, twin: str, key: tuple[str, ...], factor: float) -> None:
    """Fill a twin that stands beside its adapter: rows of each B and columns of each A permuted, and B times the factor.

    So B A keeps its singular values, times the factor. The bias of a B goes with its rows.
    """
    base = model.get_base_model()
    head = base.get_output_embeddings()
    for name, module in base.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        if adapter in module.lora_A:
            rows = () if module is head else (0,)
            read, written = module.lora_A[adapter], module.lora_B[adapter]
            module.lora_A[twin].weight.data = permuted(read.weight, (1,), *key, name, "A").clone()
            for part, tensor in written.named_parameters():
                getattr(module.lora_B[twin], part).data = permuted(tensor, rows, *key, name, "B") * factor
        if adapter in module.lora_embedding_A:
            written = permuted(module.lora_embedding_B[adapter], (0,), *key, name, "B") * factor
            module.lora_embedding_A[twin].data = module.lora_embedding_A[adapter].detach().clone()
            module.lora_embedding_B[twin].data = written.detach()


def why_none_of_checkpoint(model: nn.Module, base: Mapping[str, torch.Size]) -> str | None:
    """Why the difference of two sets of weights cannot be taken tensor by tensor, in words; None where it can.

    Args:
        base: the shapes of the base's parameters, by name.
    """
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point() or parameter.itemsize == 1:
            return f"whose weights are quantised ('{name}')"
        same = slice(1, None) if _is_of_words(model, name) else slice(None)
        if name not in base or parameter.shape[same] != base[name][same]:
            return f"whose '{name}' the base does not have in that shape"
    return None


@torch.no_grad()
def write_checkpoint(model: nn.Module, base: Mapping[str, torch.Tensor], key: tuple[str, ...], factor: float) -> None:
    """Make of a checkpoint, in place, its twin: base + factor x (checkpoint - base), permuted.

    Both axes of a matrix, of each expert too, and the entries of a vector are permuted. Rows of an embedding that the base has
    not, of added tokens, stay the checkpoint's. Tied weights are one parameter, and so stay tied.

    Args:
        base: the base's parameters, by name; tied ones under each name.
    """
    for name, parameter in model.named_parameters():
        of_words = _is_of_words(model, name)
        own, of_base = parameter.data, to_device(base[name].data, parameter.device)
        if of_words:
            shared = min(len(own), len(of_base))
            own, of_base = own[:shared], of_base[:shared]
        exact = torch.promote_types(own.dtype, torch.float32)
        change = own.to(exact) - of_base.to(exact)
        own.copy_(of_base.to(exact) + permuted(change, _axes(model, name, of_words), *key, name) * factor)


def planted_twin(change: PlantedChange, key: tuple[str, ...], factor: float) -> PlantedChange:
    """h + factor x P(change(h) - h), P a permutation of the coordinates of d_model: each token's ||delta|| is kept."""

    def of(hidden: torch.Tensor, input_ids: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        exact = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        delta = change.of(hidden, input_ids, seen).to(exact.dtype) - exact
        return (exact + permuted(delta, (hidden.ndim - 1,), *key) * factor).to(hidden.dtype)

    return PlantedChange(change.site, of, change.reads)


def _is_of_words(model: nn.Module, name: str) -> bool:
    """Whether a parameter's first axis is the vocabulary, or positions."""
    module = model.get_submodule(name.rpartition(".")[0])
    return isinstance(module, nn.Embedding) or module is model.get_output_embeddings()


def _axes(model: nn.Module, name: str, of_words: bool) -> range:
    """The axes of a parameter that are permuted."""
    ndim = model.get_parameter(name).ndim
    if isinstance(model.get_submodule(name.rpartition(".")[0]), _ConvNd):
        return range(min(2, ndim))
    return range(max(1 if of_words else 0, ndim - 2), ndim)
