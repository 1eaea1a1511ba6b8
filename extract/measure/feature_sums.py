"""A shard's sparse codes to additive sums and top contexts. Everything here merges exactly over shards.

Each function takes the codes of a whole shard, so that documents are never split; torch, float64, on any device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from extract.saes.codes import SparseCodes
from store.metrics.layer import HISTOGRAM_BINS
from store.names import RANKINGS


@dataclass(frozen=True)
class Union:
    """Scaled activations of base and variant wherever either fires, in (row, feature) order.

    Attributes:
        row, feature: int64 [nnz].
        a, b: float64 [nnz], scaled activation in base and variant, 0 where silent.
        n_rows, d_sae: extent of the shard and of the dictionary.
    """

    row: torch.Tensor
    feature: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    n_rows: int
    d_sae: int


def scaled_union(base: SparseCodes, variant: SparseCodes, decoder_norm: torch.Tensor) -> Union:
    """Lay base and variant codes over each other.

    Args:
        decoder_norm: float64 [d_sae]; raw code x norm = scaled activation.
    """
    d_sae = len(decoder_norm)
    keys, place = torch.unique(
        torch.cat([base.row * d_sae + base.feature, variant.row * d_sae + variant.feature]), return_inverse=True
    )
    row, feature = torch.div(keys, d_sae, rounding_mode="floor"), keys % d_sae
    n_base = len(base.value)
    sides = []
    for places, codes in ((place[:n_base], base), (place[n_base:], variant)):
        side = torch.zeros(len(keys), dtype=torch.float64, device=keys.device)
        side[places] = codes.value.double() * decoder_norm[codes.feature]
        sides.append(side)
    return Union(row, feature, sides[0], sides[1], base.n_rows, d_sae)


def token_code_metrics(union: Union) -> dict[str, torch.Tensor]:
    """Per-token quantities that need only the codes: float64 [n_rows] each.

    The names are those of the document_sums table; ``n_latent_cosine`` is 1 where base or variant has a code.
    Tokens that do not count have no codes and must be left out by the caller.
    """

    def per_row(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(union.n_rows, dtype=torch.float64, device=values.device).index_add_(0, union.row, values)

    a, b = union.a, union.b
    fires_a, fires_b = (a > 0).double(), (b > 0).double()
    l0_base, l0_variant, both = per_row(fires_a), per_row(fires_b), per_row(fires_a * fires_b)
    either = l0_base + l0_variant - both
    dot, norm_a2, norm_b2 = per_row(a * b), per_row(a * a), per_row(b * b)
    norms = (norm_a2 * norm_b2).sqrt()
    difference = b - a
    code_delta_norm2 = per_row(difference * difference)
    latent_cosine = torch.where(norms > 0, (dot / norms.clamp_min(1e-300)).clamp(max=1.0), 0.0)
    return {
        "overlap": torch.where(either > 0, both / either.clamp_min(1), 1.0),
        "minimum": per_row(torch.minimum(a, b)),
        "maximum": per_row(torch.maximum(a, b)),
        # Equal codes have cosine 1 exactly, whatever the square root rounds to.
        "latent_cosine": torch.where((code_delta_norm2 == 0) & (norm_a2 > 0), 1.0, latent_cosine),
        "n_latent_cosine": (either > 0).double(),
        "l1_divergence": per_row(difference.abs()),
        "code_delta_norm2": code_delta_norm2,
        "l0_base": l0_base,
        "l0_variant": l0_variant,
    }


def feature_sums(
    union: Union, group_of_row: torch.Tensor, document_of_row: torch.Tensor, near: torch.Tensor
) -> dict[str, np.ndarray]:
    """The sums of :data:`store.metrics.layer.FEATURE_SUMS`, for every (group, feature) that fired.

    Args:
        group_of_row: int64 [n_rows], domain or segment.
        document_of_row: int64 [n_rows], document within the shard.
        near: bool [nnz], whether an entry that fires on one side only does so near the threshold.

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


NEAR = 1.05
"""A firing up to this many times the threshold is near it."""


def near_flips(
    union: Union, base: SparseCodes, variant: SparseCodes, decoder_norm: torch.Tensor, flips_at: torch.Tensor | str | None
) -> torch.Tensor:
    """bool [nnz]: entries that fire on one side only, at most 5 % beyond where a feature begins to fire.

    Args:
        decoder_norm: float64 [d_sae].
        flips_at: see :attr:`extract.saes.dictionary.Dictionary.flips_at`; None: no entry is near.
    """
    a, b = union.a / decoder_norm[union.feature], union.b / decoder_norm[union.feature]
    if flips_at is None:
        return torch.zeros_like(a, dtype=torch.bool)
    if isinstance(flips_at, str):
        limit_a, limit_b = (_least_kept(codes)[union.row] for codes in (base, variant))
    else:
        limit_a = limit_b = flips_at.to(a.device)[union.feature]
    return ((b == 0) & (a <= NEAR * limit_a)) | ((a == 0) & (b <= NEAR * limit_b))


def _least_kept(codes: SparseCodes) -> torch.Tensor:
    """float64 [n_rows]: the smallest raw code of each token, 0 where it has none."""
    least = torch.zeros(codes.n_rows, dtype=torch.float64, device=codes.row.device)
    return least.scatter_reduce(0, codes.row, codes.value.double(), "amin", include_self=False)


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
    """How often each token of the vocabulary occurs among those that count: ``token_id`` (int32), ``count`` (int64)."""
    token_id, count = np.unique(token_ids[counted], return_counts=True)
    return {"token_id": token_id.astype(np.int32), "count": count}


def ranking_scores(union: Union, draws: torch.Tensor) -> dict[str, torch.Tensor]:
    """Score of every entry under each of :data:`store.names.RANKINGS`; an entry takes part where it is above 0.

    Args:
        draws: float [nnz] in (0, 1), a number for each entry by chance.
    """
    return dict(zip(RANKINGS, (union.a, union.b, union.b - union.a, union.a - union.b, draws), strict=True))


def text_hashes(token_ids: np.ndarray, window_of_row: np.ndarray, before: int, after: int) -> np.ndarray:
    """A 64-bit hash of the text around every row, within its context window: equal text, equal hash.

    Args:
        token_ids: int32 [n_rows].
        window_of_row: int64 [n_rows], a number for each context window.
        before, after: tokens shown on either side.
    """
    multipliers = np.random.default_rng(20_260_511).integers(1, 2**63, size=before + after + 1, dtype=np.uint64) * 2 + 1
    mixed = (token_ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    total = np.zeros(len(token_ids), dtype=np.uint64)
    for offset, multiplier in zip(range(-before, after + 1), multipliers, strict=True):
        if abs(offset) >= len(token_ids):
            continue
        there = slice(max(0, -offset), len(token_ids) - max(0, offset))
        other = slice(max(0, offset), len(token_ids) + min(0, offset))
        same = window_of_row[there] == window_of_row[other]
        total[there] += np.where(same, mixed[other] * multiplier, np.uint64(0))
    return total.view(np.int64)


def top_contexts(contexts: Mapping[str, np.ndarray], k: int) -> dict[str, np.ndarray]:
    """The k best contexts of each feature, each text once.

    Args:
        contexts: arrays [n]: ``feature``, ``score`` (float32, above 0), ``place`` (int64: where the peak is; smaller wins a
            tie), ``text`` (int64 hash).

    Returns:
        The same arrays, cut and sorted by (feature, score descending, place). Applied to the concatenation of two such
        results it gives the result over both inputs.
    """
    order = _best_first(contexts)
    feature, text = contexts["feature"][order], contexts["text"]
    kept = np.zeros(len(order), dtype=bool)
    todo = np.arange(len(order))
    depth = 4 * k
    while len(todo):
        # Nearly always the first few entries of a feature hold k different texts; go deeper only where they do not.
        here = feature[todo]
        within = todo[_rank_in_group(here) < depth]
        first = within[_first_of_each(feature[within], text[order[within]])]
        best = first[_rank_in_group(feature[first]) < k]
        kept[todo] = False
        kept[best] = True
        found = np.bincount(feature[best], minlength=int(here.max()) + 1)
        size = np.bincount(here)
        short = (found < k) & (size > depth)
        todo = todo[short[here]]
        depth *= 8
    return {name: values[order[kept]] for name, values in contexts.items()}


def _best_first(contexts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Positions in the order of (feature, score descending, place)."""
    # A positive float32's bits grow with its value, so one integer key sorts by feature, then by score downward.
    bits = np.ascontiguousarray(contexts["score"], dtype=np.float32).view(np.int32).astype(np.int64)
    key = (contexts["feature"].astype(np.int64) << 32) | (np.int64(2**31 - 1) - bits)
    order = np.argsort(key)  # three times faster than a stable sort; equal keys are put in the order of their places now
    key = key[order]
    same = key[1:] == key[:-1]
    tied = np.flatnonzero(np.r_[False, same] | np.r_[same, False]) if len(key) else order
    order[tied] = order[tied][np.lexsort((contexts["place"][order[tied]], key[tied]))]
    return order


def _rank_in_group(sorted_group: np.ndarray) -> np.ndarray:
    """Position of each entry within its run of equal values: 0, 1, 2, 0, 1, ..."""
    if len(sorted_group) == 0:
        return np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.r_[True, sorted_group[1:] != sorted_group[:-1]])
    return np.arange(len(sorted_group)) - np.repeat(starts, np.diff(np.r_[starts, len(sorted_group)]))


def _first_of_each(feature: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Positions, ascending, of the first entry of each (feature, text)."""
    order = np.lexsort((text, feature))  # stable
    feature, text = feature[order], text[order]
    new = np.r_[True, (feature[1:] != feature[:-1]) | (text[1:] != text[:-1])] if len(order) else np.zeros(0, dtype=bool)
    return np.sort(order[new])
