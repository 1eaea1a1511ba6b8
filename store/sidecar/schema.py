"""What a sidecar's file holds: its tables, version by version, compared statement by statement before anything is asked.

Version 1 held labels only, version 2 causal checks too, version 3 reviews, version 5 causal checks of sets: they are read as
they are, rows of before version 4 without checksums, and the first write brings them up to date.
"""

import contextlib
import re
import sqlite3
from functools import cache
from pathlib import Path

from store.errors import UserError

VERSION = 5
CHECKSUMS_SINCE = 4
REMEDY = "move it away to have the store without imported labels, causal checks and reviews"

TABLES = {
    "labels": """
CREATE TABLE labels (
    store TEXT NOT NULL,         -- digest of the store's manifest
    layer INTEGER NOT NULL,
    feature INTEGER NOT NULL,
    label TEXT NOT NULL,         -- untrusted text
    label_source TEXT NOT NULL,  -- where it was imported from
    imported TEXT NOT NULL,      -- ISO 8601 time, UTC
    checksum TEXT,               -- SHA-256 of the other columns; null: written before version 4
    PRIMARY KEY (store, layer, feature)
) WITHOUT ROWID;
""",
    "steering": """
CREATE TABLE steering (
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
    checksum TEXT,               -- as above
    PRIMARY KEY (store, layer, feature, variant)
) WITHOUT ROWID;
""",
    "set_steering": """
CREATE TABLE set_steering (      -- store/sidecar/sets.py says what each is
    store TEXT NOT NULL,         -- digest of the store's manifest
    variant TEXT NOT NULL,
    layer INTEGER NOT NULL,
    domain TEXT NOT NULL,
    chosen_by TEXT NOT NULL,
    features TEXT NOT NULL,      -- JSON list, ascending
    n_predictions INTEGER NOT NULL,
    n_clusters INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    gain TEXT NOT NULL,          -- JSON object, nats a predicted token
    kl TEXT NOT NULL,            -- as gain
    opening TEXT,                -- as gain; null: no answer was sampled
    made TEXT NOT NULL,          -- ISO 8601 time, UTC
    checksum TEXT,               -- as above
    PRIMARY KEY (store, variant, layer, domain, features)
) WITHOUT ROWID;
""",
    "reviews": """
CREATE TABLE reviews (           -- every judgement ever given: rows are added, never changed
    id INTEGER PRIMARY KEY,      -- in the order of writing, from 1 without a gap
    store TEXT NOT NULL,         -- digest of the store's manifest
    variant TEXT NOT NULL,
    layer INTEGER NOT NULL,
    feature INTEGER NOT NULL,
    reviewer TEXT NOT NULL,      -- untrusted text
    verdict TEXT NOT NULL,       -- 'concern', 'benign' or 'unclear'
    severity TEXT,               -- 'low', 'medium', 'high'; null: not said, or no concern
    note TEXT NOT NULL,          -- untrusted text
    made TEXT NOT NULL,          -- ISO 8601 time, UTC
    checksum TEXT                -- as above
);
CREATE INDEX reviews_of_a_variant ON reviews (store, variant);
""",
}
SINCE = {"labels": 1, "steering": 2, "reviews": 3, "set_steering": 5}
"""Table -> the version that first had it."""


def check_schema(path: Path, connection: sqlite3.Connection, version: int) -> None:
    """Exactly what a program of that version made.

    Raises:
        UserError: it is not.
    """
    found = connection.execute("SELECT type, name, sql FROM sqlite_master LIMIT 20").fetchall()
    expected = _schema(version)
    made = {(str(kind), str(name)): _plain(str(sql or "")) for kind, name, sql in found}  # damaged ones may be bytes
    if made != expected:
        odd = sorted(key for key in made.keys() | expected.keys() if made.get(key) != expected.get(key))
        kind, name = odd[0]
        raise UserError(
            f"The sidecar '{path}' is not one that this program wrote (its {kind} {name[:80]!r} is missing or another); "
            f"{REMEDY}."
        )


@cache
def _schema(version: int) -> dict[tuple[str, str], str]:
    """What a version's file holds: (kind, name) -> the statement that makes it."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for table, since in SINCE.items():
            if since <= version:
                connection.executescript(_without_checksum(TABLES[table]) if version < CHECKSUMS_SINCE else TABLES[table])
        found = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    return {(kind, name): _plain(sql or "") for kind, name, sql in found}


def _without_checksum(sql: str) -> str:
    """As versions before 4 made the table."""
    return re.sub(r",(\s*--[^\n]*)?\s*\)", r"\1\n)", re.sub(r"\n *checksum TEXT.*", "", sql))


def _plain(sql: str) -> str:
    """A statement without comments and blanks that mean nothing."""
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(re.sub(r"--[^\n]*", "", sql).split()))


def bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Inside a transaction: make what is missing, and make anew what has no place for checksums; rows stay as they are."""
    version = version_of(connection)
    if version == VERSION:
        return
    check_schema(path, connection, version)  # somebody else may have done it while this one waited
    if version < CHECKSUMS_SINCE:
        connection.execute("DROP INDEX IF EXISTS reviews_of_a_variant")
    for table, since in SINCE.items():
        older = since <= version
        if older and version >= CHECKSUMS_SINCE:
            continue
        if older:
            connection.execute(f"ALTER TABLE {table} RENAME TO older_{table}")
        for statement in TABLES[table].strip().split(";\n"):
            connection.execute(statement)
        if older:
            connection.execute(f"INSERT INTO {table} SELECT *, NULL FROM older_{table}")
            connection.execute(f"DROP TABLE older_{table}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


@cache
def columns(table: str) -> tuple[str, ...]:
    """The columns of a table, in order; the last is its checksum."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(TABLES[table])
        return tuple(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))


def version_of(connection: sqlite3.Connection) -> int:
    """The version that a file says it has."""
    return connection.execute("PRAGMA user_version").fetchone()[0]
