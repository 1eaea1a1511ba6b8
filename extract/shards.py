"""The unit of work: one shard of whole documents through all models, to one HDF5 part and one file of sums.

A shard is done when its sums are in place: the part is written before them, and both appear whole, by renaming.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch

from extract import statistics, sums
from extract.batches import Shard, make_batches
from extract.context import RunContext
from extract.dictionaries import Dictionary, SparseCodes
from extract.latents import RESIDUAL_METRICS, LayerLatents, layer_latents, read_residuals
from extract.render import SEGMENTS
from store.metrics import COUNT_SUMS, DOCUMENT_SUMS, histogram_edges
from store.names import BASE
from store.parts import Codes, LayerCodes
from store.writer import StoreWriter


class ShardLatents:
    """Everything that a shard's batches give at one layer, laid out by the shard's token rows."""

    def __init__(self, n_rows: int, names: Iterable[str], d_model: int, cells: torch.Tensor, n_cells: int) -> None:
        names = list(names)
        self.n_rows = n_rows
        self.cells = cells
        self.counted = torch.zeros(n_rows, dtype=torch.bool)
        self.n_sinks = 0
        self.metrics = {
            name: torch.zeros(n_rows, len(RESIDUAL_METRICS), dtype=torch.float64) for name in names if name != BASE
        }
        self.totals = {name: torch.zeros(n_cells, d_model, dtype=torch.float64) for name in names}
        self._pieces: dict[str, list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]] = {name: [] for name in names}

    def add(self, latents: LayerLatents) -> None:
        """Put one batch in its place."""
        rows = latents.rows.cpu()
        self.counted[rows] = True
        self.n_sinks += len(latents.sinks)
        for name, metrics in latents.metrics.items():
            self.metrics[name][rows] = metrics.cpu()
        for name, residual in latents.residuals.items():
            self.totals[name].index_add_(0, self.cells[rows], residual.double().cpu())
        for name, codes in latents.codes.items():
            self._pieces[name].append((rows[codes.row.cpu()], codes.feature.int().cpu(), codes.value.cpu()))

    def codes(self, name: str) -> SparseCodes:
        """One model's codes over the whole shard, in (row, feature) order."""
        if not self._pieces[name]:
            nothing = torch.zeros(0, dtype=torch.int64)
            return SparseCodes(nothing, nothing, nothing.float(), self.n_rows)
        row, feature, value = (torch.cat(piece) for piece in zip(*self._pieces[name], strict=True))
        order = torch.argsort(row, stable=True)
        return SparseCodes(row[order], feature[order].long(), value[order], self.n_rows)


def run_shard(context: RunContext, shard: Shard, writer: StoreWriter, progress: Callable[[int], None]) -> None:
    """Extract one shard: write its part, then its sums.

    Raises:
        UserError: activations that are not finite, or codes that cannot be stored.
        OSError: the disk is full.
    """
    latents = _read(context, shard, progress)
    arrays: dict[str, np.ndarray] = {}
    kept: dict[int, LayerCodes] = {}
    for dictionary in context.dictionaries:
        layer = dictionary.layer
        here = latents.pop(layer)
        codes = {name: here.codes(name) for name in context.models.names}
        arrays |= sums.under(_layer_sums(context, shard, dictionary, here, codes), layer)
        kept[layer] = LayerCodes(
            dictionary.d_sae,
            context.pilots[layer].code_scale,
            here.counted.numpy(),
            {name: _to_store(code) for name, code in codes.items()},
        )
    writer.write_part(shard.index, kept)
    sums.save(sums.path(writer, shard.index), arrays)


def _read(context: RunContext, shard: Shard, progress: Callable[[int], None]) -> dict[int, ShardLatents]:
    names = context.models.names
    cells, n_cells = _cells(context, shard)
    latents = {
        dictionary.layer: ShardLatents(shard.n_tokens, names, dictionary.d_model, cells, n_cells)
        for dictionary in context.dictionaries
    }
    config = context.config
    for batch in make_batches(shard, config.context_length, config.batch_tokens, context.bos, context.pad):
        rows, residuals = read_residuals(context.models, names, batch, context.layers)
        for dictionary in context.dictionaries:
            layer = dictionary.layer
            pilot = context.pilots[layer]
            at_layer = {name: residuals[name].pop(layer) for name in names}
            latents[layer].add(layer_latents(dictionary, pilot, rows, at_layer, pilot.sink_norm(config)))
        progress(len(rows))
    return latents


def _cells(context: RunContext, shard: Shard) -> tuple[torch.Tensor, int]:
    """The (domain, segment) cell of every row, as one number, and how many there are."""
    domain = np.array([context.domains.index(document.domain) for document in shard.documents])
    cells = domain[shard.document_of_row] * len(SEGMENTS) + shard.segments
    return torch.from_numpy(cells), len(context.domains) * len(SEGMENTS)


def _layer_sums(
    context: RunContext, shard: Shard, dictionary: Dictionary, here: ShardLatents, codes: Mapping[str, SparseCodes]
) -> dict[str, np.ndarray]:
    """Every sum of one layer, by a name that says model or variant, table and column."""
    norm = dictionary.decoder_norm.cpu()
    edges = histogram_edges(context.pilots[dictionary.layer].activation_unit)
    document_of_row = torch.from_numpy(shard.document_of_row)
    domain_of_document = torch.tensor([context.domains.index(document.domain) for document in shard.documents])
    contexts = _ContextRanker(context, shard)
    arrays: dict[str, np.ndarray] = {
        "counts": torch.bincount(here.cells[here.counted], minlength=len(here.totals[BASE])).numpy(),
        "sinks": np.array(here.n_sinks),
    }
    for name, code in codes.items():
        arrays[sums.key(name, "totals")] = here.totals[name].numpy()
        arrays |= sums.under(statistics.histogram(code, norm, edges), name, "histogram")
        if name == BASE:
            arrays |= sums.under(statistics.token_sums(code, norm, shard.token_ids), BASE, "pairs")
            arrays |= sums.under(statistics.token_counts(shard.token_ids, here.counted.numpy()), BASE, "background")
            continue
        union = statistics.scaled_union(codes[BASE], code, norm)
        per_token = _token_metrics(here, name, statistics.token_code_metrics(union))
        arrays |= sums.under(_token_columns(per_token, here.counted), name, "tokens")
        arrays |= sums.under(_document_sums(per_token, here.counted, document_of_row, shard.segments), name, "documents")
        arrays |= sums.under(statistics.feature_sums(union, document_of_row, domain_of_document), name, "features")
        for ranking, top in contexts.rank(union).items():
            arrays |= sums.under(top, name, "contexts", ranking)
    return arrays


class _ContextRanker:
    """Top contexts of a shard's features; the texts' hashes are shared by all layers, variants and rankings."""

    def __init__(self, context: RunContext, shard: Shard) -> None:
        self.k = context.config.contexts
        self.token_ids = shard.token_ids
        window_of_row = shard.window_of_row(context.window_tokens)
        self.texts = statistics.text_hashes(
            self.token_ids, window_of_row, context.config.context_before, context.config.context_after
        )

    def rank(self, union: statistics.Union) -> dict[str, dict[str, np.ndarray]]:
        """Ranking -> the k best contexts of each feature; ``place`` is the row in the shard."""
        found = {}
        row, feature = union.row.numpy(), union.feature.numpy().astype(np.int32)
        for ranking, score in statistics.ranking_scores(union).items():
            takes_part = (score > 0).numpy()
            rows = row[takes_part]
            candidates = {
                "feature": feature[takes_part],
                "score": score.numpy()[takes_part].astype(np.float32),
                "place": rows,
                "text": self.texts[rows],
            }
            found[ranking] = statistics.top_contexts(candidates, self.k)
        return found


def _token_metrics(
    here: ShardLatents, variant: str, from_codes: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Every per-token quantity of the document_sums table, float64 [n_rows]."""
    from_residuals = dict(zip(RESIDUAL_METRICS, here.metrics[variant].T, strict=True))
    return {"n_tokens": torch.ones(here.n_rows, dtype=torch.float64), **from_residuals, **from_codes}


def _token_columns(per_token: Mapping[str, torch.Tensor], counted: torch.Tensor) -> dict[str, np.ndarray]:
    """Columns of the token_metrics table for the tokens that count; ``row`` in the shard."""
    columns = {name: per_token[name][counted].float().numpy() for name in ("cosine", "overlap", "l1_divergence")}
    l0 = {name: per_token[name][counted].int().numpy() for name in ("l0_base", "l0_variant")}
    return {"row": counted.nonzero().squeeze(1).numpy(), **columns, **l0}


def _document_sums(
    per_token: Mapping[str, torch.Tensor], counted: torch.Tensor, document_of_row: torch.Tensor, segments: np.ndarray
) -> dict[str, np.ndarray]:
    """Sums over each (document, segment) with tokens that count; ``document`` within the shard."""
    group = (document_of_row * len(SEGMENTS) + torch.from_numpy(segments))[counted]
    present, place = torch.unique(group, return_inverse=True)
    columns = {
        "document": (present // len(SEGMENTS)).numpy(),
        "segment": (present % len(SEGMENTS)).numpy(),
    }
    for name in DOCUMENT_SUMS:
        total = torch.zeros(len(present), dtype=torch.float64).index_add_(0, place, per_token[name][counted])
        columns[name] = total.numpy().astype(np.int64) if name in COUNT_SUMS else total.numpy()
    return columns


def _to_store(codes: SparseCodes) -> Codes:
    indptr = np.zeros(codes.n_rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(codes.row.numpy(), minlength=codes.n_rows), out=indptr[1:])
    return Codes(indptr, codes.feature.numpy(), codes.value.numpy())


