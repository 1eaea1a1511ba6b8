"""What a store with contributions says of each variant: store/metrics/learning_summary.py on the store's own numbers."""

import numpy as np
import pandas as pd

from store.metrics.contributions import carried
from store.metrics.learning_summary import Learned, Through, agreement_sentence, cost_sentence, task_sentence, through_sentence
from store.names import ALL, NEUTRAL, OBSERVED, TASK
from store.read.store import Store


def of_learned(rows: pd.DataFrame, variant: str, first: str, domain: str) -> Learned | None:
    """What the table ``contributions.learned`` says of a variant and a domain, beside the twins of its recipe's first run.

    None where nothing was sampled of it.
    """
    here = rows[(rows["domain"] == domain) & (rows["slot"] == ALL)]
    observed = here[(here["control"] == OBSERVED) & (here["variant"] == variant)]
    if observed.empty:
        return None
    row, twins = observed.iloc[0], here.loc[(here["control"] != OBSERVED) & (here["variant"] == first), "gain"]
    numbers = (float(row[name]) for name in ("gain", "low", "high"))
    return Learned(*numbers, int(row["n_clusters"]), twins.astype(float).to_list())


def main_layer(layers: pd.DataFrame, domain: str) -> Through | None:
    """The layer whose features make most of what was learned, from one variant's rows of ``contributions.layers``."""
    here = layers[(layers["domain"] == domain) & (layers["control"] == OBSERVED)]
    if here.empty:
        return None
    of_layers = [carried(gain, features) for gain, features in zip(here["gain"], here["features"], strict=True)]
    row = here.iloc[int(np.argmax(of_layers))]
    half = None if pd.isna(row["carrying_half"]) else int(row["carrying_half"])
    whole, gain, features = (float(row[name]) for name in ("whole", "gain", "features"))
    return Through(int(row["layer"]), whole, gain, features, half)


def foremost_layer(store: Store, variant: str) -> tuple[str, Through] | None:
    """The domain that a variant's features are told by, its task where it has one, and :func:`main_layer` there."""
    for domain in (TASK, ALL):
        if (found := main_layer(store.layer_gains(variant, domain), domain)) is not None:
            return domain, found
    return None


def learning_sentences(store: Store) -> dict[str, str]:
    """Variant -> what it learned and cost and where, in the store's order; nothing without contributions."""
    if not store.has_contributions:
        return {}
    learned, told = store.learned(), {}
    layers = pd.concat([store.layer_gains(domain=domain) for domain in (TASK, ALL)])
    firsts = store.groups().set_index("variant")["first"]
    for variant in store.variants:
        through = layers[layers["variant"] == variant]
        task, cost = (of_learned(learned, variant, firsts[variant], domain) for domain in (TASK, NEUTRAL))
        said = [task_sentence(task)] if task else []
        if task and (found := main_layer(through, TASK)):
            said += [through_sentence(found), agreement_sentence(*correlations(store, variant, TASK, found.layer))]
        told[variant] = " ".join(filter(None, [*said, cost_sentence(cost) if cost else ""]))
    return told


def correlations(store: Store, variant: str, domain: str, layer: int) -> tuple[list[float], list[float]]:
    """Of a variant's contributions at a layer with those of its recipe's other runs, and with those of its twins."""
    found = store.agreement(variant, domain)
    found = found[(found["layer"] == layer) & found["correlation"].notna()]
    of_run = found["other"].isin(store.variants)
    runs, twins = (found.loc[of, "correlation"].astype(float).to_list() for of in (of_run, ~of_run))
    return runs, twins
