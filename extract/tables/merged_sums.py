"""Merging the shards' sums, in shard order: what the tables of a layer are made from, and the plain tables themselves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd

from extract.corpus.batches import Shard
from extract.corpus.render import SEGMENTS
from extract.measure import sum_tables
from extract.measure.run_context import RunContext
from extract.measure.sum_tables import SumTable
from extract.measure.sums_file import ShardSums
from extract.saes.dictionary import Dictionary
from extract.tables.labels import Evidence
from store.format.writer import StoreWriter
from store.metrics.feature_numbers import HISTOGRAM_BINS, histogram_edges
from store.names import BASE, OBSERVED


@dataclass(frozen=True)
class MergedSums:
    """Adds up the sums of every shard.

    Attributes:
        shards: every shard of the run, in order; each must be done.
    """

    context: RunContext
    shards: Sequence[Shard]
    writer: StoreWriter

    @cached_property
    def sums(self) -> ShardSums:
        """The shards' sums."""
        context = self.context
        replicas = [replica.layer for replica in context.replicas]
        names = partial(sum_tables.names_in_file, context.config, context.layers, replicas, context.models.twins)
        return ShardSums(self.writer, self.shards, names)

    @cached_property
    def domain_of_document(self) -> np.ndarray:
        """[documents]: label of each document of the run."""
        return np.array([document.domain for shard in self.shards for document in shard.documents])

    @cached_property
    def cluster_of_document(self) -> np.ndarray:
        """int64 [documents]: number in the run of each document's cluster, below :attr:`n_clusters`."""
        return np.concatenate([shard.clusters for shard in self.shards])

    @property
    def n_clusters(self) -> int:
        """Clusters of the run, of all domains."""
        return int(self.cluster_of_document.max()) + 1

    @property
    def counterparts(self) -> list[tuple[str, str]]:
        """(model, control) of every counterpart of the base, see :func:`extract.measure.sum_tables.counterparts_of`."""
        return list(sum_tables.counterparts_of(self.context.config, self.context.models.twins))

    def twins(self, variant: str) -> list[str]:
        """A variant's twins, 'twin_1', ...; it may have none."""
        pairs = sum_tables.twins_of(self.context.config, self.context.models.twins)
        return [twin for of_variant, twin in pairs if of_variant == variant]

    def layer_counts(self, layer: int) -> np.ndarray:
        """int64 [domains, segments]: tokens that count."""
        counts = self._total("counts", sum_tables.LAYER, layer)
        return counts.reshape(len(self.context.domains), len(SEGMENTS))

    def n_sinks(self, layer: int) -> int:
        """Tokens left out as attention sinks."""
        return int(self._total("sinks", sum_tables.LAYER, layer))

    def document_sums(self, layer: int, name: str, control: str) -> pd.DataFrame:
        """A counterpart's rows, by document and segment: these two, and :data:`store.format.document_sums.DOCUMENT_SUMS`."""
        frames = []
        for shard, columns in zip(self.shards, self.sums.columns(sum_tables.DOCUMENTS, layer, name, control), strict=True):
            columns["document"] = columns["document"] + shard.first_document
            columns["segment"] = np.array(SEGMENTS, dtype=object)[columns["segment"]]
            frames.append(pd.DataFrame(columns))
        return pd.concat(frames, ignore_index=True)

    def counted_documents(self, layer: int, variant: str) -> np.ndarray:
        """int64 [n], ascending: the documents that have tokens that count."""
        columns = self.sums.columns(sum_tables.DOCUMENTS, layer, variant, OBSERVED, only=["document"])
        numbers = [found["document"] + shard.first_document for shard, found in zip(self.shards, columns, strict=True)]
        return np.unique(np.concatenate(numbers))

    def totals(self, layer: int, name: str, control: str, column: str = "totals") -> np.ndarray:
        """float64 [domains, segments, d_model]: sum of residuals of a counterpart; column ``base_totals``: of the base."""
        total = self._total(column, sum_tables.COUNTERPART, layer, name, control)
        return total.reshape(len(self.context.domains), len(SEGMENTS), -1)

    def feature_sums(self, layer: int, variant: str, table: SumTable, n_groups: int, d_sae: int) -> dict[str, np.ndarray]:
        """Sum of the table -> [groups, d_sae]; table: ``FEATURES``, ``SEGMENTS`` or ``REPLICA``."""
        sums = self._by_group(table, (n_groups, d_sae), layer, variant)
        if table is sum_tables.FEATURES:
            self._add_open(sums, layer, variant)
        return sums

    def twin_sums(self, layer: int, variant: str, twin: str, d_sae: int) -> dict[str, np.ndarray]:
        """Sum of ``TWIN`` -> [d_sae], all domains together: as FEATURE_SUMS, with the twin in the variant's place."""
        sums = self._by_group(sum_tables.TWIN, (1, d_sae), layer, variant, twin)
        self._add_open(sums, layer, variant, twin)
        return {name: total[0] for name, total in sums.items()}

    def rescaled_total(self, layer: int, variant: str, d_sae: int) -> np.ndarray:
        """float64 [d_sae]: sum of the scaled activation of the base at the variant's norm, over all tokens that count."""
        total = np.zeros(d_sae)
        for columns in self.sums.columns(sum_tables.RESCALED, layer, variant):
            total[columns["feature"]] += columns["total"]  # each feature stands once in a shard
        return total

    def densities(self, dictionary: Dictionary) -> np.ndarray:
        """float64 [d_sae]: share of the counted tokens where each feature fires in the base."""
        fired = np.zeros(dictionary.d_sae)
        for columns in self.sums.columns(sum_tables.HISTOGRAM, dictionary.layer, BASE):
            np.add.at(fired, columns["feature"], columns["count"])
        return fired / max(1, self.layer_counts(dictionary.layer).sum())

    def label_evidence(self, dictionary: Dictionary) -> Evidence:
        """What the features of a layer fire on in the base, summed over the shards."""
        pairs = list(self.sums.columns(sum_tables.PAIRS, dictionary.layer, BASE))
        together = {name: np.concatenate([columns[name] for columns in pairs]) for name in pairs[0]}
        keys = (together["feature"].astype(np.int64) << 32) | together["token_id"]
        pair, place = np.unique(keys, return_inverse=True)
        background: dict[int, int] = {}
        for columns in self.sums.columns(sum_tables.BACKGROUND, dictionary.layer, BASE):
            for token, count in zip(columns["token_id"].tolist(), columns["count"].tolist(), strict=True):
                background[token] = background.get(token, 0) + count
        return Evidence(
            pair >> 32,
            pair & 0xFFFFFFFF,
            np.bincount(place, weights=together["count"], minlength=len(pair)).astype(np.int64),
            np.bincount(place, weights=together["activation"], minlength=len(pair)),
            background,
            self.densities(dictionary),
        )

    def contexts(self, layer: int, variant: str, ranking: str) -> Iterator[tuple[Shard, dict[str, np.ndarray]]]:
        """The candidates of each shard: feature, score, place (row in the shard), text, each [contexts]."""
        yield from zip(self.shards, self.sums.columns(sum_tables.CONTEXTS[ranking], layer, variant), strict=True)

    def write_plain(self, dictionary: Dictionary) -> None:
        """The tables of one layer that are sums as they are: layers, histograms, token_metrics, document_sums."""
        layer = dictionary.layer
        self._write_layer_row(dictionary, self.layer_counts(layer))
        self._write_histograms(dictionary)
        for variant in self.context.config.variants:
            self._write_tokens(layer, variant)
            documents = self.document_sums(layer, variant, OBSERVED)
            self.writer.load("document_sums", documents.assign(variant=variant, layer=layer))

    def _total(self, column: str, table: SumTable, *place: object) -> np.ndarray:
        """One array, summed over the shards."""
        return sum(found[column] for found in self.sums.columns(table, *place, only=[column]))

    def _by_group(self, table: SumTable, shape: tuple[int, int], *place: object) -> dict[str, np.ndarray]:
        """The sums of a table of (group, feature) -> ``shape``."""
        summed = [column for column in table.columns if column.name not in ("group", "feature")]
        totals = {column.name: np.zeros(shape, dtype=column.dtype) for column in summed}
        for columns in self.sums.columns(table, *place):
            cell = (columns["group"], columns["feature"])
            for name, total in totals.items():
                total[cell] += columns[name]  # each cell stands once in a shard
        return totals

    def _add_open(self, sums: Mapping[str, np.ndarray], *place: object) -> None:
        """Count in the clusters that no shard has as a whole, once their parts are put together; sums: as of ``_by_group``."""
        shards = list(self.sums.columns(sum_tables.OPEN, *place))
        parts = {column.name: np.concatenate([found[column.name] for found in shards]) for column in sum_tables.OPEN.columns}
        key = parts["cluster"] * sums["n_clusters"].shape[1] + parts["feature"]  # a cluster is of one group
        _, first, whole = np.unique(key, return_index=True, return_inverse=True)
        a, b = (np.bincount(whole, parts[side], minlength=len(first)) for side in ("a", "b"))
        cell = (parts["group"][first], parts["feature"][first])
        for name, values in {"n_clusters": 1, "cluster_a2": a * a, "cluster_b2": b * b, "cluster_ab": a * b}.items():
            np.add.at(sums[name], cell, values)

    def _write_layer_row(self, dictionary: Dictionary, counts: np.ndarray) -> None:
        pilot = self.context.pilots[dictionary.layer]
        row = {
            "layer": dictionary.layer,
            "hook_name": dictionary.hook_name,
            "sae": dictionary.name,
            "architecture": dictionary.architecture,
            "d_model": dictionary.d_model,
            "d_sae": dictionary.d_sae,
            "n_tokens": int(counts.sum()),
            "n_sinks": self.n_sinks(dictionary.layer),
            "median_norm": pilot.median_norm,
            "mean_norm": pilot.mean_norm,
            "code_scale": pilot.code_scale,
            "self_test_fvu": pilot.fvu,
            "self_test_l0": pilot.l0,
            "neuronpedia": dictionary.neuronpedia,
        }
        self.writer.load("layers", pd.DataFrame([row]))

    def _write_histograms(self, dictionary: Dictionary) -> None:
        layer = dictionary.layer
        edges = histogram_edges(self.context.pilots[layer].activation_unit)
        bins = {"layer": layer, "bin": np.arange(HISTOGRAM_BINS), "low": edges[:-1], "high": edges[1:]}
        self.writer.load("histogram_bins", pd.DataFrame(bins))
        for model in self.context.models.names:
            total = np.zeros(dictionary.d_sae * HISTOGRAM_BINS, dtype=np.int64)
            for columns in self.sums.columns(sum_tables.HISTOGRAM, layer, model):
                total[columns["feature"].astype(np.int64) * HISTOGRAM_BINS + columns["bin"]] += columns["count"]
            cell = np.flatnonzero(total)
            rows = {"layer": layer, "feature": cell // HISTOGRAM_BINS, "model": model, "bin": cell % HISTOGRAM_BINS}
            self.writer.load("histograms", pd.DataFrame({**rows, "count": total[cell]}))

    def _write_tokens(self, layer: int, variant: str) -> None:
        for shard, columns in zip(self.shards, self.sums.columns(sum_tables.TOKENS, layer, variant), strict=True):
            row = columns.pop("row")
            document = shard.document_of_row[row]
            place = {"document": document + shard.first_document, "position": row - shard.first_rows[document]}
            self.writer.load("token_metrics", pd.DataFrame({"variant": variant, "layer": layer, **place, **columns}))


def write_documents(shards: list[Shard], context: RunContext, writer: StoreWriter) -> None:
    """The tables documents and tokens."""
    for shard in shards:
        local = shard.document_of_row
        numbers = shard.first_document + np.arange(len(shard.documents))
        documents = {
            "document": numbers,
            "source": [document.source for document in shard.documents],
            "domain": [document.domain for document in shard.documents],
            "cluster": [document.cluster for document in shard.documents],
            "part": shard.index,
            "first_row": shard.first_rows,
            "n_tokens": [len(document) for document in shard.documents],
            "has_codes": True,
        }
        position = shard.position_of_row
        tokens = {
            "document": numbers[local],
            "position": position,
            "context": position // context.window_tokens,
            "token_id": shard.token_ids,
            "segment": np.array(SEGMENTS, dtype=object)[shard.segments],
        }
        writer.load("documents", pd.DataFrame(documents))
        writer.load("tokens", pd.DataFrame(tokens))
