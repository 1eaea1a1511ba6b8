"""What a reader's query may take, and what came back of it: looked at, byte by byte, before anything is made of it.

A worker (store/sandbox/worker.py) keeps to the limits by itself. That it did is seen here, as if it were somebody else's.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

import duckdb
import pandas as pd
import pyarrow as pa

from store.errors import UserError
from store.sandbox import arrow_size

MOST_HEADER = 100_000
"""Bytes of an answer's first line."""

MOST_NAMES = 1_500_000
"""Bytes of the names of an answer's columns and of what is in them, as Arrow has them."""

ROOM = 4 * MOST_NAMES
"""Bytes that Arrow may need beyond twice those of the values: names, and the ends of many short columns."""

KINDS = ("refused", "wrong", "memory", "size")
"""What a worker says of a query; the rest is said here."""


@dataclass(frozen=True)
class Limits:
    """What one query may take.

    Attributes:
        rows: of the answer; the rest is cut.
        columns: of the answer; one with more is refused.
        bytes: of the answer as Arrow has it; the rest is cut.
        unpacked: bytes of the answer once each value is an object or a word of its own, about; the rest is cut.
        seconds: until it is killed.
        memory: MB that DuckDB plans with; the process may hold as much again, and no more.
    """

    rows: int = 10_000
    columns: int = 1000
    bytes: int = 8_000_000
    unpacked: int = 40_000_000
    seconds: float = 10.0
    memory: int = 1000


@dataclass(frozen=True)
class Answer:
    """What a query gave.

    Attributes:
        table: the rows in types that tables, CSV and Parquet all hold, column names made unique.
        cut: 'rows' or 'bytes', whichever limit cut it; None where it is whole.
        as_text: columns that came as DuckDB writes them, having a type or a value that tables have not.
    """

    table: pa.Table
    cut: str | None
    as_text: tuple[str, ...] = ()

    def frame(self) -> pd.DataFrame:
        """The rows as :meth:`store.read.connection.Store.sql` gives them, but for the columns `as_text`.

        Raises:
            QueryError: a value of it has no place in a table.
        """
        try:
            with duckdb.connect(":memory:") as connection:
                return connection.from_arrow(self.table).df()
        except (duckdb.Error, ValueError, TypeError, NotImplementedError, OverflowError) as error:
            message = "A value of this answer has no place in a table: cast its column, ::VARCHAR."
            raise QueryError("refused", message) from error


class QueryError(UserError):
    """A query that was refused, is wrong, or was stopped.

    Attributes:
        kind: 'refused', 'wrong', 'time', 'memory', 'size', 'busy' or 'broken'.
        where: DuckDB's hint and position, on lines of their own; empty where there is none.
    """

    def __init__(self, kind: str, message: str, where: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.where = where


def most_bytes(limits: Limits) -> int:
    """Bytes that the longest answer within these limits has."""
    return MOST_HEADER + 2 * limits.bytes + ROOM


def read(output: bytes, limits: Limits) -> Answer:
    """What a worker answered, once it is seen to be what it may be.

    Raises:
        QueryError: it is an error, or it is not what a worker of ours answers.
    """
    try:
        line, _, rows = output.partition(b"\n")
        header = json.loads(line[:MOST_HEADER])
        if "error" in header:
            error, message, where = header["error"], str(header["message"]), str(header.get("where", ""))
            if error in KINDS:
                raise QueryError(error, message or _message(error, limits), where)
        elif header["cut"] in (None, "rows", "bytes"):
            table = _table(rows, limits)
            names = _unique([name[: arrow_size.MOST_NAME] for name in table.column_names])
            return Answer(table.rename_columns(names), header["cut"], tuple(names[i] for i in header["as_text"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OSError, pa.ArrowException) as broken:
        error = broken
    else:
        error = None
    raise QueryError("broken", "The query broke the process that ran it: what came back of it is no answer.") from error


def _table(stream: bytes, limits: Limits) -> pa.Table:
    """The rows of an answer, if they keep to the limits.

    Raises:
        ValueError, OSError, pa.ArrowException: they do not, or are damaged.
    """
    for message in pa.ipc.MessageReader.open_stream(stream):
        if message.type not in ("schema", "record batch") or _is_compressed(message.metadata.to_pybytes()):
            raise ValueError(message.type)
    reader = pa.ipc.open_stream(stream)
    if len(reader.schema) > limits.columns or not all(arrow_size.is_plain(kind) for kind in reader.schema.types):
        raise ValueError("columns")
    table = reader.read_all()
    table.validate(full=True)
    if table.num_rows > limits.rows or table.nbytes > limits.bytes or arrow_size.unpacked(table) > limits.unpacked:
        raise ValueError("size")
    return table


def _is_compressed(metadata: bytes) -> bool:
    """Whether an Arrow message says that its values are to be unpacked, to whatever size: a field of its flatbuffer.

    Arrow's Message has its header as third field, a RecordBatch its compression as fourth.
    """

    def number(kind: str, at: int) -> int:
        return struct.unpack_from(kind, metadata, at)[0]

    def field(table: int, which: int) -> int | None:
        known = table - number("<i", table)
        place = 4 + 2 * which
        offset = number("<H", known + place) if place < number("<H", known) else 0
        return table + offset if offset else None

    try:
        header = field(number("<I", 0), 2)
        return header is None or field(header + number("<I", header), 3) is not None
    except struct.error as error:
        raise ValueError("metadata") from error


def _message(kind: str, limits: Limits) -> str:
    if kind == "memory":
        return f"The query was stopped: it wants more than {limits.memory:,} MB of memory; filter or aggregate earlier."
    return (
        f"The first rows alone are larger than {limits.bytes / 1e6:g} MB, or than {limits.unpacked / 1e6:g} MB as single "
        "values: ask for fewer columns, or shorter ones."
    )


def _unique(names: list[str]) -> list[str]:
    """Column names with repeated ones numbered, as DuckDB's data frames have them: a, a_1."""
    unique: list[str] = []
    for name in names:
        new, number = name, 0
        while new in unique:
            number += 1
            new = f"{name}_{number}"
        unique.append(new)
    return unique
