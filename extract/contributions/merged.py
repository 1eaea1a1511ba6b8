"""What the files of all batches hold together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from extract.contributions import sums
from extract.contributions.sample import Sample, numbered
from extract.measure.sum_tables import SumTable
from store.names import SLOTS


class MergedFiles:
    """Tables of :mod:`extract.contributions.sums`, the rows of all batches one after another.

    Args:
        paths: of the batches' files, in order.

    Attributes:
        predictions: of the whole sample, as :func:`extract.contributions.sample.numbered` gives them.
    """

    def __init__(self, paths: Sequence[Path], sample: Sample) -> None:
        self._paths, self.sample = paths, sample
        self._means: dict[tuple[int, str], dict[str, np.ndarray]] = {}
        self.predictions = numbered(sample, range(len(sample.passages)))
        self.domain = np.array([passage.domain for passage in sample.passages])
        self.cluster = np.array([passage.cluster for passage in sample.passages])
        self.n_predictions = np.array([len(passage.predicting) for passage in sample.passages])
        self.weight = np.array([passage.weights.sum() for passage in sample.passages])

    def table(self, table: SumTable, *place: object) -> dict[str, np.ndarray]:
        """Column -> the rows of every batch."""
        found: dict[str, list[np.ndarray]] = {column.name: [] for column in table.columns}
        for path in self._paths:
            with np.load(path) as arrays:
                for name, values in found.items():
                    values.append(arrays[table.key(name, *place)])
        return {name: np.concatenate(values) for name, values in found.items()}

    def likelihood(self, model: str) -> np.ndarray:
        """float64 [predictions]."""
        return self.table(sums.PREDICTIONS, model)["likelihood"]

    def kl(self, model: str) -> np.ndarray:
        """float64 [predictions]."""
        return self.table(sums.DIVERGENCES, model)["kl"]

    def word_changes(self, model: str, words: int) -> dict[tuple[int, int], np.ndarray]:
        """(domain, slot) -> float64 [words], sum of p_b - p_a of the next token."""
        found = self.table(sums.WORDS, model)
        group = found["domain"] * len(SLOTS) + found["slot"]
        return {
            divmod(int(number), len(SLOTS)): np.bincount(
                found["token_id"][group == number], found["change"][group == number], minlength=words
            )
            for number in np.unique(group)
        }

    def mean_change(self, layer: int, model: str, domains: Sequence[int], slots: Sequence[int]) -> np.ndarray | None:
        """float64 [d_model], the mean of delta over the tokens of some domains and slots; None where there are none."""
        if (layer, model) not in self._means:
            self._means[layer, model] = self.table(sums.MEANS, layer, model)
        found = self._means[layer, model]
        here = np.isin(found["domain"], domains) & np.isin(found["slot"], slots)
        return found["delta"][here].sum(0) / found["count"][here].sum() if here.any() else None
