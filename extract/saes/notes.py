"""Notes about several dictionaries at once, so that what is true of all of a run's is said once."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from extract.config import RunConfig
from extract.config_file import PYPI_PREFIX
from extract.saes.conventions import Settings, said, trained_on


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
    different: dict[str, list[str]] = {}
    for name, settings in named:
        for what in _differences(config, settings, wanted):
            different.setdefault(what, []).append(name)
    return [_together(what, names) for what, names in different.items()]


def _differences(config: RunConfig, settings: Settings, bos: bool) -> Iterator[str]:
    """Each as the head of a sentence that ends in the names of those it is true of."""
    model, size = trained_on(settings), said(settings, "context_size")
    if model and not is_called(config.base, model):
        yield f"Trained on '{model}', by their own account, and read on the base '{Path(config.base).name}'"
    if isinstance(size, int) and 0 < size < config.context_length:
        read = f"read on windows of up to {config.context_length} (context_length)"
        yield f"Trained on windows of {size} tokens, and {read}, whose later positions they never saw"
    trained_with = said(settings, "prepend_bos")
    if trained_with is not None and bool(trained_with) != bos:
        yield f"Trained {'with' if trained_with else 'without'} BOS, and read {'with' if bos else 'without'} it"


def is_called(base: str, model: str) -> bool:
    """Whether a base goes by the name of a model: an owner, TransformerLens' short names, signs and cases aside."""
    names = []
    for name in (base.removeprefix(PYPI_PREFIX), model):
        letters = "".join(c for c in Path(name).name.lower() if c.isalnum())
        names.append("gpt2" if letters == "gpt2small" else letters.removeprefix("meta"))
    is_file = base.startswith(PYPI_PREFIX) or base.endswith(".gguf")  # which say how they are quantised too
    return names[1] in names[0] if is_file else names[0] == names[1]
