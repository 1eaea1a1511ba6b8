"""Everything that a shard's batches give at one layer, laid out by the shard's rows, and the sums it comes to."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch

from extract.corpus.batches import Shard
from extract.corpus.render import SEGMENTS
from extract.corpus.token_index import TokenIndex
from extract.measure import feature_sums, paired_codes, sum_tables
from extract.measure.feature_sums import FeatureSums
from extract.measure.layer_batch import Counterpart, HostLayer, LayerResult
from extract.measure.paired_codes import Union, starts_of_runs
from extract.measure.run_context import RunContext
from extract.measure.sum_tables import SPECTRUM_SHARDS, SumTable, counterparts_of, twins_of
from extract.measure.top_contexts import ContextRanker
from extract.saes.codes import SparseCodes
from extract.saes.dictionary import Dictionary
from store.format.document_sums import DOCUMENT_SUMS
from store.metrics.feature_numbers import histogram_edges
from store.names import BASE, OBSERVED


class CodePieces:
    """One model's codes at one layer, batch by batch."""

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self._pieces: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def add(self, rows: torch.Tensor, codes: SparseCodes) -> None:
        """Put a batch's codes in their place; rows: int64 [tokens], in the shard."""
        # Not views of all that was brought, and as narrow as they may be: they wait until the shard is whole.
        self._pieces.append((rows[codes.row].int(), codes.feature.int(), codes.value.clone()))

    def together(self) -> SparseCodes:
        """The codes over the whole shard, in (row, feature) order."""
        if not self._pieces:
            nothing = torch.zeros(0, dtype=torch.int64)
            return SparseCodes(nothing, nothing, nothing.float(), self.n_rows)
        row, feature, value = (torch.cat(piece).numpy() for piece in zip(*self._pieces, strict=True))
        order = _order_of_rows(row)
        columns = (row[order].astype(np.int64), feature[order].astype(np.int64), value[order])
        return SparseCodes(*map(torch.from_numpy, columns), self.n_rows)


def _order_of_rows(row: np.ndarray) -> np.ndarray:
    """int64 [nnz]: entries by row, where those of a row stand together already."""
    start = starts_of_runs(row)
    size = np.diff(np.r_[start, len(row)])
    runs = np.argsort(row[start])
    before = np.cumsum(size[runs]) - size[runs]
    return np.repeat(start[runs] - before, size[runs]) + np.arange(len(row))


class CounterpartSums:
    """A variant, or a twin or control in its place, over a shard: what does not need its codes any more.

    Attributes:
        counted: bool [n_rows], tokens that were compared.
        totals, base_totals: float64 [cells, d_model], sum of residuals, and of the base's on the same tokens.
    """

    def __init__(self, n_rows: int, n_cells: int, d_model: int) -> None:
        self.counted = torch.zeros(n_rows, dtype=torch.bool)
        self.totals = torch.zeros(n_cells, d_model, dtype=torch.float64)
        self.base_totals = torch.zeros(n_cells, d_model, dtype=torch.float64)
        self._metrics: dict[str, torch.Tensor] = {}

    def add(self, rows: torch.Tensor, counterpart: Counterpart, base_totals: torch.Tensor) -> None:
        """Put one batch's numbers in their place; rows: int64 [n], base_totals: float64 [cells, d_model]; all on the CPU."""
        self.counted[rows] = True
        self._put(rows, counterpart.metrics)
        self.totals += counterpart.totals
        self.base_totals += base_totals

    def add_codes(self, rows: torch.Tensor, union: Union) -> None:
        """Put one batch's codes, laid over the base's, in their place."""
        self._put(rows, paired_codes.token_code_metrics(union))

    def per_token(self) -> dict[str, torch.Tensor]:
        """Every quantity of the document_sums table, float64 [n_rows]."""
        if not self.counted.any():
            return dict.fromkeys(DOCUMENT_SUMS, torch.zeros(len(self.counted), dtype=torch.float64))
        return {"n_tokens": torch.ones(len(self.counted), dtype=torch.float64), **self._metrics}

    def _put(self, rows: torch.Tensor, metrics: Mapping[str, torch.Tensor]) -> None:
        for name, values in metrics.items():
            if name not in self._metrics:
                self._metrics[name] = torch.zeros(len(self.counted), dtype=torch.float64)
            self._metrics[name][rows] = values.cpu()


class ShardLayer:
    """One layer of a shard: filled batch by batch, then summed up.

    Args:
        token_index: of the shard's rows.
    """

    def __init__(self, context: RunContext, shard: Shard, dictionary: Dictionary, token_index: TokenIndex) -> None:
        self.context, self.shard, self.dictionary, self.token_index = context, shard, dictionary, token_index
        n_rows, self.n_cells = shard.n_tokens, len(context.domains) * len(SEGMENTS)
        self.counted = torch.zeros(n_rows, dtype=torch.bool)
        self.n_sinks = 0
        self.pieces = {name: CodePieces(n_rows) for name in context.models.names}
        self.replica_pieces = {name: CodePieces(n_rows) for name in context.models.names}
        counterparts = counterparts_of(context.config, context.models.twins)
        self.counterparts = {key: CounterpartSums(n_rows, self.n_cells, dictionary.d_model) for key in counterparts}
        self.twin_pieces = {pair: CodePieces(n_rows) for pair in twins_of(context.config, context.models.twins)}
        rescaled = context.config.variants if "rescaled" in context.config.controls else ()
        self.rescaled = {variant: np.zeros(dictionary.d_sae) for variant in rescaled}
        self.outer: dict[str, torch.Tensor] = {}
        self.norm = dictionary.decoder_norm.cpu()

    def add(self, result: LayerResult, host: HostLayer) -> None:
        """Put one batch in its place; host: what of it was brought to the host."""
        rows = result.base.rows
        self.counted[rows] = True
        self.n_sinks += result.n_sinks
        self.pieces[BASE].add(rows, host.base_codes)
        for key, counterpart in host.counterparts.items():
            sums = self.counterparts[key]
            if key == (BASE, "rerun"):
                rerun = result.rerun
                sums.add(rerun.base.rows, counterpart, host.rerun_totals)
                self._add_codes(sums, rerun.base.rows, host.base_codes.only(rerun.kept), counterpart.codes)
                continue
            sums.add(rows, counterpart, host.totals)
            if key[1] == OBSERVED:
                self.pieces[key[0]].add(rows, counterpart.codes)  # compared over the whole shard
            elif key in self.twin_pieces:
                self.twin_pieces[key].add(rows, counterpart.codes)
            else:
                union = self._add_codes(sums, rows, host.base_codes, counterpart.codes)
                if key[1] == "rescaled":
                    totals = self.rescaled[key[0]]
                    totals += np.bincount(union.feature.numpy(), union.b.numpy(), minlength=len(totals))
        for name, codes in host.replica_codes.items():
            self.replica_pieces[name].add(rows, codes)
        if self.context.config.spectrum and self.shard.index < SPECTRUM_SHARDS:
            for variant, residuals in result.residuals.items():
                delta = residuals.double() - result.base.exact
                self.outer[variant] = self.outer.get(variant, 0) + delta.T @ delta

    def _add_codes(self, sums: CounterpartSums, rows: torch.Tensor, base: SparseCodes, codes: SparseCodes) -> Union:
        """A control's codes of one batch, of which only sums are kept."""
        union = paired_codes.scaled_union(base, codes, self.norm)
        sums.add_codes(rows, union)
        return union

    def codes(self) -> dict[str, SparseCodes]:
        """Every model's codes over the whole shard."""
        return {name: pieces.together() for name, pieces in self.pieces.items()}

    def sums(self, codes: Mapping[str, SparseCodes], contexts: ContextRanker) -> dict[str, np.ndarray]:
        """Every sum of the layer, by its name in the file; types and shapes: :mod:`extract.measure.sum_tables`.

        Args:
            codes: from :meth:`codes`.
        """
        layer = self.dictionary.layer
        edges = histogram_edges(self.context.pilots[layer].activation_unit)
        counts = torch.bincount(self.token_index.cell[self.counted], minlength=self.n_cells).numpy()
        arrays = sum_tables.LAYER.arrays({"counts": counts, "sinks": np.array(self.n_sinks)}, layer)
        for name, code in codes.items():
            arrays |= sum_tables.HISTOGRAM.arrays(feature_sums.histogram(code, self.norm, edges), layer, name)
        token_ids = self.shard.token_ids
        arrays |= sum_tables.PAIRS.arrays(feature_sums.token_sums(codes[BASE], self.norm, token_ids), layer, BASE)
        arrays |= sum_tables.BACKGROUND.arrays(feature_sums.token_counts(token_ids, self.counted.numpy()), layer, BASE)
        for variant in self.context.config.variants:
            arrays |= self._variant_sums(variant, codes[BASE], codes[variant], contexts)
        for variant, twin in list(self.twin_pieces):
            arrays |= self._twin_sums(variant, twin, codes[BASE])
        for (name, control), counterpart in self.counterparts.items():
            arrays |= self._counterpart_sums(counterpart, name, control)
        return arrays

    def replica_sums(self, replica: Dictionary) -> dict[str, np.ndarray]:
        """A second dictionary's feature sums, all domains together: arrays [features that fired], by name in the file."""
        codes = {name: pieces.together() for name, pieces in self.replica_pieces.items()}
        norm = replica.decoder_norm.cpu()
        arrays = {}
        for variant in self.context.config.variants:
            union = paired_codes.scaled_union(codes[BASE], codes[variant], norm)
            found = _over_tokens(FeatureSums(union, self._no_groups), sum_tables.REPLICA)
            arrays |= sum_tables.REPLICA.arrays(found, replica.layer, variant)
        return arrays

    def _variant_sums(
        self, variant: str, base: SparseCodes, code: SparseCodes, contexts: ContextRanker
    ) -> dict[str, np.ndarray]:
        """What needs a variant's codes over the whole shard."""
        place, counterpart = (self.dictionary.layer, variant), self.counterparts[variant, OBSERVED]
        union = paired_codes.scaled_union(base, code, self.norm)
        counterpart.add_codes(self._all_rows, union)
        near = paired_codes.near_flips(union, base, code, self.norm, self.dictionary.flips_at)
        by_domain = FeatureSums(union, self.token_index.domain.numpy())
        by_segment = FeatureSums(union, self.token_index.segment.numpy())
        over_clusters, open_ = self._over_clusters(by_domain)
        found = _over_tokens(by_domain, sum_tables.FEATURES) | over_clusters
        found |= {"near": by_domain.number_of(near.numpy())}
        found |= {"n_documents": by_domain.n_documents(self.token_index.document.numpy())}
        arrays = {
            **sum_tables.TOKENS.arrays(_token_columns(counterpart), *place),
            **sum_tables.FEATURES.arrays(found, *place),
            **sum_tables.OPEN.arrays(open_, *place),
            **sum_tables.SEGMENTS.arrays(_over_tokens(by_segment, sum_tables.SEGMENTS), *place),
        }
        for ranking, top in contexts.rank(union).items():
            arrays |= sum_tables.CONTEXTS[ranking].arrays(top, *place)
        if variant in self.outer:
            arrays |= sum_tables.OUTER.arrays({"outer": self.outer[variant].cpu().numpy()}, *place)
        if variant in self.rescaled:
            totals = self.rescaled[variant]
            feature = np.flatnonzero(totals)
            found = {"feature": feature.astype(np.int32), "total": totals[feature]}
            arrays |= sum_tables.RESCALED.arrays(found, *place)
        return arrays

    def _twin_sums(self, variant: str, twin: str, base: SparseCodes) -> dict[str, np.ndarray]:
        """What needs a twin's codes over the whole shard: all domains together."""
        union = paired_codes.scaled_union(base, self.twin_pieces.pop((variant, twin)).together(), self.norm)
        self.counterparts[variant, twin].add_codes(self._all_rows, union)
        sums = FeatureSums(union, self._no_groups)
        over_clusters, open_ = self._over_clusters(sums)
        place = (self.dictionary.layer, variant, twin)
        return {
            **sum_tables.TWIN.arrays(_over_tokens(sums, sum_tables.TWIN) | over_clusters, *place),
            **sum_tables.OPEN.arrays(open_, *place),
        }

    def _over_clusters(self, sums: FeatureSums) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        return sums.over_clusters(self._cluster_of_row, self.shard.open)

    @cached_property
    def _cluster_of_row(self) -> np.ndarray:
        return self.shard.clusters[self.token_index.document.numpy()]

    @cached_property
    def _all_rows(self) -> torch.Tensor:
        return torch.arange(self.shard.n_tokens)

    @cached_property
    def _no_groups(self) -> np.ndarray:
        return np.zeros(self.shard.n_tokens, dtype=np.int64)

    def _counterpart_sums(self, counterpart: CounterpartSums, name: str, control: str) -> dict[str, np.ndarray]:
        """What every counterpart has: document sums and totals."""
        place = (self.dictionary.layer, name, control)
        totals = {"totals": counterpart.totals.numpy(), "base_totals": counterpart.base_totals.numpy()}
        return {
            **sum_tables.COUNTERPART.arrays(totals, *place),
            **sum_tables.DOCUMENTS.arrays(_document_sums(counterpart, self.token_index), *place),
        }


def _over_tokens(sums: FeatureSums, table: SumTable) -> dict[str, np.ndarray]:
    """The cells, and those columns of a table that are sums over tokens."""
    names = [column.name for column in table.columns if column.name in sum_tables.OVER_TOKENS]
    return sums.cells | sums.over_tokens(*names)


def _token_columns(counterpart: CounterpartSums) -> dict[str, np.ndarray]:
    """Columns of the token_metrics table for the tokens that count; ``row`` in the shard."""
    values, counted = {"row": torch.arange(len(counterpart.counted)), **counterpart.per_token()}, counterpart.counted
    return {column.name: values[column.name][counted].numpy().astype(column.dtype) for column in sum_tables.TOKENS.columns}


def _document_sums(counterpart: CounterpartSums, token_index: TokenIndex) -> dict[str, np.ndarray]:
    """Sums over each (document, segment) with tokens that count; ``document`` within the shard."""
    per_token, counted = counterpart.per_token(), counterpart.counted
    present, place = torch.unique((token_index.document * len(SEGMENTS) + token_index.segment)[counted], return_inverse=True)
    columns = {
        "document": (present // len(SEGMENTS)).numpy(),
        "segment": (present % len(SEGMENTS)).numpy(),
    }
    for column in sum_tables.DOCUMENTS.columns[len(columns) :]:
        total = torch.zeros(len(present), dtype=torch.float64).index_add_(0, place, per_token[column.name][counted])
        columns[column.name] = total.numpy().astype(column.dtype)
    return columns
