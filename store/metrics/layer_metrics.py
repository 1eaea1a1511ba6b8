"""The metrics of a layer: for each its formula, unit, range, which way it changes, and its words, all in one place.

Values (:func:`layer_values`), intervals (store/metrics/intervals.py), the app's words and the tables of docs/metrics.md follow
from :data:`METRICS`. Notation: base A and variant B on the same tokens; residuals ``h_a``, ``h_b`` and δ = h_b − h_a; scaled
codes ``a``, ``b`` (raw code × ‖W_dec,j‖); N tokens that count; Σ over them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from store.metrics.estimates import Estimate, GroupSums

SIZE, FEATURES, RANDOM, COUNTS, FIT, SHAPE = (
    "How large is the change", "Are the same features on", "Beside a random change of the weights", "How many features are on",
    "Does the dictionary fit", "Shape of the change",
)  # fmt: skip
"""The panels in which the app shows metrics."""


@dataclass(frozen=True)
class Metric:
    """One metric of the table layer_metrics.

    Attributes:
        label: what the app calls it.
        definition: its formula, for people; Markdown.
        formula: the same, to be worked out; None where the sums of documents do not suffice: it has no interval then.
        question: what it answers.
        panel: where the app shows it.
        unit: '' for a bare number.
        low, high: the bounds that the definition sets; None where there is none.
        sign: 1 where a higher value says that more changed, -1 where a lower one does.
        is_change: whether it compares the two models, rather than describing one of them.
        has_excess: whether it can exceed a control or twin: one made of the same size differs from the variant in it.
        format: of numbers in charts, d3's.
    """

    label: str
    definition: str
    formula: Callable[[GroupSums], Estimate] | None
    question: str
    panel: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    sign: int = 1
    is_change: bool = True
    has_excess: bool = False
    format: str = ".3f"

    @property
    def scale(self) -> str:
        """Unit and range in a few words; a share speaks for itself."""
        is_bounded = self.low is not None and self.high is not None and not self.unit.startswith("share")
        ends = f"{self.low:g} to {self.high:g}".replace("-", "−") if is_bounded else ""
        return ", ".join(filter(None, (self.unit, ends)))

    @property
    def is_never_negative(self) -> bool:
        """By its definition."""
        return self.low is not None and self.low >= 0

    def excess(self, observed: float, control: float) -> float:
        """How much more changed than under a control or twin: positive where more did, whichever way the metric goes."""
        return self.sign * (observed - control)


METRICS: dict[str, Metric] = {
    "cosine": Metric(
        "Cosine", "mean over tokens of cos(h_a, h_b)", lambda group: group.ratio("cosine"),
        "Do the two models' residuals point the same way?", SIZE, low=-1, high=1, sign=-1,
    ),
    "centred_cosine": Metric(
        "Centred cosine", "mean of cos(h_a − μ, h_b − μ), μ the base's mean in the pilot",
        lambda group: group.ratio("centred_cosine"),
        "The same once the shared mean is taken away.", SIZE, low=-1, high=1, sign=-1,
    ),
    "relative_shift": Metric(
        "Relative shift", "sqrt(Σ‖δ‖² / Σ‖h_a‖²)", lambda group: group.ratio("delta_norm2", "base_norm2").sqrt(),
        "How big is the change?", SIZE, "share of the base's norm", low=0,
    ),
    "mean_alignment": Metric(
        "Mean alignment",
        "‖μ‖ / sqrt(mean ‖h_a‖²): about 1 where the shared mean is nearly all; μ is the pilot's, so that "
        "a domain of small norms passes 1",
        lambda group: group.ratio("base_norm2").rsqrt(group.mean_norm),
        "How large the shared mean is that flatters the raw cosine.", SIZE, "share of the base's norm", low=0, is_change=False,
    ),
    "overlap": Metric(
        "Overlap", "mean over tokens of the Jaccard index of the active sets; 1 where both are empty",
        lambda group: group.ratio("overlap"),
        "Are the same features on?", FEATURES, "Jaccard", 0, 1, sign=-1, has_excess=True,
    ),
    "weighted_overlap": Metric(
        "Weighted overlap", "Σ min(a, b) / Σ max(a, b)", lambda group: group.ratio("minimum", "maximum"),
        "The same, weak flips counting little.", FEATURES, low=0, high=1, sign=-1, has_excess=True,
    ),
    "latent_cosine": Metric(
        "Latent cosine", "mean of cos(a, b) over tokens with a code in base or variant (0 where one of the two has none)",
        lambda group: group.ratio("latent_cosine", "n_latent_cosine"),
        "Do the two models' codes point the same way?", FEATURES, low=0, high=1, sign=-1, has_excess=True,
    ),
    "l1_divergence": Metric(
        "L1 divergence", "mean ‖b − a‖₁", lambda group: group.ratio("l1_divergence"),
        "How much activation moved?", FEATURES, "scaled activation per token", low=0, has_excess=True, format=",.3~r",
    ),
    "l0_inflation": Metric(
        "L0 inflation", "l0_variant / l0_base", lambda group: group.ratio("l0_variant", "l0_base"),
        "A random change turns more features on; does this one?", RANDOM, "variant / base", low=0, has_excess=True,
    ),
    "n_seen": Metric(
        "Features that could be seen",
        "features that fire in base or variant and have another verdict than `could not be seen` and `does not fit`; without "
        "verdicts those counted (often enough, in clusters enough)",
        None, "Of how many features could a change have been seen?", RANDOM, "features", low=0, is_change=False, format=",.0f",
    ),
    "n_halved": Metric(
        "Lost half or more", "counted features with change ≤ −0.5", None,
        "How many features lost at least half of their activation?", RANDOM, "features", low=0, has_excess=True, format=",.0f",
    ),
    "n_doubled": Metric(
        "Doubled or more", "counted features with change ≥ 0.5", None,
        "How many features at least doubled their activation?", RANDOM, "features", low=0, has_excess=True, format=",.0f",
    ),
    "l0_base": Metric(
        "L0 in base", "mean number of active features, in the base", lambda group: group.ratio("l0_base"),
        "How many features are on, in the base?", COUNTS, "features per token", low=0, is_change=False, format=".1f",
    ),
    "l0_variant": Metric(
        "L0 in variant", "mean number of active features, in the variant", lambda group: group.ratio("l0_variant"),
        "How many features are on, in the variant?", COUNTS, "features per token", low=0, is_change=False, has_excess=True,
        format=".1f",
    ),
    "no_code_share": Metric(
        "Tokens without a code", "share of tokens left out of `latent_cosine`: no code in either",
        lambda group: 1 - group.ratio("n_latent_cosine"),
        "How often nothing is on at all.", COUNTS, "share of tokens", 0, 1,
    ),
    "fvu_base": Metric(
        "FVU in base",
        "Σ‖h_a − ĥ_a‖² / Σ‖h_a − mean(h_a)‖², about the group's own mean; 0: perfect, 1: no better than the mean",
        lambda group: group.fvu("base"),
        "How much the dictionary misses, in the base.", FIT, "share unexplained", low=0, is_change=False,
    ),
    "fvu_variant": Metric(
        "FVU in variant", "the same of h_b", lambda group: group.fvu("variant"),
        "Does the dictionary still fit the variant?", FIT, "share unexplained", low=0, is_change=False, has_excess=True,
    ),
    "delta_coverage": Metric(
        "Delta coverage",
        "1 − Σ‖δ − (dec(b) − dec(a))‖² / Σ‖δ‖²: the share of the change that the dictionary expresses. Lower counts as more, "
        "as a higher FVU does: more of the change lies outside the dictionary",
        lambda group: 1 - group.ratio("delta_error2", "delta_norm2"),
        "How much of the change can the dictionary express?", FIT, "share, may be negative", high=1, sign=-1, has_excess=True,
    ),
    "effective_rank": Metric(
        "Effective rank", "exp of the entropy of the eigenvalues of Σ(δ − δ̄)(δ − δ̄)ᵀ (Roy & Vetterli 2007)", None,
        "Along how many directions does the change run?", SHAPE, "directions", low=1, format=".1f",
    ),
    "mean_share": Metric(
        "Share of the mean", "N‖δ̄‖² / Σ‖δ‖²", None,
        "How much of the change is one constant offset?", SHAPE, "share of Σ‖δ‖²", 0, 1,
    ),
}  # fmt: skip
"""By its name in the column ``metric``, in the order of the app's panels."""


def panels() -> dict[str, list[str]]:
    """Panel -> the names of its metrics, in their order."""
    found: dict[str, list[str]] = {panel: [] for panel in (SIZE, FEATURES, RANDOM, COUNTS, FIT, SHAPE)}
    for name, metric in METRICS.items():
        found.setdefault(metric.panel, []).append(name)
    return found


def estimates(group: GroupSums) -> dict[str, Estimate]:
    """Every metric that follows from the sums of documents, by its name, with what each cluster adds to its error."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # a metric that hangs on a single cluster
        return {name: metric.formula(group) for name, metric in METRICS.items() if metric.formula}


def layer_values(
    sums: Mapping[str, float], base_total_norm2: float, variant_total_norm2: float, mean_norm: float
) -> dict[str, float]:
    """Every metric of one group of tokens that follows from its sums.

    Args:
        sums: one number for each of :data:`store.format.document_sums.DOCUMENT_SUMS`, summed over the group.
        base_total_norm2: ||sum_t h_a||^2 over the group's tokens.
        variant_total_norm2: ||sum_t h_b||^2.
        mean_norm: ||mu||, the norm of the base's mean residual in the pilot.

    Returns:
        Metric name -> value, in the unit of :data:`METRICS`; NaN where there is nothing to divide by.
    """
    group = GroupSums.of_totals(sums, base_total_norm2, variant_total_norm2, mean_norm)
    return {name: estimate.value for name, estimate in estimates(group).items()}
