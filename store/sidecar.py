"""What comes after the extraction, beside the store: imported labels, and causal checks. The store itself never changes.

``my-store.sidecar.sqlite`` next to ``my-store/``, SQLite in WAL mode, so that it can be read while something is written.
Rows carry the digest of the store that they are about: extracted anew with another content, the store does not see them.
Version 1 held labels only; it is read as it is, and the first write brings it up to date.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from store.errors import UserError
from store.steering import Steering

VERSION = 2
STEERING_SINCE = 2
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
CREATE TABLE IF NOT EXISTS steering (
    store TEXT NOT NULL,         -- digest of the store's manifest
    layer INTEGER NOT NULL,
    feature INTEGER NOT NULL,
    variant TEXT NOT NULL,
    mode TEXT NOT NULL,          -- 'restore' or 'ablate'
    n_contexts INTEGER NOT NULL,
    n_positions INTEGER NOT NULL,
    kl_before REAL NOT NULL,     -- nats, mean over contexts
    kl_after REAL NOT NULL,
    low REAL,                    -- 95 % interval of kl_after - kl_before over contexts; null: too few contexts
    high REAL,
    controls TEXT NOT NULL,      -- JSON object: feature -> kl_after along its direction instead
    seed INTEGER NOT NULL,
    made TEXT NOT NULL,          -- ISO 8601 time, UTC
    PRIMARY KEY (store, layer, feature, variant)
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
    rows = [(digest, *astuple(label), _now()) for label in labels]
    return _write(store, "INSERT OR REPLACE INTO labels VALUES (?, ?, ?, ?, ?, ?)", rows)


def write_steering(store: Path, digest: str, result: Steering) -> Path:
    """Keep a causal check of a store; it takes the place of an earlier one of the same layer, feature and variant.

    Args:
        digest: of the store's manifest.

    Returns:
        The sidecar's path.

    Raises:
        UserError: the sidecar cannot be written, or is of a later version.
    """
    *numbers, controls, seed = astuple(result)
    row = (digest, *numbers, json.dumps(controls, allow_nan=False), seed, _now())
    return _write(store, f"INSERT OR REPLACE INTO steering VALUES ({', '.join('?' * len(row))})", [row])


def read_labels(store: Path, digest: str) -> pd.DataFrame:
    """The imported labels of a store: layer, feature, label, label_source; no rows where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read or is of a later version.
    """
    query = "SELECT layer, feature, label, label_source FROM labels WHERE store = ? ORDER BY layer, feature"
    rows = _read(store, lambda connection: connection.execute(query, [digest]).fetchall())
    return pd.DataFrame(rows, columns=COLUMNS)


def read_steering(store: Path, digest: str) -> list[Steering]:
    """The causal checks of a store by layer, feature and variant; none where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read or is of a later version.
    """
    query = """
        SELECT layer, feature, variant, mode, n_contexts, n_positions, kl_before, kl_after, low, high, controls, seed
        FROM steering WHERE store = ? ORDER BY layer, feature, variant
    """

    def ask(connection: sqlite3.Connection) -> list[tuple]:
        return connection.execute(query, [digest]).fetchall() if _version(connection) >= STEERING_SINCE else []

    return [
        Steering(*numbers, {int(feature): kl for feature, kl in json.loads(controls).items()}, seed)
        for *numbers, controls, seed in _read(store, ask)
    ]


def _write(store: Path, statement: str, rows: Sequence[tuple]) -> Path:
    """Insert rows, all or none, into a sidecar that is made or brought up to date first."""
    path = sidecar_path(store)
    with _open(path, path, isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        with _transaction(connection):
            connection.executemany(statement, rows)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def _read(store: Path, ask: Callable[[sqlite3.Connection], list[tuple]]) -> list[tuple]:
    """The answer of a sidecar, opened read-only; no rows where there is none."""
    path = sidecar_path(store)
    if not path.is_file():
        return []
    address = f"file:{quote(str(path))}?mode=ro"
    try:
        with _open(path, address, uri=True) as connection:
            return ask(connection)
    except UserError:
        # In a folder that cannot be written SQLite has no place for its lock file; nobody else can be writing there either.
        if os.access(path.parent, os.W_OK):
            raise
        with _open(path, f"{address}&immutable=1", uri=True) as connection:
            return ask(connection)


@contextlib.contextmanager
def _open(path: Path, address: str | Path, **options) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(address, timeout=10, **options)) as connection:
            version = _version(connection)
            if version > VERSION:
                raise UserError(f"The sidecar '{path}' has version {version}, but this program reads version {VERSION}.")
            yield connection
    except sqlite3.Error as error:
        raise UserError(
            f"The sidecar '{path}' cannot be used ({error}); move it away to have the store without imported labels and "
            "causal checks."
        ) from error


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
