"""What lies in a folder: a base, adapters and checkpoints, dictionaries, data; and what of it is nothing that a run uses."""

import glob
import re
from collections.abc import Iterator
from pathlib import Path

from extract.corpus.record_files import TEXT
from extract.corpus.record_files import kind_of as kind_of_file
from extract.setup.parts import ADAPTER, CODES, DICTIONARY, MODEL, Parts, Weights, kind_of, states_of, weights_at
from extract.step_names import CHECKPOINT
from store.errors import UserError, reason

LEVELS = 3
"""Folders within folders that are looked through; the states of a training may lie one below."""
TOO_DEEP = "it lies too deep to be looked through"
MOST_ENTRIES = 5_000
"""Of more than so many a folder is no collection of models and data, but somebody's home."""
NO_DATA = re.compile(
    r"(readme|licen[cs]e|notice|citation|requirements|changelog).*|\w*(trainer_state|_results|_config|_card|_index)\.json|card\.json"
    r"|(config|params|args|training_args|package|tokenizer|vocab|special_tokens_map|added_tokens|state)\.json|answers\.jsonl",
    re.IGNORECASE,
)
"""Files of an ending that data have, which are none: of trainers, of models, of this program."""
MARKDOWN = (".md", ".markdown")
PLAIN = re.compile(
    r"checkpoints?|outputs?|out|runs?|results?|models?|adapters?|lora|final|best|last|merged|weights", re.IGNORECASE
)
"""Names of folders that say nothing of what was trained there."""
SEED = re.compile(r"(seed|s|run|rep|replicate)[-_. ]?\d+", re.IGNORECASE)


def look_through(folder: Path) -> Parts:
    """Recognise what lies in a folder by its files, some levels deep.

    Raises:
        UserError: there is no such folder, it cannot be read, or it holds too much to be looked through.
    """
    try:
        if not folder.is_dir():
            raise UserError(f"There is no folder at '{folder}'; give one that holds models, dictionaries and data, or --base.")
        found = Parts()
        _look(folder, folder, LEVELS, found, iter(range(MOST_ENTRIES)))
    except OSError as error:
        raise UserError(f"The folder '{folder}' cannot be looked through: {reason(error)}.") from error
    return found


def told_name(place: Path, root: Path) -> str:
    """What a model or adapter is called by its folder, and by the one above where its own name says nothing."""
    pieces = [place.stem if place.suffix == ".gguf" else place.name]
    above = place.parent
    while above != root and root in above.parents and all(map(says_nothing, pieces)):
        pieces.insert(0, above.name)
        above = above.parent
    telling = [piece for piece in pieces if not PLAIN.fullmatch(piece)]
    return "-".join(telling or pieces[-1:])


def says_nothing(piece: str) -> bool:
    """Whether a folder's name says nothing of what was trained there."""
    return bool(PLAIN.fullmatch(piece) or SEED.fullmatch(piece) or CHECKPOINT.fullmatch(piece))


def _look(folder: Path, root: Path, levels: int, found: Parts, budget: Iterator[int]) -> None:
    kind, name = kind_of(folder), str(folder.relative_to(root))
    if kind == "dictionary":
        found.saes.append({"path": str(folder)})
    elif kind == "dataset":
        found.data.append({"path": str(folder)})
    elif kind == "store":
        found.unused.append((name, "a store of this program"))
    if kind in ("dictionary", "dataset", "store"):
        return
    called = told_name(folder, root) if folder != root else folder.resolve().name
    states = states_of(folder, called)
    found.weights += [own] if (own := weights_at(folder, called)) else []
    found.weights += states
    known = {Path(state.spec) for state in states}
    for place in sorted(folder.iterdir()):
        if next(budget, None) is None:
            raise UserError(f"The folder '{root}' holds more than {MOST_ENTRIES:,} files; name its parts: --base and so on.")
        if place.name.startswith((".", "__")) or place in known:
            continue
        if place.is_dir():
            _look_deeper(place, root, levels, found, budget)
        elif not place.is_file():
            found.unused.append((str(place.relative_to(root)), "it is no file"))
        elif own is None:  # what lies beside weights belongs to them
            _take_file(place, root, found)


def _look_deeper(place: Path, root: Path, levels: int, found: Parts, budget: Iterator[int]) -> None:
    name = str(place.relative_to(root))
    if not levels and kind_of(place) is None:
        found.unused.append((f"{name}/", TOO_DEEP))
        return
    try:
        _look(place, root, max(0, levels - 1), found, budget)
    except OSError as error:
        found.unused.append((f"{name}/", f"it cannot be read: {reason(error)}"))


def _take_file(place: Path, root: Path, found: Parts) -> None:
    name = str(place.relative_to(root))
    if place.suffix.lower() == ".gguf":
        found.weights.append(Weights(str(place), "model", told_name(place, root)))
    elif place.suffix.lower() == ".jinja":
        found.templates.append(place)
    elif place.name in (ADAPTER, MODEL, DICTIONARY, CODES):
        missing = {MODEL: "weights", DICTIONARY: CODES, CODES: DICTIONARY}.get(place.name)
        found.unused.append((name, f"no {missing} beside it" if missing else ""))
    elif kind_of_file(place) is None or NO_DATA.fullmatch(place.name):
        found.unused.append((name, ""))
    elif place.suffix.lower() in MARKDOWN:
        found.unused.append((name, "a text, but rarely data; name it with --data where it is"))
    elif kind_of_file(place) == TEXT:
        _take_text(place, found)
    else:
        found.data.append({"path": str(place)})


def _take_text(place: Path, found: Parts) -> None:
    """A text is a document; those of one folder are one source."""
    every = str(place.with_name(f"*{place.suffix}"))
    first = next((source for source in found.data if Path(source["path"]).parent == place.parent
                  and Path(source["path"]).suffix == place.suffix), None)  # fmt: skip
    if first is None or glob.has_magic(str(place.parent)):
        found.data.append({"path": str(place)})
    else:
        first["path"] = every
