"""Losses and rises that are planted in the demo's base, of many features at once in two runs: how many of them are claimed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from extract.bench.bench_store import bench_store
from extract.bench.page import Row
from extract.bench.power import FIRINGS, class_of, power_row
from extract.config import RunConfig, load_config
from extract.config_sections import PlantedEdit, VariantConfig
from extract.demo import DEMO_CONFIG
from store.metrics.thresholds import DENSE, SEEN_CLUSTERS, SEEN_FIRINGS
from store.metrics.verdicts import AMPLIFIED, NOT_SEEN, SUPPRESSED
from store.names import CLAIMED

LAYER = 9
TAKEN = (0.3, 0.5, 0.7, 0.9, 1.0)
"""Shares that are taken of what a feature writes."""
ADDED = (1.0, 2.0)
"""What is added to it, in units of it."""
PLANTED, OWN = 60, 20
"""Features that both runs change; and that each changes beside, by itself."""
POWER_TARGET = 0.95


@dataclass(frozen=True)
class Chosen:
    """Features that are planted, [planted] each.

    Attributes:
        shared: in both runs; own: in the first, and in the second.
        firing_class: of the shared ones, of FIRINGS.
        is_strong: whether their mean activation where they fire is above the shared ones' median.
    """

    shared: np.ndarray
    own: tuple[np.ndarray, np.ndarray]
    firing_class: np.ndarray
    is_strong: np.ndarray


def planted_losses(quick: bool) -> list[Row]:
    """Losses and rises at one layer of the demo's base."""
    config = load_config(DEMO_CONFIG).model_copy(update={"tokens": 6000 if quick else 12_000})
    saes = [sae for sae in config.saes if sae.name == f"layer_{LAYER:02d}"]
    return loss_rows(config.model_copy(update={"saes": saes}), LAYER, PLANTED, OWN)


def loss_rows(config: RunConfig, layer: int, n_shared: int, n_own: int) -> list[Row]:
    """The rows of a configuration's base, whose one dictionary is of that layer."""
    again = VariantConfig(planted=PlantedEdit(layer=layer, feature=0, strength=0.0))
    with bench_store(config, {"again": again}, twins=0, controls=[]) as store:
        base = store.sql("SELECT feature, n11, n_clusters, n_tokens, mean_base FROM feature_stats WHERE domain = 'all'")
    chosen = choose(base, n_shared, n_own, np.random.default_rng(layer))
    changes = {f"taken-{100 * share:.0f}": share for share in TAKEN} | {f"added-{100 * more:.0f}": -more for more in ADDED}
    variants: dict[str, VariantConfig] = {}
    for name, strength in changes.items():
        for other, own in zip((name, f"{name}-2"), chosen.own, strict=True):
            features = [*chosen.shared.tolist(), *own.tolist()]
            edit = PlantedEdit(layer=layer, feature=features, ablate=True, strength=strength)
            variants[other] = VariantConfig(planted=edit, replicate_of=None if other == name else name)
    with bench_store(config, variants, controls=["rescaled"]) as store:
        found = store.sql("SELECT variant, feature, change, verdict FROM feature_stats WHERE domain = 'all'")
    by_variant = {name: of.set_index("feature") for name, of in found.groupby("variant")}
    return power_rows(changes, by_variant, chosen)


def choose(base: pd.DataFrame, n_shared: int, n_own: int, random: np.random.Generator) -> Chosen:
    """Features that could be seen and are not dense, as evenly from the classes of FIRINGS as these allow."""
    is_seen = (base["n11"] >= SEEN_FIRINGS) & (base["n_clusters"] >= 2 * SEEN_CLUSTERS)
    seen = base[is_seen & (base["n11"] <= DENSE * base["n_tokens"])]
    classes = class_of(seen["n11"].to_numpy())
    order = random.permutation(len(seen))
    turn = pd.Series(classes[order]).groupby(classes[order]).cumcount()  # the first of each class come before any second
    shared = order[np.argsort(turn, kind="stable")][:n_shared]
    rest = random.permutation(np.setdiff1d(np.arange(len(seen)), shared))
    strength = (seen["mean_base"] * seen["n_tokens"] / seen["n11"]).to_numpy()[shared]
    features = seen["feature"].to_numpy()
    own = (features[rest[:n_own]], features[rest[n_own : 2 * n_own]])
    return Chosen(features[shared], own, classes[shared], strength > np.median(strength))


def power_rows(changes: Mapping[str, float], found: Mapping[str, pd.DataFrame], chosen: Chosen) -> list[Row]:
    """What became of the planted features.

    Args:
        changes: first run -> share that was taken of what each writes; negative: added.
        found: variant -> change and verdict, by feature.
    """
    rows = []
    alone = 0
    for name, strength in changes.items():
        wanted = SUPPRESSED if strength > 0 else AMPLIFIED
        what = f"{strength:.0%} of what it writes taken" if strength > 0 else f"{-strength:.0%} added to what it writes"
        of_first = found[name].reindex(chosen.shared)
        claimed = (of_first["verdict"] == wanted).to_numpy()
        rows.append(Row(f"{what}: median change", float(of_first["change"].median()), "", None))
        if strength == 1:
            title = f"{what}, at least {SEEN_FIRINGS} firings: {wanted}"
            rows.append(power_row(title, claimed, POWER_TARGET))
            seen = (of_first["verdict"] != NOT_SEEN).to_numpy()
            rows.append(power_row(f"{what}, of those that could have been seen: {wanted}", claimed[seen], POWER_TARGET))
        rows += [
            power_row(f"{what}, {firings} firings: {wanted}", claimed[chosen.firing_class == firings])
            for firings in FIRINGS
            if (chosen.firing_class == firings).any()
        ]
        for word, chosen_here in (("weak", ~chosen.is_strong), ("strong", chosen.is_strong)):
            rows.append(power_row(f"{what}, {word}: {wanted}", claimed[chosen_here]))
        for other, own in zip((name, f"{name}-2"), chosen.own, strict=True):
            alone += int(found[other].reindex(own)["verdict"].isin(CLAIMED).sum())
    rows.append(Row(f"changed in one run only, {_in_all(changes, chosen)} in all: claimed", alone, "0", alone == 0))
    return rows


def _in_all(changes: Sequence[str], chosen: Chosen) -> int:
    return len(changes) * sum(map(len, chosen.own))
