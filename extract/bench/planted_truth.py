"""Known truth on the demo's base: what is planted must be found, and what is noise, or nothing, must not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from extract.bench.page import Row
from extract.config import PlantedEdit, RunConfig, SaeConfig, VariantConfig, load_config
from extract.demo import DEMO_CONFIG
from extract.run import pipeline
from store import open_store
from store.metrics.thresholds import TESTABLE_DOCUMENTS, TESTABLE_FIRINGS, Q
from store.names import ALL, SUPPORTED

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
        rank: its place by |shift| among all features of the layer; by_evidence: in the order of the list of claimed changes.
        called: whether it was called amplified or suppressed, as it must be.
    """

    kind: Kind
    rank: int
    by_evidence: int
    called: bool


@dataclass
class Found:
    """What the runs of all layers gave."""

    trials: list[Trial] = field(default_factory=list)
    changed: int = 0
    overlap: float = 1.0
    tests: int = 0
    significant: int = 0
    claims: list[int] = field(default_factory=list)


def planted_on_the_base(quick: bool) -> list[Row]:
    """Whole runs on the demo's base, dictionaries and corpus: the base again, isotropic noise, and planted features.

    The base again must show no change at all; noise of any size must show none of any feature, as its own control is one more
    draw of it; a planted feature must come first. Features are drawn among those that can be tested and do not fire often: of a
    dead one the encoder need not answer to the decoder's direction.
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
    edits = {"again": {"feature": 0, "strength": 0.0}}
    edits |= {f"noise-{i}": {"feature": i, "strength": size, "isotropic": True} for i, size in enumerate(NOISE_STRENGTHS)}
    with _run(config, layer, edits) as store:
        stats = store.sql("SELECT * FROM feature_stats WHERE domain = ?", [ALL])
        rerun = store.layer_metrics(domain=ALL, segment=ALL, metric="overlap")
    again, noise = stats[stats["variant"] == "again"], stats[stats["variant"] != "again"]
    found.changed += int((again["shift"] != 0).sum())
    found.overlap = min(found.overlap, float(rerun.loc[rerun["control"] == "rerun", "value"].min()))
    found.tests += int(noise["q"].notna().sum())
    found.significant += int((noise["q"] < Q).sum())
    claimed = noise["verdict"].isin([*SUPPORTED, "moved", "does not fit"])
    found.claims += claimed.groupby(noise["variant"]).sum().astype(int).tolist()
    testable = (again["n11"] >= TESTABLE_FIRINGS) & (again["n_documents"] >= TESTABLE_DOCUMENTS)
    return np.sort(again.loc[testable & (again["freq_base"] <= NOT_OFTEN), "feature"].to_numpy())


def _plant(config: RunConfig, layer: int, features: Sequence[int], found: Found) -> None:
    """Plant features, one kind after the other, and look for each."""
    planted = {f"planted-{feature}": (KINDS[i % len(KINDS)], feature) for i, feature in enumerate(features)}
    with _run(config, layer, {name: {"feature": feature, **kind.edit} for name, (kind, feature) in planted.items()}) as store:
        for name, (kind, feature) in planted.items():
            where = {
                sort: int(store.neighbours(layer, feature, name, layer=layer, sort=sort)["position"].iloc[0])
                for sort in ("abs_shift", "evidence")
            }
            of_all = store.feature_stats(layer, feature, name).iloc[0]
            called = of_all["verdict"] == ("amplified" if kind.up else "suppressed")
            found.trials.append(Trial(kind, where["abs_shift"], where["evidence"], called))


@contextmanager
def _run(config: RunConfig, layer: int, edits: Mapping[str, Mapping[str, object]]):
    """The store of a run whose variants are edits of the base; gone afterwards."""
    variants = {name: VariantConfig(planted=PlantedEdit(layer=layer, **edit)) for name, edit in edits.items()}
    unused = {"promoted_tokens": 0, "neighbours": 0, "spectrum": 0, "contexts": 1, "neutral_domains": [], "replicas": []}
    wanted = {"variants": variants, "token_kl": 0, "answers": None, "controls": ["rerun", "isotropic"]}
    with TemporaryDirectory() as folder:
        pipeline.run(config.model_copy(update=unused | wanted), Path(folder) / "store", say=lambda _: None)
        with open_store(Path(folder) / "store") as store:
            yield store


def _rows_of_nothing(found: Found) -> list[Row]:
    worst, n_noise = max(found.claims), len(found.claims)
    return [
        Row("the base as its own variant: features with any shift", found.changed, "0", found.changed == 0),
        Row("the base run again in other batches: overlap", found.overlap, "at least 0.99", found.overlap >= 0.99),
        Row(f"isotropic variants: of {found.tests:,} tests, significant", found.significant, "", None),
        Row(f"isotropic variants: most features that any of {n_noise} claims", worst, "at most 1", worst <= 1),
    ]


def _rows_of_trials(trials: Sequence[Trial]) -> list[Row]:
    judged = [trial for trial in trials if trial.kind.judged]
    n, first = len(judged), sum(trial.rank == 1 for trial in judged)
    least = int(np.ceil(FIRST / TRIALS * n))
    rows = [
        Row(f"planted features that come first by size of shift, of {n}", first, f"at least {least}", first >= least),
        Row("… among the first ten", sum(trial.rank <= 10 for trial in judged), "", None),
        Row("… first in the list of claimed changes, by shift over floor", sum(t.by_evidence == 1 for t in judged), "", None),
        Row("… called amplified or suppressed, as they must be", sum(trial.called for trial in judged), "", None),
    ]
    counts = Counter(trial.kind for trial in trials)
    for kind in counts:
        here = sum(trial.rank == 1 for trial in trials if trial.kind is kind)
        aside = "" if kind.judged else " (not judged)"
        rows.append(Row(f"first of {counts[kind]} where {kind.name}{aside}", here, "", None))
    return rows
