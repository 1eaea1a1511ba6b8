"""Which checkpoints are of one training, and which of them speaks for it: settled once for runs, stores and pages. Pure.

A training is everything that replicates join: the series of a first seed, and every series that repeats any of its steps,
though its last step be another. One series of them stands for it, and of that series the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """What is known of a variant.

    Attributes:
        first: the variant that its recipe is called by, which may be itself.
        series, step: None of one that is no checkpoint.
    """

    first: str
    series: str | None = None
    step: int | None = None


def main_series(members: Mapping[str, Member]) -> dict[str, str]:
    """Each series -> the series that stands for its training: the first that has several steps and repeats no other.

    Args:
        members: by variant, in the order that decides which is the first.
    """
    of_first: dict[str, set[str]] = {}
    for member in members.values():
        if member.series is not None:
            of_first.setdefault(member.first, set()).add(member.series)
    trainings: list[set[str]] = []
    for joined in of_first.values():
        apart = [training for training in trainings if training.isdisjoint(joined)]
        trainings = [*apart, joined.union(*(training for training in trainings if not training.isdisjoint(joined)))]
    order = dict.fromkeys(member.series for member in members.values() if member.series is not None)
    steps = {series: {member.step for member in members.values() if member.series == series} for series in order}
    repeating = {
        member.series
        for name, member in members.items()
        if member.first != name and member.first in members and members[member.first].series not in (None, member.series)
    }
    best = sorted(order, key=lambda series: (len(steps[series]) < 2, series in repeating))  # in order, among equals
    of = {series: training for training in trainings for series in training}
    return {series: next(one for one in best if one in of[series]) for series in order}


def speakers(members: Mapping[str, Member]) -> dict[str, str]:
    """Each recipe, by its first variant -> the one that speaks for its training, which is its last checkpoint's; or itself."""
    main = main_series(members)
    last: dict[str, Member] = {}
    training: dict[str, str] = {}
    for member in members.values():
        if member.series is None:
            continue
        training[member.first] = main[member.series]
        known = last.get(member.series)
        if known is None or (member.step or 0) > (known.step or 0):
            last[member.series] = member
    return {
        member.first: last[training[member.first]].first if member.first in training else member.first
        for member in members.values()
    }
