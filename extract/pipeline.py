"""A run, top to bottom: models, dictionaries, corpus, pilot, shards, merge, manifest.

The output is written to ``NAME.partial``; running the same command again goes on with the shards that are missing.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from extract import pilot as pilots
from extract.answers import write_answers
from extract.batches import Shard, make_batches, make_shards
from extract.config import RunConfig
from extract.context import RunContext
from extract.contexts import write_contexts
from extract.controls import ControlInputs
from extract.corpus import Corpus, tokenize
from extract.dictionaries import Dictionary, load_dictionaries, load_replicas
from extract.feature_tables import write_feature_stats, write_replicas
from extract.features import write_features
from extract.latents import read_residuals
from extract.layer_tables import write_layer_metrics
from extract.merge import Merger, write_documents
from extract.models import load_tokenizer, resolve_device, resolve_dtype
from extract.pilot import LayerPilot
from extract.places import Places
from extract.provenance import check_fingerprint, fingerprint, make_manifest
from extract.records import read_records
from extract.render import Renderer
from extract.shape import write_spectrum
from extract.shards import run_shard
from extract.sums import is_done
from extract.token_kl import write_token_kl
from extract.variants import ModelSet, variant_tokenizers
from extract.vocabulary import TokenTexts
from store.errors import UserError, first_line
from store.manifest import Manifest
from store.names import BASE
from store.writer import PILOT_FILE, StoreWriter, check_free, make_folder

DONORS_FILE = "donors.npz"


@dataclass(frozen=True)
class _Inputs:
    """Everything that a run reads, loaded and checked."""

    models: ModelSet
    tokenizer: PreTrainedTokenizerBase
    dictionaries: list[Dictionary]
    replicas: list[Dictionary]
    corpus: Corpus
    bos: int | None
    digests: dict[str, str]


def run(config: RunConfig, out: Path, say: Callable[[str], None] = print) -> Manifest:
    """Extract a store.

    Args:
        config: validated configuration.
        out: where the finished store will stand; must not exist.
        say: where progress in words goes.

    Raises:
        UserError: something about the input, the output or the disk that the user can mend. What was done so far stays
            in ``OUT.partial``, and the same command goes on from there.
    """
    check_free(out)
    make_folder(out.parent)
    inputs = _load(config, say)
    writer = StoreWriter(out)
    try:
        check_fingerprint(writer, inputs.digests)
        fixed = _pilot(config, inputs, writer, say)
        context = _context(config, inputs, fixed)
        shards = make_shards(inputs.corpus.documents, config.shard_tokens)
        _extract(context, shards, writer)
        write_token_kl(context, shards, writer, _bar)
        write_answers(config, writer)
        _merge(context, inputs, shards, writer)
        return writer.finish(make_manifest(context, inputs.corpus, inputs.digests))
    except (OSError, duckdb.Error) as error:
        raise UserError(
            f"The store could not be written to '{writer.partial}': {first_line(error)}. Nothing that was finished is "
            "lost: put that right and run the same command again."
        ) from error
    finally:
        writer.close()


def _load(config: RunConfig, say: Callable[[str], None]) -> _Inputs:
    device = resolve_device(config.device)
    torch.use_deterministic_algorithms(True, warn_only=True)
    say(f"Reading the corpus ({len(config.corpus)} sources) and its tokens")
    tokenizer = load_tokenizer(config.base)
    records = read_records(config.corpus)
    others = variant_tokenizers(config)
    renderer = Renderer.for_run(config.chat_template, [tokenizer, *others.values()])
    with _bar(config.tokens, "tokenising", "token") as bar:
        corpus = tokenize(records, tokenizer, renderer, config.tokens, config.document_tokens, others, bar.update)
    say(f"Loading the base and {len(config.variants)} variant(s) on {device}")
    models = ModelSet(config, device, resolve_dtype(config.dtype, device))
    dictionaries = load_dictionaries(config.saes, models.d_model, device)
    replicas = load_replicas(config.replicas, dictionaries, device)
    digests = fingerprint(config, corpus, tokenizer, models, dictionaries, replicas)
    return _Inputs(models, tokenizer, dictionaries, replicas, corpus, _bos(config, tokenizer, dictionaries), digests)


def _bos(config: RunConfig, tokenizer: PreTrainedTokenizerBase, dictionaries: list[Dictionary]) -> int | None:
    wanted = config.prepend_bos
    if wanted == "auto":
        wishes = {dictionary.prepend_bos for dictionary in dictionaries}
        if len(wishes) > 1:
            raise UserError("Some dictionaries were trained with BOS and some without; set prepend_bos to true or false.")
        wanted = wishes.pop()
    if not wanted:
        return None
    if tokenizer.bos_token_id is None:
        raise UserError("The dictionaries want BOS before each window, but the tokenizer has none; set prepend_bos: false.")
    return tokenizer.bos_token_id


def _pilot(
    config: RunConfig, inputs: _Inputs, writer: StoreWriter, say: Callable[[str], None]
) -> dict[int, LayerPilot]:
    """Fix what the main pass needs, or read it back when the run goes on; planted variants are planted here."""
    path, donors = writer.partial / PILOT_FILE, writer.work / DONORS_FILE
    layers = [dictionary.layer for dictionary in inputs.dictionaries]
    if path.is_file() and donors.is_file() and any(writer.work.glob("sums-*.npz")):
        say("Going on with an interrupted run: the pilot is read back")
        fixed = pilots.load(path, donors, layers, list(config.variants))
        plant_variants(inputs.models, inputs.dictionaries, fixed)
        return fixed
    window_tokens = config.context_length - (inputs.bos is not None)
    shard = Shard(0, 0, tuple(pilots.pilot_documents(inputs.corpus, config, window_tokens)))
    changed = list(config.variants) if set(config.controls) - {"rerun"} else []
    with _bar(shard.n_tokens * (1 + len(changed)), "pilot", "token") as bar:
        base = _pilot_residuals(config, inputs, shard, BASE, bar)
        fixed = {
            dictionary.layer: pilots.fix_layer(dictionary, base[dictionary.layer], config)
            for dictionary in inputs.dictionaries
        }
        plant_variants(inputs.models, inputs.dictionaries, fixed)
        places = Places.of(shard, inputs.corpus.domains, window_tokens)
        changes: dict[int, dict[str, ControlInputs]] = {layer: {} for layer in layers}
        for variant in changed:
            residuals = _pilot_residuals(config, inputs, shard, variant, bar)
            for layer in layers:
                changes[layer][variant] = pilots.fix_changes(
                    base[layer], residuals.pop(layer), places, fixed[layer], config
                )
    fixed = {layer: replace(pilot, changes=changes[layer]) for layer, pilot in fixed.items()}
    pilots.save(path, fixed)
    pilots.save_donors(donors, fixed)
    for layer, pilot in fixed.items():
        say(f"  layer {layer}: self-test fvu {pilot.fvu:.3f}, l0 {pilot.l0:.1f}, median norm {pilot.median_norm:,.0f}")
    return fixed


def _pilot_residuals(config: RunConfig, inputs: _Inputs, shard: Shard, name: str, bar: tqdm) -> dict[int, torch.Tensor]:
    """Layer -> float32 [n_tokens, d_model], one model's residuals of the pilot in the order of its rows."""
    layers = [dictionary.layer for dictionary in inputs.dictionaries]
    pad = inputs.tokenizer.pad_token_id or 0
    gathered: dict[int, torch.Tensor] = {}
    for batch in make_batches(shard, config.context_length, config.batch_tokens, inputs.bos, pad):
        rows, residuals = read_residuals(inputs.models, [name], batch, layers)
        for layer, residual in residuals[name].items():
            gathered.setdefault(layer, residual.new_empty(shard.n_tokens, residual.shape[1]))[rows] = residual
        bar.update(len(rows))
    return gathered


def plant_variants(models: ModelSet, dictionaries: list[Dictionary], fixed: Mapping[int, LayerPilot]) -> None:
    """Give the planted variants of a configuration their directions, which depend on the pilot.

    Raises:
        UserError: one edits a feature that no dictionary has.
    """
    by_layer = {dictionary.layer: dictionary for dictionary in dictionaries}
    directions, means = {}, {}
    for name, variant in models.config.variants.items():
        edit = variant.planted
        if edit is None:
            continue
        if edit.layer not in by_layer or not 0 <= edit.feature < by_layer[edit.layer].d_sae:
            raise UserError(
                f"The planted variant '{name}' edits feature {edit.feature} of layer {edit.layer}, which no dictionary of the "
                "run has."
            )
        dictionary, pilot = by_layer[edit.layer], fixed[edit.layer]
        unit = dictionary.decoder[edit.feature] / dictionary.decoder_norm[edit.feature]
        directions[name] = unit if edit.project_out else unit * (edit.strength * pilot.median_norm)
        means[name] = pilot.mean
    models.plant(directions, means)


def _context(config: RunConfig, inputs: _Inputs, fixed: dict[int, LayerPilot]) -> RunContext:
    pad = inputs.tokenizer.pad_token_id or 0
    return RunContext(
        config, inputs.models, inputs.dictionaries, inputs.replicas, fixed, inputs.bos, pad, inputs.corpus.domains
    )


def _extract(context: RunContext, shards: list[Shard], writer: StoreWriter) -> None:
    with _bar(sum(shard.n_tokens for shard in shards), "extracting", "token") as bar:
        for shard in shards:
            if is_done(writer, shard):
                bar.update(shard.n_tokens)
            else:
                run_shard(context, shard, writer, bar.update)


def _merge(context: RunContext, inputs: _Inputs, shards: list[Shard], writer: StoreWriter) -> None:
    write_documents(shards, context, writer)
    steps = len(context.dictionaries) * len(context.config.variants) * (1 + len(shards))
    merger = Merger(context, shards, writer)
    texts = TokenTexts(inputs.tokenizer)
    texts.add(np.concatenate([shard.token_ids for shard in shards]))
    with closing(merger.sums):
        with _bar(steps, "merging", "step") as bar:
            for dictionary in context.dictionaries:
                _merge_layer(merger, dictionary, bar.update)
        with _bar(sum(dictionary.d_sae for dictionary in context.dictionaries), "output tokens", "feature") as bar:
            write_features(merger, texts, bar.update)
    writer.load("vocabulary", pd.DataFrame({"token_id": list(texts), "token": list(texts.values())}))


def _merge_layer(merger: Merger, dictionary: Dictionary, progress: Callable[[int], None]) -> None:
    """Every table that belongs to one layer, but for features."""
    merger.write_plain(dictionary)
    for variant in merger.context.config.variants:
        shape = write_spectrum(merger, dictionary, variant)
        gate = write_layer_metrics(merger, dictionary, variant, shape)
        write_feature_stats(merger, dictionary, variant, gate)
        progress(1)
        write_contexts(merger, dictionary, variant, progress)
    for replica in merger.context.replicas:
        if replica.layer == dictionary.layer:
            write_replicas(merger, dictionary, replica)


def _bar(total: int, what: str, unit: str) -> tqdm:
    return tqdm(total=total, desc=f"{what:>14}", unit=unit, unit_scale=True, dynamic_ncols=True)
