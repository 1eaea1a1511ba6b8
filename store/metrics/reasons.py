"""Why a feature's verdict is what it is, in sentences with the numbers that decided (store/metrics/verdicts.py)."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from store.metrics.change_summary import RANDOM
from store.metrics.feature_columns import share
from store.metrics.thresholds import SEEN_CLUSTERS, SEEN_FIRINGS
from store.numbers import percent

NEVER_FIRED = "Could not be seen: on this corpus it fires neither in the base nor in the variant."
NO_VERDICT = "No verdict: no twins of this variant, random changes of its weights, were read to compare with."


def reason(row: Mapping[str, Any] | None) -> str:
    """Why a feature's verdict is what it is, in plain sentences with the numbers that decided.

    Args:
        row: its row of feature_stats, domain 'all' (a mapping or a pandas Series); None where it has none, because it
            never fired.
    """
    if row is None:
        return NEVER_FIRED
    if pd.isna(row["verdict"]):
        return f"{NO_VERDICT} {_changed(row)}."
    return _SENTENCES[row["reason"]](row)


def _few_firings(row: Mapping[str, Any]) -> str:
    n = row["n11"] + (row["n10"] if row["change"] < 0 else row["n01"])
    return f"Could not be seen: it fires on {n:,} tokens; to tell a material change from chance takes {SEEN_FIRINGS}."


def _few_clusters(row: Mapping[str, Any]) -> str:
    return (
        f"Could not be seen: it fires in {row['n_clusters']:,} clusters of texts (templates, articles, works), its "
        f"activation on fewer than {SEEN_CLUSTERS} that share it evenly."
    )


def _undetectable(_row: Mapping[str, Any]) -> str:
    return f"Could not be seen: even had it vanished, {RANDOM} do as much to features that are as rare and as weak."


def _uneven(row: Mapping[str, Any]) -> str:
    return f"Could not be seen: {_changed(row, begins=False)}, which rests on few texts: the interval holds no change as well."


def _steady(row: Mapping[str, Any]) -> str:
    least = row["detectable_loss"]
    shown = ", had every run shown it" if pd.notna(row["replicate_low"]) else ""
    found = "" if pd.isna(least) else f" A loss of {percent(least)} or more would have stood out from random changes{shown}."
    return f"Steady: {_changed(row, begins=False)}, less than a material change.{found}"


def _norm(row: Mapping[str, Any]) -> str:
    return (
        f"Change of norm: {_changed(row, begins=False)}, but beside the base at the variant's norm only "
        f"{share(row['change_rescaled'])}."
    )


def _misfit(row: Mapping[str, Any]) -> str:
    return f"{_changed(row)}, but at this layer the dictionary does not reconstruct the variant: features there prove nothing."


def _run_misfit(row: Mapping[str, Any]) -> str:
    return (
        f"{_changed(row)}, but at this layer the dictionary does not reconstruct another run of the recipe, so that nothing "
        "can be claimed of all runs."
    )


def _like_twins(row: Mapping[str, Any]) -> str:
    return f"{_changed(row)}. That is not told from what {RANDOM} do to features as frequent and as strong{_of_twins(row)}."


def _too_few(row: Mapping[str, Any]) -> str:
    return (
        f"Could not be seen: {_changed(row, begins=False)}, more than any feature under the {RANDOM} that were drawn"
        f"{_of_twins(row)}, but too few features of the layer do for counting to tell that from chance."
    )


def _replicate_unseen(row: Mapping[str, Any]) -> str:
    return f"{_beyond(row)}, but in another run of the recipe it fires too seldom to show that."


def _recurs_by_chance(row: Mapping[str, Any]) -> str:
    return f"{_beyond(row)}; every run shows it{_of_runs(row)}, but as much recurs among their twins."


def _no_replicate(row: Mapping[str, Any]) -> str:
    return f"{_beyond(row)}. There is no second run of the recipe to show whether another seed would do it."


def _not_replicated(row: Mapping[str, Any]) -> str:
    return f"{_beyond(row)}, but not in every run{_of_runs(row)}."


def _holds(row: Mapping[str, Any]) -> str:
    return (
        f"{_changed(row)}, in every run{_of_runs(row)}, and beyond what recurs under {RANDOM}"
        f"{_of_twins(row)}: about {percent(row['q_replicates'])} of the claims as strong as this are expected to be false."
    )


_SENTENCES = {
    "few_firings": _few_firings,
    "few_clusters": _few_clusters,
    "undetectable": _undetectable,
    "uneven": _uneven,
    "steady": _steady,
    "norm": _norm,
    "misfit": _misfit,
    "run_misfit": _run_misfit,
    "too_few": _too_few,
    "like_twins": _like_twins,
    "no_replicate": _no_replicate,
    "replicate_unseen": _replicate_unseen,
    "recurs_by_chance": _recurs_by_chance,
    "not_replicated": _not_replicated,
    "fell": _holds,
    "rose": _holds,
}


def change_in_words(change: float) -> str:
    """'lost 62 % of its activation', 'rose to 3.2 times its activation'; change as of feature_stats."""
    if pd.isna(change) or change == 0:
        return "did not change"
    if change < 0:
        return "lost all of its activation" if change <= -1 else f"lost {percent(-change)} of its activation"
    return "fires in the variant alone" if change >= 1 else f"rose to {1 / (1 - change):.3g} times its activation"


def _changed(row: Mapping[str, Any], begins: bool = True) -> str:
    low, high = row["change_low"], row["change_high"]
    between = "" if pd.isna(low) or pd.isna(high) else f" [{share(low)} to {share(high)}]"
    return f"{'It' if begins else 'it'} {change_in_words(row['change'])}{between}"


def _beyond(row: Mapping[str, Any]) -> str:
    return f"{_changed(row)}, beyond what {RANDOM} do{_of_twins(row)}"


def _of_twins(row: Mapping[str, Any]) -> str:
    low, high = row["twin_low"], row["twin_high"]
    return "" if pd.isna(low) else f" (this one there: {share(low)} to {share(high)})"


def _of_runs(row: Mapping[str, Any]) -> str:
    low, high = row["replicate_low"], row["replicate_high"]
    return "" if pd.isna(low) else f" ({share(low)} to {share(high)})"
