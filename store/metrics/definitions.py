"""What every metric, column, control and setting means: the tables of docs/metrics.md, which is written from here.

    python -m store.metrics.definitions docs/metrics.md

Metrics of a layer are those of the catalogue. Cells are Markdown; the page About shows the same. Long because it is tables.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from store.metrics.decoys import FREQUENCIES, LEAST_FEATURES, LEAST_UNIT, MOST_WAYS, STRENGTHS, USUAL_PERCENTILE
from store.metrics.layer_metrics import METRICS, Metric
from store.metrics.thresholds import MATERIAL, NEARLY_ALL, SAME_DIRECTION, SEEN_CLUSTERS, SEEN_FIRINGS, Q
from store.points import ATTN_Z, MLP_IN, MLP_IN_NORMALIZED, POINTS

BEGIN, END = "<!-- table: {} -->", "<!-- end of table -->"
"""What a table of the page stands between."""


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes:
        title: the heading above it.
        columns: their titles.
        rows: the cells of each; the first says what is defined, names in backticks.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table as lines of Markdown."""
        head, *lines = (f"| {' | '.join(cells)} |\n" for cells in (self.columns, *self.rows))
        return "".join([head, "|" + "---|" * len(self.columns) + "\n", *lines])


def names(row: tuple[str, ...]) -> list[str]:
    """What a row defines."""
    return row[0].split("`")[1::2] or [row[0]]


WHERE = Section("Where in a layer `h` is", ("point", "what it is", "promoted tokens"), tuple(
    (f"`{point}`", what, "none" if point in (MLP_IN, MLP_IN_NORMALIZED) else "through W_O" if point == ATTN_Z else "direct")
    for point, what in POINTS.items()
))  # fmt: skip

FED = Section("What a dictionary is fed", ("setting", "what is done"), (
    (
        "`center_writing_weights` (GPT-2 releases: trained on TransformerLens' processed model)",
        "in GPT-2, GPT-Neo, GPT-NeoX and GPT-J, `h` is everywhere the residual stream, or what is added to it, less its mean "
        "over d_model, which is exactly what that processing leaves; isotropic noise is drawn, and planted changes go along "
        "decoder rows, less theirs. With RMSNorm it does nothing; other bases are refused. A note says so",
    ),
    (
        "`normalize_activations`: `layer_norm`, `constant_norm_rescale`",
        "by sae-lens: codes are in units of each token's norm, reconstructions are brought back; no causal check",
    ),
    (
        "`expected_average_only_in`, `covariance_whitening`",
        "folded into the weights, where the registry or the checkpoint's `activation_scaler.json` has the numbers; else "
        "refused",
    ),
    (
        "`apply_b_dec_to_input`, `rescale_acts_by_decoder_norm`",
        "by sae-lens; with the latter a code carries the norm already, and rows of W_dec count as of length 1",
    ),
    ("`prepend_bos`", "`prepend_bos: auto` does the same; where the run does otherwise, a note"),
    (
        "`context_size`, `model_name`, `seqpos_slice`, `exclude_special_tokens`, a revision of the model",
        "a note where the run differs",
    ),
    ("dtype", "`sae_dtype`; a note where weights are rounded"),
    ("anything else that sae-lens would drop", "refused where it is known to change codes, else a note"),
))  # fmt: skip

FEATURES = Section("Per feature (`feature_stats`)", ("name", "formula"), (
    ("`freq_base`, `freq_variant`", "n_a / N, n_b / N"),
    ("`log_ratio`", "log2((n_b + ½) / (n_a + ½))"),
    ("`mean_base`, `mean_variant`, `shift`", "mean of a, of b, and of b − a over all N tokens"),
    ("`n_tokens`", "N"),
    ("`std_shift`", "shift / sqrt((var a + var b) / 2), population variances over the N tokens; rows of domain `all` only"),
    ("`suppression`, `emergence`", "n10 / n_a, n01 / n_b"),
    ("`magnitude_ratio`", "Σb / Σa over the tokens where both fire; rows of domain `all` only"),
    ("`n_documents`, `n_clusters`", "documents, and clusters of them, in which it fires in either model"),
    ("`change`", "(Σb − Σa) / max(Σa, Σb): −1 all lost, −0.5 lost half, 0.5 doubled, 1 all new"),
    ("`loss`, `gain`", "where it fell, the share that is lost, 1 − Σb / Σa; where it rose, how many times as much, Σb / Σa"),
    (
        "`kind`",
        f"by change: `vanished` (≤ −{NEARLY_ALL}), `weakened` (≤ −{MATERIAL}, the setting `material`), `steady`, "
        f"`strengthened` (≥ {MATERIAL}), `appeared` (≥ {NEARLY_ALL})",
    ),
    (
        "`near_threshold`",
        "of the flips (n10 + n01), the share whose firing value lies within 5 % of the threshold (JumpReLU), or of the "
        "smallest kept value of its token (TopK); null for other architectures. A fact, no verdict",
    ),
    (
        "`moved_to`",
        f"of a feature that changed materially the nearest with decoder cosine > {SAME_DIRECTION} that did so the other way. "
        "A fact, no verdict",
    ),
    ("`did_shift`", "shift on the variant's task domains − shift on the neutral domains, as the configuration names them"),
))  # fmt: skip

CONTROLS = Section("What stands beside a variant", ("name", "what is encoded instead of h_b", "what it explains"), (
    ("`rerun`", "h_a again, in batches of another shape, on a tenth of the documents (by hash)", "numerical noise"),
    ("`isotropic`", "h_a + a random direction with the token's own ‖δ‖", "overlap, by size alone"),
    ("`rescaled`", "h_a · ‖h_b‖ / ‖h_a‖, token by token", "a change of the norm"),
    ("`twin_1`, `twin_2`, ...", "the residuals of a twin: its own forward pass", "any change of the weights of that size"),
    (
        "`shuffled` (optional)",
        "h_a + δ of a donor token (same domain, segment and position bin, another document, from the pilot), rescaled "
        "to the token's own ‖δ‖",
        "the change's spectrum, wherever it falls",
    ),
    ("`mean_shift` (optional)", "h_a + mean(δ) of the pilot", "a constant offset"),
))  # fmt: skip

EVIDENCE = Section("Evidence about a feature", ("name", "formula"), (
    (
        "`change_low`, `change_high`",
        "with l_c the sums in cluster c of the larger side, s_c of the smaller, R = Σs_c / Σl_c and k = (Σl_c)² / Σl_c²: half "
        "the interval of R is hypot(t_{k−1} · sqrt((k+1)/(k−1) · Σ(s_c − R·l_c)²) / Σl_c · k/(k+1), 1.96 · (1 − R)/(k + 1)) "
        "about (kR + 1)/(k + 1): a ratio of cluster totals, with one more cluster in which nothing changed, since of what is "
        "lost everywhere nothing varies",
    ),
    (
        "score",
        "−ln(1 − size of the interval's end nearer to 0), 0 where it holds 0, less what the norm alone gives, "
        "max(0, ln(1 − \\|change_rescaled\\|) − ln(1 − \\|change\\|)); a twin's × the variant's relative_shift / the twin's, "
        f"at least ⅔. In units of the {USUAL_PERCENTILE}th percentile of the twins' scores among like features (at least "
        f"{LEAST_UNIT}): {FREQUENCIES} classes of frequency in the base × {STRENGTHS} of strength there, by quantiles of the "
        f"features that are counted in every run; with fewer features fewer frequencies, below {STRENGTHS * LEAST_FEATURES} "
        f"no strengths, so that each class has {LEAST_FEATURES}. Falls and rises apart",
    ),
    (
        "`q_twin`",
        "(1 / draws + decoys that score at least as high / draws) / (features of the variant that do), monotone. The "
        "variant's features are those counted, material, by more than the norm, at a layer whose gate is not `does not fit`; "
        f"decoys all counted features of every twin. *Counted*: ≥ {SEEN_FIRINGS} firings of the side with more activation, "
        f"k ≥ {SEEN_CLUSTERS}",
    ),
    (
        "`q_replicates`",
        "the same of the least score over all runs of the recipe; decoys: the least score over one twin of each run, for every "
        f"way of taking them (at most {MOST_WAYS}), which share their twins: the 1 / draws is of the fewest twins of a run",
    ),
    (
        "`detectable_loss`",
        "the smallest loss, in steps of 1 %, whose score reaches the bar of what is claimed (where nothing is: the highest "
        "decoy), had every run lost that, with its scatter in proportion to what stays; null: not even a complete loss does",
    ),
    ("`change_rescaled`", "change of b against the codes of `rescaled`"),
    ("`twin_low`, `twin_high`; `replicate_low`, `replicate_high`", "range of the feature's change over twins; over runs"),
    (
        "`verdict` (`reason`)",
        "the first that holds: `could not be seen` (`few_firings`, `few_clusters`: not counted); `does not fit` (`misfit`, "
        "`run_misfit`: the layer's gate, of this run or another); `could not be seen` (`undetectable`: not material, and not "
        "even a complete loss would stand out); `steady` (not material); `could not be seen` (`uneven`: material, but the "
        "interval holds 0); `change of norm` (`norm`: change_rescaled is not material the same way); `suppressed`, `amplified` "
        f"(`fell`, `rose`: q_replicates ≤ {Q}); `this run only` (`no_replicate`: q_twin ≤ {Q}, no other run); `could not be "
        "seen` (`too_few`: beyond every decoy, but so few are that counting cannot tell); `this run only` (q_twin ≤ "
        f"{Q}, and another run fires too seldom: `replicate_unseen`; all show it, but as much recurs among twins: "
        "`recurs_by_chance`; one does not show it: `not_replicated`); `as in a random change` (`like_twins`)",
    ),
))  # fmt: skip

CONTRIBUTIONS = Section("Contributions", ("name", "formula"), (
    (
        "`learned.gain`",
        "(L_b − L_a) / W: on the variant's own task (`*task`) what was learned, on text that none was trained "
        "for (`*neutral`) below 0 what it cost",
    ),
    ("`kl`", "weighted mean over S of KL(p_a ‖ p_b)"),
    (
        "`layers.gain`",
        "with B's blocks above the layer kept and its `h_b` moved to `h_b − δ`: (L at h_b − L at h_b − δ) / W, "
        "of `resid_post` the part made at or below the layer, of what a sublayer adds its own part; sinks and BOS are not "
        "moved. `whole`: `learned.gain` of the same predictions",
    ),
    (
        "`features.gain` of j",
        "Σ over tokens (g·W_dec,j)(b − a) / W, raw codes; g = mean over α from 0 to 1 of ∂L/∂h at h_b − αδ "
        "(integrated gradients, Sundararajan, Taly and Yan 2017), by Gauss's rule of 2 points (`points`), in batches where "
        "either sum is missed by more than 2 %, by Kronrod's (1965) of 5, and where need be by Gauss's of 12",
    ),
    (
        "`layers.features`, `rest`",
        "the sum over features; Σ g·(δ − (b − a)W_dec), what the dictionary cannot express. Together `layers.gain`, "
        "but for `completeness`",
    ),
    (
        "`completeness`",
        "\\|Σ g·δ − L's true change\\| as a share of Σ over passages of \\|true change\\|; 2 % of a batch is aimed at",
    ),
    ("`carrying_half`", "the least number of features that make half of `features`, the largest of its sign first"),
    (
        "interval, `q`",
        "ratio of sums over clusters (Cochran 1977, section 6.3), Student's t; q by Benjamini and Hochberg over the "
        "features that contribute in 5 clusters or more",
    ),
    ("`agreement`", "Pearson's correlation, over all features of a layer, of `features.gain` with another run's or a twin's"),
    (
        "`replicate_low`, `replicate_high`",
        "over the variant and its replicates; *told from chance*: q < 0.05, beyond the floor, both of one sign",
    ),
    (
        "twins",
        "of the first run of each recipe: what a random change of that size \"learns\"; *floor*: one feature's most there",
    ),
))  # fmt: skip

CAUSAL_CHECK = Section("The causal check (`python -m extract steer`)", ("what", "how"), (
    (
        "intervention",
        "at every token that counts, at the store's point of that layer in the variant. *Restore*, where the pooled shift is "
        "negative: add (a − b)₊·d, what is missing. *Ablate*, where it is positive: subtract (b − a)₊·d, what is too much. "
        "a and b are encoded anew from both models",
    ),
    (
        "contexts",
        "the feature's strongest under the ranking `decrease` (restore) or `increase` (ablate), one a document, at most "
        "`--contexts`; the models read the whole context window, with BOS as in the run",
    ),
    ("positions", "the context's peak and at most 31 tokens after it in its window: nothing before it sees the change"),
    (
        "KL",
        "KL(p_a ‖ p_b) of the next token in nats over the words that both models have: mean over positions, then over "
        "contexts, without and with the intervention",
    ),
    ("change", "KL with − KL without: negative means that the variant came nearer to the base"),
    ("interval", "95 %, Student's t over the contexts' own changes, so that it is paired; below 8 contexts there is none"),
    (
        "controls",
        "`--random` other features, drawn by a hash of `--seed` from the 200 that fire in the base and are nearest to j in "
        "log density; the same amounts at the same tokens go along *their* directions",
    ),
    (
        "rank",
        "j's place among itself and the controls, lowest KL first; it loses a tie. Rank 1 of 21 comes about once in 21 "
        "times where the feature is no better than they are",
    ),
    (
        "a set (`--features`, `--top`, `--claimed`)",
        "on predictions sampled as in \"Contributions\", of the task or of `--domain`, with `--top` in clusters that did not "
        "choose the features: h_b − Σ_j (b − a)_j·W_dec,j over the features of the set, at every token that counts; what goes "
        "of log p of the token that follows (`gain`; `opening`: of the first token of answers) and of KL. Controls: as many "
        "features of like frequency, the same amounts along theirs; bounds: δ taken back whole, and as far as the set moves "
        "each token along −δ; `efficiency`: what the set takes, as a multiple of the latter. Intervals over clusters, of what "
        "goes and of what goes beyond the controls' mean",
    ),
))  # fmt: skip


def sections() -> list[Section]:
    """Every table, in the order of the page."""
    from_sums, whole = (
        tuple(_row(name, metric) for name, metric in METRICS.items() if bool(metric.formula) == has_formula)
        for has_formula in (True, False)
    )
    columns = ("name", "formula", "unit, range", "excess")
    return [
        WHERE,
        FED,
        Section("Per layer, variant, and domain or segment (`layer_metrics`)", columns, from_sums),
        FEATURES,
        CONTROLS,
        Section("Whole changes, without an interval", columns, whole),
        EVIDENCE,
        CONTRIBUTIONS,
        CAUSAL_CHECK,
    ]


def _row(name: str, metric: Metric) -> tuple[str, ...]:
    excess = "observed − control" if metric.sign > 0 else "control − observed"
    cells = (metric.definition, _range(metric), excess if metric.has_excess else "–")
    return (f"`{name}`", *cells)


def _range(metric: Metric) -> str:
    low, high = (None if bound is None else f"{bound:g}".replace("-", "−") for bound in (metric.low, metric.high))
    ends = f"{low} … {high}" if low and high else f"≥ {low}" if low else f"≤ {high}" if high else ""
    return ", ".join(filter(None, (metric.unit.replace("|", "\\|"), ends)))


def written(page: str) -> str:
    """A page with its tables as they are defined here.

    Raises:
        ValueError: it does not have a place for each table.
    """
    for section in sections():
        begin = BEGIN.format(section.title) + "\n"
        before, table, after = page.partition(begin)
        if not table or END not in after:
            raise ValueError(f"the page has no place for the table {section.title!r}")
        page = before + begin + section.markdown() + END + after.partition(END)[2]
    return page


if __name__ == "__main__":
    _page = Path(sys.argv[1])
    _page.write_text(written(_page.read_text(encoding="utf-8")), encoding="utf-8")
