"""A shard's sparse codes to additive sums. Everything here merges exactly over shards.

Each function takes the codes of a whole shard, so that documents are never split; torch, float64, on any device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from extract.measure.paired_codes import Union
from extract.saes.codes import SparseCodes
from store.metrics.feature_numbers import HISTOGRAM_BINS


def feature_sums(
    union: Union, group_of_row: torch.Tensor, document_of_row: torch.Tensor, near: torch.Tensor
) -> dict[str, np.ndarray]:
    """The sums of :data:`store.metrics.feature_numbers.FEATURE_SUMS`, for every (group, feature) that fired.

    Args:
        group_of_row: int64 [n_rows], domain or segment.
        document_of_row: int64 [n_rows], document within the shard.
        near: bool [nnz], whether an entry that fires in one model only does so near the threshold.

    Returns:
        Arrays [cells]: ``group`` and ``feature`` (int32), the sums (int64 counts, float64), in (group, feature) order.
    """
    document, group = document_of_row[union.row], group_of_row[union.row]
    cell, place = torch.unique(group * union.d_sae + union.feature, return_inverse=True)

    def per_cell(values: torch.Tensor) -> np.ndarray:
        total = torch.zeros(len(cell), dtype=values.dtype, device=values.device)
        return total.index_add_(0, place, values).cpu().numpy()

    a, b = union.a, union.b
    both = (a > 0) & (b > 0)
    seen = torch.unique(document * len(cell) + place) % max(1, len(cell))
    return {
        "group": torch.div(cell, union.d_sae, rounding_mode="floor").int().cpu().numpy(),
        "feature": (cell % union.d_sae).int().cpu().numpy(),
        "n11": per_cell(both.long()),
        "n10": per_cell(((a > 0) & (b == 0)).long()),
        "n01": per_cell(((a == 0) & (b > 0)).long()),
        "n_documents": torch.bincount(seen, minlength=len(cell)).cpu().numpy(),
        "near": per_cell(near.long()),
        "a": per_cell(a),
        "b": per_cell(b),
        "a2": per_cell(a * a),
        "b2": per_cell(b * b),
        "both_a": per_cell(torch.where(both, a, 0.0)),
        "both_b": per_cell(torch.where(both, b, 0.0)),
    }


@dataclass(frozen=True)
class DocumentShifts:
    """Sums of (x - a) over each document's tokens, x the scaled activation of a variant or control, where any is not zero.

    Attributes:
        document, feature: int64 [nnz], sorted.
        value: float64 [nnz].
    """

    document: torch.Tensor
    feature: torch.Tensor
    value: torch.Tensor

    def minus(self, other: "DocumentShifts", d_sae: int) -> "DocumentShifts":
        """The difference, entry by entry."""
        return merge_shifts([self, DocumentShifts(other.document, other.feature, -other.value)], d_sae)


def document_shifts(union: Union, document_of_row: torch.Tensor) -> DocumentShifts:
    """A union's differences summed over each document; document_of_row: int64 [n_rows]."""
    entries = DocumentShifts(document_of_row[union.row], union.feature, union.b - union.a)
    return merge_shifts([entries], union.d_sae)


def merge_shifts(pieces: Sequence[DocumentShifts], d_sae: int) -> DocumentShifts:
    """The sum of several, in the order given."""
    if not pieces:
        nothing = torch.zeros(0, dtype=torch.int64)
        return DocumentShifts(nothing, nothing, nothing.double())
    document, feature, value = (
        torch.cat([getattr(piece, name) for piece in pieces]) for name in ("document", "feature", "value")
    )
    key, place = torch.unique(document * d_sae + feature, return_inverse=True)
    total = torch.zeros(len(key), dtype=torch.float64, device=key.device).index_add_(0, place, value)
    return DocumentShifts(torch.div(key, d_sae, rounding_mode="floor"), key % d_sae, total)


def shift_sums(shifts: DocumentShifts, domain_of_document: torch.Tensor, d_sae: int) -> dict[str, np.ndarray]:
    """Over the documents of each domain, sum and sum of squares of each feature's document sums.

    Returns:
        Arrays [cells]: ``domain`` and ``feature`` (int32), ``total`` and ``square`` (float64), in (domain, feature) order.
    """
    cell, place = torch.unique(domain_of_document[shifts.document] * d_sae + shifts.feature, return_inverse=True)

    def per_cell(values: torch.Tensor) -> np.ndarray:
        return torch.zeros(len(cell), dtype=torch.float64).index_add_(0, place, values).numpy()

    return {
        "domain": torch.div(cell, d_sae, rounding_mode="floor").int().numpy(),
        "feature": (cell % d_sae).int().numpy(),
        "total": per_cell(shifts.value),
        "square": per_cell(shifts.value.square()),
    }


def shift_norms(shifts: DocumentShifts, domain_of_document: torch.Tensor, n_domains: int) -> np.ndarray:
    """float64 [n_domains]: over the documents of each domain, the sum of ||S_d||^2, S_d a document's sum of (x - a)."""
    norms = torch.zeros(n_domains, dtype=torch.float64)
    return norms.index_add_(0, domain_of_document[shifts.document], shifts.value.square()).numpy()


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
