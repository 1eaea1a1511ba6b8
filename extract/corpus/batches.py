"""Documents to shards, and shards to padded batches of context windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from extract.corpus.documents import Document
from store.format.part_guard import MAX_PART_TOKENS

LEAST_FILL = 0.7
"""A window shorter than this share of its batch's longest begins another batch."""


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
        first_cluster: number in the run of its first cluster, (domain, cluster) of its first document.
        open: int64 [0 to 2], ascending: numbers in the run of the clusters that it shares with the shard before or behind it.
    """

    index: int
    first_document: int
    documents: tuple[Document, ...]
    first_cluster: int = 0
    open: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def clusters(self) -> np.ndarray:
        """int64 [documents]: number in the run of each document's cluster; those of one cluster stand together."""
        number: dict[tuple[str, str], int] = {}
        within = [number.setdefault(document.cluster_key, len(number)) for document in self.documents]
        return self.first_cluster + np.array(within, dtype=np.int64)

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
    return _numbered(groups)


def _numbered(groups: Sequence[Sequence[Document]]) -> list[Shard]:
    """The groups as shards, with their clusters numbered over all of them."""
    shards: list[Shard] = []
    first_document = first_cluster = 0
    for index, group in enumerate(groups):
        before = index > 0 and groups[index - 1][-1].cluster_key == group[0].cluster_key
        behind = index + 1 < len(groups) and groups[index + 1][0].cluster_key == group[-1].cluster_key
        first_cluster -= before
        last_cluster = first_cluster + len({document.cluster_key for document in group}) - 1
        open_ = np.unique([*[first_cluster] * before, *[last_cluster] * behind]).astype(np.int64)
        shards.append(Shard(index, first_document, tuple(group), first_cluster, open_))
        first_document += len(group)
        first_cluster = last_cluster + 1
    return shards


def make_batches(shard: Shard, context_length: int, batch_tokens: int, bos: int | None, pad: int) -> Iterator[Batch]:
    """Batches of a shard's context windows, longest first, each at most ``batch_tokens`` padded tokens (or one window).

    A batch ends before a window that is much shorter than its first, so that little of all is padding: less than a twentieth in
    shards of the usual size.

    Args:
        bos: id put before each window, or None.
        pad: id for padding.
    """
    window_tokens = context_length - (bos is not None)
    windows = [
        Window(int(first_row) + start, document.token_ids[start : start + window_tokens])
        for document, first_row in zip(shard.documents, shard.first_rows, strict=True)
        for start in range(0, len(document), window_tokens)
    ]
    windows.sort(key=lambda window: -len(window.token_ids))
    lead = int(bos is not None)
    while windows:
        width = lead + len(windows[0].token_ids)
        at_most = max(1, batch_tokens // width)
        size = sum(lead + len(window.token_ids) >= LEAST_FILL * width for window in windows[:at_most])
        taken, windows = windows[:size], windows[size:]
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
