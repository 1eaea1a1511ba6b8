"""From records to token ids with domain and segment marks.

Everything here is decided by the corpus and the settings alone, never by workers or by where a run was resumed: documents
are taken in the order of a hash of their ``source``.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from transformers import PreTrainedTokenizerBase

from extract.records import Record, source_order
from extract.render import Rendered, Renderer
from store.errors import UserError


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
    """The documents of a run in reading order, and what was left out and why.

    Attributes:
        notes: what was done to the text that the user should know, a sentence each.
    """

    documents: list[Document]
    skipped: Counter = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

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
    def add(record: Record) -> int:
        """Tokenise one record into the corpus; returns its tokens, 0 where it is left out."""
        rendered = renderer.render(record)
        text = hashlib.sha256(rendered.text.encode()).digest()
        if not rendered.text.strip() or text in texts:
            corpus.skipped["text seen before" if text in texts else "empty text"] += 1
            return 0
        texts.add(text)
        document = _tokenize_one(record, rendered, tokenizer, document_tokens)
        for variant, other in (others or {}).items():
            _compare(variant, record, rendered, document, other, document_tokens)
        corpus.documents.append(document)
        progress(len(document))
        return len(document)

    corpus = Corpus([])
    texts: set[bytes] = set()
    _fill_evenly(records, n_tokens, add)
    if not corpus.documents:
        raise UserError("No tokens are left: every document of the corpus is empty or a repetition of another.")
    corpus.documents.sort(key=lambda document: source_order(document.source))
    return corpus


def _fill_evenly(records: Sequence[Record], n_tokens: int, add: Callable[[Record], int]) -> None:
    """Hand records to ``add``, in hash order, until each domain has its even share; what one lacks goes to the others."""
    queues: dict[str, Iterator[Record]] = {
        domain: iter(sorted((r for r in records if r.domain == domain), key=lambda r: r.order))
        for domain in sorted({record.domain for record in records})
    }
    filled: Counter[str] = Counter()
    settled = False
    while queues and not settled:
        settled = True
        quota = (n_tokens - sum(filled[domain] for domain in filled if domain not in queues)) / len(queues)
        for domain in list(queues):
            while filled[domain] < quota:
                record = next(queues[domain], None)
                if record is None:
                    del queues[domain]
                    settled = False
                    break
                filled[domain] += add(record)


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


def domain_counts(documents: Sequence[Document]) -> dict[str, dict[str, int]]:
    """Domain -> documents and tokens."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "tokens": 0})
    for document in documents:
        counts[document.domain]["documents"] += 1
        counts[document.domain]["tokens"] += len(document)
    return dict(sorted(counts.items()))
