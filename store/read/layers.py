"""Questions about layers: their metrics, the fit of their dictionaries, on which tokens and in which directions they change."""

import pandas as pd

from store.names import ALL
from store.read.connection import Connection

_HEADLINES = (
    "cosine", "centred_cosine", "relative_shift", "overlap", "latent_cosine", "l0_base", "l0_variant", "l0_inflation",
    "fvu_base", "fvu_variant", "n_beyond_noise", "systematic_share",
)  # fmt: skip

_BEYOND = """
SELECT variant, layer, value::BIGINT AS n FROM layer_metrics
WHERE domain = $domain AND segment = 'all' AND control = 'observed' AND metric = 'n_beyond_noise' AND value IS NOT NULL
"""


class Layers(Connection):
    """What a store says of whole layers."""

    def overview(self, domain: str = ALL) -> pd.DataFrame:
        """One row per variant and layer: the headline metrics as columns, and the fit gate.

        Columns: variant, layer, cosine, centred_cosine, relative_shift, overlap, latent_cosine, l0_base, l0_variant,
        l0_inflation, fvu_base, fvu_variant, n_beyond_noise, systematic_share, n_tokens, n_documents, gate; and of the isotropic
        control overlap_isotropic, l0_inflation_isotropic, excess (of overlap), excess_low, excess_high: null without it.
        """
        headlines = ",\n".join(f"any_value(value) FILTER (observed AND metric = '{name}') AS {name}" for name in _HEADLINES)
        return self.sql(
            f"""
            SELECT m.variant, m.layer, {headlines},
                   any_value(value) FILTER (NOT observed AND metric = 'overlap') AS overlap_isotropic,
                   any_value(value) FILTER (NOT observed AND metric = 'l0_inflation') AS l0_inflation_isotropic,
                   any_value(excess) FILTER (NOT observed AND metric = 'overlap') AS excess,
                   any_value(excess_low) FILTER (NOT observed AND metric = 'overlap') AS excess_low,
                   any_value(excess_high) FILTER (NOT observed AND metric = 'overlap') AS excess_high,
                   max(n_tokens) FILTER (observed) AS n_tokens, max(n_documents) FILTER (observed) AS n_documents,
                   any_value(f.gate) AS gate
            FROM (SELECT *, control = 'observed' AS observed FROM layer_metrics
                  WHERE domain = $domain AND segment = 'all' AND control IN ('observed', 'isotropic')) m
            LEFT JOIN fit f ON f.variant = m.variant AND f.layer = m.layer AND f.domain = m.domain
            GROUP BY m.variant, m.layer ORDER BY m.variant, m.layer
            """,
            {"domain": domain},
        )

    def beyond_noise(self, domain: str = ALL) -> pd.DataFrame:
        """How many of the features that move further than noise can fell: variant, layer, n, n_down.

        The n features beyond noise (n_beyond_noise) are by definition the n of the largest |shift|. No row without controls.
        """
        most = self.sql(f"SELECT coalesce(max(n), 0) AS n FROM ({_BEYOND})", {"domain": domain})["n"].iloc[0]
        return self.sql(
            f"""
            WITH furthest AS (
                SELECT variant, layer, arg_max(shift, abs(shift), {max(1, int(most))}) AS shifts
                FROM feature_stats WHERE domain = $domain GROUP BY variant, layer
            )
            SELECT c.variant, c.layer, c.n, coalesce(len(list_filter(f.shifts[1:c.n], lambda shift: shift < 0)), 0) AS n_down
            FROM ({_BEYOND}) c LEFT JOIN furthest f USING (variant, layer) ORDER BY c.variant, c.layer
            """,
            {"domain": domain},
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
        """The controls that this store computed, 'observed' among them: column control."""
        return self.sql("SELECT DISTINCT control FROM layer_metrics ORDER BY control")

    def has_verdicts(self) -> bool:
        """Whether the run computed the isotropic control, on which every verdict rests."""
        return "isotropic" in self.controls()["control"].to_list()

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
