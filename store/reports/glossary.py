"""What each table and column means, read from where it is written: schema.sql. Metrics: store/metrics/definitions.py."""

import re
from dataclasses import dataclass
from functools import cache

from store.format.tables import SCHEMA_SQL, TABLE_KEYS


@dataclass(frozen=True)
class Column:
    """A column of schema.sql: its type as DuckDB names it, and its comment ('' where the name says it all)."""

    name: str
    type: str
    key: bool
    comment: str


@dataclass(frozen=True)
class Table:
    """A table of schema.sql: the comment above it, its columns in order, and the columns that name a row."""

    name: str
    comment: str
    columns: list[Column]
    key: list[str]


@cache
def schema() -> dict[str, Table]:
    """Every table of schema.sql by name, in its order."""
    found = re.finditer(r"((?:^--[^\n]*\n)*)^CREATE TABLE (\w+) \(\n(.*?)^\);", SCHEMA_SQL, re.DOTALL | re.MULTILINE)
    return {
        match[2]: Table(match[2], _comment(match[1]), _columns(match[3], TABLE_KEYS[match[2]]), TABLE_KEYS[match[2]])
        for match in found
    }


def _comment(lines: str) -> str:
    return " ".join(line.lstrip("- ").strip() for line in lines.splitlines())


def _columns(body: str, key: list[str]) -> list[Column]:
    """A comment on a line of its own is about every column after it, and stands in brackets behind theirs."""
    columns, about = [], ""
    for line in body.splitlines():
        code, _, comment = (part.strip() for part in line.partition("--"))
        if not code:
            about = comment.rstrip(".")
            continue
        name, kind = re.match(r"(\w+)\s+(\w+(?:\[\])?)", code).groups()
        said = f"{comment} ({about})" if about and comment else comment or about
        columns.append(Column(name, kind, name in key, said))
    return columns
