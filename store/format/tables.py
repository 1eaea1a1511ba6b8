"""The DuckDB side of a store: the tables of a schema, made, loaded, copied in order, digested. Each schema is a file of SQL."""

import hashlib
import re
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from store.errors import UserError

_TABLE = re.compile(r"CREATE TABLE (\w+) \(.*?\n\); -- key: ([\w, ]+)(?:; order: ([^\n]+))?", re.DOTALL)


class Schema:
    """The tables of one file of SQL beside this module.

    Args:
        block_size: of a finished database, in bytes: every column of every table ends in a part-filled block.

    Attributes:
        sql: the file.
        keys: table -> the columns that name a row.
        orders: table -> the SQL expressions that its rows are stored in the order of.
    """

    def __init__(self, file: str, block_size: int) -> None:
        self._block_size = block_size
        self.sql = Path(__file__).with_name(file).read_text(encoding="utf-8")
        found = list(_TABLE.finditer(self.sql))
        # Without the comments, which take five times as long: for a database that nobody else will see.
        self._bare = "\n".join(table[0] for table in found)
        self.keys: Mapping[str, list[str]] = {table[1]: [c.strip() for c in table[2].split(",")] for table in found}
        self.orders: Mapping[str, str] = {table[1]: table[3] or table[2] for table in found}

    def create(self, path: Path | str) -> duckdb.DuckDBPyConnection:
        """A new database (':memory:' for none on the disk) with every table, all empty, without comments."""
        connection = _connect(path)
        connection.execute(self._bare)
        return connection

    def load(self, connection: duckdb.DuckDBPyConnection, table: str, rows: pd.DataFrame | pa.Table) -> None:
        """Append rows to a table, matched by column name; VIRTUAL columns are left out, they follow from the others.

        NaN in a float column becomes NULL: the store's word for "undefined".
        """
        given = _names(rows)
        known = self.stored_columns(table)
        if unknown := set(given) - set(self.columns(table)):
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

    def copy_sorted(self, source: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyConnection:
        """Copy every table into a new, compact database with comments, rows in their order: a filter on it reads little."""
        quoted = str(path).replace("'", "''")
        with duckdb.connect() as maker:
            maker.execute(
                f"ATTACH '{quoted}' AS finished (BLOCK_SIZE {self._block_size}); USE finished; BEGIN; {self.sql} COMMIT"
            )
        source.execute(f"ATTACH '{quoted}' AS finished")
        for table, order in self.orders.items():
            columns = ", ".join(self.stored_columns(table))
            source.execute(f"INSERT INTO finished.{table} BY NAME SELECT {columns} FROM {table} ORDER BY {order}")
        source.execute("DETACH finished")
        return _connect(path)

    def check_keys(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Refuse a database in which two rows of a table carry the same key.

        Raises:
            UserError: names the table and how many keys repeat.
        """
        for table, key in self.keys.items():
            columns = ", ".join(key)
            repeated = connection.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {columns} HAVING count(*) > 1)"
            ).fetchone()[0]
            if repeated:
                raise UserError(f"The table {table} has {repeated} repeated keys ({columns}); the store is damaged.")

    def row_counts(self, connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
        """Table -> number of rows, in one question; DuckDB keeps them."""
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in self.keys)
        return dict(zip(self.keys, connection.execute(f"SELECT {counts}").fetchone(), strict=True))

    def digest(self, connection: duckdb.DuckDBPyConnection, catalog: str | None = None, leave_out: Collection[str] = ()) -> str:
        """SHA-256 over every table's name, column names and rows in key order.

        DuckDB's own file bytes differ from write to write; this does not.

        Args:
            catalog: the database that the tables are in, where it is not the one that was connected to.
            leave_out: tables.
        """
        where = f"{catalog}.main." if catalog else ""
        total = hashlib.sha256()
        for table, key in sorted(self.keys.items()):
            if table in leave_out:
                continue
            columns = list(self.stored_columns(table))
            total.update(f"{table}({','.join(columns)})".encode())
            ordered = connection.cursor().sql(f"SELECT {', '.join(columns)} FROM {where}{table} ORDER BY {', '.join(key)}")
            for batch in ordered.to_arrow_reader(65_536):
                for column in batch.columns:
                    _update(total, column)
        return total.hexdigest()

    @cached_property
    def _schema(self) -> pd.DataFrame:
        """Every column, in order: table_name, column_name, data_type, is_generated ('ALWAYS' or 'NEVER')."""
        with self.create(":memory:") as connection:
            query = "SELECT * FROM information_schema.columns ORDER BY table_name, ordinal_position"
            return connection.execute(query).df()[["table_name", "column_name", "data_type", "is_generated"]]

    @cached_property
    def _kinds(self) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
        """Table -> (column -> type, the same without VIRTUAL columns)."""
        found = {}
        for table, rows in self._schema.groupby("table_name"):
            stored = rows[rows["is_generated"] == "NEVER"]
            found[table] = tuple(dict(zip(of["column_name"], of["data_type"], strict=True)) for of in (rows, stored))
        return found

    def columns(self, table: str) -> dict[str, str]:
        """Column -> type of a table."""
        return self._kinds[table][0]

    def stored_columns(self, table: str) -> dict[str, str]:
        """The same without VIRTUAL columns."""
        return self._kinds[table][1]


STORE = Schema("schema.sql", 65_536)
"""What an extraction writes."""
CONTRIBUTIONS = Schema("contributions.sql", 16_384)
"""What the pass over contributions adds to a store."""


def _connect(path: Path | str) -> duckdb.DuckDBPyConnection:
    """To write; without DuckDB's own progress bar, which would run into the extractor's."""
    connection = duckdb.connect(str(path))
    connection.execute("SET enable_progress_bar = false")
    return connection


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


def _names(rows: pd.DataFrame | pa.Table) -> list[str]:
    return rows.column_names if isinstance(rows, pa.Table) else list(rows.columns)
