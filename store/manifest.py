"""What a run is. The manifest is written last: a folder that has one is a complete store."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from store.errors import UserError
from store.files import whole

SCHEMA_VERSION = 3
MANIFEST_FILE = "manifest.json"
DATABASE_FILE = "statistics.duckdb"


@dataclass(frozen=True)
class Manifest:
    """Provenance and integrity of one store.

    Attributes:
        base: name of the base model, and hash of its weights as loaded (in the run's dtype).
        variants: variant -> {kind, name, hash}.
        saes: layer (as text) -> {name, hash, ...}.
        tokenizer: vocabulary size and hash.
        corpus: sources (files with their hashes), hash of the tokens read, documents and tokens of each domain.
        settings: the run's configuration but for models, dictionaries and sources, which have entries of their own.
        packages: package -> version.
        pilot: layer (as text) -> what the pilot fixed (median norm, mean norm, scales).
        counts: tokens, documents, contexts, skipped inputs and why.
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
    if not folder.is_dir():
        raise UserError(f"There is no store at '{folder}'; make one with 'python -m extract run CONFIG --out {folder}'.")
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise UserError(f"The folder '{folder}' is not a finished store (no {MANIFEST_FILE}); run the extraction again.")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        version = content["schema_version"]
        checksum = content.get("checksum", "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"The manifest of '{folder}' is damaged ({error}); extract the store again.") from error
    if checksum and checksum != _checksum(text.replace(f'"checksum": "{checksum}"', '"checksum": ""')):
        raise UserError(f"The manifest of '{folder}' is damaged (its checksum does not match); extract the store again.")
    if version != SCHEMA_VERSION:
        raise UserError(
            f"The store '{folder}' has schema version {version}, but this program reads version {SCHEMA_VERSION}; "
            "extract it again with this version."
        )
    try:
        return Manifest(**content)
    except TypeError as error:
        raise UserError(f"The manifest of '{folder}' is damaged ({error}); extract the store again.") from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
