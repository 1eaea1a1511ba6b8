"""Merging the shards' sums, in shard order, into the tables of the store."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from extract.batches import Shard
from extract.context import RunContext
from extract.dictionaries import Dictionary
from extract.labels import Evidence
from extract.render import SEGMENTS
from extract.sums import ShardSums
from store.metrics import (
    DOCUMENT_SUMS,
    FEATURE_SUMS,
    HISTOGRAM_BINS,
    feature_values,
    fit_gate,
    histogram_edges,
    layer_values,
)
from store.names import ALL, BASE
from store.writer import StoreWriter


@dataclass(frozen=True)
class Merger:
    """Reads the sums of every shard and writes tables, one layer and variant at a time.

    Attributes:
        shards: every shard of the run, in order; each must be done.
    """

    context: RunContext
    shards: Sequence[Shard]
    writer: StoreWriter

    @cached_property
    def sums(self) -> ShardSums:
        """The shards' sums."""
        return ShardSums(self.writer, self.shards)

    def layer_counts(self, layer: int) -> np.ndarray:
        """int64 [domains, segments]: tokens that count."""
        counts = sum(self.sums.arrays(layer, "counts"))
        return counts.reshape(len(self.context.domains), len(SEGMENTS))

    def n_sinks(self, layer: int) -> int:
        """Tokens left out as attention sinks."""
        return int(sum(self.sums.arrays(layer, "sinks")))

    def write_layer(self, dictionary: Dictionary) -> None:
        """Every table that belongs to one layer, but for contexts and promoted tokens."""
        layer = dictionary.layer
        counts = self.layer_counts(layer)
        self._write_layer_row(dictionary, counts)
        self._write_histograms(dictionary)
        for variant in self.context.config.variants:
            self._write_tokens(layer, variant)
            documents = self._document_sums(layer, variant)
            self.writer.load("document_sums", documents)
            self._write_layer_metrics(layer, variant, documents)
            for rows in self._feature_rows(dictionary, variant, counts.sum(axis=1)):
                self.writer.load("feature_stats", rows)

    def densities(self, dictionary: Dictionary) -> np.ndarray:
        """float64 [d_sae]: share of the counted tokens where each feature fires in the base."""
        fired = np.zeros(dictionary.d_sae)
        for columns in self.sums.columns(("feature", "count"), dictionary.layer, BASE, "histogram"):
            np.add.at(fired, columns["feature"], columns["count"])
        return fired / max(1, self.layer_counts(dictionary.layer).sum())

    def label_evidence(self, dictionary: Dictionary) -> Evidence:
        """What the features of a layer fire on in the base, summed over the shards."""
        pairs = list(self.sums.columns(("feature", "token_id", "count", "activation"), dictionary.layer, BASE, "pairs"))
        together = {name: np.concatenate([columns[name] for columns in pairs]) for name in pairs[0]}
        keys = (together["feature"].astype(np.int64) << 32) | together["token_id"]
        pair, place = np.unique(keys, return_inverse=True)
        background: dict[int, int] = {}
        for columns in self.sums.columns(("token_id", "count"), dictionary.layer, BASE, "background"):
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
        """The candidates of each shard: feature, score, place (row in the shard), text."""
        names = ("feature", "score", "place", "text")
        yield from zip(self.shards, self.sums.columns(names, layer, variant, "contexts", ranking), strict=True)

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
            for columns in self.sums.columns(("feature", "bin", "count"), layer, model, "histogram"):
                total[columns["feature"].astype(np.int64) * HISTOGRAM_BINS + columns["bin"]] += columns["count"]
            cell = np.flatnonzero(total)
            rows = {"layer": layer, "feature": cell // HISTOGRAM_BINS, "model": model, "bin": cell % HISTOGRAM_BINS}
            self.writer.load("histograms", pd.DataFrame({**rows, "count": total[cell]}))

    def _write_tokens(self, layer: int, variant: str) -> None:
        names = ("row", "cosine", "overlap", "l1_divergence", "l0_base", "l0_variant")
        for shard, columns in zip(self.shards, self.sums.columns(names, layer, variant, "tokens"), strict=True):
            row = columns.pop("row")
            document = shard.document_of_row[row]
            place = {"document": document + shard.first_document, "position": row - shard.first_rows[document]}
            self.writer.load("token_metrics", pd.DataFrame({"variant": variant, "layer": layer, **place, **columns}))

    def _document_sums(self, layer: int, variant: str) -> pd.DataFrame:
        names = ("document", "segment", *DOCUMENT_SUMS)
        frames = []
        for shard, columns in zip(self.shards, self.sums.columns(names, layer, variant, "documents"), strict=True):
            columns["document"] = columns["document"] + shard.first_document
            columns["segment"] = np.array(SEGMENTS, dtype=object)[columns["segment"]]
            frames.append(pd.DataFrame({"variant": variant, "layer": layer, **columns}))
        return pd.concat(frames, ignore_index=True)

    def _write_layer_metrics(self, layer: int, variant: str, documents: pd.DataFrame) -> None:
        domain_of_document = np.array([document.domain for shard in self.shards for document in shard.documents])
        documents = documents.assign(domain=domain_of_document[documents["document"]])
        totals = {model: self._totals(layer, model) for model in (BASE, variant)}
        metrics, fits = [], []
        for domain, segment in self._margins(documents):
            group = documents
            group = group if domain == ALL else group[group["domain"] == domain]
            group = group if segment == ALL else group[group["segment"] == segment]
            values = layer_values(
                group[list(DOCUMENT_SUMS)].sum().to_dict(),
                self._norm2(totals[BASE], domain, segment),
                self._norm2(totals[variant], domain, segment),
                self.context.pilots[layer].mean_norm,
            )
            key = {"variant": variant, "layer": layer, "domain": domain}
            size = {"n_tokens": group["n_tokens"].sum(), "n_documents": group["document"].nunique()}
            metrics += [
                {**key, "segment": segment, "metric": name, "control": "observed", "value": value, **size}
                for name, value in values.items()
            ]
            if segment == ALL:
                fit = {name: values[name] for name in ("fvu_base", "fvu_variant")}
                fits.append({**key, **fit, "gate": fit_gate(**fit)})
        self.writer.load("layer_metrics", pd.DataFrame(metrics))
        self.writer.load("fit", pd.DataFrame(fits))

    def _margins(self, documents: pd.DataFrame) -> list[tuple[str, str]]:
        """(domain, segment) groups: each domain, each segment, and everything."""
        domains = sorted(documents["domain"].unique())
        segments = sorted(documents["segment"].unique())
        return [(ALL, ALL), *((domain, ALL) for domain in domains), *((ALL, segment) for segment in segments)]

    def _totals(self, layer: int, model: str) -> np.ndarray:
        """float64 [domains, segments, d_model]: sum of residuals."""
        total = sum(self.sums.arrays(layer, model, "totals"))
        return total.reshape(len(self.context.domains), len(SEGMENTS), -1)

    def _norm2(self, totals: np.ndarray, domain: str, segment: str) -> float:
        """||sum of residuals||^2 of a margin."""
        if domain != ALL:
            totals = totals[self.context.domains.index(domain)][None]
        if segment != ALL:
            totals = totals[:, SEGMENTS.index(segment)][:, None]
        return float(np.square(totals.sum(axis=(0, 1))).sum())

    def _feature_rows(
        self, dictionary: Dictionary, variant: str, tokens_of_domain: np.ndarray
    ) -> Iterator[pd.DataFrame]:
        """feature_stats of one variant and layer: everything together first, then each domain."""
        sums = self._feature_sums(dictionary, variant)
        key = {"variant": variant, "layer": dictionary.layer}
        pooled = {name: values.sum(axis=0) for name, values in sums.items()}
        yield _feature_frame({**key, "domain": ALL}, pooled, int(tokens_of_domain.sum()))
        for number, domain in enumerate(self.context.domains):
            if tokens_of_domain[number]:
                of_domain = {name: values[number] for name, values in sums.items()}
                yield _feature_frame({**key, "domain": domain}, of_domain, int(tokens_of_domain[number]))

    def _feature_sums(self, dictionary: Dictionary, variant: str) -> dict[str, np.ndarray]:
        """Sum -> [domains, d_sae]."""
        counts = ("n11", "n10", "n01", "n_documents")
        shape = (len(self.context.domains), dictionary.d_sae)
        sums = {name: np.zeros(shape, dtype=np.int64 if name in counts else np.float64) for name in FEATURE_SUMS}
        for columns in self.sums.columns(("domain", "feature", *FEATURE_SUMS), dictionary.layer, variant, "features"):
            cell = (columns["domain"], columns["feature"])
            for name in FEATURE_SUMS:
                sums[name][cell] += columns[name]  # each cell stands once in a shard
        return sums


def _feature_frame(key: Mapping[str, object], sums: Mapping[str, np.ndarray], n_tokens: int) -> pd.DataFrame:
    fired = np.flatnonzero(sums["n11"] + sums["n10"] + sums["n01"])
    values = feature_values({name: total[fired] for name, total in sums.items()}, n_tokens)
    return pd.DataFrame({**key, "feature": fired, **values})


def write_documents(shards: list[Shard], context: RunContext, writer: StoreWriter) -> None:
    """The tables documents and tokens."""
    for shard in shards:
        local = shard.document_of_row
        numbers = shard.first_document + np.arange(len(shard.documents))
        documents = {
            "document": numbers,
            "source": [document.source for document in shard.documents],
            "domain": [document.domain for document in shard.documents],
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
