"""The app's words for verdicts, controls and kinds. For metrics: store/metrics/catalogue.py; for numbers: store/numbers.py."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, replace

from store.metrics import catalogue
from store.metrics.catalogue import Metric
from store.metrics.thresholds import MIN_DOCUMENTS
from store.numbers import count, counted, listing, number, percent, probability, ratio, utc  # noqa: F401, for the pages
from store.text import markdown, on_one_line

MARKS = "\\`*_{}[]()<>#+-.!|~$:^=&"
"""Every character that Markdown, or Streamlit's colours and formulas, may take for more than itself."""

BASE_COLOUR = "#1f83c6"
VARIANT_COLOUR = "#dd6b10"
DECREASE_COLOUR = "#8e4fa8"
INCREASE_COLOUR = "#2a9d4e"
SERIES_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7a00", "#7a7a7a")
"""Okabe and Ito's palette, which stays apart under the common kinds of colour blindness."""

COUNT_COLOURS = ("#c7e3b5", "#41b6c4", "#225ea8")
"""Few to many: each apart from a white and from a black page."""

COMMAND = re.compile(r"'((?:python -m|make|hf) [^'`]+)'")
"""What a sentence of ours says to type, in quotes."""

QUIET_COLOUR = "#767a8c"
"""Of small print in charts: at least 4.2 to 1 on a white page and on a black one."""

KIND_COLOURS = {
    "vanished": "#a05cbd",
    "attenuated": "#bf9bd1",
    "unchanged": "#8c8c8c",
    "amplified": "#86c98f",
    "appeared": "#2fa858",
}
KIND_SHAPES = {
    "vanished": "triangle-down",
    "attenuated": "triangle-down",
    "unchanged": "circle",
    "amplified": "triangle-up",
    "appeared": "triangle-up",
}
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
CONTROL_LINES = {"isotropic": ("dashed", 2), "shuffled": ("dotted", 2), "mean_shift": ("dashed", 1), "rerun": ("dotted", 1)}
"""How a control's line is drawn: style and width in pixels."""

CONTROL_COLOUR = "#808080"
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
EVIDENCE_SORT_NAMES = {
    "evidence": "Claimed changes first",
    "floor_ratio": "Shift over floor",
    "z": "z, either way",
    "q": "q, smallest first",
    "minimum_detectable": "Smallest detectable shift",
    "near_threshold": "Flips near threshold",
}
"""Only in a store with verdicts."""

SORT_NAMES = {
    "abs_shift": "Shift, either way",
    "shift": "Shift, signed",
    "std_shift": "Standardised shift",
    "log_ratio": "Frequency ratio, either way",
    "suppression": "Suppression",
    "emergence": "Emergence",
    "freq_base": "Frequency in base",
    "freq_variant": "Frequency in variant",
    "n_documents": "Documents",
    "feature": "Feature number",
}


METRICS: Mapping[str, Metric] = ChainMap(
    {
        "excess": Metric(
            "Overlap below its floor", "", None, "Do more features change than noise of that size changes?", "",
            "control − observed", format="+.3f",
        )
    },
    catalogue.METRICS,
)  # fmt: skip
"""Those of the catalogue, and what the app makes of one."""


def metric(name: str) -> Metric:
    """The metric of that name; one that this app has no words for keeps its name."""
    return METRICS.get(name) or Metric(short(on_one_line(name.replace("_", " ")), 40).capitalize(), "", None, "", "")


def relative_metric(name: str) -> Metric:
    """The metric as a share of its largest value (profiles.relative), where a higher one is always a larger change."""
    known = metric(name)
    label = f"1 − {known.label.lower()}" if known.sign < 0 else known.label
    return replace(known, label=label, unit="share of the largest", low=0, high=None, sign=1, format=".2f")


def feature_name(layer: int, feature: int) -> str:
    """How a feature is written everywhere: 'L12:431'; the search box understands it too."""
    return f"L{int(layer)}:{int(feature)}"


def file_name(*parts: str) -> str:
    """The name of a file to download, without its ending: letters and digits of any script, at most 60 of a part."""
    plain_parts = [re.sub(r"\W+", "-", part).strip("-")[:60] for part in parts]
    return "_".join(part for part in plain_parts if part)


def short(text: str, length: int) -> str:
    """Text cut to a length, the cut marked."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def plain(text: str) -> str:
    """Untrusted text for a place that reads Markdown: every mark escaped, so that it shows as it is."""
    return markdown(text, MARKS)


def sentence(text: str) -> str:
    """A sentence of ours for a place that reads Markdown: as :func:`plain`, but what it says to type is code, to be copied."""
    parts = COMMAND.split(on_one_line(text))
    return "".join(f"`{part}`" if at % 2 else plain(part) for at, part in enumerate(parts))
