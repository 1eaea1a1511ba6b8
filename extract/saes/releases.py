"""Where a dictionary lies: in a folder, or in a repository of the hub that sae-lens' registry names or the user does."""

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import sae_lens
from sae_lens.constants import SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME, SPARSIFY_WEIGHTS_FILENAME
from sae_lens.loading.pretrained_sae_loaders import get_conversion_loader_name
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

from extract.config_sections import SaeConfig
from extract.saes.conventions import check_architecture
from store.errors import UserError

NOT_READ = ("temporal", "clt", "transcoder")
"""What names of loaders, and of folders of Gemma Scope 2, say of the architecture, before anything is fetched."""
PICKLES = ("connor_rob_hook_z", "goodfire", "deepseek_r1", "qwen_scope", "dictionary_learning_1")
"""sae-lens' loaders of files that torch reads by its restricted unpickler, which makes tensors and nothing else."""
UNRESTRICTED = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""The environment variable that takes that restriction away."""
OTHER_FORMATS = {
    "ae.pt": "dictionary_learning",
    "params.npz": "Gemma Scope",
    "params.safetensors": "Gemma Scope 2",
    "hyperparams.json": "Llama Scope",
    SPARSIFY_WEIGHTS_FILENAME: "sparsify",
}
"""A file that tells a folder of another library."""


@dataclass(frozen=True)
class Place:
    """Where a dictionary lies.

    Attributes:
        name: what it is called in the store.
        path: its folder; None: it is on the hub.
        release, id: as sae-lens takes them.
        loader: which of sae-lens' loaders reads it.
        repository, folder: on the hub.
    """

    name: str
    path: Path | None
    release: str = ""
    id: str = ""
    loader: str = "sae_lens"
    repository: str = ""
    folder: str = ""

    def __str__(self) -> str:
        """At the head of an error: by its folder, or by release and id."""
        return f"The dictionary '{self.path or self.name}'"


def find(config: SaeConfig) -> Place:
    """Find the folder, or the release and id in sae-lens' registry.

    Raises:
        UserError: there is none (near names are given), or it is of a format or an architecture that is not read.
    """
    if config.path is not None:
        _check_folder(Path(config.path), config.path)
        return Place(config.name, Path(config.path))
    releases = get_pretrained_saes_directory()
    if config.release not in releases:
        if "/" not in config.release:
            near = _nearest(config.release, releases)
            raise UserError(
                f"There is no release '{config.release}' in sae-lens {sae_lens.__version__}{near}; correct it, or give a "
                "repository of the hub as release."
            )
        return Place(config.name, None, config.release, config.id, "sae_lens", config.release, config.id)
    release = releases[config.release]
    if config.id not in release.saes_map:
        near = _nearest(config.id, release.saes_map)
        raise UserError(f"The release '{config.release}' has no dictionary '{config.id}'{near}; correct the id.")
    folder, loader = release.saes_map[config.id], get_conversion_loader_name(config.release)
    if kind := next((kind for kind in NOT_READ if kind in (folder if loader == "gemma_3" else loader)), None):
        check_architecture(config.name, {"architecture": kind})
    if loader in PICKLES and os.environ.get(UNRESTRICTED, "0") != "0":
        raise UserError(
            f"The dictionary '{config.name}' comes as a pickle, which could run anything while {UNRESTRICTED} is set; unset it."
        )
    return Place(config.name, None, config.release, config.id, loader, release.repo_id, folder)


def _nearest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=3, cutoff=0.4)
    return f" (nearest: {', '.join(near)})" if near else ""


def _check_folder(folder: Path, called: str) -> None:
    has = {file for file in (SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME, *OTHER_FORMATS) if (folder / file).is_file()}
    if {SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME} <= has:
        return
    if other := next((library for file, library in OTHER_FORMATS.items() if file in has), None):
        raise UserError(
            f"The folder '{called}' holds a dictionary of {other}, which is read only where a release of sae-lens names it; "
            f"save it with sae-lens, as {SAE_CFG_FILENAME} and {SAE_WEIGHTS_FILENAME}, first."
        )
    missing = SAE_WEIGHTS_FILENAME if SAE_CFG_FILENAME in has else SAE_CFG_FILENAME
    raise UserError(f"There is no dictionary at '{called}' (no {missing}); give a folder that sae-lens saved.")
