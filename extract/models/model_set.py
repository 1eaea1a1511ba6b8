"""The models of a run: the base, and variants that are adapters on it, full checkpoints, or planted edits of it."""

import copy
import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from extract.config import RunConfig, groups, twin_model, twins
from extract.config_sections import display_name
from extract.models import twins as twin_weights
from extract.models.adapters import MERGE, Adapter, inside
from extract.models.base_names import known_names
from extract.models.base_sums import Untouched
from extract.models.digests import tensors_digest
from extract.models.layout import Layout, of_model
from extract.models.load_trial import embedding_rows, try_model
from extract.models.loading import has_tokenizer, load_model, load_tokenizer, local_folder, model_config, weights
from extract.models.memory import needs, weight_sets
from extract.models.model_names import in_words
from extract.models.quantization import check_quantization, plain_floats
from extract.models.series import check_series
from extract.models.settings import Settings, check_runs, computing, differences, of_adapter, same_weights
from extract.models.sites import PlantedChange, Site
from extract.models.twins import variant_of
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
        if device != "meta":
            check_quantization(config.quantization, device)
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
        self._base_parameters: dict[str, nn.Parameter] = {}
        self._base_shapes: dict[str, torch.Size] = {}
        self._changes: dict[str, PlantedChange] = {}
        self._without_twins: set[str] = set()
        self._factors: dict[str, float] = {}
        self.shape = text_config(self.base)
        for name, variant in config.variants.items():
            if variant.planted is not None:
                self.digests[name] = f"planted:{variant.planted.model_dump_json()}"
            else:
                self._weights(name)
        check_runs(groups(config).values(), self.digests, self.settings)
        check_series(config.variants, self.digests, self.settings)
        self.notes += same_weights(self.digests, self.settings)

    @property
    def names(self) -> list[str]:
        """'base' and every variant, in the configuration's order."""
        return [BASE, *self.config.variants]

    @property
    def twins(self) -> list[str]:
        """The twins of the variants that have any (:func:`extract.config.twin_model`), in the configuration's order."""
        with_twins = [name for name in self.config.variants if name not in self._without_twins]
        return [twin_model(name, twin) for name in with_twins for twin in twins(self.config)]

    @property
    def base(self) -> nn.Module:
        """The base; adapters on it are part of its modules."""
        model = self._weights(BASE)
        return model.get_base_model() if isinstance(model, PeftModel) else model

    @cached_property
    def layout(self) -> Layout:
        """Where the base has the points of its blocks."""
        return of_model(self.base)

    def width(self, site: Site) -> int:
        """Numbers that a token has at a site."""
        return self.layout.width(site.layer, site.point)

    def plant(self, changes: Mapping[str, PlantedChange]) -> None:
        """Give the planted variants their changes, which depend on the pilot."""
        self._changes.update(changes)

    def set_twin_factors(self, factors: Mapping[str, float]) -> None:
        """By what the permuted changes of some twins are multiplied; 1 until it is said."""
        self._factors.update(factors)
        for name in factors:
            if self.owner(name) == name:
                self._loaded.pop(name, None)  # made anew when it is asked for
            elif isinstance(model := self._loaded.get(BASE), PeftModel) and inside(name) in model.peft_config:
                twin_weights.write_adapter(model, inside(variant_of(name)), inside(name), *self._draw(name))

    def change(self, name: str) -> PlantedChange | None:
        """What a planted variant, or a twin of one, does to the base; None for every other model."""
        change = self._changes.get(variant_of(name))
        return change if change is None or variant_of(name) == name else twin_weights.planted_twin(change, *self._draw(name))

    def _draw(self, twin: str) -> tuple[tuple[str, ...], float]:
        """What a twin's permutations are a hash of, and its factor."""
        return (self.digests[variant_of(twin)], twin.removeprefix(f"{variant_of(twin)}:")), self._factors.get(twin, 1.0)

    @contextmanager
    def active(self, name: str, input_ids: torch.Tensor) -> Iterator[nn.Module]:
        """The model called ``name``, to be run on ``input_ids`` inside the context."""
        model = self._weights(name)
        change = self.change(name)
        edit = change.made(self.base, input_ids) if change else nullcontext()
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
                self._base_parameters = {}
                gc.collect()
                torch.cuda.empty_cache()
            load = self._load_base if owner == BASE else self._load_checkpoint if owner in self.names else self._load_twin
            self._loaded[owner] = load(owner)
        return self._loaded[owner]

    def _load_base(self, _name: str = BASE) -> nn.Module:
        """The base, as a PeftModel where variants are adapters on it."""
        needs_head = self.predicts or self.config.promoted_tokens > 0
        first = BASE not in self.digests and BASE not in self.embedding_rows
        model = base = self._load(BASE, self.config.base, needs_head)
        self._base_parameters = dict(base.named_parameters(remove_duplicate=False))
        self._base_shapes = {key: parameter.shape for key, parameter in self._base_parameters.items()}
        untouched = Untouched(base)
        for name, variant in self.config.variants.items():
            if variant.adapter is not None:
                adapter = Adapter(name, variant.adapter)
                model, tensors = adapter.put_on(model, self.config.base, untouched)
                self._keep_digest(name, tensors)
                if first:
                    self.settings[name] = of_adapter(adapter.folder)
                    self._name_base_of(adapter, base)
                    why = self._why_put_away(base) or twin_weights.why_none_of_adapter(adapter.config)
                    self._judge_twins(name, why and f"{why}; {MERGE}")
        if first:
            for name in [BASE, *(name[len(inside("")) :] for name in getattr(model, "peft_config", ()))]:
                self._try(name, model)
        for twin in self.twins if self.device != "meta" else ():
            if self.config.variants[variant_of(twin)].adapter is not None:
                twin_weights.add_to_adapters(model, inside(variant_of(twin)), inside(twin))
                twin_weights.write_adapter(model, inside(variant_of(twin)), inside(twin), *self._draw(twin))
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
            why = self._why_put_away(model) or twin_weights.why_none_of_checkpoint(model, self._base_shapes)
            self._judge_twins(name, why)
        return model

    def _load_twin(self, name: str) -> nn.Module:
        """A checkpoint's twin, a set of weights of its own; where one is in memory at a time, the base's is there meanwhile."""
        variant = variant_of(name)
        theirs = self._loaded.get(variant)
        model = self._read(variant, self.predicts) if theirs is None or self.config.device_map else copy.deepcopy(theirs)
        base = self._base_parameters or dict(self._read(BASE, False).named_parameters(remove_duplicate=False))
        twin_weights.write_checkpoint(model, base, *self._draw(name))
        return model

    def _read(self, name: str, needs_head: bool, notes: list[str] | None = None) -> PreTrainedModel:
        """The base's or a checkpoint's files, as a model of its own."""
        spec = self.config.base if name == BASE else self.config.variants[name].model
        what = in_words(name, spec)
        how = self.config.device_map, what, needs_head, notes, self.config.quantization
        return load_model(spec, self.dtype, self.device, *how)

    def _judge_twins(self, name: str, why: str | None) -> None:
        """Keep whether a variant has twins, and say why not."""
        if why and self.config.twins:
            self._without_twins.add(name)
            self.notes.append(f"There are no twins of the variant '{name}', {why}; without them nothing is claimed of it.")

    def _why_put_away(self, model: nn.Module) -> str | None:
        """Whether a device_map has put away some of a model's weights, where they cannot be changed."""
        away = self.device != "meta" and any(parameter.is_meta for parameter in model.parameters())
        return "since some of the weights do not fit into the GPUs' memory" if away else None

    def _load(self, name: str, spec: str, needs_head: bool) -> PreTrainedModel:
        """A full model from its files; its notes and its digest are kept the first time."""
        notes, what = [], in_words(name, spec)
        model = self._read(name, needs_head, notes)
        if name not in self.embedding_rows:
            self.notes += notes
            self.embedding_rows[name] = embedding_rows(model)
            self._n_words[name] = text_config(model).vocab_size
            self.settings[name] = computing(text_config(model))
            tensors = {} if self.device == "meta" else weights(model)
            if broken := sorted(key for key in plain_floats(model) & tensors.keys() if not torch.isfinite(tensors[key]).all()):
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
        spec = self.config.base
        self.notes += adapter.notes(display_name(spec), known_names(spec, local_folder(spec), base.config.name_or_path))

    def _try(self, name: str, model: nn.Module) -> None:
        """A few tokens through a model that is being loaded."""
        spec = self.config.base if name == BASE else self.config.variants[name].spec
        promoted = self.config.promoted_tokens if name == BASE else 0
        with _switched_to(model, self.config, name):
            plain = model.get_base_model() if isinstance(model, PeftModel) else model
            try_model(plain, in_words(name, spec), self.device, self.config.context_length, promoted, self.predicts)


@contextmanager
def _switched_to(model: nn.Module, config: RunConfig, name: str) -> Iterator[None]:
    """The base's weights with the adapter called ``name``, or without any; a checkpoint as it is."""
    if isinstance(model, PeftModel) and name != BASE and config.variants[variant_of(name)].adapter is not None:
        model.set_adapter(inside(name))
        yield
    else:
        with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
            yield


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
