"""The contexts that show a feature best: ranked by each of :data:`store.names.RANKINGS`, every text once."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from extract.corpus.batches import Shard
from extract.corpus.token_index import TokenIndex
from extract.hashed_random import mix, text_key, uniform
from extract.measure.paired_codes import Union
from extract.measure.run_context import RunContext
from store.names import RANKINGS


class ContextRanker:
    """Top contexts of a shard's features; the texts' hashes are shared by all layers, variants and rankings."""

    def __init__(self, context: RunContext, shard: Shard, token_index: TokenIndex) -> None:
        self.k = context.config.contexts
        self.token_index = token_index
        window_of_row = shard.window_of_row(context.window_tokens)
        self.texts = text_hashes(shard.token_ids, window_of_row, context.config.context_before, context.config.context_after)

    def rank(self, union: Union) -> dict[str, dict[str, np.ndarray]]:
        """Ranking -> the k best contexts of each feature, arrays [contexts]; ``place`` is the row in the shard."""
        return dict(self._rankings(union))

    def _rankings(self, union: Union) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        row, feature = union.row.numpy(), union.feature.numpy().astype(np.int32)
        index = self.token_index
        key = mix(index.document_key[union.row], index.position[union.row], union.feature, text_key("spread"))
        for ranking, score in ranking_scores(union, uniform(key)).items():
            takes_part = (score > 0).numpy()
            rows = row[takes_part]
            candidates = {
                "feature": feature[takes_part],
                "score": score.numpy()[takes_part].astype(np.float32),
                "place": rows,
                "text": self.texts[rows],
            }
            yield ranking, top_contexts(candidates, self.k)


def ranking_scores(union: Union, random: torch.Tensor) -> dict[str, torch.Tensor]:
    """Score of every entry under each of :data:`store.names.RANKINGS`; an entry takes part where it is above 0.

    Args:
        random: float [nnz] in (0, 1), a hashed number for each entry.
    """
    return dict(zip(RANKINGS, (union.a, union.b, union.b - union.a, union.a - union.b, random), strict=True))


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
    order = np.argsort(key)  # three times faster than a stable sort; equal keys are put in the order of their token_index now
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
