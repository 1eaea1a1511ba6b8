"""What comes after the extraction, beside the store: labels that were imported. The store itself never changes.

``my-store.sidecar.sqlite`` next to ``my-store/``, SQLite in WAL mode, so that it can be read while something is written.
Rows carry the digest of the store that they are about: extracted anew with another content, the store does not see them.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from store.errors import UserError

VERSION = 1
COLUMNS = ["layer", "feature", "label", "label_source"]
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS labels (
    store TEXT NOT NULL,         -- digest of the store's manifest
    layer INTEGER NOT NULL,
    feature INTEGER NOT NULL,
    label TEXT NOT NULL,         -- untrusted text
    label_source TEXT NOT NULL,  -- where it was imported from
    imported TEXT NOT NULL,      -- ISO 8601 time, UTC
    PRIMARY KEY (store, layer, feature)
) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""


@dataclass(frozen=True)
class Label:
    """A name that somebody gave a feature, and where it comes from."""

    layer: int
    feature: int
    label: str
    source: str


def sidecar_path(store: Path) -> Path:
    """Where the sidecar of a store is, or would be."""
    folder = store.resolve()
    return folder.with_name(f"{folder.name}.sidecar.sqlite")


def write_labels(store: Path, digest: str, labels: Sequence[Label]) -> Path:
    """Keep labels for a store, all of them or none; a feature that had an imported label gets the new one.

    Args:
        digest: of the store's manifest.

    Returns:
        The sidecar's path.

    Raises:
        UserError: the sidecar cannot be written, or is of another version.
    """
    path = sidecar_path(store)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with _open(path, path, isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        with _transaction(connection):
            connection.executemany(
                "INSERT OR REPLACE INTO labels VALUES (?, ?, ?, ?, ?, ?)",
                [(digest, *astuple(label), now) for label in labels],
            )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def read_labels(store: Path, digest: str) -> pd.DataFrame:
    """The imported labels of a store: layer, feature, label, label_source; no rows where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read or is of another version.
    """
    path = sidecar_path(store)
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    address = f"file:{quote(str(path))}?mode=ro"
    try:
        return _read(path, address, digest)
    except UserError:
        # In a folder that cannot be written SQLite has no place for its lock file; nobody else can be writing there either.
        if os.access(path.parent, os.W_OK):
            raise
        return _read(path, f"{address}&immutable=1", digest)


def _read(path: Path, address: str, digest: str) -> pd.DataFrame:
    with _open(path, address, uri=True) as connection:
        found = connection.execute(
            "SELECT layer, feature, label, label_source FROM labels WHERE store = ? ORDER BY layer, feature", [digest]
        )
        return pd.DataFrame(found.fetchall(), columns=COLUMNS)


@contextlib.contextmanager
def _open(path: Path, address: str | Path, **options) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(address, timeout=10, **options)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise UserError(f"The sidecar '{path}' has version {version}, but this program reads version {VERSION}.")
            yield connection
    except sqlite3.Error as error:
        raise UserError(
            f"The sidecar '{path}' cannot be used ({error}); move it away to have the store without imported labels."
        ) from error


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
