"""What every variant of a store amounts to: the sentences of store/metrics/change_summary.py on the store's own numbers."""

from collections.abc import Mapping

import pandas as pd

from store.metrics.behaviour import NOT_TOLD, behaviours
from store.metrics.change_summary import ChangeSummary, over_layers, summarise
from store.names import ALL, VERDICTS
from store.points import subject
from store.read.store import Store
from store.reports.learning import learning_sentences


def verdicts_by_layer(store: Store) -> dict[str, dict[int, dict[str, int]]]:
    """Variant -> layer -> verdict -> how many features have it, all domains together; of the variants that have verdicts."""
    judged = [variant for variant in store.variants if store.has_verdicts(variant)]
    found: dict[str, dict[int, dict[str, int]]] = {variant: {layer: {} for layer in store.layers} for variant in judged}
    for variant, layer, verdict, n in store.verdict_counts().itertuples(index=False, name=None):
        if variant in found:
            found[variant][layer][verdict] = n
    return found


def with_unseen(store: Store, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of Store.overview with not_seen, features of which no change could have been seen, and never_fired.

    Null where a variant has no verdicts.
    """
    verdicts, size = verdicts_by_layer(store), store.dictionaries().set_index("layer")["d_sae"]
    keys = list(zip(rows["variant"], rows["layer"], strict=True))
    counted = [verdicts[variant][layer] if variant in verdicts else None for variant, layer in keys]
    not_seen = [None if of is None else of.get(VERDICTS[-1], 0) for of in counted]
    never = [None if of is None else size[layer] - sum(of.values()) for (_, layer), of in zip(keys, counted, strict=True)]
    return rows.assign(not_seen=pd.array(not_seen, "Int64"), never_fired=pd.array(never, "Int64"))


def summaries(store: Store, domain: str = ALL) -> dict[str, dict[int, ChangeSummary]]:
    """Variant -> layer -> its three sentences; of a domain size and overlap, what became of features is of all together."""
    verdicts, runs = verdicts_by_layer(store), runs_of(store)
    told: dict[str, dict[int, ChangeSummary]] = {variant: {} for variant in store.variants}
    for (variant, layer), rows in store.layer_metrics(domain=domain, segment=ALL).groupby(["variant", "layer"]):
        counted = verdicts[variant][layer] if variant in verdicts else None
        told[variant][int(layer)] = summarise(rows, counted, runs[variant])
    return told


def sentences(store: Store, told: Mapping[str, Mapping[int, ChangeSummary]] | None = None) -> dict[str, str]:
    """Variant -> what it amounts to over all its layers, in the store's order; what it learned, and what its answers show,
    where that was measured.

    Args:
        told: of :func:`summaries`, where they are known already.
    """
    told, verdicts, runs = told or summaries(store), verdicts_by_layer(store), runs_of(store)
    learned, behaves = learning_sentences(store), behaviours(store.answers(), store.variants)
    behaves = {name: said if said == NOT_TOLD else f"Its answers to fixed prompts: {said}" for name, said in behaves.items()}
    parts = {
        variant: [
            over_layers(told[variant], verdicts.get(variant), runs[variant], subject(store.point)), learned.get(variant),
            behaves.get(variant),
        ]
        for variant in store.variants
    }  # fmt: skip
    return {variant: " ".join(filter(None, said)) for variant, said in parts.items()}


def runs_of(store: Store) -> dict[str, int]:
    """Variant -> how many runs of its recipe the store has."""
    return store.groups().set_index("variant")["n_runs"].to_dict()
