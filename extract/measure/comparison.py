"""Batches to layers: each model's residuals compared with the base's, and what comes of it given to the shard's layers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import torch

from extract.device import Fetch, to_device
from extract.measure.layer_batch import Again, LayerBatch, LayerFound, encode, tokens_that_count
from extract.measure.run_context import RunContext
from extract.measure.shard_layer import ShardLayer
from extract.models.batch_reader import BatchResiduals
from extract.pilot.controls import controlled
from extract.saes.dictionary import Dictionary
from store.names import BASE, OBSERVED


def rooms(context: RunContext) -> dict[int, int] | None:
    """Layer -> codes that a token has room for at first, so that the host need not wait for a GPU to count them; on a CPU,
    where there is nothing to wait for, None."""
    if torch.device(context.models.device).type == "cpu":
        return None
    return {layer: 32 + 2 * math.ceil(pilot.l0) for layer, pilot in context.pilots.items()}


class Taker:
    """Takes batches: compares models layer by layer, and lets each layer of the shard have what comes of it.

    With ``rooms`` all layers of a batch are begun, then brought to the host as one copy, and looked at when the next batch has
    been begun, so that a GPU always has something to do. Without, it goes layer by layer, which needs less memory.

    Args:
        rooms: layer -> codes that a token has room for; grows where a batch needs more.
    """

    def __init__(self, context: RunContext, layers: Mapping[int, ShardLayer], rooms: dict[int, int] | None) -> None:
        self.context, self.layers, self.rooms = context, layers, rooms
        self.replicas = {replica.layer: replica for replica in context.replicas}
        self._finish: Callable[[], None] = lambda: None

    def take(self, batch: BatchResiduals) -> None:
        """Begin a batch, and finish the one before it."""
        config, pilots = self.context.config, self.context.pilots
        sink_norms = {layer: pilots[layer].sink_norm(config) for layer in self.context.layers}
        base = {d.layer: d.prepare(batch.residuals[BASE][d.layer]) for d in self.context.dictionaries}
        counts = tokens_that_count(base, sink_norms)
        if self.rooms is None:
            for dictionary in self.context.dictionaries:
                found = self.compare(dictionary, batch, counts[dictionary.layer], None)
                for of_model in batch.residuals.values():
                    del of_model[dictionary.layer]
                self._add(found, Fetch(found.tensors()).result())
            return
        begun = [
            self.compare(dictionary, batch, counts[dictionary.layer], self.rooms[dictionary.layer])
            for dictionary in self.context.dictionaries
        ]
        fetch = Fetch([tensor for found in begun for tensor in found.tensors()])
        self.finish()
        self._finish = lambda: self._take_all(batch, counts, begun, fetch)

    def finish(self) -> None:
        """Finish what was begun last."""
        finish, self._finish = self._finish, lambda: None
        finish()

    def _take_all(
        self, batch: BatchResiduals, counts: Mapping[int, torch.Tensor], begun: Sequence[LayerFound], fetch: Fetch
    ) -> None:
        brought = iter(fetch.result())
        for found in begun:
            layer = found.base.dictionary.layer
            needed = self._add(found, list(islice(brought, len(found.tensors()))))
            if needed > found.base.room:
                again = self.compare(found.base.dictionary, batch, counts[layer], needed)
                self._add(again, Fetch(again.tensors()).result())
                self.rooms[layer] = max(self.rooms[layer], needed + needed // 4)

    def _add(self, found: LayerFound, brought: Sequence[torch.Tensor]) -> int:
        """Let its layer have it; returns the room that it needs, and does nothing where that is more than it had."""
        host = found.on_host(brought)
        if found.base.room is None or host.room <= found.base.room:
            self.layers[found.base.dictionary.layer].add(found, host)
        return host.room

    def compare(
        self, dictionary: Dictionary, batch: BatchResiduals, counts: torch.Tensor, room: int | None
    ) -> LayerFound:
        """One layer of a batch: the base, beside it every variant and every control of it.

        Args:
            counts: bool [tokens of the batch], on the CPU.
            room: as of :class:`extract.measure.layer_batch.LayerBatch`.
        """
        config, layer, here = self.context.config, dictionary.layer, self.layers[dictionary.layer]
        pilot = self.context.pilots[layer]
        counted = counts.nonzero().squeeze(1)
        place = to_device(counted, batch.residuals[BASE][layer].device)
        raw = {name: of_model[layer].index_select(0, place) for name, of_model in batch.residuals.items()}
        own = {name: dictionary.prepare(residual) for name, residual in raw.items()}
        rows = batch.rows[counted]
        base, base_codes = LayerBatch.of(dictionary, pilot, rows, own[BASE], here.places, here.n_cells, room)
        places = here.places.at(rows)
        sides = {}
        for variant in config.variants:
            sides[variant, OBSERVED] = base.compare(own[variant])
            delta = own[variant] - base.residuals
            for control in config.controls:
                if control != "rerun":
                    inputs = replace(pilot.changes[variant], centred=dictionary.centred)
                    instead = controlled(control, base.residuals, delta, places, layer, variant, inputs)
                    sides[variant, control] = base.compare(instead)
        again = None
        if batch.again is not None:
            again, second = _again(base, batch.again[0], dictionary.prepare(batch.again[1][layer]))
            sides[BASE, "rerun"] = again.base.compare(second)
        replica = self.replicas.get(layer)
        replicated = {name: encode(replica, replica.prepare(h), room)[0] for name, h in raw.items()} if replica else {}
        residuals = {variant: own[variant] for variant in config.variants}
        return LayerFound(len(counts) - len(counted), base, base_codes, residuals, sides, again, replica, replicated)


def _again(base: LayerBatch, rows: torch.Tensor, residuals: torch.Tensor) -> tuple[Again, torch.Tensor]:
    """What the base read a second time, beside what it read first.

    Args:
        rows: int64 [n] on the CPU.
        residuals: float32 [n, d_model].

    Returns:
        The tokens that count, and their second residuals, float32 [of those, d_model].
    """
    kept = torch.isin(base.rows, rows).nonzero().squeeze(1)
    second = torch.isin(rows, base.rows).nonzero().squeeze(1)
    return Again(kept, base.only(kept)), residuals.index_select(0, to_device(second, residuals.device))
