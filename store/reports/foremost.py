"""Which variant a safety reviewer should see first: the recipe that changed most on text that may be harmful."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from store.names import ALL, OBSERVED
from store.numbers import listing, number
from store.read.store import Store


@dataclass(frozen=True)
class Foremost:
    """The first run of a recipe, and why it is this one: a sentence, untrusted as the names in it are."""

    variant: str
    why: str


def foremost(store: Store, domains: Sequence[str]) -> Foremost:
    """The recipe that changed most on some domains, told by its first run.

    By how much more it moves the prediction there (KL, in the domain where most) than the twins of the recipe, or, where some
    recipe has none, by how much it does; without contributions by its relative shift there; without such domains, or anything
    measured of them, the first of the store.
    """
    firsts = list(dict.fromkeys(store.compared()["first"]))
    on = f"most on text that may be harmful ({listing(list(domains))})"
    if store.has_contributions:
        learned = store.learned()
        own, twins = _largest_kl(learned[learned["variant"].isin(firsts)], domains)
        beside = set(own.index.get_level_values("variant")) <= set(twins.index.get_level_values("variant"))
        if found := _foremost((own - twins if beside else own).groupby("variant").max(), firsts):
            variant, size = found
            more = " more than random changes of the weights as large" if beside else ""
            said = f"Of all recipes {variant} moves the prediction {on}: by {size} nats of KL a predicted token{more}."
            return Foremost(variant, said)
    if domains and (found := _foremost(_relative_shift(store, domains), firsts)):
        variant, size = found
        return Foremost(variant, f"Of all recipes {variant} moves the activations {on}: by up to {size} of their size.")
    return Foremost(firsts[0], f"{firsts[0]} is the first of the store.")


def _foremost(sizes: pd.Series, firsts: list[str]) -> tuple[str, str] | None:
    """The recipe with the largest size, by variant, and that size; None where none is known."""
    known = sizes.reindex(firsts).dropna()
    return None if known.empty else (str(known.idxmax()), number(float(known.max())))


def _largest_kl(learned: pd.DataFrame, domains: Sequence[str]) -> tuple[pd.Series, pd.Series]:
    """(Variant, domain) -> its KL, and the largest of its twins', from ``contributions.learned``."""
    rows = learned[learned["domain"].isin(list(domains)) & (learned["slot"] == ALL) & learned["kl"].notna()]
    is_own = rows["control"] == OBSERVED
    place = ["variant", "domain"]
    return rows[is_own].groupby(place)["kl"].max(), rows[~is_own].groupby(place)["kl"].max()


def _relative_shift(store: Store, domains: Sequence[str]) -> pd.Series:
    """Variant -> its relative shift, in the layer and domain where that is most."""
    rows = store.layer_metrics(segment=ALL, metric="relative_shift", control=OBSERVED)
    return rows[rows["domain"].isin(list(domains))].groupby("variant")["value"].max()
