"""Reading a part of a store's codes, by token or by feature; its layout stands in :mod:`store.format.codes`."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np

from store.errors import UserError
from store.files import Identity, identity
from store.format.codes import Codes
from store.format.part_access import dataset, is_here, number_of, open_part, size_of, values_of
from store.format.part_guard import MAX_PART_TOKENS, MOST_CODES, MOST_FEATURES, check_structure, walk

INDEXES_KEPT = 400
"""Feature-major indexes, of a part, layer and model each, that stay in memory: 4 bytes a feature."""
AT_ONCE = 2**22
"""Codes that are looked through at once where a part has no feature-major index."""


def read_codes(path: Path, layer: int, model: str, first_row: int = 0, n_rows: int | None = None) -> Codes:
    """Raw codes of a run of token rows, from the token-major index.

    Raises:
        UserError: the part is missing or damaged, or has no such rows.
    """
    with open_part(path) as file:
        known = _known(file, layer, model)
        by_token = f"{known}/by_token"
        indptr = dataset(file, f"{by_token}/indptr", below=known)
        n_ends = indptr.shape[0]
        stop = n_ends if n_rows is None else first_row + n_rows + 1
        if not 0 <= first_row < stop <= n_ends:
            raise ValueError(f"it has no token rows {first_row} to {stop - 1}")
        ends = values_of(indptr, first_row, stop).astype(np.int64, casting="safe")
        span = int(ends[0]), int(ends[-1])
        if span[1] - span[0] > MOST_CODES:
            raise UserError(
                f"The part '{path.name}' has {span[1] - span[0]:,} codes at layer {layer} where one question reads at most "
                f"{MOST_CODES:,}; ask for fewer tokens."
            )
        index = values_of(dataset(file, f"{by_token}/index", below=by_token), *span).astype(np.int64, casting="safe")
        value = values_of(dataset(file, f"{by_token}/value", below=by_token), *span).astype(np.float32)
        _check_codes(value, index, ends[-1] - ends[0], size_of(file, f"layer_{layer}", "d_sae", MOST_FEATURES))
        if (np.diff(ends) < 0).any():
            raise ValueError("its tokens overlap")
        return Codes(ends - ends[0], index, value * _scale(file, layer))


def read_feature(path: Path, layer: int, model: str, feature: int) -> tuple[np.ndarray, np.ndarray]:
    """One feature's every activation in a part: one contiguous read where the part has by_feature.

    Returns:
        (row int64 [n], raw code float32 [n]), rows ascending.

    Raises:
        UserError: the part is missing or damaged.
    """
    found = _feature_index(path, identity(path), layer, model)
    if found is not None:
        with open_part(path) as file:
            start, stop = (int(end) for end in found.indptr[feature : feature + 2])
            if stop - start > found.n_tokens:
                raise ValueError("a feature fires on more tokens than there are")
            row, value = (
                values_of(h5py.h5o.open(file.id, f"{found.place}/{name}".encode()), start, stop) for name in ("row", "value")
            )
            row, value = row.astype(np.int64, casting="safe"), value.astype(np.float32)
            _check_codes(value, row, stop - start, found.n_tokens)
            if (np.diff(row) <= 0).any():
                raise ValueError("a feature fires twice on a token")
            return row, value * found.scale
    return _look_through(path, layer, model, feature)


def _look_through(path: Path, layer: int, model: str, feature: int) -> tuple[np.ndarray, np.ndarray]:
    """The same from the token-major index, all of it, some at a time."""
    with open_part(path) as file:
        known = _known(file, layer, model)
        by_token = f"{known}/by_token"
        ends = values_of(dataset(file, f"{by_token}/indptr", below=known)).astype(np.int64, casting="safe")
        index, value = (dataset(file, f"{by_token}/{name}", below=by_token) for name in ("index", "value"))
        if not (len(ends) and ends[0] == 0 and (np.diff(ends) >= 0).all() and ends[-1] == index.shape[0] == value.shape[0]):
            raise ValueError("its tokens and their codes are not equally many")
        limit = size_of(file, f"layer_{layer}", "d_sae", MOST_FEATURES)
        places, values = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for start in range(0, int(ends[-1]), AT_ONCE):
            stop = min(start + AT_ONCE, int(ends[-1]))
            here = values_of(index, start, stop)
            found = np.flatnonzero(here == feature)
            codes = values_of(value, start, stop).astype(np.float32)
            _check_codes(codes, here, stop - start, limit)
            places.append(found + start)
            values.append(codes[found])
        row = np.searchsorted(ends, np.concatenate(places), side="right") - 1
        if (np.diff(row) <= 0).any():
            raise ValueError("a feature fires twice on a token")
        return row, np.concatenate(values) * _scale(file, layer)


@dataclass(frozen=True)
class _FeatureIndex:
    """What is needed to find a feature in a part.

    Attributes:
        place: of the index in the part; what stands there was looked at.
        indptr: [d_sae + 1].
        n_tokens: of the part.
        scale: what stored values are multiplied with.
    """

    place: str
    indptr: np.ndarray
    n_tokens: int
    scale: np.float32


@lru_cache(maxsize=INDEXES_KEPT)
def _feature_index(path: Path, _identity: Identity | None, layer: int, model: str) -> _FeatureIndex | None:
    """Of one model's codes of a layer; None where the part has none. Kept, since a feature is read from every part of a store.

    Raises:
        UserError: the part is missing or damaged, or takes anything of it from another place.
    """
    with open_part(path) as file:
        known = _known(file, layer, model)
        place = f"{known}/by_feature"
        if not is_here(file, place, below=known):
            return None
        indptr, *_ = (dataset(file, f"{place}/{name}", below=place) for name in ("indptr", "row", "value"))
        ends = values_of(indptr)
        ends.astype(np.int64, casting="safe")
        return _FeatureIndex(place, ends, size_of(file, "", "n_tokens", MAX_PART_TOKENS), _scale(file, layer))


def n_tokens(path: Path) -> int:
    """Token rows of a part.

    Raises:
        UserError: the part is missing or damaged.
    """
    with open_part(path) as file:
        return size_of(file, "", "n_tokens", MAX_PART_TOKENS)


def read_counted(path: Path, layer: int) -> np.ndarray:
    """bool [n_tokens]: which token rows count at a layer."""
    with open_part(path) as file:
        return values_of(dataset(file, f"layer_{layer}/counted"))


def part_digest(path: Path) -> str:
    """SHA-256 over the names, attributes and values of everything in a part, whatever its chunks and compression.

    Raises:
        UserError: the part is missing or damaged, or takes anything from another place.
    """
    total = hashlib.sha256()
    with open_part(path) as file:
        check_structure(file)
        for name in sorted(walk(file), key=_order):
            item = file[name or "/"]
            attributes = [(key, np.asarray(item.attrs[key]).item()) for key in sorted(item.attrs)]
            total.update(f"{name or '/'}{attributes}".encode())
            if isinstance(item, h5py.Dataset):
                total.update(f"{item.dtype.str}{item.shape}".encode())
                for start in range(0, len(item), AT_ONCE):
                    total.update(np.ascontiguousarray(item[start : start + AT_ONCE]).tobytes())
    return total.hexdigest()


def _order(name: str) -> list[str]:
    """By what HDF5 itself sorts: a group before what it holds, names by their characters."""
    return name.split("/")


def _check_codes(value: np.ndarray, place: np.ndarray, count: int, limit: int) -> None:
    """Values and where they stand belong together, and are what a part may hold.

    Raises:
        ValueError: they do not.
    """
    if not len(value) == len(place) == count:
        raise ValueError("its values and their places are not equally many")
    if len(place) and not 0 <= place.min() <= place.max() < limit:
        raise ValueError("a value stands beyond its last feature or token")
    if not (np.isfinite(value) & (value > 0)).all():
        raise ValueError("it holds codes that no dictionary gives")


def _known(file: h5py.File, layer: int, model: str) -> str:
    """Where a model's codes of a layer stand in a part.

    Raises:
        UserError: it holds none.
    """
    name = f"layer_{layer}/codes/{model}"
    if not is_here(file, name):
        raise UserError(
            f"The part '{Path(file.filename).name}' holds no codes of model '{model}' at layer {layer}, or is damaged."
        )
    return name


def _scale(file: h5py.File, layer: int) -> np.float32:
    scale = float(number_of(file, f"layer_{layer}", "code_scale"))
    if not 0 < scale < np.inf:
        raise ValueError(f"its code_scale is {scale}")
    return np.float32(scale)
