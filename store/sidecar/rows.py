"""The rows of a sidecar, and how they are kept from silent damage.

Every row since version 4 carries a checksum of itself. Reviews are numbered without a gap, so that a row that is gone is
noticed too.
"""

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from store.errors import UserError
from store.sidecar import schema as sidecar_schema
from store.sidecar.database import asked, to_write
from store.sidecar.schema import REMEDY, SINCE, TABLES

_REALS = ("kl_before", "kl_after", "low", "high")
"""Columns whose numbers are kept, and so hashed, as floats."""
_ORDER = {
    "labels": "store, layer, feature", "steering": "store, layer, feature", "reviews": "id",
    "set_steering": "store, variant, layer, domain, features",
}  # fmt: skip


def write(path: Path, table: str, rows: Sequence[Sequence]) -> None:
    """Put rows into a table, all or none; the file is made or brought up to date first.

    Args:
        rows: values of all columns but the checksum, and of reviews but the id.

    Raises:
        UserError: it cannot be written, is not a sidecar, or is of a later version; nothing was kept.
    """
    names = [name for name in sidecar_schema.columns(table) if name != "checksum"]
    how = "INSERT" if table == "reviews" else "INSERT OR REPLACE"
    places = ", ".join("?" * (len(names) + 1))
    with to_write(path) as connection:
        first = 1 + (connection.execute("SELECT coalesce(max(id), 0) FROM reviews").fetchone()[0])
        for number, row in enumerate(rows):
            values = [first + number, *row] if table == "reviews" else list(row)
            values = [float(value) if name in _REALS and value is not None else value
                      for name, value in zip(names, values, strict=True)]  # fmt: skip
            connection.execute(f"{how} INTO {table} VALUES ({places})", [*values, checksum(table, values)])


def read(path: Path, table: str, digest: str | None) -> list[dict]:
    """The rows of a table that are about one store, or about any; none where there is no sidecar or no such table yet.

    Every row is looked at, whichever store it is about: one that is damaged need not say the right store any more.

    Raises:
        UserError: it cannot be read, is not a sidecar, is of a later version, or a row is damaged.
    """

    def ask(connection: sqlite3.Connection, version: int) -> list[dict]:
        if version < SINCE[table]:
            return []
        for (fault,) in connection.execute(f"PRAGMA quick_check('{table}')"):
            if fault != "ok":
                raise damaged(path, "table", fault)
        found = connection.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY {_ORDER[table]}")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found]
        _check_rows(path, table, rows)
        return [row for row in rows if digest is None or row["store"] == digest]

    return asked(path, ask) or []


def count_without_checksum(path: Path) -> int:
    """Rows that an earlier program wrote: whether they are damaged cannot be known."""
    return sum(row.get("checksum") is None for table in TABLES for row in read(path, table, None))


def checksum(table: str, values: Sequence) -> str:
    """Of a row: SHA-256 over its table's name and its values, in the order of the columns, as JSON."""
    return hashlib.sha256(json.dumps([table, *values], allow_nan=False, separators=(",", ":")).encode()).hexdigest()


def damaged(path: Path, what: str, why: str) -> UserError:
    """What is said of a row, or a table, that is not as it was written."""
    return UserError(f"The sidecar '{path}' holds a damaged {what} ({why}); {REMEDY}.")


def _check_rows(path: Path, table: str, rows: Sequence[dict]) -> None:
    for row in rows:
        *values, written = row.values() if "checksum" in row else (*row.values(), None)
        try:
            sound = written is None or written == checksum(table, values)
        except (TypeError, ValueError):  # bytes, or no number
            sound = False
        if not sound:
            raise damaged(path, f"row of {table}", "its checksum does not match")
    if table == "reviews" and [row["id"] for row in rows] != list(range(1, len(rows) + 1)):
        raise damaged(path, "history of reviews", "a row is missing")
