"""A causal check of a set of features: what goes of what a variant learned where their changes are taken back, and in words.

Definitions: docs/metrics.md, "The causal check".
"""

from dataclasses import dataclass
from functools import partial

from store.names import ALL, TASK
from store.numbers import counted, fixed, significant
from store.value_types import Index, Number, Whole, Word

CHOSEN = {
    "listed": "that were named",
    "contribution": "that contribute most to what was learned there",
    "gain": "that add most to the likelihood of the text",
    "loss": "that take most from it",
    "claimed": "that are claimed to be suppressed or amplified",
}
"""How the features of a set were chosen -> the same in words."""

BRIEFLY = {
    "listed": "the {n} that were named", "contribution": "the first {n}", "gain": "the {n} that add most",
    "loss": "the {n} that take most", "claimed": "the {n} that are claimed",
}  # fmt: skip
"""The same in few words, with how many there are."""

ON_NEW_TEXT = ("contribution", "gain", "loss")
"""Chosen so, they are undone in other documents than chose them."""

signed = partial(significant, signed=True)


@dataclass(frozen=True)
class Gone:
    """What goes of one quantity, nats a predicted token, where the changes of a set of features are taken back.

    Attributes:
        whole: how much there is of it: the variant's, less the base's.
        gone: so much of it goes; low, high: its 95 % interval over clusters; None below two.
        more: so much more than the mean of the controls; more_low, more_high: its interval.
        layer: goes where the whole change at the layer is taken back; towards_base: where every token is moved as far as the
            set moves it, straight towards the base.
        controls: of each set of random features.
    """

    whole: Number
    gone: Number
    low: Number | None
    high: Number | None
    more: Number
    more_low: Number | None
    more_high: Number | None
    layer: Number
    towards_base: Number
    controls: tuple[Number, ...]

    @property
    def efficiency(self) -> float | None:
        """How many times as much goes as where the same distance is gone straight towards the base; None where that is none."""
        return self.gone / self.towards_base if self.towards_base else None


@dataclass(frozen=True)
class SetSteering:
    """A causal check of a set.

    Attributes:
        domain: of the corpus, '*task' or 'all': what was sampled.
        chosen_by: of CHOSEN.
        features: ascending.
        n_predictions: sampled, in ``n_clusters`` clusters of documents.
        seed: of the draw of the controls.
        gain: of the log-likelihood of the text that stands there: of answers, where it has some.
        kl: of KL(base || variant).
        opening: of gain, at the first token of answers; None where there is none.
    """

    variant: Word
    layer: Index
    domain: Word
    chosen_by: Word
    features: tuple[Index, ...]
    n_predictions: Index
    n_clusters: Index
    seed: Whole
    gain: Gone
    kl: Gone
    opening: Gone | None


def in_words(result: SetSteering) -> str:
    """What was done and what came of it, in plain text; says no more than was measured."""
    where = {TASK: "its own task", ALL: "all text"}.get(result.domain, f"'{result.domain}'")
    n, gain, kl = counted(len(result.features), "feature"), result.gain, result.kl
    side = "likelier" if gain.whole >= 0 else "less likely"
    said = [
        f"In {counted(result.n_predictions, 'prediction')} of {where} ({counted(result.n_clusters, 'cluster')}), the text is "
        f"{significant(abs(gain.whole))} nats a token {side} in {result.variant} than in the base. Taking back its change of "
        f"{n} at layer {result.layer} {CHOSEN.get(result.chosen_by, '')} takes {signed(gain.gone)} of {signed(gain.whole)}"
        f"{_interval(gain.low, gain.high)}; the layer's whole change: {signed(gain.layer)}.",
        f"{counted(len(gain.controls), 'set')} of as many random features of like frequency, moved as far: "
        f"{signed(min(gain.controls))} to {signed(max(gain.controls))}; it takes {signed(gain.more)} more than their mean"
        f"{_interval(gain.more_low, gain.more_high)}.",
        f"As far straight towards the base: {signed(gain.towards_base)}"
        + (f"; the set does {significant(gain.efficiency)} times as much." if _is_ahead(gain) else "."),
        f"Of the KL divergence from the base, {significant(kl.whole)}, it takes {signed(kl.gone)}{_interval(kl.low, kl.high)}, "
        f"random sets {signed(min(kl.controls))} to {signed(max(kl.controls))}.",
    ]
    if result.opening is not None:
        said.append(
            f"At the first token of an answer it takes {signed(result.opening.gone)} of {signed(result.opening.whole)} nats"
            f"{_interval(result.opening.low, result.opening.high)}."
        )
    return " ".join(said)


def in_short(result: SetSteering) -> str:
    """In one line: 'On new text, undoing the first 20 at layer 15 takes back 0.08 of 2.35 nats, not told from random ones.'"""
    gain = result.gain
    beside = "too few clusters to tell it from random ones"
    if gain.more_low is not None and gain.more_high is not None:
        low, high = sorted((gain.more_low, gain.more_high) if gain.whole >= 0 else (-gain.more_low, -gain.more_high))
        beside = (
            "more than random ones do" if low > 0 else "less than random ones do" if high < 0 else "not told from random ones"
        )
    which = BRIEFLY.get(result.chosen_by, BRIEFLY["listed"]).format(n=f"{len(result.features):,}")
    text = "On new text" if result.chosen_by in ON_NEW_TEXT else "On sampled text"
    amount = f"{fixed(gain.gone, 2)} of {fixed(gain.whole, 2)} nats"
    return f"{text}, undoing {which} at layer {result.layer} takes back {amount}, {beside}."


def _is_ahead(gain: Gone) -> bool:
    """Whether the efficiency is a number that means something: both go the same way."""
    return gain.efficiency is not None and gain.efficiency > 0


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95 % interval {signed(low)} to {signed(high)})"
