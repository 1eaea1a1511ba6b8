"""Synthetic stores whose truth is known: how many claims are false, and how many of the planted losses are claimed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from extract.bench.page import Row
from extract.bench.power import FIRINGS, class_of, power_row
from extract.bench.random_changes import N_FEATURES, Base, columns, copied
from store.metrics.evidence import Member
from store.metrics.thresholds import SEEN_CLUSTERS, SEEN_FIRINGS, Q
from store.names import CLAIMED, VERDICTS

THIS_RUN_ONLY = VERDICTS[2]
LOSSES = (0.3, 0.5, 0.7, 0.9, 1.0)
PLANTED = 60
"""Features at a time."""
POWER_TARGET, DETECTABLE_TARGET = 0.95, 0.8
COPIES, FIERCE = 6, 1.5


def false_claims(quick: bool) -> list[Row]:
    """Runs that trained nothing: how often anything is claimed; and copies of texts, known to be such or not."""
    n_stores = 20 if quick else 100
    rows = []
    for n_runs in (1, 2, 3):
        counts = [_claims(columns(_members(store, n_runs))) for store in _stores(n_stores, seed=n_runs)]
        rows += _null_rows(f"nothing trained, {n_runs} run{'s' * (n_runs > 1)}", counts, n_runs, n_stores)
    for is_known in (True, False):
        counts = [
            _claims(columns([copied(member, COPIES, is_known) for member in _members(store, 2)]))
            for store in _stores(n_stores, seed=4)
        ]
        title = f"nothing trained, 2 runs, {COPIES} copies of each text, {'their clusters given' if is_known else 'not said'}"
        rows += _null_rows(title, counts, 2 if is_known else None, n_stores)
    counts = [_claims(columns(_members(store, 2, FIERCE))) for store in _stores(n_stores, seed=6)]
    title = f"nothing trained, 2 runs that move features {FIERCE} times as far as their twins do"
    return [*rows, *_null_rows(title, counts, None, n_stores)]


def power(quick: bool) -> list[Row]:
    """Losses that both runs of a recipe learned, beside what random changes do: what is claimed of them, and what else."""
    n_stores = 6 if quick else 40
    rows = []
    of_loss = {loss: _trials(loss, n_stores) for loss in LOSSES}
    for loss, trials in of_loss.items():
        shares = [trial.false_share for trial in trials]
        slack = _slack(shares) if quick else 0.0
        false = float(np.mean(shares))
        title = f"{loss:.0%} lost in both runs"
        rows.append(Row(f"{title}: false ones among the claims", false, f"at most {Q}", false <= Q + slack))
        planted = Trials.of(trials)
        for name in FIRINGS:
            rows.append(power_row(f"{title}, {name} firings: claimed", planted.claimed[planted.firing_class == name]))
        if loss == 1:
            often = planted.firings >= SEEN_FIRINGS
            wide = often & (planted.clusters >= SEEN_CLUSTERS)
            title = f"all lost in both runs, at least {SEEN_FIRINGS} firings"
            rows.append(power_row(f"{title}: claimed", planted.claimed[often], POWER_TARGET))
            rows.append(power_row(f"{title} in {SEEN_CLUSTERS} clusters: claimed", planted.claimed[wide], POWER_TARGET))
    every = Trials.of([trial for trials in of_loss.values() for trial in trials])
    beyond = every.claimed[every.lost >= every.detectable]
    rows.append(power_row("lost at least their detectable_loss, in both runs: claimed", beyond, DETECTABLE_TARGET))
    return [*rows, *_one_run_only(n_stores)]


@dataclass(frozen=True)
class Trials:
    """Planted features, each with what became of it, [planted] each; of one store or of several.

    Attributes:
        claimed: bool.
        firings: in the base; clusters: that share its activation evenly.
        lost: share that is expected to be lost by all that was done to it, in the run that lost least.
        detectable: detectable_loss, in the run where it is larger; infinite where not even a complete loss is.
        false_share: of all claims of the store.
    """

    claimed: np.ndarray
    firings: np.ndarray
    clusters: np.ndarray
    lost: np.ndarray
    detectable: np.ndarray
    false_share: float = float("nan")

    @classmethod
    def of(cls, trials: Sequence["Trials"]) -> "Trials":
        """All of them as one."""
        names = ("claimed", "firings", "clusters", "lost", "detectable")
        return cls(*(np.concatenate([getattr(trial, name) for trial in trials]) for name in names))

    @property
    def firing_class(self) -> np.ndarray:
        """Of FIRINGS."""
        return class_of(self.firings)


def _trials(loss: float, n_stores: int) -> list[Trials]:
    return [_trial(base, rng, loss) for base, rng in _stores(n_stores, seed=int(100 * loss) + 10)]


def _trial(base: Base, rng: np.random.Generator, loss: float) -> Trials:
    """PLANTED features lose that share in both runs."""
    planted = _planted(base, rng)
    stays = np.where(np.isin(np.arange(N_FEATURES), planted), 1 - loss, 1.0)
    drawn = [base.member(rng, stays) for _ in range(2)]
    members, left = [member for member, _ in drawn], [of_run for _, of_run in drawn]
    found = columns(members)
    claimed = _claimed(found)
    firings, total = base.firings.sum(axis=0), base.activation.sum(axis=0)
    clusters = np.divide(total**2, (base.activation**2).sum(axis=0), out=np.zeros(N_FEATURES), where=total > 0)
    detectable = np.max([np.nan_to_num(each["detectable_loss"], nan=np.inf) for each in found], axis=0)
    false = claimed & (stays == 1)
    return Trials(
        claimed=claimed[planted],
        firings=firings[planted],
        clusters=clusters[planted],
        lost=1 - np.max(left, axis=0)[planted],
        detectable=detectable[planted],
        false_share=float(false.sum() / max(1, claimed.sum())),
    )


def _one_run_only(n_stores: int) -> list[Row]:
    """The first run loses PLANTED features whole, the second none of them."""
    claimed, alone = [], []
    for base, rng in _stores(n_stores, seed=5):
        planted = _planted(base, rng)
        stays = np.where(np.isin(np.arange(N_FEATURES), planted), 0.0, 1.0)
        found = columns([base.member(rng, stays)[0], base.member(rng)[0]])
        claimed.append(_claimed(found)[planted].mean())
        alone.append((found[0]["verdict"][planted] == THIS_RUN_ONLY).mean())
    share = float(np.mean(claimed))
    return [
        Row("all lost in one run of two: claimed", share, "0", share == 0),
        Row("all lost in one run of two: called 'this run only' there", float(np.mean(alone)), "", None),
    ]


def _planted(base: Base, rng: np.random.Generator) -> np.ndarray:
    """PLANTED features, as many of each class of FIRINGS."""
    classes = class_of(base.firings.sum(axis=0))
    each = PLANTED // len(FIRINGS)
    return np.concatenate([rng.choice(np.flatnonzero(classes == name), each, replace=False) for name in FIRINGS])


def _stores(n: int, seed: int) -> Iterable[tuple[Base, np.random.Generator]]:
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        yield Base.draw(rng), rng


def _members(store: tuple[Base, np.random.Generator], n_runs: int, fierce: float = 1.0) -> list[Member]:
    """Runs that trained nothing."""
    base, rng = store
    return [base.member(rng, fierce=fierce)[0] for _ in range(n_runs)]


def _claimed(found: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
    """bool [features]: claimed in any of the runs."""
    return np.any([np.isin(columns["verdict"], CLAIMED) for columns in found], axis=0)


def _claims(found: Sequence[dict[str, np.ndarray]]) -> tuple[int, int]:
    """(features that are claimed, features of the first run that are called 'this run only')."""
    return int(_claimed(found).sum()), int((found[0]["verdict"] == THIS_RUN_ONLY).sum())


def _null_rows(title: str, counts: Sequence[tuple[int, int]], n_runs: int | None, n_stores: int) -> list[Row]:
    """Of one run nothing may be claimed, and what stands for a claim is 'this run only'; n_runs None: told, not judged."""
    claims, alone = np.array(counts).T
    wrong = alone if n_runs == 1 else claims
    what = f"called '{THIS_RUN_ONLY}'" if n_runs == 1 else "claimed"
    share, slack = float((wrong > 0).mean()), 0.03 if n_stores < 100 else 0.0
    met = None if n_runs is None else share <= Q + slack and not (n_runs == 1 and claims.any())
    return [
        Row(f"{title}: stores with any feature {what}", share, "" if n_runs is None else f"at most {Q}", met),
        Row(f"{title}: features {what} a store", float(wrong.mean()), "", None),
    ]


def _slack(values: Sequence[float]) -> float:
    """Two standard errors of a mean of few."""
    return float(2 * np.std(values, ddof=1) / len(values) ** 0.5)
