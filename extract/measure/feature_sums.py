"""A shard's sparse codes to additive sums. Everything here merges exactly over shards.

Each function takes the codes of a whole shard, so that documents are never split; on the CPU, in float64.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from extract.measure.paired_codes import Union, starts_of_runs
from extract.saes.codes import SparseCodes
from store.metrics.feature_numbers import HISTOGRAM_BINS

COUNTED: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "n11": lambda a, b: (a > 0) & (b > 0),
    "n10": lambda a, b: b == 0,
    "n01": lambda a, b: a == 0,
}
"""Which entries of a union a count of :data:`store.metrics.feature_numbers.FEATURE_SUMS` is of."""
SUMMED: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "a": lambda a, _b: a,
    "b": lambda _a, b: b,
    "a2": lambda a, _b: a * a,
    "b2": lambda _a, b: b * b,
    "both_a": lambda a, b: np.where(b > 0, a, 0.0),
    "both_b": lambda a, b: np.where(a > 0, b, 0.0),
}
"""What a sum adds up over them."""


class FeatureSums:
    """What two models' codes come to in a shard, for every (group, feature) that fired in either: the cells.

    Args:
        group_of_row: int64 [n_rows], domain or segment, or 0 for all tokens together.
    """

    def __init__(self, union: Union, group_of_row: np.ndarray) -> None:
        self._union, self._group_of_row = union, group_of_row
        self._a, self._b = union.a.numpy(), union.b.numpy()
        cell = group_of_row[union.row.numpy()] * union.d_sae + union.feature.numpy()
        fired = np.bincount(cell) > 0
        self._cells, self._number = np.flatnonzero(fired), np.cumsum(fired) - 1
        self._place = self._number[cell]

    @property
    def cells(self) -> dict[str, np.ndarray]:
        """``group`` and ``feature``, int32 [cells], in that order."""
        return self._key(self._cells)

    def over_tokens(self, *names: str) -> dict[str, np.ndarray]:
        """Sums over tokens, of :data:`COUNTED` and :data:`SUMMED`: int64 or float64 [cells] each."""
        return {
            name: self._count(self._place[COUNTED[name](self._a, self._b)])
            if name in COUNTED
            else self._total(self._place, SUMMED[name](self._a, self._b))
            for name in names
        }

    def number_of(self, chosen: np.ndarray) -> np.ndarray:
        """int64 [cells]: how many entries of the union are chosen, bool [nnz]."""
        return self._count(self._place[chosen])

    def n_documents(self, document_of_row: np.ndarray) -> np.ndarray:
        """int64 [cells]: documents where a feature fires in either.

        Args:
            document_of_row: int64 [n_rows]; the rows of one stand together, and are of one group.
        """
        return self._count(self._spans(document_of_row).place)

    def over_clusters(
        self, cluster_of_row: np.ndarray, shared: np.ndarray
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Sums over clusters.

        Args:
            cluster_of_row: int64 [n_rows], number in the run; the rows of one stand together, and are of one group.
            shared: int64, numbers of the clusters that another shard has a part of.

        Returns:
            (``n_clusters``, ``cluster_a2``, ``cluster_b2``, ``cluster_ab`` [cells] over the clusters that are here as a whole;
            for each other (cluster, feature) that fired a row: ``group``, ``feature`` (int32), ``cluster`` (int64), and ``a``,
            ``b`` (float64), the sums of what is here of it).
        """
        spans = self._spans(cluster_of_row)
        a, b = spans.totals(self._a), spans.totals(self._b)
        part = np.isin(spans.number, shared)
        place, whole_a, whole_b = spans.place[~part], a[~part], b[~part]
        sums = {
            "n_clusters": self._count(place),
            "cluster_a2": self._total(place, whole_a * whole_a),
            "cluster_b2": self._total(place, whole_b * whole_b),
            "cluster_ab": self._total(place, whole_a * whole_b),
        }
        rows = {**self._key(self._cells[spans.place[part]]), "cluster": spans.number[part], "a": a[part], "b": b[part]}
        return sums, rows

    def _spans(self, number_of_row: np.ndarray) -> "_Spans":
        order, row, feature = self._union.by_feature
        number = number_of_row[row]
        start = starts_of_runs(feature, number)
        return _Spans(order, start, number[start], self._place[order[start]])

    def _key(self, cell: np.ndarray) -> dict[str, np.ndarray]:
        d_sae = self._union.d_sae
        return {"group": (cell // d_sae).astype(np.int32), "feature": (cell % d_sae).astype(np.int32)}

    def _count(self, place: np.ndarray) -> np.ndarray:
        return np.bincount(place, minlength=len(self._cells))

    def _total(self, place: np.ndarray, values: np.ndarray) -> np.ndarray:
        total = np.bincount(place, values, minlength=len(self._cells))
        return total.astype(np.float64, copy=False)  # of nothing it is a count


@dataclass(frozen=True)
class _Spans:
    """The entries of a union put together that have one feature, and one document or cluster.

    Attributes:
        order: int64 [nnz], the entries by feature.
        start: int64 [spans], where each begins there.
        number: int64 [spans], of the document or cluster.
        place: int64 [spans], of the cell that it is in.
    """

    order: np.ndarray
    start: np.ndarray
    number: np.ndarray
    place: np.ndarray

    def totals(self, values: np.ndarray) -> np.ndarray:
        """float64 [spans], of values [nnz]."""
        return np.add.reduceat(values[self.order], self.start)


def histogram(codes: SparseCodes, decoder_norm: torch.Tensor, edges: np.ndarray) -> dict[str, np.ndarray]:
    """Counts of scaled activations in the layer's bins, for every (feature, bin) that is not empty.

    Args:
        edges: float64 [HISTOGRAM_BINS + 1]; a value on an edge belongs to the bin above it.
    """
    scaled = codes.value.double() * decoder_norm[codes.feature]
    inner = torch.from_numpy(edges[1:-1]).to(scaled.device)
    bins = torch.searchsorted(inner, scaled, right=True)
    counts = torch.bincount(codes.feature * HISTOGRAM_BINS + bins)
    cell = counts.nonzero().squeeze(1)
    return {
        "feature": (cell // HISTOGRAM_BINS).int().cpu().numpy(),
        "bin": (cell % HISTOGRAM_BINS).int().cpu().numpy(),
        "count": counts[cell].cpu().numpy(),
    }


def token_sums(codes: SparseCodes, decoder_norm: torch.Tensor, token_ids: np.ndarray) -> dict[str, np.ndarray]:
    """How often and how strongly each feature fires on each token of the vocabulary: the evidence of its label.

    Args:
        token_ids: int [n_rows].

    Returns:
        Arrays [pairs that fired], in (feature, token_id) order: ``feature`` and ``token_id`` (int32), ``count`` (int32,
        tokens), ``activation`` (float64, sum of scaled activation).
    """
    n_ids = int(token_ids.max(initial=0)) + 1
    of_row = torch.from_numpy(token_ids.astype(np.int64)).to(codes.row.device)
    pair, place = torch.unique(codes.feature * n_ids + of_row[codes.row], return_inverse=True)
    activation = torch.zeros(len(pair), dtype=torch.float64, device=pair.device)
    activation.index_add_(0, place, codes.value.double() * decoder_norm[codes.feature])
    return {
        "feature": torch.div(pair, n_ids, rounding_mode="floor").int().cpu().numpy(),
        "token_id": (pair % n_ids).int().cpu().numpy(),
        "count": torch.bincount(place, minlength=len(pair)).int().cpu().numpy(),
        "activation": activation.cpu().numpy(),
    }


def token_counts(token_ids: np.ndarray, counted: np.ndarray) -> dict[str, np.ndarray]:
    """How often each token of the vocabulary occurs among those that count: ``token_id`` (int32), ``count`` (int64).

    Args:
        token_ids: int32 [n_rows].
        counted: bool [n_rows].
    """
    token_id, count = np.unique(token_ids[counted], return_counts=True)
    return {"token_id": token_id.astype(np.int32), "count": count}
