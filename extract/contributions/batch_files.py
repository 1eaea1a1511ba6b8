"""The batches of the pass over contributions: what each is made from, and the file that says that it is done."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch

from extract import resumable
from extract.config import READ_PASSAGE, RunConfig, groups
from extract.contributions.forward import read
from extract.contributions.measure import Contributions, take_apart
from extract.contributions.sample import choose
from extract.contributions.scope import Scope
from extract.contributions.windows import PROBABILITIES, PROBABILITIES_READ, in_groups
from extract.models.twins import variant_of
from extract.run.of_store import check_units, load_of_store
from extract.run.workers import device_of
from store import open_store
from store.errors import UserError
from store.format.additions import VERSION
from store.read.store import Store

READ_ONLY, APART = "read", "apart"
_WAYS = {READ_ONLY: (read, PROBABILITIES_READ), APART: (take_apart, PROBABILITIES)}
"""Name of a part -> what measures its batches, and bytes that the base's predictions of one may take."""
GRAPH = 4
"""A batch that is taken apart has so many times fewer tokens than the run's: what the gradient needs of every block above stays
in memory."""


class Batches:
    """The samples of a store in batches, with the models loaded: one whose likelihoods are read, a smaller that is taken apart.

    Args:
        config: the configuration that made the store.
        work: where the batches' files are.

    Attributes:
        parts: by name: READ_ONLY and APART.
        batch_tokens: padded tokens of a batch at most.
        seal: what the batches are made from; their files carry it.

    Raises:
        UserError: a model or dictionary is missing, or another than the store was made with; the models are not in memory
            together; there is nothing to predict.
    """

    def __init__(self, store: Store, config: RunConfig, scope: Scope, work: Path) -> None:
        tasks = config.tasks(store.variants)
        samples = {
            READ_ONLY: choose(store, scope.read, READ_PASSAGE, tasks=tasks),
            APART: choose(store, scope.predictions, scope.a_passage, tasks=tasks),
        }
        if not samples[APART].passages:
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
        content = json.dumps([store.manifest.digest, VERSION, scope.facts(), tasks, config.batch_tokens])
        self.seal = hashlib.sha256(content.encode()).hexdigest()
        self.batch_tokens = config.batch_tokens // GRAPH
        self.parts = {
            name: Part(
                name, Contributions(
                    loaded.models, names, loaded.dictionaries, loaded.sinks, sample, loaded.bos, loaded.pad, scope.points
                ), work, self.seal, config.batch_tokens if name == READ_ONLY else self.batch_tokens,
            )
            for name, sample in samples.items()
        }  # fmt: skip


class Part:
    """One sample in batches.

    Args:
        name: READ_ONLY or APART; of its files too.
        shared: what every batch is measured with.
        batch_tokens: padded tokens of a batch at most.

    Attributes:
        paths: the files, in order.
        sizes: predictions of each batch, times models.
    """

    def __init__(self, name: str, shared: Contributions, work: Path, seal: str, batch_tokens: int) -> None:
        self.shared, self._seal = shared, seal
        self._measure, probabilities = _WAYS[name]
        passages = shared.sample.passages
        self._batches = list(in_groups(passages, batch_tokens, shared.words, probabilities))
        self.paths = [work / f"{name}-{number:05d}.npz" for number in range(len(self._batches))]
        self.sizes = [len(shared.names) * sum(len(passages[n].predicting) for n in batch) for batch in self._batches]

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
        resumable.save(self.paths[number], self._measure(self.shared, self._batches[number], progress), self._seal)

    def _is_done(self, number: int) -> bool:
        return resumable.read_stamp(self.paths[number]) == self._seal


class BatchWorker:
    """One of several processes (:mod:`extract.run.workers`).

    Args:
        store: the folder of the store.
        part: the name of its part.
        threads: of torch; number: counts the workers, each of which takes the next GPU.
    """

    def __init__(
        self, store: Path, config: RunConfig, scope: Scope, work: Path, part: str, threads: int, number: int
    ) -> None:
        torch.set_num_threads(threads)
        config = config.model_copy(update={"device": device_of(config.device, number)})
        with open_store(store) as opened:
            self._part = Batches(opened, config, scope, work).parts[part]

    def do(self, task: int) -> None:
        """Leave the file of a batch."""
        self._part.measure(task, lambda _predictions: None)
