"""Two stores that only their contents tell apart, and the ways in which one comes to lie where the other lay."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import h5py
import pytest

from store.format import tables
from store.format.codes import part_file
from store.format.manifest import DATABASE_FILE
from store.format.part_reading import part_digest
from store.format.writer import content_digest
from tests.support import tiny_store
from tests.support.forged import rewrite_manifest

CODES = "layer_12/codes/maths"
WHEN = 1_700_000_000_000_000_000


def make_pair(folder: Path) -> tuple[Path, Path]:
    """The tiny store, and another with the same files of the same sizes and times.

    The first has the documents 'sum-1', 'sum-2' and 'refusal-1', and in 'maths' at layer 12 the raw codes 3, 1, 4, 1 of feature
    0; the other has 'add-1', 'add-2' and 'decline-1', and 1, 4, 1, 3.
    """
    old, new = folder / "old", folder / "new"
    tiny_store.make_tiny_store(old)
    with pytest.MonkeyPatch.context() as patch:
        named = [(source.replace("sum", "add").replace("refusal", "decline"), *rest) for source, *rest in tiny_store.DOCUMENTS]
        patch.setattr(tiny_store, "DOCUMENTS", named)
        tiny_store.make_tiny_store(new)
    with h5py.File(new / part_file(0), "a") as file:
        for name in ("by_token", "by_feature"):
            file[f"{CODES}/{name}/value"][:] = file[f"{CODES}/{name}/value"][:][::-1]
    for store in (old, new):
        with duckdb.connect(str(store / DATABASE_FILE), read_only=True) as connection:
            found = tables.STORE.digest(connection)
        rewrite_manifest(store, digest=content_digest(found, [part_digest(store / part_file(0))]))
        same_times(store)
    sizes = [{file.relative_to(store): file.stat().st_size for file in _files(store)} for store in (old, new)]
    assert sizes[0] == sizes[1]
    return old, new


def same_times(store: Path) -> None:
    """As a copy has them that keeps times."""
    for path in [*_files(store), store / "latents", store]:
        os.utime(path, ns=(WHEN, WHEN))


def removed_and_copied(new: Path, place: Path) -> None:
    """As when a store is extracted anew, or unpacked."""
    shutil.rmtree(place)
    shutil.copytree(new, place)
    same_times(place)


def moved(new: Path, place: Path) -> None:
    """The old folder still is, under another name."""
    place.rename(place.with_name("before"))
    shutil.copytree(new, place)
    same_times(place)


def overwritten(new: Path, place: Path) -> None:
    """The very files, with other bytes."""
    for file in _files(new):
        with (place / file.relative_to(new)).open("r+b") as target:
            target.write(file.read_bytes())
    same_times(place)


def linked(new: Path, place: Path) -> None:
    """A link to the folder of the day, which points to another."""
    if not place.is_symlink():
        place.rename(place.with_name("before"))
    (link := place.with_name("link")).symlink_to(new)
    link.replace(place)


WAYS: tuple[Callable[[Path, Path], None], ...] = (removed_and_copied, moved, overwritten, linked)


def _files(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file())
