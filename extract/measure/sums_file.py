"""A shard's sums on disk: one file a shard, whose arrays are those of :mod:`extract.measure.sum_tables`.

The stamp names what the run reads and the part that the sums belong to.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from extract import resumable
from extract.corpus.batches import Shard
from extract.measure.sum_tables import SumTable
from store.errors import UserError
from store.format.manifest import file_hash
from store.format.writer import StoreWriter

MAX_OPEN = 64


def path(writer: StoreWriter, shard: int) -> Path:
    """Where a shard's sums are; they are written after its part."""
    return writer.work / f"sums-{shard:05d}.npz"


def is_done(writer: StoreWriter, shard: Shard, seal: str) -> bool:
    """Whether a shard is finished: its sums are whole, of this run, and its part is the one that was written with them.

    Args:
        seal: :attr:`extract.measure.run_context.RunContext.seal`.
    """
    part = writer.part_path(shard.index)
    stamp = resumable.read_stamp(path(writer, shard.index)) if part.is_file() else None
    return stamp is not None and stamp == _stamp(seal, part)


def save(writer: StoreWriter, shard: Shard, seal: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a shard's sums, which says that it is done; its part must be in place.

    Args:
        arrays: those of :func:`extract.measure.sum_tables.names_in_file`, of the shapes given there.

    Raises:
        OSError: the disk is full.
    """
    resumable.save(path(writer, shard.index), arrays, _stamp(seal, writer.part_path(shard.index)))


def _stamp(seal: str, part: Path) -> str:
    return f"{seal} {file_hash(part)}"


class ShardSums:
    """The sums of every shard of a run, in shard order.

    Args:
        names: number of a shard -> what the arrays of its file are called.

    Files stay open, since their directory is read anew at every opening, but no more than :data:`MAX_OPEN` of them: a long
    run has more shards than a process may open files.
    """

    def __init__(self, writer: StoreWriter, shards: Sequence[Shard], names: Callable[[int], Set[str]]) -> None:
        self.writer = writer
        self.shards = shards
        self._names = names
        self._open: OrderedDict[int, np.lib.npyio.NpzFile] = OrderedDict()

    def columns(self, table: SumTable, *place: object, only: Collection[str] | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Columns [rows] of a table of each shard, all or some.

        Raises:
            UserError: a file holds others than it should.
        """
        columns = [column for column in table.columns if only is None or column.name in only]
        for shard in self.shards:
            file = self._file(shard)
            values = {column.name: file[table.key(column.name, *place)] for column in columns}
            if faults := [fault for column in columns if (fault := column.fault(values[column.name]))]:
                raise self._wrong(shard, f"table '{table.key('', *place)}': {faults[0]}")
            yield values

    def close(self) -> None:
        """Close every file."""
        while self._open:
            self._open.popitem()[1].close()

    def _file(self, shard: Shard) -> np.lib.npyio.NpzFile:
        if shard.index not in self._open:
            if len(self._open) >= MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[shard.index] = self._checked(shard, np.load(path(self.writer, shard.index)))
        return self._open[shard.index]

    def _checked(self, shard: Shard, file: np.lib.npyio.NpzFile) -> np.lib.npyio.NpzFile:
        odd = self._names(shard.index) ^ (set(file.files) - {resumable.STAMP})
        if odd:
            file.close()
            raise self._wrong(shard, f"'{min(odd)}' is missing or unknown")
        return file

    def _wrong(self, shard: Shard, why: str) -> UserError:
        return UserError(
            f"The sums in '{path(self.writer, shard.index)}' are not those of this program ({why}); remove that file, and run "
            "the same command again."
        )
