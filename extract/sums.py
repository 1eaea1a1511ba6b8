"""A shard's sums on disk: one npz file a shard, written whole or not at all.

An array is named by its place, for example ``12|maths|features|n11``: layer, model, table, column.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from extract.batches import Shard
from store.errors import UserError
from store.parts import n_tokens
from store.writer import StoreWriter

MAX_OPEN = 64


def key(*place: object) -> str:
    """The name of an array, from the general to the particular."""
    return "|".join(map(str, place))


def under(columns: Mapping[str, np.ndarray], *place: object) -> dict[str, np.ndarray]:
    """Columns with the place they belong to put before their names."""
    return {key(*place, column): values for column, values in columns.items()}


def path(writer: StoreWriter, shard: int) -> Path:
    """Where a shard's sums are; they are written after its part."""
    return writer.work / f"sums-{shard:05d}.npz"


def is_done(writer: StoreWriter, shard: Shard) -> bool:
    """Whether a shard is finished: its sums are there, and its part is whole (a power cut may have taken it)."""
    try:
        return path(writer, shard.index).is_file() and n_tokens(writer.part_path(shard.index)) == shard.n_tokens
    except UserError:
        return False


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a shard's sums.

    Raises:
        OSError: the disk is full.
    """
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


class ShardSums:
    """The sums of every shard of a run, in shard order.

    Files stay open, since their directory is read anew at every opening, but no more than :data:`MAX_OPEN` of them: a long
    run has more shards than a process may open files.
    """

    def __init__(self, writer: StoreWriter, shards: Sequence[Shard]) -> None:
        self.writer = writer
        self.shards = shards
        self._open: OrderedDict[int, np.lib.npyio.NpzFile] = OrderedDict()

    def arrays(self, *place: object) -> Iterator[np.ndarray]:
        """One array of each shard."""
        for shard in self.shards:
            yield self._file(shard)[key(*place)]

    def columns(self, names: Sequence[str], *place: object) -> Iterator[dict[str, np.ndarray]]:
        """Several columns of one place, of each shard."""
        for shard in self.shards:
            file = self._file(shard)
            yield {name: file[key(*place, name)] for name in names}

    def close(self) -> None:
        """Close every file."""
        while self._open:
            self._open.popitem()[1].close()

    def _file(self, shard: Shard) -> np.lib.npyio.NpzFile:
        if shard.index not in self._open:
            if len(self._open) >= MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[shard.index] = np.load(path(self.writer, shard.index))
        return self._open[shard.index]
