"""What a run is. The manifest is written last: a folder that has one is a complete store."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from store.errors import UserError

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
    published_from: dict[str, Any] | None = None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest so that it is either whole or absent, even if the power goes."""
    partial = folder / f"{MANIFEST_FILE}.partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump(asdict(manifest), file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(folder / MANIFEST_FILE)


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
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"The manifest of '{folder}' is damaged ({error}); extract the store again.") from error
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
