"""Questions across variants: which features changed in which tasks.

When a feature changed is a :class:`ChangeRule`, whose fields the methods take as keywords:

>>> store.change_sets(layer=12, rule="material", share=0.9)

Variants of one *task* are runs of one recipe, and count as one: the groups of :meth:`store.read.connection.Connection.groups`,
each called by its first variant. Of a training with several checkpoints the last is a task, the others are none
(:meth:`store.read.connection.Connection.compared`). A feature without a row in a variant fired neither there nor in the base:
its change there is 0.
"""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from store.names import ALL
from store.read.change_rule import IN_LAYER, RULES, ChangeRule
from store.read.connection import Connection
from store.read.expressions import is_seen


class Changes(Connection):
    """Which features changed in which tasks."""

    def change_rules(self, domain: str = ALL) -> pd.DataFrame:
        """The rules that this store allows for a domain: rule, share; the strictest, used where none is named, first."""
        query = "SELECT EXISTS (FROM feature_stats WHERE domain = $domain AND verdict IS NOT NULL) AS has"
        has_verdicts = self.sql(query, {"domain": domain})["has"].iloc[0]
        rules = [rule for rule in RULES if rule != "verdict" or has_verdicts]
        return pd.DataFrame({"rule": rules, "share": [RULES[rule] for rule in rules]}).astype({"share": float})

    def change_sets(self, **change: Any) -> pd.DataFrame:
        """How many features changed in exactly which tasks; a row for each set of tasks that occurs, smaller sets first.

        Args:
            change: fields of :class:`ChangeRule` (layer, domain, rule, share, runs).

        Returns:
            tasks (list, in the store's order), n_tasks, extent ('one', 'several' or 'all' tasks), count, and of these down, up
            (the change has that sign wherever there is one) and opposite (not the same sign everywhere); expected: the count if
            each task had changed as many features of each layer, drawn independently among those that could have been called;
            rule, share.

        Raises:
            UserError: the store does not allow that rule here, or there is no such rule.
        """
        settled = self._settled(ChangeRule(**change))
        sets, values = self._sets(settled)
        by_layer = self.sql(
            f"""
            {sets}
            SELECT layer, tasks, count(*) AS count, count(*) FILTER (falls AND NOT rises) AS down,
                   count(*) FILTER (rises AND NOT falls) AS up, count(*) FILTER (rises AND falls) AS opposite
            FROM sets GROUP BY ALL
            """,
            values,
        )
        names = list(dict.fromkeys(self.compared()["first"]))
        frame = by_layer.assign(tasks=by_layer["tasks"].map(tuple))
        numbers = ["count", "down", "up", "opposite"]
        table = frame.groupby("tasks", sort=False)[numbers].sum().reset_index().astype(dict.fromkeys(numbers, int))
        candidates = self._candidates(settled)
        table["n_tasks"] = table["tasks"].map(len).astype(int)
        table["extent"] = ["one" if n == 1 else "all" if n == len(names) else "several" for n in table["n_tasks"]]
        table["expected"] = [_expected(tasks, names, frame, candidates) for tasks in table["tasks"]]
        table["order"] = [tuple(names.index(task) for task in tasks) for tasks in table["tasks"]]
        table = table.sort_values(["n_tasks", "count", "order"], ascending=[True, False, True], ignore_index=True)
        table = table.assign(tasks=table["tasks"].map(list), **settled.named())
        return table[["tasks", "n_tasks", "extent", *numbers, "expected", "rule", "share"]]

    def changed_features(self, tasks: Sequence[str], *, limit: int | None = 50, offset: int = 0, **change: Any) -> pd.DataFrame:
        """The features that changed in exactly these tasks (see change_sets), those that changed most anywhere first.

        Args:
            change: fields of :class:`ChangeRule`.

        Returns:
            layer, feature, label, label_source, direction ('down', 'up' or 'opposite', over the variants where it changed),
            n_changed (variants where it changed), and for each variant V of a task: change_V and changed_V; rule, share. Ties
            by layer and feature.

        Raises:
            UserError: as change_sets.
        """
        settled = self._settled(ChangeRule(**change))
        sets, values = self._sets(settled)
        rows = self.sql(
            f"""
            {sets}, page AS (
                SELECT * FROM sets WHERE list_sort(tasks) = list_sort($wanted::VARCHAR[])
                ORDER BY size DESC, layer, feature LIMIT $limit OFFSET $offset
            )
            SELECT p.layer, p.feature, f.label, f.label_source, p.size,
                   CASE WHEN p.rises AND p.falls THEN 'opposite' WHEN p.rises THEN 'up' ELSE 'down' END AS direction,
                   s.variant, s.change, c.variant IS NOT NULL AS changed
            FROM page p JOIN feature_stats s ON s.layer = p.layer AND s.feature = p.feature AND s.domain = $domain
            LEFT JOIN called c ON c.variant = s.variant AND c.layer = s.layer AND c.feature = s.feature
            LEFT JOIN features f ON f.layer = p.layer AND f.feature = p.feature
            """,
            values | {"wanted": list(tasks), "limit": limit, "offset": int(offset)},
        )
        key = ["layer", "feature"]
        table = rows.drop_duplicates(key).sort_values(["size", *key], ascending=[False, True, True])
        table = table[[*key, "label", "label_source", "direction"]].assign(n_changed=0).reset_index(drop=True)
        for variant in self.compared()["variant"]:
            mine = rows.loc[rows["variant"] == variant, [*key, "change", "changed"]]
            table = table.merge(
                mine.rename(columns={"change": f"change_{variant}", "changed": f"changed_{variant}"}), "left", key
            )
            table[f"change_{variant}"] = table[f"change_{variant}"].fillna(0.0)
            table[f"changed_{variant}"] = table[f"changed_{variant}"].eq(True)
            table["n_changed"] += table[f"changed_{variant}"]
        return table.assign(**settled.named())

    def _settled(self, change: ChangeRule) -> ChangeRule:
        """The rule and share to use: those named, or the strictest that the store allows, with its usual share."""
        return change.settled(self.change_rules(change.domain)["rule"].to_list())

    def _sets(self, settled: ChangeRule) -> tuple[str, dict[str, Any]]:
        """A WITH clause whose table sets has a row for each changed feature: layer, feature, tasks, rises, falls, size."""
        called, values = settled.called()
        tasks = self.compared()
        needed = tasks["n_runs"] if settled.runs == "every" else pd.Series(1, index=tasks.index)
        clause = f"""
            WITH names AS (
                SELECT unnest($variants::VARCHAR[]) AS variant, unnest($tasks::VARCHAR[]) AS task,
                       unnest($needed::BIGINT[]) AS needed
            ), called AS ({called}), by_task AS (
                SELECT c.layer, c.feature, n.task, bool_or(c.change > 0) AS rises, bool_or(c.change < 0) AS falls,
                       max(abs(c.change)) AS size
                FROM called c JOIN names n USING (variant)
                GROUP BY c.layer, c.feature, n.task HAVING count(*) >= any_value(n.needed)
            ), sets AS (
                SELECT layer, feature, list(task ORDER BY list_position($in_order::VARCHAR[], task)) AS tasks,
                       bool_or(rises) AS rises, bool_or(falls) AS falls, max(size) AS size
                FROM by_task GROUP BY layer, feature
            )
        """
        given = {"variants": tasks["variant"].to_list(), "tasks": tasks["first"].to_list(), "needed": needed.to_list()}
        return clause, values | given | {"in_order": list(dict.fromkeys(tasks["first"]))}

    def _candidates(self, settled: ChangeRule) -> pd.Series:
        """Layer -> features that could have been called in at least one variant of a task."""
        size = self.sql("SELECT max(d_sae) AS size FROM layers")["size"].iloc[0]
        table = self.sql(
            f"""
            SELECT layer, bit_count(bitstring_agg(feature, 0, $size::INTEGER)) AS n FROM feature_stats s
            WHERE {IN_LAYER} AND {is_seen()} AND list_contains($variants::VARCHAR[], variant) GROUP BY layer
            """,  # a bit a feature: several times faster than count(DISTINCT feature)
            settled.place() | {"size": int(size), "variants": self.compared()["variant"].to_list()},
        )
        return table.set_index("layer")["n"]


def _expected(tasks: Sequence[str], names: Sequence[str], by_layer: pd.DataFrame, candidates: pd.Series) -> float:
    """How many features would lie in exactly these tasks by chance: see change_sets.

    by_layer: layer, tasks (tuple) and count of every set; candidates: layer -> features that could have been called.
    """
    total = 0.0
    for layer, of_layer in by_layer.groupby("layer"):
        n = candidates[layer]
        shares = {name: of_layer.loc[[name in found for found in of_layer["tasks"]], "count"].sum() / n for name in names}
        total += n * math.prod(share if name in tasks else 1 - share for name, share in shares.items())
    return total
