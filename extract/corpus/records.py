"""Raw documents from JSONL files and Hugging Face datasets, each with an id and a domain."""

import hashlib
import itertools
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.config import RunConfig
from extract.config_sections import SourceConfig, as_domain
from extract.corpus.dataset_rows import read_rows
from extract.corpus.jsonl import read_objects
from store.errors import UserError, first_line

FORMS = ("text", "prompt", "response", "messages")
"""Fields that hold what a record says."""
MAX_SOURCE = 1_000
"""Characters of a source id, or of a cluster, which stand in tables and links."""
NAMED_IF_SET = ("cluster_field", "cluster_by_source", "licence")
"""Settings of a source that the manifest names where they are not the default."""


@dataclass(frozen=True)
class Record:
    """One raw document: where it came from, its domain, and its fields as read.

    Attributes:
        source: id, unique in the corpus.
        where: place, for messages.
        file: name of the file or dataset.
        cluster: what it was made from, with other records of its domain; its source where it is alone.
    """

    source: str
    domain: str
    fields: Mapping[str, Any]
    where: str
    file: str = ""
    cluster: str = ""

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
        UserError: a source is missing, empty, malformed (file and line named), has no domain, repeats another's id, or names as
            a cluster what cannot be one.
    """
    records: list[Record] = []
    for source, name in zip(sources, source_names(sources), strict=True):
        try:
            rows = list(itertools.islice(_rows(source, name), source.limit))
        except OSError as error:
            reason = first_line(error).rstrip(".")
            raise UserError(f"The corpus source '{source.path or source.dataset}' cannot be read: {reason}.") from error
        if not rows:
            raise UserError(f"The corpus source '{source.path or source.dataset}' has no documents; check the file.")
        for default, where, fields in rows:
            given = fields.get(source.source_field) if source.source_field else None
            name_of_it, domain = str(given or default), _domain(source, where, fields)
            cluster = _cluster(source, where, fields, name_of_it)
            records.append(Record(name_of_it, domain, _with_text(source, where, fields), where, name, cluster))
    _check_ids(records)
    _check_lookalikes({record.domain for record in records})
    return records


def first_records(records: Sequence[Record], count: int) -> list[Record]:
    """The first records of each source that say anything, for a look at all of them that costs little."""
    taken: Counter[str] = Counter()
    chosen = []
    for record in records:
        if taken[record.file] < count and any(record.fields.get(name) for name in FORMS):
            taken[record.file] += 1
            chosen.append(record)
    return chosen or list(records[:count])


def source_names(sources: Sequence[SourceConfig]) -> list[str]:
    """What each source is called: a file or local folder by its name, and by as much of its path as tells it from others."""
    whole = [_path_pieces(source) for source in sources]
    names = []
    for source, pieces in zip(sources, whole, strict=True):
        others = {other for other in whole if other[-1] == pieces[-1]} - {pieces}
        length = 1
        while any(other[-length:] == pieces[-length:] for other in others):
            length += 1
        name = "/".join(pieces[-length:])
        names.append(name if source.config is None else f"{name}/{source.config}")
    return names


def describe_sources(sources: Sequence[SourceConfig]) -> list[dict[str, Any]]:
    """What the manifest says of sources: a file by name and hash, a dataset by id; and which part of it was read."""
    return [_describe(source, name) for source, name in zip(sources, source_names(sources), strict=True)]


def check_domains(config: RunConfig, records: Sequence[Record]) -> None:
    """Refuse a domain that a setting names and no document has: did_shift would be undefined without a word.

    Raises:
        UserError: names the setting and the domain.
    """
    check_named_domains(config, {record.domain for record in records})


def check_named_domains(config: RunConfig, known: Collection[str]) -> None:
    """The same, of domains.

    Raises:
        UserError: names the setting and the domain.
    """
    named = {"neutral_domains": config.neutral_domains}
    named |= {f"The task of variant '{name}'": variant.task for name, variant in config.variants.items()}
    for setting, domains in named.items():
        if strange := [domain for domain in domains if domain not in known]:
            raise UserError(
                f"{setting} names the domain {strange[0]!r}, which no document of the corpus has; choose from "
                f"{', '.join(map(repr, sorted(known)))}."
            )


def _rows(source: SourceConfig, name: str) -> Iterator[tuple[str, str, dict]]:
    """(default source id, place for messages, fields) of each record."""
    if source.path:
        path = Path(source.path)
        if not path.is_file():
            raise UserError(f"There is no corpus file at '{path}'; check the path in the configuration.")
        for number, fields in read_objects(path, "corpus file"):
            yield f"{name}:{number}", f"{name}, line {number}", fields
    else:
        for number, fields in read_rows(source.dataset, source.config, source.split, source.limit is not None):
            yield f"{name}:{source.split}:{number}", f"{name}:{source.split}:{number}", fields


def _path_pieces(source: SourceConfig) -> tuple[str, ...]:
    """A local path in its pieces; a hub id whole."""
    if source.dataset is not None and not _is_there(source.dataset):
        return (source.dataset,)
    return Path(source.path or source.dataset).absolute().parts[1:]


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # too long a name, a folder that may not be read: it will be asked for as it is
        return False


def _describe(source: SourceConfig, name: str) -> dict[str, Any]:
    if source.path:
        try:
            with Path(source.path).open("rb") as file:
                origin = {"file": name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        except OSError as error:
            raise UserError(
                f"The corpus file '{source.path}' can no longer be read ({first_line(error)}); put it back and run the same "
                "command again: nothing that was finished is lost."
            ) from error
    else:
        origin = {"dataset": name, "split": source.split}
    optional = {name: getattr(source, name) for name in NAMED_IF_SET if getattr(source, name) != _default(name)}
    return {**origin, "limit": source.limit, "domain": source.domain, "text_field": source.text_field, **optional}


def _default(name: str) -> Any:
    return SourceConfig.model_fields[name].default


def _domain(source: SourceConfig, where: str, fields: dict) -> str:
    given = fields.get("domain")
    if given in (None, ""):
        given = source.domain
    if given is None:
        raise UserError(f"The document at {where} has no domain; give one in the record or in the configuration.")
    try:
        return as_domain("" if isinstance(given, list | dict) else str(given))
    except ValueError as error:
        raise UserError(f"The document at {where} has a domain that cannot be one: {error}.") from error


def _cluster(source: SourceConfig, where: str, fields: dict, name: str) -> str:
    """What the record names; else, where the source says so, its id up to the last '/'; else its id."""
    given = fields.get(source.cluster_field) if source.cluster_field else None
    if given in (None, ""):
        return (name.rpartition("/")[0] if source.cluster_by_source else "") or name
    if isinstance(given, list | dict) or len(str(given)) > MAX_SOURCE:
        raise UserError(
            f"The document at {where} has in the field '{source.cluster_field}' no name of a cluster (a text of at most "
            f"{MAX_SOURCE:,} characters, or a number); write one there, or give another field or null as cluster_field."
        )
    return str(given)


def _with_text(source: SourceConfig, where: str, fields: dict) -> dict:
    """The fields with the text where it is looked for; a field that was named for it is read, whatever else is there."""
    if source.text_field == "text":
        return fields
    if source.text_field in fields:
        return {"text": fields[source.text_field]}
    if "text" in fields:
        raise UserError(f"The document at {where} has no field '{source.text_field}' (text_field), but one called 'text'.")
    return fields


def _check_ids(records: Sequence[Record]) -> None:
    seen: dict[str, str] = {}
    for record in records:
        if len(record.source) > MAX_SOURCE:
            raise UserError(
                f"The document at {record.where} has a source id of {len(record.source):,} characters, and at most "
                f"{MAX_SOURCE:,} are kept: give another field as source_field, or 'source_field: null' to number the documents."
            )
        if record.source in seen:
            raise UserError(
                f"Two documents have the source id {record.source!r} ({seen[record.source]} and {record.where}); source ids "
                "must be unique: give another field as source_field, or 'source_field: null' to number the documents."
            )
        seen[record.source] = record.where


def _check_lookalikes(domains: Collection[str]) -> None:
    """Refuse domains that nobody could tell apart on a page."""
    looks: dict[str, str] = {}
    for domain in sorted(domains):
        look = " ".join(unicodedata.normalize("NFKC", domain).split())
        if look in looks:
            raise UserError(
                f"The corpus has the domains {looks[look]!a} and {domain!a}, which look the same; write them alike."
            )
        looks[look] = domain
