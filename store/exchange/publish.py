"""A cut-down store to share: every statistic, the best contexts of the features that matter, the codes of a few documents."""

import dataclasses
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from store import Store, files, open_store
from store.errors import UserError, reason
from store.exchange.subset import Cut, copy_subset, steps
from store.format.additions import addition_path, copy_for
from store.format.manifest import Manifest
from store.format.place_lock import claimed
from store.format.writer import StoreWriter
from store.numbers import listing
from store.sidecar import entries

MB = 1_000_000
Progress = Callable[[int, str, str], AbstractContextManager[Any]]
"""How many steps, of what, in which unit -> what is told of each by its ``update``, as a bar of tqdm is."""

ROUNDS = (
    Cut(contexts=10, features=300, tokens=2000),
    Cut(contexts=8, features=200, tokens=1000, details=False),
    Cut(contexts=6, features=150, tokens=300, details=False),
    Cut(contexts=5, features=100, tokens=1, details=False),  # one document a domain
    Cut(contexts=4, features=75, tokens=1, details=False),
    Cut(contexts=3, features=50, tokens=1, details=False),
)
"""What is asked for first, then what is given up, round by round."""


def ladder() -> list[Cut]:
    """Every cut that is tried, largest first: a round gives up contexts, then features, then coded documents.

    Before all of these goes what is more than pooled statistics, of replicates.
    """
    cuts = [ROUNDS[0]]
    for after in ROUNDS[1:]:
        for name in ("details", "contexts", "features", "tokens"):
            if getattr(after, name) != getattr(cuts[-1], name):
                cuts.append(dataclasses.replace(cuts[-1], **{name: getattr(after, name)}))
    return cuts


def publish(store: Path, out: Path, max_mb: float, progress: Progress | None = None, replicates: bool = False) -> Manifest:
    """Write a copy of a store that is small enough to share.

    The first cut of :func:`ladder` that fits is kept; sizes fall along it, so it is found by halving. Everything is made
    beside ``out`` and moved there as the last step: what stands at ``out`` is finished and fits. Causal checks go into the
    copy's sidecar, before that, and contributions beside it, whole; imported labels are part of the copy; reviews stay with the
    store. What a copy that was killed has left is cleared by the next one to the same place.

    Args:
        max_mb: the most that the files of the copy may have together, in millions of bytes.
        progress: shows how far each copy is; else nothing does.
        replicates: whether contexts, codes and token metrics of replicates are kept too, or their statistics only.

    Raises:
        UserError: the store cannot be read, ``out`` exists or is being made, the disk is full, or the smallest cut does not
            fit; nothing is left behind.
    """
    scratch = out.with_name(f".{out.name}.publishing")
    with claimed(out):
        try:
            _clear(scratch)
            scratch.mkdir()
            with open_store(store) as source:
                lean = [] if replicates else _replicates(source)
                manifest, folder = _largest_that_fits(source, scratch, max_mb, lean, progress)
                source.snapshot.check()
                if checks := entries.read_steering(store, source.manifest.digest):
                    entries.write_steering(out, manifest.digest, *checks)
                if sets := entries.read_set_steering(store, source.manifest.digest):
                    entries.write_set_steering(out, manifest.digest, *sets)
                if source.has_contributions:
                    copy_for(addition_path(source.path), out, manifest.digest)
                files.put_in_place(folder, out)
                return manifest
        except OSError as error:
            raise UserError(f"The copy could not be written to '{out}': {reason(error)}.") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _clear(scratch: Path) -> None:
    """Take away what a copy that was killed has left: while its place is claimed nobody else is at it."""
    if scratch.is_symlink() or scratch.is_file():
        scratch.unlink()
    elif scratch.exists():
        shutil.rmtree(scratch)


def size(folder: Path) -> int:
    """Bytes of a store's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _replicates(source: Store) -> list[str]:
    """The variants that are another run of one in this store."""
    groups = source.groups()
    return groups.loc[groups["variant"] != groups["first"], "variant"].to_list()


def _largest_that_fits(
    source: Store, scratch: Path, max_mb: float, lean: list[str], progress: Progress | None = None
) -> tuple[Manifest, Path]:
    cuts = ladder()
    found: dict[int, Manifest] = {}
    low, high, trial = 0, len(cuts) - 1, 0  # the wanted cut lies in low .. high; what was asked for is tried first
    while True:
        folder = scratch / str(trial)
        manifest = _write(source, folder, cuts[: trial + 1], max_mb, lean, progress)
        if size(folder) <= max_mb * MB:
            found, high = {trial: manifest}, trial
        elif trial == len(cuts) - 1:
            raise UserError(
                f"The store cannot be cut to {max_mb:g} MB: every statistic with the fewest contexts and one coded document a "
                f"domain is {size(folder) / MB:.1f} MB; allow more with --max-mb."
            )
        else:
            shutil.rmtree(folder)
            low = trial + 1
        if low == high and high in found:
            return found[high], scratch / str(high)
        trial = len(cuts) - 1 if not found else (low + high) // 2


def _write(source: Store, folder: Path, cuts: list[Cut], max_mb: float, lean: list[str], progress: Progress | None) -> Manifest:
    """One copy by the last of the cuts; the others are those that were too large."""
    writer = StoreWriter(folder)
    cut = cuts[-1]
    try:
        with progress(steps(source, cut), "publishing", "step") if progress else nullcontext() as bar:
            kept = copy_subset(source, writer, cut, lean, bar.update if bar else lambda _steps: None)
        notes = [*source.manifest.notes, *_notes(source, cut, kept), *_of_replicates(lean), *_shrunk(cut, max_mb, lean)]
        made = {
            name: variant | ({"statistics_only": True} if name in lean else {})
            for name, variant in source.manifest.variants.items()
        }
        published_from = {"digest": source.manifest.digest}
        changed = dataclasses.replace(source.manifest, variants=made, notes=notes, published_from=published_from)
        return writer.finish(changed)
    finally:
        writer.close()


def _notes(source: Store, cut: Cut, kept: dict[str, int]) -> list[str]:
    """In plain words, what a reader will not find in the copy."""
    rows, counts = source.manifest.rows, source.manifest.counts
    size_of_sample = f"at least {cut.tokens:,} tokens a domain where it has that many" if cut.tokens > 1 else "one a domain"
    return [
        "This is a cut-down copy to share: every statistic is complete and covers the whole corpus; contexts, codes and "
        "token metrics do not.",
        f"Contexts: {kept['contexts']:,} of {rows['contexts']:,}, at most {cut.contexts} a ranking, for the {cut.features} "
        f"most shifted features of each layer and variant, the {cut.features} with the most evidence of a change and the "
        f"{cut.features} most active; others have none here.",
        f"Codes and token metrics: {kept['documents']:,} of {rows['documents']:,} documents ({kept['tokens']:,} of "
        f"{counts['tokens']:,} tokens), {size_of_sample}.",
        *([f"Labels: {source.n_labels:,} imported ones are part of this copy."] if source.n_labels else []),
    ]


def _of_replicates(lean: list[str]) -> list[str]:
    return [f"Replicates: of {listing(lean)} only statistics are here, no contexts, codes and token metrics."] if lean else []


def _shrunk(cut: Cut, max_mb: float, lean: list[str]) -> list[str]:
    """What was given up to fit, step by step."""
    wanted = ROUNDS[0]
    words = {"contexts": "contexts a ranking", "features": "features with contexts", "tokens": "tokens with codes a domain"}
    changes = [
        f"{what} from {getattr(wanted, name):,} to {getattr(cut, name):,}"
        for name, what in words.items()
        if getattr(cut, name) != getattr(wanted, name)
    ]
    if lean and not cut.details:
        changes.append(
            "of replicates' features no numbers by domain or segment, no histograms, nothing of the prediction and of a second "
            "dictionary"
        )
    return [f"To fit {max_mb:g} MB, less was kept than usual: {', '.join(changes)}."] if changes else []
