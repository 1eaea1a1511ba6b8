"""The pass over contributions, top to bottom: sample, batches, tables, one database beside the store.

What is not finished stands in ``NAME.contributions.duckdb.partial``; the same command goes on with what is missing.
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from extract.config import RunConfig, groups, other_recipes, twins
from extract.contributions.batch_files import APART, READ_ONLY, Batches, BatchWorker
from extract.contributions.curves import curves
from extract.contributions.merged import MergedFiles
from extract.contributions.sample import Sample
from extract.contributions.scope import Scope
from extract.contributions.tables import Group, Load, Tables
from extract.contributions.words import Words, random_directions
from extract.models.loading import load_tokenizer
from extract.models.twins import variant_of
from extract.progress import progress_bar
from extract.run.workers import run_in_processes
from store import files
from store.errors import UserError, reason
from store.format.additions import addition_path, write_contributions
from store.format.place_lock import alone
from store.read.store import Store

TITLES = {READ_ONLY: "likelihoods", APART: "contributions"}


def add_contributions(store: Store, config: RunConfig, scope: Scope, workers: int, say: Callable[[str], None] = print) -> Path:
    """Measure contributions for a finished store, and put them beside it.

    Args:
        config: the configuration that made the store.
        workers: processes that share the work, each with all models; the content is the same for any number.

    Returns:
        The database that was written.

    Raises:
        UserError: a model or dictionary is missing, or another than the store was made with; something stands there already,
            or is being made; the disk is full. What was measured is kept, and the same command goes on from there.
    """
    place = addition_path(store.path)
    with alone(place):
        if place.exists():
            raise UserError(f"'{place}' exists already; remove it to measure again.")
        files.check_writable(place)
        work = files.partial_of(place)
        try:
            work.mkdir(exist_ok=True)
            say(f"Loading the base and {len(store.variants)} variant(s), with {scope.twins} twin(s) of each recipe")
            batches = Batches(store, config, scope, work)
            _measure(batches, store, config, scope, work, workers)
            store.snapshot.check()
            files.put_in_place(_write(store, config, scope, batches, work), place)
        except UserError:
            with suppress(OSError):
                work.rmdir()  # where nothing was measured
            raise
        except OSError as error:
            raise UserError(
                f"The contributions could not be written to '{work}': {reason(error)}. Nothing that was finished is lost: the "
                "same command goes on once that is put right."
            ) from error
        shutil.rmtree(work)
    return place


def _measure(batches: Batches, store: Store, config: RunConfig, scope: Scope, work: Path, workers: int) -> None:
    """The batches that are missing, here or in other processes."""
    for name, part in batches.parts.items():
        missing = part.missing()
        with progress_bar(sum(part.sizes), TITLES[name], "prediction") as bar:
            bar.update(sum(part.sizes) - sum(missing.values()))
            if (several := min(workers, len(missing))) > 1:
                run_in_processes(partial(BatchWorker, store.path, config, scope, work, name), missing, several, bar.update)
            else:
                for number in missing:
                    part.measure(number, bar.update)


def _write(store: Store, config: RunConfig, scope: Scope, batches: Batches, work: Path) -> Path:
    """The finished database, in the folder of what is not finished."""
    read, apart = (MergedFiles(part.paths, part.shared.sample) for part in batches.parts.values())
    shared = batches.parts[APART].shared
    of_variants = _groups(store, config, shared.sample, shared.names, scope)
    neutral = [number for number, name in enumerate(shared.sample.domains) if name in _neutral(store, config)]
    told = curves(shared, apart, of_variants, batches.batch_tokens, work, batches.seal)
    sizes = {dictionary.layer: dictionary.d_sae for dictionary in shared.dictionaries}
    spectrum = store.sql("SELECT variant, layer, component, direction FROM spectrum WHERE component > 0")

    def fill(load: Load) -> None:
        Tables(read, apart, load, of_variants, sizes, neutral).write()
        load("curves", told)
        tokenizer = load_tokenizer(config.base)
        directions = random_directions(shared)
        words = Words(read, load, of_variants, neutral, shared.models, tokenizer, shared.words, directions)
        words.write([dictionary.site for dictionary in shared.dictionaries], spectrum)

    database = work / "finished.duckdb"
    counts = {"read": read.sample.n_predictions, "taken_apart": apart.sample.n_predictions}
    write_contributions(database, store.manifest.digest, {**scope.facts(), **counts}, fill)
    return database


def _groups(store: Store, config: RunConfig, sample: Sample, measured: Sequence[str], scope: Scope) -> list[Group]:
    with_twins = {variant_of(name) for name in measured if variant_of(name) != name}
    of_recipe = {name: runs for runs in groups(config).values() for name in runs}
    draws = twins(config.model_copy(update={"twins": scope.twins}))
    return [
        Group(
            name,
            [run for run in of_recipe[name] if run in store.variants],
            draws if name in with_twins else [],
            [number for number, domain in enumerate(sample.domains) if domain in config.variants[name].task],
            [first for first in other_recipes(config, name) if first in store.variants],
        )
        for name in store.variants
    ]


def _neutral(store: Store, config: RunConfig) -> set[str]:
    """The configuration's neutral domains; where it names none, those that no variant was trained for."""
    tasks = {domain for variant in config.variants.values() for domain in variant.task}
    return set(config.neutral_domains) or (set(store.domains) - tasks if tasks else set())
