"""What a store tells of each training that it has several checkpoints of: when changes began, what went, what it learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from store.metrics.learning_summary import Learned
from store.metrics.onsets import FELL, ROSE
from store.names import ALL, NEUTRAL, TASK
from store.numbers import count, counted, listing, number
from store.read.series import EVERY_RUN
from store.read.store import Store
from store.reports.learning import of_learned

MOST_STEPS = 8
"""So many steps are named; of more the first and the last."""
NO_TWINS = (
    "Not every checkpoint has twins, random changes of the weights, without which nothing can be claimed: no change has an "
    "onset."
)
PLACES = {TASK: "on its own task", NEUTRAL: "on text that no variant was trained for", ALL: "on all text"}


@dataclass(frozen=True)
class Course:
    """One training over its steps, all layers and domains together.

    Attributes:
        series: its name.
        steps: optimiser steps of its checkpoints, in order.
        variants: its checkpoints, likewise.
        level: of store.read.series.LEVELS: whether what is counted is claimed, or stands out in this run alone.
        fell, rose: at each step, how many features' changes are.
        onsets: step -> how many of them are from there on to the last; only where there are any.
        went: how many are at some step, and not at the last.
        flickered: how many of those with an onset were claimed that way before it too, with a step between where they were not.
        turned: how many of those with an onset were claimed the other way before it.
        learned: of PLACES that were measured -> what was learned there at each step.
        judged: whether every checkpoint has verdicts.
    """

    series: str
    steps: Sequence[int]
    variants: Sequence[str]
    level: str
    fell: Sequence[int]
    rose: Sequence[int]
    onsets: Mapping[int, int]
    went: int
    flickered: int
    turned: int
    learned: Mapping[str, Sequence[Learned]]
    judged: bool

    @property
    def checkpoints(self) -> str:
        """'3 checkpoints, optimiser steps 100, 200 and 400'."""
        steps = list(map(count, self.steps))
        named = listing(steps) if len(steps) <= MOST_STEPS else f"{steps[0]} to {steps[-1]}"
        return f"{len(self.steps)} checkpoints, optimiser steps {named}"

    @property
    def began(self) -> str:
        """When the changes of features began, and which did not last, in plain sentences."""
        if not self.judged:
            return NO_TWINS
        claimed = "claimed" if self.level == EVERY_RUN else "standing out in this run alone"
        alone = "" if self.level == EVERY_RUN else "Not every step was run twice, so nothing is claimed over the steps. "
        if not self.onsets and not self.went:
            none = "No feature's change is claimed at any step." if not alone else "No feature's change stands out at any step."
            return alone + none
        last = sum(self.onsets.values())
        starts = [f"{count(n)} from step {count(step)}" for step, n in self.onsets.items()]
        said = f"{counted(last, 'feature')} {claimed} at the last step{': ' + listing(starts) + ' on' if starts else ''}"
        before = [f"{count(self.flickered)} of them at some step before that too"] if self.flickered else []
        before += [f"{count(self.turned)} of them the other way before"] if self.turned else []
        flickered = f" ({', '.join(before)})" if before else ""
        went = f"; {count(self.went)} came and went, {claimed} at an earlier step and not at the last" if self.went else ""
        return f"{alone}{said}{flickered}{went}."

    @property
    def taught(self) -> str:
        """What was learned and what it cost at each step, in one plain sentence; '' where that was not measured."""
        said = [
            f"{PLACES[place]} {', '.join(number(one.gain, signed=True) for one in of_steps)}"
            for place, of_steps in self.learned.items()
        ]
        return f"Nats a token at each step: {'; '.join(said)}." if said else ""

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(filter(None, (f"{self.checkpoints}.", self.began, self.taught)))


def courses(store: Store) -> dict[str, Course]:
    """The recipe of the last checkpoint of each training, by its first variant -> the training's course.

    Of several runs of a training the one that stands for it (:mod:`store.trainings`) has the course.
    """
    rows, members = store.series(), store.members()
    of_series = rows[rows["repeats"].isna()].groupby("series", sort=False)
    return {members[of["variant"].iloc[-1]].first: _course(store, str(name), of) for name, of in of_series}


def earlier_checkpoints(store: Store) -> set[str]:
    """The variants for which another checkpoint of their training speaks where a training is told in one row: a later one, or
    that of the seed which stands for it."""
    return set(store.variants) - set(store.compared()["variant"])


def _course(store: Store, series: str, rows: pd.DataFrame) -> Course:
    found = store.courses(series)
    ways = pd.DataFrame(found["ways"].to_list(), columns=range(len(rows)), index=found.index)
    begun = found["onset"].dropna().astype(int)
    learned = store.learned_over_steps(series).assign(slot=ALL) if store.has_contributions else None
    return Course(
        series,
        rows["step"].to_list(),
        rows["variant"].to_list(),
        store.course_level(series),
        [int((ways[at] == FELL).sum()) for at in ways],
        [int((ways[at] == ROSE).sum()) for at in ways],
        begun.value_counts().sort_index().to_dict(),
        int(found["came_and_went"].sum()),
        int(((found["first"] < found["onset"]).fillna(False) & ~found["turned"].astype(bool)).sum()),
        int(found["turned"].sum()),
        {} if learned is None else _learned(learned, rows["variant"].to_list()),
        all(store.has_verdicts(variant) for variant in rows["variant"]),
    )


def _learned(rows: pd.DataFrame, variants: Sequence[str]) -> dict[str, list[Learned]]:
    """Place -> what each variant learned there; of the places that were measured of all of them: task and neutral, else all."""
    found = {place: [of_learned(rows, variant, variant, place) for variant in variants] for place in PLACES}
    whole = {place: of for place, of in found.items() if all(one is not None for one in of)}
    return {place: of for place, of in whole.items() if place != ALL or len(whole) == 1}
