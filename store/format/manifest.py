"""What a run is. The manifest is written last: a folder that has one is a complete store."""

import hashlib
import json
import re
import stat
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from store.errors import UserError, first_line, unavailable
from store.files import whole
from store.format.manifest_values import MOST_BYTES, check_values
from store.names import VARIANT_NAME

SCHEMA_VERSION = 3
MANIFEST_FILE = "manifest.json"
DATABASE_FILE = "statistics.duckdb"
_VARIANT = re.compile(VARIANT_NAME)


@dataclass(frozen=True)
class Manifest:
    """Provenance and integrity of one store.

    Attributes:
        base: name of the base model, and hash of its weights as loaded (in the run's dtype).
        variants: variant -> {kind, name, hash}.
        saes: layer (as text) -> {name, hash, and what it was trained on and is fed}; stores of before that lack the latter.
        tokenizer: vocabulary size and hash.
        corpus: sources (files with their hashes), hash of the tokens read, documents and tokens of each domain; whose chat
            template rendered conversations, or None where none had one.
        settings: the run's configuration but for models, dictionaries and sources, which have entries of their own.
        packages: package -> version.
        pilot: layer (as text) -> what the pilot fixed (median norm, mean norm, scales).
        counts: tokens, documents, contexts, skipped inputs and why, and what of the documents that were read was left out.
        notes: lines that the app shows where they matter, e.g. what a published store leaves out.
        created: ISO 8601 time, UTC.
        digest: content digest of tables and parts; equal for identical stores.
        files: file -> {sha256, bytes}, and for parts their token count.
        rows: table -> number of rows.
        schema_version: layout of the store.
        fingerprint: names everything that the run read.
        checksum: SHA-256 of the manifest's text without it; stores of before it have none.
        published_from: for a cut-down copy, the ``digest`` of the store that it was made from.
    """

    base: dict[str, Any]
    variants: dict[str, dict[str, Any]]
    saes: dict[str, dict[str, Any]]
    tokenizer: dict[str, Any]
    corpus: dict[str, Any]
    settings: dict[str, Any]
    packages: dict[str, str]
    pilot: dict[str, Any]
    counts: dict[str, Any]
    created: str
    notes: list[str] = field(default_factory=list)
    digest: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    fingerprint: str = ""
    checksum: str = ""
    published_from: dict[str, Any] | None = None


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write the manifest, which says that the store is complete.

    Returns:
        It, with its checksum.
    """
    checksum = _checksum(_as_text(replace(manifest, checksum="")))
    complete = replace(manifest, checksum=checksum)
    with whole(folder / MANIFEST_FILE) as file:
        file.write(_as_text(complete).encode())
    return complete


def _as_text(manifest: Manifest) -> str:
    return json.dumps(asdict(manifest), indent=1, ensure_ascii=False)


def _checksum(text: str) -> str:
    """SHA-256 of a manifest's text, where its own checksum is left out."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of a store.

    Raises:
        UserError: there is no store, it is unfinished or damaged, or its version is another.
    """
    return as_manifest(folder, read_bytes(folder))


def read_bytes(folder: Path) -> bytes:
    """The manifest of a store as it stands in its file.

    Raises:
        UserError: there is no store, it is unfinished, or this user cannot read it.
    """
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise UserError(f"There is no store at '{folder}', which is a file; give the folder that holds {MANIFEST_FILE}.")
        with (folder / MANIFEST_FILE).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
        raise _no_store(folder) from error
    except OSError as error:
        raise unavailable(f"The store '{folder}'", error) from error


def _no_store(folder: Path) -> UserError:
    if folder.is_symlink() and not folder.exists():
        return UserError(
            f"There is no store at '{folder}', which is a link to '{folder.readlink()}', where nothing is; mount its drive, or "
            "mend the link."
        )
    if folder.is_dir():
        return UserError(f"The folder '{folder}' is not a finished store (no {MANIFEST_FILE}); run the extraction again.")
    return UserError(f"There is no store at '{folder}'; make one with 'python -m extract run CONFIG --out {folder}'.")


def as_manifest(folder: Path, data: bytes) -> Manifest:
    """The manifest that a file's bytes hold, checked.

    Raises:
        UserError: it is damaged, or its version is another.
    """
    try:
        if len(data) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        text = data.decode().replace("\r\n", "\n")
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        version = content["schema_version"]
        if type(version) is not int:
            raise TypeError("its version is not a number")
        checksum = content.get("checksum", "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"The manifest of '{folder}' is damaged ({error}); extract the store again.") from error
    if checksum and checksum != _checksum(text.replace(f'"checksum": "{checksum}"', '"checksum": ""')):
        raise UserError(f"The manifest of '{folder}' is damaged (its checksum does not match); extract the store again.")
    if version != SCHEMA_VERSION:
        raise UserError(
            f"The store '{folder}' has schema version {version}, but this program reads version {SCHEMA_VERSION}; "
            "extract it again with this version."
        )
    try:
        manifest = Manifest(**content)
        _check_types(manifest)
    except TypeError as error:
        raise UserError(f"The manifest of '{folder}' is damaged ({first_line(error)}); extract the store again.") from error
    return manifest


def _check_types(manifest: Manifest) -> None:
    """Everything in a manifest is of the kind that its readers expect.

    Raises:
        TypeError: names the field that is not.
    """
    kinds = get_type_hints(Manifest)
    for name, value in vars(manifest).items():
        if not _is_a(value, kinds[name]):
            raise TypeError(f"'{name}' is not what it should be")
    for facts in manifest.files.values():
        if not isinstance(facts.get("sha256"), str) or type(facts.get("bytes")) is not int:
            raise TypeError("'files' lacks a hash or a size")
    for name, facts in manifest.variants.items():
        if not _VARIANT.fullmatch(name) or not _has(facts, str, "kind", "name"):
            raise TypeError("'variants' is not what it should be")
    if not _has(manifest.base, str, "name"):
        raise TypeError("'base' lacks a name")
    if not _has(manifest.counts, int, "tokens", "documents") or "documents" not in manifest.rows:
        raise TypeError("'counts' or 'rows' lacks a number")
    if type(manifest.corpus.get("sources", [])) is not list or type(manifest.corpus.get("domains", {})) is not dict:
        raise TypeError("'corpus' is not what it should be")
    check_values(manifest)


def _has(facts: dict[str, Any], kind: type, *names: str) -> bool:
    return all(type(facts.get(name)) is kind for name in names)


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a JSON value fits an annotation of :class:`Manifest`."""
    inner = get_args(kind)
    if kind is Any:
        return True
    if isinstance(kind, UnionType):
        return any(_is_a(value, one) for one in inner)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(_is_a(item, inner[1]) for item in value.values())
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is_a(item, inner[0]) for item in value)
    return type(value) is kind


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
