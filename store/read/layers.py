"""Questions about layers: their metrics, the fit of their dictionaries, on which tokens and in which directions they change."""

import pandas as pd

from store.names import ALL, CLAIMED, TWIN, VERDICTS
from store.read.connection import Connection

SUPPRESSED, AMPLIFIED = CLAIMED

_HEADLINES = (
    "cosine", "centred_cosine", "relative_shift", "overlap", "latent_cosine", "l0_base", "l0_variant", "l0_inflation",
    "fvu_base", "fvu_variant", "n_seen", "n_halved", "n_doubled",
)  # fmt: skip

_BESIDE_TWINS = ("overlap", "latent_cosine", "l0_inflation", "n_halved", "n_doubled")
"""Those that stand beside what the twins have."""


class Layers(Connection):
    """What a store says of whole layers."""

    def overview(self, domain: str = ALL) -> pd.DataFrame:
        """One row per variant and layer: the headline metrics as columns, beside controls and twins, and the fit gate.

        Columns: variant, layer, cosine, centred_cosine, relative_shift, overlap, latent_cosine, l0_base, l0_variant,
        l0_inflation, fvu_base, fvu_variant; n_seen (features that could be seen); n_halved, n_doubled (of those that fire on
        50 tokens in 10 clusters at least, how many lost half or more, and how many doubled or more); of the isotropic control
        overlap_isotropic, l0_inflation_isotropic, excess (of overlap), excess_low, excess_high: null without it; of the twins
        the lowest and the highest, overlap_twin_low, overlap_twin_high, and so for latent_cosine, l0_inflation, n_halved and
        n_doubled: null without twins; n_suppressed and n_amplified, features so called over all domains together: null without
        verdicts; n_tokens, n_documents, n_clusters, gate. In the store's order.
        """
        headlines = ",\n".join(f"any_value(value) FILTER (observed AND metric = '{name}') AS {name}" for name in _HEADLINES)
        beside_twins = ",\n".join(
            f"{which}(value) FILTER (is_twin AND metric = '{name}') AS {name}_twin_{end}"
            for name in _BESIDE_TWINS
            for which, end in (("min", "low"), ("max", "high"))
        )
        return self.sql(
            f"""
            WITH called AS (
                SELECT variant, layer, count(*) FILTER (verdict = $suppressed) AS n_suppressed,
                       count(*) FILTER (verdict = $amplified) AS n_amplified
                FROM feature_stats WHERE domain = 'all' AND verdict IS NOT NULL GROUP BY variant, layer
            )
            SELECT m.variant, m.layer, {headlines},
                   any_value(value) FILTER (isotropic AND metric = 'overlap') AS overlap_isotropic,
                   any_value(value) FILTER (isotropic AND metric = 'l0_inflation') AS l0_inflation_isotropic,
                   any_value(excess) FILTER (isotropic AND metric = 'overlap') AS excess,
                   any_value(excess_low) FILTER (isotropic AND metric = 'overlap') AS excess_low,
                   any_value(excess_high) FILTER (isotropic AND metric = 'overlap') AS excess_high,
                   {beside_twins},
                   any_value(c.n_suppressed) AS n_suppressed, any_value(c.n_amplified) AS n_amplified,
                   max(n_tokens) FILTER (observed) AS n_tokens, max(n_documents) FILTER (observed) AS n_documents,
                   max(n_clusters) FILTER (observed) AS n_clusters, any_value(f.gate) AS gate
            FROM (SELECT *, control = 'observed' AS observed, control = 'isotropic' AS isotropic,
                         starts_with(control, '{TWIN}') AS is_twin
                  FROM layer_metrics WHERE domain = $domain AND segment = 'all') m
            LEFT JOIN fit f ON f.variant = m.variant AND f.layer = m.layer AND f.domain = m.domain
            LEFT JOIN called c ON c.variant = m.variant AND c.layer = m.layer
            GROUP BY m.variant, m.layer ORDER BY list_position($variants::VARCHAR[], m.variant), m.layer
            """,
            {"domain": domain, "suppressed": SUPPRESSED, "amplified": AMPLIFIED, "variants": self.variants},
        )

    def verdict_counts(self) -> pd.DataFrame:
        """How many features of a layer have each verdict, all domains together: variant, layer, verdict, n; those that occur.

        Features that never fired in base or variant have no row and count nowhere. Empty without verdicts.
        """
        return self.sql(
            """
            SELECT variant, layer, verdict, count(*) AS n FROM feature_stats
            WHERE domain = 'all' AND verdict IS NOT NULL
            GROUP BY variant, layer, verdict
            ORDER BY list_position($variants::VARCHAR[], variant), layer, list_position($verdicts::VARCHAR[], verdict)
            """,
            {"variants": self.variants, "verdicts": list(VERDICTS)},
        )

    def layer_metrics(
        self,
        variant: str | None = None,
        layer: int | None = None,
        domain: str | None = None,
        segment: str | None = None,
        metric: str | None = None,
        control: str | None = None,
    ) -> pd.DataFrame:
        """Rows of layer_metrics; None means every value of that column."""
        return self.sql(
            """
            SELECT * FROM layer_metrics
            WHERE ($variant::VARCHAR IS NULL OR variant = $variant) AND ($layer::INTEGER IS NULL OR layer = $layer)
              AND ($domain::VARCHAR IS NULL OR domain = $domain) AND ($segment::VARCHAR IS NULL OR segment = $segment)
              AND ($metric::VARCHAR IS NULL OR metric = $metric) AND ($control::VARCHAR IS NULL OR control = $control)
            ORDER BY variant, layer, domain, segment, metric, control
            """,
            {"variant": variant, "layer": layer, "domain": domain, "segment": segment, "metric": metric, "control": control},
        )

    def controls(self) -> pd.DataFrame:
        """What this store has beside the observed numbers, 'observed' itself, controls and twins: column control."""
        return self.sql("SELECT DISTINCT control FROM layer_metrics ORDER BY control")

    def has_verdicts(self, variant: str | None = None) -> bool:
        """Whether a variant (None: any of the store) has twins, and verdicts, which rest on them."""
        mine = "($variant::VARCHAR IS NULL OR variant = $variant)"
        found = self.sql(
            f"""
            SELECT EXISTS (FROM layer_metrics WHERE starts_with(control, '{TWIN}') AND {mine})
               AND EXISTS (FROM feature_stats WHERE domain = 'all' AND verdict IS NOT NULL AND {mine}) AS has
            """,
            {"variant": variant},
        )
        return bool(found["has"].iloc[0])

    def fit(self, variant: str | None = None, layer: int | None = None, domain: str | None = None) -> pd.DataFrame:
        """The fit gate and both fvu per variant, layer and domain; None means every value of that column."""
        return self.sql(
            """
            SELECT * FROM fit
            WHERE ($variant::VARCHAR IS NULL OR variant = $variant) AND ($layer::INTEGER IS NULL OR layer = $layer)
              AND ($domain::VARCHAR IS NULL OR domain = $domain)
            ORDER BY variant, layer, domain
            """,
            {"variant": variant, "layer": layer, "domain": domain},
        )

    def dictionaries(self) -> pd.DataFrame:
        """The table layers: one dictionary a layer, with its size, self-test and Neuronpedia source."""
        return self.sql("SELECT * FROM layers ORDER BY layer")

    def shift_by_segment(self, variant: str, layer: int | None = None) -> pd.DataFrame:
        """On which tokens the change sits: layer, segment, n_tokens, delta_norm2 (sum of ||delta||^2), and their shares.

        share is the segment's part of delta_norm2, token_share of the tokens that count.
        """
        return self.sql(
            """
            SELECT layer, segment, sum(n_tokens)::BIGINT AS n_tokens, sum(delta_norm2) AS delta_norm2,
                   sum(delta_norm2) / nullif(sum(sum(delta_norm2)) OVER (PARTITION BY layer), 0) AS share,
                   sum(n_tokens) / nullif(sum(sum(n_tokens)) OVER (PARTITION BY layer), 0) AS token_share
            FROM document_sums WHERE variant = $variant AND ($layer::INTEGER IS NULL OR layer = $layer)
            GROUP BY layer, segment ORDER BY layer, segment
            """,
            {"variant": variant, "layer": layer},
        )

    def spectrum(self, variant: str, layer: int) -> pd.DataFrame:
        """The shape of a variant's change at a layer: columns of spectrum, the mean (component 0) first."""
        return self.sql(
            "SELECT * FROM spectrum WHERE variant = $variant AND layer = $layer ORDER BY component",
            {"variant": variant, "layer": int(layer)},
        )
