"""Questions across variants: which features changed in which tasks, and how alike two variants' shifts are.

A feature *changed* in a variant by one of RULES, the strictest that the store allows unless another is named:

- ``verdict``: its verdict is suppressed or amplified (domain 'all' of a store with the isotropic control);
- ``floor``: |shift| > multiple x floor, the 99th percentile under noise of that size (any domain of such a store);
- ``rms``: |shift| > multiple x the root mean square shift of the variant's layer and domain (any store; tests nothing).

Variants of one *task* are runs of one recipe, and count as one task: those with the same domains in the run's ``tasks``, and,
where none are given, X and X-seed2. A task is called by its first variant. A feature without a row in a variant fired neither
there nor in the base: its shift there is 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from store.errors import UserError
from store.metrics.thresholds import SAME_DIRECTION
from store.names import ALL, SUPPORTED

if TYPE_CHECKING:
    from store.read.connection import Store

RULES = {"verdict": None, "floor": 1.0, "rms": 3.0}
"""How a feature is found to have changed -> the multiple where none is given; the strictest first."""

RUNS = ("any", "every")
"""A task of several runs changed a feature where any of its runs did, or where every one did."""

TOP = 50
"""Features compared as 'the most moved' of two variants."""

_CALLED = {
    "verdict": f"s.verdict IN {SUPPORTED}",
    "floor": "abs(s.shift) > ?::DOUBLE * s.floor",
    "rms": "abs(s.shift) > ?::DOUBLE * r.size",
}
_SIZES = """JOIN (
    SELECT variant, layer, sqrt(avg(shift * shift)) AS size FROM feature_stats
    WHERE domain = ? AND (?::INTEGER IS NULL OR layer = ?) GROUP BY variant, layer
) r ON r.variant = s.variant AND r.layer = s.layer"""
_NO_LIMIT = 2**62


def tasks_of(variants: Sequence[str], given: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Variant -> the task that it is a run of, called by the task's first variant (one without -seed before one with).

    Args:
        variants: names, in the store's order.
        given: variant -> domains that it was trained for (settings['tasks'] of the manifest); may be empty, or lack variants.
    """
    recipes = {variant: re.sub(r"-seed\d+$", "", variant) for variant in variants}
    of_recipe: dict[str, tuple[str, ...]] = {}
    for variant in variants:
        if given.get(variant):
            of_recipe.setdefault(recipes[variant], tuple(sorted(given[variant])))
    first: dict[Any, str] = {}
    for variant in sorted(variants, key=lambda name: name != recipes[name]):
        first.setdefault(_task_key(recipes[variant], given.get(variant), of_recipe), variant)
    return {variant: first[_task_key(recipes[variant], given.get(variant), of_recipe)] for variant in variants}


def _task_key(recipe: str, given: Sequence[str] | None, of_recipe: Mapping[str, tuple[str, ...]]) -> Any:
    """What two variants of one task share: the domains given, those of another run of the recipe, or the recipe's name."""
    return tuple(sorted(given)) if given else of_recipe.get(recipe, recipe)


def variant_tasks(store: Store) -> pd.DataFrame:
    """Which task each variant is a run of: variant, task, n_runs (of that task), in the store's order."""
    tasks = tasks_of(store.variants, store.manifest.settings.get("tasks") or {})
    frame = pd.DataFrame({"variant": list(tasks), "task": list(tasks.values())})
    return frame.assign(n_runs=frame.groupby("task")["task"].transform("size"))


def change_rules(store: Store, domain: str = ALL) -> pd.DataFrame:
    """The rules that this store allows for a domain, the strictest (the one used where none is named) first: rule, multiple."""
    found = store.sql(
        """
        SELECT EXISTS (FROM feature_stats WHERE domain = ? AND verdict IS NOT NULL) AS verdict,
               EXISTS (FROM feature_stats WHERE domain = ? AND floor IS NOT NULL) AS floor
        """,
        [domain, domain],
    ).iloc[0]
    rules = [rule for rule in RULES if rule == "rms" or found[rule]]
    return pd.DataFrame({"rule": rules, "multiple": [RULES[rule] for rule in rules]}).astype({"multiple": float})


def change_sets(
    store: Store,
    layer: int | None = None,
    domain: str = ALL,
    rule: str | None = None,
    multiple: float | None = None,
    runs: str = "any",
) -> pd.DataFrame:
    """How many features changed in exactly which tasks; a row for each set of tasks that occurs, smaller sets first.

    Args:
        layer: None for all; features of different layers are different features.
        rule, multiple: when a feature changed; None for the strictest rule, and its usual multiple.
        runs: of a task with several runs, whether any or every one has to have changed it.

    Returns:
        tasks (list, in the store's order), n_tasks, extent ('one', 'several' or 'all' tasks), count, and of these down, up
        (the shift has that sign wherever it changed) and opposite (not the same sign everywhere); expected: the count if each
        task had changed as many features of each layer, drawn independently among those that could have been called; rule,
        multiple.

    Raises:
        UserError: the store does not allow that rule here, or there is no such rule.
    """
    rule, multiple = _chosen(store, domain, rule, multiple)
    sets, params = _sets(store, layer, domain, rule, multiple, runs)
    by_layer = store.sql(
        f"""
        {sets}
        SELECT layer, tasks, count(*) AS count, count(*) FILTER (falls AND NOT rises) AS down,
               count(*) FILTER (rises AND NOT falls) AS up, count(*) FILTER (rises AND falls) AS opposite
        FROM sets GROUP BY ALL
        """,
        params,
    )
    names = list(dict.fromkeys(variant_tasks(store)["task"]))
    frame = by_layer.assign(tasks=by_layer["tasks"].map(tuple))
    numbers = ["count", "down", "up", "opposite"]
    table = frame.groupby("tasks", sort=False)[numbers].sum().reset_index().astype(dict.fromkeys(numbers, int))
    candidates = _candidates(store, layer, domain, rule)
    table["n_tasks"] = table["tasks"].map(len).astype(int)
    table["extent"] = ["one" if n == 1 else "all" if n == len(names) else "several" for n in table["n_tasks"]]
    table["expected"] = [_expected(tasks, names, frame, candidates) for tasks in table["tasks"]]
    table["order"] = [tuple(names.index(task) for task in tasks) for tasks in table["tasks"]]
    table = table.sort_values(["n_tasks", "count", "order"], ascending=[True, False, True], ignore_index=True)
    table = table.assign(tasks=table["tasks"].map(list), rule=rule, multiple=multiple)
    return table[["tasks", "n_tasks", "extent", *numbers, "expected", "rule", "multiple"]]


def changed_features(
    store: Store,
    tasks: Sequence[str],
    layer: int | None = None,
    domain: str = ALL,
    rule: str | None = None,
    multiple: float | None = None,
    runs: str = "any",
    limit: int | None = 50,
    offset: int = 0,
) -> pd.DataFrame:
    """The features that changed in exactly these tasks (see change_sets), those that moved furthest anywhere first.

    Returns:
        layer, feature, label, direction ('down', 'up' or 'opposite', over the variants where it changed), n_changed (variants
        where it changed), and for each variant V: shift_V and changed_V; rule, multiple. Ties by layer and feature.

    Raises:
        UserError: as change_sets.
    """
    rule, multiple = _chosen(store, domain, rule, multiple)
    sets, params = _sets(store, layer, domain, rule, multiple, runs)
    rows = store.sql(
        f"""
        {sets}, page AS (
            SELECT * FROM sets WHERE list_sort(tasks) = list_sort(?::VARCHAR[])
            ORDER BY size DESC, layer, feature LIMIT ? OFFSET ?
        )
        SELECT p.layer, p.feature, f.label, p.size,
               CASE WHEN p.rises AND p.falls THEN 'opposite' WHEN p.rises THEN 'up' ELSE 'down' END AS direction,
               s.variant, s.shift, c.variant IS NOT NULL AS changed
        FROM page p JOIN feature_stats s ON s.layer = p.layer AND s.feature = p.feature AND s.domain = ?
        LEFT JOIN called c ON c.variant = s.variant AND c.layer = s.layer AND c.feature = s.feature
        LEFT JOIN features f ON f.layer = p.layer AND f.feature = p.feature
        """,
        [*params, list(tasks), _NO_LIMIT if limit is None else int(limit), int(offset), domain],
    )
    key = ["layer", "feature"]
    table = rows.drop_duplicates(key).sort_values(["size", *key], ascending=[False, True, True])
    table = table[[*key, "label", "direction"]].assign(n_changed=0).reset_index(drop=True)
    for variant in store.variants:
        mine = rows.loc[rows["variant"] == variant, [*key, "shift", "changed"]]
        table = table.merge(mine.rename(columns={"shift": f"shift_{variant}", "changed": f"changed_{variant}"}), "left", key)
        table[f"shift_{variant}"] = table[f"shift_{variant}"].fillna(0.0)
        table[f"changed_{variant}"] = table[f"changed_{variant}"].eq(True)
        table["n_changed"] += table[f"changed_{variant}"]
    return table.assign(rule=rule, multiple=multiple)


def variant_pairs(
    store: Store,
    layer: int | None = None,
    domain: str = ALL,
    rule: str | None = None,
    multiple: float | None = None,
    k: int = TOP,
) -> pd.DataFrame:
    """How alike the shifts of every two variants are, a row for each layer and pair (in the store's order).

    Returns:
        layer, variant_a, variant_b, same_task; n: features that fire in either (in the base, or in one of the two);
        spearman: rank correlation of their shifts, spearman_std of their std_shifts (where defined), and spearman_noise of
        their shifts under the isotropic control, which noise of the two variants' sizes gives (NaN without that control);
        top_k: how many features were compared as the most moved of each (the k with the largest |shift|, fewer where
        fewer moved), top_shared: those that are among them in both, top_expected: what drawing them by chance among n gives
        (the mean of the hypergeometric distribution); called_a, called_b: features changed in each, called_same and
        called_opposite: in both, with the same and with opposite sign; called_either: in at least one, and signs_agree: of
        these, those whose two shifts have the same sign; rule, multiple.

    Raises:
        UserError: as change_sets.
    """
    rule, multiple = _chosen(store, domain, rule, multiple)
    tasks = variant_tasks(store).set_index("variant")["task"]
    called, params = _called(layer, domain, rule, multiple)
    changed = store.sql(
        f"SELECT layer, feature, (list_position(?::VARCHAR[], variant) - 1)::INTEGER AS variant FROM ({called})",
        [store.variants, *params],
    )
    rows = []
    for here in store.layers if layer is None else [layer]:
        shifts = _Shifts(store, here, domain, changed[changed["layer"] == here])
        for a, b in combinations(range(len(store.variants)), 2):
            names = {"variant_a": store.variants[a], "variant_b": store.variants[b]}
            same_task = tasks[names["variant_a"]] == tasks[names["variant_b"]]
            rows.append({"layer": here, **names, "same_task": same_task, **shifts.pair(a, b, k)})
    return pd.DataFrame(rows, columns=["layer", "variant_a", "variant_b", "same_task", *_Shifts.COLUMNS]).assign(
        rule=rule, multiple=multiple
    )


def side_by_side(
    store: Store,
    variant_a: str,
    variant_b: str,
    layer: int | None = None,
    domain: str = ALL,
    rule: str | None = None,
    multiple: float | None = None,
    limit: int | None = 2000,
) -> pd.DataFrame:
    """Every feature's shift in one variant beside its shift in another, those that moved furthest in either first.

    Returns:
        layer, feature, label, shift_a, shift_b, std_shift_a, std_shift_b, verdict_a, verdict_b (null where the store has
        none), changed_a, changed_b; rule, multiple. Ties by layer and feature.

    Raises:
        UserError: as change_sets.
    """
    rule, multiple = _chosen(store, domain, rule, multiple)
    called, params = _called(layer, domain, rule, multiple)
    most = _NO_LIMIT if limit is None else int(limit)
    one = """SELECT layer, feature, shift, std_shift, verdict FROM feature_stats
             WHERE variant = ? AND domain = ? AND (?::INTEGER IS NULL OR layer = ?)"""
    table = store.sql(
        f"""
        WITH called AS ({called}), a AS ({one}), b AS ({one}), most AS (
            SELECT layer, feature, coalesce(a.shift, 0) AS shift_a, coalesce(b.shift, 0) AS shift_b,
                   a.std_shift AS std_shift_a, b.std_shift AS std_shift_b, a.verdict AS verdict_a, b.verdict AS verdict_b
            FROM a FULL JOIN b USING (layer, feature)
            ORDER BY greatest(abs(shift_a), abs(shift_b)) DESC, layer, feature LIMIT ?
        )
        SELECT m.layer, m.feature, f.label, m.* EXCLUDE (layer, feature),
               ca.variant IS NOT NULL AS changed_a, cb.variant IS NOT NULL AS changed_b
        FROM most m LEFT JOIN features f ON f.layer = m.layer AND f.feature = m.feature
        LEFT JOIN called ca ON ca.variant = ? AND ca.layer = m.layer AND ca.feature = m.feature
        LEFT JOIN called cb ON cb.variant = ? AND cb.layer = m.layer AND cb.feature = m.feature
        ORDER BY greatest(abs(shift_a), abs(shift_b)) DESC, m.layer, m.feature
        """,
        [*params, variant_a, domain, layer, layer, variant_b, domain, layer, layer, most, variant_a, variant_b],
    )
    return table.assign(rule=rule, multiple=multiple)


def feature_across(store: Store, layer: int, feature: int) -> pd.DataFrame:
    """One feature in every variant and domain ('all' first): a row for each, null where it never fires there.

    Columns: variant, domain, shift, std_shift, floor, kind, verdict, freq_base, freq_variant, n_documents, gate.
    """
    return store.sql(
        """
        SELECT v.variant, d.domain, s.shift, s.std_shift, s.floor, s.kind, s.verdict, s.freq_base, s.freq_variant,
               s.n_documents, g.gate
        FROM (SELECT unnest(?::VARCHAR[]) AS variant) v CROSS JOIN (SELECT unnest(?::VARCHAR[]) AS domain) d
        LEFT JOIN feature_stats s ON s.variant = v.variant AND s.domain = d.domain AND s.layer = ? AND s.feature = ?
        LEFT JOIN fit g ON g.variant = v.variant AND g.domain = d.domain AND g.layer = ?
        ORDER BY list_position(?::VARCHAR[], v.variant), d.domain <> 'all', d.domain
        """,
        [store.variants, [ALL, *store.domains], int(layer), int(feature), int(layer), store.variants],
    )


def replica_pairs(
    store: Store, variant: str, layer: int, rule: str | None = None, multiple: float | None = None
) -> pd.DataFrame:
    """Each feature beside its nearest one in the second dictionary of the layer, all domains together.

    Returns:
        feature, replica_feature, cosine (of the two decoder rows), matched (cosine >= SAME_DIRECTION), shift, replica_shift,
        floor (of the feature; null without the control), changed; by feature. Only features that fire in base or variant; empty
        where the store has no second dictionary of the layer.

    Raises:
        UserError: as change_sets.
    """
    rule, multiple = _chosen(store, ALL, rule, multiple)
    called, params = _called(layer, ALL, rule, multiple)
    return store.sql(
        f"""
        WITH called AS ({called})
        SELECT r.feature, r.replica_feature, r.cosine, r.cosine >= ?::DOUBLE AS matched, s.shift, r.shift AS replica_shift,
               s.floor, c.variant IS NOT NULL AS changed
        FROM replicas r
        JOIN feature_stats s ON s.variant = r.variant AND s.layer = r.layer AND s.feature = r.feature AND s.domain = 'all'
        LEFT JOIN called c ON c.variant = r.variant AND c.layer = r.layer AND c.feature = r.feature
        WHERE r.variant = ? AND r.layer = ? ORDER BY r.feature
        """,
        [*params, SAME_DIRECTION, variant, int(layer)],
    )


def replica_summary(store: Store, layer: int, rule: str | None = None, multiple: float | None = None) -> pd.DataFrame:
    """Whether a second dictionary of the layer shows the same shifts: two rows a variant, changed features and all others.

    Returns:
        variant, changed, n (features), matched (with a counterpart), same_sign (of the matched: both shifts are not 0 and
        have one sign), beyond (of these: the counterpart's |shift| exceeds the feature's floor; NaN without the control),
        spearman (rank correlation of the two shifts over the matched). Empty where there is no second dictionary.

    Raises:
        UserError: as change_sets.
    """
    rows = []
    for variant in store.variants:
        pairs = replica_pairs(store, variant, layer, rule, multiple)
        for changed in (True, False) if len(pairs) else ():
            group = pairs[pairs["changed"] == changed]
            matched = group[group["matched"]]
            same = matched[matched["shift"] * matched["replica_shift"] > 0]
            beyond = (same["replica_shift"].abs() > same["floor"]).sum() if pairs["floor"].notna().any() else math.nan
            rho = spearman(matched["shift"].to_numpy(), matched["replica_shift"].to_numpy())
            numbers = {"n": len(group), "matched": len(matched), "same_sign": len(same), "beyond": beyond, "spearman": rho}
            rows.append({"variant": variant, "changed": changed, **numbers})
    return pd.DataFrame(rows, columns=["variant", "changed", "n", "matched", "same_sign", "beyond", "spearman"])


def replica_layers(store: Store) -> pd.DataFrame:
    """The layers that have a second dictionary in this store: layer."""
    return store.sql("SELECT DISTINCT layer FROM replicas ORDER BY layer")


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Rank correlation of two arrays of one length, tied values at their mean rank.

    NaN below three values, or where one of the arrays is constant.
    """
    codes = [np.unique(values, return_inverse=True)[1] for values in (x, y)]
    return _rank_correlation(*codes)


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation of two arrays of whole numbers >= 0, by counting instead of sorting."""
    if len(x) < 3 or x.min() == x.max() or y.min() == y.max():
        return math.nan
    return float(np.corrcoef(_mean_ranks(x), _mean_ranks(y))[0, 1])


def _mean_ranks(codes: np.ndarray) -> np.ndarray:
    counts = np.bincount(codes)
    return (np.cumsum(counts) - (counts - 1) / 2)[codes]


class _Shifts:
    """Every variant's shifts at one layer and domain as dense arrays [variants, features].

    A rank is asked for on many subsets of one array, so each array is sorted once, and its values replaced by their order.
    """

    COLUMNS = (
        "n", "spearman", "spearman_std", "spearman_noise", "top_k", "top_shared", "top_expected", "called_a", "called_b",
        "called_same", "called_opposite", "called_either", "signs_agree",
    )  # fmt: skip

    def __init__(self, store: Store, layer: int, domain: str, changed: pd.DataFrame) -> None:
        """changed: feature and variant (its position in the store's order) of the features that changed here."""
        rows = store.sql(
            """
            SELECT (list_position(?::VARCHAR[], variant) - 1)::INTEGER AS variant, feature, shift, std_shift, shift_isotropic
            FROM feature_stats WHERE layer = ? AND domain = ?
            """,
            [store.variants, int(layer), domain],
        )
        at = (rows["variant"].to_numpy(), rows["feature"].to_numpy())
        shape = (len(store.variants), int(rows["feature"].max()) + 1 if len(rows) else 0)
        self.fires = np.zeros(shape, dtype=bool)
        self.fires[at] = True
        dense = {name: np.zeros(shape) for name in ("shift", "std_shift", "shift_isotropic")}
        for name, values in dense.items():
            values[at] = rows[name].to_numpy(dtype=float, na_value=np.nan)
        self.shift = dense["shift"]
        self.has_noise = bool(rows["shift_isotropic"].notna().any())
        self.defined = {name: np.isfinite(values) for name, values in dense.items()}
        self.order = {
            name: [np.unique(of_variant, return_inverse=True)[1] for of_variant in values] for name, values in dense.items()
        }
        self.called = np.zeros(shape, dtype=bool)
        self.called[changed["variant"].to_numpy(), changed["feature"].to_numpy()] = True

    def pair(self, a: int, b: int, k: int) -> dict[str, Any]:
        """The numbers COLUMNS of two variants."""
        either = self.fires[a] | self.fires[b]
        n = int(either.sum())
        top_a, top_b = self._top(a, k), self._top(b, k)
        both, any_called = self.called[a] & self.called[b], self.called[a] | self.called[b]
        same_sign = self.shift[a] * self.shift[b] > 0
        numbers = (
            n,
            self._correlation("shift", a, b, either),
            self._correlation("std_shift", a, b, either),
            self._correlation("shift_isotropic", a, b, either) if self.has_noise else math.nan,
            min(len(top_a), len(top_b)),
            len(np.intersect1d(top_a, top_b)),
            len(top_a) * len(top_b) / n if n else math.nan,
            int(self.called[a].sum()),
            int(self.called[b].sum()),
            int((both & same_sign).sum()),
            int((both & ~same_sign).sum()),
            int(any_called.sum()),
            int((any_called & same_sign).sum()),
        )
        return dict(zip(self.COLUMNS, numbers, strict=True))

    def _correlation(self, name: str, a: int, b: int, features: np.ndarray) -> float:
        chosen = features & self.defined[name][a] & self.defined[name][b]
        return _rank_correlation(self.order[name][a][chosen], self.order[name][b][chosen])

    def _top(self, variant: int, k: int) -> np.ndarray:
        """The k features with the largest |shift| but 0; the lower number first where two are equal."""
        size = np.abs(self.shift[variant])
        return np.argsort(-size, kind="stable")[: min(k, int((size > 0).sum()))]


def _chosen(store: Store, domain: str, rule: str | None, multiple: float | None) -> tuple[str, float | None]:
    """The rule and multiple to use: those named, or the strictest that the store allows, with its usual multiple."""
    allowed = list(change_rules(store, domain)["rule"])
    if rule is not None and rule not in RULES:
        raise UserError(f"There is no rule '{rule}' for a change; choose one of {', '.join(RULES)}.")
    if rule is not None and rule not in allowed:
        raise UserError(
            f"This store cannot say by '{rule}' what changed in domain '{domain}'; choose one of {', '.join(allowed)}."
        )
    rule = rule or allowed[0]
    return rule, None if rule == "verdict" else RULES[rule] if multiple is None else float(multiple)


def _called(layer: int | None, domain: str, rule: str, multiple: float | None) -> tuple[str, list[Any]]:
    """A SELECT of what changed where, variant, layer, feature, shift, and its parameters."""
    where = [domain, layer, layer]
    statement = f"""
        SELECT s.variant, s.layer, s.feature, s.shift FROM feature_stats s {_SIZES if rule == "rms" else ""}
        WHERE s.domain = ? AND (?::INTEGER IS NULL OR s.layer = ?) AND {_CALLED[rule]}
    """
    return statement, [*(where if rule == "rms" else []), *where, *([] if multiple is None else [multiple])]


def _sets(store: Store, layer: int | None, domain: str, rule: str, multiple: float | None, runs: str) -> tuple[str, list[Any]]:
    """A WITH clause whose table sets has a row for each changed feature: layer, feature, tasks, rises, falls, size."""
    if runs not in RUNS:
        raise UserError(f"A task cannot count by '{runs}' of its runs; choose one of {', '.join(RUNS)}.")
    called, params = _called(layer, domain, rule, multiple)
    tasks = variant_tasks(store)
    needed = tasks["n_runs"] if runs == "every" else pd.Series(1, index=tasks.index)
    clause = f"""
        WITH names AS (
            SELECT unnest(?::VARCHAR[]) AS variant, unnest(?::VARCHAR[]) AS task, unnest(?::BIGINT[]) AS needed
        ), called AS ({called}), by_task AS (
            SELECT c.layer, c.feature, n.task, bool_or(c.shift > 0) AS rises, bool_or(c.shift < 0) AS falls,
                   max(abs(c.shift)) AS size
            FROM called c JOIN names n USING (variant)
            GROUP BY c.layer, c.feature, n.task HAVING count(*) >= any_value(n.needed)
        ), sets AS (
            SELECT layer, feature, list(task ORDER BY list_position(?::VARCHAR[], task)) AS tasks,
                   bool_or(rises) AS rises, bool_or(falls) AS falls, max(size) AS size
            FROM by_task GROUP BY layer, feature
        )
    """
    given = [tasks["variant"].to_list(), tasks["task"].to_list(), needed.to_list()]
    return clause, [*given, *params, list(dict.fromkeys(tasks["task"]))]


def _candidates(store: Store, layer: int | None, domain: str, rule: str) -> pd.Series:
    """Layer -> features that could have been called in at least one variant."""
    size = store.sql("SELECT max(d_sae) AS size FROM layers")["size"].iloc[0]
    table = store.sql(
        """
        SELECT layer, bit_count(bitstring_agg(feature, 0, ?::INTEGER)) AS n FROM feature_stats
        WHERE domain = ? AND (?::INTEGER IS NULL OR layer = ?) AND (? <> 'verdict' OR verdict <> 'untestable') GROUP BY layer
        """,  # a bit a feature: several times faster than count(DISTINCT feature)
        [int(size), domain, layer, layer, rule],
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
