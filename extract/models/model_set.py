"""The models of a run: the base, and variants that are adapters on it, full checkpoints, or planted edits of it."""

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from extract.config import RunConfig, display_name
from extract.models.adapters import Adapter, inside
from extract.models.base_sums import Untouched
from extract.models.digests import tensors_digest
from extract.models.load_trial import embedding_rows, try_model
from extract.models.loading import has_tokenizer, load_model, load_tokenizer, local_folder, model_config, weights
from extract.models.memory import needs, weight_sets
from extract.models.settings import Settings, computing, differences, of_adapter, same_weights
from extract.models.sites import PlantedChange
from extract.models.weight_files import named
from store.errors import UserError
from store.names import BASE


class ModelSet:
    """Base and variants, ready to read the same tokens; each was tried on a few as it was loaded.

    Adapters share one set of base weights. Where the sets of base and full checkpoints do not fit into memory together, one is
    there at a time, and asking for another loads that instead.

    Args:
        device: "meta" reads no weights, for ``check``: whatever else would be refused is refused there too.
        steers: whether predictions are read although the configuration compares none.

    Attributes:
        digests: model -> hash of its weights; on the meta device of planted variants only.
        settings: model -> what of its configuration decides what it computes from its weights; planted variants have none.
        shape: the base's configuration.
        notes: what was done in loading them that the user should know, a sentence each.
        made_for: variant -> the base that its adapter names.
        embedding_rows: model -> rows of its embedding: token ids from there on have none.
        one_at_a_time: see above; many batches should then be read model by model.

    Raises:
        UserError: a model or adapter is missing, or does not belong to the base.
    """

    def __init__(self, config: RunConfig, device: str, dtype: torch.dtype, steers: bool = False) -> None:
        self.config, self.device, self.dtype = config, device, dtype
        self.predicts = bool(config.token_kl) or steers
        self.digests: dict[str, str] = {}
        self.settings: dict[str, Settings] = {}
        self.notes: list[str] = []
        self.made_for: dict[str, str] = {}
        self.embedding_rows: dict[str, int] = {}
        self.one_at_a_time = needs(config, model_config(config.base), device, dtype).one_at_a_time
        self._n_words: dict[str, int] = {}
        self._loaded: dict[str, nn.Module] = {}
        self._changes: dict[str, PlantedChange] = {}
        self.shape = text_config(self.base)
        for name, variant in config.variants.items():
            if variant.planted is not None:
                self.digests[name] = f"planted:{variant.planted.model_dump_json()}"
            else:
                self._weights(name)
        self.notes += same_weights(self.digests, self.settings)

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
        change = self.change(name)
        edit = change.site.edit(self.base, partial(change.of, input_ids=input_ids)) if change else nullcontext()
        with _switched_to(model, self.config, name), edit:
            yield model

    def shared_words(self, names: Sequence[str]) -> int:
        """Size of the vocabulary that some models share: one with tokens added has those of the others first."""
        return min(self._n_words[self.owner(name)] for name in names)

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
        needs_head = self.predicts or self.config.promoted_tokens > 0
        first = BASE not in self.digests and BASE not in self.embedding_rows
        model = base = self._load(BASE, self.config.base, needs_head)
        untouched = Untouched(base)
        for name, variant in self.config.variants.items():
            if variant.adapter is not None:
                adapter = Adapter(name, variant.adapter)
                model, tensors = adapter.put_on(model, self.config.base, untouched)
                self._keep_digest(name, tensors)
                if first:
                    self.settings[name] = of_adapter(adapter.folder)
                    self._name_base_of(adapter, base)
        if first:
            for name in [BASE, *(name[len(inside("")) :] for name in getattr(model, "peft_config", ()))]:
                self._try(name, model)
        return model

    def _load_checkpoint(self, name: str) -> nn.Module:
        spec = self.config.variants[name].model
        first = name not in self.embedding_rows
        model = self._load(name, spec, self.predicts)
        theirs = text_config(model)
        for field in ("hidden_size", "num_hidden_layers"):
            if getattr(self.shape, field) != getattr(theirs, field):
                raise UserError(
                    f"The variant '{name}' ({spec}) is not a fine-tune of the base '{self.config.base}': its {field} is "
                    f"{getattr(theirs, field)}, the base's {getattr(self.shape, field)}."
                )
        if first:
            self.notes += differences(name, self.settings[name], self.settings[BASE])
            self._try(name, model)
        return model

    def _load(self, name: str, spec: str, needs_head: bool) -> PreTrainedModel:
        """A full model from its files; its notes and its digest are kept the first time."""
        notes: list[str] = []
        what = _what(name, spec)
        model = load_model(spec, self.dtype, self.device, self.config.device_map, what, needs_head, notes)
        if name not in self.embedding_rows:
            self.notes += notes
            self.embedding_rows[name] = embedding_rows(model)
            self._n_words[name] = text_config(model).vocab_size
            self.settings[name] = computing(text_config(model))
            tensors = {} if self.device == "meta" else weights(model)
            numbers = {key for key, parameter in model.named_parameters() if parameter.is_floating_point()}
            if broken := sorted(key for key in numbers & tensors.keys() if not torch.isfinite(tensors[key]).all()):
                raise UserError(f"{what} holds NaN or infinite numbers in {named(broken)}; check its weights.")
            self._keep_digest(name, tensors)
        return model

    def _keep_digest(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        if name not in self.digests and self.device != "meta":
            self.digests[name] = tensors_digest(tensors)

    def _name_base_of(self, adapter: Adapter, base: PreTrainedModel) -> None:
        """What the adapter's settings say that it was trained on."""
        if adapter.made_for is not None:
            self.made_for[adapter.name] = adapter.made_for
        self.notes += adapter.notes(display_name(self.config.base), base_names(self.config.base, base))

    def _try(self, name: str, model: nn.Module) -> None:
        """A few tokens through a model that is being loaded."""
        spec = self.config.base if name == BASE else self.config.variants[name].spec
        promoted = self.config.promoted_tokens if name == BASE else 0
        with _switched_to(model, self.config, name):
            plain = model.get_base_model() if isinstance(model, PeftModel) else model
            try_model(plain, _what(name, spec), self.device, self.config.context_length, promoted, self.predicts)


@contextmanager
def _switched_to(model: nn.Module, config: RunConfig, name: str) -> Iterator[None]:
    """The base's weights with the adapter called ``name``, or without any; a checkpoint as it is."""
    if isinstance(model, PeftModel) and name != BASE and config.variants[name].adapter is not None:
        model.set_adapter(inside(name))
        yield
    else:
        with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
            yield


def _what(name: str, spec: str) -> str:
    """A model in words, to begin a sentence with; notes of it reach the manifest, so no place on this machine's disk."""
    return f"The base '{display_name(spec)}'" if name == BASE else f"The variant '{name}' ({display_name(spec)})"


def base_names(spec: str, base: PreTrainedModel) -> set[str]:
    """What a base is known by: how it is given, where it stands, and what its config.json says that it was saved from."""
    names = {spec, display_name(spec), local_folder(spec)}
    file = Path(local_folder(spec)) / "config.json"
    if file.is_file():
        said = json.loads(file.read_text(encoding="utf-8")).get("_name_or_path")
        names |= {said} if isinstance(said, str) and said else set()
    return names | ({base.config.name_or_path} if base.config.name_or_path else set())


def variant_tokenizers(config: RunConfig) -> dict[str, PreTrainedTokenizerBase]:
    """Tokenizers of the variants that carry one of their own, adapters too; the others use the base's."""
    return {
        name: load_tokenizer(spec)
        for name, variant in config.variants.items()
        if (spec := variant.spec) is not None
        and (variant.model is not None or Path(spec).expanduser().is_dir())
        and has_tokenizer(spec)
    }


def text_config(model: nn.Module):
    """The language model's configuration, also where it is nested in a multimodal one."""
    return model.config.get_text_config()
