"""The HDF5 side of a store: one part holds the sparse codes of a group of whole documents.

Layout of ``latents/part-00000.h5``::

    attrs: part, n_tokens
    layer_12/              attrs: code_scale, d_sae
        counted            bool [n_tokens]: False for attention sinks, whose codes are not stored
        codes/base/        and one such group for each variant
            by_token/      indptr [n_tokens + 1], index [nnz] (feature),  value [nnz]
            by_feature/    indptr [d_sae + 1],    row   [nnz] (token row), value [nnz]; not in a copy to share

``value`` is float16 of raw code / code_scale, a power of two, so that codes of any size neither overflow nor underflow;
``index`` is uint16 where d_sae <= 65,536, else uint32; ``row`` is uint16, hence at most 65,536 tokens a part. gzip and
shuffle, which plain h5py reads everywhere.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np

from store.errors import UserError, first_line, is_known, unavailable
from store.files import Identity, identity, partial_of, put_in_place
from store.format.part_guard import (
    CHUNK,
    MAX_PART_TOKENS,
    MOST_CODES,
    MOST_FEATURES,
    check_dataset,
    check_structure,
    elsewhere,
    walk,
)

UINT16_FEATURES = 65_536  # a dictionary up to this size has uint16 feature indexes
INDEXES_KEPT = 400
"""Feature-major indexes, of a part, layer and model each, that stay in memory: 4 bytes a feature."""
LIBVER = ("v110", "v110")
"""Of the file format: any HDF5 since 1.10 (2016) reads it, and unlike the older one it has checksums over all that says where
values stand; the compressed values have their own. So a damaged part is never read as something else."""
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
AT_ONCE = 2**22
"""Codes that are looked through at once where a part has no feature-major index."""


@dataclass(frozen=True)
class Codes:
    """Sparse raw codes of one model at one layer, token-major (CSR), features ascending within a token.

    Attributes:
        indptr: int64 [n_tokens + 1].
        index: int64 [nnz], feature.
        value: float32 [nnz], raw code, above 0.
    """

    indptr: np.ndarray
    index: np.ndarray
    value: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """int64 [nnz]: the token row of each entry."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))


@dataclass(frozen=True)
class LayerCodes:
    """What a part keeps of one layer.

    Attributes:
        d_sae: number of features.
        code_scale: power of two that raw codes are divided by before float16.
        counted: bool [n_tokens].
        codes: model ('base' or a variant) -> :class:`Codes`.
    """

    d_sae: int
    code_scale: float
    counted: np.ndarray
    codes: Mapping[str, Codes]


def part_file(part: int) -> str:
    """Path of a part inside its store."""
    return f"latents/part-{part:05d}.h5"


def write_part(path: Path, part: int, layers: Mapping[int, LayerCodes], feature_index: bool = True) -> None:
    """Write one part: whole and on disk, or not at all.

    Args:
        feature_index: whether to write by_feature too; without it the part is half the size, and reading a feature means
            looking through all codes of its model and layer.

    Raises:
        UserError: a code is not finite or does not fit float16; nothing is left behind.
        OSError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        with h5py.File(partial, "w", libver=LIBVER) as file:
            file.attrs["part"] = part
            file.attrs["n_tokens"] = len(next(iter(layers.values())).counted)
            for layer, kept in sorted(layers.items()):
                group = file.create_group(f"layer_{layer}")
                group.attrs["d_sae"] = kept.d_sae
                group.attrs["code_scale"] = kept.code_scale
                _write(group, "counted", kept.counted)
                for model, codes in kept.codes.items():
                    where = f"layer {layer}, model '{model}'"
                    _write_codes(group.create_group(f"codes/{model}"), codes, kept, where, feature_index)
        put_in_place(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_codes(path: Path, layer: int, model: str, first_row: int = 0, n_rows: int | None = None) -> Codes:
    """Raw codes of a run of token rows, from the token-major index.

    Raises:
        UserError: the part is missing or damaged, or has no such rows.
    """
    with _open(path) as file:
        known = _known(file, layer, model)
        by_token = f"{known}/by_token"
        indptr = _dataset(file, f"{by_token}/indptr", below=known)
        n_ends = indptr.shape[0]
        stop = n_ends if n_rows is None else first_row + n_rows + 1
        if not 0 <= first_row < stop <= n_ends:
            raise ValueError(f"it has no token rows {first_row} to {stop - 1}")
        ends = _values(indptr, first_row, stop).astype(np.int64, casting="safe")
        span = int(ends[0]), int(ends[-1])
        if span[1] - span[0] > MOST_CODES:
            raise UserError(
                f"The part '{path.name}' has {span[1] - span[0]:,} codes at layer {layer} where one question reads at most "
                f"{MOST_CODES:,}; ask for fewer tokens."
            )
        index = _values(_dataset(file, f"{by_token}/index", below=by_token), *span).astype(np.int64, casting="safe")
        value = _values(_dataset(file, f"{by_token}/value", below=by_token), *span).astype(np.float32)
        _check_codes(value, index, ends[-1] - ends[0], _size(file, f"layer_{layer}", "d_sae", MOST_FEATURES))
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
        with _open(path) as file:
            start, stop = (int(end) for end in found.indptr[feature : feature + 2])
            if stop - start > found.n_tokens:
                raise ValueError("a feature fires on more tokens than there are")
            row, value = (
                _values(h5py.h5o.open(file.id, f"{found.place}/{name}".encode()), start, stop) for name in ("row", "value")
            )
            row, value = row.astype(np.int64, casting="safe"), value.astype(np.float32)
            _check_codes(value, row, stop - start, found.n_tokens)
            if (np.diff(row) <= 0).any():
                raise ValueError("a feature fires twice on a token")
            return row, value * found.scale
    return _look_through(path, layer, model, feature)


def _look_through(path: Path, layer: int, model: str, feature: int) -> tuple[np.ndarray, np.ndarray]:
    """The same from the token-major index, all of it, some at a time."""
    with _open(path) as file:
        known = _known(file, layer, model)
        by_token = f"{known}/by_token"
        ends = _values(_dataset(file, f"{by_token}/indptr", below=known)).astype(np.int64, casting="safe")
        index, value = (_dataset(file, f"{by_token}/{name}", below=by_token) for name in ("index", "value"))
        if not (len(ends) and ends[0] == 0 and (np.diff(ends) >= 0).all() and ends[-1] == index.shape[0] == value.shape[0]):
            raise ValueError("its tokens and their codes are not equally many")
        limit = _size(file, f"layer_{layer}", "d_sae", MOST_FEATURES)
        places, values = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for start in range(0, int(ends[-1]), AT_ONCE):
            stop = min(start + AT_ONCE, int(ends[-1]))
            here = _values(index, start, stop)
            found = np.flatnonzero(here == feature)
            codes = _values(value, start, stop).astype(np.float32)
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
    with _open(path) as file:
        known = _known(file, layer, model)
        place = f"{known}/by_feature"
        if not _is_here(file, place, below=known):
            return None
        indptr, *_ = (_dataset(file, f"{place}/{name}", below=place) for name in ("indptr", "row", "value"))
        ends = _values(indptr)
        ends.astype(np.int64, casting="safe")
        return _FeatureIndex(place, ends, _size(file, "", "n_tokens", MAX_PART_TOKENS), _scale(file, layer))


def n_tokens(path: Path) -> int:
    """Token rows of a part.

    Raises:
        UserError: the part is missing or damaged.
    """
    with _open(path) as file:
        return _size(file, "", "n_tokens", MAX_PART_TOKENS)


def read_counted(path: Path, layer: int) -> np.ndarray:
    """bool [n_tokens]: which token rows count at a layer."""
    with _open(path) as file:
        return _values(_dataset(file, f"layer_{layer}/counted"))


def digest(path: Path) -> str:
    """SHA-256 over the names, attributes and values of everything in a part, whatever its chunks and compression.

    Raises:
        UserError: the part is missing or damaged, or takes anything from another place.
    """
    total = hashlib.sha256()
    with _open(path) as file:
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


def _write_codes(group: h5py.Group, codes: Codes, kept: LayerCodes, where: str, feature_index: bool) -> None:
    value = _compact_values(codes.value, kept.code_scale, where)
    index_type = np.uint16 if kept.d_sae <= UINT16_FEATURES else np.uint32
    by_token = group.create_group("by_token")
    _write(by_token, "indptr", codes.indptr.astype(np.uint32))
    _write(by_token, "index", codes.index.astype(index_type))
    _write(by_token, "value", value)
    if not feature_index:
        return
    order = np.argsort(codes.index.astype(index_type), kind="stable")
    by_feature = group.create_group("by_feature")
    counts = np.bincount(codes.index, minlength=kept.d_sae)
    _write(by_feature, "indptr", np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32))
    _write(by_feature, "row", codes.rows[order].astype(np.uint16))
    _write(by_feature, "value", value[order])


def _compact_values(value: np.ndarray, code_scale: float, where: str) -> np.ndarray:
    """float16 of value / code_scale; an active feature stays active, so the smallest number stands in for zero."""
    with np.errstate(over="ignore"):
        compact = np.maximum(value / np.float32(code_scale), SMALLEST).astype(np.float16)
    if not np.isfinite(compact).all():
        worst = float(np.nanmax(value)) if len(value) else float("nan")
        raise UserError(
            f"A code at {where} does not fit the store (largest {worst:.4g}, scale {code_scale:.4g}): the dictionary gives "
            "activations 65,504 times its median or not finite; check that model and dictionary belong together."
        )
    return compact


def _write(group: h5py.Group, name: str, data: np.ndarray) -> None:
    if len(data) == 0:
        group.create_dataset(name, data=data)
        return
    group.create_dataset(
        name, data=data, chunks=(min(CHUNK, len(data)),), compression="gzip", compression_opts=4, shuffle=True
    )


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
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


def _dataset(file: h5py.File, name: str, below: str = "") -> h5py.h5d.DatasetID:
    """A list of values that stands in this very file: links and values elsewhere could name any file of the reader's.

    Here and below h5py's low level, which takes a third of the time: one feature is read from every part of a store.

    Args:
        below: as of :func:`_is_here`.

    Raises:
        UserError: it does not.
        KeyError: there is none.
    """
    if not _is_here(file, name, below):
        raise KeyError(f"there are no values '{name}'")
    dataset = h5py.h5o.open(file.id, name.encode())
    if not isinstance(dataset, h5py.h5d.DatasetID) or len(dataset.shape) != 1:
        raise KeyError(f"there are no values '{name}'")
    check_dataset(file, name, dataset)
    return dataset


def _values(dataset: h5py.h5d.DatasetID, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Some of its values, as a slice would have them; all, where nothing is said."""
    start, stop, _ = slice(start, stop).indices(dataset.shape[0])
    found = np.empty(max(0, stop - start), dtype=dataset.dtype)
    if len(found):
        space = dataset.get_space()
        space.select_hyperslab((start,), found.shape)
        dataset.read(h5py.h5s.create_simple(found.shape), space, found)
    return found


def _is_here(file: h5py.File, name: str, below: str = "") -> bool:
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


def _attribute(file: h5py.File, group: str, name: str) -> np.ndarray:
    """A number beside the values of a group; '': of the part."""
    attribute = h5py.h5a.open(h5py.h5o.open(file.id, group.encode()) if group else file.id, name.encode())
    if attribute.shape != () or attribute.dtype.kind not in "iuf" or attribute.dtype.itemsize > 8:
        raise ValueError(f"'{name}' is not one number")
    found = np.empty((), dtype=attribute.dtype)
    attribute.read(found)
    return found


def _size(file: h5py.File, group: str, name: str, most: int) -> int:
    """An attribute that says how many there are."""
    found = int(_attribute(file, group, name))
    if not 0 <= found <= most:
        raise ValueError(f"'{name}' is {found:,}")
    return found


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
    if not _is_here(file, name):
        raise UserError(
            f"The part '{Path(file.filename).name}' holds no codes of model '{model}' at layer {layer}, or is damaged."
        )
    return name


def _scale(file: h5py.File, layer: int) -> np.float32:
    scale = float(_attribute(file, f"layer_{layer}", "code_scale"))
    if not 0 < scale < np.inf:
        raise ValueError(f"its code_scale is {scale}")
    return np.float32(scale)
