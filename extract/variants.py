"""The models of a run: the base, and variants that are adapters on it, full checkpoints, or planted edits of it."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from torch import nn
from transformers import PreTrainedTokenizerBase

from extract.config import RunConfig, VariantConfig
from extract.dictionaries import tensors_digest
from extract.hooks import edit_residuals
from extract.memory import needs, weight_sets
from extract.models import PYPI_PREFIX, has_tokenizer, load_model, load_tokenizer, model_config, weights
from extract.planted import PlantedChange
from store.errors import UserError, first_line
from store.names import BASE

CHANGES_BASE = ("pissa", "olora", "loftq", "corda")
"""Ways to begin a LoRA by which PEFT changes the weights that it stands on, at loading too."""


class ModelSet:
    """Base and variants, ready to read the same tokens.

    Adapters share one set of base weights. Where the sets of base and full checkpoints do not fit into memory together, one is
    there at a time, and asking for another loads that instead.

    Attributes:
        digests: model -> hash of its weights.
        shape: the base's configuration.
        notes: what was done in loading them that the user should know, a sentence each.
        one_at_a_time: see above; whoever reads many batches then had better go model by model.

    Raises:
        UserError: a model or adapter is missing, or does not belong to the base.
    """

    def __init__(self, config: RunConfig, device: str, dtype: torch.dtype) -> None:
        self.config, self.device, self.dtype = config, device, dtype
        self.digests: dict[str, str] = {}
        self.notes: list[str] = []
        self.one_at_a_time = needs(config, model_config(config.base), device, dtype).one_at_a_time
        self._loaded: dict[str, nn.Module] = {}
        self._changes: dict[str, PlantedChange] = {}
        self.shape = text_config(self.base)
        for name, variant in config.variants.items():
            if variant.planted is not None:
                self.digests[name] = f"planted:{variant.planted.model_dump_json()}"
            else:
                self._weights(name)

    @property
    def names(self) -> list[str]:
        """'base' and every variant, in the configuration's order."""
        return [BASE, *self.config.variants]

    @property
    def base(self) -> nn.Module:
        """The base; adapters on it are part of its modules."""
        model = self._weights(BASE)
        return model.get_base_model() if isinstance(model, PeftModel) else model

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.shape.hidden_size

    def plant(self, changes: Mapping[str, PlantedChange]) -> None:
        """Give the planted variants their changes, which depend on the pilot."""
        self._changes.update(changes)

    def change(self, name: str) -> PlantedChange | None:
        """What a planted variant does to the base; None for every other model."""
        return self._changes.get(name)

    @contextmanager
    def active(self, name: str, input_ids: torch.Tensor) -> Iterator[nn.Module]:
        """The model called ``name``, to be run on ``input_ids`` inside the context."""
        model = self._weights(name)
        if name != BASE and self.config.variants[name].model is not None:
            yield model
        elif name != BASE and self.config.variants[name].adapter is not None:
            model.set_adapter(_peft_name(name))
            yield model
        else:
            change = self.change(name)
            edit = edit_residuals(self.base, change.layer, partial(change.of, input_ids=input_ids)) if change else nullcontext()
            with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext(), edit:
                yield model

    def owner(self, name: str) -> str:
        """Whose weights a model is run with: a checkpoint its own, every other the base's."""
        return name if name in weight_sets(self.config) else BASE

    def _weights(self, name: str) -> nn.Module:
        """The weights that a model is run with, loaded where they are not in memory."""
        owner = self.owner(name)
        if owner not in self._loaded:
            if self.one_at_a_time:
                self._loaded.clear()
                gc.collect()
                torch.cuda.empty_cache()
            self._loaded[owner] = self._load_base() if owner == BASE else self._load_checkpoint(owner)
        return self._loaded[owner]

    def _load_base(self) -> nn.Module:
        """The base, as a PeftModel where variants are adapters on it."""
        model = base = load_model(self.config.base, self.dtype, self.device, self.config.device_map)
        if BASE not in self.digests:
            self.digests[BASE] = tensors_digest(weights(base))
        for name, variant in self.config.variants.items():
            if variant.adapter is not None:
                model = self._with_adapter(model, name, variant.adapter)
        return model

    def _with_adapter(self, model: nn.Module, name: str, spec: str) -> PeftModel:
        stored = _adapter_tensors(name, spec)
        inside = _peft_name(name)
        try:
            if isinstance(model, PeftModel):
                model.load_adapter(spec, adapter_name=inside)
            else:
                model = PeftModel.from_pretrained(model, spec, adapter_name=inside)
        except Exception as error:  # damaged settings surface as whatever PEFT runs into
            raise UserError(
                f"The adapter '{name}' ({spec}) does not fit the base '{self.config.base}': {first_line(error, lines=2)}"
            ) from error
        model.eval().requires_grad_(False)
        found = get_peft_model_state_dict(model, adapter_name=inside)
        if missing := sorted(stored - set(found)):
            raise UserError(
                f"The adapter '{name}' ({spec}) was made for another base than '{self.config.base}': it changes "
                f"'{missing[0]}', which this base does not have."
            )
        if name not in self.digests:
            self.digests[name] = tensors_digest(found)
        return model

    def _load_checkpoint(self, name: str) -> nn.Module:
        spec = self.config.variants[name].model
        model = load_model(spec, self.dtype, self.device, self.config.device_map)
        theirs = text_config(model)
        for field in ("hidden_size", "num_hidden_layers"):
            if getattr(self.shape, field) != getattr(theirs, field):
                raise UserError(
                    f"The variant '{name}' ({spec}) is not a fine-tune of the base '{self.config.base}': its {field} is "
                    f"{getattr(theirs, field)}, the base's {getattr(self.shape, field)}."
                )
        if name not in self.digests:
            self.digests[name] = tensors_digest(weights(model))
        return model


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
        start = getattr(config, "init_lora_weights", None)
        if isinstance(start, str) and start.lower().startswith(CHANGES_BASE):
            raise UserError(
                f"The adapter '{name}' ({spec}) was begun from the base's own weights (init_lora_weights: {start!r}), which "
                "PEFT takes out of the shared base again; save it as a plain LoRA (path_initial_model_for_weight_conversion), "
                "or merge it and give the merged checkpoint as 'model:'."
            )
        if getattr(config, "layer_replication", None):
            raise UserError(
                f"The adapter '{name}' ({spec}) repeats layers (layer_replication), which PEFT does to the shared base; merge "
                "it and give the merged checkpoint as 'model:'."
            )
        return set(load_peft_weights(spec, device="cpu"))
    except UserError:
        raise
    except Exception as error:  # damaged settings or weights surface as whatever PEFT runs into
        raise UserError(
            f"There is no PEFT adapter for the variant '{name}' at '{spec}' ({first_line(error, lines=2)}); give the folder "
            "that holds adapter_config.json."
        ) from error
