"""The page Across variants in words: numbers -> sentences, as Markdown with every name escaped; no Streamlit in here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from app import words
from store.metrics.thresholds import MATERIAL, SAME_DIRECTION
from store.names import ALL
from store.read.layer_shifts import TOP

RULE_NAMES = {"verdict": "It is claimed", "material": "Its change is material"}
"""How a feature is found to have changed (store.read.change_rule.RULES) -> its short name."""

_RULE_MEANINGS = {
    "verdict": (
        "it is suppressed or amplified: materially, in every run of the recipe, beyond what recurs under random changes of the "
        "weights of that size (all domains together)"
    ),
    "material": (
        f"{words.percent(MATERIAL)} or more of its activation are lost or new, of features that {{seen}}. **A random "
        "change of the weights does that to features too**: a list to check"
    ),
}
REPEATED = (
    f"*Changed* here: {words.percent(MATERIAL)} or more of its activation are lost or new, of features that {{seen}}. (What is "
    "claimed shows in every run by definition.) Random changes of the weights share some of it too."
)
RUN_NAMES = {"any": "In any of its runs", "every": "In every run"}
MEASURES = {
    "correlation": (
        "Correlation of changes",
        "Of the shares lost or gained, over features that could have been seen in both. 1: both take away and add the same; "
        "0: nothing in common. Any two changes of the weights may share some.",
    ),
    "spearman": (
        "Rank correlation of shifts",
        "1: both variants move the same features up and the same ones down, in the same order; 0: nothing in common.",
    ),
    "spearman_std": (
        "Rank correlation of standardised shifts",
        "As for shifts, each divided by how much the feature varies, so that loud features do not lead.",
    ),
    "top": (
        f"{TOP} most moved in common",
        f"Of the {TOP} features (or fewer) with the largest shift in each, the share that is the same.",
    ),
}
"""What is compared of two variants: a column of its question, or 'top' -> its name, what a number means."""

CHANCE = (
    "Each feature is counted once, in the set of exactly those recipes where it changed. Grey tick: the count if every recipe "
    "had changed as many features drawn at random. A bar far beyond its tick is shared for a reason, if only that features "
    "which fire often are likelier to change in any recipe."
)
SAME_SIGN = (
    "Same sign: of the features that changed in at least one of the two, the share that moved in the same direction in both, "
    "materially or not; 50 % is what chance gives where ups and downs are as many."
)
COUNTERPART = (
    f"A counterpart is the nearest decoder row of the second dictionary, with a cosine of at least {SAME_DIRECTION}. A feature "
    "without one is not refuted: the other dictionary divides that part of the space in another way. All domains together."
)


def seen(domain: str) -> str:
    """What is asked of features that count: of one domain's tokens nothing but how often they fire decides."""
    return "could have been seen" if domain == ALL else "fire often enough"


def rule_meaning(rule: str, domain: str) -> str:
    """When a rule calls a feature changed, on the tokens of a domain."""
    return _RULE_MEANINGS[rule].format(seen=seen(domain))


def recipes_name(recipes: Sequence[str], n_recipes: int) -> str:
    """A set of recipes as plain text: 'maths alone', 'maths and code', 'all 3 recipes'."""
    if len(recipes) == 1:
        return f"{recipes[0]} alone"
    return f"all {n_recipes} recipes" if len(recipes) == n_recipes > 2 else words.listing(list(recipes))


def sets(table: pd.DataFrame, n_recipes: int, layer: int | None) -> str:
    """How many features changed in one recipe, in several and in all of them: of change_sets, at a layer or over all."""
    counts = table.groupby("extent")["count"].sum()
    one, several, everywhere = (int(counts.get(extent, 0)) for extent in ("one", "several", "all"))
    total = one + several + everywhere
    parts = [f"**{one:,}** in one recipe only"]
    parts += [f"**{several:,}** in several"] if n_recipes > 2 else []
    parts += [f"**{everywhere:,}** in {'both' if n_recipes == 2 else f'all {n_recipes}'}"] if n_recipes > 1 else []
    shared = total - one
    agreed = shared - int(table.loc[table["n_tasks"] > 1, "opposite"].sum())
    same = f" Of the {shared:,} shared, {agreed:,} moved the same way wherever they changed." if shared else ""
    where = "over all layers" if layer is None else f"at layer {layer}"
    did = "are claimed" if table["rule"].iloc[0] == "verdict" else "changed materially"
    return f"{words.counted(total, 'feature')} {did} {where}: {words.listing(parts)}.{same}"


def shared_counts(table: pd.DataFrame, recipes: Sequence[str]) -> pd.DataFrame:
    """How many features changed in each recipe, and how many of these in each other one: of change_sets.

    Returns:
        A row a recipe: recipe, total, alone (in no other), and for each recipe R shared_R; missing for the recipe itself.
    """
    members, counts = [set(tasks) for tasks in table["tasks"]], table["count"].to_list()

    def held(*wanted: str) -> int:
        return sum(count for found, count in zip(members, counts, strict=True) if found >= set(wanted))

    alone = {next(iter(found)): count for found, count in zip(members, counts, strict=True) if len(found) == 1}
    rows = [
        {"recipe": one, "total": held(one), "alone": alone.get(one, 0)}
        | {f"shared_{other}": None if other == one else held(one, other) for other in recipes}
        for one in recipes
    ]
    return pd.DataFrame(rows)


def runs_count(rule: str, runs: str) -> str:
    """How the runs of a recipe count where it has several."""
    if rule == "verdict":
        return "The runs of a recipe count as one: what is claimed shows in every run."
    return (
        f"The runs of a recipe count as one: it changed a feature where {'any' if runs == 'any' else 'every one'} of them did."
    )


def pair(row: pd.Series, domain: str) -> str:
    """How alike two variants' changes are, beside chance: of a row of variant_pairs."""
    names = f"**{words.plain(row['variant_a'])} and {words.plain(row['variant_b'])}**"
    text = f"{names}: {_correlation(row, domain)}."
    if row["top_k"]:
        text += (
            f" Of the {int(row['top_k']):,} with the largest shift in each, {int(row['top_shared']):,} are the same; chance "
            f"gives {words.number(row['top_expected'])}."
        )
    return text


def _correlation(row: pd.Series, domain: str) -> str:
    over = f"the {int(row['n_seen']):,} features that {seen(domain)} in both"
    return f"correlation of changes {words.number(row['correlation'])} over {over}"


def repeated(runs: pd.DataFrame, others: pd.DataFrame) -> str:
    """What another run of a recipe reproduces, beside what runs of different recipes share.

    Both are rows of variant_pairs with from_a, from_b (of what changed in one, the share that changed the same way in the
    other) and signs (where either changed, the share that moved the same way).
    """

    def spans(rows: pd.DataFrame) -> tuple[str, str, str]:
        shares = _span(pd.concat([rows["from_a"], rows["from_b"]]), words.percent)
        return shares, _span(rows["signs"], words.percent), _span(rows["correlation"], words.number)

    kinds = [spans(runs), *([spans(others)] if len(others) else [])]
    joined = [" (between different recipes ".join(ends) + ")" * (len(kinds) - 1) for ends in zip(*kinds, strict=True)]
    shares, signs, correlations = joined
    said = (
        f"Of what changed in one run of a recipe, {shares} changed the same way in another run of it; where either changed, "
        f"the two moved in the same direction in {signs} of cases; the correlation of changes is {correlations}."
    )
    if others.empty:
        return said
    return (
        f"{said} What two runs share beyond different recipes may belong to the recipe, or to what any change of these weights "
        "does; what they do not share belongs to one training run, or lay just below a material change."
    )


def replica(changed: pd.Series, others: pd.Series) -> str:
    """One variant's changed features in a second dictionary, beside those that did not change: two rows of replica_summary."""
    name, n, matched = words.plain(changed["variant"]), int(changed["n"]), int(changed["matched"])
    if not n:
        return f"**{name}**: no feature changed."
    text = f"**{name}**: {matched:,} of {n:,} changed features have a counterpart"
    if matched:
        text += f"; {int(changed['same_sign']):,} of these moved in the same direction"
    text += f". Rank correlation of the two shifts: {words.number(changed['spearman'])}" * pd.notna(changed["spearman"])
    if others["matched"]:
        share = words.percent(others["same_sign"] / others["matched"])
        text += f". Of the features that did not change, {share} moved in the same direction"
    return f"{text}."


def said(verdicts: pd.Series, changed: pd.Series) -> list[str]:
    """A verdict in words; where there is none, whether the rule calls the feature changed."""
    return [v if isinstance(v, str) else "changed" if c else "not changed" for v, c in zip(verdicts, changed, strict=True)]


def _span(values: pd.Series, show: Callable[[float], str]) -> str:
    """'12 %', or '4 % to 20 %', of the values that are known."""
    known = values.dropna()
    low, high = (show(known.min()), show(known.max())) if len(known) else ("–", "–")
    return low if low == high else f"{low} to {high}"
