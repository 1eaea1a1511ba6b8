"""What of a document's text is covered in pages and files: all tokens but those of the template and of refusals."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from store.read.store import Store
from store.text import HIDDEN


def covered_tokens(store: Store, document: int, first: int, count: int) -> list[bool]:
    """Of ``count`` tokens of a document, from its token ``first``: whether each is covered where its text may be harmful."""
    rows = store.readable_tokens(document)
    readable = set(rows.loc[rows["is_readable"], "position"])
    return [position not in readable for position in range(first, first + count)]


def covered_context(store: Store, record: dict[str, Any], domains: Collection[str]) -> dict[str, Any]:
    """A row of Store.contexts, of one of these domains with HIDDEN in place of each token that is covered."""
    if record["domain"] not in domains:
        return record
    first = int(record["position"]) - int(record["peak"])
    covered = covered_tokens(store, int(record["document"]), first, len(record["tokens"]))
    listed = {
        name: [HIDDEN if is_covered else token for token, is_covered in zip(record[name], covered, strict=True)]
        for name in ("tokens", "alone")
    }
    return record | listed
