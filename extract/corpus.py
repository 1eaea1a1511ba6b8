"""From sources of documents to token ids with domain and segment marks, and on to shards and batches.

Everything here is decided by the corpus and the settings alone, never by workers or by where a run was resumed: documents
are taken in the order of a hash of their ``source``, shards are fixed groups of whole documents, and batches depend on
their shard.
"""

import gzip
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from extract.config import SourceConfig
from extract.render import SEGMENTS, Rendered, Renderer
from store.errors import UserError
from store.parts import MAX_PART_TOKENS

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
        return hashlib.sha256(self.source.encode()).digest()


@dataclass(frozen=True)
class Document:
    """One tokenised document.

    Attributes:
        token_ids: int32 [n_tokens], without BOS.
        segments: int8 [n_tokens], index into :data:`extract.render.SEGMENTS`.
    """

    source: str
    domain: str
    token_ids: np.ndarray
    segments: np.ndarray

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass
class Corpus:
    """The documents of a run in reading order, and what was left out and why."""

    documents: list[Document]
    skipped: Counter = field(default_factory=Counter)

    @property
    def domains(self) -> list[str]:
        """Domain labels, sorted."""
        return sorted({document.domain for document in self.documents})

    @property
    def n_tokens(self) -> int:
        """Document tokens, BOS not counted."""
        return sum(map(len, self.documents))

    def digest(self) -> str:
        """SHA-256 over sources, domains, token ids and segments."""
        total = hashlib.sha256()
        for document in self.documents:
            total.update(f"{document.source}\0{document.domain}\0".encode())
            total.update(document.token_ids.tobytes())
            total.update(document.segments.tobytes())
        return total.hexdigest()


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
                    f"Two documents have the source id '{record.source}' ({seen[record.source]} and {where}); "
                    "source ids must be unique."
                )
            seen[record.source] = where
            records.append(record)
        if len(records) == before:
            raise UserError(f"The corpus source '{source.path or source.dataset}' has no documents; check the file.")
    return records


def tokenize(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    renderer: Renderer,
    n_tokens: int,
    document_tokens: int,
    others: Mapping[str, PreTrainedTokenizerBase] | None = None,
    progress: Callable[[int], None] = lambda _tokens: None,
) -> Corpus:
    """Tokenise documents until the token budget is filled, evenly over the domains.

    Args:
        records: from :func:`read_records`.
        tokenizer: the base's.
        renderer: turns a record into text with segment spans.
        n_tokens: budget; the last document of a domain may pass it.
        document_tokens: longest document; what is beyond is cut off.
        others: variant -> its own tokenizer, which must give the same ids.
        progress: called with the number of tokens added.

    Raises:
        UserError: a variant's tokenizer disagrees (the first difference is shown), or no token is left.
    """
    queues: dict[str, Iterator[Record]] = {
        domain: iter(sorted((r for r in records if r.domain == domain), key=lambda r: r.order))
        for domain in sorted({record.domain for record in records})
    }
    corpus = Corpus([])
    texts: set[bytes] = set()
    filled = Counter()
    settled = False
    while queues and not settled:
        settled = True
        quota = (n_tokens - sum(filled[domain] for domain in filled if domain not in queues)) / len(queues)
        for domain in list(queues):
            while filled[domain] < quota:
                record = next(queues[domain], None)
                if record is None:
                    del queues[domain]
                    settled = False  # what it could not fill goes to the others
                    break
                rendered = renderer.render(record)
                if not rendered.text.strip():
                    corpus.skipped["empty text"] += 1
                elif (text := hashlib.sha256(rendered.text.encode()).digest()) in texts:
                    corpus.skipped["text seen before"] += 1
                else:
                    texts.add(text)
                    document = _tokenize_one(record, rendered, tokenizer, document_tokens)
                    for variant, other in (others or {}).items():
                        _compare(variant, record, rendered, document, other, document_tokens)
                    corpus.documents.append(document)
                    filled[domain] += len(document)
                    progress(len(document))
    if not corpus.documents:
        raise UserError("No tokens are left: every document of the corpus is empty or a repetition of another.")
    corpus.documents.sort(key=lambda document: hashlib.sha256(document.source.encode()).digest())
    return corpus


@dataclass(frozen=True)
class Window:
    """One context window: a run of a document's tokens that the models see together."""

    first_row: int
    token_ids: np.ndarray


@dataclass(frozen=True)
class Batch:
    """Windows of about equal length, padded on the right.

    Attributes:
        input_ids: int64 [batch, position].
        attention_mask: int64 [batch, position].
        rows: int64 [batch, position], the token's row in its shard; -1 for padding and BOS.
    """

    input_ids: np.ndarray
    attention_mask: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Shard:
    """A group of whole documents: the unit of work, of resuming, and of one HDF5 part.

    Attributes:
        index: number of the shard and of its part.
        first_document: number in the run of its first document.
        documents: in reading order; the shard's rows are their tokens one after another.
    """

    index: int
    first_document: int
    documents: tuple[Document, ...]

    @property
    def n_tokens(self) -> int:
        """Token rows of the shard."""
        return sum(map(len, self.documents))

    @property
    def token_ids(self) -> np.ndarray:
        """int32 [n_tokens]."""
        return np.concatenate([document.token_ids for document in self.documents])

    @property
    def segments(self) -> np.ndarray:
        """int8 [n_tokens]."""
        return np.concatenate([document.segments for document in self.documents])

    @property
    def document_of_row(self) -> np.ndarray:
        """int64 [n_tokens]: index of the document within the shard."""
        return np.repeat(np.arange(len(self.documents)), [len(document) for document in self.documents])

    @property
    def position_of_row(self) -> np.ndarray:
        """int64 [n_tokens]: token of its document, from 0."""
        return np.arange(self.n_tokens) - self.first_rows[self.document_of_row]

    def window_of_row(self, window_tokens: int) -> np.ndarray:
        """int64 [n_tokens]: a number for each context window of the shard."""
        return self.document_of_row * MAX_PART_TOKENS + self.position_of_row // window_tokens

    @property
    def first_rows(self) -> np.ndarray:
        """int64 [documents]: row of each document's first token."""
        return np.concatenate([[0], np.cumsum([len(document) for document in self.documents])[:-1]])


def make_shards(documents: Sequence[Document], shard_tokens: int) -> list[Shard]:
    """Group documents in order; a shard is closed before it would pass ``shard_tokens``."""
    groups: list[list[Document]] = [[]]
    size = 0
    for document in documents:
        if groups[-1] and size + len(document) > shard_tokens:
            groups.append([])
            size = 0
        groups[-1].append(document)
        size += len(document)
    starts = np.concatenate([[0], np.cumsum([len(group) for group in groups])])
    return [Shard(index, int(starts[index]), tuple(group)) for index, group in enumerate(groups)]


def window_starts(n_tokens: int, window_tokens: int) -> range:
    """First position of each context window of a document."""
    return range(0, n_tokens, window_tokens)


def make_batches(shard: Shard, context_length: int, batch_tokens: int, bos: int | None, pad: int) -> Iterator[Batch]:
    """Batches of a shard's context windows, longest first, each at most ``batch_tokens`` padded tokens (or one window).

    Args:
        bos: id put before each window, or None.
        pad: id for padding.
    """
    window_tokens = context_length - (bos is not None)
    windows = [
        Window(int(first_row) + start, document.token_ids[start : start + window_tokens])
        for document, first_row in zip(shard.documents, shard.first_rows, strict=True)
        for start in window_starts(len(document), window_tokens)
    ]
    windows.sort(key=lambda window: -len(window.token_ids))
    while windows:
        width = len(windows[0].token_ids) + (bos is not None)
        taken, windows = windows[: max(1, batch_tokens // width)], windows[max(1, batch_tokens // width) :]
        yield _pad(taken, width, bos, pad)


def _pad(windows: Sequence[Window], width: int, bos: int | None, pad: int) -> Batch:
    input_ids = np.full((len(windows), width), pad, dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    rows = np.full_like(input_ids, -1)
    lead = int(bos is not None)
    for i, window in enumerate(windows):
        stop = lead + len(window.token_ids)
        input_ids[i, :lead] = bos or 0
        input_ids[i, lead:stop] = window.token_ids
        attention_mask[i, :stop] = 1
        rows[i, lead:stop] = window.first_row + np.arange(len(window.token_ids))
    return Batch(input_ids, attention_mask, rows)


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
    except (ValueError, OSError, EOFError) as error:
        at = number if isinstance(error, ValueError) else number + 1  # a line that could not be read was not counted
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
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"The dataset '{source.dataset}' could not be read: {first}") from error


def _record(source: SourceConfig, name: str, where: str, fields: dict) -> Record:
    domain = fields.get("domain") or source.domain
    if not domain:
        raise UserError(f"The document at {where} has no domain; give one in the record or in the configuration.")
    if domain == "all":
        raise UserError(f"The document at {where} has the domain 'all', which is reserved for the total.")
    if source.text_field != "text" and source.text_field in fields:
        fields = {**fields, "text": fields[source.text_field]}
    return Record(str(fields.get("source") or name), str(domain), fields, where)


def _tokenize_one(
    record: Record, rendered: Rendered, tokenizer: PreTrainedTokenizerBase, document_tokens: int
) -> Document:
    encoded = tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)
    token_ids = np.asarray(encoded["input_ids"][:document_tokens], dtype=np.int32)
    # A token belongs where its last character stands: its first may be the space before the word.
    last = np.maximum(np.asarray(encoded["offset_mapping"][:document_tokens])[:, 1] - 1, 0)
    return Document(record.source, record.domain, token_ids, rendered.segments_at(last))


def _compare(
    variant: str,
    record: Record,
    rendered: Rendered,
    document: Document,
    tokenizer: PreTrainedTokenizerBase,
    document_tokens: int,
) -> None:
    ids = np.asarray(tokenizer(rendered.text, add_special_tokens=False)["input_ids"][:document_tokens], dtype=np.int32)
    if np.array_equal(ids, document.token_ids):
        return
    shared = min(len(ids), len(document))
    differs = np.flatnonzero(ids[:shared] != document.token_ids[:shared])
    at = int(differs[0]) if len(differs) else shared
    theirs = tokenizer.convert_ids_to_tokens(int(ids[at])) if at < len(ids) else "nothing"
    base_id = int(document.token_ids[at]) if at < len(document) else "nothing"
    raise UserError(
        f"The variant '{variant}' has another tokenizer than the base: {record.where}, token {at}: the base has id "
        f"{base_id}, the variant '{theirs}' (id {int(ids[at]) if at < len(ids) else 'none'}). "
        "Models can only be compared on identical tokens."
    )


def describe_source(source: SourceConfig) -> dict[str, Any]:
    """What the manifest says of a source: a file by name and hash, a dataset by id; and which part of it was read."""
    if source.path:
        with Path(source.path).open("rb") as file:
            origin = {"file": Path(source.path).name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    else:
        name = Path(source.dataset).name if Path(source.dataset).exists() else source.dataset
        origin = {"dataset": name, "split": source.split}
    return {**origin, "limit": source.limit, "domain": source.domain, "text_field": source.text_field}


def domain_counts(documents: Sequence[Document]) -> dict[str, dict[str, int]]:
    """Domain -> documents and tokens."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "tokens": 0})
    for document in documents:
        counts[document.domain]["documents"] += 1
        counts[document.domain]["tokens"] += len(document)
    return dict(sorted(counts.items()))


__all__ = [
    "SEGMENTS", "Batch", "Corpus", "Document", "Record", "Shard",
    "domain_counts", "make_batches", "make_shards", "read_records", "tokenize",
]  # fmt: skip
