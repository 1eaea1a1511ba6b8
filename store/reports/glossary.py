"""What each table and column means: the comments of schema.sql and contributions.sql. Metrics: store/metrics/definitions.py."""

from dataclasses import dataclass
from functools import cache

import duckdb

from store.format import tables


@dataclass(frozen=True)
class Column:
    """A column: its type as DuckDB names it, and its comment ('' where the name says it all)."""

    name: str
    type: str
    key: bool
    comment: str


@dataclass(frozen=True)
class Table:
    """A table: its comment, its columns in order, and the columns that name a row."""

    name: str
    comment: str
    columns: list[Column]
    key: list[str]


def schema() -> dict[str, Table]:
    """Every table of schema.sql by name, in its order; a store's own comments, which may be a stranger's, are not asked."""
    return _described(tables.STORE)


def contributions_schema() -> dict[str, Table]:
    """The same of contributions.sql, by what they are called in SQL."""
    return {f"contributions.{name}": table for name, table in _described(tables.CONTRIBUTIONS).items()}


@cache
def _described(of: tables.Schema) -> dict[str, Table]:
    with duckdb.connect(":memory:") as connection:
        connection.execute(of.sql)
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
            [Column(name, kind, name in of.keys[table], said) for its, name, kind, said in columns if its == table],
            of.keys[table],
        )
        for table, comment in comments
    }
