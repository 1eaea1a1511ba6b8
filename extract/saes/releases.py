"""Where a dictionary lies: in a folder, or in a repository of the hub that sae-lens' registry names or the user does."""

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sae_lens
from sae_lens.constants import SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME
from sae_lens.loading.pretrained_saes_directory import get_config_overrides, get_pretrained_saes_directory

from extract.config_sections import SaeConfig
from extract.saes.architectures import check_architecture
from extract.saes.folders import LIBRARIES, format_of, library_of
from extract.saes.registry import Known, known
from store.errors import UserError

PICKLES = ("connor_rob_hook_z", "goodfire", "deepseek_r1", "qwen_scope", "dictionary_learning_1")
"""sae-lens' loaders of files that torch reads by its restricted unpickler, which makes tensors and nothing else."""
UNRESTRICTED = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""The environment variable that takes that restriction away."""


@dataclass(frozen=True)
class Place:
    """Where a dictionary lies.

    Attributes:
        name: what it is called in the store.
        path: its folder; None: it is on the hub.
        release, id: as sae-lens takes them.
        loader: which of sae-lens' loaders reads it.
        repository, folder: on the hub, or as the loader is told.
        overrides: settings that count more than what the loader says.
        scale: what its input is to be multiplied by, where its files say it beside its settings.
        known: what the registry says of it; None where it is not in it.
    """

    name: str
    path: Path | None
    release: str = ""
    id: str = ""
    loader: str = "sae_lens"
    repository: str = ""
    folder: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    scale: float | None = None
    known: Known | None = None

    def __str__(self) -> str:
        """At the head of an error: by its folder, or by release and id."""
        return f"The dictionary '{self.path or self.name}'"


def find(config: SaeConfig) -> Place:
    """Find the folder, or the release and id in sae-lens' registry.

    Raises:
        UserError: there is none (near names are given), or it is of a format or an architecture that is not read.
    """
    if config.path is not None:
        return _in_folder(config.name, Path(config.path), config.path)
    releases = get_pretrained_saes_directory()
    if config.release not in releases:
        if "/" not in config.release:
            near = _nearest(config.release, releases)
            raise UserError(
                f"There is no release '{config.release}' in sae-lens {sae_lens.__version__}{near}; correct it, or give a "
                "repository of the hub as release."
            )
        return Place(config.name, None, config.release, config.id, "sae_lens", config.release, config.id)
    one = known(config.release, config.id)
    if one is None:
        near = _nearest(config.id, releases[config.release].saes_map)
        raise UserError(f"The release '{config.release}' has no dictionary '{config.id}'{near}; correct the id.")
    check_architecture(config.name, one.settings)
    _check_pickle(config.name, one.loader)
    overrides = get_config_overrides(config.release, config.id)
    return Place(config.name, None, config.release, config.id, one.loader, one.repository, one.folder, overrides, None, one)


def _check_pickle(name: str, loader: str) -> None:
    """torch's restriction must stand where a dictionary comes as a pickle.

    Raises:
        UserError: it was taken away.
    """
    if loader in PICKLES and os.environ.get(UNRESTRICTED, "0") != "0":
        raise UserError(
            f"The dictionary '{name}' comes as a pickle, which could run anything while {UNRESTRICTED} is set; unset it."
        )


def _nearest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=3, cutoff=0.4)
    return f" (nearest: {', '.join(near)})" if near else ""


def _in_folder(name: str, folder: Path, called: str) -> Place:
    """One that sae-lens saved, or another library.

    Raises:
        UserError: there is none, or it is not one that can be read.
    """
    has = {file for file in (SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME) if (folder / file).is_file()}
    if has == {SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME}:
        return Place(name, folder)
    if library := library_of(folder):
        found = format_of(folder, library)
        _check_pickle(called, found.loader)
        return Place(name, folder, "", "", found.loader, found.repository, found.folder, found.overrides, found.scale)
    for library in LIBRARIES:
        lacks = [file for file in library.files if not (folder / file).is_file()]
        if library.files[0] not in lacks:
            raise UserError(f"The folder '{called}' looks like one of {library.name}, and has no {lacks[0]}; fetch it again.")
    missing = SAE_WEIGHTS_FILENAME if SAE_CFG_FILENAME in has else SAE_CFG_FILENAME
    raise UserError(
        f"There is no dictionary at '{called}' (no {missing}); give a folder that sae-lens saved, or one of "
        f"{', '.join(library.name for library in LIBRARIES)}."
    )
