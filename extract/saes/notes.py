"""Notes about several dictionaries at once, so that what is true of all of a run's is said once."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from transformer_lens.supported_models import MODEL_ALIASES

from extract.config import RunConfig
from extract.config_file import PYPI_PREFIX
from extract.config_sections import SaeConfig
from extract.saes.conventions import Settings, said, trained_on
from extract.saes.judging import EXPANSION
from extract.saes.registry import FromRegistry, Known, known

OFFICIAL = {alias.lower(): name for name, aliases in MODEL_ALIASES.items() for alias in aliases}
"""TransformerLens' short name of a model, in which most dictionaries say theirs -> the hub's name."""


def _together(what: str, names: Sequence[str]) -> str:
    return f"{what}: dictionaries {', '.join(repr(name) for name in names)}."


def centring_notes(names: Sequence[str], where: str) -> list[str]:
    """Of those that read the residual less its mean; where: for which of the run's numbers."""
    what = "Trained on a model with center_writing_weights, and so given residuals less their mean over d_model"
    return [_together(f"{what}, {where}", names)] if names else []


def rounding_notes(kinds: Sequence[tuple[str, str | None, torch.dtype]]) -> list[str]:
    """Of those whose weights lose digits or range; kinds: (name, dtype in the file, dtype as read)."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, stored, kind in kinds:
        if stored is not None and torch.promote_types(getattr(torch, stored), kind) != kind:
            alike.setdefault((stored, str(kind).removeprefix("torch.")), []).append(name)
    return [
        _together(f"Stored in {stored} and read in {kind} (sae_dtype), which rounds their weights", names)
        for (stored, kind), names in alike.items()
    ]


def run_notes(config: RunConfig, named: Sequence[tuple[str, Settings]]) -> list[str]:
    """What a run does otherwise than the training of its dictionaries did: its base, its windows, its BOS.

    Args:
        named: (name, settings) of each dictionary, those of the run before its replicas.
    """
    wanted = config.prepend_bos
    if wanted == "auto":
        wanted = said(named[0][1], "prepend_bos") is not False
    of_registry = {sae.name: _known(sae) for sae in (*config.saes, *config.replicas)}
    different: dict[str, list[str]] = {}
    for name, settings in named:
        one = of_registry.get(name)
        for what in (*_unread(settings, one), *_differences(config, settings, one, wanted)):
            different.setdefault(what, []).append(name)
    return [_together(what, names) for what, names in different.items()]


def _known(sae: SaeConfig) -> Known | None:
    return None if sae.release is None or sae.id is None else known(sae.release, sae.id)


def _unread(settings: Settings, one: Known | None) -> Iterator[str]:
    """What is not known of a dictionary whose settings could not be had."""
    if not isinstance(settings, FromRegistry) or one is None:
        return
    yield "Their settings could not be read without the hub: judged by the registry alone (kind, point, layer and model)"
    if not (one.settings.get("d_sae") or one.expansion):
        yield f"How many features they have is in no name: reckoned with {EXPANSION} for each dimension of what they read"


def _differences(config: RunConfig, settings: Settings, one: Known | None, bos: bool) -> Iterator[str]:
    """Each as the head of a sentence that ends in the names of those it is true of."""
    model, size = trained_on(settings), said(settings, "context_size")
    base = Path(config.base).name
    if model and one is not None and _letters(model) != _letters(one.model):
        trained = f"Trained on '{model}', by their own account, or on '{one.model}', by the registry's"
        yield f"{trained}, and read on the base '{base}'"
    elif model and not is_called(config.base, model):
        yield f"Trained on '{model}', by their own account, and read on the base '{base}'"
    if isinstance(size, int) and 0 < size < config.context_length:
        read = f"read on windows of up to {config.context_length} (context_length)"
        yield f"Trained on windows of {size} tokens, and {read}, whose later positions they never saw"
    trained_with = said(settings, "prepend_bos")
    if trained_with is not None and bool(trained_with) != bos:
        yield f"Trained {'with' if trained_with else 'without'} BOS, and read {'with' if bos else 'without'} it"


def is_called(base: str, model: str) -> bool:
    """Whether a base goes by the name of a model: an owner, TransformerLens' short names, signs and cases aside."""
    names = [_letters(base.removeprefix(PYPI_PREFIX)), _letters(model)]
    is_file = base.startswith(PYPI_PREFIX) or base.endswith(".gguf")  # which say how they are quantised too
    return names[1] in names[0] if is_file else names[0] == names[1]


def _letters(name: str) -> str:
    """A model's name without its owner, signs and cases; TransformerLens' short ones are translated."""
    last = Path(name).name
    official = OFFICIAL.get(name.lower()) or OFFICIAL.get(last.lower()) or last
    return "".join(c for c in Path(official).name.lower() if c.isalnum()).removeprefix("meta")
