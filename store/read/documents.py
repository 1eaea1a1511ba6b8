"""Questions about documents: which there are, and which changed most.

How much a document changed is the mean of a token value (store/read/document_tokens.py) over its tokens.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from store.errors import UserError
from store.names import ALL
from store.read.connection import Connection
from store.read.document_search import documents_with
from store.read.document_tokens import PREDICTION_VALUES
from store.read.expressions import TOKEN_TEXT, WITH_TEXTS
from store.token_text import NEIGHBOURS, in_place, spellings

MEANS = {
    "cosine_change": "1 - sum(s.cosine) / sum(s.n_tokens)",
    "overlap_change": "1 - sum(s.overlap) / sum(s.n_tokens)",
    "l1_divergence": "sum(s.l1_divergence) / sum(s.n_tokens)",
    "l0_change": "(sum(s.l0_variant) - sum(s.l0_base)) / sum(s.n_tokens)",
    "kl": "avg(s.kl)",
    "logprob_change": "avg(s.variant_logprob - s.base_logprob)",
}
"""Token value -> its mean over a document's tokens: from document_sums, or from token_kl."""

SORTS = {"change": "abs(change) DESC NULLS LAST, document", "order": "document", "hash": "md5(source), document"}
"""Most changed first, either way; reading order; an order that has nothing to do with the content."""

HAVING = {"codes": "has_codes", "kl": "has_kl"}

START_TOKENS = 24
"""Tokens of a document that a list shows."""


@dataclass(frozen=True)
class DocumentFilter:
    """Which documents a list shows, what is said to have changed in them, and in what order.

    Attributes:
        variant: of the store's variants.
        layer: where the change is measured; a token value of token_kl belongs to no layer.
        value: a key of MEANS.
        domain: None or 'all': every domain.
        search: part of the source id or of the text, across tokens, whatever its case and however its accents are written.
        having: a key of HAVING: only documents whose codes were kept, or whose prediction was sampled; None for all.
        sort: a key of SORTS.

    Raises:
        UserError: an unknown value, having or sort.
    """

    variant: str
    layer: int
    value: str = "cosine_change"
    domain: str | None = None
    search: str = ""
    having: str | None = None
    sort: str = "change"

    def __post_init__(self) -> None:
        for name, allowed in (("value", MEANS), ("sort", SORTS), ("having", HAVING)):
            given = getattr(self, name)
            if given not in allowed and (name, given) != ("having", None):
                raise UserError(f"There is no {name} '{given}' of documents; choose one of {', '.join(allowed)}.")

    def means(self) -> tuple[str, dict[str, Any]]:
        """A SELECT of document and change, and its parameters."""
        if self.value in PREDICTION_VALUES:
            table, keys = "token_kl s WHERE s.variant = $variant", {"variant": self.variant}
        else:
            table = "document_sums s WHERE s.variant = $variant AND s.layer = $layer"
            keys = {"variant": self.variant, "layer": int(self.layer)}
        return f"SELECT s.document, {MEANS[self.value]} AS change FROM {table} GROUP BY s.document", keys


class Documents(Connection):
    """The documents of a store."""

    def documents(
        self, domain: str | None = None, search: str | None = None, limit: int | None = 50, offset: int = 0
    ) -> pd.DataFrame:
        """Documents in reading order; search is part of a source id."""
        composed, decomposed = spellings(search or "")
        return self.sql(
            f"""
            SELECT * FROM documents
            WHERE ($domain::VARCHAR IS NULL OR $domain = '{ALL}' OR domain = $domain)
              AND (contains(lower(source), lower($composed)) OR contains(lower(source), lower($decomposed)))
            ORDER BY document LIMIT $limit OFFSET $offset
            """,
            {"domain": domain, "composed": composed, "decomposed": decomposed, "limit": limit, "offset": int(offset)},
        )

    def document_list(
        self,
        variant: str,
        layer: int,
        value: str = "cosine_change",
        *,
        limit: int | None = 50,
        offset: int = 0,
        **filters: Any,
    ) -> pd.DataFrame:
        """Documents, with how much each changed.

        Args:
            filters: other fields of :class:`DocumentFilter` (domain, search, having, sort).

        Returns:
            DataFrame: document, source, domain, n_tokens, has_codes, has_kl, change (the value's mean over the document's
            tokens; null where it has none), start (its first tokens as text, untrusted), total (documents that the whole list
            has).

        Raises:
            UserError: an unknown value, having or sort.
        """
        chosen = DocumentFilter(variant, layer, value, **filters)
        means, keys = chosen.means()
        parameters = keys | {"domain": chosen.domain, "limit": limit, "offset": int(offset)}
        found = "true"
        if chosen.search:
            parameters["found"] = documents_with(self, chosen.search)
            found = "d.document IN (SELECT unnest($found::INTEGER[]))"
        listed = self.sql(
            f"""
            WITH means AS ({means}), listed AS (
                SELECT d.document, d.source, d.domain, d.n_tokens, d.has_codes,
                       d.document IN (SELECT document FROM token_kl) AS has_kl, means.change
                FROM documents d LEFT JOIN means ON means.document = d.document
                WHERE ($domain::VARCHAR IS NULL OR $domain = '{ALL}' OR d.domain = $domain) AND {found}
            ), chosen AS (
                SELECT *, count(*) OVER () AS total, row_number() OVER (ORDER BY {SORTS[chosen.sort]}) AS place
                FROM listed WHERE {HAVING.get(chosen.having, "true")}
                ORDER BY place LIMIT $limit OFFSET $offset
            ), starts AS (
                SELECT t.document, list({TOKEN_TEXT} ORDER BY t.position) AS start
                FROM tokens t {WITH_TEXTS}
                WHERE t.position < {START_TOKENS + NEIGHBOURS} AND t.document IN (SELECT document FROM chosen)
                GROUP BY t.document
            )
            SELECT c.document, c.source, c.domain, c.n_tokens, c.has_codes, c.has_kl, c.change, starts.start, c.total
            FROM chosen c LEFT JOIN starts ON starts.document = c.document ORDER BY c.place
            """,
            parameters,
        )
        listed["start"] = [
            "".join(in_place(tokens, 0, START_TOKENS)) if isinstance(tokens, np.ndarray) else None for tokens in listed["start"]
        ]
        return listed

    def document_about(self, document: int) -> pd.DataFrame:
        """One document: columns of documents, and has_kl (whether its prediction was sampled); no row where there is none."""
        return self.sql(
            "SELECT *, document IN (SELECT document FROM token_kl) AS has_kl FROM documents WHERE document = $document",
            {"document": int(document)},
        )
