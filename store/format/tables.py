"""The DuckDB side of a store: create the tables of schema.sql, load them, digest them."""

import hashlib
import re
from functools import cache
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from store.errors import UserError

BLOCK_SIZE = 65_536  # bytes; a tenth smaller than with 262,144: every column of every table ends in a part-filled block
SCHEMA_SQL = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")

_ENDS = list(re.finditer(r"CREATE TABLE (\w+) \(.*?\n\); -- key: ([\w, ]+)(?:; order: ([^\n]+))?", SCHEMA_SQL, re.DOTALL))

_TABLES_SQL = "\n".join(end[0] for end in _ENDS)
"""Without the comments, which take five times as long: for a database that nobody else will see."""

TABLE_KEYS: dict[str, list[str]] = {end[1]: [column.strip() for column in end[2].split(",")] for end in _ENDS}
"""Table -> the columns that name a row."""

ROW_ORDERS: dict[str, str] = {end[1]: end[3] or end[2] for end in _ENDS}
"""Table -> the SQL expressions that its rows are stored in the order of."""


def create(path: Path | str) -> duckdb.DuckDBPyConnection:
    """A new database (':memory:' for none on the disk) with every table of schema.sql, all empty, without comments."""
    connection = _connect(path)
    connection.execute(_TABLES_SQL)
    return connection


def load(connection: duckdb.DuckDBPyConnection, table: str, rows: pd.DataFrame | pa.Table) -> None:
    """Append rows to a table, matched by column name; VIRTUAL columns are left out, they follow from the others.

    NaN in a float column becomes NULL: the store's word for "undefined".
    """
    given = _names(rows)
    known = stored_columns(table)
    if unknown := set(given) - set(_columns(table)):
        raise ValueError(f"the table {table} has no column {sorted(unknown)[0]}")
    floats = ("DOUBLE", "FLOAT")
    columns = [
        f"if(isnan({name}), NULL, {name}) AS {name}" if kind in floats else name
        for name, kind in known.items()
        if name in given
    ]
    connection.register("incoming", rows)
    connection.execute(f"INSERT INTO {table} BY NAME SELECT {', '.join(columns)} FROM incoming")
    connection.unregister("incoming")


def copy_sorted(source: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyConnection:
    """Copy every table into a new, compact database with comments, rows in their order, so that a filter on it reads little."""
    quoted = str(path).replace("'", "''")
    with duckdb.connect() as maker:
        maker.execute(f"ATTACH '{quoted}' AS finished (BLOCK_SIZE {BLOCK_SIZE}); USE finished; BEGIN; {SCHEMA_SQL} COMMIT")
    source.execute(f"ATTACH '{quoted}' AS finished")
    for table, order in ROW_ORDERS.items():
        columns = ", ".join(stored_columns(table))
        source.execute(f"INSERT INTO finished.{table} BY NAME SELECT {columns} FROM {table} ORDER BY {order}")
    source.execute("DETACH finished")
    return _connect(path)


def _connect(path: Path | str) -> duckdb.DuckDBPyConnection:
    """To write; without DuckDB's own progress bar, which would run into the extractor's."""
    connection = duckdb.connect(str(path))
    connection.execute("SET enable_progress_bar = false")
    return connection


def check_keys(connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse a database in which two rows of a table carry the same key.

    Raises:
        UserError: names the table and how many keys repeat.
    """
    for table, key in TABLE_KEYS.items():
        columns = ", ".join(key)
        repeated = connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {columns} HAVING count(*) > 1)"
        ).fetchone()[0]
        if repeated:
            raise UserError(f"The table {table} has {repeated} repeated keys ({columns}); the store is damaged.")


def row_counts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Table -> number of rows, in one question; DuckDB keeps them."""
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in TABLE_KEYS)
    return dict(zip(TABLE_KEYS, connection.execute(f"SELECT {counts}").fetchone(), strict=True))


def digest(connection: duckdb.DuckDBPyConnection, catalog: str | None = None) -> str:
    """SHA-256 over every table's name, column names and rows in key order.

    DuckDB's own file bytes differ from write to write; this does not.

    Args:
        catalog: the database that the tables are in, where it is not the one that was connected to.
    """
    where = f"{catalog}.main." if catalog else ""
    total = hashlib.sha256()
    for table, key in sorted(TABLE_KEYS.items()):
        columns = list(stored_columns(table))
        total.update(f"{table}({','.join(columns)})".encode())
        ordered = connection.cursor().sql(f"SELECT {', '.join(columns)} FROM {where}{table} ORDER BY {', '.join(key)}")
        for batch in ordered.to_arrow_reader(65_536):
            for column in batch.columns:
                _update(total, column)
    return total.hexdigest()


def _update(total, column: pa.Array) -> None:
    """Feed one column to a hash by its values alone: Arrow's buffers may hold anything where a value is null."""
    total.update(np.packbits(np.asarray(column.is_null())).tobytes())
    if pa.types.is_list(column.type):
        total.update(np.asarray(column.value_lengths().fill_null(0), dtype=np.int64).tobytes())
        _update(total, column.flatten())
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        for text in column.fill_null("").to_pylist():
            total.update(text.encode() + b"\0")
    else:
        column = column.cast(pa.uint8()) if pa.types.is_boolean(column.type) else column
        total.update(np.ascontiguousarray(column.fill_null(0).to_numpy(zero_copy_only=False)).tobytes())


@cache
def _schema() -> pd.DataFrame:
    """Every column of schema.sql, in order: table_name, column_name, data_type, is_generated ('ALWAYS' or 'NEVER')."""
    with create(":memory:") as connection:
        query = "SELECT * FROM information_schema.columns ORDER BY table_name, ordinal_position"
        return connection.execute(query).df()[["table_name", "column_name", "data_type", "is_generated"]]


@cache
def _columns(table: str) -> dict[str, str]:
    """Column -> type of a table."""
    rows = _schema()[_schema()["table_name"] == table]
    return dict(zip(rows["column_name"], rows["data_type"], strict=True))


@cache
def stored_columns(table: str) -> dict[str, str]:
    """The same without VIRTUAL columns."""
    rows = _schema()[(_schema()["table_name"] == table) & (_schema()["is_generated"] == "NEVER")]
    return dict(zip(rows["column_name"], rows["data_type"], strict=True))


def _names(rows: pd.DataFrame | pa.Table) -> list[str]:
    return rows.column_names if isinstance(rows, pa.Table) else list(rows.columns)
