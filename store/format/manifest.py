"""What a run is. The manifest is written last: a folder that has one is a complete store."""

import hashlib
import json
import stat
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from store.errors import UserError, unavailable
from store.files import whole
from store.format import manifest_values as values

SCHEMA_VERSION = 4
MANIFEST_FILE = "manifest.json"
DATABASE_FILE = "statistics.duckdb"


@dataclass(frozen=True)
class Manifest:
    """Provenance and integrity of one store.

    Attributes:
        base: name of the base model, and hash of its weights as loaded (in the run's dtype).
    variants: dict[values.VariantName, values.AVariant]
    saes: dict[values.Layer, values.Dictionary]
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

    __pydantic_config__ = ConfigDict(extra="forbid", validate_default=True)

    base: values.Named
    variants: dict[values.VariantName, values.AVariant]
    saes: dict[values.Layer, values.Dictionary]
    tokenizer: dict[str, Any]
    corpus: values.Corpus
    settings: values.Settings
    packages: dict[str, str]
    pilot: dict[str, Any]
    counts: values.Counts
    created: str
    notes: list[str] = field(default_factory=list)
    digest: str = ""
    files: dict[str, values.File] = field(default_factory=dict)
    rows: values.Rows = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    fingerprint: str = ""
    checksum: str = ""
    published_from: dict[str, Any] | None = None


_ADAPTER = TypeAdapter(Manifest)


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
            return file.read(values.MOST_BYTES + 1)
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
        if len(data) > values.MOST_BYTES:
            raise ValueError(f"it has more than {values.MOST_BYTES:,} bytes")
        text = data.decode().replace("\r\n", "\n")
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        version = content["schema_version"]
        if type(version) is not int:
            raise TypeError("its version is not a number")
        checksum = content.get("checksum", "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(folder, str(error)) from error
    if checksum and checksum != _checksum(text.replace(f'"checksum": "{checksum}"', '"checksum": ""')):
        raise _damaged(folder, "its checksum does not match")
    if version != SCHEMA_VERSION:
        raise UserError(
            f"The store '{folder}' has schema version {version}, but this program reads version {SCHEMA_VERSION}; "
            "extract it again with this version."
        )
    try:
        values.check_fields(_ADAPTER, content)
    except ValueError as error:
        raise _damaged(folder, str(error)) from error
    return Manifest(**content)


def check_writable(manifest: Manifest) -> None:
    """Refuse a manifest that no reader would take.

    Raises:
        UserError: names the field.
    """
    try:
        values.check_fields(_ADAPTER, vars(manifest))
    except ValueError as error:
        raise UserError(
            f"The store's manifest cannot be written ({error}), as no reader would take it; change that in the run's input, "
            "and run it again."
        ) from error


def _damaged(folder: Path, why: str) -> UserError:
    return UserError(f"The manifest of '{folder}' is damaged ({why}); extract the store again.")


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
