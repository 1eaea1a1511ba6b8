"""Opening a part of a store's codes, and reading its values and numbers where they stand: no link is followed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from store.errors import UserError, first_line, is_known, unavailable
from store.format.part_guard import check_dataset, elsewhere


@contextmanager
def open_part(path: Path) -> Iterator[h5py.File]:
    """A part to read inside the context.

    Raises:
        UserError: it is missing or damaged, found out at opening or at reading any of it.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        if is_known(error):
            raise unavailable(f"The part '{path}' of the store", error) from error
        state = "missing" if isinstance(error, FileNotFoundError) else "damaged"
        raise UserError(
            f"The part '{path.name}' of the store is {state} ({first_line(error)}); copy or extract the store again "
            "('python -m extract verify' checks all of it)."
        ) from error


def dataset(file: h5py.File, name: str, below: str = "") -> h5py.h5d.DatasetID:
    """A list of values that stands in this very file: links and values elsewhere could name any file of the reader's.

    Here and below h5py's low level, which takes a third of the time: one feature is read from every part of a store.

    Args:
        below: as of :func:`is_here`.

    Raises:
        UserError: it does not.
        KeyError: there is none.
    """
    if not is_here(file, name, below):
        raise KeyError(f"there are no values '{name}'")
    found = h5py.h5o.open(file.id, name.encode())
    if not isinstance(found, h5py.h5d.DatasetID) or len(found.shape) != 1:
        raise KeyError(f"there are no values '{name}'")
    check_dataset(file, name, found)
    return found


def values_of(dataset: h5py.h5d.DatasetID, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Its values [stop - start], as a slice would have them; all, where nothing is said."""
    start, stop, _ = slice(start, stop).indices(dataset.shape[0])
    found = np.empty(max(0, stop - start), dtype=dataset.dtype)
    if len(found):
        space = dataset.get_space()
        space.select_hyperslab((start,), found.shape)
        dataset.read(h5py.h5s.create_simple(found.shape), space, found)
    return found


def is_here(file: h5py.File, name: str, below: str = "") -> bool:
    """Whether a part holds something of that name. Links are looked at, not followed: that alone would open another file.

    Args:
        below: how much of the name was looked at before.

    Raises:
        UserError: it is in another place.
    """
    links, path = file.id.links, name.encode()
    end = len(below.encode()) or -1
    while end < len(path):
        end = path.find(b"/", end + 1) % (len(path) + 1)
        if not links.exists(path[:end]):
            return False
        if links.get_info(path[:end]).type != h5py.h5l.TYPE_HARD:
            raise elsewhere(file, name)
    return True


def number_of(file: h5py.File, group: str, name: str) -> np.ndarray:
    """A number beside the values of a group, an array of no dimension; of the part where the group is ''."""
    attribute = h5py.h5a.open(h5py.h5o.open(file.id, group.encode()) if group else file.id, name.encode())
    if attribute.shape != () or attribute.dtype.kind not in "iuf" or attribute.dtype.itemsize > 8:
        raise ValueError(f"'{name}' is not one number")
    found = np.empty((), dtype=attribute.dtype)
    attribute.read(found)
    return found


def size_of(file: h5py.File, group: str, name: str, most: int) -> int:
    """An attribute that says how many there are."""
    found = int(number_of(file, group, name))
    if not 0 <= found <= most:
        raise ValueError(f"'{name}' is {found:,}")
    return found
