"""Batches to layers: each model's residuals compared with the base's, and what comes of it given to the shard's layers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import torch

from extract.config import twin_model
from extract.device import Fetch, to_device
from extract.measure.layer_batch import LayerBatch, LayerEncoder, LayerResult, Rerun, tokens_that_count
from extract.measure.run_context import RunContext
from extract.measure.shard_layer import ShardLayer
from extract.measure.sum_tables import twins_of
from extract.models.batch_reader import BatchResiduals
from extract.models.sites import Site
from extract.pilot.controls import Place, controlled
from extract.saes.dictionary import Dictionary
from store.names import BASE, OBSERVED


def initial_capacity(context: RunContext) -> dict[int, int] | None:
    """Layer -> codes that a token has capacity for at first, so that the host need not wait for a GPU to count them; on a CPU,
    where there is nothing to wait for, None."""
    if torch.device(context.models.device).type == "cpu":
        return None
    return {layer: 32 + 2 * math.ceil(pilot.l0) for layer, pilot in context.pilots.items()}


class LayerComparison:
    """Compares the models on a shard's batches, layer by layer, and adds what comes of it to the shard's layers.

    With ``capacity`` all layers of a batch are begun, then brought to the host as one copy, and looked at when the next batch
    has been begun, so that a GPU always has something to do. Without, it goes layer by layer, which needs less memory.

    Args:
        capacity: layer -> codes that a token has capacity for; grows where a batch needs more.
    """

    def __init__(self, context: RunContext, layers: Mapping[int, ShardLayer], capacity: dict[int, int] | None) -> None:
        self.context, self.layers, self.capacity = context, layers, capacity
        self.replicas = {replica.layer: replica for replica in context.replicas}
        self._finish: Callable[[], None] = lambda: None

    def add(self, batch: BatchResiduals) -> None:
        """Begin a batch, and finish the one before it."""
        config, pilots = self.context.config, self.context.pilots
        sink_norms = {layer: pilots[layer].sink_norm(config) for layer in self.context.layers}
        base = {d.layer: d.prepare(batch.residuals[BASE][d.site]) for d in self.context.dictionaries}
        counts = tokens_that_count(base, sink_norms)
        if self.capacity is None:
            for dictionary in self.context.dictionaries:
                result = self.compare(dictionary, batch, counts[dictionary.layer], None)
                for of_model in batch.residuals.values():
                    for site in {dictionary.site, dictionary.reads}:
                        del of_model[site]
                self._add_to_shard(result, Fetch(result.tensors()).result())
            return
        begun = [
            self.compare(dictionary, batch, counts[dictionary.layer], self.capacity[dictionary.layer])
            for dictionary in self.context.dictionaries
        ]
        fetch = Fetch([tensor for result in begun for tensor in result.tensors()])
        self.finish()
        self._finish = lambda: self._finish_batch(batch, counts, begun, fetch)

    def finish(self) -> None:
        """Finish what was begun last."""
        finish, self._finish = self._finish, lambda: None
        finish()

    def _finish_batch(
        self, batch: BatchResiduals, counts: Mapping[int, torch.Tensor], begun: Sequence[LayerResult], fetch: Fetch
    ) -> None:
        on_host = iter(fetch.result())
        for result in begun:
            dictionary, capacity = result.base.encoder.dictionary, result.base.encoder.capacity
            needed = self._add_to_shard(result, list(islice(on_host, len(result.tensors()))))
            if needed > capacity:
                result = self.compare(dictionary, batch, counts[dictionary.layer], needed)
                self._add_to_shard(result, Fetch(result.tensors()).result())
                self.capacity[dictionary.layer] = max(self.capacity[dictionary.layer], needed + needed // 4)

    def _add_to_shard(self, result: LayerResult, tensors: Sequence[torch.Tensor]) -> int:
        """Add it to its layer, but where it needs more capacity than it had; returns what it needs, in codes a token.

        Args:
            tensors: its own, on the host.
        """
        host, encoder = result.on_host(tensors), result.base.encoder
        if encoder.capacity is None or host.needed <= encoder.capacity:
            self.layers[encoder.dictionary.layer].add(result, host)
        return host.needed

    def compare(self, dictionary: Dictionary, batch: BatchResiduals, counts: torch.Tensor, capacity: int | None) -> LayerResult:
        """One layer of a batch: the base, compared with every variant, and every control and twin of it.

        Args:
            counts: bool [tokens of the batch], on the CPU.
            capacity: as of :class:`extract.measure.layer_batch.LayerEncoder`.
        """
        config, layer, shard_layer = self.context.config, dictionary.layer, self.layers[dictionary.layer]
        encoder = LayerEncoder(dictionary, self.context.pilots[layer], shard_layer.n_cells, capacity)
        counted = counts.nonzero().squeeze(1)
        on_device = to_device(counted, batch.residuals[BASE][dictionary.site].device)

        def at(site: Site) -> dict[str, torch.Tensor]:
            return {name: of_model[site].index_select(0, on_device) for name, of_model in batch.residuals.items()}

        raw = at(dictionary.reads)
        seen = {name: dictionary.prepare(residual, dictionary.reads) for name, residual in raw.items()}
        own = seen
        if dictionary.is_transcoder:
            own = {name: dictionary.prepare(residual) for name, residual in at(dictionary.site).items()}
        rows = batch.rows[counted]
        token_index = shard_layer.token_index.at(rows)
        base, base_codes = encoder.base(rows, token_index.cell, own[BASE], seen[BASE])
        counterparts = {}
        for variant in config.variants:
            counterparts[variant, OBSERVED] = base.compare(own[variant], seen[variant])
            place = Place(token_index, layer, variant, dictionary.centred)
            for control in config.controls:
                if control != "rerun":
                    pilot = encoder.pilot
                    put = controlled(control, own[BASE], own[variant] - own[BASE], place, pilot.changes.get(variant))
                    shown = put
                    if dictionary.is_transcoder:
                        there = replace(place, centred=dictionary.centres(dictionary.reads))
                        change = seen[variant] - seen[BASE]
                        shown = controlled(control, seen[BASE], change, there, pilot.seen_changes.get(variant))
                    counterparts[variant, control] = base.compare(put, shown)
        for variant, twin in twins_of(config, self.context.models.twins):
            counterparts[variant, twin] = base.compare(*(of[twin_model(variant, twin)] for of in (own, seen)))
        rerun = None
        if batch.again is not None:
            again = [dictionary.prepare(batch.again[1][site], site) for site in (dictionary.site, dictionary.reads)]
            rerun, second = _rerun(base, batch.again[0], again)
            counterparts[BASE, "rerun"] = rerun.base.compare(*second)
        replica = self.replicas.get(layer)
        of_replica = {}
        if replica:
            read = {name: replica.prepare(raw[name], replica.reads) for name in self.context.models.names}
            of_replica = {name: encoder.encode(residual, replica)[0] for name, residual in read.items()}
        variants = {variant: own[variant] for variant in config.variants}
        return LayerResult(len(counts) - len(counted), base, base_codes, variants, counterparts, rerun, replica, of_replica)


def _rerun(base: LayerBatch, rows: torch.Tensor, again: Sequence[torch.Tensor]) -> tuple[Rerun, list[torch.Tensor]]:
    """What the base read a second time, beside what it read first.

    Args:
        rows: int64 [n] on the CPU.
        again: residuals, and what is read of them, float32 [n, width] each.

    Returns:
        The tokens that count, and theirs of ``again``.
    """
    kept = torch.isin(base.rows, rows).nonzero().squeeze(1)
    second = torch.isin(rows, base.rows).nonzero().squeeze(1)
    return Rerun(kept, base.only(kept)), [of.index_select(0, to_device(second, of.device)) for of in again]
