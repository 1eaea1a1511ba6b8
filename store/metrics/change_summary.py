"""What a change amounts to, in plain sentences: its size, its overlap beside what size alone gives, the features it changed.

Pure functions of rows of layer_metrics and of counted verdicts; the app, the terminal and the page of findings say the same
because all take it from here. No sentence credits the training with what a random change of the weights does too: overlap is
never evidence, and features are claimed only beyond twins and in every run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from store.metrics.thresholds import MIN_CLUSTERS
from store.metrics.verdicts import AMPLIFIED, DOES_NOT_FIT, NOT_SEEN, OF_NORM, SUPPRESSED, THIS_RUN_ONLY
from store.names import OBSERVED, TWIN, VERDICTS
from store.numbers import count, counted, fixed, listing, percent

SIZES = (("small", 0.05), ("moderate", 0.2))
"""A change is called by the first bound that its relative shift is below, beyond them 'large'."""

RERUN_FACTOR = 2.0
"""Within this many times the base's own re-run, a shift is numerical noise; without a re-run, within NUMERICAL."""

MARGIN = 0.01
"""Overlap is lower than under random changes of the size only by more than this, and by more than these differ: two or three of
them do not know how low the next would be."""

NUMERICAL = 1e-5
"""Relative shift that rounding alone can make."""

RANDOM = "random changes of the weights of that size"

HEADLINES = {
    "no change": "the variant does what the base does here",
    "in every run": f"features changed in every run of the recipe, as {RANDOM} do not change them",
    "in this run only": f"features changed beyond {RANDOM}, but no second run shows that",
    "nothing claimed": f"no change of a feature is told from {RANDOM}",
    "could not be seen": "on this corpus no change of a feature could have been seen",
    "no twins": f"nothing to compare with: no twins, {RANDOM}, were read beside it",
    "unknown": "the numbers are not defined here",
}
"""What a change comes down to -> what that means."""


@dataclass(frozen=True)
class Sentence:
    """One of the three. `level`: the decision in a word or two; `claim`: the decision as it is said; `numbers`: why."""

    level: str
    claim: str
    numbers: str
    share: str = ""
    """Of the size: the relative shift alone."""

    @property
    def text(self) -> str:
        """The whole sentence."""
        return f"{self.claim}: {self.numbers}"


@dataclass(frozen=True)
class ChangeSummary:
    """The three sentences about one variant at one layer on one domain, and what they come down to (of HEADLINES).

    few_clusters: whether they rest on fewer than MIN_CLUSTERS, and may not hold beyond them.
    """

    headline: str
    few_clusters: bool
    size: Sentence
    overlap: Sentence
    features: Sentence


def summarise(rows: pd.DataFrame, verdicts: Mapping[str, int] | None, runs: int = 1) -> ChangeSummary:
    """What the change of one variant amounts to at one layer, on one domain.

    Args:
        rows: its rows of layer_metrics (segment 'all'): every metric, observed, under each control, of each twin.
        verdicts: how many features of the layer have each verdict, which are of all domains together; None without verdicts.
        runs: of the recipe that the store has, this one and its replicates.
    """
    numbers = _Numbers(rows)
    size, overlap, features = _size(numbers), _overlap(numbers), _features(numbers, verdicts, runs)
    headline = size.level if size.level == "unknown" else "no change" if size.level == "none" else features.level
    return ChangeSummary(headline, numbers.n_clusters < MIN_CLUSTERS, size, overlap, features)


def over_layers(
    summaries: Mapping[int, ChangeSummary],
    verdicts: Mapping[int, Mapping[str, int]] | None,
    runs: int,
    subject: str = "the residual stream",
) -> str:
    """What a variant amounts to over all its layers, in three plain sentences: size, overlap, features.

    Args:
        summaries: layer -> its summary, all domains together.
        verdicts: layer -> as of :func:`summarise`.
        subject: what the sizes are of (:func:`store.points.subject`).
    """
    said = [f"{_sizes(summaries, subject)}."]
    judged = [summary.overlap.level for summary in summaries.values() if summary.overlap.level in ("explained", "lower")]
    if judged:
        explained = judged.count("explained")
        where = "at every layer" if explained == len(judged) else f"at {explained} of {len(judged)} layers"
        lower = f"At every layer {_LOWER[0].lower()}{_LOWER[1:]}."
        said.append(f"The overlap of features is explained by that size {where}." if explained else lower)
    said.append(_claims(_added(verdicts), runs, " over all layers" if len(summaries) > 1 else ""))
    return " ".join(said)


_LOWER = "Fewer features stay on than under random changes of that size"


def _sizes(summaries: Mapping[int, ChangeSummary], subject: str) -> str:
    of_layer = {layer: summary.size for layer, summary in summaries.items() if summary.size.level != "unknown"}
    if not of_layer:
        return f"How far {subject} moves is not defined"
    if all(size.level == "none" for size in of_layer.values()):
        return "No change beyond numerical noise"
    parts = [f"{size.share} at L{layer}" for layer, size in of_layer.items()]
    parts[0] = parts[0].replace(" at ", " of its norm at ", 1)
    return f"{subject[0].upper()}{subject[1:]} moves by {listing(parts)}"


def _added(verdicts: Mapping[int, Mapping[str, int]] | None) -> dict[str, int] | None:
    if verdicts is None:
        return None
    return {name: sum(of_layer.get(name, 0) for of_layer in verdicts.values()) for name in VERDICTS}


def _size(numbers: _Numbers) -> Sentence:
    shift = numbers.value("relative_shift")
    if shift is None:
        return Sentence("unknown", "Size unknown", "there is no norm to compare the change with.")
    said = f"relative shift {percent(shift)} of the base's norm"
    again = numbers.value("relative_shift", "rerun")
    if shift <= (NUMERICAL if again is None else max(NUMERICAL, RERUN_FACTOR * again)):
        beside = "" if again is None else f", and {percent(again)} when the base is run again"
        return Sentence("none", "No change beyond numerical noise", f"{said}{beside}.", percent(shift))
    word = next((name for name, bound in SIZES if shift < bound), "large")
    said += numbers.interval("relative_shift", percent)
    return Sentence(word, f"{word.capitalize()} change", f"{said}.", percent(shift))


def _overlap(numbers: _Numbers) -> Sentence:
    overlap = numbers.value("overlap")
    if overlap is None:
        return Sentence("unknown", "Overlap unknown", "no token counts here.")
    said = f"overlap {_two_digits(overlap)}{numbers.interval('overlap', _two_digits)}"
    beside = {"a random shift of that size gives": [numbers.value("overlap", "isotropic")], **numbers.of_twins("overlap")}
    known = {name: [value for value in values if value is not None] for name, values in beside.items()}
    known = {name: values for name, values in known.items() if values}
    if not known:
        claim = "Overlap with nothing beside it"
        return Sentence("alone", claim, f"{said}; a random change of the same size may give as little.")
    said += "; " + ", ".join(f"{name} {_span(values)}" for name, values in known.items())
    values = [value for of_kind in known.values() for value in of_kind]
    if overlap >= min(values) - max(MARGIN, max(values) - min(values)):
        return Sentence("explained", "Overlap is explained by the size of the change", f"{said}.")
    return Sentence("lower", _LOWER, f"{said}.")


def _features(numbers: _Numbers, verdicts: Mapping[str, int] | None, runs: int) -> Sentence:
    if verdicts is None:
        claim = "Whether features changed by this training cannot be said"
        return Sentence("no twins", claim, f"{HEADLINES['no twins']}.")
    halved = [_halved(numbers)] if numbers.value("n_halved") is not None else []
    said = " ".join([_claims(verdicts, runs, ""), *halved])
    if verdicts.get(SUPPRESSED, 0) + verdicts.get(AMPLIFIED, 0):
        return Sentence("in every run", "Features changed by the training, in every run", said)
    if verdicts.get(THIS_RUN_ONLY, 0):
        return Sentence("in this run only", "Features changed beyond random changes of the weights, in this run only", said)
    if not any(n for name, n in verdicts.items() if name not in (NOT_SEEN, DOES_NOT_FIT)):
        return Sentence("could not be seen", "No change of a feature could have been seen", said)
    return Sentence("nothing claimed", f"No change of a feature is told from {RANDOM}", said)


def every_run(runs: int) -> str:
    """'both runs'; of a store that has one run alone: 'every run', for the others are not in it."""
    return {1: "every run", 2: "both runs"}.get(runs, f"all {runs} runs")


def _claims(verdicts: Mapping[str, int] | None, runs: int, where: str) -> str:
    """What was claimed, and of how many features it could have been."""
    if verdicts is None:
        return "Without twins nothing is said of features."
    of = {name: verdicts.get(name, 0) for name in VERDICTS}
    unseen, unfit = of[NOT_SEEN], of[DOES_NOT_FIT]
    seen = sum(of.values()) - unseen - unfit
    among = f"of {count(seen)} that could have been seen{where}; of {count(unseen)} a change could not "
    among += f"have been seen{f', of {count(unfit)} the dictionary does not fit' if unfit else ''}."
    if of[SUPPRESSED] or of[AMPLIFIED]:
        claimed = f"{counted(of[SUPPRESSED], 'feature')} suppressed and {count(of[AMPLIFIED])} amplified"
        return f"{claimed} in {every_run(runs)}, {among}"
    if of[THIS_RUN_ONLY]:
        why = "the store has no second run of the recipe" if runs == 1 else "not in every run"
        changed = counted(of[THIS_RUN_ONLY], "feature")
        return f"{changed} changed beyond {RANDOM}, but {why}, {among}"
    norm = f" {counted(of[OF_NORM], 'feature')} changed with the norm alone." if of[OF_NORM] else ""
    return f"No feature is claimed, {among}{norm}"


def _halved(numbers: _Numbers) -> str:
    parts = []
    for metric, what in (("n_halved", "lost half or more"), ("n_doubled", "doubled or more")):
        twins = [value for values in numbers.of_twins(metric).values() for value in values]
        beside = f" ({_span(twins, count)} under {RANDOM})" if twins else ""
        parts.append(f"{count(numbers.value(metric) or 0)} {what}{beside}")
    return f"{', '.join(parts)}."


class _Numbers:
    """The numbers of one summary by metric and control; None where there is none."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self._rows = {(row["metric"], row["control"]): row for row in rows.to_dict("records")}
        self._twins = sorted({control for _, control in self._rows if control.startswith(TWIN)})
        self.n_clusters = max((int(row["n_clusters"]) for row in self._rows.values()), default=0)

    def value(self, metric: str, control: str = OBSERVED) -> float | None:
        return self._number(metric, control, "value")

    def of_twins(self, metric: str) -> dict[str, list[float]]:
        """What the twins have, under the words that say so; empty without twins."""
        values = [value for twin in self._twins if (value := self.value(metric, twin)) is not None]
        return {RANDOM: values} if values else {}

    def interval(self, metric: str, show, control: str = OBSERVED) -> str:
        """' [4.0 % to 4.4 %]', or nothing where there is none."""
        low, high = (self._number(metric, control, name) for name in ("low", "high"))
        return "" if low is None or high is None else f" [{show(low)} to {show(high)}]"

    def _number(self, metric: str, control: str, column: str) -> float | None:
        value = self._rows.get((metric, control), {}).get(column)
        return None if value is None or pd.isna(value) or math.isinf(value) else float(value)


def _two_digits(value: float) -> str:
    return fixed(value, 2)


def _span(values: list[float], show=_two_digits) -> str:
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"
