"""Checking a whole store: every byte and row against its manifest."""

import stat
from collections.abc import Collection
from pathlib import Path

import duckdb

from store.errors import first_line, unavailable
from store.format import tables, trust
from store.format.additions import addition_path
from store.format.manifest import DATABASE_FILE, file_hash
from store.format.part_reading import part_digest
from store.format.writer import content_digest
from store.read import attached, contents, opening
from store.read.connection import Connection
from store.sidecar import entries


def verify(path: str | Path, beside: Collection[str] = ()) -> list[str]:
    """Check every byte and row of a store against its manifest, and the structure of its sidecar.

    Args:
        beside: what may lie in the folder although the manifest does not name it.

    Returns:
        One sentence for each thing that is wrong; an empty list for a sound store.

    Raises:
        UserError: it cannot be opened at all, or was replaced meanwhile.
    """
    folder = Path(path)
    manifest, snapshot = opening.read_manifest(folder)
    opening.refuse_if_written(folder)
    contents.check_names(folder, manifest)
    problems = []
    for name, expected in manifest.files.items():
        digest = _hash_of(folder, name)
        if digest is None:
            problems.append(f"The file '{name}' is missing.")
        elif digest != expected["sha256"]:
            problems.append(f"The file '{name}' differs from what was written: its SHA-256 does not match the manifest.")
    problems += contents.strange(folder, manifest, beside)
    problems += entries.check(folder)
    if problems:
        snapshot.check()
        return problems
    with Connection.open(folder, manifest, snapshot, with_labels=False) as store:
        try:
            rows, digest = tables.STORE.row_counts(store.cursor()), tables.STORE.digest(store.connection, opening.CATALOG)
        except duckdb.Error as error:
            return [f"The database '{DATABASE_FILE}' lacks what a store has ({first_line(error)})."]
        problems += [
            f"The table {table!r} has {rows.get(table, 'no')} rows, the manifest says {count}."
            for table, count in manifest.rows.items()
            if rows.get(table) != count
        ]
        part_digests = [part_digest(folder / name) for name in sorted(manifest.files) if name.endswith(".h5")]
        snapshot.check()
        if content_digest(digest, part_digests) != manifest.digest:
            problems.append("The content digest does not match the manifest.")
        problems += trust.repeated_keys(store.connection)
        if store.has_contributions:
            problems += attached.faults(store.connection, addition_path(folder))
    return problems


def _hash_of(folder: Path, name: str) -> str | None:
    """SHA-256 of a file of a store; None where there is none.

    Raises:
        Unavailable: it cannot be read.
    """
    file = folder / name
    try:
        return file_hash(file) if stat.S_ISREG(file.stat().st_mode) else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unavailable(f"'{name}' of the store '{folder}'", error) from error
