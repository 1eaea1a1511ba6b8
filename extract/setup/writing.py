"""``init``: from what it is pointed at to a file that ``check`` and ``run`` take as it is; it asks nothing, and tells all."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from extract.setup.options import parts_of, tasks_of
from extract.setup.parts import Parts, placed
from store.errors import UserError
from store.files import check_writable, write_text
from store.numbers import listed
from store.text import on_one_line

MOST_NAMED = 8
"""Files that are nothing a run uses, named at most."""


def write_config(
    folder: str | None, base: str | None, variants: Sequence[str], saes: Sequence[str], data: Sequence[str],
    tasks: Sequence[str], chat_template: str | None, out: Path, force: bool,
) -> list[str]:  # fmt: skip
    """Write a run's configuration.

    Args:
        folder: looked through; what the others name goes before what lies there.
        out: the file; force: in place of what is there.

    Returns:
        What there is to tell, a line each.

    Raises:
        UserError: there is a file already, or no run can be made of what is there.
    """
    check_writable(out)
    if out.exists() and not force:
        raise UserError(f"There is a file at '{out}' already; give --force to write it anew, or another --out.")
    if folder is None and base is None and not variants:
        raise UserError("Nothing is given to make a run from; give a folder, or --base, --variant, --sae and --data.")
    asked = tasks_of(tasks)
    parts = parts_of(folder, base, variants, saes, data)
    if chat_template is not None:
        parts.templates = [placed(chat_template, "--chat-template")]
    if not (parts.weights or parts.variants or parts.data or parts.saes):
        raise UserError(f"In '{folder}' nothing was recognised: no model, adapter, dictionary or data; check the path.")
    from extract.setup.draft import make_draft  # torch, once the line is known to be right

    draft = make_draft(parts, asked)
    if draft.report.problems:
        more = len(draft.report.problems) - 1
        also = f" (and {more} more, which 'check' would name)" if more else ""
        raise UserError(f"{draft.report.problems[0]}{also}")
    from extract.setup.written_yaml import as_yaml

    steps = next_steps(out)
    try:
        write_text(out, as_yaml(draft, out, steps))
    except UnicodeEncodeError as error:
        raise UserError(f"'{out}' cannot be written: a name holds what is no text ({error.reason}); rename it.") from error
    from extract.setup.told import told

    return [*told(draft), *(f"not used: {line}" for line in _unused(parts)), "", f"Written to {out}. Next:",
            *(f"  {step}" for step in steps)]  # fmt: skip


def next_steps(out: Path) -> list[str]:
    """The commands that make a store of it, and show it."""
    file = shlex.quote(os.fspath(out))
    return [
        f"python -m extract check {file}",
        f"python -m extract run {file} --out my-store",
        "make app STORE=my-store",
    ]


def _unused(parts: Parts) -> list[str]:
    """What was found and is not used, with the reason where there is one; the rest in one line."""
    unused = [(_short(name), why) for name, why in parts.unused]
    rest = [name for name, why in unused if not why]
    named = listed(rest[:MOST_NAMED]) + (f" and {len(rest) - MOST_NAMED:,} others" if len(rest) > MOST_NAMED else "")
    lines = [f"{name}: {why}" for name, why in unused if why]
    return [on_one_line(line) for line in [*lines, *([named] if rest else [])]]


def _short(name: str) -> str:
    """A path as it is seen from here, where it lies below."""
    here = Path.cwd()
    return str(Path(name).relative_to(here)) if Path(name).is_absolute() and Path(name).is_relative_to(here) else name
