"""The batches of the pass over contributions: what each is made from, and the file that says that it is done."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch

from extract import resumable
from extract.config import RunConfig, groups
from extract.contributions.measure import Contributions, measure
from extract.contributions.sample import choose
from extract.contributions.scope import Scope
from extract.contributions.windows import in_groups
from extract.models.twins import variant_of
from extract.run.of_store import check_units, load_of_store
from extract.run.workers import device_of
from store import open_store
from store.errors import UserError
from store.format.additions import VERSION
from store.read.store import Store

GRAPH = 4
"""A batch has so many times fewer tokens than the run's: what the gradient needs of every block above stays in memory."""


class Batches:
    """The sample of a store in batches, with the models loaded.

    Args:
        config: the configuration that made the store.
        work: where the batches' files are.

    Attributes:
        shared: what every batch is measured with.
        paths: the files, in order.
        sizes: predictions of each batch, times models.
        batch_tokens: padded tokens of a batch at most.
        seal: what the batches are made from; their files carry it.

    Raises:
        UserError: a model or dictionary is missing, or another than the store was made with; there is nothing to predict.
    """

    def __init__(self, store: Store, config: RunConfig, scope: Scope, work: Path) -> None:
        tasks = config.tasks(store.variants)
        sample = choose(store, scope.predictions, scope.a_passage, tasks=tasks)
        if not sample.passages:
            raise UserError("No token of the store's text could be predicted: contributions need windows of two tokens.")
        loaded = load_of_store(store, config, store.variants, store.layers, scope.twins)
        if loaded.models.one_at_a_time:
            raise UserError(
                "Contributions are measured with all models at once, but they do not fit into the memory together; run this on "
                "a machine with more, or with --twins 0, where the twins of full checkpoints take it; models_in_memory: all "
                "tries all the same."
            )
        for dictionary in loaded.dictionaries:
            check_units(dictionary, "what features contribute")
        firsts = {runs[0] for runs in groups(config).values()}
        names = [*store.variants, *(twin for twin in loaded.models.twins if variant_of(twin) in firsts)]
        self.shared = Contributions(
            loaded.models, names, loaded.dictionaries, loaded.sinks, sample, loaded.bos, loaded.pad, scope.points
        )
        self.batch_tokens = config.batch_tokens // GRAPH
        self._batches = list(in_groups(sample.passages, self.batch_tokens, self.shared.words))
        self.paths = [work / f"batch-{number:05d}.npz" for number in range(len(self._batches))]
        passages = sample.passages
        self.sizes = [len(names) * sum(len(passages[number].predicting) for number in batch) for batch in self._batches]
        content = json.dumps([store.manifest.digest, VERSION, scope.facts(), tasks, config.batch_tokens])
        self.seal = hashlib.sha256(content.encode()).hexdigest()

    def missing(self) -> dict[int, int]:
        """Number of each batch that is not done -> its size."""
        return {number: size for number, size in enumerate(self.sizes) if not self._is_done(number)}

    def measure(self, number: int, progress: Callable[[int], None]) -> None:
        """Leave the file of a batch.

        Args:
            progress: called with the number of predictions after each model.

        Raises:
            UserError: a prediction is not finite.
            OSError: the disk is full.
        """
        resumable.save(self.paths[number], measure(self.shared, self._batches[number], progress), self.seal)

    def _is_done(self, number: int) -> bool:
        return resumable.read_stamp(self.paths[number]) == self.seal


class BatchWorker:
    """One of several processes (:mod:`extract.run.workers`).

    Args:
        store: the folder of the store.
        threads: of torch; number: counts the workers, each of which takes the next GPU.
    """

    def __init__(self, store: Path, config: RunConfig, scope: Scope, work: Path, threads: int, number: int) -> None:
        torch.set_num_threads(threads)
        config = config.model_copy(update={"device": device_of(config.device, number)})
        with open_store(store) as opened:
            self._batches = Batches(opened, config, scope, work)

    def do(self, task: int) -> None:
        """Leave the file of a batch."""
        self._batches.measure(task, lambda _predictions: None)
