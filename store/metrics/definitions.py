"""What every metric, column, control and setting means: the tables of docs/metrics.md, which is written from here.

    python -m store.metrics.definitions docs/metrics.md

Metrics of a layer are those of the catalogue. Cells are Markdown; the app's page About shows the same.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from store.metrics.layer_metrics import METRICS, Metric
from store.metrics.thresholds import (
    FLOOR_FEATURES,
    FLOOR_PERCENTILE,
    NEARLY_ALL,
    POWER,
    SAME_DIRECTION,
    TESTABLE_DOCUMENTS,
    TESTABLE_FIRINGS,
    Q,
)

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


FED = Section("What a dictionary is fed", ("setting", "what is done"), (
    (
        "`center_writing_weights` (GPT-2 releases: trained on TransformerLens' processed model)",
        "in GPT-2, GPT-Neo, GPT-NeoX and GPT-J, `h` is everywhere `resid_post` less its mean over d_model, which is "
        "exactly what that processing leaves; norms, cosines, `relative_shift`, sinks, μ and every control are of "
        "that, isotropic noise is drawn less its mean, and planted changes go along decoder rows less theirs. With "
        "RMSNorm it does nothing; other bases are refused. A note says so",
    ),
    (
        "`normalize_activations`: `layer_norm`, `constant_norm_rescale`",
        "by sae-lens, token by token: codes are in units of each token's norm, reconstructions are brought back; no "
        "causal check",
    ),
    (
        "`expected_average_only_in`, `covariance_whitening`",
        "folded into the weights, where the registry or the checkpoint's `activation_scaler.json` has the numbers; "
        "else refused",
    ),
    (
        "`apply_b_dec_to_input`, `rescale_acts_by_decoder_norm`",
        "by sae-lens; with the latter a code carries the norm already, and rows of W_dec count as of length 1",
    ),
    ("`prepend_bos`", "`prepend_bos: auto` does the same; where the run does otherwise, a note"),
    (
        "`context_size`, `model_name`, `seqpos_slice`, `exclude_special_tokens`, a revision of the model",
        "a note where the run differs: longer windows, another name",
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
    ("`n_documents`", "documents in which it fires in either model"),
    (
        "`kind`",
        f"by the sign of shift: down `vanished` (suppression ≥ {NEARLY_ALL}) or `attenuated`; up `appeared` (emergence ≥ "
        f"{NEARLY_ALL}) or "
        "`amplified`; `unchanged` at exactly 0",
    ),
))  # fmt: skip

CONTROLS = Section("The noise floor: controls", ("control", "what is encoded instead of h_b", "going beyond it means"), (
    (
        "`rerun`",
        "h_a again, in batches of another shape, on a tenth of the documents (by hash)",
        "more than numerical noise",
    ),
    ("`isotropic`", "h_a + a random direction with the token's own ‖δ‖", "more than a shift of that size"),
    (
        "`shuffled`",
        "h_a + δ of a donor token (same domain, segment and position bin, another document, from the pilot), rescaled "
        "to the token's own ‖δ‖",
        "specific to the token, not only to the change's spectrum",
    ),
    ("`mean_shift`", "h_a + mean(δ) of the pilot", "more than a constant offset"),
))  # fmt: skip

EVIDENCE = Section("Evidence about a feature (`feature_stats`)", ("name", "formula"), (
    ("`shift_isotropic`", "mean over the N tokens of (c − a): rectification makes even symmetric noise look like a rise"),
    (
        "`floor`",
        f"{FLOOR_PERCENTILE:.0f}th percentile of \\|shift_isotropic\\| over the {FLOOR_FEATURES} features of the layer "
        f"nearest in `freq_base` (all of "
        "them in a smaller dictionary). It knows how often a feature fires, not how strongly: of two that fire alike, "
        "the one with the larger activations passes it sooner. z and q, which are the feature's own, do not share that",
    ),
    (
        "`z`",
        "D_d = Σ_{t∈d}(b − c) for each document; z = ΣD_d / sqrt(Σ_s V_s), V_s = n_s/(n_s−1) [Σ_{d∈s}D_d² − "
        "(Σ_{d∈s}D_d)²/n_s], strata as for intervals; documents where nothing fires count as 0. Under \"the variant is "
        "noise of that size\" b and c are exchangeable and z is symmetric about 0",
    ),
    (
        "`q`",
        "Benjamini–Hochberg over the testable features of one variant and layer, two-sided p of z from t with "
        "(ΣV_s)²/Σ[V_s²/(n_s − 1)] degrees of freedom: a feature that fires in one small domain has that domain's, not "
        f"the corpus's. *Testable*: n_a + n_b ≥ {TESTABLE_FIRINGS} firings, in ≥ {TESTABLE_DOCUMENTS} documents; neither "
        f"looks at the difference",
    ),
    (
        "`near_threshold`",
        "of the flips (n10 + n01), the share whose firing value lies within 5 % of the threshold (JumpReLU), or of the "
        "smallest kept value of its token (TopK); null for other architectures",
    ),
    (
        "`minimum_detectable`",
        "max(floor, t_{1−α/2}·se) + t_{0.8}·se, se = sqrt(ΣV_s)/N, α the largest p that was rejected, at least 0.05 / "
        f"testable features: the \\|shift\\| that this many documents would have found with power {POWER} (one that lies "
        "exactly at the bar passes it half the time only). Null where untestable: then no shift would have been "
        "claimed. At or above `mean_base`, even a complete loss could have been missed",
    ),
    (
        "`did_shift`",
        "shift on the variant's task domains − shift on the neutral domains (both given in the run's configuration)",
    ),
    ("`kind`", "as above, but `unchanged` wherever \\|shift\\| ≤ floor"),
    (
        "`moved_to`",
        f"a feature with decoder cosine > {SAME_DIRECTION} whose shift has the other sign, is not within noise, and is at "
        f"least half "
        "as large; the nearest such",
    ),
    (
        "`verdict`",
        f"the first that holds: `untestable`; `within noise` (\\|shift\\| ≤ floor, or q ≥ {Q}, or z of the other sign "
        "than shift: a rise smaller than the control's own); `near threshold` (share ≥ ½); `moved`; `does not fit` "
        "(the layer's gate for that variant); else `suppressed` (shift < 0) or `amplified`",
    ),
))  # fmt: skip

CAUSAL_CHECK = Section("The causal check (`python -m extract steer`)", ("what", "how"), (
    (
        "intervention",
        "at every token that counts, in the variant's `resid_post` of that layer. *Restore*, where the pooled shift is "
        "negative: add (a − b)₊·d, what is missing. *Ablate*, where it is positive: subtract (b − a)₊·d, what is too "
        "much. a and b are encoded anew from both models, not read from the store",
    ),
    (
        "contexts",
        "the feature's strongest under the ranking `decrease` (restore) or `increase` (ablate), of each document the "
        "strongest one, at most `--contexts`; the models read the whole context window, with BOS as in the run",
    ),
    (
        "positions",
        "the context's peak and the tokens after it in its window, at most 31: where the change can act, as nothing "
        "before it sees it",
    ),
    (
        "KL",
        "KL(p_a ‖ p_b) of the next token in nats over the words that both models have: mean over positions, then over "
        "contexts, without and with the intervention",
    ),
    ("change", "KL with − KL without: negative means that the variant came nearer to the base"),
    ("interval", "95 %, Student's t over the contexts' own changes, so that it is paired; below 8 contexts there is none"),
    (
        "controls",
        "`--random` other features of the dictionary, drawn by a hash of `--seed` from the 200 that fire in the base "
        "and are nearest to j in log density; the same amounts at the same tokens go along *their* directions. One may "
        "lie close to d by chance: none is left out",
    ),
    (
        "rank",
        "j's place among itself and the controls, lowest KL first; it loses a tie. Rank 1 of 21 comes about once in 21 "
        "times where the feature is no better than they are",
    ),
))  # fmt: skip


def sections() -> list[Section]:
    """Every table, in the order of the page."""
    from_sums, whole = (
        tuple(_row(name, metric) for name, metric in METRICS.items() if bool(metric.formula) == has_formula)
        for has_formula in (True, False)
    )
    columns = ("name", "formula", "unit, range", "excess", "question")
    return [
        FED,
        Section("Per layer, variant, and domain or segment (`layer_metrics`)", columns, from_sums),
        FEATURES,
        CONTROLS,
        Section("Systematic change", columns, whole),
        EVIDENCE,
        CAUSAL_CHECK,
    ]


def _row(name: str, metric: Metric) -> tuple[str, ...]:
    excess = "observed − control" if metric.sign > 0 else "control − observed"
    cells = (metric.definition, _range(metric), excess if metric.has_excess else "–", metric.question)
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
