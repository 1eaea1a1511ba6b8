"""One function a question: Store -> DataFrame. Every SQL string stands inside the function that runs it.

Values always travel as parameters; the only text put into a statement is a sort expression from SORTS.
Words, columns and units are those of schema.sql; activations are scaled (raw code x decoder norm).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from store.errors import UserError

if TYPE_CHECKING:
    from store.reader import Store

KINDS = ("vanished", "attenuated", "unchanged", "amplified", "appeared")
RANKINGS = ("decrease", "increase", "base", "variant")
SORTS = {
    "abs_shift": "abs(s.shift)",
    "shift": "s.shift",
    "std_shift": "abs(s.std_shift)",
    "log_ratio": "abs(s.log_ratio)",
    "suppression": "s.suppression",
    "emergence": "s.emergence",
    "magnitude_ratio": "s.magnitude_ratio",
    "freq_base": "s.freq_base",
    "freq_variant": "s.freq_variant",
    "mean_base": "s.mean_base",
    "mean_variant": "s.mean_variant",
    "n_documents": "s.n_documents",
    "kind": "s.kind",
    "label": "f.label",
    "feature": "s.feature",
    "layer": "s.layer",
}


@dataclass(frozen=True)
class Filter:
    """Which rows of feature_stats a list shows, and in what order: shared by the list, its count and its neighbours."""

    variant: str
    layer: int | None = None
    domain: str = "all"
    kinds: tuple[str, ...] | None = None
    min_firings: int = 0
    search: str | None = None
    direction: str | None = None
    sort: str = "abs_shift"
    descending: bool = True

    def where(self) -> tuple[str, list]:
        """The condition on `s` (feature_stats) and `f` (features), and its parameters."""
        conditions, params = ["s.variant = ?", "s.domain = ?"], [self.variant, self.domain]
        if self.layer is not None:
            conditions.append("s.layer = ?")
            params.append(int(self.layer))
        if self.kinds is not None:
            conditions.append("list_contains(?::VARCHAR[], s.kind)")
            params.append(list(self.kinds))
        if self.min_firings > 0:
            conditions.append("s.n11 + s.n10 + s.n01 >= ?")
            params.append(int(self.min_firings))
        if self.direction is not None:
            conditions.append({"down": "s.shift < 0", "up": "s.shift > 0"}[self.direction])
        text = (self.search or "").strip()
        named = re.fullmatch(r"[Ll]?(\d{1,4}):(\d{1,9})", text)
        if named:
            conditions.append("s.layer = ? AND s.feature = ?")
            params += [int(named[1]), int(named[2])]
        elif text:
            conditions.append("(s.feature = try_cast(? AS INTEGER) OR contains(lower(f.label), lower(?)))")
            params += [text, text]
        return " AND ".join(conditions), params

    def order(self) -> str:
        """The ORDER BY: the chosen column, then layer and feature, so that pages never overlap."""
        if self.sort not in SORTS:
            raise UserError(f"Features cannot be sorted by '{self.sort}'; choose one of {', '.join(SORTS)}.")
        return f"{SORTS[self.sort]} {'DESC' if self.descending else 'ASC'} NULLS LAST, s.layer, s.feature"


def overview(store: Store, domain: str = "all") -> pd.DataFrame:
    """One row per variant and layer: the headline metrics as columns, and the fit gate.

    Columns: variant, layer, cosine, centred_cosine, relative_shift, overlap, latent_cosine, l0_base, l0_variant,
    fvu_base, fvu_variant, n_tokens, n_documents, gate.
    """
    return store.sql(
        """
        SELECT m.variant, m.layer,
               any_value(value) FILTER (metric = 'cosine') AS cosine,
               any_value(value) FILTER (metric = 'centred_cosine') AS centred_cosine,
               any_value(value) FILTER (metric = 'relative_shift') AS relative_shift,
               any_value(value) FILTER (metric = 'overlap') AS overlap,
               any_value(value) FILTER (metric = 'latent_cosine') AS latent_cosine,
               any_value(value) FILTER (metric = 'l0_base') AS l0_base,
               any_value(value) FILTER (metric = 'l0_variant') AS l0_variant,
               any_value(value) FILTER (metric = 'fvu_base') AS fvu_base,
               any_value(value) FILTER (metric = 'fvu_variant') AS fvu_variant,
               max(n_tokens) AS n_tokens, max(n_documents) AS n_documents,
               any_value(f.gate) AS gate
        FROM layer_metrics m LEFT JOIN fit f ON f.variant = m.variant AND f.layer = m.layer AND f.domain = m.domain
        WHERE m.domain = ? AND m.segment = 'all' AND m.control = 'observed'
        GROUP BY m.variant, m.layer ORDER BY m.variant, m.layer
        """,
        [domain],
    )


def layer_metrics(
    store: Store,
    variant: str | None = None,
    layer: int | None = None,
    domain: str | None = None,
    segment: str | None = None,
    metric: str | None = None,
    control: str | None = None,
) -> pd.DataFrame:
    """Rows of layer_metrics; None means every value of that column."""
    return store.sql(
        """
        SELECT * FROM layer_metrics
        WHERE (?::VARCHAR IS NULL OR variant = ?) AND (?::INTEGER IS NULL OR layer = ?)
          AND (?::VARCHAR IS NULL OR domain = ?) AND (?::VARCHAR IS NULL OR segment = ?)
          AND (?::VARCHAR IS NULL OR metric = ?) AND (?::VARCHAR IS NULL OR control = ?)
        ORDER BY variant, layer, domain, segment, metric, control
        """,
        [p for v in (variant, layer, domain, segment, metric, control) for p in (v, v)],
    )


def controls(store: Store) -> pd.DataFrame:
    """The controls that this store computed, 'observed' among them: column control."""
    return store.sql("SELECT DISTINCT control FROM layer_metrics ORDER BY control")


def fit(store: Store, variant: str | None = None, layer: int | None = None, domain: str | None = None) -> pd.DataFrame:
    """The fit gate and both fvu per variant, layer and domain; None means every value of that column."""
    return store.sql(
        """
        SELECT * FROM fit
        WHERE (?::VARCHAR IS NULL OR variant = ?) AND (?::INTEGER IS NULL OR layer = ?)
          AND (?::VARCHAR IS NULL OR domain = ?)
        ORDER BY variant, layer, domain
        """,
        [p for v in (variant, layer, domain) for p in (v, v)],
    )


def dictionaries(store: Store) -> pd.DataFrame:
    """The table layers: one dictionary a layer, with its size, self-test and Neuronpedia source."""
    return store.sql("SELECT * FROM layers ORDER BY layer")


def shifted_features(
    store: Store,
    variant: str,
    layer: int | None = None,
    domain: str = "all",
    kinds: tuple[str, ...] | None = None,
    min_firings: int = 0,
    search: str | None = None,
    direction: str | None = None,
    sort: str = "abs_shift",
    descending: bool = True,
    limit: int | None = 50,
    offset: int = 0,
) -> pd.DataFrame:
    """Features of one variant and domain, the largest absolute shift first.

    kinds: any of KINDS, None for all. min_firings: tokens where it fires in base or variant. search: a feature's number,
    'layer:feature', or part of a label. direction: 'down' (shift < 0), 'up' or None. sort: a key of SORTS; UserError
    for any other. limit None: every row. Columns: those of feature_stats, with label, density, decoder_norm, gate,
    n_base and n_variant (tokens where it fires).
    """
    chosen = Filter(variant, layer, domain, kinds, min_firings, search, direction, sort, descending)
    where, params = chosen.where()
    return store.sql(
        f"""
        SELECT s.layer, s.feature, f.label, s.kind, s.shift, s.std_shift, s.log_ratio, s.freq_base, s.freq_variant,
               s.mean_base, s.mean_variant, s.suppression, s.emergence, s.magnitude_ratio, s.n_documents,
               s.n11 + s.n10 AS n_base, s.n11 + s.n01 AS n_variant, s.n11, s.n10, s.n01,
               f.density, f.decoder_norm, g.gate, s.variant, s.domain
        FROM feature_stats s
        LEFT JOIN features f ON f.layer = s.layer AND f.feature = s.feature
        LEFT JOIN fit g ON g.variant = s.variant AND g.layer = s.layer AND g.domain = s.domain
        WHERE {where} ORDER BY {chosen.order()} LIMIT ? OFFSET ?
        """,
        [*params, 2**62 if limit is None else int(limit), int(offset)],
    )


def suppressed_features(
    store: Store,
    variant: str,
    layer: int | None = None,
    domain: str = "all",
    kinds: tuple[str, ...] = ("vanished", "attenuated"),
    min_firings: int = 0,
    search: str | None = None,
    limit: int | None = 50,
    offset: int = 0,
) -> pd.DataFrame:
    """Features that fell (shift < 0), the largest fall first; columns as shifted_features."""
    return shifted_features(store, variant, layer, domain, kinds, min_firings, search, "down", "shift", False, limit, offset)


def count_features(
    store: Store,
    variant: str,
    layer: int | None = None,
    domain: str = "all",
    kinds: tuple[str, ...] | None = None,
    min_firings: int = 0,
    search: str | None = None,
    direction: str | None = None,
) -> pd.DataFrame:
    """How many features a filter of shifted_features leaves, by kind: columns kind, count (kinds that occur)."""
    where, params = Filter(variant, layer, domain, kinds, min_firings, search, direction).where()
    return store.sql(
        f"""
        SELECT s.kind, count(*) AS count FROM feature_stats s
        LEFT JOIN features f ON f.layer = s.layer AND f.feature = s.feature
        WHERE {where} GROUP BY s.kind ORDER BY s.kind
        """,
        params,
    )


def neighbours(
    store: Store,
    feature_layer: int,
    feature: int,
    variant: str,
    layer: int | None = None,
    domain: str = "all",
    kinds: tuple[str, ...] | None = None,
    min_firings: int = 0,
    search: str | None = None,
    direction: str | None = None,
    sort: str = "abs_shift",
    descending: bool = True,
) -> pd.DataFrame:
    """Where one feature stands in a list of shifted_features, and what stands beside it.

    One row, or none where the list does not hold it: position (from 1), total, previous_layer, previous_feature,
    next_layer, next_feature (null at the ends).
    """
    chosen = Filter(variant, layer, domain, kinds, min_firings, search, direction, sort, descending)
    where, params = chosen.where()
    return store.sql(
        f"""
        SELECT * FROM (
            SELECT s.layer, s.feature, row_number() OVER w AS position, count(*) OVER () AS total,
                   lag(s.layer) OVER w AS previous_layer, lag(s.feature) OVER w AS previous_feature,
                   lead(s.layer) OVER w AS next_layer, lead(s.feature) OVER w AS next_feature
            FROM feature_stats s LEFT JOIN features f ON f.layer = s.layer AND f.feature = s.feature
            WHERE {where} WINDOW w AS (ORDER BY {chosen.order()})
        ) WHERE layer = ? AND feature = ?
        """,
        [*params, int(feature_layer), int(feature)],
    )


def feature(store: Store, layer: int, feature: int) -> pd.DataFrame:
    """One feature of a dictionary: one row, or none where the dictionary does not hold it.

    Columns of features and of its layer (sae, hook_name, architecture, d_sae, n_tokens, neuronpedia), with
    promoted_tokens and suppressed_tokens as lists of token texts (null where not computed).
    """
    return store.sql(
        """
        SELECT f.*, l.sae, l.hook_name, l.architecture, l.d_sae, l.n_tokens, l.neuronpedia,
               (SELECT list(coalesce(v.token, '⟨' || p.id || '⟩') ORDER BY p.i)
                FROM (SELECT unnest(f.promoted) AS id, generate_subscripts(f.promoted, 1) AS i) p
                LEFT JOIN vocabulary v ON v.token_id = p.id) AS promoted_tokens,
               (SELECT list(coalesce(v.token, '⟨' || p.id || '⟩') ORDER BY p.i)
                FROM (SELECT unnest(f.suppressed) AS id, generate_subscripts(f.suppressed, 1) AS i) p
                LEFT JOIN vocabulary v ON v.token_id = p.id) AS suppressed_tokens
        FROM features f JOIN layers l ON l.layer = f.layer WHERE f.layer = ? AND f.feature = ?
        """,
        [int(layer), int(feature)],
    )


def feature_stats(store: Store, layer: int, feature: int, variant: str | None = None) -> pd.DataFrame:
    """One feature's numbers per variant and domain ('all' first), with the fit gate; no row where it never fired."""
    return store.sql(
        """
        SELECT s.*, s.n11 + s.n10 AS n_base, s.n11 + s.n01 AS n_variant, g.gate
        FROM feature_stats s LEFT JOIN fit g ON g.variant = s.variant AND g.layer = s.layer AND g.domain = s.domain
        WHERE s.layer = ? AND s.feature = ? AND (?::VARCHAR IS NULL OR s.variant = ?)
        ORDER BY s.variant, s.domain <> 'all', s.domain
        """,
        [int(layer), int(feature), variant, variant],
    )


def histogram(store: Store, layer: int, feature: int) -> pd.DataFrame:
    """Tokens per activation bin, for base and every variant on the same bins: model, bin, low, high, count.

    Bins without tokens have no row. The first and the last bin also hold what lies beyond their edge.
    """
    return store.sql(
        """
        SELECT h.model, h.bin, b.low, b.high, h.count
        FROM histograms h JOIN histogram_bins b ON b.layer = h.layer AND b.bin = h.bin
        WHERE h.layer = ? AND h.feature = ? ORDER BY h.model, h.bin
        """,
        [int(layer), int(feature)],
    )


def contexts(
    store: Store,
    layer: int,
    feature: int,
    variant: str,
    ranking: str = "decrease",
    domain: str | None = None,
    limit: int = 20,
) -> pd.DataFrame:
    """The strongest contexts of a feature under one ranking, best first.

    Columns of contexts, with tokens (list of texts, as long as token_ids; '⟨id⟩' where the vocabulary lacks one),
    and domain, source of the document. domain None or 'all': every domain.
    """
    return store.sql(
        """
        WITH chosen AS (
            SELECT c.*, d.domain, d.source FROM contexts c JOIN documents d ON d.document = c.document
            WHERE c.variant = ? AND c.layer = ? AND c.feature = ? AND c.ranking = ?
              AND (?::VARCHAR IS NULL OR ? = 'all' OR d.domain = ?)
            ORDER BY c.rank LIMIT ?
        ), texts AS (
            SELECT p.rank, list(coalesce(v.token, '⟨' || p.id || '⟩') ORDER BY p.i) AS tokens
            FROM (SELECT rank, unnest(token_ids) AS id, generate_subscripts(token_ids, 1) AS i FROM chosen) p
            LEFT JOIN vocabulary v ON v.token_id = p.id GROUP BY p.rank
        )
        SELECT chosen.*, texts.tokens FROM chosen JOIN texts USING (rank) ORDER BY rank
        """,
        [variant, int(layer), int(feature), ranking, domain, domain, domain, int(limit)],
    )


def count_contexts(store: Store, layer: int, feature: int, variant: str) -> pd.DataFrame:
    """How many contexts a store keeps of a feature: ranking, domain, count."""
    return store.sql(
        """
        SELECT c.ranking, d.domain, count(*) AS count FROM contexts c JOIN documents d ON d.document = c.document
        WHERE c.layer = ? AND c.feature = ? AND c.variant = ? GROUP BY ALL ORDER BY ALL
        """,
        [int(layer), int(feature), variant],
    )


def documents(
    store: Store, domain: str | None = None, search: str | None = None, limit: int | None = 50, offset: int = 0
) -> pd.DataFrame:
    """Documents in reading order; search is part of a source id."""
    return store.sql(
        """
        SELECT * FROM documents
        WHERE (?::VARCHAR IS NULL OR ? = 'all' OR domain = ?)
          AND (?::VARCHAR IS NULL OR contains(lower(source), lower(?)))
        ORDER BY document LIMIT ? OFFSET ?
        """,
        [domain, domain, domain, search, search, 2**62 if limit is None else int(limit), int(offset)],
    )
