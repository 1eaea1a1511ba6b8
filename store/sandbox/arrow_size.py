"""What an Arrow table costs to unpack, and whether every reader takes its types and values. Needs PyArrow only.

Arrow's own bytes say little: thirty million empty structs in a list are four of them, and a dictionary's word that stands in
every row is one. Both sides of the sandbox count here: its worker before it answers, the server before it believes.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

VALUE, LIST, STRUCT, FIELD = 32, 128, 256, 64
"""Bytes of one value, list, struct and struct's field as Python objects, at least what they are as text."""

MOST_NESTED = 16
MOST_NAME = 200
"""Characters of a column's name."""

FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""The times that Python, CSV and charts know; DuckDB knows earlier and later ones, and two infinities."""

_LEAVES = (
    types.is_null, types.is_boolean, types.is_integer, types.is_floating, types.is_decimal128, types.is_string,
    types.is_binary, types.is_date32, types.is_time64, types.is_timestamp,
)  # fmt: skip


def is_plain(kind: pa.DataType, depth: int = 0) -> bool:
    """Whether tables, CSV, Parquet and JSON all hold this type: no dictionary, union, view, run or interval, at any depth."""
    if depth > MOST_NESTED:
        return False
    inside = [kind.field(i).type for i in range(kind.num_fields)] if _is_nested(kind) else []
    return any(is_one(kind) for is_one in _LEAVES) or (bool(inside) and all(is_plain(one, depth + 1) for one in inside))


def unpacked(table: pa.Table) -> int:
    """Bytes of a table of plain types, about, once every value is an object of its own, or a word in a file."""
    return sum(_unpacked(chunk) for column in table.columns for chunk in column.chunks)


def largest_part(table: pa.Table, most_bytes: int, most_unpacked: int) -> pa.Table:
    """As many of the first rows as stay within both limits: bytes as Arrow, and bytes unpacked."""

    def fits(rows: int) -> bool:
        part = table.slice(0, rows)
        return part.nbytes <= most_bytes and unpacked(part) <= most_unpacked

    low, high = 0, table.num_rows
    if fits(high):
        return table
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return table.slice(0, low)


def is_strange(column: pa.ChunkedArray) -> bool:
    """Whether a column holds what Python has no value for: times beyond its calendar, whole numbers of 39 digits."""
    return any(_is_beyond(leaf) for chunk in column.chunks for leaf in _leaves(chunk))


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    """The arrays of single values in an array of a plain type."""
    if not _is_nested(array.type):
        yield array
        return
    for inside in _inside(array):
        yield from _leaves(inside)


def _is_beyond(values: pa.Array) -> bool:
    kind = values.type
    if types.is_decimal(kind):
        try:
            values.validate(full=True)
        except pa.ArrowInvalid:
            return True
        return False
    if types.is_time64(kind):  # 24:00:00
        return (pc.max(values.cast(pa.int64())).as_py() or 0) >= 86_400 * 1_000_000
    if types.is_date32(kind):
        numbers, unit = values.cast(pa.int32()), 1 / 86_400
    elif types.is_timestamp(kind):
        numbers, unit = values.cast(pa.int64()), {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
    else:
        return False
    ends = pc.min_max(numbers).as_py()
    if ends["min"] is None:
        return False
    infinite = 2**63 - 1  # of nanoseconds, which end before the year 2263
    return (
        ends["min"] < FIRST.timestamp() * unit or ends["max"] > LAST.timestamp() * unit
        or infinite in (ends["max"], -ends["min"])
    )  # fmt: skip


def _unpacked(array: pa.Array) -> int:
    kind, rows = array.type, len(array)
    if types.is_struct(kind):
        names = sum(FIELD + len(field.name.encode(errors="replace")) for field in kind)
        return rows * (STRUCT + names) + sum(map(_unpacked, _inside(array)))
    if _is_nested(kind):
        return rows * LIST + sum(map(_unpacked, _inside(array)))
    if types.is_string(kind) or types.is_binary(kind):
        written = 4 if types.is_binary(kind) else 1  # \x01
        return rows * VALUE + written * (pc.sum(pc.binary_length(array)).as_py() or 0)
    return rows * VALUE


def _is_nested(kind: pa.DataType) -> bool:
    return types.is_list(kind) or types.is_fixed_size_list(kind) or types.is_map(kind) or types.is_struct(kind)


def _inside(array: pa.Array) -> list[pa.Array]:
    """The arrays that a nested one is made of, of its own rows only."""
    if types.is_map(array.type):  # flatten() does not know its slices
        as_list = pa.ListArray.from_arrays(
            array.offsets, pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])
        )
        return [as_list.flatten()]
    return array.flatten() if types.is_struct(array.type) else [array.flatten()]
