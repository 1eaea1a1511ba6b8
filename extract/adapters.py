"""PEFT adapters on the base: which can be compared with it, whether each came whole from its file and left the base alone."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from transformers.utils import cached_file

from extract.checkpoints import named
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
        made_for: the base that its settings name, or None; of a path only the last piece, its place is nobody's business.

    Raises:
        UserError: there is no adapter, or it is of a kind that would change the base it is compared with.
    """

    def __init__(self, name: str, spec: str) -> None:
        self.name, self.spec = name, spec
        self.what = f"The adapter '{name}' ({spec})"
        try:
            self.folder = str(Path(cached_file(spec, "adapter_config.json")).parent)
            self.config = PeftConfig.from_pretrained(self.folder)
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
        if broken := [key for key, tensor in self.tensors.items() if not torch.isfinite(tensor).all()]:
            raise UserError(f"{self.what} holds NaN or infinite numbers in {named(broken)}; save or fetch it again.")

    @property
    def inside(self) -> str:
        """What PEFT calls it: it keeps adapters as attributes of modules, where a name like 'train' is taken."""
        return inside(self.name)

    def put_on(self, model: nn.Module, base: str, untouched: "Untouched") -> tuple[PeftModel, dict[str, torch.Tensor]]:
        """Put it on the base, beside those that are there.

        Args:
            base: what the configuration calls the base.
            untouched: the base's weights before any adapter.

        Returns:
            (the model with it, its tensors as PEFT would save them).

        Raises:
            UserError: it belongs to another base, a tensor of its file found no place, one that it has is not in its file, or
                it changed the base.
        """
        self._check_patterns([key for key, _ in _plain(model).named_modules()])
        self._check_shared(model)
        try:
            if isinstance(model, PeftModel):
                model.load_adapter(self.folder, adapter_name=self.inside)
            else:
                model = PeftModel.from_pretrained(model, self.folder, adapter_name=self.inside)
            model.eval().requires_grad_(False)
            # Else PEFT asks the hub for the base that is named there, on whose answer nothing here depends.
            model.peft_config[self.inside].base_model_name_or_path = None
            own = model.state_dict(keep_vars=True)
            found = get_peft_model_state_dict(model, state_dict=own, adapter_name=self.inside)
            report = set_peft_model_state_dict(model, dict(self.tensors), adapter_name=self.inside)  # for what it reports
        except Exception as error:  # damaged settings surface as whatever PEFT runs into
            raise UserError(self._misfit(base, error)) from error
        if unplaced := sorted(report.unexpected_keys):
            raise UserError(
                f"{self.what} was made for another base than '{base}': it changes {named(unplaced)}, which this base does not "
                "have."
            )
        kept = {id(tensor) for tensor in found.values()}
        mine = {key for key, tensor in own.items() if id(tensor) in kept}
        if missing := sorted(key for key in report.missing_keys if key in mine and self.inside in key.split(".")):
            raise UserError(f"{self.what} lacks {named(missing)} in its file; save or fetch it again.")
        if untouched.is_broken(model):
            raise UserError(f"{self.what} changes the base's own weights as PEFT loads it, with which it is compared; {MERGE}.")
        return model, found

    def note(self, base: str, names: set[str]) -> str | None:
        """A sentence where it names another base than the run's; names: what the run's is known by."""
        if self.made_for is None or any(_plain_name(self.made_for) == _plain_name(name) for name in names):
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

    def _check_shared(self, model: nn.Module) -> None:
        """Drop tensors of the base that PEFT saved with it, as it does of embeddings, where they are the base's; else refuse.

        PEFT would write them into the base that all share.
        """
        shared = dict(_plain(model).named_parameters(remove_duplicate=False))
        for key in [key for key in self.tensors if ".base_layer." in key]:
            place = key.removeprefix("base_model.model.")
            of_base = shared.get(place, shared.get(place.replace(".base_layer.", ".")))
            if of_base is None:
                continue
            stored = self.tensors[key]
            if of_base.shape != stored.shape:
                raise UserError(
                    f"{self.what} brings an embedding of its own ({named([key])}, {list(stored.shape)}; the base's is "
                    f"{list(of_base.shape)}), which all models would share; {MERGE}."
                )
            if not of_base.is_meta and not torch.equal(of_base.cpu(), stored.to(of_base.dtype)):
                raise UserError(f"{self.what} brings another {named([key])} than the base has, which all would share; {MERGE}.")

    def _misfit(self, base: str, error: Exception) -> str:
        """The sentence for what PEFT could not put in place."""
        words = f"{self.what} does not fit the base '{base}': {first_line(error, lines=2)}"
        if any(name in str(error) for name in ("embed_tokens", "lm_head", "wte")) and "size mismatch" in str(error):
            words += f"; it was trained on a vocabulary of another size, so {MERGE}."
        return words


class Untouched:
    """The base's weights as they are before an adapter, to see whether one changed them.

    Some ways to begin an adapter write past torch's count of a tensor's versions, so each tensor's sum is kept; a sum reads the
    weights once, which takes far less than loading them.
    """

    def __init__(self, base: nn.Module) -> None:
        self._sums = [(tensor, _sum(tensor)) for tensor in _tensors(base)]

    def is_broken(self, model: nn.Module) -> bool:
        """Whether a tensor of the base is no longer in a model with adapters, or holds other numbers."""
        present = {id(tensor) for tensor in _tensors(model)}
        return any(id(tensor) not in present or _sum(tensor) != before for tensor, before in self._sums)


def _sum(tensor: torch.Tensor) -> float:
    if tensor.is_floating_point() and tensor.itemsize == 1:  # of quantised weights, which torch does not add up
        tensor = tensor.view(torch.uint8)
    return 0.0 if tensor.is_meta else float(tensor.sum(dtype=torch.float64))


def inside(name: str) -> str:
    """What PEFT calls a variant's adapter."""
    return f"variant_{name}"


def display_base(named_base: str | None) -> str | None:
    """The base that an adapter's settings name: hub ids whole, of paths the last piece, of the hub's cache the id."""
    if not named_base:
        return None
    pieces = [piece for piece in named_base.replace("\\", "/").split("/") if piece]
    if cached := [piece for piece in pieces if piece.startswith("models--")]:
        return cached[-1].removeprefix("models--").replace("--", "/")
    local = named_base.startswith(("/", ".", "~")) or len(pieces) > 2 or "\\" in named_base
    return pieces[-1] if local and pieces else named_base


def _plain_name(name: str) -> str:
    """The last piece of a model's name without case, separators and what only says how a file is written."""
    piece = name.replace("\\", "/").rstrip("/").split("/")[-1].lower()
    piece = re.sub(r"[-_.](gguf|hf)$", "", piece)
    piece = re.sub(r"[-_.](i?q\d[-_a-z0-9]*|b?f16|f32)$", "", piece)
    return "".join(letter for letter in piece if letter.isalnum())


def _plain(model: nn.Module) -> nn.Module:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()

