"""What sae-lens' loaders read in place of the hub: its cache, a folder, or nothing at all."""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath

import huggingface_hub.constants
import requests
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, OfflineModeIsEnabled
from numpy.lib import format as npy
from sae_lens.loading import pretrained_sae_loaders as loaders
from safetensors import safe_open

NO_HUB = (LocalEntryNotFoundError, OfflineModeIsEnabled, requests.ConnectionError, requests.Timeout)
"""What is raised where a file is not in the cache and the hub cannot be asked."""
PATIENCE = 10.0
"""Seconds that the hub is given to answer at all."""

Shapes = dict[str, list[int]]


def tensor_shapes(file: str | Path) -> Shapes:
    """Tensor of a safetensors file -> its shape; the weights are not read."""
    with safe_open(file, framework="pt") as tensors:
        return {name: list(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118


def npz_header(file: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Array of an npz file -> (shape, dtype); the arrays are not read, which can be gigabytes.

    Raises:
        ValueError: one is no array, or the file is no archive.
    """
    found = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                with archive.open(name) as array:
                    version = npy.read_magic(array)
                    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                    shape, _order, kind = read(array)
                found[name.removesuffix(".npy")] = (shape, kind.name)
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error
    return found


@cache
def hub_answers() -> bool:
    """Whether the hub can be asked: found out once, since it is otherwise tried for half a minute for every file."""
    try:
        requests.head(huggingface_hub.constants.ENDPOINT, timeout=PATIENCE)
    except (requests.RequestException, OSError):
        return False
    return True


@contextmanager
def from_the_hub() -> Iterator[None]:
    """sae-lens' loaders read the hub, or its cache alone where it does not answer.

    sae-lens asks the hub for the shapes in a file before it loads it; here a file that is cached is asked itself, so that a
    machine without network can read what it has.
    """
    real, was_off = loaders.get_safetensors_tensor_shapes, huggingface_hub.constants.HF_HUB_OFFLINE

    def shapes(repository: str, file: str) -> Shapes:
        cached = try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return tensor_shapes(cached)
        if huggingface_hub.constants.HF_HUB_OFFLINE:
            raise LocalEntryNotFoundError(f"'{file}' of '{repository}' is not cached, and the hub does not answer")
        return real(repository, file)

    huggingface_hub.constants.HF_HUB_OFFLINE = was_off or not hub_answers()
    try:
        with _instead(loaders.hf_hub_download, shapes):
            yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = was_off


@contextmanager
def from_a_folder(folder: Path, called: str) -> Iterator[None]:
    """sae-lens' loaders find the files of a dictionary in a folder.

    Args:
        called: the folder within a repository that the loaders are told.
    """

    def place(*parts: str | None) -> Path:
        return folder / PurePosixPath(*filter(None, parts)).relative_to(called)

    def download(repo_id: str, filename: str, subfolder: str | None = None, **_options: object) -> str:
        file = place(subfolder, filename)
        if not file.is_file():
            raise LocalEntryNotFoundError(f"there is no '{file.name}' in '{folder}'")
        return str(file)

    def shapes(_repository: str, file: str) -> Shapes:
        return tensor_shapes(place(file))

    with _instead(download, shapes):
        yield


@contextmanager
def by_names_alone(shapes: Shapes) -> Iterator[None]:
    """sae-lens' loaders find no file, and take what they can from the names; shapes: what they are told is in any file."""

    def download(*_arguments: object, **_options: object) -> str:
        raise EntryNotFoundError("no file is looked at")

    with _instead(download, lambda *_names: shapes):
        yield


@contextmanager
def _instead(download: Callable[..., str], shapes: Callable[[str, str], Shapes]) -> Iterator[None]:
    real = loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes
    loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = download, shapes
    try:
        yield
    finally:
        loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = real
