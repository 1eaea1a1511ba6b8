"""From the sources of a configuration to what is read: which files a folder or pattern stands for, and what each is called."""

import glob
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.config_sections import SourceConfig
from extract.corpus.record_files import READ, TEXT, kind_of
from extract.corpus.saved_sets import is_saved, saved_files
from store.errors import UserError, first_line

NAMED_IF_SET = ("cluster_field", "cluster_by_source", "licence", "paragraphs")
"""Settings of a source that the manifest names where they are not the default."""
MOST_FILES, MOST_TEXTS = 1_000, 100_000
"""Of a folder or pattern: files of records, each told and named in the manifest; and texts, which are one source together."""
DESCRIBING = ("readme", "license", "licence", "notice", "citation", "changelog", "dataset_info", "dataset_infos")
"""Files that stand beside data and are none, by their name without a suffix."""

Pieces = tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """What is read and told as one: a file of records, the texts of a folder, a saved dataset, a dataset of the hub.

    Attributes:
        name: what it is called.
        files: what is read, in order; none of a dataset, which its library reads.
        names: what each file is called.
        saved: the files are a dataset that `datasets` saved, and are numbered through.
        left: files of the folder that are not read.
    """

    config: SourceConfig
    name: str
    files: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()
    saved: bool = False
    left: tuple[str, ...] = ()

    @property
    def is_texts(self) -> bool:
        """Whether its files are texts, each a document."""
        return bool(self.files) and not self.saved and kind_of(self.files[0]) == TEXT

    def notes(self) -> list[str]:
        """What of its folder is not read."""
        if not self.left:
            return []
        shown = ", ".join(repr(name) for name in self.left[:5]) + (", …" if len(self.left) > 5 else "")
        files = "file is" if len(self.left) == 1 else "files are"
        return [f"Of '{Path(self.config.path).name}' {len(self.left):,} {files} not read: {shown}."]

    def describe(self) -> dict[str, Any]:
        """For the manifest: a file by name and hash, several by the hash of their list, a dataset by id; and what was read."""
        config = self.config
        origin: dict[str, Any] = {"file" if config.path else "dataset": self.name}
        if not config.path or self.saved:
            origin["split"] = config.split
        if self.files:
            origin["sha256"] = self._hash()
        if len(self.files) > 1:
            origin["files"] = len(self.files)
        optional = {name: getattr(config, name) for name in NAMED_IF_SET if getattr(config, name) != _default(name)}
        return {**origin, "limit": config.limit, "domain": config.domain, "text_field": config.text_field, **optional}

    def _hash(self) -> str:
        """Of one file its SHA-256; of several that of the list that ``sha256sum`` would write of them."""
        hashes = [(_sha256(file), name) for file, name in zip(self.files, self.names, strict=True)]
        if len(hashes) == 1:
            return hashes[0][0]
        return hashlib.sha256("".join(f"{digest}  {name}\n" for digest, name in hashes).encode()).hexdigest()


def find_sources(configs: Sequence[SourceConfig]) -> list[Source]:
    """What is read of each source of a configuration; a folder or pattern of several files is several.

    Raises:
        UserError: there is nothing at a path, or nothing that can be read.
    """
    found = [part for config in configs for part in _parts_of(config)]
    names = _shortest([part.pieces for part in found] + [_pieces(file) for part in found for file in part.files])
    return [
        Source(
            part.config, _with_config(names[part.pieces], part.config), part.files,
            tuple(names[_pieces(file)] for file in part.files), part.saved, part.left,
        )
        for part in found
    ]  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """A source before it has a name.

    Attributes:
        pieces: of the path that it is called by.
    """

    config: SourceConfig
    pieces: Pieces
    files: tuple[Path, ...] = ()
    saved: bool = False
    left: tuple[str, ...] = ()


def _parts_of(config: SourceConfig) -> list[_Part]:
    try:
        return _parts(config)
    except OSError as error:
        reason = first_line(error).rstrip(".")
        raise UserError(f"The corpus source '{config.path or config.dataset}' cannot be read: {reason}.") from error


def _parts(config: SourceConfig) -> list[_Part]:
    place = Path(config.path or config.dataset)
    if is_saved(place):
        return [_Part(config, _pieces(place), tuple(saved_files(place, config.split)), saved=True)]
    if config.dataset is not None:
        return [_Part(config, _pieces(place) if is_there(place) else (config.dataset,))]
    if place.is_file():
        return [_Part(config, _pieces(place), (place,))]
    files = _of_folder(place) if place.is_dir() else _of_pattern(config.path)
    read = [file for file in files if kind_of(file) is not None and file.name.split(".")[0].lower() not in DESCRIBING]
    left = tuple(file.name for file in files if file not in set(read))
    texts = tuple(file for file in read if kind_of(file) == TEXT)
    records = [file for file in read if kind_of(file) != TEXT]
    if not read:
        raise UserError(f"The corpus source '{place}' holds no file that can be read ({READ}); check the path.")
    if len(records) > MOST_FILES or len(texts) > MOST_TEXTS:
        raise UserError(
            f"The corpus source '{place}' has {len(records):,} files of records and {len(texts):,} texts, and at most "
            f"{MOST_FILES:,} and {MOST_TEXTS:,} are read; give a pattern that names fewer, or put them together."
        )
    parts = [_Part(config, _pieces(file), (file,)) for file in records]
    parts += [_Part(config, _pieces(place), texts)] if texts else []
    first = parts[0]
    return [_Part(config, first.pieces, first.files, left=left), *parts[1:]]


def _of_folder(folder: Path) -> list[Path]:
    """The files of a folder and of those in it, sorted; none that is hidden, and none that leads out of it.

    Raises:
        UserError: one leads out.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        found += [Path(place) / name for name in names if not name.startswith(".")]
        if len(found) > 2 * MOST_TEXTS:
            raise UserError(f"The folder '{folder}' has more than {2 * MOST_TEXTS:,} files; give a pattern that names fewer.")
    inside = roots(folder)
    for file in found:
        real = os.path.realpath(file)
        if not any(real.startswith(root + os.sep) for root in inside):
            raise UserError(f"The file '{file}' leads out of '{folder}', to '{real}'; a folder may only hold files of its own.")
    return sorted(file for file in found if file.is_file())


def _of_pattern(pattern: str) -> list[Path]:
    if not glob.has_magic(pattern):
        raise UserError(f"There is no corpus file at '{pattern}'; check the path in the configuration.")
    pieces = Path(pattern).parts
    fixed = list(itertools.takewhile(lambda piece: not glob.has_magic(piece), pieces))
    try:
        found = sorted(place for place in Path(*fixed).glob("/".join(pieces[len(fixed) :])) if place.is_file())
    except ValueError as error:  # '**' that is not alone between slashes
        raise UserError(f"The corpus source '{pattern}' is no pattern: {first_line(error).rstrip('.')}.") from error
    if not found:
        raise UserError(f"There is no corpus file like '{pattern}'; check the path in the configuration.")
    return found


def roots(folder: Path) -> list[str]:
    """Where a folder's files may really be: in it; of a snapshot of the hub's cache also beside it, where that keeps them."""
    real = folder.resolve()
    kept = [real.parent.parent / "blobs"] if real.parent.name == "snapshots" else []
    return [str(real), *(str(place) for place in kept if place.is_dir() and not place.is_symlink())]


def is_there(place: Path) -> bool:
    """Whether there is a file or folder."""
    try:
        return place.exists()
    except (OSError, ValueError):  # too long a name, a folder that may not be read: it will be asked for as it is
        return False


def _pieces(place: Path) -> Pieces:
    return place.absolute().parts[1:]


def _shortest(paths: Iterable[Pieces]) -> dict[Pieces, str]:
    """What each path is called: its last piece, and as many before it as tell it from the others."""
    left, names, length = set(paths), {}, 1
    while left:
        ends = Counter(path[-length:] for path in left)
        names |= {path: "/".join(path[-length:]) for path in left if ends[path[-length:]] == 1}
        left -= names.keys()
        length += 1
    return names


def _with_config(name: str, config: SourceConfig) -> str:
    return name if config.config is None else f"{name}/{config.config}"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"The corpus file '{path}' can no longer be read ({first_line(error)}); put it back and run the same "
            "command again: nothing that was finished is lost."
        ) from error


def _default(name: str) -> Any:
    return SourceConfig.model_fields[name].default
