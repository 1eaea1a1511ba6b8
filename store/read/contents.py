"""What lies in a store's folder beside what its manifest names.

A library reads more than it is told to: DuckDB a journal beside its database, whatever that says. So what could act is refused
at opening, and the rest is told by ``verify``: as harmless where people and their tools leave such files, as a fault elsewhere.
"""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from store.errors import UserError, unavailable
from store.format.manifest import DATABASE_FILE, MANIFEST_FILE, Manifest, read_manifest
from store.format.writer import PILOT_FILE
from store.sidecar import entries

_FILE_NAME = re.compile(r"statistics\.duckdb|pilot\.npz|latents/part-\d{5}\.h5")
_HARMLESS = re.compile(
    r"(README|LICEN[CS]E|NOTICE|CITATION|CHANGELOG|DATASHEET)(\.[\w-]+)*|\.DS_Store|\._.*|Thumbs\.db|desktop\.ini"
    r"|\.git(attributes|ignore|keep)|\.gitkeep",
    re.IGNORECASE,
)
_HARMLESS_FOLDERS = (".git", ".cache", "@eaDir", "__MACOSX")
"""Of version control, of the hub's downloads, of network drives, of archives."""
MOST_TOLD = 20


def check_names(folder: Path, manifest: Manifest) -> None:
    """A store that somebody shared must not make its reader look at other files, nor at what the manifest does not vouch for.

    Raises:
        UserError: it would.
    """
    for name in (*manifest.files, PILOT_FILE):
        if not _FILE_NAME.fullmatch(name):
            raise UserError(f"The manifest names the file {name!r}, which does not belong to a store; do not trust this copy.")
        if not _is_inside(folder / name, folder):
            raise UserError(
                f"The file '{name}' of the store is a link to another place, as in the cache of the Hugging Face hub; fetch "
                "the store as plain files ('hf download REPO --local-dir FOLDER', or snapshot_download with local_dir=), and "
                "do not trust a copy with links from anywhere else."
            )
    if DATABASE_FILE not in manifest.files:
        raise UserError(f"The manifest of '{folder}' does not name '{DATABASE_FILE}'; do not trust this copy.")
    check_folder(folder)


def check_folder(folder: Path) -> None:
    """Nothing lies beside the database that DuckDB would read or write by itself.

    Raises:
        UserError: something does, or the folder of the parts is a link.
    """
    for entry in _entries(folder):
        if entry.name.lower().startswith(f"{DATABASE_FILE}."):
            raise UserError(
                f"The store '{folder}' holds '{entry.name}', which could change its tables and which no finished store has; "
                "take it away, or do not trust this copy."
            )


def strange(folder: Path, manifest: Manifest, beside: Collection[str] = ()) -> list[str]:
    """A sentence for each thing that neither the manifest nor ``beside`` names and that nobody leaves by accident."""
    found = [name for name in _unnamed(folder, manifest) if name not in beside and not _is_harmless(folder, name)]
    told = [f"The folder holds '{name}', which the manifest does not name: take it away." for name in found[:MOST_TOLD]]
    return told + ([f"And {len(found) - MOST_TOLD:,} more."] if len(found) > MOST_TOLD else [])


def remarks(path: str | Path) -> list[str]:
    """What ``verify`` tells of a sound store without finding fault: harmless files, rows of a sidecar without checksums.

    Raises:
        UserError: there is no store, or its sidecar cannot be read.
    """
    folder = Path(path)
    found = [name for name in _unnamed(folder, read_manifest(folder)) if _is_harmless(folder, name)]
    told = [f"The folder also holds '{name}', which is not part of the store; nothing reads it." for name in found[:MOST_TOLD]]
    return told + entries.notes(folder)


def _unnamed(folder: Path, manifest: Manifest) -> list[str]:
    """Paths in the folder, down to the first thing of each branch that the manifest does not name; links are not followed."""
    named = {MANIFEST_FILE, *manifest.files}
    folders = {str(Path(name).parent) for name in manifest.files} - {"."}
    found = []
    for inside in ("", *sorted(folders)):
        for entry in _entries(folder / inside):
            name = f"{inside}/{entry.name}" if inside else entry.name
            if name in folders and entry.is_dir(follow_symlinks=False):
                continue
            if name not in named:
                found.append(name)
    return sorted(found)


def _is_harmless(folder: Path, name: str) -> bool:
    file = folder / name
    if file.is_symlink():
        return False
    return file.name in _HARMLESS_FOLDERS if file.is_dir() else file.is_file() and bool(_HARMLESS.fullmatch(file.name))


def _entries(folder: Path) -> Iterator[os.DirEntry]:
    """What a folder holds; nothing where it is none.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise unavailable(f"The folder '{folder}'", error) from error


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether a file is where its path says, or elsewhere in the folder; not where links go round in a circle."""
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False
