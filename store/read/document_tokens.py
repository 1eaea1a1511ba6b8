"""Questions about a document's tokens: what happened at each, which features changed at one, which predictions changed most.

A *token value* is a number that each token has in one variant. Those of ``token_metrics`` belong to a layer and exist for the
tokens that count there; those of ``token_kl`` belong to no layer and exist for the sampled documents. A token's log-probability
is the one it had when it was predicted, so that the first token of a context window has none; its KL is that of the prediction
made after it.
"""

import numpy as np
import pandas as pd

from store.errors import UserError
from store.metrics.refusals import is_plain_refusal
from store.names import BASE
from store.read.connection import Connection
from store.read.expressions import TOKEN_TEXT, WITH_TEXTS
from store.token_text import in_place

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


class DocumentTokens(Connection):
    """The tokens of a store's documents."""

    def document_tokens(self, document: int, variant: str, layer: int) -> pd.DataFrame:
        """Every token of a document with its values in one variant, in order.

        Returns:
            DataFrame: position, context, token_id; token, its text where it stands (:func:`store.token_text.in_place`: joined,
            they read as the text does); alone, its text by itself ('⟨id⟩' where the vocabulary lacks it); both untrusted;
            segment; counted (False: an attention sink at this layer; null where the store kept no token metrics of the
            document), and a column for each of LAYER_VALUES and PREDICTION_VALUES, null where the token has none.
        """
        values = ", ".join(
            f"({expression})::DOUBLE AS {name}" for name, expression in (LAYER_VALUES | PREDICTION_VALUES).items()
        )
        rows = self.sql(
            f"""
            WITH t AS (SELECT * FROM tokens WHERE document = $document),
            m AS (SELECT * FROM token_metrics WHERE variant = $variant AND layer = $layer AND document = $document),
            k AS (SELECT * FROM token_kl WHERE variant = $variant AND document = $document)
            SELECT t.position, t.context, t.token_id, {TOKEN_TEXT} AS alone, t.segment,
                   CASE WHEN count(m.position) OVER () > 0 THEN m.position IS NOT NULL END AS counted, {values}
            FROM t {WITH_TEXTS}
            LEFT JOIN m ON m.position = t.position
            LEFT JOIN k ON k.position = t.position
            LEFT JOIN k p ON p.position = t.position - 1
            ORDER BY t.position
            """,
            {"document": int(document), "variant": variant, "layer": int(layer)},
        )
        rows.insert(3, "token", in_place(rows["alone"].tolist()))
        return rows

    def readable_tokens(self, document: int) -> pd.DataFrame:
        """Which tokens of a document can be read where its request may be harmful: position, is_readable; in order.

        Those of the chat template, and those of a response that only refuses
        (:func:`store.metrics.refusals.is_plain_refusal`), each response of a conversation judged whole. Of text without a
        template, none.
        """
        rows = self.sql(
            f"""
            SELECT t.position, t.segment, {TOKEN_TEXT} AS alone FROM tokens t {WITH_TEXTS}
            WHERE t.document = $document ORDER BY t.position
            """,
            {"document": int(document)},
        )
        readable = rows["segment"] == "template"
        begins = rows["segment"] != rows["segment"].shift()
        for _, part in rows[rows["segment"] == "response"].groupby(begins.cumsum()):
            readable[part.index] = is_plain_refusal("".join(in_place(part["alone"].tolist())))
        return pd.DataFrame({"position": rows["position"], "is_readable": readable})

    def token_scales(self, variant: str, layer: int) -> pd.DataFrame:
        """Where the colour scale of each token value ends, the same for all documents of a layer.

        Returns:
            DataFrame: value, top (the QUANTILE of its size over every token that the store has it for; null without any),
            n_tokens.
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
            found = self.sql(f"SELECT {columns} FROM {table}", parameters).iloc[0]
            rows += [{"value": name, "top": found[name], "n_tokens": int(found[f"{name}_n"])} for name in values]
        return pd.DataFrame(rows)

    def token_features(self, document: int, position: int, layer: int, variant: str) -> pd.DataFrame:
        """The features that are on at one token in base or variant, the largest |change| first.

        Returns:
            DataFrame: layer, feature, label, label_source, base, variant (scaled activations there, from float16 codes), change
            (variant − base); and of all domains together kind, shift and verdict, null where the statistics lack it. No row
            for an attention sink, whose codes are not stored.

        Raises:
            UserError: no such document or token, or the store did not keep the document's codes.
        """
        sides = []
        for model in (BASE, variant):
            codes = self.codes(document, layer, model)
            sides.append(codes[codes["position"] == position].set_index("feature")["value"].astype(float))
        both = pd.concat(sides, axis=1, keys=["base", "variant"]).fillna(0.0).sort_index()
        n_tokens = int(self.document_about(document)["n_tokens"].iloc[0])
        if not 0 <= position < n_tokens:
            raise UserError(f"Document {document} has no token {position}; it has {n_tokens}, counted from 0.")
        return self.sql(
            """
            WITH here AS (SELECT unnest($features::INTEGER[]) AS feature, unnest($base::DOUBLE[]) AS base,
                                 unnest($variant::DOUBLE[]) AS variant)
            SELECT $layer::INTEGER AS layer, h.feature, f.label, f.label_source, h.base, h.variant,
                   h.variant - h.base AS change, s.kind, s.shift, s.verdict
            FROM here h LEFT JOIN features f ON f.layer = $layer AND f.feature = h.feature
            LEFT JOIN (
                SELECT feature, kind, shift, verdict FROM feature_stats
                WHERE variant = $name AND layer = $layer AND domain = 'all'
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

    def largest_kl(self, variant: str | None = None, limit: int = 1) -> pd.DataFrame:
        """The sampled tokens after which the next-token prediction changed most, those whose features can be listed first.

        Columns: variant, document, position, kl, domain, source, has_codes, token (its text; untrusted). variant None: any.
        """
        return self.sql(
            f"""
            SELECT k.variant, k.document, k.position, k.kl, d.domain, d.source, d.has_codes,
                   {TOKEN_TEXT} AS token
            FROM token_kl k JOIN documents d ON d.document = k.document
            LEFT JOIN tokens t ON t.document = k.document AND t.position = k.position
            {WITH_TEXTS}
            WHERE $variant::VARCHAR IS NULL OR k.variant = $variant
            ORDER BY d.has_codes DESC, k.kl DESC, k.variant, k.document, k.position LIMIT $limit
            """,
            {"variant": variant, "limit": int(limit)},
        )
