"""A shard's sums on disk: one file a shard.

An array is named by its place, for example ``12|maths|features|n11``: layer, model, table, column. The stamp names what the run
reads and the part that the sums belong to.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from extract import resumable as stamped
from extract.corpus.batches import Shard
from store.format.manifest import file_hash
from store.format.writer import StoreWriter

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


def is_done(writer: StoreWriter, shard: Shard, seal: str) -> bool:
    """Whether a shard is finished: its sums are whole, of this run, and its part is the one that was written with them.

    Args:
        seal: :attr:`extract.measure.run_context.RunContext.seal`.
    """
    part = writer.part_path(shard.index)
    stamp = stamped.read_stamp(path(writer, shard.index)) if part.is_file() else None
    return stamp is not None and stamp == _stamp(seal, part)


def save(writer: StoreWriter, shard: Shard, seal: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a shard's sums, which says that it is done; its part must be in place.

    Raises:
        OSError: the disk is full.
    """
    stamped.save(path(writer, shard.index), arrays, _stamp(seal, writer.part_path(shard.index)))


def _stamp(seal: str, part: Path) -> str:
    return f"{seal} {file_hash(part)}"


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
