"""Datasets that `datasets` wrote with save_to_disk: which Arrow files they are; a folder may come from anybody."""

import json
from pathlib import Path
from typing import Any

from store.errors import UserError

SPLITS, STATE = "dataset_dict.json", "state.json"
MOST_BYTES = 2**24
"""Of a file that describes a dataset."""


def is_saved(place: Path) -> bool:
    """Whether it is a folder that save_to_disk wrote: a dataset, or one of several splits."""
    try:
        return any((place / name).is_file() for name in (SPLITS, STATE))
    except (OSError, ValueError):
        return False


def saved_files(folder: Path, split: str) -> list[Path]:
    """The Arrow files of a saved dataset, in order.

    Args:
        split: of a dataset of several splits; one without them has none.

    Raises:
        UserError: it has no such split, is not what save_to_disk writes, or names files that are not its own.
    """
    if (folder / SPLITS).is_file():
        splits = _read(folder / SPLITS).get("splits")
        if not isinstance(splits, list) or split not in splits:
            known = ", ".join(map(repr, splits)) if isinstance(splits, list) else "none"
            raise UserError(f"The saved dataset '{folder}' has no split {split!r}; choose from {known} as 'split'.")
        folder = _inside(folder, split)
    listed = _read(folder / STATE).get("_data_files")
    names = [file.get("filename") if isinstance(file, dict) else None for file in listed] if isinstance(listed, list) else []
    if not names:
        raise UserError(f"The saved dataset '{folder}' names no files in its {STATE}; save it again.")
    files = [_inside(folder, name) for name in names]
    if missing := [file.name for file in files if not file.is_file()]:
        raise UserError(f"The saved dataset '{folder}' has no file '{missing[0]}', which its {STATE} names; copy all of it.")
    return files


def _inside(folder: Path, name: Any) -> Path:
    """A file or folder that lies in a folder."""
    plain = isinstance(name, str) and name.isprintable() and name not in ("", ".", "..") and not set("/\\") & set(name)
    if not plain or (folder / name).is_symlink():
        raise UserError(f"The saved dataset '{folder}' names {name!r:.200} as a part of it; it may only hold files of its own.")
    return folder / name


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too long")
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"The saved dataset '{path.parent}' cannot be read: its {path.name} is damaged or missing.") from error
    return found
