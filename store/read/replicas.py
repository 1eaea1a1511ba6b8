"""Questions about a second dictionary of a layer: whether it shows the same shifts."""

import pandas as pd

from store.metrics.ranks import spearman
from store.metrics.thresholds import SAME_DIRECTION
from store.read.change_rule import ChangeRule
from store.read.changes import Changes


class Replicas(Changes):
    """What second dictionaries show."""

    def replica_layers(self) -> pd.DataFrame:
        """The layers that have a second dictionary in this store: layer."""
        return self.sql("SELECT DISTINCT layer FROM replicas ORDER BY layer")

    def replica_pairs(self, variant: str, layer: int, rule: str | None = None, share: float | None = None) -> pd.DataFrame:
        """Each feature beside its nearest one in the second dictionary of the layer, all domains together.

        Returns:
            feature, replica_feature, cosine (of the two decoder rows), matched (cosine >= SAME_DIRECTION), shift,
            replica_shift, changed; by feature. Only features that fire in base or variant; empty where the store has no second
            dictionary of the layer.

        Raises:
            UserError: as change_sets.
        """
        called, values = self._settled(ChangeRule(int(layer), rule=rule, share=share)).called()
        return self.sql(
            f"""
            WITH called AS ({called})
            SELECT r.feature, r.replica_feature, r.cosine, r.cosine >= $same_direction::DOUBLE AS matched, s.shift,
                   r.shift AS replica_shift, c.variant IS NOT NULL AS changed
            FROM replicas r
            JOIN feature_stats s ON s.variant = r.variant AND s.layer = r.layer AND s.feature = r.feature AND s.domain = 'all'
            LEFT JOIN called c ON c.variant = r.variant AND c.layer = r.layer AND c.feature = r.feature
            WHERE r.variant = $variant AND r.layer = $layer ORDER BY r.feature
            """,
            values | {"same_direction": SAME_DIRECTION, "variant": variant},
        )

    def replica_summary(self, layer: int, rule: str | None = None, share: float | None = None) -> pd.DataFrame:
        """Whether a second dictionary of the layer shows the same shifts: two rows a variant, changed features and all others.

        Returns:
            variant, changed, n (features), matched (with a counterpart), same_sign (of the matched: both shifts are not 0 and
            have one sign), spearman (rank correlation of the two shifts over the matched). Empty where there is no second
            dictionary.

        Raises:
            UserError: as change_sets.
        """
        rows = []
        for variant in self.variants:
            pairs = self.replica_pairs(variant, layer, rule, share)
            for changed in (True, False) if len(pairs) else ():
                group = pairs[pairs["changed"] == changed]
                matched = group[group["matched"]]
                same = matched[matched["shift"] * matched["replica_shift"] > 0]
                rho = spearman(matched["shift"].to_numpy(), matched["replica_shift"].to_numpy())
                numbers = {"n": len(group), "matched": len(matched), "same_sign": len(same), "spearman": rho}
                rows.append({"variant": variant, "changed": changed, **numbers})
        return pd.DataFrame(rows, columns=["variant", "changed", "n", "matched", "same_sign", "spearman"])
