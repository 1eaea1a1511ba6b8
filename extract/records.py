"""Reading raw documents: JSONL files and Hugging Face datasets."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.config import RunConfig, SourceConfig
from store.errors import UserError, first_line

MAX_DATASET_RECORDS = 1_000_000


@dataclass(frozen=True)
class Record:
    """One raw document: where it came from, its domain, and its fields as read."""

    source: str
    domain: str
    fields: Mapping[str, Any]
    where: str

    @property
    def order(self) -> bytes:
        """Sorting key that spreads any corpus evenly: a hash of the source."""
        return source_order(self.source)


def source_order(source: str) -> bytes:
    """Sorting key of documents, by the hash of their source: no file's order, no run's."""
    return hashlib.sha256(source.encode()).digest()


def read_records(sources: Sequence[SourceConfig]) -> list[Record]:
    """Read every record of every source.

    Raises:
        UserError: a source is missing, empty, malformed (file and line named), has no domain, or repeats a source id.
    """
    records: list[Record] = []
    seen: dict[str, str] = {}
    for source in sources:
        before = len(records)
        for name, where, fields in _raw_records(source):
            if source.limit is not None and len(records) - before >= source.limit:
                break
            record = _record(source, name, where, fields)
            if record.source in seen:
                raise UserError(
                    f"Two documents have the source id {record.source!r} ({seen[record.source]} and {where}); "
                    "source ids must be unique."
                )
            seen[record.source] = where
            records.append(record)
        if len(records) == before:
            raise UserError(f"The corpus source '{source.path or source.dataset}' has no documents; check the file.")
    return records


def describe_source(source: SourceConfig) -> dict[str, Any]:
    """What the manifest says of a source: a file by name and hash, a dataset by id; and which part of it was read."""
    if source.path:
        with Path(source.path).open("rb") as file:
            origin = {"file": Path(source.path).name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    else:
        name = Path(source.dataset).name if Path(source.dataset).exists() else source.dataset
        origin = {"dataset": name, "split": source.split}
    return {**origin, "limit": source.limit, "domain": source.domain, "text_field": source.text_field}


def check_domains(config: RunConfig, records: Sequence[Record]) -> None:
    """Refuse a domain that a setting names and no document has: did_shift would be undefined without a word.

    Raises:
        UserError: names the setting and the domain.
    """
    known = {record.domain for record in records}
    named = {"neutral_domains": config.neutral_domains}
    named |= {f"The task of variant '{name}'": variant.task for name, variant in config.variants.items()}
    for setting, domains in named.items():
        if strange := [domain for domain in domains if domain not in known]:
            raise UserError(
                f"{setting} names the domain '{strange[0]}', which no document of the corpus has; choose from "
                f"{', '.join(sorted(known))}."
            )


def _raw_records(source: SourceConfig) -> Iterator[tuple[str, str, dict]]:
    """(default source id, place for messages, fields) of each record."""
    if source.path:
        yield from _jsonl_records(Path(source.path))
    else:
        yield from _dataset_records(source)


def _jsonl_records(path: Path) -> Iterator[tuple[str, str, dict]]:
    if not path.is_file():
        raise UserError(f"There is no corpus file at '{path}'; check the path in the configuration.")
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                fields = json.loads(line.decode("utf-8"))
                if not isinstance(fields, dict):
                    raise ValueError("the line is not a JSON object")
                json.dumps(fields, ensure_ascii=False).encode()  # half of a surrogate pair is no text
                yield f"{path.name}:{number}", f"{path.name}, line {number}", fields
    except (ValueError, RecursionError, OSError, EOFError, zlib.error) as error:
        parsed = isinstance(error, ValueError | RecursionError)
        at = number if parsed else number + 1  # a line that could not be read was not counted
        raise UserError(f"The corpus file '{path}', line {at}, cannot be read: {error}.") from error


def _dataset_records(source: SourceConfig) -> Iterator[tuple[str, str, dict]]:
    import datasets  # slow to import, and most runs read files

    try:
        rows = datasets.load_dataset(source.dataset, split=source.split, streaming=True)
        for number, fields in enumerate(rows):
            if source.limit is None and number >= MAX_DATASET_RECORDS:
                raise UserError(
                    f"The dataset '{source.dataset}' has more than {MAX_DATASET_RECORDS:,} records; give it a limit."
                )
            name = f"{Path(source.dataset).name if Path(source.dataset).exists() else source.dataset}:{source.split}:{number}"
            yield name, name, fields
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"The dataset '{source.dataset}' could not be read: {first_line(error)}") from error


def _record(source: SourceConfig, name: str, where: str, fields: dict) -> Record:
    domain = fields.get("domain") or source.domain
    if not domain:
        raise UserError(f"The document at {where} has no domain; give one in the record or in the configuration.")
    if not str(domain).isprintable():
        raise UserError(f"The document at {where} has the domain {str(domain)[:40]!r}, which is no name; give a line of text.")
    if domain == "all":
        raise UserError(f"The document at {where} has the domain 'all', which is reserved for the total.")
    if source.text_field != "text" and source.text_field in fields:
        fields = {**fields, "text": fields[source.text_field]}
    return Record(str(fields.get("source") or name), str(domain), fields, where)
