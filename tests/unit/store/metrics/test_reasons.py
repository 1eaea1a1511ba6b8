"""Why a verdict is what it is, in words: a sentence for each reason, with the numbers that decided."""

import numpy as np
import pytest

from store.metrics.reasons import NEVER_FIRED, NO_VERDICT, change_in_words, reason
from store.metrics.verdicts import REASONS

ROW = {
    "n11": 10, "n10": 190, "n01": 0, "n_clusters": 60, "change": -0.8, "change_low": -0.9, "change_high": -0.65,
    "change_rescaled": -0.2, "twin_low": -0.3, "twin_high": 0.1, "replicate_low": -0.95, "replicate_high": -0.8,
    "q_replicates": 0.02, "q_twin": 0.3, "detectable_loss": 0.62,
}  # fmt: skip
"""A feature that lost 80 %; its verdict and reason are the tests' own."""
LOST = "t lost 80 % of its activation [-90 % to -65 %]"


def said(why: str, **changed: object) -> str:
    return reason(ROW | {"reason": why, "verdict": REASONS[why]} | changed)


RANDOM = "random changes of the weights of that size"
TWINS = "(this one there: -30 % to +10 %)"


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        ("few_firings", "Could not be seen: it fires on 200 tokens; to tell a material change from chance takes 50."),
        ("few_clusters", "Could not be seen: it fires in 60 clusters of texts (templates, articles, works), its activation on "
         "fewer than 10 that share it evenly."),
        ("undetectable",
         f"Could not be seen: even had it vanished, {RANDOM} do as much to features that are as rare and as weak."),
        ("uneven", f"Could not be seen: i{LOST}, which rests on few texts: the interval holds no change as well."),
        ("steady", f"Steady: i{LOST}, less than a material change. A loss of 62 % or more would have stood out from random "
         "changes, had every run shown it."),
        ("norm", f"Change of norm: i{LOST}, but beside the base at the variant's norm only -20 %."),
        ("misfit",
         f"I{LOST}, but at this layer the dictionary does not reconstruct the variant: features there prove nothing."),
        ("run_misfit",
         f"I{LOST}, but at this layer the dictionary does not reconstruct another run of the recipe, so that nothing "
         "can be claimed of all runs."),
        ("like_twins", f"I{LOST}. That is not told from what {RANDOM} do to features as frequent and as strong {TWINS}."),
        ("too_few",
         f"Could not be seen: i{LOST}, more than any feature under the {RANDOM} that were drawn {TWINS}, but too few "
         "features of the layer do for counting to tell that from chance."),
        ("replicate_unseen",
         f"I{LOST}, beyond what {RANDOM} do {TWINS}, but in another run of the recipe it fires too seldom to "
         "show that."),
        ("recurs_by_chance",
         f"I{LOST}, beyond what {RANDOM} do {TWINS}; every run shows it (-95 % to -80 %), but as much recurs "
         "among their twins."),
        ("no_replicate",
         f"I{LOST}, beyond what {RANDOM} do {TWINS}. There is no second run of the recipe to show whether another "
         "seed would do it."),
        ("not_replicated", f"I{LOST}, beyond what {RANDOM} do {TWINS}, but not in every run (-95 % to -80 %)."),
        ("fell", f"I{LOST}, in every run (-95 % to -80 %), and beyond what recurs under {RANDOM} {TWINS}: about 2.0 % of the "
         "claims as strong as this are expected to be false."),
    ],
)  # fmt: skip
def test_every_reason_says_what_decided(why: str, expected: str) -> None:
    assert said(why) == expected


def test_a_loss_that_nothing_would_have_shown_is_not_promised() -> None:
    assert "would have stood out" not in said("steady", detectable_loss=np.nan)


def test_one_run_alone_promises_no_other() -> None:
    assert said("steady", replicate_low=np.nan).endswith("A loss of 62 % or more would have stood out from random changes.")


def test_what_is_not_known_is_left_out() -> None:
    """No interval, no twins, no other runs."""
    bare = dict.fromkeys(("change_low", "change_high", "twin_low", "twin_high", "replicate_low", "replicate_high"), np.nan)
    assert said("no_replicate", **bare).startswith(f"It lost 80 % of its activation, beyond what {RANDOM} do. There is no")


def test_no_verdict_and_no_row() -> None:
    assert reason(None) == NEVER_FIRED
    assert reason(ROW | {"verdict": None, "reason": None}) == f"{NO_VERDICT} I{LOST}."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (0.0, "did not change"),
        (np.nan, "did not change"),
        (-0.5, "lost 50 % of its activation"),
        (-1.0, "lost all of its activation"),
        (0.5, "rose to 2 times its activation"),
        (0.9, "rose to 10 times its activation"),
        (1.0, "fires in the variant alone"),
    ],
)
def test_a_change_in_words(change: float, words: str) -> None:
    assert change_in_words(change) == words
