"""The data of a run: each source with its domain and with ids that are unique, read by the code that a run reads it with."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.config_sections import SourceConfig
from extract.corpus.records import Record, check_lookalikes, read_corpus
from extract.setup.parts import Parts
from extract.setup.recipes import domain_of
from store.errors import UserError


@dataclass(frozen=True)
class TextSource:
    """A source of documents.

    Attributes:
        given: what the configuration says of it.
        records: as they were read.
        lines: what it was read as, for people; of each file of a folder or pattern.
    """

    given: dict[str, Any]
    records: list[Record]
    lines: tuple[str, ...]


def read_sources(parts: Parts) -> list[TextSource]:
    """Read what was found or named; a file of a folder that is refused, alone or beside those before, is told as not used.

    Raises:
        UserError: one that the user named cannot be read, or none is left.
    """
    found, refused = [], []
    for given in parts.data:
        try:
            source = _read(_placed(given))
            check_lookalikes({record.domain for one in [*found, source] for record in one.records})
            found.append(source)
        except UserError as error:
            if parts.asked_data:
                raise
            refused.append(str(error))
            parts.unused.append((str(given.get("path")), f"it was not read: {error}"))
    if not found:
        raise UserError(
            refused[0] if len(refused) == 1
            else "There is no data: no file of records was found; give some with --data (JSONL, one record a line)."
        )  # fmt: skip
    return _with_unique_ids(found)


def _placed(given: dict[str, Any]) -> dict[str, Any]:
    """With its whole path; links stay as they are."""
    return {**given, "path": os.path.abspath(given["path"])} if "path" in given else given  # noqa: PTH100


def _read(given: dict[str, Any]) -> TextSource:
    """One source, with a domain where its records have none, and known by file and line where ids repeat."""
    default = {"domain": domain_of(Path(given.get("path") or given["dataset"]))}
    fields: dict[str, Any] = {}
    try:
        corpus = read_corpus([SourceConfig(**given, **default)])
    except UserError as error:
        fields = {"source_field": None}
        try:
            corpus = read_corpus([SourceConfig(**given, **default, **fields)])
        except UserError:
            raise error from None
    if default["domain"] in {record.domain for record in corpus.records}:
        fields = {**default, **fields}
    return TextSource({**given, **fields}, corpus.records, tuple(reading.line() for reading in corpus.readings))


def _with_unique_ids(sources: Sequence[TextSource]) -> list[TextSource]:
    """Where two sources have the same ids, their records are known by file and line; so are two files of one name."""
    seen: dict[str, int] = {}
    alike: set[int] = set()
    for number, source in enumerate(sources):
        for record in source.records:
            if record.source.startswith(f"{record.file}:"):
                continue  # numbered by its file, whose name gets longer where two have the same
            if (other := seen.setdefault(record.source, number)) != number:
                alike |= {other, number}
    return [
        TextSource({**source.given, "source_field": None}, source.records, source.lines) if number in alike else source
        for number, source in enumerate(sources)
    ]
