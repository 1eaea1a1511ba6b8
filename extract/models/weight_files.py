"""The files of a checkpoint: which there are, whether each is whole, and what their headers say of the tensors."""

import json
import re
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils import cached_file

from store.errors import UserError, first_line

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def read_headers(folder: str, what: str) -> dict[str, str]:
    """Tensor -> type as safetensors names it ('F32'), of all files of a checkpoint; empty where there are none.

    Raises:
        UserError: two files hold one tensor, or a file cannot be read.
    """
    found: dict[str, str] = {}
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                header = {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise UserError(f"{what} could not be loaded: '{file.name}' cannot be read ({first_line(error)}).") from error
        if twice := sorted(found.keys() & header.keys()):
            raise UserError(f"{what} holds {named(twice)} in more than one file; remove the files of another save.")
        found.update(header)
    return found


def stored_tensor(folder: str, name: str) -> torch.Tensor | None:
    """One tensor of a checkpoint's files, read alone; None where they do not have it."""
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118
                return tensors.get_tensor(name)
    return None


def weight_files(folder: str) -> list[Path]:
    """The safetensors files that transformers reads, of a folder or of a hub id's cache."""
    config = cached_file(folder, "config.json", local_files_only=True, _raise_exceptions_for_missing_entries=False)
    place = Path(folder) if Path(folder).is_dir() else Path(config).parent if config else None
    if place is None:
        return []
    if (place / SINGLE).is_file():
        return [place / SINGLE]
    if not (place / INDEX).is_file():
        return []
    names = json.loads((place / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
    return [place / name for name in sorted(set(names)) if (place / name).is_file()]


def check_index(folder: Path, what: str) -> None:
    """Refuse a folder's index that is none, or that names files elsewhere: transformers would read those without a word.

    Raises:
        UserError: so it is.
    """
    if (folder / SINGLE).is_file() or not (folder / INDEX).is_file():
        return
    try:
        names = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        elsewhere = sorted(name for name in names if Path(name).name != name)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{what} could not be loaded: its {INDEX} does not say which file holds which tensor; fetch or save it again."
        ) from error
    if elsewhere:
        raise UserError(
            f"{what} could not be loaded: its {INDEX} names '{elsewhere[0]}', which is no file of its folder; save it again."
        )


def named(names: Collection[str], at_most: int = 3) -> str:
    """Tensors for a sentence: those that differ in numbers only are one; at most three, and how many there are in all."""
    if len(names) <= at_most:
        return ", ".join(f"'{name}'" for name in names)
    kinds = list(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) for name in names))
    others = " and others" if len(kinds) > at_most else ""
    return ", ".join(f"'{kind}'" for kind in kinds[:at_most]) + f"{others} ({len(names)} tensors)"
