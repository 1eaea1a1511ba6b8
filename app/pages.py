"""The pages: each is one file of app/views that says at its top what it is called; a new file is a new page."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app import ROOT

VIEWS = ROOT / "app" / "views"
FIELDS = {"TITLE": "title", "ICON": "icon", "GROUP": "group", "ORDER": "order"}
"""A constant at the top of a page's file -> the field of Page that it gives."""


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        path: in the address, and the name of its file in app/views.
        title: its heading, and its name in the sidebar.
        icon: beside that name.
        group: what it is for, over its pages in the sidebar.
        order: its place in the sidebar; the lowest is where one begins.
    """

    path: str
    title: str
    icon: str
    group: str
    order: int

    @property
    def file(self) -> str:
        """Its file, as Streamlit wants it: from app/main.py's folder."""
        return f"views/{self.path}.py"


@cache
def every(folder: Path = VIEWS) -> dict[str, Page]:
    """Every page by its path, in the order of the sidebar. The files are read, not run: running one draws it.

    Raises:
        ValueError: a file does not say what it is called.
    """
    pages = [_read(file) for file in folder.glob("*.py") if file.stem != "__init__"]
    return {page.path: page for page in sorted(pages, key=lambda page: page.order)}


def _read(file: Path) -> Page:
    assigned = (node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.Assign))
    said = {node.targets[0].id: node.value for node in assigned if isinstance(node.targets[0], ast.Name)}
    if missing := [name for name in FIELDS if name not in said]:
        raise ValueError(f"The page {file} has no {' and no '.join(missing)} at its top.")
    return Page(file.stem, **{field: ast.literal_eval(said[name]) for name, field in FIELDS.items()})
