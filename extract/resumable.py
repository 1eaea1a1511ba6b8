"""Files of arrays that an interrupted run resumes from: whole or absent, and stamped with what they were made from.

A file that is damaged, or was made from something else, counts as absent: it is made again.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from store.files import whole

STAMP = "stamp"


def save(path: Path, arrays: Mapping[str, np.ndarray], stamp: str) -> None:
    """Write arrays by name, as numpy's npz.

    Raises:
        OSError: the disk is full.
    """
    with whole(path) as file:
        np.savez(file, **arrays, **{STAMP: np.array(stamp)})


def read_stamp(path: Path) -> str | None:
    """The stamp of a file every byte of whose arrays is as written; None of one that is absent or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        with np.load(path) as arrays:
            return str(arrays[STAMP])
    except Exception:  # a damaged file surfaces as whatever its reader runs into
        return None
