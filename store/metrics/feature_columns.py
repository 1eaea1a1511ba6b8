"""The numbers of a feature's change, each once: what it is called, what it means, how it is written, where it is shown.

Lists and their sorting (store/read/feature_filter.py), reports (store/reports) and the app's tables follow from
:data:`COLUMNS`. How a number is worked out stands in store/metrics/feature_numbers.py and store/metrics/evidence.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from store.numbers import count, number, percent, probability, ratio


@dataclass(frozen=True)
class FeatureColumn:
    """One number of the table feature_stats, or made from it.

    Attributes:
        name: the column.
        title: what a table's heading calls it.
        meaning: a sentence.
        write: how a person reads it.
        fact: what a sentence about one feature calls it; '' where a report leaves it out.
        sort: what sorting a list by it is called; '' where that is not offered.
        needs_floor: whether it rests on the noise floor.
        is_pooled: whether a list takes it from all domains together, whatever the list's domain.
        is_listed: whether a list of features has it.
    """

    name: str
    title: str
    meaning: str
    write: Callable[[float], str] = number
    fact: str = ""
    sort: str = ""
    needs_floor: bool = False
    is_pooled: bool = False
    is_listed: bool = True


signed = partial(number, signed=True)

COLUMNS = {
    column.name: column
    for column in (
        FeatureColumn(
            "shift", "Shift", "Mean over tokens of variant minus base, scaled activation.", signed, "shift", "Shift, signed"
        ),
        FeatureColumn(
            "std_shift", "Std. shift", "Shift divided by the pooled standard deviation.", signed, sort="Standardised shift"
        ),
        FeatureColumn(
            "floor", "Floor",
            "What noise of the same size does to features of like frequency: the 99th percentile of their |shift|.",
            fact="floor", needs_floor=True,
        ),
        FeatureColumn(
            "floor_ratio", "Over floor", "|Shift| over what noise of the same size does to features of like frequency.", ratio,
            "shift / floor", "Shift over floor", needs_floor=True,
        ),
        FeatureColumn(
            "z", "z", "Over documents: does the shift differ from a random change's? Of all domains together.", signed, "z",
            "z, either way", needs_floor=True, is_pooled=True,
        ),
        FeatureColumn(
            "q", "q", "False discovery rate at which it would be claimed, among all features of the layer.", probability, "q",
            "q, smallest first", needs_floor=True, is_pooled=True,
        ),
        FeatureColumn(
            "minimum_detectable", "Detectable", "The |shift| from which on a change of this feature would have been found.",
            fact="smallest detectable shift", sort="Smallest detectable shift", needs_floor=True, is_pooled=True,
        ),
        FeatureColumn(
            "near_threshold", "Near threshold",
            "Of the tokens where it starts or stops firing, the share close to its threshold.", percent,
            "flips near threshold", "Flips near threshold", needs_floor=True, is_pooled=True,
        ),
        FeatureColumn(
            "did_shift", "Task − neutral", "Shift on the variant's task domains minus shift on the neutral domains.", signed,
            needs_floor=True, is_pooled=True,
        ),
        FeatureColumn(
            "log_ratio", "log₂ ratio", "log2 of the variant's firings over the base's, half a firing added to both.", signed,
            sort="Frequency ratio, either way",
        ),
        FeatureColumn(
            "suppression", "Suppression", "Of the base's firings, the share that is gone in the variant.", percent,
            sort="Suppression",
        ),
        FeatureColumn(
            "emergence", "Emergence", "Of the variant's firings, the share that is new.", percent, sort="Emergence"
        ),
        FeatureColumn(
            "freq_base", "In base", "Share of tokens where it fires in the base.", percent, "frequency in base",
            "Frequency in base",
        ),
        FeatureColumn(
            "freq_variant", "In variant", "Share of tokens where it fires in the variant.", percent, "frequency in variant",
            "Frequency in variant",
        ),
        FeatureColumn(
            "mean_base", "Mean in base", "Mean over tokens of its scaled activation in the base.", fact="mean in base",
            is_listed=False,
        ),
        FeatureColumn(
            "mean_variant", "Mean in variant", "Mean over tokens of its scaled activation in the variant.",
            fact="mean in variant", is_listed=False,
        ),
        FeatureColumn("n_documents", "Documents", "Documents where it fires in either.", count, "documents", "Documents"),
    )
}  # fmt: skip
"""Column -> what is said of it, in the order of reports and of the choice of a sort."""
