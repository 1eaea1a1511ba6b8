"""Which documents hold a piece of text: by the bytes of their tokens, so that no boundary between tokens hides it."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from store.read.connection import Connection
from store.token_text import folded, raw_bytes, running

TOKENS_AT_ONCE = 250_000
"""Tokens whose text is in memory at a time, give or take a document."""

LONGEST = 1024
"""Bytes of a token that are searched; no real one is as long, and a store from a stranger must not fill the memory."""


def documents_with(store: Connection, search: str) -> list[int]:
    """The numbers of the documents that have `search` in their source id or their text, ascending.

    It is looked for as it is typed, without patterns, but whatever its case, and whether a letter and its accent are one
    character or two.
    """
    sought = folded(search)
    documents = store.sql("SELECT document, source, n_tokens FROM documents ORDER BY document")
    named = documents["document"][documents["source"].map(lambda source: sought in folded(source)).astype(bool)]
    holding = [number for number, text in _texts(store, documents) if sought in folded(text)]
    return sorted({int(number) for number in (*named, *holding)})


def _texts(store: Connection, documents: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """Every document that has tokens, and its text.

    Args:
        documents: document and n_tokens, in order.
    """
    vocabulary = store.sql("SELECT token_id, token FROM vocabulary ORDER BY token_id")
    known = vocabulary["token_id"].to_numpy()
    raws = pa.array([*(raw_bytes(token)[:LONGEST] for token in vocabulary["token"]), b""], pa.large_binary())
    for _, some in documents.groupby(documents["n_tokens"].cumsum() // TOKENS_AT_ONCE):
        tokens = store.sql(
            "SELECT document, token_id FROM tokens WHERE document BETWEEN $first AND $last ORDER BY document, position",
            {"first": int(some["document"].min()), "last": int(some["document"].max())},
        )
        if tokens.empty:
            continue
        ids = tokens["token_id"].to_numpy()
        place = np.searchsorted(known, ids)
        place[~np.isin(ids, known)] = len(known)  # without a text
        joined = raws.take(pa.array(place))
        numbers, first = np.unique(tokens["document"].to_numpy(), return_index=True)
        offsets, data = np.frombuffer(joined.buffers()[1], dtype=np.int64), memoryview(joined.buffers()[2] or b"")
        for number, start, end in zip(numbers, offsets[first], offsets[[*first[1:], len(ids)]], strict=True):
            yield number, running(bytes(data[start:end]))
