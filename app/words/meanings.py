"""What kinds of change, fit gates, verdicts, controls and headlines are called, what they mean, and their badges."""

from __future__ import annotations

from dataclasses import dataclass

from app.words import palette
from store.metrics.thresholds import MIN_CLUSTERS

KIND_MEANINGS = {
    "vanished": "at least 9 tenths of its activation are lost",
    "weakened": "a material share of its activation is lost: half or more, unless the run sets another",
    "steady": "less than a material change, either way",
    "strengthened": "a material share of its activation is new: it doubled or more, unless the run sets another",
    "appeared": "at least 9 tenths of its activation are new",
}
GATE_BADGES = {"fits": ("gray", ":material/check:"), "strained": ("yellow", ":material/warning:")}
GATE_BADGE_OTHER = ("red", ":material/block:")
GATE_MEANINGS = {
    "fits": "The dictionary reconstructs the variant about as well as the base: claims about features stand on firm ground.",
    "strained": "The dictionary reconstructs the variant noticeably worse than the base: read feature claims with care.",
    "does not fit": "The dictionary does not reconstruct the variant here: do not trust claims about single features.",
}


@dataclass(frozen=True)
class Verdict:
    """How a verdict is shown. Only claims have a colour; no two have one icon, mark, shape or shade of grey."""

    label: str
    badge: str
    icon: str
    mark: str
    colour: str
    shape: str
    meaning: str


VERDICTS = {
    "suppressed": Verdict(
        "suppressed", "violet", ":material/trending_down:", "▼", palette.DECREASE_COLOUR, "triangle-down",
        "it lost a material share of its activation in every run, beyond what recurs under random changes of the weights "
        "of that size",
    ),
    "amplified": Verdict(
        "amplified", "green", ":material/trending_up:", "▲", palette.INCREASE_COLOUR, "triangle-up",
        "a material share of its activation is new in every run, beyond what recurs under random changes of the weights "
        "of that size",
    ),
    "this run only": Verdict(
        "this run only (no claim)", "gray", ":material/looks_one:", "◇", "#626262", "diamond",
        "beyond what random changes of the weights of that size do, but there is no second run of the recipe, or not every run "
        "shows it",
    ),
    "as in a random change": Verdict(
        "as in a random change (no claim)", "gray", ":material/shuffle:", "≈", "#7c7c7c", "square",
        "a material change, as features of its kind show under random changes of the weights of that size",
    ),
    "change of norm": Verdict(
        "change of norm (no claim)", "gray", ":material/height:", "↕", "#6f6f6f", "cross",
        "a material change that the base at the variant's norm shows too",
    ),
    "does not fit": Verdict(
        "dictionary does not fit", "red", ":material/block:", "✕", "#c43c39", "M-0.7,-0.7L0.7,0.7M-0.7,0.7L0.7,-0.7",
        "a material change, but the dictionary does not reconstruct the variant at this layer",
    ),
    "steady": Verdict(
        "steady", "gray", ":material/check_circle:", "●", "#888888", "circle",
        "no material change; a loss would have stood out from its smallest detectable one on",
    ),
    "could not be seen": Verdict(
        "could not be seen", "gray", ":material/visibility_off:", "?", "#949494", "stroke",
        "it fires too seldom or too unevenly over texts, or random changes of the weights of that size do to features like it "
        "as much as a complete loss",
    ),
}  # fmt: skip
NO_VERDICT = "no verdict"

TWINS = "twins"
"""What the app calls all twins of a variant together, where a control is chosen."""

CONTROL_NAMES = {
    TWINS: "random changes of the weights of that size",
    "isotropic": "random shift of that size",
    "rescaled": "the base at the variant's norm",
    "rerun": "the base run again",
    "shuffled": "another token's change, at that size",
    "mean_shift": "the mean change alone",
}
SMALL = "small: few clusters"
SMALL_MEANING = (
    f"Another sample of texts could change these numbers much: below {MIN_CLUSTERS} clusters (templates, articles, works) "
    "there are no intervals, and few features can be seen."
)
RANKING_NAMES = {
    "decrease": "Most decreased",
    "increase": "Most increased",
    "base": "Top in base",
    "variant": "Top in variant",
    "spread": "Spread over its range",
}
