"""Questions about two variants: how alike their changes are, and every feature's change in one beside that in the other."""

from itertools import combinations
from typing import Any

import pandas as pd

from store.names import ALL
from store.read.change_rule import IN_LAYER, ChangeRule
from store.read.changes import Changes
from store.read.expressions import is_seen
from store.read.layer_shifts import TOP, LayerShifts


class VariantPairs(Changes):
    """Two variants beside each other."""

    def variant_pairs(self, *, k: int = TOP, **change: Any) -> pd.DataFrame:
        """How alike the changes of every two variants are, a row for each layer and pair (in the store's order); of a training
        with several checkpoints those of the last.

        Args:
            k: features compared as the most moved of each.
            change: fields of :class:`ChangeRule` (layer, domain, rule, share); its runs make no difference.

        Returns:
            layer, variant_a, variant_b, same_task; n: features that fire in either (in the base, or in one of the two);
            spearman: rank correlation of their shifts, spearman_std of their std_shifts (where defined); n_seen: features of
            which a material change could have been seen in both, and correlation: Pearson's, of their changes there (any
            two changes of the weights may share some); top_k: how many features were compared as the most moved of each (the k
            with the largest |shift|, fewer where fewer moved), top_shared: those that are among them in both, top_expected:
            what drawing them by chance among n gives (the mean of the hypergeometric distribution); called_a, called_b:
            features changed in each, called_same and called_opposite: in both, with the same and with opposite sign;
            called_either: in at least one, and signs_agree: of these, those whose two shifts have the same sign; rule, share.

        Raises:
            UserError: as change_sets.
        """
        settled = self._settled(ChangeRule(**change))
        tasks = self.compared().set_index("variant")["first"]
        compared = [place for place, variant in enumerate(self.variants) if variant in tasks.index]
        called, values = settled.called()
        changed = self.sql(
            f"SELECT layer, feature, (list_position($variants::VARCHAR[], variant) - 1)::INTEGER AS variant FROM ({called})",
            values | {"variants": self.variants},
        )
        rows = []
        for layer in self.layers if settled.layer is None else [settled.layer]:
            shifts = LayerShifts(self._shifts(layer, settled.domain), changed[changed["layer"] == layer], len(self.variants))
            for a, b in combinations(compared, 2):
                names = {"variant_a": self.variants[a], "variant_b": self.variants[b]}
                same_task = tasks[names["variant_a"]] == tasks[names["variant_b"]]
                rows.append({"layer": layer, **names, "same_task": same_task, **shifts.pair(a, b, k)})
        columns = ["layer", "variant_a", "variant_b", "same_task", *LayerShifts.COLUMNS]
        return pd.DataFrame(rows, columns=columns).assign(**settled.named())

    def side_by_side(self, variant_a: str, variant_b: str, *, limit: int | None = 2000, **change: Any) -> pd.DataFrame:
        """Every feature's change in one variant beside its change in another, those that moved furthest in either first.

        Args:
            change: fields of :class:`ChangeRule` (layer, domain, rule, share); its runs make no difference.

        Returns:
            layer, feature, label, label_source, shift_a, shift_b, std_shift_a, std_shift_b, change_a, change_b, verdict_a,
            verdict_b (null where the store has none), seen_a, seen_b (whether a material change could have been
            seen), changed_a, changed_b; rule, share. Ties by layer and feature.

        Raises:
            UserError: as change_sets.
        """
        settled = self._settled(ChangeRule(**change))
        called, values = settled.called()
        numbers = f"layer, feature, shift, std_shift, change, verdict, {is_seen()} AS seen"
        one = f"SELECT {numbers} FROM feature_stats s WHERE {IN_LAYER}"
        table = self.sql(
            f"""
            WITH called AS ({called}), a AS ({one} AND variant = $a), b AS ({one} AND variant = $b), most AS (
                SELECT layer, feature, coalesce(a.shift, 0) AS shift_a, coalesce(b.shift, 0) AS shift_b,
                       a.std_shift AS std_shift_a, b.std_shift AS std_shift_b, coalesce(a.change, 0) AS change_a,
                       coalesce(b.change, 0) AS change_b, a.verdict AS verdict_a, b.verdict AS verdict_b,
                       coalesce(a.seen, false) AS seen_a, coalesce(b.seen, false) AS seen_b
                FROM a FULL JOIN b USING (layer, feature)
                ORDER BY greatest(abs(shift_a), abs(shift_b)) DESC, layer, feature LIMIT $limit
            )
            SELECT m.layer, m.feature, f.label, f.label_source, m.* EXCLUDE (layer, feature),
                   ca.variant IS NOT NULL AS changed_a, cb.variant IS NOT NULL AS changed_b
            FROM most m LEFT JOIN features f ON f.layer = m.layer AND f.feature = m.feature
            LEFT JOIN called ca ON ca.variant = $a AND ca.layer = m.layer AND ca.feature = m.feature
            LEFT JOIN called cb ON cb.variant = $b AND cb.layer = m.layer AND cb.feature = m.feature
            ORDER BY greatest(abs(shift_a), abs(shift_b)) DESC, m.layer, m.feature
            """,
            values | {"a": variant_a, "b": variant_b, "limit": limit},
        )
        return table.assign(**settled.named())

    def feature_across(self, layer: int, feature: int) -> pd.DataFrame:
        """One feature in every variant and domain ('all' first): a row for each, null where it never fires there.

        Columns: variant, domain, change, change_low, change_high, shift, std_shift, kind, verdict, reason, freq_base,
        freq_variant, n_documents, n_clusters, gate.
        """
        return self.sql(
            """
            SELECT v.variant, d.domain, s.change, s.change_low, s.change_high, s.shift, s.std_shift, s.kind, s.verdict,
                   s.reason, s.freq_base, s.freq_variant, s.n_documents, s.n_clusters, g.gate
            FROM (SELECT unnest($variants::VARCHAR[]) AS variant) v
            CROSS JOIN (SELECT unnest($domains::VARCHAR[]) AS domain) d
            LEFT JOIN feature_stats s
                ON s.variant = v.variant AND s.domain = d.domain AND s.layer = $layer AND s.feature = $feature
            LEFT JOIN fit g ON g.variant = v.variant AND g.domain = d.domain AND g.layer = $layer
            ORDER BY list_position($variants::VARCHAR[], v.variant), d.domain <> 'all', d.domain
            """,
            {"variants": self.variants, "domains": [ALL, *self.domains], "layer": int(layer), "feature": int(feature)},
        )

    def _shifts(self, layer: int, domain: str) -> pd.DataFrame:
        """What :class:`LayerShifts` is made of."""
        return self.sql(
            f"""
            SELECT (list_position($variants::VARCHAR[], variant) - 1)::INTEGER AS variant, feature, shift, std_shift, change,
                   {is_seen()} AS seen
            FROM feature_stats s WHERE layer = $layer AND domain = $domain
            """,
            {"variants": self.variants, "layer": int(layer), "domain": domain},
        )
