"""What each table and column means: the comments that schema.sql gives them. Metrics: store/metrics/definitions.py."""

from dataclasses import dataclass
from functools import cache

import duckdb

from store.format import tables


@dataclass(frozen=True)
class Column:
    """A column of schema.sql: its type as DuckDB names it, and its comment ('' where the name says it all)."""

    name: str
    type: str
    key: bool
    comment: str


@dataclass(frozen=True)
class Table:
    """A table of schema.sql: its comment, its columns in order, and the columns that name a row."""

    name: str
    comment: str
    columns: list[Column]
    key: list[str]


@cache
def schema() -> dict[str, Table]:
    """Every table of schema.sql by name, in its order; a store's own comments, which may be a stranger's, are not asked."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(tables.SCHEMA_SQL)
        comments = connection.execute("SELECT table_name, coalesce(comment, '') FROM duckdb_tables() ORDER BY table_oid")
        comments = comments.fetchall()
        columns = connection.execute(
            "SELECT table_name, column_name, data_type, coalesce(comment, '') FROM duckdb_columns() WHERE NOT internal "
            "ORDER BY column_index"
        ).fetchall()
    return {
        table: Table(
            table,
            comment,
            [Column(name, kind, name in tables.TABLE_KEYS[table], said) for of, name, kind, said in columns if of == table],
            tables.TABLE_KEYS[table],
        )
        for table, comment in comments
    }
