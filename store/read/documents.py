"""Questions about documents: which changed most, what happened at each of their tokens, which features changed at one of them.

A *token value* is a number that each token has in one variant. Those of ``token_metrics`` belong to a layer and exist for the
tokens that count there; those of ``token_kl`` belong to no layer and exist for the sampled documents. A token's log-probability
is the one it had when it was predicted, so that the first token of a context window has none; its KL is that of the prediction
made after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from store.errors import UserError
from store.names import ALL, BASE
from store.read.document_search import documents_with
from store.token_text import NEIGHBOURS, in_place

if TYPE_CHECKING:
    from store.read.connection import Store

QUANTILE = 0.99
"""Of the size of a token value over all tokens: where its colour scale ends."""

LAYER_VALUES = {
    "cosine_change": "CASE WHEN m.cosine > 1 THEN 0 ELSE 1 - m.cosine END",  # it is rounded, and may pass 1
    "overlap_change": "1 - m.overlap",
    "l1_divergence": "m.l1_divergence",
    "l0_change": "m.l0_variant - m.l0_base",
    "l0_base": "m.l0_base",
    "l0_variant": "m.l0_variant",
}
"""Token value -> its expression over token_metrics m."""

PREDICTION_VALUES = {
    "kl": "k.kl",
    "logprob_change": "p.variant_logprob - p.base_logprob",
    "surprise_base": "-p.base_logprob",
    "surprise_variant": "-p.variant_logprob",
}
"""Token value -> its expression over token_kl: k at the token itself, p at the one before it, after which it was predicted."""

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


def document_list(
    store: Store,
    variant: str,
    layer: int,
    value: str = "cosine_change",
    domain: str | None = None,
    search: str = "",
    having: str | None = None,
    sort: str = "change",
    limit: int | None = 50,
    offset: int = 0,
) -> pd.DataFrame:
    """Documents, with how much each changed.

    Args:
        value: a key of MEANS.
        domain: None or 'all': every domain.
        search: part of the source id or of the text, across tokens, whatever its case and however its accents are written.
        having: a key of HAVING: only documents whose codes were kept, or whose prediction was sampled; None for all.
        sort: a key of SORTS.

    Returns:
        DataFrame: document, source, domain, n_tokens, has_codes, has_kl, change (the value's mean over the document's tokens;
        null where it has none), start (its first tokens as text, untrusted), total (documents that the whole list has).

    Raises:
        UserError: an unknown value, having or sort.
    """
    _known("value", value, MEANS)
    _known("sort", sort, SORTS)
    if having is not None:
        _known("having", having, HAVING)
    if value in PREDICTION_VALUES:
        means, keys = "token_kl s WHERE s.variant = $variant", {"variant": variant}
    else:
        means = "document_sums s WHERE s.variant = $variant AND s.layer = $layer"
        keys = {"variant": variant, "layer": int(layer)}
    parameters = {**keys, "domain": domain, "limit": 2**62 if limit is None else int(limit), "offset": int(offset)}
    found = "true"
    if search:
        parameters["found"] = documents_with(store, search)
        found = "d.document IN (SELECT unnest($found::INTEGER[]))"
    listed = store.sql(
        f"""
        WITH means AS (SELECT s.document, {MEANS[value]} AS change FROM {means} GROUP BY s.document),
        listed AS (
            SELECT d.document, d.source, d.domain, d.n_tokens, d.has_codes,
                   d.document IN (SELECT document FROM token_kl) AS has_kl, means.change
            FROM documents d LEFT JOIN means ON means.document = d.document
            WHERE ($domain::VARCHAR IS NULL OR $domain = '{ALL}' OR d.domain = $domain) AND {found}
        ), chosen AS (
            SELECT *, count(*) OVER () AS total, row_number() OVER (ORDER BY {SORTS[sort]}) AS place
            FROM listed WHERE {HAVING[having] if having else "true"}
            ORDER BY place LIMIT $limit OFFSET $offset
        ), starts AS (
            SELECT t.document, list(coalesce(v.token, '⟨' || t.token_id || '⟩') ORDER BY t.position) AS start
            FROM tokens t LEFT JOIN vocabulary v ON v.token_id = t.token_id
            WHERE t.position < {START_TOKENS + NEIGHBOURS} AND t.document IN (SELECT document FROM chosen) GROUP BY t.document
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


def document_about(store: Store, document: int) -> pd.DataFrame:
    """One document: columns of documents, and has_kl (whether its prediction was sampled); no row where there is none."""
    return store.sql(
        "SELECT *, document IN (SELECT document FROM token_kl) AS has_kl FROM documents WHERE document = ?", [int(document)]
    )


def document_tokens(store: Store, document: int, variant: str, layer: int) -> pd.DataFrame:
    """Every token of a document with its values in one variant, in order.

    Returns:
        DataFrame: position, context, token_id; token, its text where it stands (:func:`store.token_text.in_place`: joined,
        they read as the text does); alone, its text by itself ('⟨id⟩' where the vocabulary lacks it); both untrusted; segment;
        counted (False: an attention sink at this layer; null where the store kept no token metrics of the document), and a
        column for each of LAYER_VALUES and PREDICTION_VALUES, null where the token has none.
    """
    values = ", ".join(f"({expression})::DOUBLE AS {name}" for name, expression in (LAYER_VALUES | PREDICTION_VALUES).items())
    rows = store.sql(
        f"""
        WITH t AS (SELECT * FROM tokens WHERE document = $document),
        m AS (SELECT * FROM token_metrics WHERE variant = $variant AND layer = $layer AND document = $document),
        k AS (SELECT * FROM token_kl WHERE variant = $variant AND document = $document)
        SELECT t.position, t.context, t.token_id, coalesce(v.token, '⟨' || t.token_id || '⟩') AS alone, t.segment,
               CASE WHEN count(m.position) OVER () > 0 THEN m.position IS NOT NULL END AS counted, {values}
        FROM t LEFT JOIN vocabulary v ON v.token_id = t.token_id
        LEFT JOIN m ON m.position = t.position
        LEFT JOIN k ON k.position = t.position
        LEFT JOIN k p ON p.position = t.position - 1
        ORDER BY t.position
        """,
        {"document": int(document), "variant": variant, "layer": int(layer)},
    )
    rows.insert(3, "token", in_place(rows["alone"].tolist()))
    return rows


def token_scales(store: Store, variant: str, layer: int) -> pd.DataFrame:
    """Where the colour scale of each token value ends, the same for all documents of a layer.

    Returns:
        DataFrame: value, top (the QUANTILE of its size over every token that the store has it for; null without any), n_tokens.
    """
    of_layer = "token_metrics m WHERE m.variant = $variant AND m.layer = $layer"
    sources = (
        (LAYER_VALUES, of_layer, {"variant": variant, "layer": int(layer)}),
        ({"kl": PREDICTION_VALUES["kl"]}, "token_kl k WHERE k.variant = $variant", {"variant": variant}),
        (
            {name: expression for name, expression in PREDICTION_VALUES.items() if name != "kl"},
            "token_kl p WHERE p.variant = $variant",
            {"variant": variant},
        ),
    )
    rows = []
    for values, table, parameters in sources:
        columns = ", ".join(
            f"quantile_cont(abs({expression})::DOUBLE, {QUANTILE}) AS {name}, count({expression}) AS {name}_n"
            for name, expression in values.items()
        )
        found = store.sql(f"SELECT {columns} FROM {table}", parameters).iloc[0]
        rows += [{"value": name, "top": found[name], "n_tokens": int(found[f"{name}_n"])} for name in values]
    return pd.DataFrame(rows)


def token_features(store: Store, document: int, position: int, layer: int, variant: str) -> pd.DataFrame:
    """The features that are on at one token in base or variant, the largest |change| first.

    Returns:
        DataFrame: layer, feature, label, base, variant (scaled activations there, from float16 codes), change (variant −
        base); and of all domains together kind, shift and verdict, null where the statistics lack it. No row for an attention
        sink, whose codes are not stored.

    Raises:
        UserError: no such document or token, or the store did not keep the document's codes.
    """
    sides = []
    for model in (BASE, variant):
        codes = store.codes(document, layer, model)
        sides.append(codes[codes["position"] == position].set_index("feature")["value"].astype(float))
    both = pd.concat(sides, axis=1, keys=["base", "variant"]).fillna(0.0).sort_index()
    n_tokens = int(document_about(store, document)["n_tokens"].iloc[0])
    if not 0 <= position < n_tokens:
        raise UserError(f"Document {document} has no token {position}; it has {n_tokens}, counted from 0.")
    return store.sql(
        """
        WITH here AS (SELECT unnest($features::INTEGER[]) AS feature, unnest($base::DOUBLE[]) AS base,
                             unnest($variant::DOUBLE[]) AS variant)
        SELECT $layer::INTEGER AS layer, h.feature, f.label, h.base, h.variant, h.variant - h.base AS change,
               s.kind, s.shift, s.verdict
        FROM here h LEFT JOIN features f ON f.layer = $layer AND f.feature = h.feature
        LEFT JOIN (
            SELECT feature, kind, shift, verdict FROM feature_stats WHERE variant = $name AND layer = $layer AND domain = 'all'
        ) s ON s.feature = h.feature
        ORDER BY abs(h.variant - h.base) DESC, h.feature
        """,
        {
            "features": np.asarray(both.index, dtype=int).tolist(),
            "base": both["base"].tolist(),
            "variant": both["variant"].tolist(),
            "layer": int(layer),
            "name": variant,
        },
    )


def answer_tasks(store: Store) -> pd.DataFrame:
    """What the models were asked: task, n_prompts; no row in a store without answers."""
    return store.sql("SELECT task, count(DISTINCT prompt) AS n_prompts FROM answers GROUP BY task ORDER BY task")


def _known(name: str, given: str, allowed: dict[str, str]) -> None:
    if given not in allowed:
        raise UserError(f"There is no {name} '{given}' of documents; choose one of {', '.join(allowed)}.")
