"""The models of a run: the base, and variants that are adapters on it, full checkpoints, or planted edits of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedTokenizerBase

from extract.config import RunConfig, VariantConfig
from extract.dictionaries import tensors_digest
from extract.hooks import edit_residuals
from extract.models import PYPI_PREFIX, has_tokenizer, load_model, load_tokenizer
from extract.planted import PlantedChange
from store.errors import UserError, first_line
from store.names import BASE


class ModelSet:
    """Base and variants, ready to read the same tokens. Adapters share one set of base weights.

    Raises:
        UserError: a model or adapter is missing, or does not belong to the base.
    """

    def __init__(self, config: RunConfig, device: str, dtype: torch.dtype) -> None:
        self.config = config
        self.device = device
        self.base = load_model(config.base, dtype, device)
        self.digests = {BASE: tensors_digest(self.base.state_dict())}
        self._checkpoints: dict[str, nn.Module] = {}
        self._changes: dict[str, PlantedChange] = {}
        self._peft: PeftModel | None = None
        for name, variant in config.variants.items():
            if variant.adapter is not None:
                self._add_adapter(name, variant.adapter)
            elif variant.model is not None:
                self._add_checkpoint(name, variant.model, dtype)
            else:
                self.digests[name] = f"planted:{variant.planted.model_dump_json()}"

    @property
    def names(self) -> list[str]:
        """'base' and every variant, in the configuration's order."""
        return [BASE, *self.config.variants]

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return text_config(self.base).hidden_size

    def plant(self, changes: Mapping[str, PlantedChange]) -> None:
        """Give the planted variants their changes, which depend on the pilot."""
        self._changes.update(changes)

    def change(self, name: str) -> PlantedChange | None:
        """What a planted variant does to the base; None for every other model."""
        return self._changes.get(name)

    @contextmanager
    def active(self, name: str, input_ids: torch.Tensor) -> Iterator[nn.Module]:
        """The model called ``name``, to be run on ``input_ids`` inside the context."""
        if name in self._checkpoints:
            yield self._checkpoints[name]
        elif name != BASE and self.config.variants[name].adapter is not None:
            self._peft.set_adapter(_peft_name(name))
            yield self._peft
        else:
            change = self.change(name)
            edit = edit_residuals(self.base, change.layer, partial(change.of, input_ids=input_ids)) if change else nullcontext()
            with self._peft.disable_adapter() if self._peft else nullcontext(), edit:
                yield self._peft or self.base

    def _add_adapter(self, name: str, spec: str) -> None:
        stored = _adapter_tensors(name, spec)
        inside = _peft_name(name)
        try:
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self.base, spec, adapter_name=inside)
            else:
                self._peft.load_adapter(spec, adapter_name=inside)
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            raise UserError(
                f"The adapter '{name}' ({spec}) does not fit the base '{self.config.base}': {first_line(error, lines=2)}"
            ) from error
        self._peft.eval().requires_grad_(False)
        weights = get_peft_model_state_dict(self._peft, adapter_name=inside)
        if missing := sorted(stored - set(weights)):
            raise UserError(
                f"The adapter '{name}' ({spec}) was made for another base than '{self.config.base}': it changes "
                f"'{missing[0]}', which this base does not have."
            )
        self.digests[name] = tensors_digest(weights)

    def _add_checkpoint(self, name: str, spec: str, dtype: torch.dtype) -> None:
        model = load_model(spec, dtype, self.device)
        ours, theirs = text_config(self.base), text_config(model)
        for field in ("hidden_size", "num_hidden_layers"):
            if getattr(ours, field) != getattr(theirs, field):
                raise UserError(
                    f"The variant '{name}' ({spec}) is not a fine-tune of the base '{self.config.base}': its {field} is "
                    f"{getattr(theirs, field)}, the base's {getattr(ours, field)}."
                )
        self._checkpoints[name] = model
        self.digests[name] = tensors_digest(model.state_dict())


def variant_tokenizers(config: RunConfig) -> dict[str, PreTrainedTokenizerBase]:
    """Tokenizers of the variants that carry one of their own, adapters too; the others use the base's."""
    return {
        name: load_tokenizer(spec)
        for name, variant in config.variants.items()
        if (spec := variant.model or variant.adapter) is not None
        and (variant.model is not None or Path(spec).expanduser().is_dir())
        and has_tokenizer(spec)
    }


def variant_kind(variant: VariantConfig) -> str:
    """'adapter', 'checkpoint' or 'planted'."""
    return "adapter" if variant.adapter else "checkpoint" if variant.model else "planted"


def variant_source(variant: VariantConfig) -> str:
    """What the manifest calls the variant's weights: a hub id, or the name of the folder (its place is nobody's business)."""
    spec = variant.adapter or variant.model
    return display_name(spec) if spec else variant.planted.model_dump_json()


def display_name(spec: str) -> str:
    """A model or folder by name: hub ids whole, local paths by their last piece, packages without the prefix."""
    return Path(spec).name if Path(spec).expanduser().exists() else spec.removeprefix(PYPI_PREFIX)


def text_config(model: nn.Module):
    """The language model's configuration, also where it is nested in a multimodal one."""
    return model.config.get_text_config()


def _peft_name(name: str) -> str:
    """What PEFT calls an adapter: it keeps adapters as attributes of modules, where a name like 'train' is taken."""
    return f"variant_{name}"


def _adapter_tensors(name: str, spec: str) -> set[str]:
    """Names of the tensors that an adapter holds, read before it is put on the base.

    Raises:
        UserError: there is no adapter, or it is of a kind that would change the base it is compared with.
    """
    from peft.utils import load_peft_weights

    try:
        config = PeftConfig.from_pretrained(spec)
        if config.is_prompt_learning:
            raise UserError(
                f"The adapter '{name}' ({spec}) is a {config.peft_type.value} adapter, which reads other tokens than the base; "
                "only adapters that change weights (LoRA and its kin) can be compared token by token."
            )
        if getattr(config, "bias", "none") != "none":
            raise UserError(
                f"The adapter '{name}' ({spec}) trains biases (bias: {config.bias}), which PEFT writes into the shared base; "
                "merge it and give the merged checkpoint as 'model:' instead."
            )
        return set(load_peft_weights(spec, device="cpu"))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(
            f"There is no PEFT adapter for the variant '{name}' at '{spec}' ({first_line(error, lines=2)}); give the folder "
            "that holds adapter_config.json."
        ) from error
