"""What comes after the extraction, beside the store: imported labels, causal checks, reviews. The store itself never changes.

``my-store.sidecar.sqlite`` next to ``my-store/``, SQLite in WAL mode, so that it can be read while something is written.
Several programs may write at once: each waits for its turn, up to TIMEOUT seconds.
Rows carry the digest of the store that they are about: extracted anew with another content, the store does not see them.
Version 1 held labels only, version 2 causal checks too; both are read as they are, and the first write brings them up to date.
"""

import contextlib
import errno
import json
import math
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from store.errors import Unavailable, UserError, is_known, unavailable
from store.reviews import Review
from store.steering import Steering

VERSION = 3
LABELS_SINCE, STEERING_SINCE, REVIEWS_SINCE = 1, 2, 3
TIMEOUT = 30
"""Seconds that a reader or writer waits for others."""

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
CREATE TABLE IF NOT EXISTS reviews (  -- every judgement ever given: rows are added, never changed
    id INTEGER PRIMARY KEY,      -- in the order of writing
    store TEXT NOT NULL,         -- digest of the store's manifest
    variant TEXT NOT NULL,
    layer INTEGER NOT NULL,
    feature INTEGER NOT NULL,
    reviewer TEXT NOT NULL,      -- untrusted text
    verdict TEXT NOT NULL,       -- 'concern', 'benign' or 'unclear'
    severity TEXT,               -- 'low', 'medium', 'high'; null: not said, or no concern
    note TEXT NOT NULL,          -- untrusted text
    made TEXT NOT NULL           -- ISO 8601 time, UTC
);
CREATE INDEX IF NOT EXISTS reviews_of_a_variant ON reviews (store, variant);
PRAGMA user_version = {VERSION};
"""
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_REFUSED = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)
"""What may be the operating system's doing, and not damage."""


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


def write_review(store: Path, digest: str, review: Review) -> Path:
    """Add a judgement to a store's history; nothing that was written before is touched. Its time is now.

    Args:
        digest: of the store's manifest.

    Returns:
        The sidecar's path.

    Raises:
        UserError: the sidecar cannot be written, or is of a later version.
    """
    fields = "store, variant, layer, feature, reviewer, verdict, severity, note, made"
    row = (digest, *astuple(replace(review, made=_now())))
    return _write(store, f"INSERT INTO reviews ({fields}) VALUES ({', '.join('?' * len(row))})", [row])


def can_write(store: Path) -> bool:
    """Whether a sidecar of this store could be written where it would be."""
    path = sidecar_path(store)
    return _may_write(path.parent) and (not path.exists() or _may_write(path))


def check(store: Path) -> list[str]:
    """What SQLite itself finds wrong with a store's sidecar, a sentence each; nothing where there is none.

    Its structure is checked, not every value: rows carry no checksum.

    Raises:
        Unavailable: it cannot be read just now.
    """
    try:
        found = [row[0] for row in _read(store, 0, "PRAGMA integrity_check(5)", [])]
    except Unavailable:
        raise
    except UserError as error:
        return [str(error)]
    return [f"The sidecar '{sidecar_path(store).name}' is damaged: {text}." for text in found if text != "ok"]


def read_labels(store: Path, digest: str) -> pd.DataFrame:
    """The imported labels of a store: layer, feature, label, label_source; no rows where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read, is damaged or is of a later version.
    """
    query = "SELECT layer, feature, label, label_source FROM labels WHERE store = ? ORDER BY layer, feature"
    rows = _read(store, LABELS_SINCE, query, [digest])
    _check(store, "label", rows, (_is_index, _is_index, _is_text, _is_text))
    if len({row[:2] for row in rows}) < len(rows):
        raise _damaged(store, "label", "a feature has two")
    return pd.DataFrame(rows, columns=COLUMNS)


def labels_state(store: Path) -> tuple[int, str | None]:
    """Another value after labels were imported, and the same after anything else: how many there are, and the last time."""
    found = _read(store, LABELS_SINCE, "SELECT count(*), max(imported) FROM labels", [])
    return found[0] if found else (0, None)


def read_steering(store: Path, digest: str) -> list[Steering]:
    """The causal checks of a store by layer, feature and variant; none where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read or is of a later version.
    """
    query = """
        SELECT layer, feature, variant, mode, n_contexts, n_positions, kl_before, kl_after, low, high, controls, seed
        FROM steering WHERE store = ? ORDER BY layer, feature, variant
    """
    rows = _read(store, STEERING_SINCE, query, [digest])
    may_be_null = (_is_null_or_number, _is_null_or_number)
    numbers = (_is_index, _is_index, _is_text, _is_text, _is_index, _is_index, _is_number, _is_number, *may_be_null)
    _check(store, "causal check", rows, (*numbers, _is_text, _is_whole))
    try:
        return [
            Steering(*numbers, {int(feature): float(kl) for feature, kl in json.loads(controls).items()}, seed)
            for *numbers, controls, seed in rows
        ]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(store, "causal check", str(error)) from error


def read_reviews(store: Path, digest: str, variant: str) -> list[Review]:
    """Every judgement of a variant's features, in the order of writing; none where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read, is damaged or is of a later version.
    """
    query = """
        SELECT variant, layer, feature, reviewer, verdict, severity, note, made FROM reviews
        WHERE store = ? AND variant = ? ORDER BY id
    """
    rows = _read(store, REVIEWS_SINCE, query, [digest, variant])
    kinds = (_is_text, _is_index, _is_index, _is_text, _is_text, _is_null_or_text, _is_text, _is_text)
    _check(store, "review", rows, kinds)
    return [Review(*row) for row in rows]


def _check(store: Path, what: str, rows: Sequence[tuple], kinds: Sequence[Callable[[Any], bool]]) -> None:
    """Every value is of the kind that was written: SQLite holds no column to its type.

    Raises:
        UserError: one is not.
    """
    for row in rows:
        if not all(fits(value) for fits, value in zip(kinds, row, strict=True)):
            raise _damaged(store, what, "a value is not of its kind")


def _damaged(store: Path, what: str, why: str) -> UserError:
    return UserError(
        f"The sidecar '{sidecar_path(store)}' holds a damaged {what} ({why}); move it away to have the store without imported "
        "labels, causal checks and reviews."
    )


def _is_index(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_null_or_number(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_null_or_text(value: Any) -> bool:
    return value is None or _is_text(value)


def _write(store: Path, statement: str, rows: Sequence[tuple]) -> Path:
    """Insert rows, all or none, into a sidecar that is made or brought up to date first."""
    path = sidecar_path(store)
    with _open(path, path, isolation_level=None) as connection:
        if _version(connection) < VERSION:
            _use_wal(connection)
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        with _transaction(connection):
            connection.executemany(statement, rows)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # as far as it goes without waiting for others
    return path


def _read(store: Path, since: int, query: str, parameters: Sequence[Any]) -> list[tuple]:
    """The answer of a sidecar, opened read-only; no rows where there is none, or one of a version before `since`."""
    path = sidecar_path(store)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unavailable(f"The sidecar '{path}'", error) from error

    def ask(address: str) -> list[tuple]:
        with _open(path, address, uri=True) as connection:
            return connection.execute(query, parameters).fetchall() if _version(connection) >= since else []

    address = f"file:{quote(str(path))}?mode=ro"
    try:
        return ask(address)
    except UserError:
        # In a folder that cannot be written SQLite has no place for its lock file; nobody else can be writing there either.
        if _may_write(path.parent):
            raise
        return ask(f"{address}&immutable=1")


@contextlib.contextmanager
def _open(path: Path, address: str | Path, **options) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(address, timeout=TIMEOUT, **options)) as connection:
            version = _version(connection)
            if version > VERSION:
                raise UserError(f"The sidecar '{path}' has version {version}, but this program reads version {VERSION}.")
            yield connection
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if _is_busy(error):
            raise Unavailable(f"The sidecar '{path}' is kept busy by another program; try again when that is done.") from error
        cause = _cause(path, error, writing=address == path)
        if cause is not None:
            raise unavailable(f"The sidecar '{path}'", cause, "written" if address == path else "read") from error
        raise UserError(
            f"The sidecar '{path}' cannot be used ({error}); move it away to have the store without imported labels, causal "
            "checks and reviews."
        ) from error


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode. SQLite does not wait when two do so at once, so this does."""
    until = time.monotonic() + TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > until:
                raise
        time.sleep(0.02)


def _is_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY  # the low byte is the primary code


def _cause(path: Path, error: Exception, writing: bool) -> OSError | None:
    """What the operating system has against a sidecar, where that is why; SQLite says only "unable to open"."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if code not in _REFUSED:
        return None
    try:
        if path.exists():
            with path.open("r+b" if writing else "rb") as file:
                file.read()
        if writing:  # its journal stands beside it
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as found:
        return found if is_known(found) else None
    return None


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
