"""The results of ``bench-truth``: rows, and the page and the JSON that they are written to."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from store.errors import UserError

PAGE = Path(__file__).parent.parent / "docs" / "bench-truth.md"
BEGIN, END = "<!-- bench-truth: begin -->", "<!-- bench-truth: end -->"


@dataclass(frozen=True)
class Row:
    """One result: ``met`` is None where nothing is asked of it."""

    name: str
    value: float
    target: str
    met: bool | None


def markdown(results: dict[str, list[Row]]) -> str:
    """A table for each section."""
    words = {True: "yes", False: "**no**", None: ""}
    parts = []
    for title, rows in results.items():
        lines = [f"| {row.name} | {row.value:.4g} | {row.target} | {words[row.met]} |" for row in rows]
        parts.append("\n".join([f"### {title}", "", "| what | value | target | met |", "|---|---|---|---|", *lines]))
    return "\n\n".join(parts)


def check_page(page: Path) -> tuple[str, str]:
    """What stands before and after the table of a page.

    Raises:
        UserError: the page is missing or has no markers.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise UserError(f"'{page}' must hold the lines '{BEGIN}' and '{END}', between which the results are written.")
    return before + begin, end + after


def write_page(results: dict[str, list[Row]], page: Path) -> None:
    """Put the tables between the page's markers, :func:`check_page`."""
    before, after = check_page(page)
    page.write_text(f"{before}\n\n{markdown(results)}\n\n{after}", encoding="utf-8")


def write_json(results: dict[str, list[Row]], file: Path) -> None:
    """{section: [{name, value, target, met}]}."""
    content = {title: [asdict(row) for row in rows] for title, rows in results.items()}
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
