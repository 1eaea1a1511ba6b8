"""A run, top to bottom: models, dictionaries, corpus, pilot, shards, merge, manifest.

The output is written to ``NAME.partial``; running the same command again resumes with the shards that are missing.
"""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from extract.config import RunConfig
from extract.corpus.answers import write_answers
from extract.corpus.batches import Shard, make_shards
from extract.corpus.token_texts import TokenTexts
from extract.measure.run_context import RunContext
from extract.measure.shard import run_shards
from extract.measure.sums_file import is_done
from extract.measure.token_kl import write_token_kl
from extract.models.residuals import ResidualReader
from extract.progress import Phases, progress_bar
from extract.run import pilot_pass
from extract.run.inputs import Inputs, load_inputs, run_context
from extract.run.provenance import check_fingerprint, fingerprint_hash, make_manifest
from extract.run.workers import ShardWorker, run_in_processes
from extract.saes.dictionary import Dictionary
from extract.tables.contexts import write_contexts
from extract.tables.feature_stats import LayerFeatures, write_replicas
from extract.tables.features import write_features
from extract.tables.layer_metrics import LayerRows
from extract.tables.merged_sums import MergedSums, write_documents
from extract.tables.spectrum import write_spectrum
from store.errors import UserError, first_line, reason
from store.format.manifest import Manifest, read_manifest
from store.format.place_lock import claimed
from store.format.writer import WORK_FOLDER, StoreWriter
from store.read.verification import verify


@dataclass
class Run:
    """A run under way: what its phases share.

    Attributes:
        reader: what residuals are read with.
        times: where the time goes.
        context: what the shards share; there from the phase ``pilot`` on.
    """

    config: RunConfig
    inputs: Inputs
    reader: ResidualReader
    writer: StoreWriter
    say: Callable[[str], None]
    workers: int
    engine: str
    times: Phases
    shards: list[Shard]
    context: RunContext | None = None


def run(
    config: RunConfig,
    out: Path,
    say: Callable[[str], None] = print,
    workers: int = 1,
    engine: str = "local",
    phases: Phases | None = None,
) -> Manifest:
    """Extract a store.

    Args:
        config: validated configuration.
        out: where the finished store will stand; must not exist.
        say: where progress in words goes.
        workers: processes that share the shards; the content is the same for any number.
        engine: 'local': they are processes of this machine; 'ray': of a Ray cluster.
        phases: filled with where the time went.

    Raises:
        UserError: something about the input, the output or the disk that the user can mend. What was done so far stays
            in ``OUT.partial``, and the same command resumes from there.
    """
    with claimed(out):
        return _run(config, out, say, workers, engine, Phases() if phases is None else phases)


def _run(config: RunConfig, out: Path, say: Callable[[str], None], workers: int, engine: str, phases: Phases) -> Manifest:
    """The same where no other process makes that store."""
    with phases.time("loading"):
        inputs = load_inputs(config, say)
    writer = StoreWriter(out)
    try:
        if (finished := _finished_before(writer, inputs)) is not None:
            say("The run before was ended just before its last step, which is done now")
            return finished
        check_fingerprint(writer, inputs.digests)
        shards = make_shards(inputs.corpus.documents, config.shard_tokens)
        state = Run(config, inputs, ResidualReader(inputs.models), writer, say, workers, engine, phases, shards)
        for phase in PHASES.values():
            phase(state)
        with phases.time("finishing"):
            manifest = writer.finish(make_manifest(state.context, inputs.corpus, inputs.digests, inputs.notes))
        say(phases.in_words())
        return manifest
    except (OSError, duckdb.Error) as error:
        why = reason(error) if isinstance(error, OSError) else first_line(error)
        raise UserError(
            f"The store could not be written to '{writer.partial}': {why}. Nothing that was finished is lost: the same command "
            "goes on once that is put right."
        ) from error
    finally:
        writer.close()


def _finished_before(writer: StoreWriter, inputs: Inputs) -> Manifest | None:
    """Put a store in its place that was complete, but for that, when its run was ended; None where there is none such.

    Raises:
        UserError: it is there, and of another run.
    """
    if not writer.has_manifest():
        return None
    try:
        manifest = read_manifest(writer.partial)
        sound = not verify(writer.partial, beside=(WORK_FOLDER,))
    except UserError:
        sound = False
    if not sound:  # a power cut may do that
        writer.drop_manifest()
        return None
    if manifest.fingerprint != fingerprint_hash(inputs.digests):
        raise UserError(f"'{writer.partial}' holds a finished run of other input; move it, or remove it to start afresh.")
    writer.put_in_place()
    return manifest


def fix_pilot(run: Run) -> None:
    """The small first pass, which fixes what all shards share."""
    with run.times.time("pilot"):
        pilot = pilot_pass.fix_pilot(run.config, run.inputs, run.reader, run.writer, run.say)
    run.context = run_context(run.config, run.inputs, pilot, run.writer, run.reader)


def extract_shards(run: Run) -> None:
    """The shards that are not there yet, here or in other processes."""
    writer, context, shards = run.writer, run.context, run.shards
    for leftover in writer.work.glob("residuals-*"):
        shutil.rmtree(leftover)
    n_tokens = sum(shard.n_tokens for shard in shards)
    with run.times.time("shards"), progress_bar(n_tokens, "extracting", "token") as bar:
        todo = [shard for shard in shards if not is_done(writer, shard, context.seal)]
        bar.update(n_tokens - sum(shard.n_tokens for shard in todo))
        workers = min(run.workers, len(todo))
        if run.engine == "ray" and todo:
            from extract.run.ray_engine import run_on_ray  # an optional dependency

            run_on_ray(context.config, writer, todo, workers, bar.update)
        elif workers > 1:
            make = partial(ShardWorker, context.config, writer.folder)
            run_in_processes(make, {shard.index: shard.n_tokens for shard in todo}, workers, bar.update)
        else:
            run_shards(context, todo, writer, bar.update)


def compare_predictions(run: Run) -> None:
    """The pass over next-token predictions, where the configuration asks for it."""
    if run.config.token_kl:
        with run.times.time("predictions"):
            write_token_kl(run.context, run.shards, run.writer)


def add_answers(run: Run) -> None:
    """The file of answers to fixed prompts, where there is one."""
    write_answers(run.config, run.writer)


def merge_shards(run: Run) -> None:
    """The shards' sums and contexts, as the store's tables."""
    context, shards, writer = run.context, run.shards, run.writer
    write_documents(shards, context, writer)
    steps = len(context.dictionaries) * len(context.config.variants) * (1 + len(shards))
    merged = MergedSums(context, shards, writer)
    texts = TokenTexts(run.inputs.tokenizer)
    texts.add(np.concatenate([shard.token_ids for shard in shards]))
    with closing(merged.sums):
        with run.times.time("merging"), progress_bar(steps, "merging", "step") as bar:
            for dictionary in context.dictionaries:
                _merge_layer(merged, dictionary, bar.update)
        n_features = sum(dictionary.d_sae for dictionary in context.dictionaries)
        with run.times.time("output tokens"), progress_bar(n_features, "output tokens", "feature") as bar:
            write_features(merged, texts, bar.update)
    writer.load("vocabulary", pd.DataFrame({"token_id": list(texts), "token": list(texts.values())}))


PHASES: dict[str, Callable[[Run], None]] = {
    "pilot": fix_pilot,
    "shards": extract_shards,
    "predictions": compare_predictions,
    "answers": add_answers,
    "merging": merge_shards,
}
"""The phases of a run, in their order. What one has finished is kept, so that a run may be ended before any of them."""


def _merge_layer(merged: MergedSums, dictionary: Dictionary, progress: Callable[[int], None]) -> None:
    """Every table that belongs to one layer, but for features."""
    merged.write_plain(dictionary)
    layer_rows = {variant: LayerRows(merged, dictionary, variant) for variant in merged.context.config.variants}
    sizes = {(variant, control): size for variant, rows in layer_rows.items() for control, size in rows.sizes.items()}
    features = LayerFeatures(merged, dictionary, {variant: rows.gate for variant, rows in layer_rows.items()}, sizes)
    features.write()
    for variant, rows in layer_rows.items():
        rows.write(write_spectrum(merged, dictionary, variant), features.counts(variant))
        progress(1)
        write_contexts(merged, dictionary, variant, progress)
    for replica in merged.context.replicas:
        if replica.layer == dictionary.layer:
            write_replicas(merged, dictionary, replica)
