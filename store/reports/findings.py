"""What a store shows, as a page of Markdown: what each change amounts to, the figures, and what does not reproduce.

Every sentence is made from the store's numbers; none is written for one store.
"""

from __future__ import annotations

import html
from itertools import islice
from typing import TYPE_CHECKING

import pandas as pd

from store.metrics import change_summary as story
from store.names import ALL
from store.read.lists import SUPPORTED, TELLING_DENSITY
from store.sidecar.entries import read_steering
from store.text import markdown
from store.token_text import cut

if TYPE_CHECKING:
    from store.read.connection import Store

PAPER = "arXiv 2605.11426 (Gemma 3 1B, Gemma Scope 2, layers 7 to 22, four single-task SFTs)"
PAPER_COSINE = 0.96
PAPER_LATENT_COSINE = (0.87, 0.56)  # at its first layer, and at most at its last
PAPER_OVERLAP = 0.45
FEATURES_SHOWN = 5
LINE_BREAK, SPACES = "⏎", "␣"
MIN_FIRINGS, MIN_DOCUMENTS, MAX_DENSITY = 50, 20, 0.1
CONTEXT_TOKENS = 14
FEW_MARK = "°"

TABLE = {
    "variant": "variant", "layer": "layer", "relative_shift": "relative shift", "cosine": "cosine",
    "centred_cosine": "centred cosine", "overlap": "overlap", "overlap_isotropic": "overlap under noise",
    "excess": "excess [95 %]", "latent_cosine": "latent cosine", "l0_base": "L0 base", "l0_variant": "L0 variant",
    "l0_inflation": "L0 inflation", "l0_inflation_isotropic": "inflation under noise",
    "n_beyond_noise": "features beyond noise", "systematic_share": "systematic share", "fvu_base": "FVU base",
    "fvu_variant": "FVU variant", "gate": "fit",
}  # fmt: skip
OF_CONTROLS = ("overlap_isotropic", "excess", "l0_inflation_isotropic", "n_beyond_noise", "systematic_share")


def findings(store: Store) -> str:
    """The page for one store."""
    rows = store.overview()
    counts = store.manifest.counts
    has_verdicts = store.has_verdicts()
    pieces = [
        "# What the store shows",
        f"Generated from the store with digest `{store.manifest.digest[:16]}` by `python -m extract findings`; do not edit. "
        f"Base: {_escape(store.manifest.base['name'])}. {counts['tokens']:,} tokens of {counts['documents']:,} documents in "
        f"{len(store.domains)} domains ({_escape(', '.join(store.domains))}).",
        *(f"> {_escape(note)}" for note in store.manifest.notes),
        "## What each change amounts to",
        *_stories(store),
        "## The table",
        _markdown(_table(rows, has_verdicts)),
        *([_TABLE_NOTE] if has_verdicts else []),
        "## Beside the source paper",
        f"Reference: {PAPER}: raw cosine above {PAPER_COSINE}, latent cosine falling from about {PAPER_LATENT_COSINE[0]} to "
        f"{PAPER_LATENT_COSINE[1]} or less, feature overlap below {PAPER_OVERLAP}. Another model, other dictionaries and text.",
        *(_beside_the_paper(variant, of_variant) for variant, of_variant in rows.groupby("variant", sort=False)),
        "## What does not reproduce, and what does not follow",
        "\n".join(f"- {line}" for line in _cautions(rows, has_verdicts)),
        "## Features to look at",
        _chosen_how(has_verdicts),
        *(_features(store, variant, has_verdicts) for variant in store.variants),
        *_causal_checks(store),
    ]
    return "\n\n".join(pieces) + "\n"


_TABLE_NOTE = (
    "All domains together. Under noise: the base plus a random change of the variant's size. Excess: overlap under noise minus "
    "overlap, so that above 0 more features changed than under noise; in brackets its 95 % interval over documents. Features "
    "beyond noise: those that move further than noise moves any feature of the layer."
)


def _stories(store: Store) -> list[str]:
    """For each variant the three sentences at the last layer, all text together; then each domain and layer in a word."""
    domains = (ALL, *store.domains)
    told = {}
    for domain in domains:
        rows = store.layer_metrics(domain=domain, segment=ALL)
        down = store.beyond_noise(domain).set_index(["variant", "layer"])["n_down"]
        for key, group in rows.groupby(["variant", "layer"]):
            told[(*key, domain)] = story.tell(group, down.get(key))
    last = store.layers[-1]
    pieces = []
    for variant in store.variants:
        here = told[variant, last, ALL]
        lines = [f"- {sentence.text}" for sentence in (here.size, here.overlap, here.systematic)]
        pieces.append("\n".join([f"**{variant}**, layer {last}, all text: {here.headline}.", "", *lines]))
    words = [
        [variant, layer, *(_headline(told.get((variant, layer, domain))) for domain in domains)]
        for variant in store.variants
        for layer in store.layers
    ]
    occur = {word.removesuffix(f" {FEW_MARK}") for row in words for word in row[2:]}
    meanings = "; ".join(f"*{name}*: {meaning}" for name, meaning in story.HEADLINES.items() if name in occur)
    table = pd.DataFrame(words, columns=["variant", "layer", *map(_escape, domains)])
    few = f" {FEW_MARK} rests on fewer than {story.MIN_DOCUMENTS} documents, and may not hold beyond them."
    marked = any(word.endswith(FEW_MARK) for row in words for word in row[2:])
    return [*pieces, "In a word, by layer and domain:", _markdown(table), f"{meanings}.{few if marked else ''}"]


def _headline(told: story.Story | None) -> str:
    if told is None:
        return "–"
    return f"{told.headline} {FEW_MARK}" if told.few_documents and told.headline != "too few documents" else told.headline


def _table(rows: pd.DataFrame, has_verdicts: bool) -> pd.DataFrame:
    """The headline numbers with the columns of TABLE; those of controls only where there are controls."""
    shown = rows[[name for name in TABLE if has_verdicts or name not in OF_CONTROLS]].copy()
    if has_verdicts:
        shown["excess"] = [
            _interval(*row) for row in rows[["excess", "excess_low", "excess_high"]].itertuples(index=False, name=None)
        ]
        shown["n_beyond_noise"] = ["–" if pd.isna(n) else f"{int(n):,}" for n in rows["n_beyond_noise"]]
    shown["gate"] = shown["gate"].map(_escape, na_action="ignore")
    return shown.rename(columns=TABLE)


def _interval(value: float, low: float | None, high: float | None, too_few: str = "documents") -> str:
    if pd.isna(value):
        return "–"
    return f"{value:+.3f} (too few {too_few})" if pd.isna(low) or pd.isna(high) else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _beside_the_paper(variant: str, rows: pd.DataFrame) -> str:
    """One paragraph: which of the paper's three figures the variant shows over all its text."""
    first, last = rows.iloc[0], rows.iloc[-1]
    above = int((rows["cosine"] > PAPER_COSINE).sum())
    below = int((rows["overlap"] < PAPER_OVERLAP).sum())
    falls = "falls" if last["latent_cosine"] < first["latent_cosine"] else "does not fall"
    reached = "reproduces" if last["latent_cosine"] <= PAPER_LATENT_COSINE[1] else "does not reproduce"
    return (
        f"**{variant}**: cosine is above {PAPER_COSINE} at {above} of {len(rows)} layers; latent cosine {falls} from "
        f"{first['latent_cosine']:.2f} (layer {first['layer']}) to {last['latent_cosine']:.2f} (layer {last['layer']}), which "
        f"{reached} the paper's depth of fall; overlap is below {PAPER_OVERLAP} at {below} of {len(rows)} layers "
        f"(lowest {rows['overlap'].min():.2f})."
    )


def _cautions(rows: pd.DataFrame, has_verdicts: bool) -> list[str]:
    """What a reader must not conclude, a sentence each, over all variants and layers."""
    if not has_verdicts:
        return [
            "This store holds no noise floor. A fall in overlap or latent cosine beside a high cosine is also what a *random* "
            "change of the same size produces, so nothing above shows that the change is systematic."
        ]
    tested = rows[rows["excess_low"].notna()]
    more = tested[(tested["excess_low"] > 0) & (tested["excess"] >= story.MATERIAL_EXCESS)]
    lines = []
    if len(tested):
        lines.append(
            f"A low overlap as evidence of learning: at {len(tested) - len(more)} of {len(tested)} variants and layers no more "
            "features changed than a random change of the same size changes."
        )
    if len(tested) < len(rows):
        lines.append(f"At {len(rows) - len(tested)} of {len(rows)} variants and layers there are too few documents to say.")
    paper = rows[(rows["cosine"] > PAPER_COSINE) & (rows["overlap"] < PAPER_OVERLAP)]
    pair = f"cosine above {PAPER_COSINE} with overlap below {PAPER_OVERLAP}"
    said = f"The paper's pair, {pair}, occurs at {len(paper)} of {len(rows)} variants and layers"
    if len(paper):
        explained = len(paper.drop(more.index, errors="ignore"))
        said += f"; at {explained} of these nothing shows that it is more than the change's size"
    lines.append(f"{said}.")
    few = rows[rows["n_beyond_noise"] < story.MIN_BEYOND_NOISE]
    if len(few):
        lines.append(
            f"Features that move further than noise can: at {len(few)} of {len(rows)} variants and layers there are fewer than "
            f"{story.MIN_BEYOND_NOISE}, which chance alone may give."
        )
    unfit = rows[rows["gate"] == "does not fit"]
    if len(unfit):
        places = ", ".join(f"{row.variant} at layer {row.layer}" for row in unfit.itertuples())
        lines.append(f"Nothing said of single features holds where the dictionary does not fit: {places}.")
    lines.append("No ranking here is causal; `python -m extract steer` tests one feature at a time.")
    return lines


def _chosen_how(has_verdicts: bool) -> str:
    if has_verdicts:
        return (
            f"For each variant {FEATURES_SHOWN} features of those called suppressed or amplified (beyond the floor, q < 0.05 "
            "over documents, not at a threshold, not taken over by a neighbour, the dictionary fits), furthest over their "
            f"floor first. Before all others come those that fire on at most {TELLING_DENSITY:.0%} of the tokens, quote a word "
            "in their label, moved more on the variant's own task than on all text, and hardly on the chat template's tokens. "
            f"Each has a context. Labels are automatic unless imported. {LINE_BREAK} is a line's end, {SPACES} a run of spaces."
        )
    return (
        f"For each variant the {FEATURES_SHOWN} features with the largest standardised shift among those that fire on at least "
        f"{MIN_FIRINGS} tokens of {MIN_DOCUMENTS} documents, on at most {MAX_DENSITY:.0%} of the tokens, have a label, and "
        "whose layer's dictionary fits. Labels are automatic unless imported. The ranking is correlational."
    )


def _features(store: Store, variant: str, has_verdicts: bool) -> str:
    if has_verdicts:
        found = store.shifted_features(variant=variant, sort="striking", verdicts=SUPPORTED, limit=None)
    else:
        found = store.shifted_features(variant=variant, sort="std_shift", min_firings=MIN_FIRINGS, limit=None)
        found = found[(found["n_documents"] >= MIN_DOCUMENTS) & (found["gate"] == "fits")]
    found = found[(found["density"] <= MAX_DENSITY) & found["label"].notna()]
    told = ((row, _example(store, variant, row)) for _, row in found.iterrows())
    lines = [_feature_line(row, context) for row, context in islice((t for t in told if t[1] is not None), FEATURES_SHOWN)]
    none = "No feature meets these conditions: nothing claimed, too few documents, or no label."
    return f"### {variant}\n\n" + ("\n".join(lines) or none)


def _feature_line(row: pd.Series, context: pd.Series) -> str:
    said, evidence = row["kind"], f"{row['std_shift']:+.2f} standard deviations"
    if isinstance(row["verdict"], str):
        said = row["verdict"]
        over = "noise moves no such feature" if row["floor"] == 0 else f"{row['floor_ratio']:.1f} times its floor"
        q = "q < 0.0001" if row["q"] < 1e-4 else f"q = {row['q']:.4f}"
        evidence = f"shift {row['shift']:+.3g}, {over}; z = {row['z']:+.1f}, {q}"
    return (
        f"- **L{row['layer']}:{row['feature']}** {_escape(row['label'])}: {_escape(said)}, fires on {row['freq_base']:.2%} of "
        f"tokens in the base, {row['freq_variant']:.2%} in the variant ({evidence}). {_context(context)}"
    )


def _causal_checks(store: Store) -> list[str]:
    """A table of the checks in the store's sidecar; nothing where none was made."""
    checks = read_steering(store.path, store.manifest.digest)
    if not checks:
        return []
    labels = store.sql("SELECT layer, feature, label FROM features").set_index(["layer", "feature"])["label"]
    rows = [
        {
            "variant": check.variant,
            "feature": f"L{check.layer}:{check.feature} {_escape(labels.get((check.layer, check.feature)) or '')}",
            "done": _escape(check.mode),
            "KL before": check.kl_before,
            "after": check.kl_after,
            "change [95 %]": _interval(check.change, check.low, check.high, "contexts"),
            "rank": f"{check.rank} of {len(check.controls) + 1}",
        }
        for check in checks
    ]
    return ["## Causal checks", _CHECKS_NOTE, _markdown(pd.DataFrame(rows))]


_CHECKS_NOTE = (
    "What undoing one feature's change does to the variant's next-token prediction: *restore* gives back what the variant "
    "lacks of the feature, *ablate* takes away what it has more of, on the contexts where it changed most. KL(base || variant) "
    "in nats, its change with a 95 % interval over contexts; below 0 the variant comes nearer to the base. Rank: among the "
    "same amounts along random features of like frequency, nearest to the base first; only a rank near 1 speaks for this one."
)


def _example(store: Store, variant: str, row: pd.Series) -> pd.Series | None:
    """The context of the largest change; none where the store keeps none."""
    ranking = "decrease" if row["shift"] < 0 else "increase"
    contexts = store.best_context(row["layer"], row["feature"], variant, ranking)
    return contexts.iloc[0] if len(contexts) else None


def _context(context: pd.Series) -> str:
    """A few tokens around the peak, which is bold."""
    peak, tokens = int(context["peak"]), list(context["tokens"])
    values = f"{context['base_values'][peak]:.3g} → {context['variant_values'][peak]:.3g}"
    while peak and not tokens[peak]:  # it only goes on with a character, which stands further in front
        peak -= 1
    start = max(0, peak - CONTEXT_TOKENS // 2)
    before, at, after = cut(tokens, start, peak), tokens[peak], tokens[peak + 1 : start + CONTEXT_TOKENS]
    marked = f"{_escape(''.join(before))} **{_escape(at).strip() or SPACES}** {_escape(''.join(after))}"
    return f"{_escape(context['domain'])}: “{' '.join(marked.split())}” ({values})"


def _escape(text: str) -> str:
    """Text that Markdown and HTML take as text."""
    flat = str(text).replace("\n", f" {LINE_BREAK} ")
    return html.escape(markdown(flat, "\\`*_[]|#$~"), quote=False)


def _markdown(frame: pd.DataFrame) -> str:
    rows = [list(frame.columns), ["---"] * len(frame.columns)]
    rows += [[_cell(cell) for cell in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.3f}"
    return str(value)
