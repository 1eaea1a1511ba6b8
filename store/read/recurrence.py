"""What is said of single features elsewhere: in the other runs of the recipe, in other recipes, in single domains."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from store.names import KINDS
from store.read.connection import Connection
from store.read.expressions import claim_its_way, is_seen
from store.trainings import speakers

Keys = Sequence[tuple[int, int]]
"""(layer, feature) of some features."""


class Recurrence(Connection):
    """Questions about some features of a variant, named by their keys: a row each, in the order given."""

    def of_other_recipes(self, variant: str) -> list[str]:
        """Every variant of another recipe that has verdicts, in the store's order.

        Replicates are no others, nor are other checkpoints of its training, those of other seeds among them; of another
        training the last speaks, with its replicates.
        """
        rows = self.sql("SELECT DISTINCT variant FROM feature_stats WHERE domain = 'all' AND verdict IS NOT NULL")
        judged = set(rows["variant"])
        members = self.members()
        speaks = speakers(members)
        own = speaks[members[variant].first]
        return [name for name, of in members.items() if name in judged and speaks[of.first] == of.first != own]

    def claims(self, variant: str, keys: Keys) -> pd.DataFrame:
        """What is claimed of features in this recipe and in others, all domains together.

        Returns:
            layer, feature, label, label_source, verdict; n_runs, runs of the recipe, and runs_alike, those that changed it
            materially the way this variant did; n_others, other recipes with verdicts, and claimed_in, the names of those
            that are claimed to have changed it the same way (list, in the store's order).
        """
        groups, others = self.groups().set_index("variant"), self.of_other_recipes(variant)
        runs = groups.index[groups["first"] == groups.loc[variant, "first"]].to_list()
        recipes = list(dict.fromkeys(groups.loc[others, "first"]))
        found = self.sql(
            f"""
            WITH recipes AS (
                SELECT unnest($others::VARCHAR[]) AS variant, unnest($recipes::VARCHAR[]) AS recipe
            ), {_KEYS}
            SELECT k.layer, k.feature, any_value(f.label) AS label, any_value(f.label_source) AS label_source,
                   any_value(s.verdict) AS verdict,
                   count(*) FILTER (list_contains($runs::VARCHAR[], o.variant) AND o.kind <> '{KINDS[2]}'
                                    AND (o.shift < 0) = (s.shift < 0)) AS runs_alike,
                   coalesce(list(DISTINCT r.recipe) FILTER (o.verdict = {claim_its_way()} AND r.recipe IS NOT NULL), [])
                       AS claimed_in
            FROM keys k
            LEFT JOIN feature_stats s
                ON s.variant = $variant AND s.domain = 'all' AND s.layer = k.layer AND s.feature = k.feature
            LEFT JOIN feature_stats o ON o.domain = 'all' AND o.layer = k.layer AND o.feature = k.feature
            LEFT JOIN recipes r ON r.variant = o.variant
            LEFT JOIN features f ON f.layer = k.layer AND f.feature = k.feature
            GROUP BY k.layer, k.feature, k.place ORDER BY k.place
            """,
            _values(keys)
            | {"variant": variant, "runs": runs, "others": others, "recipes": groups.loc[others, "first"].to_list()},
        )
        in_order = [sorted(names, key=recipes.index) for names in found["claimed_in"]]
        return found.assign(n_runs=len(runs), n_others=len(recipes), claimed_in=pd.Series(in_order, dtype=object))

    def changes_on(self, variant: str, keys: Keys, domains: Sequence[str]) -> pd.DataFrame:
        """What became of features on the tokens of some domains: a row for each feature and domain where it fires.

        Columns: layer, feature, domain, change, kind, seen (whether it fires there often and widely enough for a material
        change to be seen), kl (what its change adds to the KL there, nats a predicted token; null where it is not among the
        largest, and without contributions).
        """
        kl, joined = "NULL::DOUBLE", ""
        if self.has_contributions:
            kl, joined = (
                "c.kl::DOUBLE",
                "LEFT JOIN contributions.features c ON c.variant = s.variant AND c.layer = s.layer AND c.domain = s.domain "
                "AND c.feature = s.feature",
            )
        return self.sql(
            f"""
            WITH {_KEYS}
            SELECT k.layer, k.feature, s.domain, s.change, s.kind, {is_seen()} AS seen, {kl} AS kl
            FROM keys k JOIN feature_stats s ON s.layer = k.layer AND s.feature = k.feature {joined}
            WHERE s.variant = $variant AND list_contains($domains::VARCHAR[], s.domain)
            ORDER BY k.place, list_position($domains::VARCHAR[], s.domain)
            """,
            _values(keys) | {"variant": variant, "domains": list(domains)},
        )


_KEYS = """keys AS (
    SELECT unnest($layers::INTEGER[]) AS layer, unnest($features::INTEGER[]) AS feature,
           unnest(range(len($layers::INTEGER[]))) AS place
)"""


def _values(keys: Keys) -> dict[str, Any]:
    """The parameters of _KEYS."""
    return {"layers": [int(layer) for layer, _ in keys], "features": [int(feature) for _, feature in keys]}
