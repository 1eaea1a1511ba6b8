"""Choosing the final contexts over all shards, and filling each with its own window of text and of both models' values."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from extract.corpus.batches import Shard
from extract.measure.top_contexts import top_contexts
from extract.saes.dictionary import Dictionary
from extract.tables.merged_sums import MergedSums
from store.format.codes import Codes
from store.format.part_guard import MAX_PART_TOKENS
from store.format.part_reading import read_codes
from store.names import BASE, RANKINGS


def write_contexts(merged: MergedSums, dictionary: Dictionary, variant: str, progress: Callable[[int], None]) -> None:
    """Write the contexts of one layer and variant, all rankings."""
    chosen = {ranking: _choose(merged, dictionary.layer, variant, ranking) for ranking in RANKINGS}
    for shard in merged.shards:
        here = {ranking: _of_shard(top, shard.index) for ranking, top in chosen.items()}
        if any(len(top["feature"]) for top in here.values()):
            filler = _WindowFiller(merged, shard, dictionary, variant)
            for ranking, top in here.items():
                merged.writer.load("contexts", filler.table(ranking, top))
        progress(1)


def _choose(merged: MergedSums, layer: int, variant: str, ranking: str) -> dict[str, np.ndarray]:
    """The k best over all shards, with ``rank``; ``place`` becomes shard x MAX_PART_TOKENS + row."""
    k = merged.context.config.contexts
    top: dict[str, np.ndarray] | None = None
    for shard, columns in merged.contexts(layer, variant, ranking):
        found = {**columns, "place": shard.index * MAX_PART_TOKENS + columns["place"]}
        # Shard by shard, so that never more than two shards' candidates are held: the best of the best are the best of all.
        top = found if top is None else top_contexts({name: np.concatenate([top[name], found[name]]) for name in top}, k)
    starts = np.flatnonzero(np.r_[True, np.diff(top["feature"]) != 0]) if len(top["feature"]) else np.zeros(0, int)
    length = np.diff(np.r_[starts, len(top["feature"])])
    top["rank"] = np.arange(len(top["feature"])) - np.repeat(starts, length) + 1
    return top


def _of_shard(top: dict[str, np.ndarray], shard: int) -> dict[str, np.ndarray]:
    inside = top["place"] // MAX_PART_TOKENS == shard
    return {name: values[inside] for name, values in top.items()}


class _WindowFiller:
    """Cuts windows out of one shard: where one feature fires in base and variant, and how strongly."""

    def __init__(self, merged: MergedSums, shard: Shard, dictionary: Dictionary, variant: str) -> None:
        config = merged.context.config
        self.shard, self.dictionary, self.variant = shard, dictionary, variant
        self.document_of_row = shard.document_of_row
        self.position = shard.position_of_row
        self.window = shard.window_of_row(merged.context.window_tokens)
        self.offsets = np.arange(-config.context_before, config.context_after + 1)
        self.norms = dictionary.decoder_norm.cpu().numpy()
        part = merged.writer.part_path(shard.index)
        self.codes = {
            name: _Lookup(read_codes(part, dictionary.layer, model), dictionary.d_sae)
            for name, model in (("base", BASE), ("variant", variant))
        }

    def table(self, ranking: str, top: dict[str, np.ndarray]) -> pa.Table:
        """Rows of the contexts table; top: arrays [contexts]."""
        feature = top["feature"].astype(np.int64)
        peak_row = top["place"] % MAX_PART_TOKENS
        rows = peak_row[:, None] + self.offsets
        inside = (rows >= 0) & (rows < self.shard.n_tokens)
        rows = np.clip(rows, 0, self.shard.n_tokens - 1)
        inside &= self.window[rows] == self.window[peak_row][:, None]
        which, place = np.nonzero(inside)
        flat = rows[which, place]
        before = (inside & (self.offsets < 0)).sum(axis=1)
        columns = {
            "variant": pa.repeat(self.variant, len(feature)),
            "layer": pa.repeat(self.dictionary.layer, len(feature)),
            "feature": feature,
            "ranking": pa.repeat(ranking, len(feature)),
            "rank": top["rank"],
            "score": top["score"],
            "document": self.document_of_row[peak_row] + self.shard.first_document,
            "position": self.position[peak_row],
            "peak": before,
            "n_window": inside.sum(axis=1),
        }
        for name, lookup in self.codes.items():
            value = lookup.values(flat, feature[which]) * self.norms[feature[which]]
            fires = value > 0
            ends = np.concatenate([[0], np.cumsum(np.bincount(which[fires], minlength=len(feature)))]).astype(np.int32)
            at = (self.offsets[place] + before[which])[fires]
            columns[f"{name}_at"] = pa.ListArray.from_arrays(ends, at.astype(np.uint16))
            columns[f"{name}_activations"] = pa.ListArray.from_arrays(ends, value[fires].astype(np.float32))
        return pa.table(columns)


class _Lookup:
    """Random access into a part's sparse codes by (row, feature)."""

    def __init__(self, codes: Codes, d_sae: int) -> None:
        self.d_sae = d_sae
        self.keys = codes.rows * d_sae + codes.index
        self.value = codes.value

    def values(self, row: np.ndarray, feature: np.ndarray) -> np.ndarray:
        """float32 [n]: raw codes, 0 where silent."""
        if len(self.keys) == 0:
            return np.zeros(len(row), dtype=np.float32)
        wanted = row * self.d_sae + feature
        order = np.argsort(wanted)  # looking up in order is several times faster
        place = np.empty(len(wanted), dtype=np.int64)
        place[order] = np.minimum(np.searchsorted(self.keys, wanted[order]), len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, self.value[place], np.float32(0))
