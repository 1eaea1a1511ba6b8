"""What each table, column and metric means, read from where it is written: schema.sql and docs/metrics.md.

There is one definition of everything; the app shows these texts and has none of its own to drift from them.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from store.errors import UserError
from store.format.tables import SCHEMA_SQL, TABLE_KEYS

METRICS_PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "metrics.md"


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


@dataclass(frozen=True)
class Entry:
    """One row of a table in docs/metrics.md: what it defines, and its cells after the first, as Markdown."""

    names: list[str]
    cells: list[str]


@dataclass(frozen=True)
class Section:
    """One table of docs/metrics.md: the heading above it, the titles of its columns, its rows."""

    title: str
    columns: list[str]
    entries: list[Entry]


@cache
def schema() -> dict[str, Table]:
    """Every table of schema.sql by name, in its order."""
    found = re.finditer(r"((?:^--[^\n]*\n)*)^CREATE TABLE (\w+) \(\n(.*?)^\);", SCHEMA_SQL, re.DOTALL | re.MULTILINE)
    return {
        match[2]: Table(match[2], _comment(match[1]), _columns(match[3], TABLE_KEYS[match[2]]), TABLE_KEYS[match[2]])
        for match in found
    }


def metrics(page: Path | None = None) -> list[Section]:
    """Every table of docs/metrics.md (or of another page), in its order.

    Raises:
        UserError: the page is not there.
    """
    page = page or METRICS_PAGE
    try:
        lines = page.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"The definitions cannot be read: '{page.name}' is not in the folder docs beside the app.") from error
    sections: list[Section] = []
    title = ""
    for number, line in enumerate(lines):
        if line.startswith("## "):
            title = line[3:]
        elif named := re.match(r"\*\*(.+?)\*\*", line):
            title = named[1].strip(" .:")
        elif line.startswith("|") and re.fullmatch(r"[|\s:-]+", lines[number + 1] if number + 1 < len(lines) else ""):
            rows = []
            for row in lines[number + 2 :]:
                if not row.startswith("|"):
                    break
                rows.append(_cells(row))
            sections.append(Section(title, _cells(line), [Entry(_names(first), rest) for first, *rest in rows]))
    return sections


def definition(name: str) -> Entry | None:
    """The row that defines a metric or column; None where there is none."""
    return next((entry for section in metrics() for entry in section.entries if name in entry.names), None)


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


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip())[1:-1]]


def _names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell) or [cell]
