"""What a part may hold: looked at before a library unpacks any of it, since it may come from a stranger.

A chunk of 1 GiB packs into a megabyte, filters stack, links and virtual datasets name any file of the reader's: all of it would
be followed as soon as somebody asks for a number. :mod:`store.format.part_writing` writes one kind of dataset; nothing else is
read.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import h5py

from store.errors import UserError

CHUNK = 16_384  # values; about 32 KiB a chunk, so that reading one feature decompresses little more than it needs
MAX_PART_TOKENS = 65_536  # so that a token's row fits uint16
MOST_FEATURES = 2**24
MOST_CODES = 2**25
"""Codes that one question reads from a part at once."""
MOST_PACKED = 1100
"""Bytes that one byte of a file can stand for: deflate reaches 1,032."""
MOST_PACKED_VALUES = 16
"""The same for codes themselves, which are measured numbers: two at best; of more than FEW_BYTES."""
FEW_BYTES = 1_000_000
MOST_MEMBERS = 1_000
"""Layers of a part, models of a layer."""

TYPES = {"counted": ("b1",), "indptr": ("u4",), "index": ("u2", "u4"), "row": ("u2",), "value": ("f2",)}
"""Dataset -> kind and bytes of its values."""
FILTERS = ((), (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE))
"""What values are packed with; twice the same would unpack a million times as much."""

_LAYER, _MODEL = re.compile(r"layer_\d{1,5}"), re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")
_INDEXES = {"by_token": ("indptr", "index", "value"), "by_feature": ("indptr", "row", "value")}
_ATTRIBUTES = {"": ["n_tokens", "part"], "layer": ["code_scale", "d_sae"]}


def check_dataset(file: h5py.File, name: str, dataset: h5py.h5d.DatasetID) -> None:
    """Values stand in this very file, are of the type and packed in the way that is written, and are as many as they can be.

    Raises:
        UserError: they stand elsewhere.
        ValueError: anything else.
    """
    made_with = dataset.get_create_plist()
    if made_with.get_layout() == h5py.h5d.VIRTUAL or made_with.get_external_count():
        raise elsewhere(file, name)
    kind = f"{dataset.dtype.kind}{dataset.dtype.itemsize}"
    column = name.rsplit("/", 1)[-1]
    if len(dataset.shape) != 1 or kind not in TYPES.get(column, ()):
        raise ValueError(f"'{name}' is not what it should be")
    filters = tuple(made_with.get_filter(number)[0] for number in range(made_with.get_nfilters()))
    if filters not in FILTERS:
        raise ValueError(f"'{name}' is packed in a way that no extracted store has")
    if made_with.get_layout() == h5py.h5d.CHUNKED and math.prod(made_with.get_chunk()) > CHUNK:
        raise ValueError(f"'{name}' is packed in pieces of {math.prod(made_with.get_chunk()):,} values")
    n_bytes = math.prod(dataset.shape) * dataset.dtype.itemsize
    most = MOST_PACKED_VALUES if column == "value" and n_bytes > FEW_BYTES else MOST_PACKED
    if n_bytes > most * dataset.get_storage_size():
        raise ValueError(f"'{name}' claims more values than are in the file")


def check_structure(file: h5py.File) -> None:
    """A whole part holds what it should and nothing else. Its depth is known, so that no circle of links is walked.

    Raises:
        UserError: something is in another place.
        ValueError: anything else.
    """
    for name in walk(file):
        item = h5py.h5o.open(file.id, name.encode() or b"/")
        if isinstance(item, h5py.h5d.DatasetID):
            check_dataset(file, name, item)


def walk(file: h5py.File) -> Iterator[str]:
    """The name of every group and dataset that a part may hold and does; '' is the part itself.

    Raises:
        UserError: something is in another place.
        ValueError: there is more, or less.
    """
    yield ""
    _check_attributes(file, "", _ATTRIBUTES[""])
    for layer in _inside(file, "", _LAYER):
        yield layer
        _check_attributes(file, layer, _ATTRIBUTES["layer"])
        _expect(file, layer, {"codes", "counted"})
        yield from (f"{layer}/counted", f"{layer}/codes")
        for model in _inside(file, f"{layer}/codes", _MODEL):
            yield model
            for index in _expect(file, model, {"by_token"}, {"by_feature"}):
                yield index
                yield from _expect(file, index, set(_INDEXES[index.rsplit("/", 1)[-1]]))


def _inside(file: h5py.File, group: str, allowed: re.Pattern[str]) -> list[str]:
    """Paths of what a group holds, each of a name that is allowed."""
    found = _members(file, group)
    if odd := [name for name in found if not allowed.fullmatch(name)]:
        raise ValueError(f"it holds {odd[0][:80]!r}, which no extracted store has")
    return [f"{group}/{name}".lstrip("/") for name in found]


def _expect(file: h5py.File, group: str, needed: set[str], optional: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """The same where the names are known."""
    found = set(_members(file, group))
    if not needed <= found <= needed | optional:
        raise ValueError(f"'{group}' does not hold what it should")
    return [f"{group}/{name}" for name in sorted(found)]


def _members(file: h5py.File, group: str) -> list[str]:
    """Names in a group, none of which is followed anywhere else."""
    item = _group(file, group)
    found: list[tuple[str, int]] = []

    def take(raw: bytes, info: h5py.h5l.LinkInfo) -> bool | None:
        found.append((raw.decode(errors="replace"), info.type))
        return len(found) > MOST_MEMBERS or None  # what is not None ends it

    item.links.iterate(take, info=True)
    for name, kind in found:
        if kind != h5py.h5l.TYPE_HARD:
            raise elsewhere(file, f"{group}/{name}")
    if len(found) > MOST_MEMBERS:
        raise ValueError(f"'{group}' holds more than {MOST_MEMBERS:,} things")
    return [name for name, _ in found]


def _group(file: h5py.File, name: str) -> h5py.h5g.GroupID:
    item = h5py.h5o.open(file.id, name.encode() or b"/")
    if not isinstance(item, h5py.h5g.GroupID):
        raise ValueError(f"'{name}' is no group")
    return item


def _check_attributes(file: h5py.File, group: str, names: list[str]) -> None:
    item = _group(file, group)
    count = h5py.h5a.get_num_attrs(item)
    if count != len(names) or not all(h5py.h5a.exists(item, name.encode()) for name in names):
        raise ValueError(f"'{group or '/'}' does not say what it should")


def elsewhere(file: h5py.File, name: str) -> UserError:
    """What is said where a part takes something from another file, or another place of it."""
    return UserError(
        f"The part '{Path(file.filename).name}' takes '{name.strip('/')}' from another place, which no extracted store does; "
        "do not trust this copy."
    )
