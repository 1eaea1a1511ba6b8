"""Checkpoints of one training given by one glob: ``maths-*`` stands for a variant of each folder that its path matches."""

import re
from pathlib import Path
from typing import Any

from extract.step_names import counted, is_bare, step_of
from store.errors import UserError, reason
from store.text import printable

STAR = "*"
WEIGHTS = ("adapter", "model")


def expanded(variants: dict[Any, Any], folder: Path) -> dict[Any, Any]:
    """The variants of a configuration, each whose name ends in ``*`` replaced by one for each checkpoint, in order of steps.

    ``maths-*: {adapter: runs/checkpoint-*}`` becomes ``maths-100: {adapter: runs/checkpoint-100, series: maths, step: 100}``
    and so on; of ``replicate_of: maths-*`` each is a replicate of the other glob's variant of its step.

    Args:
        variants: as the file has them, unchecked.
        folder: the configuration's, from which a path starts.

    Raises:
        UserError: nothing matches, a match has no step or that of another, or a name is taken.
    """
    found: dict[Any, Any] = {}
    for name, given in variants.items():
        ends_in_star = isinstance(name, str) and name.endswith(STAR)
        for of_one, variant in (_checkpoints(name, given, folder) if ends_in_star else {name: given}).items():
            if of_one in found or (of_one != name and of_one in variants):
                raise UserError(f"The variant '{_shown(of_one)}' stands in the configuration beside a glob that gives it too.")
            found[of_one] = variant
    return found


def _checkpoints(name: str, given: Any, folder: Path) -> dict[str, dict[str, Any]]:
    """The variants that one glob stands for."""
    what, stem = f"The variants '{_shown(name)}'", name.removesuffix(STAR)
    fields = given if isinstance(given, dict) else {}
    paths = {field: fields[field] for field in WEIGHTS if isinstance(fields.get(field), str)}
    if len(paths) != 1 or next(iter(paths.values())).count(STAR) != 1:
        raise UserError(f"{what} must give one adapter or model with one '*' in its path, such as runs/checkpoint-*.")
    if "step" in fields:
        raise UserError(f"{what} may give no step: each has that in its folder's name.")
    if not (series := fields.get("series", stem.rstrip("-_"))):
        raise UserError(f"{what} need a name before the '*': it becomes that of the series.")
    ((field, pattern),) = paths.items()
    first = fields.get("replicate_of")
    others = first.removesuffix(STAR) if isinstance(first, str) and first.endswith(STAR) else None
    return {
        f"{stem}{step}": {
            **fields,
            field: str(place),
            "series": series,
            "step": step,
            **({} if others is None else {"replicate_of": f"{others}{step}"}),
        }
        for step, place in _steps(what, stem, pattern, folder, files=field == "model").items()
    }


def _steps(what: str, stem: str, pattern: str, folder: Path, files: bool) -> dict[int, Path]:
    """Step -> the checkpoint's place, in order of steps.

    Args:
        stem: the variants' name before its ``*``.
        files: whether a file may be a checkpoint, as a .gguf is.
    """
    parts = Path(pattern).parts
    starred = next(place for place, part in enumerate(parts) if STAR in part)
    within = folder / Path(*parts[:starred]).expanduser()
    before, after = parts[starred].split(STAR)
    try:
        names = sorted(entry.name for entry in within.iterdir() if not entry.name.startswith("."))
    except (OSError, ValueError) as error:
        raise UserError(f"{what} cannot be looked for at '{_shown(pattern)}': {reason(error)}.") from error
    found: dict[int, Path] = {}
    for name in names:
        place = Path(within, name, *parts[starred + 1 :])
        matched = re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}", name, re.DOTALL)
        if matched is None or not (place.is_dir() or (files and place.is_file())):
            continue
        step = step_of(matched[1], before, after)
        if step is None or counted(stem):
            raise UserError(f"{what} match '{_shown(name)}', {_no_step(matched[1], before, after, stem)}")
        if step in found:
            other = found[step].relative_to(within).parts[0]
            raise UserError(f"{what} match '{_shown(other)}' and '{_shown(name)}', both of step {step}; move one elsewhere.")
        found[step] = place
    if not found:
        raise UserError(f"{what} match no folder at '{_shown(pattern)}'; check the path.")
    return dict(sorted(found.items()))


def _no_step(star: str, before: str, after: str, stem: str) -> str:
    """Why what a glob matches is no step, and what to write instead."""
    what = counted(stem) or (counted(before) if is_bare(star) else None)
    if what is not None:
        why = f"whose number counts '{_shown(what)}' and no steps; move it elsewhere"
    elif step_of(star) is not None:
        why = f"where the '*' stands for a part of the number only, '{_shown(star)}'; put it in place of the whole number"
    else:
        why = (
            f"where the '*' stands for '{_shown(star)}', which is no step (a number, after no word but such as step or "
            "checkpoint); move it elsewhere"
        )
    return (
        f"{why}, or give each variant by itself: checkpoints of one training with series and step, other runs of a recipe with "
        "replicate_of."
    )


def _shown(text: str) -> str:
    return printable(text)[:80]
