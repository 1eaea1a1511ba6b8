"""What kinds of change, fit gates, verdicts, controls and headlines are called, what they mean, and their badges."""

from __future__ import annotations

from dataclasses import dataclass

from store.metrics.thresholds import MIN_DOCUMENTS

KIND_MEANINGS = {
    "vanished": "at least 9 in 10 of the base's firings are gone, and the mean fell",
    "attenuated": "the mean activation fell",
    "unchanged": "the mean activation is the same",
    "amplified": "the mean activation rose",
    "appeared": "at least 9 in 10 of the variant's firings are new, and the mean rose",
}
GATE_BADGES = {"fits": ("green", ":material/check:"), "strained": ("orange", ":material/warning:")}
GATE_BADGE_OTHER = ("red", ":material/block:")
GATE_MEANINGS = {
    "fits": "The dictionary reconstructs the variant about as well as the base: claims about features stand on firm ground.",
    "strained": "The dictionary reconstructs the variant noticeably worse than the base: read feature claims with care.",
    "does not fit": "The dictionary does not reconstruct the variant here: do not trust claims about single features.",
}


@dataclass(frozen=True)
class Verdict:
    """How a verdict is shown. No two look alike: least of all 'not suppressed' and 'could not have been seen here'."""

    label: str
    badge: str
    icon: str
    mark: str
    colour: str
    shape: str
    meaning: str


VERDICTS = {
    "suppressed": Verdict(
        "suppressed", "violet", ":material/trending_down:", "▼", "#8e4fa8", "triangle-down",
        "it fell further than noise moves such features, and does so over documents",
    ),
    "amplified": Verdict(
        "amplified", "green", ":material/trending_up:", "▲", "#2a9d4e", "triangle-up",
        "it rose further than noise moves such features, and does so over documents",
    ),
    "moved": Verdict(
        "moved", "blue", ":material/swap_horiz:", "⇄", "#2a6fb0", "diamond",
        "beyond noise, but a feature with nearly the same decoder direction moved the other way: it was taken over",
    ),
    "does not fit": Verdict(
        "does not fit", "red", ":material/block:", "✕", "#c43c39", "M-0.7,-0.7L0.7,0.7M-0.7,0.7L0.7,-0.7",
        "beyond noise, but the dictionary does not reconstruct the variant at this layer",
    ),
    "near threshold": Verdict(
        "near threshold", "orange", ":material/vertical_align_center:", "≈", "#d08a1d", "square",
        "beyond noise, but most of its flips happen right at its threshold",
    ),
    "within noise": Verdict(
        "not changed (within noise)", "primary", ":material/check_circle:", "●", "#5f8aa8", "circle",
        "tested, and no change found: a larger one would have been",
    ),
    "untestable": Verdict(
        "could not have been seen here", "gray", ":material/visibility_off:", "?", "#9a9a9a", "stroke",
        "not tested: too few firings or documents for any change to show on this corpus",
    ),
}  # fmt: skip
NO_VERDICT = "no verdict"
CONTROL_NAMES = {
    "isotropic": "random change of the same size",
    "shuffled": "another token's change, same size",
    "mean_shift": "the mean change alone",
    "rerun": "the base run again",
}
HEADLINE_BADGES = {
    "systematic": ("violet", ":material/my_location:"),
    "no more than noise": ("primary", ":material/grain:"),
    "more flips than noise": ("orange", ":material/shuffle:"),
    "no change": ("gray", ":material/horizontal_rule:"),
    "too few documents": ("gray", ":material/visibility_off:"),
    "no noise floor": ("gray", ":material/straighten:"),
    "unknown": ("gray", ":material/question_mark:"),
}
SMALL = "small: few documents"
SMALL_MEANING = (
    f"Another sample of documents could change these numbers much: below {MIN_DOCUMENTS} documents a domain, intervals are "
    "wide or missing, and few features fire often enough to be tested."
)
RANKING_NAMES = {
    "decrease": "Most decreased",
    "increase": "Most increased",
    "base": "Top in base",
    "variant": "Top in variant",
    "spread": "Spread over its range",
}
