"""Raw documents from files and Hugging Face datasets, each with an id and a domain."""

import hashlib
import itertools
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from extract.config import RunConfig
from extract.config_sections import SourceConfig, as_domain
from extract.corpus.dataset_rows import read_rows
from extract.corpus.document_sources import Source, find_sources
from extract.corpus.readings import Reading
from extract.corpus.record_files import RecordFile
from extract.corpus.record_formats import named_format, recognise
from store.errors import UserError, first_line

FORMS = ("text", "prompt", "response", "messages")
"""Fields that hold what a record says."""
MOST_RECORDS = 2_000_000
"""Of a source without a limit: all are held in memory, to be drawn from evenly."""
LEAST_CATEGORY = 3
"""Records that have a field alike, before it is taken for a category; two may be a mistake."""
MAX_SOURCE = 1_000
"""Characters of a source id, or of a cluster, which stand in tables and links."""


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


@dataclass(frozen=True)
class RawCorpus:
    """What the sources of a configuration hold: every record, and what each source was read as."""

    records: list[Record]
    readings: list[Reading]

    @property
    def notes(self) -> list[str]:
        """What was done otherwise than the records say, a sentence each."""
        return [note for reading in self.readings for note in reading.notes]


def read_corpus(sources: Sequence[SourceConfig]) -> RawCorpus:
    """Read every record of every source.

    Raises:
        UserError: a source is missing, empty, malformed (file and line named), of no known format, has no domain, repeats
            another's id, or names as a cluster what cannot be one.
    """
    corpus = RawCorpus([], [])
    for source in find_sources(sources):
        config, reading = source.config, Reading(source)
        _check_format(config)
        try:
            with closing(_rows(source)) as every:
                rows = list(itertools.islice(every, config.limit or MOST_RECORDS + 1))
        except OSError as error:
            reason = first_line(error).rstrip(".")
            raise UserError(f"The corpus source '{source.name}' cannot be read: {reason}.") from error
        if not rows:
            raise UserError(f"The corpus source '{source.name}' has no documents; check the file.")
        if config.limit is None and len(rows) > MOST_RECORDS:
            raise UserError(f"The corpus source '{source.name}' has more than {MOST_RECORDS:,} records; give it a limit.")
        for given, (_default, where, fields) in zip(_ids(rows, reading), rows, strict=True):
            domain, cluster = _domain(config, where, fields), _cluster(config, where, fields, given)
            said = _recognised(config, where, fields, reading)
            corpus.records.append(Record(given, domain, said, where, source.name, cluster))
        reading.close()
        corpus.readings.append(reading)
    _check_ids(corpus.records)
    check_lookalikes({record.domain for record in corpus.records})
    return corpus


def read_records(sources: Sequence[SourceConfig]) -> list[Record]:
    """Every record of every source: see :func:`read_corpus`."""
    return read_corpus(sources).records


def first_records(records: Sequence[Record], count: int) -> list[Record]:
    """The first records of each source that say anything, for a look at all of them that costs little."""
    taken: Counter[str] = Counter()
    chosen = []
    for record in records:
        if taken[record.file] < count and any(record.fields.get(name) for name in FORMS):
            taken[record.file] += 1
            chosen.append(record)
    return chosen or list(records[:count])


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


def check_lookalikes(domains: Collection[str]) -> None:
    """Refuse domains that nobody could tell apart on a page.

    Raises:
        UserError: names two.
    """
    looks: dict[str, str] = {}
    for domain in sorted(domains):
        look = " ".join(unicodedata.normalize("NFKC", domain).split())
        if look in looks:
            raise UserError(
                f"The corpus has the domains {looks[look]!a} and {domain!a}, which look the same; write them alike."
            )
        looks[look] = domain


def _rows(source: Source) -> Iterator[tuple[str, str, dict]]:
    """(default source id, place for messages, fields) of each record."""
    config = source.config
    if not source.files:
        for number, fields in read_rows(config.dataset, config.config, config.split, config.limit is not None):
            yield f"{source.name}:{config.split}:{number}", f"{source.name}:{config.split}:{number}", fields
    elif source.saved:
        every = (row for file in source.files for row in RecordFile(file).rows())
        for number, row in enumerate(every):
            yield f"{source.name}:{config.split}:{number}", f"{source.name}:{config.split}:{number}", row.fields
    else:
        for file, name in zip(source.files, source.names, strict=True):
            for row in RecordFile(file, config.split, config.paragraphs).rows():
                yield (f"{name}:{row.number}", f"{name}, {row.place}", row.fields) if row.number else (name, name, row.fields)


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


def _ids(rows: Sequence[tuple[str, str, dict]], reading: Reading) -> list[str]:
    """The id of each record: what its field says, else its place; its place of all where that field is obviously no id."""
    source = reading.source.config
    given = ["" if source.source_field is None else str(row[2].get(source.source_field) or "") for row in rows]
    named = [name for name in given if name]
    is_category = len(named) >= LEAST_CATEGORY and 2 * len(set(named)) <= len(named)
    if "source_field" not in source.model_fields_set and is_category:
        reading.notes.append(
            f"The field '{source.source_field}' of {reading.name} is a category and no id ({len(set(named)):,} values in "
            f"{len(named):,} records): its documents are numbered instead."
        )
        given = [""] * len(rows)
    reading.n_named = sum(map(bool, given))
    return [name or default for name, (default, _where, _fields) in zip(given, rows, strict=True)]


def _check_format(source: SourceConfig) -> None:
    try:
        named_format(source.format or "text")
    except ValueError as error:
        raise UserError(f"The corpus source '{source.path or source.dataset}': {error}.") from error


def _recognised(source: SourceConfig, where: str, fields: dict, reading: Reading) -> Mapping[str, Any]:
    """What a record says, by the format that it is recognised as; a field that was named for the text is what is read."""
    try:
        if "text_field" in source.model_fields_set and source.text_field in fields:
            found = recognise({"text": fields[source.text_field]})
        elif source.text_field != "text" and "text" in fields:
            raise ValueError(f"has no field '{source.text_field}' (text_field), but one called 'text'")
        else:
            found = recognise(fields, None if source.format is None else named_format(source.format))
    except ValueError as error:
        raise UserError(f"The document at {where} {error}.") from error
    reading.count(found)
    return found.fields


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
