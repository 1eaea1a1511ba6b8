"""Known truth on the demo's base: what is planted comes first by size, and of what is noise, or nothing, nothing is claimed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from extract.bench.bench_store import bench_store
from extract.bench.page import Row
from extract.config import RunConfig, load_config
from extract.config_sections import PlantedEdit, SaeConfig, VariantConfig
from extract.demo import DEMO_CONFIG
from store.metrics.thresholds import SEEN_CLUSTERS, SEEN_FIRINGS
from store.names import ALL, CLAIMED

NOISE_STRENGTHS = (0.05, 0.14, 0.24)
"""Sizes of random changes, in median residual norms of the layer: from the smallest to the largest of the demo's fine-tunes."""
NOT_OFTEN = 0.05
"""Planted features fire on at most this share of the tokens, so that a context shows where they do and where not."""
FIRST, TRIALS = 57, 60
"""Planted features that must come first, of so many."""


@dataclass(frozen=True, eq=False)
class Kind:
    """A way to plant a feature.

    Attributes:
        edit: fields of PlantedEdit besides layer and feature.
        up: whether the feature must rise.
        judged: whether it must come first; where not, only how often it does is told.
    """

    name: str
    edit: Mapping[str, object]
    up: bool
    judged: bool = True


KINDS = (
    Kind("0.05 median norms of its direction added to every token", {"strength": 0.05}, up=True),
    Kind("0.1 added to every token", {"strength": 0.1}, up=True),
    Kind("0.1 added to tokens whose id is a multiple of 8", {"strength": 0.1, "every": 8}, up=True),
    Kind("all that it writes taken away", {"ablate": True}, up=False),
    Kind("half of what it writes taken away", {"ablate": True, "strength": 0.5}, up=False),
    Kind("its direction projected out about the mean", {"project_out": True}, up=False, judged=False),
)


@dataclass(frozen=True)
class Trial:
    """One planted feature and where it was found.

    Attributes:
        rank: its place by |shift| among all features of the layer.
        right_way: whether it rose, or fell, as it must.
    """

    kind: Kind
    rank: int
    right_way: bool


@dataclass
class Found:
    """What the runs of all layers gave."""

    trials: list[Trial] = field(default_factory=list)
    changed: int = 0
    overlap: float = 1.0
    claims: list[int] = field(default_factory=list)


def planted_on_the_base(quick: bool) -> list[Row]:
    """Whole runs on the demo's base, dictionaries and corpus: the base again, isotropic noise, and planted features one by one.

    The base again must show no change at all; of isotropic noise, drawn twice as if in two runs, nothing may be claimed; a
    planted feature must come first. Features are drawn among those that can be seen and do not fire often: of a dead one the
    encoder need not answer to the decoder's direction.
    """
    config = load_config(DEMO_CONFIG).model_copy(update={"tokens": 6000 if quick else 12_000})
    saes = {int(sae.name.removeprefix("layer_")): sae for sae in config.saes}
    return planted_rows(config, {5: saes[5]} if quick else saes, each=1 if quick else 3)


def planted_rows(config: RunConfig, saes: Mapping[int, SaeConfig], each: int) -> list[Row]:
    """The rows for features that are planted in a configuration's base, ``each`` of every kind at every layer.

    Args:
        saes: layer -> the dictionary that is read there.
    """
    found = Found()
    for layer, sae in saes.items():
        of_layer = config.model_copy(update={"saes": [sae]})
        features = _without_change(of_layer, layer, found)
        drawn = np.random.default_rng(layer).choice(features, each * len(KINDS), replace=False).tolist()
        _plant(of_layer, layer, drawn, found)
    return [*_rows_of_nothing(found), *_rows_of_trials(found.trials)]


def _without_change(config: RunConfig, layer: int, found: Found) -> np.ndarray:
    """The base as its own variant, and beside noise; int64, the features that can be planted."""
    variants = {"again": VariantConfig(planted=PlantedEdit(layer=layer, feature=0, strength=0.0))}
    for i, size in enumerate(NOISE_STRENGTHS):
        for draw, first in ((0, None), (1, f"noise-{2 * i}")):
            edit = PlantedEdit(layer=layer, feature=2 * i + draw, strength=size, isotropic=True)
            variants[f"noise-{2 * i + draw}"] = VariantConfig(planted=edit, replicate_of=first)
    with bench_store(config, variants, controls=["rerun", "rescaled"]) as store:
        stats = store.sql("SELECT * FROM feature_stats WHERE domain = ?", [ALL])
        rerun = store.layer_metrics(domain=ALL, segment=ALL, metric="overlap", control="rerun")
    again, noise = stats[stats["variant"] == "again"], stats[stats["variant"] != "again"]
    found.changed += int((again["shift"] != 0).sum())
    found.overlap = min(found.overlap, float(rerun["value"].min()))
    found.claims += noise["verdict"].isin(CLAIMED).groupby(noise["variant"]).sum().astype(int).tolist()
    seen = (again["n11"] >= SEEN_FIRINGS) & (again["n_clusters"] >= 2 * SEEN_CLUSTERS)
    return np.sort(again.loc[seen & (again["freq_base"] <= NOT_OFTEN), "feature"].to_numpy())


def _plant(config: RunConfig, layer: int, features: Sequence[int], found: Found) -> None:
    """Plant features, one kind after the other, and look for each."""
    planted = {f"planted-{feature}": (KINDS[i % len(KINDS)], feature) for i, feature in enumerate(features)}
    variants = {
        name: VariantConfig(planted=PlantedEdit(layer=layer, feature=feature, **kind.edit))
        for name, (kind, feature) in planted.items()
    }
    with bench_store(config, variants, controls=[], twins=0) as store:
        stats = store.sql("SELECT variant, feature, shift FROM feature_stats WHERE domain = ?", [ALL])
    for name, (kind, feature) in planted.items():
        shift = stats[stats["variant"] == name].set_index("feature")["shift"]
        rank = 1 + int((shift.abs() > abs(shift[feature])).sum())
        found.trials.append(Trial(kind, rank, bool((shift[feature] > 0) == kind.up)))


def _rows_of_nothing(found: Found) -> list[Row]:
    n_pairs, claims = len(found.claims) // 2, sum(found.claims)
    return [
        Row("the base as its own variant: features with any shift", found.changed, "0", found.changed == 0),
        Row("the base run again in other batches: overlap", found.overlap, "at least 0.99", found.overlap >= 0.99),
        Row(f"isotropic noise, {n_pairs} pairs of draws: features claimed", claims, "0", claims == 0),
    ]


def _rows_of_trials(trials: Sequence[Trial]) -> list[Row]:
    judged = [trial for trial in trials if trial.kind.judged]
    n, first = len(judged), sum(trial.rank == 1 for trial in judged)
    least = int(np.ceil(FIRST / TRIALS * n))
    right = sum(trial.right_way for trial in judged)
    rows = [
        Row(f"planted features that come first by size of shift, of {n}", first, f"at least {least}", first >= least),
        Row("… among the first ten", sum(trial.rank <= 10 for trial in judged), "", None),
        Row("… rose or fell, as they must", right, f"{n}", right == n),
    ]
    counts = Counter(trial.kind for trial in trials)
    for kind in counts:
        here = sum(trial.rank == 1 for trial in trials if trial.kind is kind)
        aside = "" if kind.judged else " (not judged)"
        rows.append(Row(f"first of {counts[kind]} where {kind.name}{aside}", here, "", None))
    return rows
