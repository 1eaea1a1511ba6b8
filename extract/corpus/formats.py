"""What a file, folder or dataset of somebody's is, without a configuration: for ``init``, by the code that a run reads with."""

import glob
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from extract.config_sections import SourceConfig
from extract.corpus.document_sources import is_there
from extract.corpus.records import read_corpus

UNNAMED = "domain to be named"


@dataclass(frozen=True)
class Look:
    """What a place holds.

    Attributes:
        format: name of the records' format, or of each of several.
        n_records: how many there are, those without text left out.
        domains: domains that the records carry -> how many; empty where they carry none.
        n_without_domain: records that carry none: the configuration must then give one.
        has_sources: whether records carry an id of their own.
        lines: what is said of it, a line for each source: "train.jsonl: read as ShareGPT, 1,000 conversations".
        notes: what would be done otherwise than the records say, a sentence each.
    """

    format: str
    n_records: int
    domains: dict[str, int]
    n_without_domain: int
    has_sources: bool
    lines: tuple[str, ...]
    notes: tuple[str, ...]


def look_at(path: str, limit: int | None = None) -> Look:
    """Read a file, folder or pattern, or a Hugging Face dataset where there is nothing of that name, and say what it is.

    Args:
        path: as in ``path`` or ``dataset`` of a configuration.
        limit: read at most this many records.

    Raises:
        UserError: it cannot be read, or its records are of no known format.
    """
    is_local = is_there(Path(path)) or glob.has_magic(path)
    place = {"path": path} if is_local else {"dataset": path}
    corpus = read_corpus([SourceConfig(**place, limit=limit, domain=UNNAMED)])
    domains = Counter(record.domain for record in corpus.records)
    unnamed = domains.pop(UNNAMED, 0)
    formats: Counter[str] = sum((reading.formats for reading in corpus.readings), Counter())
    return Look(
        format=", ".join(name for name, _count in formats.most_common()),
        n_records=formats.total(),
        domains=dict(sorted(domains.items())),
        n_without_domain=unnamed,
        has_sources=any(reading.n_named for reading in corpus.readings),
        lines=tuple(reading.line() for reading in corpus.readings),
        notes=tuple(note for reading in corpus.readings for note in reading.notes),
    )
