"""Questions about the contexts in which a feature fires: windows of tokens around the strongest places."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from store.names import ALL
from store.read.connection import Connection
from store.read.expressions import TOKEN_TEXT, WITH_TEXTS
from store.token_text import NEIGHBOURS, in_place


class Contexts(Connection):
    """The contexts that a store keeps."""

    def contexts(
        self,
        layer: int,
        feature: int,
        variant: str,
        ranking: str = "decrease",
        domain: str | None = None,
        limit: int = 20,
    ) -> pd.DataFrame:
        """The strongest contexts of a feature under one ranking, best first; of 'spread' a random few, by their activation.

        Columns of contexts, and of the window's n_window tokens, as lists: token_ids; tokens, their texts where they stand
        (:func:`store.token_text.in_place`: joined, they read as the text does); alone, each token's text by itself ('⟨id⟩'
        where the vocabulary lacks one); base_values and variant_values (scaled activation, 0 where silent); domain, source of
        the document. domain None or 'all': every domain.
        """
        found = self.sql(
            f"""
            WITH chosen AS (
                SELECT c.*, d.domain, d.source FROM contexts c JOIN documents d ON d.document = c.document
                WHERE c.variant = $variant AND c.layer = $layer AND c.feature = $feature AND c.ranking = $ranking
                  AND ($domain::VARCHAR IS NULL OR $domain = '{ALL}' OR d.domain = $domain)
                ORDER BY c.rank LIMIT $limit
            ), texts AS (
                SELECT p.rank, list(t.token_id ORDER BY t.position) AS token_ids,
                       list({TOKEN_TEXT} ORDER BY t.position) AS alone,
                       count(*) FILTER (t.position < p.start) AS before
                FROM (
                    SELECT rank, document, position - peak AS start,
                           unnest(range(start - {NEIGHBOURS}, start + n_window + {NEIGHBOURS})) AS position
                    FROM chosen
                ) p
                JOIN tokens t USING (document, position) {WITH_TEXTS} GROUP BY p.rank
            )
            SELECT chosen.*, texts.token_ids, texts.alone AS tokens, texts.alone, {_dense("base")} AS base_values,
                   {_dense("variant")} AS variant_values, texts.before
            FROM chosen JOIN texts USING (rank)
            ORDER BY CASE WHEN ranking = 'spread' THEN -greatest(base_values[peak + 1], variant_values[peak + 1]) END, rank
            """,
            {
                "layer": int(layer),
                "feature": int(feature),
                "variant": variant,
                "ranking": ranking,
                "domain": domain,
                "limit": int(limit),
            },
        )
        before = found.pop("before")
        windows = list(map(slice, before, before + found["n_window"]))
        found["tokens"] = _each(
            found["alone"], windows, lambda tokens, at: np.array(in_place(tokens, at.start, at.stop), object)
        )
        for name in ("token_ids", "alone"):
            found[name] = _each(found[name], windows, lambda values, at: values[at])
        return found

    def best_context(
        self, layer: int, feature: int, variant: str, ranking: str = "decrease", domain: str | None = None
    ) -> pd.DataFrame:
        """The first context of a ranking, or no row: columns as contexts. Of every domain, the variant's task goes first."""
        tasks = (self.manifest.settings.get("tasks") or {}).get(variant, []) if domain in (None, ALL) else []
        for place in (*tasks, domain):
            found = self.contexts(layer, feature, variant, ranking, place, limit=1)
            if len(found):
                break
        return found

    def count_contexts(self, layer: int, feature: int, variant: str) -> pd.DataFrame:
        """How many contexts a store keeps of a feature: ranking, domain, count."""
        return self.sql(
            """
            SELECT c.ranking, d.domain, count(*) AS count FROM contexts c JOIN documents d ON d.document = c.document
            WHERE c.layer = $layer AND c.feature = $feature AND c.variant = $variant GROUP BY ALL ORDER BY ALL
            """,
            {"layer": int(layer), "feature": int(feature), "variant": variant},
        )


def _each(lists: pd.Series, windows: list[slice], piece: Callable[[np.ndarray, slice], np.ndarray]) -> pd.Series:
    """Of each list the piece that is its window."""
    return pd.Series(list(map(piece, lists, windows)), index=lists.index, dtype=object)


def _dense(side: str) -> str:
    """SQL for a context's activations in one model at every token of its window, 0 where silent."""
    place = f"list_position({side}_at, i::USMALLINT)"
    return f"list_transform(range(n_window), lambda i: coalesce({side}_activations[{place}], 0)::FLOAT)"
