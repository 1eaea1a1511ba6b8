"""Everything that a shard's batches give at one layer, laid out by the shard's rows, and the sums it comes to."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch

from extract.corpus.batches import Shard
from extract.corpus.render import SEGMENTS
from extract.corpus.token_index import TokenIndex
from extract.measure import feature_sums, paired_codes, sum_tables
from extract.measure.feature_sums import DocumentShifts
from extract.measure.layer_batch import Counterpart, HostLayer, LayerResult
from extract.measure.paired_codes import Union
from extract.measure.run_context import RunContext
from extract.measure.sum_tables import SPECTRUM_SHARDS, counterparts_of
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
        self._pieces.append((rows[codes.row], codes.feature.int(), codes.value.clone()))  # not a view of all that was brought

    def together(self) -> SparseCodes:
        """The codes over the whole shard, in (row, feature) order."""
        if not self._pieces:
            nothing = torch.zeros(0, dtype=torch.int64)
            return SparseCodes(nothing, nothing, nothing.float(), self.n_rows)
        row, feature, value = (torch.cat(piece) for piece in zip(*self._pieces, strict=True))
        order = torch.argsort(row, stable=True)
        return SparseCodes(row[order], feature[order].long(), value[order], self.n_rows)


class CounterpartSums:
    """A variant, or a control in its place, over a shard: what does not need its codes any more.

    Attributes:
        counted: bool [n_rows], tokens that were compared.
        totals, base_totals: float64 [cells, d_model], sum of residuals, and of the base's on the same tokens.
    """

    def __init__(self, n_rows: int, n_cells: int, dictionary: Dictionary) -> None:
        d_model, self.d_sae = dictionary.d_model, dictionary.d_sae
        self.counted = torch.zeros(n_rows, dtype=torch.bool)
        self.totals = torch.zeros(n_cells, d_model, dtype=torch.float64)
        self.base_totals = torch.zeros(n_cells, d_model, dtype=torch.float64)
        self._metrics: dict[str, torch.Tensor] = {}
        self._shifts: list[DocumentShifts] = []

    def add(self, rows: torch.Tensor, counterpart: Counterpart, base_totals: torch.Tensor) -> None:
        """Put one batch's numbers in their place; rows: int64 [n], base_totals: float64 [cells, d_model]; all on the CPU."""
        self.counted[rows] = True
        self._put(rows, counterpart.metrics)
        self.totals += counterpart.totals
        self.base_totals += base_totals

    def add_codes(self, rows: torch.Tensor, union: Union, document_of_row: torch.Tensor) -> None:
        """Put one batch's codes, laid over the base's, in their place; document_of_row: int64 [rows of the union]."""
        self._put(rows, paired_codes.token_code_metrics(union))
        self._shifts.append(feature_sums.document_shifts(union, document_of_row))

    @cached_property
    def shifts(self) -> DocumentShifts:
        """Each document's sum of the change of scaled activation, once every batch is in its place."""
        return feature_sums.merge_shifts(self._shifts, self.d_sae)

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
        counterparts = counterparts_of(context.config)
        self.counterparts = {key: CounterpartSums(n_rows, self.n_cells, dictionary) for key in counterparts}
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
            else:
                self._add_codes(sums, rows, host.base_codes, counterpart.codes)
        for name, codes in host.replica_codes.items():
            self.replica_pieces[name].add(rows, codes)
        if self.context.config.spectrum and self.shard.index < SPECTRUM_SHARDS:
            for variant, residuals in result.residuals.items():
                delta = residuals.double() - result.base.exact
                self.outer[variant] = self.outer.get(variant, 0) + delta.T @ delta

    def _add_codes(self, sums: CounterpartSums, rows: torch.Tensor, base: SparseCodes, codes: SparseCodes) -> None:
        """A control's codes of one batch, of which only sums are kept."""
        sums.add_codes(rows, paired_codes.scaled_union(base, codes, self.norm), self.token_index.document[rows])

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
        for (name, control), counterpart in self.counterparts.items():
            arrays |= self._counterpart_sums(counterpart, name, control)
        return arrays

    def replica_sums(self, replica: Dictionary) -> dict[str, np.ndarray]:
        """A second dictionary's feature sums, all domains together: arrays [features that fired], by name in the file."""
        codes = {name: pieces.together() for name, pieces in self.replica_pieces.items()}
        norm, everything = replica.decoder_norm.cpu(), torch.zeros_like(self.token_index.document)
        arrays = {}
        for variant in self.context.config.variants:
            union = paired_codes.scaled_union(codes[BASE], codes[variant], norm)
            near = paired_codes.near_flips(union, codes[BASE], codes[variant], norm, None)
            found = feature_sums.feature_sums(union, everything, self.token_index.document, near)
            arrays |= sum_tables.REPLICA.arrays(found, replica.layer, variant)
        return arrays

    def _variant_sums(
        self, variant: str, base: SparseCodes, code: SparseCodes, contexts: ContextRanker
    ) -> dict[str, np.ndarray]:
        """What needs a variant's codes over the whole shard."""
        layer, counterpart = self.dictionary.layer, self.counterparts[variant, OBSERVED]
        union = paired_codes.scaled_union(base, code, self.norm)
        counterpart.add_codes(torch.arange(self.shard.n_tokens), union, self.token_index.document)
        near = paired_codes.near_flips(union, base, code, self.norm, self.dictionary.flips_at)
        arrays = sum_tables.TOKENS.arrays(_token_columns(counterpart), layer, variant)
        for table, group in ((sum_tables.FEATURES, self.token_index.domain), (sum_tables.SEGMENTS, self.token_index.segment)):
            arrays |= table.arrays(feature_sums.feature_sums(union, group, self.token_index.document, near), layer, variant)
        for ranking, top in contexts.rank(union).items():
            arrays |= sum_tables.CONTEXTS[ranking].arrays(top, layer, variant)
        if variant in self.outer:
            arrays |= sum_tables.OUTER.arrays({"outer": self.outer[variant].cpu().numpy()}, layer, variant)
        if (variant, "isotropic") in self.counterparts:
            d_sae = self.dictionary.d_sae
            differences = counterpart.shifts.minus(self.counterparts[variant, "isotropic"].shifts, d_sae)
            found = feature_sums.shift_sums(differences, self._domain_of_document(), d_sae)
            arrays |= sum_tables.DIFFERENCES.arrays(found, layer, variant)
        return arrays

    def _counterpart_sums(self, counterpart: CounterpartSums, name: str, control: str) -> dict[str, np.ndarray]:
        """What every counterpart has: document sums, totals, and how far its features shifted."""
        place, domain_of_document = (self.dictionary.layer, name, control), self._domain_of_document()
        totals = {
            "totals": counterpart.totals.numpy(),
            "base_totals": counterpart.base_totals.numpy(),
            "shift_norm2": feature_sums.shift_norms(counterpart.shifts, domain_of_document, len(self.context.domains)),
        }
        shifts = feature_sums.shift_sums(counterpart.shifts, domain_of_document, counterpart.d_sae)
        return {
            **sum_tables.COUNTERPART.arrays(totals, *place),
            **sum_tables.DOCUMENTS.arrays(_document_sums(counterpart, self.token_index), *place),
            **sum_tables.SHIFTS.arrays(shifts, *place),
        }

    def _domain_of_document(self) -> torch.Tensor:
        return torch.tensor([self.context.domains.index(document.domain) for document in self.shard.documents])


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
