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
from store.sidecar import entries as sidecar

_HARMLESS = re.compile(
    r"(README|LICEN[CS]E|NOTICE|CITATION|CHANGELOG|DATASHEET)(\.[\w-]+)*|\.DS_Store|\._.*|Thumbs\.db|desktop\.ini"
    r"|\.git(attributes|ignore|keep)|\.gitkeep",
    re.IGNORECASE,
)
_HARMLESS_FOLDERS = (".git", ".cache", "@eaDir", "__MACOSX")
"""Of version control, of the hub's downloads, of network drives, of archives."""
MOST_TOLD = 20


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
    return told + sidecar.notes(folder)


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
