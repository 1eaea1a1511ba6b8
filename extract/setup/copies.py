"""Weights held against one another: those that lie there twice, since a trainer's last checkpoint is often its result too;
and runs that are called alike, and were not trained alike."""

import filecmp
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from extract.models.settings import of_adapter
from extract.setup.parts import Parts, Weights


def without_copies(weights: Sequence[Weights], parts: Parts) -> list[Weights]:
    """Those that differ; of equal ones what the user named stays, then the checkpoint that has a step. Others are told."""
    kept: list[Weights] = []
    for one in sorted(weights, key=lambda one: (not one.given, one.series is None)):
        other = None if one.given else next((before for before in kept if _are_equal(one, before)), None)
        if other is None:
            kept.append(one)
        else:
            parts.unused.append((one.spec, f"it has exactly the weights of '{other.name}'"))
    return [one for one in weights if one in kept]


def settings_apart(one: Weights, other: Weights) -> list[str]:
    """The settings in which two adapters differ, so that they are no runs of one recipe; of models nothing is known."""
    try:
        mine, theirs = ({name: _unordered(value) for name, value in of_adapter(run.spec).items()} for run in (one, other))
    except (OSError, ValueError, AttributeError):
        return []
    return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))


def _unordered(value: Any) -> Any:
    """PEFT writes sets, in any order."""
    return sorted(value, key=str) if isinstance(value, list) else value


def _are_equal(one: Weights, other: Weights) -> bool:
    mine, theirs = _files(one), _files(other)
    if one.kind != other.kind or not mine or [file.name for file in mine] != [file.name for file in theirs]:
        return False
    try:
        same = all(filecmp.cmp(*pair, shallow=False) for pair in zip(mine, theirs, strict=True))
        return same and (one.kind == "model" or of_adapter(one.spec) == of_adapter(other.spec))
    except (OSError, ValueError):
        return False  # what is wrong with it is said when it is read


def _files(one: Weights) -> list[Path]:
    place = Path(one.spec)
    return [place] if place.is_file() else sorted(place.glob("*.safetensors")) if place.is_dir() else []
