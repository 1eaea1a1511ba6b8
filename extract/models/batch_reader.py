"""A shard's batches through all models: together, or, where they do not fit into memory, one model after the other."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from extract.corpus.batches import Batch
from extract.models.residuals import ResidualReader
from extract.models.sites import Site
from store.names import BASE


@dataclass(frozen=True)
class BatchResiduals:
    """What the models give on one batch.

    Attributes:
        rows: int64 [n] on the CPU, of the document tokens in the shard.
        residuals: model or twin -> site -> float32 [n, width].
        again: of the base read a second time, :func:`extract.models.residuals.read_again`.
    """

    rows: torch.Tensor
    residuals: dict[str, dict[Site, torch.Tensor]]
    again: tuple[torch.Tensor, dict[Site, torch.Tensor]] | None


def read_batches(
    reader: ResidualReader, batches: Iterable[Batch], wanted_again: np.ndarray, sites: Sequence[Site], scratch: Path
) -> Iterator[BatchResiduals]:
    """Every batch through every model, twins too; where one is in memory at a time, all batches through one, then the next.

    Args:
        wanted_again: bool [rows of the shard], tokens that the base reads a second time.
        scratch: folder in which residuals wait for the other models' then: n_tokens x sites x width x 4 bytes a model.

    Raises:
        UserError: as :func:`extract.models.residuals.read_residuals`.
        OSError: the disk is full.
    """
    models = reader.models
    names = [*models.names, *models.twins]
    if not models.one_at_a_time:
        for batch in batches:
            rows, residuals = reader.read(names, batch, sites)
            yield BatchResiduals(rows, residuals, reader.read_again(batch, wanted_again, sites))
        return
    batches = list(batches)
    with tempfile.TemporaryDirectory(prefix="residuals-", dir=scratch) as folder:
        in_turn = sorted(names, key=models.owner)  # what shares weights is read together

        def place(name: str, number: int) -> Path:
            return Path(folder) / f"{names.index(name)}-{number}.npz"

        again = []
        for name in in_turn:
            for number, batch in enumerate(batches):
                at = reader.read([name], batch, sites)[1][name]
                np.savez(place(name, number), **{str(sites.index(site)): of.cpu().numpy() for site, of in at.items()})
                if name == BASE:
                    again.append(reader.read_again(batch, wanted_again, sites))
        for number, batch in enumerate(batches):
            residuals = {name: _taken(place(name, number), sites, models.device) for name in names}
            yield BatchResiduals(torch.from_numpy(batch.rows[batch.rows >= 0]), residuals, again[number])


def _taken(path: Path, sites: Sequence[Site], device: str) -> dict[Site, torch.Tensor]:
    """Read and remove what waited."""
    with np.load(path) as arrays:
        found = {sites[int(place)]: torch.from_numpy(arrays[place]).to(device) for place in arrays}
    path.unlink()
    return found
