"""Contributions of the demo's variants against the same features patched one at a time, on the same predictions."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import spearmanr

from extract.bench.bench_store import bench_store
from extract.bench.page import Row
from extract.config import A_PASSAGE, RunConfig, load_config
from extract.contributions import sums
from extract.contributions.batch_files import GRAPH
from extract.contributions.measure import Contributions, take_apart
from extract.contributions.patching import Patching
from extract.contributions.quadrature import POINTS
from extract.contributions.sample import choose
from extract.contributions.windows import in_groups
from extract.demo import DEMO_CONFIG
from extract.progress import progress_bar
from extract.run.of_store import load_of_store
from store.read.store import Store

LAYERS = (9, 12)
VARIANTS = ("safety", "maths")
EACH, AMONG = 50, 200
"""Features of each variant and layer, evenly over so many by the size of their contribution."""
PREDICTIONS = 160
TARGET = 0.9
QUANTITIES = ("gain", "kl")


def contributions_and_patching(quick: bool) -> list[Row]:
    """Two variants at two layers of the demo."""
    config = load_config(DEMO_CONFIG).model_copy(update={"tokens": 4000 if quick else 12_000})
    saes = [sae for sae in config.saes if sae.name in {f"layer_{layer:02d}" for layer in LAYERS}]
    variants = {name: config.variants[name] for name in VARIANTS}
    config = config.model_copy(update={"saes": saes, "variants": variants})
    return patching_rows(config, 5 if quick else EACH, 40 if quick else PREDICTIONS)


def patching_rows(config: RunConfig, each: int, predictions: int) -> list[Row]:
    """The rows of a configuration's variants and layers, and of all their features together.

    Args:
        each: features of each variant and layer.
        predictions: that are sampled.
    """
    with bench_store(config, config.variants, twins=0, controls=[]) as store:
        shared = _shared(store, config, predictions)
    groups = list(in_groups(shared.sample.passages, config.batch_tokens // GRAPH, shared.words))
    told = _contributions(shared, groups)
    rows, both = [], []
    with progress_bar(len(told) * len(groups), "patching", "batch") as bar:
        for (name, layer), of_features in told.items():
            features = evenly(of_features[0], each)
            patched = np.zeros((len(QUANTITIES), len(features)))
            for group in groups:
                patched += _patched(shared, name, layer, group, features)
                bar.update(1)
            both.append(np.stack([of_features[:, features], patched]))
            rows += _rows(f"{name}, L{layer}", both[-1])
    return [*rows, *_rows("all", np.concatenate(both, axis=2))]


def evenly(gain: np.ndarray, each: int) -> np.ndarray:
    """Features, evenly over the first AMONG by |gain| [d_sae] that is not 0."""
    order = np.argsort(-np.abs(gain), kind="stable")[: min(AMONG, np.count_nonzero(gain))]
    return order[np.linspace(0, len(order) - 1, min(each, len(order))).astype(int)]


def _shared(store: Store, config: RunConfig, predictions: int) -> Contributions:
    loaded = load_of_store(store, config, store.variants, store.layers)
    sample = choose(store, predictions, A_PASSAGE)
    return Contributions(
        loaded.models, store.variants, loaded.dictionaries, loaded.sinks, sample, loaded.bos, loaded.pad, POINTS[0]
    )


def _contributions(shared: Contributions, groups: Sequence[list[int]]) -> Mapping[tuple[str, int], np.ndarray]:
    """(variant, layer) -> float64 [2, d_sae], nats over the whole sample."""
    found = {
        (name, dictionary.layer): np.zeros((len(QUANTITIES), dictionary.d_sae))
        for name in shared.names
        for dictionary in shared.dictionaries
    }
    with progress_bar(shared.sample.n_predictions * len(shared.names), "contributions", "prediction") as bar:
        for group in groups:
            arrays = take_apart(shared, group, bar.update)
            for (name, layer), total in found.items():
                features, *values = (arrays[sums.FEATURES.key(column, layer, name)] for column in ("feature", *QUANTITIES))
                for row, of in zip(total, values, strict=True):
                    np.add.at(row, features, of)
    return found


def _patched(shared: Contributions, name: str, layer: int, group: list[int], features: np.ndarray) -> np.ndarray:
    """float64 [2, features], what goes of the variant's log-likelihood and KL where one feature's change is taken back."""
    dictionary = next(of for of in shared.dictionaries if of.layer == layer)
    windows = shared.windows(group)
    patching = Patching(shared, dictionary, name, windows)
    gone = np.zeros((len(QUANTITIES), len(features)))
    for place, feature in enumerate(features.tolist()):
        written = patching.written([feature])
        if written.any():
            gone[:, place] = (patching.gone(written) * windows.weights).sum(1).cpu().numpy()
    return gone


def _rows(title: str, both: np.ndarray) -> list[Row]:
    """Of contributions and of what goes, [2 ways, 2 quantities, features]."""
    rows = []
    for number, name in enumerate(QUANTITIES):
        contribution, patched = both[:, number]
        correlation = float(spearmanr(contribution, patched).statistic)
        what = f"{title}: {name}, Spearman with patching one at a time (of {len(patched)})"
        rows.append(Row(what, correlation, f"at least {TARGET}", correlation >= TARGET))
    return rows
