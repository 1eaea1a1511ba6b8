"""Pages from Jinja templates: what they say stands in a file of macros beside the module that knows the numbers.

Everything is escaped that is not markup already (markupsafe.Markup), and what a template asks for has to exist. Text of
strangers goes through the filter `visible` or `lines` (store/text.py), so that what cannot be seen shows too. Numbers are
written by the filters that are called as in store/numbers.py; `count` is among them, so that Jinja's own is `length` here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from store import numbers, text

FILTERS = {
    "visible": text.visible, "in_place": text.in_place, "lines": text.lines, "number": numbers.number,
    "significant": numbers.significant, "fixed": numbers.fixed, "percent": numbers.percent, "count": numbers.count,
    "counted": numbers.counted, "probability": numbers.probability, "utc": numbers.utc,
}  # fmt: skip


def macros(file: Path, escaped: Callable[[Any], Any] | None = None, **names: Any) -> Any:
    """The macros of a template, as functions of one module; each returns Markup.

    Args:
        file: the template, which may import others of its folder.
        escaped: makes text of what is no HTML safe, and gives Markup; None: HTML.
        names: what the template knows beside the arguments of its macros.
    """
    environment = Environment(
        loader=FileSystemLoader(file.parent), autoescape=True, finalize=escaped, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= FILTERS
    environment.globals |= names
    return environment.get_template(file.name).module


def style(file: Path, **colours: str) -> Markup:
    """A style sheet as an element of a page; `colours` are known in it by name, as var(--fs-name)."""
    known = f":root {{ {' '.join(f'--fs-{name}: {colour};' for name, colour in colours.items())} }}\n" if colours else ""
    return Markup(f"<style>\n{known}{file.read_text(encoding='utf-8')}</style>")
