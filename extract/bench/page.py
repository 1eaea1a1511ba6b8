"""The results of a bench: rows, and the page and the JSON that they are written to."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from store.errors import UserError, reason
from store.files import check_writable, write_text

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


@dataclass(frozen=True)
class Row:
    """One result: a number, or words; ``met`` is None where nothing is asked of it."""

    name: str
    value: float | str
    target: str
    met: bool | None


def markdown(results: dict[str, list[Row]]) -> str:
    """A table for each section."""
    words = {True: "yes", False: "**no**", None: ""}
    parts = []
    for title, rows in results.items():
        lines = [f"| {row.name} | {_shown(row.value)} | {row.target} | {words[row.met]} |" for row in rows]
        parts.append("\n".join([f"### {title}", "", "| what | value | target | met |", "|---|---|---|---|", *lines]))
    return "\n\n".join(parts)


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def check_page(page: Path) -> tuple[str, str, str]:
    """What stands before, between and after the markers of a page; of a new one, the markers alone.

    Raises:
        UserError: the page is there without markers, or cannot be read or written.
    """
    check_writable(page)
    try:
        text = page.read_text(encoding="utf-8") if page.is_file() else f"{BEGIN}\n{END}\n"
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is not UTF-8 text; choose another file"
        raise UserError(f"'{page}' cannot be read: {why}.") from error
    before, begin, rest = text.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not end:
        raise UserError(f"'{page}' must hold the lines '{BEGIN}' and '{END}', between which the results are written.")
    return before + begin, between, end + after


def write_page(results: dict[str, list[Row]], page: Path, note: str = "", keep: bool = False) -> None:
    """Put the tables between the page's markers, :func:`check_page`, under a note.

    Args:
        keep: the note that is there, and the tables of other sections; a section that is new there comes last.
    """
    before, between, after = check_page(page)
    tables = {title: markdown({title: rows}) for title, rows in results.items()}
    if keep:
        note, *old = re.split(r"^(?=### )", between.strip(), flags=re.MULTILINE)
        tables = {table.partition("\n")[0].removeprefix("### "): table.strip() for table in old} | tables
    parts = [before, *([note.strip()] if note else []), *tables.values(), after]
    write_text(page, "\n\n".join(parts))


def measure(
    bench: Callable[[], dict[str, list[Row]]], page: Path | None, json_file: Path | None, note: str = "", keep: bool = False
) -> int:
    """Run a bench, print its tables, and write them where they are wanted (``keep``: :func:`write_page`).

    Returns:
        1 where a target is missed, else 0.

    Raises:
        UserError: page or JSON cannot be written, found out before anything is measured.
    """
    if page is not None:
        check_page(page)
    if json_file is not None:
        check_writable(json_file)
    results = bench()
    print(f"{note}\n\n{markdown(results)}".lstrip())
    if page is not None:
        write_page(results, page, note, keep)
    if json_file is not None:
        write_json(results, json_file, note)
    return 1 if any(row.met is False for rows in results.values() for row in rows) else 0


def write_json(results: dict[str, list[Row]], file: Path, note: str = "") -> None:
    """{section: [{name, value, target, met}]}, and the note."""
    content: dict[str, object] = {title: [asdict(row) for row in rows] for title, rows in results.items()}
    write_text(file, json.dumps({"note": note, **content} if note else content, indent=1) + "\n")
