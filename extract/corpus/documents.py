"""From records to token ids with domain and segment marks.

Everything here is decided by the corpus and the settings alone, never by workers or by where a run was resumed: documents
are taken in the order of a hash of their ``source``, and read cluster by cluster: documents of one cluster stand together, in
the order of a hash of its name.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from transformers import PreTrainedTokenizerBase

from extract.corpus.readings import Reading
from extract.corpus.records import Record, source_order
from extract.corpus.render import BAD_ANSWER, BOS_TAKEN, DROPPED, NO_TOOLS, PARTS, SHORTENED, UNPLACED, Rendered, Renderer
from store.errors import UserError, first_line
from store.names import BASE

CUT_DOCUMENTS = "documents cut at document_tokens"
CUT_CHARACTERS = "characters beyond the cut"
TOLD = (BOS_TAKEN, PARTS, DROPPED, SHORTENED, UNPLACED)
"""What of ``Corpus.left_out`` is a note as well."""

BEGINNING_CHARACTERS, CHARACTERS_A_TOKEN, MARGIN_TOKENS = 16_384, 16, 64


@dataclass(frozen=True)
class Document:
    """One tokenised document.

    Attributes:
        token_ids: int32 [n_tokens], without BOS.
        segments: int8 [n_tokens], index into :data:`extract.corpus.render.SEGMENTS`.
        cluster: what it was made from, with other documents of its domain; its source where none is given.
    """

    source: str
    domain: str
    token_ids: np.ndarray
    segments: np.ndarray
    cluster: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cluster", self.cluster or self.source)

    @property
    def cluster_key(self) -> tuple[str, str]:
        """(domain, cluster): documents that have it in common count once in every interval."""
        return self.domain, self.cluster

    @property
    def reading_order(self) -> tuple[bytes, str, bytes]:
        """Sorting key that keeps clusters together: where each document is its own, that of :func:`source_order`."""
        return source_order(self.cluster), self.domain, source_order(self.source)

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass
class Corpus:
    """The documents of a run in reading order, and what was left out and why.

    Attributes:
        skipped: why -> documents that were left out whole.
        left_out: what -> how much of the documents that were read was left out, or counts as something else than it is.
        chat_template: whose it is and its hash; None where prompts and responses had none; empty without conversations.
        notes: what was done to the text that the user should know, a sentence each.
        readings: what each source was read as.
    """

    documents: list[Document]
    skipped: Counter = field(default_factory=Counter)
    left_out: Counter = field(default_factory=Counter)
    chat_template: dict[str, str] | None = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    readings: Sequence[Reading] = ()

    @property
    def domains(self) -> list[str]:
        """Domain labels, sorted."""
        return sorted({document.domain for document in self.documents})

    @property
    def n_tokens(self) -> int:
        """Document tokens, BOS not counted."""
        return sum(map(len, self.documents))

    def digest(self) -> str:
        """SHA-256 over sources, domains, clusters, token ids and segments."""
        total = hashlib.sha256()
        for document in self.documents:
            total.update(f"{document.source}\0{document.domain}\0{document.cluster}\0".encode())
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
            reasons = {"null": "null instead of text", "judged bad": BAD_ANSWER, "no tools": NO_TOOLS}
            empty = reasons.get(rendered.form, "empty text")
            corpus.skipped["text seen before" if text in texts else empty] += 1
            return 0
        texts.add(text)
        document, beyond = _tokenize_one(record, rendered, tokenizer, document_tokens)
        for variant, other in (others or {}).items():
            _compare(variant, record, rendered, document, other, document_tokens)
        if not len(document):
            corpus.skipped["no token"] += 1
            return 0
        corpus.left_out.update(rendered.changes)
        corpus.left_out.update({CUT_DOCUMENTS: int(beyond > 0), CUT_CHARACTERS: beyond})
        corpus.documents.append(document)
        progress(len(document))
        return len(document)

    corpus = Corpus([])
    texts: set[bytes] = set()
    _fill_evenly(records, n_tokens, add)
    if not corpus.documents:
        why = ", ".join(f"{reason}: {number:,}" for reason, number in corpus.skipped.items())
        raise UserError(
            f"No tokens are left: every document of the corpus is empty or a repetition of another ({why}); check the files "
            "and text_field."
        )
    corpus.documents.sort(key=lambda document: document.reading_order)
    corpus.left_out = +corpus.left_out
    corpus.chat_template = renderer.describe()
    corpus.notes = [*renderer.notes(), *_notes(corpus, records, tokenizer.bos_token_id)]
    return corpus


def _notes(corpus: Corpus, records: Sequence[Record], bos: int | None) -> list[str]:
    """What a reader of the numbers should know of the text, a sentence each."""
    notes = [f"Of the texts: {number:,} {what}." for what, number in corpus.left_out.items() if what in TOLD]
    if gone := sorted({record.domain for record in records} - set(corpus.domains)):
        notes.append(f"Of the domain {', '.join(map(repr, gone))} nothing was read: all its documents were left out.")
    if lost := corpus.skipped[NO_TOOLS]:
        notes.append(f"{lost:,} documents were left out, as each holds {NO_TOOLS}.")
    if inside := sum(bool((document.token_ids == bos).any()) for document in corpus.documents):
        notes.append(
            f"BOS stands inside {inside:,} documents: there it is a token like others, which counts unless its norm makes it "
            "an attention sink."
        )
    return notes


def check_ids(corpus: Corpus, rows: int, name: str = BASE, bos: int | None = None) -> None:
    """See that a model has an embedding for every token.

    Args:
        rows: of the model's input embedding.
        name: what the model is called.
        bos: token put before each context window, or None.

    Raises:
        UserError: names the token id, and the document that holds it.
    """
    remedy = "resize the model's embedding to its tokenizer, or give the tokenizer that it was trained with"
    for document in corpus.documents:
        if (strange := document.token_ids[document.token_ids >= rows]).size:
            raise UserError(
                f"The document '{document.source}' holds the token id {strange[0]}, but the embedding of '{name}' has only "
                f"{rows:,} rows: {remedy}, or take that token out of the text."
            )
    if bos is not None and bos >= rows:
        raise UserError(f"BOS has the token id {bos}, but the embedding of '{name}' has only {rows:,} rows: {remedy}.")


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
) -> tuple[Document, int]:
    """The document, and how many characters are beyond where it was cut."""
    token_ids, ends, whole = first_tokens(tokenizer, rendered.text, document_tokens)
    beyond = 0 if whole else len(rendered.text) - int(ends[-1])
    # A token belongs where its last character stands: its first may be the space before the word.
    segments = rendered.segments_at(np.maximum(ends - 1, 0))
    return Document(record.source, record.domain, token_ids, segments, record.cluster), beyond


def first_tokens(tokenizer: PreTrainedTokenizerBase, text: str, count: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """The first tokens of a text, without tokenising all of a very long one.

    A token depends on what follows it over a few words at most. So a beginning is tokenised, then one about twice as long:
    where both begin with the same tokens and are well beyond them, so does the whole.

    Returns:
        Token ids, int32 [n] with n <= count; the character that each ends before, int64 [n]; whether that is the whole text.
    """
    length = BEGINNING_CHARACTERS + CHARACTERS_A_TOKEN * count
    before = None
    while 2 * length < len(text):
        ids, ends = _encode(tokenizer, text[:length])
        found = (ids[:count], ends[:count])
        if len(ids) >= count + MARGIN_TOKENS:
            if before is not None and all(map(np.array_equal, found, before)):
                return *found, False
            before = found
        length = 2 * length + 1  # not a multiple: what repeats itself is cut elsewhere
    ids, ends = _encode(tokenizer, text)
    return ids[:count], ends[:count], len(ids) <= count


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Token ids int32 [n], and the character that each ends before, int64 [n]."""
    try:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    except Exception as error:  # tokenizers raises no other kind
        raise UserError(
            f"The tokenizer cannot read the corpus ({first_line(error)}); save the whole tokenizer that the model was trained "
            "with beside it."
        ) from error
    offsets = np.asarray(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    return np.asarray(encoded["input_ids"], dtype=np.int32), offsets[:, 1]


def _compare(
    variant: str,
    record: Record,
    rendered: Rendered,
    document: Document,
    tokenizer: PreTrainedTokenizerBase,
    document_tokens: int,
) -> None:
    ids, _ends, _whole = first_tokens(tokenizer, rendered.text, document_tokens)
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
    """Domain -> documents, clusters and tokens."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "clusters": 0, "tokens": 0})
    for document in documents:
        counts[document.domain]["documents"] += 1
        counts[document.domain]["tokens"] += len(document)
    for domain, _cluster in {document.cluster_key for document in documents}:
        counts[domain]["clusters"] += 1
    return dict(sorted(counts.items()))
