"""Lists of features, a page at a time: every method takes the fields of :class:`Filter` as keywords.

>>> store.shifted_features(variant="maths", layer=12, kinds=("vanished",), sort="suppression", limit=10)
"""

from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from store.read.expressions import READABLE, is_dense
from store.read.feature_filter import Filter, number_expressions
from store.read.layers import Layers


class FeatureLists(Layers):
    """Lists of features that can be filtered and sorted."""

    def _filter(self, variant: str, filters: dict[str, Any]) -> Filter:
        return Filter(variant, **{"contributions": self.has_contributions, **filters})

    def shifted_features(self, variant: str, *, limit: int | None = 50, offset: int = 0, **filters: Any) -> pd.DataFrame:
        """Features of one variant, the claimed ones first unless `sort` says otherwise; dense ones only where asked for.

        filters: fields of :class:`Filter` (layer, domain, kinds, verdicts, min_firings, search, direction, sort, descending,
        dense). limit None: every row. Columns: layer, feature, label, label_source, readable (whether the label names
        something), kind, verdict and reason (null without twins), every number of
        :data:`store.metrics.feature_columns.COLUMNS` (change with its interval, the range of the runs of its recipe, that of
        the twins, ...; what is pooled is of all domains together), magnitude_ratio, n_base and n_variant (tokens where it
        fires), n11, n10, n01, moved_to, is_dense, density, decoder_norm, gate, variant, domain.
        """
        chosen = self._filter(variant, filters)
        where, values = chosen.where()
        e = chosen.evidence
        numbers = ", ".join(f"{value} AS {name}" for name, value in number_expressions(e, chosen.contributions).items())
        return self.sql(
            f"""
            WITH keys AS (
                SELECT s.layer, s.feature, row_number() OVER () AS place FROM (
                    SELECT s.layer, s.feature FROM {chosen.tables()} WHERE {where}
                    ORDER BY {chosen.order()} LIMIT $limit OFFSET $offset
                ) s
            )
            SELECT s.layer, s.feature, f.label, f.label_source, {READABLE} AS readable, s.kind, {e}.verdict, {e}.reason,
                   {numbers}, s.magnitude_ratio, s.n11 + s.n10 AS n_base, s.n11 + s.n01 AS n_variant, s.n11, s.n10, s.n01,
                   {e}.moved_to, {is_dense(e)} AS is_dense,
                   f.density, f.decoder_norm, g.gate, s.variant, s.domain
            FROM {chosen.tables(labelled=True)}
            LEFT JOIN fit g ON g.variant = s.variant AND g.layer = s.layer AND g.domain = s.domain
            JOIN keys k ON k.layer = s.layer AND k.feature = s.feature
            WHERE s.variant = $variant AND s.domain = $domain ORDER BY k.place
            """,
            values | {"limit": limit, "offset": int(offset)},
        )

    def feature_keys(self, variant: str, *, limit: int | None = None, **filters: Any) -> pd.DataFrame:
        """The features of a list in its order, by their keys alone: layer, feature.

        filters: fields of :class:`Filter`. limit None: every one.
        """
        chosen = self._filter(variant, filters)
        where, values = chosen.where()
        return self.sql(
            f"SELECT s.layer, s.feature FROM {chosen.tables()} WHERE {where} ORDER BY {chosen.order()} LIMIT $limit",
            values | {"limit": limit},
        )

    def suppressed_features(self, variant: str, *, limit: int | None = 50, offset: int = 0, **filters: Any) -> pd.DataFrame:
        """Features that fell: the list of :meth:`Filter.suppressed`, in its order.

        filters: its filters. Columns as shifted_features.
        """
        filters = {"contributions": self.has_contributions, **filters}
        chosen = Filter.suppressed(variant, self.has_verdicts(variant), **filters)
        return self.shifted_features(**asdict(chosen), limit=limit, offset=offset)

    def count_features(self, variant: str, **filters: Any) -> pd.DataFrame:
        """How many features a filter leaves, by kind: columns kind, count (kinds that occur).

        filters: fields of :class:`Filter`; the order makes no difference.
        """
        chosen = self._filter(variant, filters)
        where, values = chosen.where()
        return self.sql(
            f"SELECT s.kind, count(*) AS count FROM {chosen.tables()} WHERE {where} GROUP BY s.kind ORDER BY s.kind", values
        )

    def hidden_dense(self, variant: str, **filters: Any) -> int:
        """How many features a list leaves out only because they are dense; 0 where it has them (dense=True).

        filters: fields of :class:`Filter`; the order makes no difference.
        """
        chosen = self._filter(variant, filters)
        if not chosen.hides_dense:
            return 0
        where, values = replace(chosen, dense=True).where()
        query = f"SELECT count(*) AS n FROM {chosen.tables()} WHERE {where} AND {is_dense(chosen.evidence)}"
        return int(self.sql(query, values)["n"].iloc[0])

    def count_verdicts(self, variant: str, **filters: Any) -> pd.DataFrame:
        """How many features a filter leaves, by verdict: columns verdict, count, detectable.

        filters: fields of :class:`Filter`; its verdicts and its order make no difference, and features without a verdict are
        left out. detectable: the median of detectable_loss, the smallest loss of such a feature that would have been claimed;
        null where not even a complete one would.
        """
        chosen = self._filter(variant, filters | {"verdicts": None})
        where, values = chosen.where()
        e = chosen.evidence
        return self.sql(
            f"""
            SELECT {e}.verdict, count(*) AS count, median({e}.detectable_loss) AS detectable
            FROM {chosen.tables()} WHERE {where} AND {e}.verdict IS NOT NULL GROUP BY {e}.verdict ORDER BY {e}.verdict
            """,
            values,
        )

    def neighbours(self, feature_layer: int, feature: int, variant: str, **filters: Any) -> pd.DataFrame:
        """Where one feature stands in a list, and what stands beside it.

        filters: fields of :class:`Filter`. One row, or none where the list does not hold it: position (from 1), total,
        previous_layer, previous_feature, next_layer, next_feature (null at the ends).
        """
        chosen = self._filter(variant, filters)
        where, values = chosen.where()
        return self.sql(
            f"""
            SELECT * FROM (
                SELECT s.layer, s.feature, row_number() OVER w AS position, count(*) OVER () AS total,
                       lag(s.layer) OVER w AS previous_layer, lag(s.feature) OVER w AS previous_feature,
                       lead(s.layer) OVER w AS next_layer, lead(s.feature) OVER w AS next_feature
                FROM {chosen.tables()} WHERE {where} WINDOW w AS (ORDER BY {chosen.order()})
            ) WHERE layer = $feature_layer AND feature = $feature
            """,
            values | {"feature_layer": int(feature_layer), "feature": int(feature)},
        )
