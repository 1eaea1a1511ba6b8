"""The numbers of a feature's change, each once: what it is called, what it means, how it is written, where it is shown.

Lists and their sorting (store/read/feature_filter.py), reports (store/reports) and the app's tables follow from
:data:`COLUMNS`. How a number is worked out stands in store/metrics/feature_numbers.py and store/metrics/evidence.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from store.numbers import count, number, percent, probability


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
        needs_twins: whether it rests on twins.
        is_pooled: whether a list takes it from all domains together, whatever the list's domain.
        is_listed: whether a list of features has it.
        of_contributions: the column of the table ``contributions.features`` that it is, where it is one.
    """

    name: str
    title: str
    meaning: str
    write: Callable[[float], str] = number
    fact: str = ""
    sort: str = ""
    needs_twins: bool = False
    is_pooled: bool = False
    is_listed: bool = True
    of_contributions: str = ""


signed = partial(number, signed=True)


def share(value: float) -> str:
    """A share with its sign: '-62 %', '+50 %'."""
    return percent(value) if value is None or not value > 0 else f"+{percent(value)}"


COLUMNS = {
    column.name: column
    for column in (
        FeatureColumn(
            "change", "Change",
            "Share of its activation that is lost (below 0) or new (above 0): -50 % lost half, +50 % doubled.",
            share, "change", "Share lost or gained",
        ),
        FeatureColumn(
            "contribution", "Contribution",
            "What its change adds to the log-likelihood of the text (below 0: takes from it), nats a predicted token; empty "
            "where it is not among the largest.",
            signed, sort="Contribution, either way", of_contributions="gain",
        ),
        FeatureColumn(
            "contribution_rank", "Helps", "Its place by contribution among all features of the layer, the most helpful first.",
            count, of_contributions="rank",
        ),
        FeatureColumn(
            "contribution_kl", "Moves the prediction", "What its change adds to KL(base ‖ variant), nats a predicted token.",
            signed, sort="Moves the prediction most", of_contributions="kl",
        ),
        FeatureColumn(
            "change_low", "From",
            "All domains together: lower end of the 95 % interval of the change, over clusters of texts.", share,
            is_pooled=True,
        ),
        FeatureColumn("change_high", "To", "Upper end of it.", share, is_pooled=True),
        FeatureColumn(
            "replicate_low", "Runs from", "All domains together: the lowest change over all runs of the recipe.", share,
            "lowest change of a run", is_pooled=True,
        ),
        FeatureColumn(
            "replicate_high", "Runs to", "The highest.", share, "highest change of a run", is_pooled=True,
        ),
        FeatureColumn(
            "q_replicates", "q, all runs",
            "Expected share of false ones among changes that every run shows as strongly, from what recurs in twins.",
            probability, "q over all runs", "q over all runs, smallest first", needs_twins=True, is_pooled=True,
        ),
        FeatureColumn(
            "twin_low", "Twins from",
            "All domains together: the lowest change of this feature under random changes of the weights of that size.",
            share, "lowest change of a twin", needs_twins=True, is_pooled=True,
        ),
        FeatureColumn(
            "twin_high", "Twins to", "The highest.", share, "highest change of a twin", needs_twins=True, is_pooled=True,
        ),
        FeatureColumn(
            "q_twin", "q, this run",
            "Expected share of false ones among changes of this run that are as strong, from its twins.", probability,
            "q of this run", "q of this run, smallest first", needs_twins=True, is_pooled=True,
        ),
        FeatureColumn(
            "detectable_loss", "Detectable", "The smallest loss of this feature that would have been claimed.", percent,
            "smallest loss that would have been claimed", "Smallest detectable loss first", needs_twins=True, is_pooled=True,
        ),
        FeatureColumn(
            "change_rescaled", "Beside the base at the variant's norm",
            "Change beside the base at the variant's norm, token by token.", share,
            "change beside the base at the variant's norm", is_pooled=True, is_listed=False,
        ),
        FeatureColumn(
            "shift", "Shift", "Mean over tokens of variant minus base, scaled activation.", signed, "shift", "Shift, signed"
        ),
        FeatureColumn(
            "std_shift", "Std. shift", "Shift divided by the pooled standard deviation.", signed, sort="Standardised shift"
        ),
        FeatureColumn(
            "near_threshold", "Near threshold",
            "Of the tokens where it starts or stops firing, the share close to its threshold.", percent,
            "flips near threshold", "Flips near threshold", is_pooled=True,
        ),
        FeatureColumn(
            "did_shift", "Task − neutral", "Shift on the variant's task domains minus shift on the neutral domains.", signed,
            is_pooled=True,
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
        FeatureColumn(
            "n_clusters", "Clusters", "Clusters of texts (templates, articles, works) where it fires in either.", count,
            "clusters", "Clusters",
        ),
    )
}  # fmt: skip
"""Column -> what is said of it, in the order of reports and of the choice of a sort."""
