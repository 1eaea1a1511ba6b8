"""What the first page tells of each recipe, from the store's own numbers: its behaviour, what it learned, where it changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from store.metrics.behaviour import behaviours
from store.metrics.change_summary import every_run
from store.metrics.learning_summary import Learned, Through, agreement
from store.metrics.verdicts import AMPLIFIED, NOT_SEEN, SUPPRESSED, THIS_RUN_ONLY
from store.names import ALL, GATES, NEUTRAL, OBSERVED, TASK, TWIN
from store.numbers import count, counted, fixed, listing, number
from store.read.store import Store
from store.reports.courses import Course, courses, earlier_checkpoints
from store.reports.learning import correlations, foremost_layer, of_learned
from store.sidecar.sets import SetSteering, in_short

NOT_TRIED = "Whether undoing them takes that back was not tried."
COMPARED = ("cosine", "overlap")


@dataclass(frozen=True)
class Profile:
    """One metric over a variant's layers.

    Attributes:
        values: one a layer.
        low, high: of the twins, likewise; empty without twins.
    """

    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Story:
    """What is told of one recipe, by its first run; all domains together.

    Attributes:
        variant: its first run.
        runs: how many the store has, itself among them.
        behaviour: what its answers show, a sentence; '' without answers.
        learned: TASK, NEUTRAL or ALL -> what was learned there; nothing without contributions.
        layers: of the store.
        profiles: of each of COMPARED that the store has.
        verdicts: verdict -> how many features of each layer have it; None without twins.
        main: the domain and the layer whose features make most of what it learned; None without contributions.
        floor: what the largest single feature of its twins contributes there, nats; None without twins.
        misfits: fit gate -> the layers where it is not 'fits', all domains together.
        of_runs, of_twins: correlation of its features' contributions there with those of its other runs, and of its twins.
        course: of a training with several checkpoints, which its last one tells, how it came to that; None of others.
    """

    variant: str
    runs: int
    behaviour: str
    learned: Mapping[str, Learned]
    layers: Sequence[int]
    profiles: Mapping[str, Profile]
    verdicts: Mapping[str, Sequence[int]] | None
    main: tuple[str, Through] | None
    floor: float | None
    misfits: Mapping[str, Sequence[int]]
    of_runs: Sequence[float]
    of_twins: Sequence[float]
    course: Course | None = None

    def n(self, *verdicts: str) -> int:
        """How many features have one of these verdicts, over all layers; all that have any, where none is named."""
        return sum(sum(self.verdicts.get(name, ())) for name in verdicts or self.verdicts) if self.verdicts else 0

    @property
    def inside(self) -> str:
        """What changed inside, in one plain sentence."""
        if self.verdicts is None:
            return "Its features have no verdicts: it, or another run of it, has no twins (random changes of the weights)."
        fell, rose = self.n(SUPPRESSED), self.n(AMPLIFIED)
        if fell + rose:
            where = f"{every_run(self.runs)}, beyond random changes of the weights"
            return f"{counted(fell, 'feature')} fell and {count(rose)} rose in {where}."
        if alone := self.n(THIS_RUN_ONLY):
            why = "there is no second run to confirm it" if self.runs == 1 else "not in every run"
            return f"{counted(alone, 'feature')} changed beyond random changes of the weights, but {why}."
        return "No feature's change is told from random changes of the weights of that size."

    @property
    def certainty(self) -> str:
        """How sure that is, and what is not known, in one plain sentence; '' where there is nothing to say."""
        said = [_agreement(self.runs, self.of_runs, self.of_twins)] if self.of_runs else []
        if self.verdicts is not None:
            said.append(f"{count(self.n(NOT_SEEN))} of {count(self.n())} features could not be judged here")
        for gate, layers in self.misfits.items():
            where = f"at layer{'s' if len(layers) > 1 else ''} {listing(list(map(str, layers)))}"
            said.append(f"the dictionary {gate} {where}" if gate == GATES[-1] else f"the dictionary is {gate} {where}")
        text = "; ".join(said)
        return f"{text[:1].upper()}{text[1:]}." if text else ""


def _agreement(n: int, runs: Sequence[float], twins: Sequence[float]) -> str:
    """'Both runs agree on the features (correlation 0.93; random changes 0.04)', or how far they do."""
    how = {
        "much": "agree on the features", "in part": "agree only in part on the features",
        "by chance": "agree on the features no more than random changes do",
    }[agreement(runs, twins)]  # fmt: skip
    beside = f"; random changes {_ends(twins)}" if twins else ""
    who = every_run(n)
    return f"{who[0].upper()}{who[1:]} {how} (correlation {_ends(runs)}{beside})"


def stories(store: Store) -> list[Story]:
    """The story of each recipe, in the store's order; of a training with several checkpoints that of the last."""
    groups, over_steps = store.groups().groupby("first", sort=False).size(), courses(store)
    groups = groups.drop(earlier_checkpoints(store), errors="ignore")
    said, metrics, counts = store.answers(), store.layer_metrics(domain=ALL, segment=ALL), store.verdict_counts()
    behave = behaviours(said, store.variants)
    learned = store.learned() if store.has_contributions else None
    return [
        replace(
            _story(store, first, int(runs), behave.get(first, ""), metrics, counts, learned), course=over_steps.get(first)
        )
        for first, runs in groups.items()
    ]


def check(story: Story, made: Sequence[SetSteering]) -> str:
    """What the features that contribute most stand against: a random change's, and what came of undoing them on new text.

    Args:
        story: of a store with contributions.
        made: the causal checks of sets that the sidecar has by now; of several the one at the story's own layer is told.
    """
    domain, main = story.main
    floor = "" if story.floor is None else f"Of a random change at most {number(story.floor, signed=True)}. "
    mine = [one for one in made if (one.variant, one.domain, one.chosen_by) == (story.variant, domain, "contribution")]
    return floor + (in_short(min(mine, key=lambda one: one.layer != main.layer)) if mine else NOT_TRIED)


def _story(
    store: Store,
    first: str,
    runs: int,
    behave: str,
    metrics: pd.DataFrame,
    counts: pd.DataFrame,
    learned: pd.DataFrame | None,
) -> Story:
    main = None if learned is None else foremost_layer(store, first)
    of_learned_there = (
        {} if learned is None else {name: of_learned(learned, first, first, name) for name in (TASK, NEUTRAL, ALL)}
    )
    return Story(
        first,
        runs,
        behave,
        {name: one for name, one in of_learned_there.items() if one is not None},
        store.layers,
        {
            name: _profile(metrics[(metrics["variant"] == first) & (metrics["metric"] == name)], store.layers)
            for name in COMPARED
        },
        _verdicts(counts[counts["variant"] == first], store.layers) if store.has_verdicts(first) else None,
        main,
        _floor(store, first, *main) if main else None,
        _misfits(store.fit(first, domain=ALL)),
        *(correlations(store, first, main[0], main[1].layer) if main else ((), ())),
    )


def _profile(rows: pd.DataFrame, layers: Sequence[int]) -> Profile:
    of_layers = rows[rows["control"] == OBSERVED].set_index("layer")["value"].reindex(layers)
    twins = rows[rows["control"].str.startswith(TWIN)].groupby("layer")["value"]
    low, high = (getattr(twins, end)().reindex(layers) for end in ("min", "max")) if twins.ngroups else ((), ())
    return Profile(*(list(map(float, values)) for values in (of_layers, low, high)))


def _verdicts(counts: pd.DataFrame, layers: Sequence[int]) -> dict[str, list[int]]:
    of = counts.set_index(["verdict", "layer"])["n"].unstack(fill_value=0).reindex(columns=layers, fill_value=0)
    return {str(name): row.astype(int).to_list() for name, row in of.iterrows()}


def _floor(store: Store, variant: str, domain: str, main: Through) -> float | None:
    rows = store.layer_gains(variant, domain)
    twins = rows[(rows["layer"] == main.layer) & (rows["control"] != OBSERVED)]
    if twins.empty:
        return None
    return float(twins["largest"].max() if main.order == "gain" else twins["smallest"].min())


def _misfits(fit: pd.DataFrame) -> dict[str, list[int]]:
    other = fit[fit["gate"].notna() & (fit["gate"] != GATES[0])]
    return {str(gate): sorted(map(int, rows["layer"])) for gate, rows in other.groupby("gate")}


def _ends(values: Sequence[float]) -> str:
    low, high = (fixed(end(values), 2) for end in (min, max))
    return low if low == high else f"{low} to {high}"
