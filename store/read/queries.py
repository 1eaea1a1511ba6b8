"""One function a question: Store -> DataFrame. Every SQL string stands inside the function that runs it.

Values always travel as parameters. Words, columns and units are those of schema.sql; activations are scaled (raw code x
decoder norm). Lists of features, which can be filtered and sorted, are in store/read/lists.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from store.names import ALL, SUPPORTED
from store.read.lists import FLOOR_RATIO
from store.token_text import NEIGHBOURS, in_place, spellings

if TYPE_CHECKING:
    from store.read.connection import Store


def overview(store: Store, domain: str = ALL) -> pd.DataFrame:
    """One row per variant and layer: the headline metrics as columns, and the fit gate.

    Columns: variant, layer, cosine, centred_cosine, relative_shift, overlap, latent_cosine, l0_base, l0_variant,
    l0_inflation, fvu_base, fvu_variant, n_beyond_noise, systematic_share, n_tokens, n_documents, gate; and of the isotropic
    control overlap_isotropic, l0_inflation_isotropic, excess (of overlap), excess_low, excess_high: null without it.
    """
    return store.sql(
        """
        SELECT m.variant, m.layer,
               any_value(value) FILTER (observed AND metric = 'cosine') AS cosine,
               any_value(value) FILTER (observed AND metric = 'centred_cosine') AS centred_cosine,
               any_value(value) FILTER (observed AND metric = 'relative_shift') AS relative_shift,
               any_value(value) FILTER (observed AND metric = 'overlap') AS overlap,
               any_value(value) FILTER (observed AND metric = 'latent_cosine') AS latent_cosine,
               any_value(value) FILTER (observed AND metric = 'l0_base') AS l0_base,
               any_value(value) FILTER (observed AND metric = 'l0_variant') AS l0_variant,
               any_value(value) FILTER (observed AND metric = 'l0_inflation') AS l0_inflation,
               any_value(value) FILTER (observed AND metric = 'fvu_base') AS fvu_base,
               any_value(value) FILTER (observed AND metric = 'fvu_variant') AS fvu_variant,
               any_value(value) FILTER (observed AND metric = 'n_beyond_noise') AS n_beyond_noise,
               any_value(value) FILTER (observed AND metric = 'systematic_share') AS systematic_share,
               any_value(value) FILTER (NOT observed AND metric = 'overlap') AS overlap_isotropic,
               any_value(value) FILTER (NOT observed AND metric = 'l0_inflation') AS l0_inflation_isotropic,
               any_value(excess) FILTER (NOT observed AND metric = 'overlap') AS excess,
               any_value(excess_low) FILTER (NOT observed AND metric = 'overlap') AS excess_low,
               any_value(excess_high) FILTER (NOT observed AND metric = 'overlap') AS excess_high,
               max(n_tokens) FILTER (observed) AS n_tokens, max(n_documents) FILTER (observed) AS n_documents,
               any_value(f.gate) AS gate
        FROM (SELECT *, control = 'observed' AS observed FROM layer_metrics
              WHERE domain = ? AND segment = 'all' AND control IN ('observed', 'isotropic')) m
        LEFT JOIN fit f ON f.variant = m.variant AND f.layer = m.layer AND f.domain = m.domain
        GROUP BY m.variant, m.layer ORDER BY m.variant, m.layer
        """,
        [domain],
    )


_BEYOND = """
SELECT variant, layer, value::BIGINT AS n FROM layer_metrics
WHERE domain = ? AND segment = 'all' AND control = 'observed' AND metric = 'n_beyond_noise' AND value IS NOT NULL
"""


def beyond_noise(store: Store, domain: str = ALL) -> pd.DataFrame:
    """How many of the features that move further than noise can fell: variant, layer, n, n_down.

    The n features beyond noise (n_beyond_noise) are by definition the n of the largest |shift|. No row without controls.
    """
    most = store.sql(f"SELECT coalesce(max(n), 0) AS n FROM ({_BEYOND})", [domain])["n"].iloc[0]
    return store.sql(
        f"""
        WITH furthest AS (
            SELECT variant, layer, arg_max(shift, abs(shift), {max(1, int(most))}) AS shifts
            FROM feature_stats WHERE domain = ? GROUP BY variant, layer
        )
        SELECT c.variant, c.layer, c.n, coalesce(len(list_filter(f.shifts[1:c.n], lambda shift: shift < 0)), 0) AS n_down
        FROM ({_BEYOND}) c LEFT JOIN furthest f USING (variant, layer) ORDER BY c.variant, c.layer
        """,
        [domain, domain],
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
    """One feature's numbers per variant and domain ('all' first), with the fit gate; no row where it never fired.

    floor_ratio is |shift| / floor: infinite where noise moves no such feature, null without a floor.
    """
    return store.sql(
        f"""
        SELECT s.*, s.n11 + s.n10 AS n_base, s.n11 + s.n01 AS n_variant, g.gate, {FLOOR_RATIO} AS floor_ratio
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
    """The strongest contexts of a feature under one ranking, best first; of 'spread' a random few, by their activation.

    Columns of contexts, and of the window's n_window tokens, as lists: token_ids; tokens, their texts where they stand
    (:func:`store.token_text.in_place`: joined, they read as the text does); alone, each token's text by itself ('⟨id⟩' where
    the vocabulary lacks one); base_values and variant_values (scaled activation, 0 where silent); domain, source of the
    document. domain None or 'all': every domain.
    """
    found = store.sql(
        f"""
        WITH chosen AS (
            SELECT c.*, d.domain, d.source FROM contexts c JOIN documents d ON d.document = c.document
            WHERE c.variant = ? AND c.layer = ? AND c.feature = ? AND c.ranking = ?
              AND (?::VARCHAR IS NULL OR ? = 'all' OR d.domain = ?)
            ORDER BY c.rank LIMIT ?
        ), texts AS (
            SELECT p.rank, list(t.token_id ORDER BY t.position) AS token_ids,
                   list(coalesce(v.token, '⟨' || t.token_id || '⟩') ORDER BY t.position) AS alone,
                   count(*) FILTER (t.position < p.start) AS before
            FROM (
                SELECT rank, document, position - peak AS start,
                       unnest(range(start - {NEIGHBOURS}, start + n_window + {NEIGHBOURS})) AS position
                FROM chosen
            ) p
            JOIN tokens t USING (document, position) LEFT JOIN vocabulary v USING (token_id) GROUP BY p.rank
        )
        SELECT chosen.*, texts.token_ids, texts.alone AS tokens, texts.alone, {_dense("base")} AS base_values,
               {_dense("variant")} AS variant_values, texts.before
        FROM chosen JOIN texts USING (rank)
        ORDER BY CASE WHEN ranking = 'spread' THEN -greatest(base_values[peak + 1], variant_values[peak + 1]) END, rank
        """,
        [variant, int(layer), int(feature), ranking, domain, domain, domain, int(limit)],
    )
    before = found.pop("before")
    windows = list(map(slice, before, before + found["n_window"]))
    found["tokens"] = _each(found["alone"], windows, lambda tokens, at: np.array(in_place(tokens, at.start, at.stop), object))
    for name in ("token_ids", "alone"):
        found[name] = _each(found[name], windows, lambda values, at: values[at])
    return found


def _each(lists: pd.Series, windows: list[slice], piece: Callable[[np.ndarray, slice], np.ndarray]) -> pd.Series:
    """Of each list the piece that is its window."""
    return pd.Series(list(map(piece, lists, windows)), index=lists.index, dtype=object)


def best_context(
    store: Store, layer: int, feature: int, variant: str, ranking: str = "decrease", domain: str | None = None
) -> pd.DataFrame:
    """The first context of a ranking, or no row: columns as contexts. Of every domain, the variant's task goes first."""
    tasks = (store.manifest.settings.get("tasks") or {}).get(variant, []) if domain in (None, ALL) else []
    for place in (*tasks, domain):
        found = contexts(store, layer, feature, variant, ranking, place, limit=1)
        if len(found):
            break
    return found


def _dense(side: str) -> str:
    """SQL for a context's activations in one model at every token of its window, 0 where silent."""
    place = f"list_position({side}_at, i::USMALLINT)"
    return f"list_transform(range(n_window), lambda i: coalesce({side}_activations[{place}], 0)::FLOAT)"


def count_contexts(store: Store, layer: int, feature: int, variant: str) -> pd.DataFrame:
    """How many contexts a store keeps of a feature: ranking, domain, count."""
    return store.sql(
        """
        SELECT c.ranking, d.domain, count(*) AS count FROM contexts c JOIN documents d ON d.document = c.document
        WHERE c.layer = ? AND c.feature = ? AND c.variant = ? GROUP BY ALL ORDER BY ALL
        """,
        [int(layer), int(feature), variant],
    )


def decoder_neighbours(store: Store, layer: int, feature: int, variant: str) -> pd.DataFrame:
    """The features of the same dictionary with the most similar decoder rows, nearest first.

    Columns: layer, feature, cosine, label, and in the variant, all domains together, shift and verdict (null where it never
    fired).
    """
    return store.sql(
        """
        WITH near AS (
            SELECT layer, unnest(neighbours) AS feature, unnest(neighbour_cosines) AS cosine,
                   generate_subscripts(neighbours, 1) AS place
            FROM features WHERE layer = ? AND feature = ?
        )
        SELECT n.layer, n.feature, n.cosine, f.label, s.shift, s.verdict
        FROM near n LEFT JOIN features f ON f.layer = n.layer AND f.feature = n.feature
        LEFT JOIN feature_stats s ON s.variant = ? AND s.layer = n.layer AND s.feature = n.feature AND s.domain = 'all'
        ORDER BY n.place
        """,
        [int(layer), int(feature), variant],
    )


def feature_segments(store: Store, layer: int, feature: int, variant: str) -> pd.DataFrame:
    """What of a feature's shift sits on which segment: columns of feature_segments, the largest part first."""
    return store.sql(
        """
        SELECT * FROM feature_segments WHERE layer = ? AND feature = ? AND variant = ?
        ORDER BY abs(share) DESC NULLS LAST, segment
        """,
        [int(layer), int(feature), variant],
    )


def segment_features(
    store: Store, variant: str, segment: str, layer: int | None = None, least: float = 0.5, limit: int = 15
) -> pd.DataFrame:
    """Features at least `least` of whose shift sits on one segment: those of a claimed change first, then by |shift|.

    Columns: layer, feature, label, share (the segment's part of the shift), and of all domains and segments together kind,
    shift, did_shift, verdict and gate.
    """
    return store.sql(
        f"""
        SELECT g.layer, g.feature, f.label, g.share, s.kind, s.shift, s.did_shift, s.verdict, fit.gate
        FROM feature_segments g
        JOIN feature_stats s ON s.variant = g.variant AND s.layer = g.layer AND s.feature = g.feature AND s.domain = 'all'
        LEFT JOIN features f ON f.layer = g.layer AND f.feature = g.feature
        LEFT JOIN fit ON fit.variant = g.variant AND fit.layer = g.layer AND fit.domain = 'all'
        WHERE g.variant = ? AND g.segment = ? AND (?::INTEGER IS NULL OR g.layer = ?) AND g.share >= ?
        ORDER BY coalesce(s.verdict IN {SUPPORTED}, false) DESC, abs(s.shift) DESC, g.layer, g.feature LIMIT ?
        """,
        [variant, segment, layer, layer, least, int(limit)],
    )


def shift_by_segment(store: Store, variant: str, layer: int | None = None) -> pd.DataFrame:
    """On which tokens the change sits: layer, segment, n_tokens, delta_norm2 (sum of ||delta||^2), and their shares.

    share is the segment's part of delta_norm2, token_share of the tokens that count.
    """
    return store.sql(
        """
        SELECT layer, segment, sum(n_tokens)::BIGINT AS n_tokens, sum(delta_norm2) AS delta_norm2,
               sum(delta_norm2) / nullif(sum(sum(delta_norm2)) OVER (PARTITION BY layer), 0) AS share,
               sum(n_tokens) / nullif(sum(sum(n_tokens)) OVER (PARTITION BY layer), 0) AS token_share
        FROM document_sums WHERE variant = ? AND (?::INTEGER IS NULL OR layer = ?)
        GROUP BY layer, segment ORDER BY layer, segment
        """,
        [variant, layer, layer],
    )


def spectrum(store: Store, variant: str, layer: int) -> pd.DataFrame:
    """The shape of a variant's change at a layer: columns of spectrum, the mean (component 0) first."""
    return store.sql("SELECT * FROM spectrum WHERE variant = ? AND layer = ? ORDER BY component", [variant, int(layer)])


def labels(store: Store, layer: int) -> pd.DataFrame:
    """What the features of a layer are called: feature, label; only of those that have one."""
    return store.sql("SELECT feature, label FROM features WHERE layer = ? AND label IS NOT NULL ORDER BY feature", [int(layer)])


def replica(store: Store, layer: int, feature: int, variant: str) -> pd.DataFrame:
    """What the layer's second dictionary shows of a feature: its row of replicas, or none without one."""
    return store.sql(
        "SELECT * FROM replicas WHERE layer = ? AND feature = ? AND variant = ?", [int(layer), int(feature), variant]
    )


def feature_kl(store: Store, layer: int, feature: int, variant: str) -> pd.DataFrame:
    """Whether a feature's change sits where the prediction changed: its row of feature_kl, or none."""
    return store.sql(
        "SELECT * FROM feature_kl WHERE layer = ? AND feature = ? AND variant = ?", [int(layer), int(feature), variant]
    )


def documents(
    store: Store, domain: str | None = None, search: str | None = None, limit: int | None = 50, offset: int = 0
) -> pd.DataFrame:
    """Documents in reading order; search is part of a source id."""
    return store.sql(
        """
        SELECT * FROM documents
        WHERE (?::VARCHAR IS NULL OR ? = 'all' OR domain = ?)
          AND (?::VARCHAR IS NULL OR contains(lower(source), lower(?)) OR contains(lower(source), lower(?)))
        ORDER BY document LIMIT ? OFFSET ?
        """,
        [domain, domain, domain, search, *spellings(search or ""), 2**62 if limit is None else int(limit), int(offset)],
    )


def answers(store: Store, task: str | None = None) -> pd.DataFrame:
    """What the models answer to the same prompts, the base before the variants: task, prompt, text, model, answer.

    ``text`` is the prompt; it and the answers are untrusted. task None: every task.
    """
    return store.sql(
        """
        SELECT task, prompt, text, model, answer FROM answers WHERE ?::VARCHAR IS NULL OR task = ?
        ORDER BY task, prompt, model <> 'base', model
        """,
        [task, task],
    )


def telling_prompts(store: Store) -> pd.DataFrame:
    """Of each task the prompt whose answers are least alike: task, prompt, distance; the least alike first.

    distance: the mean, over all pairs of models, of 1 - Jaccard of the two answers' words (whatever their case).
    """
    return store.sql(
        r"""
        WITH said AS (
            SELECT task, prompt, model, list_distinct(regexp_extract_all(lower(answer), '[\p{L}\p{N}]+')) AS words,
                   length(answer) AS size
            FROM answers
        ), pairs AS (
            SELECT a.task, a.prompt, len(list_intersect(a.words, b.words)) AS shared, len(a.words) + len(b.words) AS total,
                   a.size + b.size AS size
            FROM said a JOIN said b ON b.task = a.task AND b.prompt = a.prompt AND b.model > a.model
        ), prompts AS (
            SELECT task, prompt, avg(CASE WHEN total > 0 THEN 1 - shared / (total - shared) ELSE 0 END) AS distance,
                   sum(size) AS size
            FROM pairs GROUP BY task, prompt
        )
        SELECT task, prompt, distance FROM prompts
        QUALIFY row_number() OVER (PARTITION BY task ORDER BY distance DESC, size, prompt) = 1
        ORDER BY distance DESC, task
        """
    )


def largest_kl(store: Store, variant: str | None = None, limit: int = 1) -> pd.DataFrame:
    """The sampled tokens after which the next-token prediction changed most, those whose features can be listed first.

    Columns: variant, document, position, kl, domain, source, has_codes, token (its text; untrusted). variant None: any.
    """
    return store.sql(
        """
        SELECT k.variant, k.document, k.position, k.kl, d.domain, d.source, d.has_codes,
               coalesce(v.token, '⟨' || t.token_id || '⟩') AS token
        FROM token_kl k JOIN documents d ON d.document = k.document
        LEFT JOIN tokens t ON t.document = k.document AND t.position = k.position
        LEFT JOIN vocabulary v ON v.token_id = t.token_id
        WHERE ?::VARCHAR IS NULL OR k.variant = ?
        ORDER BY d.has_codes DESC, k.kl DESC, k.variant, k.document, k.position LIMIT ?
        """,
        [variant, variant, int(limit)],
    )
