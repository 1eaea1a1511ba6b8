"""The phase ``pilot`` of a run: what is read for it, made of it, kept, and read back where it is there already."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from extract.config import RunConfig
from extract.corpus.batches import Shard, make_batches
from extract.corpus.token_index import TokenIndex
from extract.models.residuals import ResidualReader
from extract.models.sites import Site
from extract.models.twins import variant_of
from extract.pilot import layer_pilot, twin_sizes
from extract.pilot.controls import BORROWING, ControlInputs
from extract.pilot.layer_pilot import LayerPilot, Pilot
from extract.pilot.twin_sizes import TwinSize
from extract.progress import progress_bar
from extract.run.inputs import Inputs, plant_variants
from extract.run.provenance import fingerprint_hash
from extract.saes.dictionary_set import sites_of
from store.format.writer import StoreWriter
from store.names import BASE
from store.numbers import percent, significant


def fix_pilot(
    config: RunConfig, inputs: Inputs, reader: ResidualReader, writer: StoreWriter, say: Callable[[str], None]
) -> Pilot:
    """Fix what the main pass needs and keep it, or read it back when the run is resumed; the models are then ready.

    Raises:
        UserError: a dictionary fails its self-test, or a residual is not finite.
        OSError: the disk is full.
    """
    if layer_pilot.is_saved(writer, fingerprint_hash(inputs.digests)):
        say("Resuming an interrupted run: the pilot is read back")
        return read_back(config, inputs, writer)
    pilot = _PilotPass(config, inputs, reader).run()
    layer_pilot.save(writer, pilot, fingerprint_hash(inputs.digests))
    for layer, fixed in pilot.layers.items():
        say(f"  layer {layer}: self-test fvu {fixed.fvu:.3f}, l0 {fixed.l0:.1f}, median norm {fixed.median_norm:,.0f}")
    for name, size in pilot.twins.items():
        say(f"  {name}: {significant(size.factor)} × the permuted change, {percent(size.ratio)} of the variant's size")
    for note in twin_sizes.notes(pilot.twins):
        say(f"Note: {note}")
    return pilot


def read_back(config: RunConfig, inputs: Inputs, writer: StoreWriter) -> Pilot:
    """The pilot that was kept; planted variants are planted, and twins have their sizes."""
    layers = [dictionary.layer for dictionary in inputs.dictionaries]
    pilot = layer_pilot.load(writer, layers, list(config.variants), inputs.models.twins)
    plant_variants(inputs.models, inputs.dictionaries, pilot.layers)
    inputs.models.set_twin_factors({name: size.factor for name, size in pilot.twins.items()})
    return pilot


class _PilotPass:
    """The pilot of a run, that is not there yet."""

    def __init__(self, config: RunConfig, inputs: Inputs, reader: ResidualReader) -> None:
        self.config, self.inputs, self.reader = config, inputs, reader
        self.window_tokens = config.context_length - (inputs.bos is not None)
        self.shard = Shard(0, 0, tuple(layer_pilot.pilot_documents(inputs.corpus, config, self.window_tokens)))

    def run(self) -> Pilot:
        """Everything, in its order: planted variants need the base's numbers, and twins are then made as large as variants."""
        changed = list(self.config.variants) if BORROWING & set(self.config.controls) else []
        with progress_bar(self.shard.n_tokens * (1 + len(changed)), "pilot", "token") as bar:
            base = self._residuals(self.shard, BASE, bar.update)
            fixed = {
                dictionary.layer: layer_pilot.fix_layer(dictionary, base[dictionary.site], base[dictionary.reads], self.config)
                for dictionary in self.inputs.dictionaries
            }
            plant_variants(self.inputs.models, self.inputs.dictionaries, fixed)
            changes = self._changes(base, fixed, changed, bar.update)
        del base
        layers = {
            dictionary.layer: replace(
                fixed[dictionary.layer],
                changes=changes[dictionary.site],
                seen_changes=changes[dictionary.reads] if dictionary.is_transcoder else {},
            )
            for dictionary in self.inputs.dictionaries
        }
        return Pilot(layers, self._sizes(fixed))

    def _changes(
        self,
        base: Mapping[Site, torch.Tensor],
        fixed: Mapping[int, LayerPilot],
        variants: list[str],
        progress: Callable[[int], object],
    ) -> dict[Site, dict[str, ControlInputs]]:
        """Site -> variant -> what controls borrow of its change."""
        token_index = TokenIndex.of(self.shard, self.inputs.corpus.domains, self.window_tokens)
        changes: dict[Site, dict[str, ControlInputs]] = {site: {} for site in base}
        counts = {
            dictionary.layer: base[dictionary.site].norm(dim=1) <= fixed[dictionary.layer].sink_norm(self.config)
            for dictionary in self.inputs.dictionaries
        }
        for variant in variants:
            residuals = self._residuals(self.shard, variant, progress)
            for site, of_site in changes.items():
                counted = counts[site.layer].nonzero().squeeze(1)
                of_site[variant] = layer_pilot.fix_changes(base[site], residuals.pop(site), counted, token_index, self.config)
        return changes

    def _sizes(self, fixed: Mapping[int, LayerPilot]) -> dict[str, TwinSize]:
        """Each twin's size, on a sample; the twins are left with it."""
        models = self.inputs.models
        sizes: dict[str, TwinSize] = {}
        if not models.twins:
            return sizes
        sample = Shard(0, 0, tuple(twin_sizes.sample(self.shard.documents)))
        base = self._residuals(sample, BASE)

        def shifts(name: str) -> dict[int, float]:
            read = self._residuals(sample, name)
            sites = {dictionary.layer: dictionary.site for dictionary in self.inputs.dictionaries}
            return {
                layer: twin_sizes.relative_shift(base[sites[layer]], read[sites[layer]], pilot.sink_norm(self.config))
                for layer, pilot in fixed.items()
            }

        def at(name: str, factor: float) -> dict[int, float]:
            models.set_twin_factors({name: factor})
            return shifts(name)

        with progress_bar(len(models.twins), "sizes of twins", "twin") as bar:
            for variant in dict.fromkeys(map(variant_of, models.twins)):
                wanted = shifts(variant)
                for name in (name for name in models.twins if variant_of(name) == variant):
                    sizes[name] = twin_sizes.find_size(lambda factor, name=name: at(name, factor), wanted)
                    models.set_twin_factors({name: sizes[name].factor})
                    bar.update(1)
        return sizes

    def _residuals(
        self, shard: Shard, name: str, progress: Callable[[int], object] = lambda _tokens: None
    ) -> dict[Site, torch.Tensor]:
        """Site -> float32 [n_tokens, width], one model's residuals of the pilot, as its dictionary reads them, by row."""
        config, inputs = self.config, self.inputs
        readers = {dictionary.layer: dictionary for dictionary in inputs.dictionaries}
        gathered: dict[Site, torch.Tensor] = {}
        for batch in make_batches(shard, config.context_length, config.batch_tokens, inputs.bos, inputs.pad):
            rows, residuals = self.reader.read([name], batch, sites_of(inputs.dictionaries))
            for site, residual in residuals[name].items():
                read = readers[site.layer].prepare(residual, site)
                gathered.setdefault(site, read.new_empty(shard.n_tokens, read.shape[1]))[rows] = read
            progress(len(rows))
        return gathered
