"""One function a question: Store -> DataFrame. Every SQL string stands inside the function that runs it.

Values always travel as parameters. Words, columns and units are those of schema.sql; activations are scaled (raw code x
decoder norm). Lists of features, which can be filtered and sorted, are in store/feature_lists.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from store.names import ALL

if TYPE_CHECKING:
    from store.reader import Store


def overview(store: Store, domain: str = ALL) -> pd.DataFrame:
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
