"""What comes to a finished store later, and is read as a part of it: one database beside its folder, by its digest."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb
import pandas as pd

from store import files
from store.format.manifest import MANIFEST_FILE
from store.format.tables import CONTRIBUTIONS

VERSION = "3"
"""Of contributions.sql; raise it when that changes."""


def addition_path(folder: Path) -> Path:
    """Where the contributions of a store are: ``NAME.contributions.duckdb`` beside its folder."""
    return folder.absolute().parent / f"{folder.absolute().name}.contributions.duckdb"


def is_begun(folder: Path) -> bool:
    """Whether a store is finished and its contributions are under way: their batches lie beside it."""
    place = addition_path(folder)
    return (folder / MANIFEST_FILE).is_file() and files.partial_of(place).is_dir() and not place.exists()


def write_contributions(
    database: Path, store_digest: str, about: Mapping[str, object], fill: Callable[[Callable[[str, pd.DataFrame], None]], None]
) -> None:
    """A finished database of contributions, on the disk.

    Args:
        database: where it will be; what is there is lost. A file beside it is used meanwhile.
        about: what it was made from, for the table about.
        fill: called with what appends rows to a table.

    Raises:
        UserError: a key is not unique.
        OSError: the disk is full, or cannot be written to.
    """
    staging = database.with_name(f"{database.stem}-staging.duckdb")
    for leftover in (staging, database):
        leftover.unlink(missing_ok=True)
    try:
        with CONTRIBUTIONS.create(staging) as connection:
            fill(lambda table, rows: CONTRIBUTIONS.load(connection, table, rows))
            names = {"store_digest": store_digest, "version": VERSION, **about}
            connection.executemany("INSERT INTO about VALUES (?, ?)", [(name, str(value)) for name, value in names.items()])
            finished = CONTRIBUTIONS.copy_sorted(connection, database)
        with finished:
            CONTRIBUTIONS.check_keys(finished)
            finished.execute("INSERT INTO about VALUES ('digest', ?)", [content_digest(finished)])
            finished.execute("CHECKPOINT")
    finally:
        staging.unlink(missing_ok=True)
    files.sync(database)


def content_digest(connection: duckdb.DuckDBPyConnection, catalog: str | None = None) -> str:
    """Of every table but what it is about."""
    return CONTRIBUTIONS.digest(connection, catalog, leave_out=("about",))


def copy_for(source: Path, folder: Path, digest: str) -> None:
    """Put a copy of a store's contributions beside a copy of it, whole or not at all.

    Args:
        source: the file, which was looked at.
        folder: the copy of the store; digest: its manifest's.

    Raises:
        OSError: the disk is full, or cannot be written to.
    """
    place = addition_path(folder)
    partial = files.partial_of(place)
    try:
        shutil.copyfile(source, partial)
        with duckdb.connect(str(partial)) as connection:
            connection.execute("UPDATE about SET value = ? WHERE name = 'store_digest'", [digest])
            connection.execute("CHECKPOINT")
        files.put_in_place(partial, place)
    finally:
        partial.unlink(missing_ok=True)
