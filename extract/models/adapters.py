"""PEFT adapters on the base: which can be compared with it, whether each came whole from its file and left the base alone."""

import copy
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.module import _IncompatibleKeys
from transformers.utils import cached_file

from extract.models.base_names import display_base, plain_name
from extract.models.base_sums import Untouched
from extract.models.checkpoints import asks_for_values
from extract.models.loading import local_folder
from extract.models.weight_files import named, stored_tensor
from store.errors import UserError, first_line

CHANGES_BASE = ("pissa", "olora", "loftq", "corda")
"""Ways to begin a LoRA by which PEFT changes the weights that it stands on, at loading too."""
NEEDS_MORE = {
    "ADAPTION_PROMPT": "reads other tokens than the base",
    "POLY": "needs to be told a task for each text",
    "XLORA": "mixes other adapters, token by token",
}
WEIGHTS = "adapter_model.safetensors"
MERGE = "merge it and give the merged checkpoint as 'model:'"
EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out")
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
MATCH_SECONDS = 10
"""For an adapter's regular expressions over the names of all modules; ordinary ones take milliseconds."""
MATCHER = """
import json, re, sys
patterns, names = json.load(sys.stdin)
for pattern in patterns:
    for name in names:
        re.fullmatch(pattern, name)
        re.match(rf"(.*\\.)?({pattern})$", name)
        re.match(rf".*\\.{pattern}\\.(\\d+)\\.", name)
"""


class Adapter:
    """An adapter's settings and tensors, read before it is put on the base.

    Attributes:
        name: the variant's.
        ignored: settings that this version of PEFT does not know.
        made_for: the base that its settings name, or None; of a path only the last piece, its place is nobody's business.

    Raises:
        UserError: there is no adapter, or it is of a kind that would change the base it is compared with.
    """

    def __init__(self, name: str, spec: str) -> None:
        self.name, self.spec = name, spec
        self.what = f"The adapter '{name}' ({spec})"
        try:
            self.folder = str(Path(cached_file(spec, "adapter_config.json")).parent)
            self.config, self.ignored = _settings(self.folder)
            self._check_kind()
            self.tensors = load_file(self._file())
        except UserError:
            raise
        except Exception as error:  # damaged settings or weights surface as whatever PEFT runs into
            raise UserError(
                f"There is no PEFT adapter for the variant '{name}' at '{spec}' ({first_line(error, lines=2)}); give the "
                "folder that holds adapter_config.json."
            ) from error
        self.made_for = display_base(self.config.base_model_name_or_path)
        if odd := [key for key, tensor in self.tensors.items() if tensor.dtype not in FLOATS]:
            kind = str(self.tensors[odd[0]].dtype).removeprefix("torch.")
            raise UserError(f"{self.what} holds {named(odd)} as {kind} numbers, which are no weights; save or fetch it again.")
        if broken := [key for key, tensor in self.tensors.items() if not torch.isfinite(tensor).all()]:
            raise UserError(f"{self.what} holds NaN or infinite numbers in {named(broken)}; save or fetch it again.")

    @property
    def inside(self) -> str:
        """What PEFT calls it: it keeps adapters as attributes of modules, where a name like 'train' is taken."""
        return inside(self.name)

    def put_on(self, model: nn.Module, base: str, untouched: Untouched) -> tuple[PeftModel, dict[str, torch.Tensor]]:
        """Put it on the base, beside those that are there.

        Args:
            base: what the configuration calls the base.
            untouched: the base's weights before any adapter.

        Returns:
            (the model with it, its tensors as PEFT would save them); on torch's meta device the model as it was and none, where
            the adapter's kind cannot be made there.

        Raises:
            UserError: it belongs to another base, a tensor of its file found no place, one that it has is not in its file, or
                it changed the base.
        """
        self._check_patterns([key for key, _ in _plain(model).named_modules()])
        self._check_shared(model, base)
        copies: dict[int, Any] = {}
        bare = copy.deepcopy(model, copies) if _is_on_meta(model) else None
        try:
            with warnings.catch_warnings(action="ignore"):  # PEFT's of what did not fit, which is judged here
                model, own, found, report = self._loaded_by_peft(model)
        except Exception as error:  # damaged settings surface as whatever PEFT runs into
            if bare is not None and asks_for_values(error):
                untouched.follow(copies)
                return bare, {}
            raise UserError(self._misfit(base, error)) from error
        if unplaced := sorted(report.unexpected_keys):
            raise UserError(
                f"{self.what} was made for another base than '{base}': it changes {named(unplaced)}, which this base does not "
                "have."
            )
        if missing := self._missing(own, found, set(report.missing_keys)):
            raise UserError(f"{self.what} lacks {named(missing)} in its file; save or fetch it again.")
        if untouched.is_broken(model):
            raise UserError(f"{self.what} changes the base's own weights as PEFT loads it, with which it is compared; {MERGE}.")
        return model, found

    def _loaded_by_peft(self, model: nn.Module) -> tuple[PeftModel, dict, dict, _IncompatibleKeys]:
        """(the model with it, all tensors by name, the adapter's by the names of a file, what PEFT reports of loading it)."""
        if isinstance(model, PeftModel):
            model.load_adapter(self.folder, adapter_name=self.inside)
        else:
            model = PeftModel.from_pretrained(model, self.folder, adapter_name=self.inside)
        model.eval().requires_grad_(False)
        # Else PEFT asks the hub for the base that is named there, on whose answer nothing here depends.
        model.peft_config[self.inside].base_model_name_or_path = None
        own = model.state_dict(keep_vars=True)
        found = get_peft_model_state_dict(model, state_dict=own, adapter_name=self.inside)
        report = set_peft_model_state_dict(model, dict(self.tensors), adapter_name=self.inside)  # once more, for its report
        return model, own, found, report

    def _missing(self, own: dict[str, torch.Tensor], found: dict[str, torch.Tensor], unread: set[str]) -> list[str]:
        """Tensors of the adapter that are not from its file.

        Not those that PEFT would not save either (it computes them), nor further names of one that was read, which some kinds
        share among all layers.
        """
        saved = {id(tensor) for tensor in found.values()}
        read = {id(tensor) for key, tensor in own.items() if key not in unread}
        mine = [key for key in unread & own.keys() if self.inside in key.split(".")]
        return sorted(key for key in mine if id(own[key]) in saved - read)

    def notes(self, base: str, names: set[str]) -> list[str]:
        """Sentences on what PEFT did not read of its settings, and where it names another base than the run's.

        Args:
            names: what the run's is known by.
        """
        ignored = f"The adapter '{self.name}' has settings that this version of PEFT does not know, and left out: "
        of_base = self._note_of_base(base, names)
        return [*([f"{ignored}{named(self.ignored)}."] if self.ignored else []), *([of_base] if of_base else [])]

    def _note_of_base(self, base: str, names: set[str]) -> str | None:
        if self.made_for is None or any(plain_name(self.made_for) == plain_name(name) for name in names):
            return None
        return (
            f"The adapter '{self.name}' says that it was trained on '{self.made_for}', not on '{base}'; on another base than "
            "its own it is a model that nobody trained."
        )

    def _check_kind(self) -> None:
        """Refuse what cannot be compared token by token, or would change the base."""
        kind = getattr(self.config.peft_type, "value", self.config.peft_type)
        if self.config.is_prompt_learning:
            raise UserError(
                f"{self.what} is a {kind} adapter, which reads other tokens than the base; only adapters that change weights "
                "(LoRA and its kin) can be compared token by token."
            )
        if kind in NEEDS_MORE:
            raise UserError(
                f"{self.what} is a {kind} adapter, which {NEEDS_MORE[kind]}; only adapters that change weights (LoRA and its "
                "kin) can be compared token by token."
            )
        if getattr(self.config, "bias", "none") != "none":
            raise UserError(
                f"{self.what} trains biases (bias: {self.config.bias}), which PEFT writes into the shared base; {MERGE}."
            )
        start = getattr(self.config, "init_lora_weights", None)
        if isinstance(start, str) and start.lower().startswith(CHANGES_BASE):
            raise UserError(
                f"{self.what} was begun from the base's own weights (init_lora_weights: {start!r}), which PEFT takes out of "
                f"the shared base again; save it as a plain LoRA (path_initial_model_for_weight_conversion), or {MERGE}."
            )
        if getattr(self.config, "layer_replication", None):
            raise UserError(f"{self.what} repeats layers (layer_replication), which PEFT does to the shared base; {MERGE}.")
        if getattr(self.config, "alora_invocation_tokens", None):
            raise UserError(
                f"{self.what} acts only after its invocation tokens (alora_invocation_tokens), which context windows cut off; "
                "give an adapter that acts on every token."
            )

    def _file(self) -> str:
        """Of the two names of PEFT's files the one that is no pickle, fetched where the adapter is on the hub."""
        if (file := cached_file(self.spec, WEIGHTS, _raise_exceptions_for_missing_entries=False)) is None:
            raise UserError(
                f"{self.what} has no '{WEIGHTS}'; pickles (.bin) are not read, so save it with a PEFT that writes safetensors."
            )
        return file

    def _check_patterns(self, modules: list[str]) -> None:
        """Try the regular expressions of its settings in a process that can be stopped: a bad one never ends."""
        config = self.config
        given = [getattr(config, name, None) for name in ("target_modules", "exclude_modules", "layers_pattern")]
        patterns = [value for value in given if isinstance(value, str)]
        patterns += [key for name in ("rank_pattern", "alpha_pattern") for key in getattr(config, name, None) or ()]
        patterns += [value for value in given if isinstance(value, list) for value in value]
        patterns = [pattern for pattern in patterns if not pattern.replace("_", "").replace(".", "").replace("-", "").isalnum()]
        if not patterns:
            return
        try:
            subprocess.run(
                [sys.executable, "-I", "-c", MATCHER], input=json.dumps([patterns, modules]), text=True, capture_output=True,
                timeout=MATCH_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise UserError(
                f"{self.what} has regular expressions in its settings that take more than {MATCH_SECONDS} s to match "
                f"({patterns[0]!r}); list the modules in target_modules instead."
            ) from error

    def _check_shared(self, model: nn.Module, base: str) -> None:
        """Refuse tensors of the base that PEFT saved with it, as it does of embeddings, where they are not this base's.

        PEFT would write them into the base that all share.
        """
        shared = dict(_plain(model).named_parameters(remove_duplicate=False))
        own = set(getattr(self.config, "modules_to_save", None) or ())
        for key, stored in self.tensors.items():
            place = key.removeprefix("base_model.model.").replace(".base_layer.", ".")
            module = place.split(".")[-2] if "." in place else ""
            of_base = shared.get(place, shared.get(place.replace(f".{module}.", f".{module}.base_layer.")))
            if of_base is None or not (".base_layer." in key or (module in EMBEDDINGS and module not in own)):
                continue
            if of_base.shape != stored.shape:
                raise UserError(
                    f"{self.what} brings an embedding of its own ({named([key])}, {list(stored.shape)}; the base's is "
                    f"{list(of_base.shape)}), which all models would share; {MERGE}."
                )
            values = stored_tensor(local_folder(base), place) if of_base.is_meta else of_base.cpu()
            if values is None or not torch.equal(values.to(of_base.dtype), stored.to(of_base.dtype)):
                raise UserError(f"{self.what} brings another {named([key])} than the base has, which all would share; {MERGE}.")

    def _misfit(self, base: str, error: Exception) -> str:
        """The sentence for what PEFT could not put in place."""
        if isinstance(error, KeyError):
            return f"{self.what} lacks {error.args[0]!r} in its file; save or fetch it again."
        words = f"{self.what} does not fit the base '{base}': {' '.join(first_line(error, lines=2).split()).rstrip('.!')}"
        if "size mismatch" in str(error) and any(name in str(error) for name in EMBEDDINGS):
            return f"{words}; it was trained on a vocabulary of another size, so {MERGE}."
        return f"{words}."


def _settings(folder: str) -> tuple[PeftConfig, list[str]]:
    """An adapter's settings, and the names of those that PEFT says it ignores."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        config = PeftConfig.from_pretrained(folder)
    listed = (re.search(r"Unexpected keyword arguments \[(.*?)\]", str(warning.message)) for warning in said)
    return config, [name for found in listed if found for name in re.findall(r"'([^']*)'", found[1])]


def inside(name: str) -> str:
    """What PEFT calls a variant's adapter, or a twin's: no variant's is part of a twin's, which PEFT would take for its own."""
    variant, _, twin = name.partition(":")
    return f"{twin}_{variant}" if twin else f"variant_{name}"


def _is_on_meta(model: nn.Module) -> bool:
    return all(parameter.is_meta for parameter in model.parameters())


def _plain(model: nn.Module) -> nn.Module:
    return model.get_base_model() if isinstance(model, PeftModel) else model
