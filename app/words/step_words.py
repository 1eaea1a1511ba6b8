"""What pages say of numbers over the steps of a training."""

from __future__ import annotations

from store.metrics.thresholds import Q
from store.numbers import percent
from store.read.series import EVERY_RUN, THIS_RUN

STEP = "optimiser step"
"""Title of every axis of steps."""
ONSET, FIRST, WENT = "Onset", "First", "Came and went"
HELP = {
    ONSET: "The first step from which on the change is claimed at every later step, the same way.",
    FIRST: "The first step at which a change is claimed at all: before the onset of one that flickers.",
    WENT: "Claimed at some step, and not at the last; turned: claimed at the last, and before that the other way.",
}
CAUTION = (
    f"Each step is judged by itself: up to {percent(Q)} of what is claimed at one may be false. An onset rests on every step "
    "from there on, what came and went on single ones."
)
LEVELS = {
    EVERY_RUN: "Claimed: in every run of the training at that step, beyond random changes of the weights of that size.",
    THIS_RUN: "**Not every step was run twice, so nothing is claimed here.** What is counted stands out from random changes of "
    "the weights of that size in this run alone; another seed (`replicate_of`) would say whether it is the training's.",
}
"""What is counted, by store.read.series.LEVELS."""
