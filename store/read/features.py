"""Questions about one feature: its numbers, its activations' histogram, its neighbours; and which features sit on a segment.

Lists of features, which can be filtered and sorted, are in store/read/feature_lists.py, contexts in store/read/contexts.py.
"""

import pandas as pd

from store.read.connection import Connection
from store.read.expressions import TOKEN_TEXT, WITH_TEXTS, is_claimed

_MOVED = """abs(g.share) / nullif(sum(abs(g.share)) OVER (PARTITION BY g.variant, g.layer, g.feature), 0)"""
"""SQL for a segment's part of how far a feature moved, of feature_segments g: parts of opposite sign do not cancel out."""


class Features(Connection):
    """What a store says of single features of its dictionaries."""

    def feature(self, layer: int, feature: int) -> pd.DataFrame:
        """One feature of a dictionary: one row, or none where the dictionary does not hold it.

        Columns of features and of its layer (sae, hook_name, architecture, d_sae, n_tokens, neuronpedia), with
        promoted_tokens and suppressed_tokens as lists of token texts (null where not computed).
        """
        return self.sql(
            f"""
            SELECT f.*, l.sae, l.hook_name, l.architecture, l.d_sae, l.n_tokens, l.neuronpedia,
                   {_token_texts("promoted")} AS promoted_tokens, {_token_texts("suppressed")} AS suppressed_tokens
            FROM features f JOIN layers l ON l.layer = f.layer WHERE f.layer = $layer AND f.feature = $feature
            """,
            _key(layer, feature),
        )

    def feature_stats(self, layer: int, feature: int, variant: str | None = None) -> pd.DataFrame:
        """One feature's numbers per variant and domain ('all' first), with the fit gate; no row where it never fired.

        Columns of feature_stats (evidence null but for domain 'all'), n_base and n_variant (tokens where it fires), gate.
        """
        return self.sql(
            """
            SELECT s.*, s.n11 + s.n10 AS n_base, s.n11 + s.n01 AS n_variant, g.gate
            FROM feature_stats s LEFT JOIN fit g ON g.variant = s.variant AND g.layer = s.layer AND g.domain = s.domain
            WHERE s.layer = $layer AND s.feature = $feature AND ($variant::VARCHAR IS NULL OR s.variant = $variant)
            ORDER BY s.variant, s.domain <> 'all', s.domain
            """,
            _key(layer, feature, variant=variant),
        )

    def replicate_changes(self, layer: int, feature: int, variant: str) -> pd.DataFrame:
        """What became of a feature in every run of a variant's recipe, all domains together: a row a run, in the store's order.

        Columns: variant, change, change_low, change_high, verdict; null where it never fired. Only the variant's own row where
        the store has no other run (:meth:`store.read.connection.Connection.groups`).
        """
        groups = self.groups().set_index("variant")["first"]
        members = groups.index[groups == groups[variant]].to_list()
        return self.sql(
            """
            SELECT v.variant, s.change, s.change_low, s.change_high, s.verdict
            FROM (SELECT unnest($members::VARCHAR[]) AS variant) v
            LEFT JOIN feature_stats s
                ON s.variant = v.variant AND s.layer = $layer AND s.feature = $feature AND s.domain = 'all'
            ORDER BY list_position($members::VARCHAR[], v.variant)
            """,
            _key(layer, feature) | {"members": members},
        )

    def histogram(self, layer: int, feature: int) -> pd.DataFrame:
        """Tokens per activation bin, for base and every variant on the same bins: model, bin, low, high, count.

        Bins without tokens have no row. The first and the last bin also hold what lies beyond their edge.
        """
        return self.sql(
            """
            SELECT h.model, h.bin, b.low, b.high, h.count
            FROM histograms h JOIN histogram_bins b ON b.layer = h.layer AND b.bin = h.bin
            WHERE h.layer = $layer AND h.feature = $feature ORDER BY h.model, h.bin
            """,
            _key(layer, feature),
        )

    def decoder_neighbours(self, layer: int, feature: int, variant: str) -> pd.DataFrame:
        """The features of the same dictionary with the most similar decoder rows, nearest first.

        Columns: layer, feature, cosine, label, label_source, and in the variant, all domains together, shift, change and
        verdict (null where it never fired).
        """
        return self.sql(
            """
            WITH near AS (
                SELECT layer, unnest(neighbours) AS feature, unnest(neighbour_cosines) AS cosine,
                       generate_subscripts(neighbours, 1) AS place
                FROM features WHERE layer = $layer AND feature = $feature
            )
            SELECT n.layer, n.feature, n.cosine, f.label, f.label_source, s.shift, s.change, s.verdict
            FROM near n LEFT JOIN features f ON f.layer = n.layer AND f.feature = n.feature
            LEFT JOIN feature_stats s
                ON s.variant = $variant AND s.layer = n.layer AND s.feature = n.feature AND s.domain = 'all'
            ORDER BY n.place
            """,
            _key(layer, feature, variant=variant),
        )

    def feature_segments(self, layer: int, feature: int, variant: str) -> pd.DataFrame:
        """What of a feature's shift sits on which segment: columns of feature_segments and moved, the largest part first.

        moved: the size of the segment's part against that of all parts added up, whichever way each goes; at most 1.
        """
        return self.sql(
            f"""
            SELECT *, {_MOVED} AS moved FROM feature_segments g
            WHERE layer = $layer AND feature = $feature AND variant = $variant
            ORDER BY abs(share) DESC NULLS LAST, segment
            """,
            _key(layer, feature, variant=variant),
        )

    def segment_features(
        self, variant: str, segment: str, layer: int | None = None, least: float = 0.5, limit: int = 15
    ) -> pd.DataFrame:
        """Features that moved mostly on one segment, by more than `least`: those of a claimed change first, then by |shift|.

        From `least` 0.5 on no feature is on the list of two segments.

        Columns: layer, feature, label, label_source, moved (as of :meth:`feature_segments`), segment_shift (mean over the
        segment's tokens), and of all domains and segments together kind, shift, change, did_shift, verdict and gate.
        """
        return self.sql(
            f"""
            SELECT g.layer, g.feature, f.label, f.label_source, g.moved, g.shift AS segment_shift, s.kind, s.shift, s.change,
                   s.did_shift, s.verdict, fit.gate
            FROM (
                SELECT *, {_MOVED} AS moved FROM feature_segments g
                WHERE variant = $variant AND ($layer::INTEGER IS NULL OR layer = $layer)
            ) g
            JOIN feature_stats s ON s.variant = g.variant AND s.layer = g.layer AND s.feature = g.feature AND s.domain = 'all'
            LEFT JOIN features f ON f.layer = g.layer AND f.feature = g.feature
            LEFT JOIN fit ON fit.variant = g.variant AND fit.layer = g.layer AND fit.domain = 'all'
            WHERE g.segment = $segment AND g.moved > $least
            ORDER BY {is_claimed()} DESC, abs(s.shift) DESC, g.layer, g.feature LIMIT $limit
            """,
            {"variant": variant, "segment": segment, "layer": layer, "least": least, "limit": int(limit)},
        )

    def label_sources(self) -> pd.DataFrame:
        """Who gave labels: label_source, each once."""
        return self.sql("SELECT DISTINCT label_source FROM features WHERE label IS NOT NULL ORDER BY label_source")

    def labels(self, layer: int) -> pd.DataFrame:
        """What the features of a layer are called: feature, label, label_source; only of those that have one."""
        return self.sql(
            "SELECT feature, label, label_source FROM features WHERE layer = $layer AND label IS NOT NULL ORDER BY feature",
            {"layer": int(layer)},
        )

    def replica(self, layer: int, feature: int, variant: str) -> pd.DataFrame:
        """What the layer's second dictionary shows of a feature: its row of replicas, or none without one."""
        return self.sql(
            "SELECT * FROM replicas WHERE layer = $layer AND feature = $feature AND variant = $variant",
            _key(layer, feature, variant=variant),
        )

    def feature_kl(self, layer: int, feature: int, variant: str) -> pd.DataFrame:
        """Whether a feature's change sits where the prediction changed: its row of feature_kl, or none."""
        return self.sql(
            "SELECT * FROM feature_kl WHERE layer = $layer AND feature = $feature AND variant = $variant",
            _key(layer, feature, variant=variant),
        )


def _key(layer: int, feature: int, **more: str | None) -> dict[str, int | str | None]:
    """The parameters that name a feature, and others."""
    return {"layer": int(layer), "feature": int(feature), **more}


def _token_texts(column: str) -> str:
    """SQL for the texts of the tokens that a column of features lists, in its order; null where it is."""
    return f"""(
        SELECT list({TOKEN_TEXT} ORDER BY t.i)
        FROM (SELECT unnest(f.{column}) AS token_id, generate_subscripts(f.{column}, 1) AS i) t {WITH_TEXTS}
    )"""
