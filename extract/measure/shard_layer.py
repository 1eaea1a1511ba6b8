"""Everything that a shard's batches give at one layer, laid out by the shard's rows, and the sums it comes to."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch

from extract.corpus.batches import Shard
from extract.corpus.render import SEGMENTS
from extract.corpus.token_index import Places
from extract.measure import feature_sums, paired_codes, sum_tables
from extract.measure.feature_sums import DocumentShifts
from extract.measure.layer_batch import HostLayer, LayerFound, Side
from extract.measure.paired_codes import Union
from extract.measure.run_context import RunContext
from extract.measure.sum_tables import SPECTRUM_SHARDS, side_names
from extract.measure.top_contexts import ContextRanker
from extract.saes.codes import SparseCodes
from extract.saes.dictionary import Dictionary
from store.format.tables import DOCUMENT_SUMS
from store.metrics.layer import histogram_edges
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


class SideSums:
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

    def add(self, rows: torch.Tensor, side: Side, base_totals: torch.Tensor) -> None:
        """Put one batch's numbers in their place; rows: int64 [n], base_totals: float64 [cells, d_model]; all on the CPU."""
        self.counted[rows] = True
        self._put(rows, side.metrics)
        self.totals += side.totals
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
        places: of the shard's rows.
    """

    def __init__(self, context: RunContext, shard: Shard, dictionary: Dictionary, places: Places) -> None:
        self.context, self.shard, self.dictionary, self.places = context, shard, dictionary, places
        n_rows, self.n_cells = shard.n_tokens, len(context.domains) * len(SEGMENTS)
        self.counted = torch.zeros(n_rows, dtype=torch.bool)
        self.n_sinks = 0
        self.pieces = {name: CodePieces(n_rows) for name in context.models.names}
        self.replica_pieces = {name: CodePieces(n_rows) for name in context.models.names}
        self.sides = {side: SideSums(n_rows, self.n_cells, dictionary) for side in side_names(context.config)}
        self.outer: dict[str, torch.Tensor] = {}
        self.norm = dictionary.decoder_norm.cpu()

    def add(self, found: LayerFound, host: HostLayer) -> None:
        """Put one batch in its place; host: what of it was brought to the host."""
        rows = found.base.rows
        self.counted[rows] = True
        self.n_sinks += found.n_sinks
        self.pieces[BASE].add(rows, host.base_codes)
        for (name, control), side in host.sides.items():
            if control == OBSERVED:
                self.sides[name, control].add(rows, side, host.totals)
                self.pieces[name].add(rows, side.codes)  # compared over the whole shard
            elif (name, control) == (BASE, "rerun"):
                again = found.again
                self._add_control(name, control, again.base.rows, host.base_codes.only(again.kept), side, host.again_totals)
            else:
                self._add_control(name, control, rows, host.base_codes, side, host.totals)
        for name, codes in host.replica_codes.items():
            self.replica_pieces[name].add(rows, codes)
        if self.context.config.spectrum and self.shard.index < SPECTRUM_SHARDS:
            for variant, residuals in found.residuals.items():
                delta = residuals.double() - found.base.exact
                self.outer[variant] = self.outer.get(variant, 0) + delta.T @ delta

    def _add_control(
        self, name: str, control: str, rows: torch.Tensor, base: SparseCodes, side: Side, base_totals: torch.Tensor
    ) -> None:
        """One batch of a control; of its codes only sums are kept. ``name``: variant, or the base for the rerun."""
        sums_of_side = self.sides[name, control]
        sums_of_side.add(rows, side, base_totals)
        union = paired_codes.scaled_union(base, side.codes, self.norm)
        sums_of_side.add_codes(rows, union, self.places.document[rows])

    def codes(self) -> dict[str, SparseCodes]:
        """Every model's codes over the whole shard."""
        return {name: pieces.together() for name, pieces in self.pieces.items()}

    def sums(self, codes: Mapping[str, SparseCodes], contexts: ContextRanker) -> dict[str, np.ndarray]:
        """Every sum of the layer, by its name in the file.

        Args:
            codes: from :meth:`codes`.
        """
        layer = self.dictionary.layer
        edges = histogram_edges(self.context.pilots[layer].activation_unit)
        counts = torch.bincount(self.places.cell[self.counted], minlength=self.n_cells).numpy()
        arrays = sum_tables.LAYER.arrays({"counts": counts, "sinks": np.array(self.n_sinks)}, layer)
        for name, code in codes.items():
            arrays |= sum_tables.HISTOGRAM.arrays(feature_sums.histogram(code, self.norm, edges), layer, name)
        token_ids = self.shard.token_ids
        arrays |= sum_tables.PAIRS.arrays(feature_sums.token_sums(codes[BASE], self.norm, token_ids), layer, BASE)
        arrays |= sum_tables.BACKGROUND.arrays(feature_sums.token_counts(token_ids, self.counted.numpy()), layer, BASE)
        for variant in self.context.config.variants:
            arrays |= self._variant_sums(variant, codes[BASE], codes[variant], contexts)
        for (name, control), side in self.sides.items():
            arrays |= self._side_sums(side, name, control)
        return arrays

    def replica_sums(self, replica: Dictionary) -> dict[str, np.ndarray]:
        """A second dictionary's feature sums, all domains together."""
        codes = {name: pieces.together() for name, pieces in self.replica_pieces.items()}
        norm, everything = replica.decoder_norm.cpu(), torch.zeros_like(self.places.document)
        arrays = {}
        for variant in self.context.config.variants:
            union = paired_codes.scaled_union(codes[BASE], codes[variant], norm)
            near = paired_codes.near_flips(union, codes[BASE], codes[variant], norm, None)
            found = feature_sums.feature_sums(union, everything, self.places.document, near)
            arrays |= sum_tables.REPLICA.arrays(found, replica.layer, variant)
        return arrays

    def _variant_sums(
        self, variant: str, base: SparseCodes, code: SparseCodes, contexts: ContextRanker
    ) -> dict[str, np.ndarray]:
        """What needs a variant's codes over the whole shard."""
        layer, side = self.dictionary.layer, self.sides[variant, OBSERVED]
        union = paired_codes.scaled_union(base, code, self.norm)
        side.add_codes(torch.arange(self.shard.n_tokens), union, self.places.document)
        near = paired_codes.near_flips(union, base, code, self.norm, self.dictionary.flips_at)
        arrays = sum_tables.TOKENS.arrays(_token_columns(side), layer, variant)
        for table, group in ((sum_tables.FEATURES, self.places.domain), (sum_tables.SEGMENTS, self.places.segment)):
            arrays |= table.arrays(feature_sums.feature_sums(union, group, self.places.document, near), layer, variant)
        for ranking, top in contexts.rank(union).items():
            arrays |= sum_tables.CONTEXTS[ranking].arrays(top, layer, variant)
        if variant in self.outer:
            arrays |= sum_tables.OUTER.arrays({"outer": self.outer[variant].cpu().numpy()}, layer, variant)
        if (variant, "isotropic") in self.sides:
            d_sae = self.dictionary.d_sae
            differences = side.shifts.minus(self.sides[variant, "isotropic"].shifts, d_sae)
            found = feature_sums.shift_sums(differences, self._domain_of_document(), d_sae)
            arrays |= sum_tables.DIFFERENCES.arrays(found, layer, variant)
        return arrays

    def _side_sums(self, side: SideSums, name: str, control: str) -> dict[str, np.ndarray]:
        """What every side has: document sums, totals, and how far its features shifted."""
        place, domain_of_document = (self.dictionary.layer, name, control), self._domain_of_document()
        totals = {
            "totals": side.totals.numpy(),
            "base_totals": side.base_totals.numpy(),
            "shift_norm2": feature_sums.shift_norms(side.shifts, domain_of_document, len(self.context.domains)),
        }
        shifts = feature_sums.shift_sums(side.shifts, domain_of_document, side.d_sae)
        return {
            **sum_tables.SIDE.arrays(totals, *place),
            **sum_tables.DOCUMENTS.arrays(_document_sums(side, self.places), *place),
            **sum_tables.SHIFTS.arrays(shifts, *place),
        }

    def _domain_of_document(self) -> torch.Tensor:
        return torch.tensor([self.context.domains.index(document.domain) for document in self.shard.documents])


def _token_columns(side: SideSums) -> dict[str, np.ndarray]:
    """Columns of the token_metrics table for the tokens that count; ``row`` in the shard."""
    values, counted = {"row": torch.arange(len(side.counted)), **side.per_token()}, side.counted
    return {column.name: values[column.name][counted].numpy().astype(column.dtype) for column in sum_tables.TOKENS.columns}


def _document_sums(side: SideSums, places: Places) -> dict[str, np.ndarray]:
    """Sums over each (document, segment) with tokens that count; ``document`` within the shard."""
    per_token, counted = side.per_token(), side.counted
    present, place = torch.unique((places.document * len(SEGMENTS) + places.segment)[counted], return_inverse=True)
    columns = {
        "document": (present // len(SEGMENTS)).numpy(),
        "segment": (present % len(SEGMENTS)).numpy(),
    }
    for column in sum_tables.DOCUMENTS.columns[len(columns) :]:
        total = torch.zeros(len(present), dtype=torch.float64).index_add_(0, place, per_token[column.name][counted])
        columns[column.name] = total.numpy().astype(column.dtype)
    return columns
