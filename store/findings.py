"""What a store shows, as a page of Markdown: the figures, how they compare with the source paper's, and what does not follow.

Every sentence is made from the store's numbers; none is written for one store.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from store.reader import Store

PAPER = "arXiv 2605.11426 (Gemma 3 1B, Gemma Scope 2, layers 7 to 22, four single-task SFTs)"
PAPER_COSINE = 0.96
PAPER_LATENT_COSINE = (0.87, 0.56)  # at its first layer, and at most at its last
PAPER_OVERLAP = 0.45
FEATURES_SHOWN = 5
MIN_FIRINGS, MIN_DOCUMENTS, MAX_DENSITY = 50, 20, 0.1
CONTEXT_TOKENS = 14

TABLE = {
    "variant": "variant", "layer": "layer", "cosine": "cosine", "centred_cosine": "centred cosine", "overlap": "overlap",
    "latent_cosine": "latent cosine", "relative_shift": "relative shift", "l0_base": "L0 base", "l0_variant": "L0 variant",
    "fvu_base": "FVU base", "fvu_variant": "FVU variant", "gate": "fit",
}  # fmt: skip


def findings(store: Store) -> str:
    """The page for one store."""
    rows = store.overview()
    counts = store.manifest.counts
    pieces = [
        "# What the store shows",
        f"Generated from the store with digest `{store.manifest.digest[:16]}` by `python -m extract findings`; do not edit. "
        f"Base: {store.manifest.base['name']}. {counts['tokens']:,} tokens of {counts['documents']:,} documents in "
        f"{len(store.domains)} domains ({', '.join(store.domains)}).",
        *(f"> {note}" for note in store.manifest.notes),
        "## The table",
        _markdown(rows[list(TABLE)].rename(columns=TABLE)),
        "## Beside the source paper",
        f"Reference: {PAPER}: raw cosine above {PAPER_COSINE}, latent cosine falling from about {PAPER_LATENT_COSINE[0]} to "
        f"{PAPER_LATENT_COSINE[1]} or less, feature overlap below {PAPER_OVERLAP}. Another model, other dictionaries and text.",
        *(_beside_the_paper(variant, of_variant) for variant, of_variant in rows.groupby("variant", sort=False)),
        "## What does not follow",
        _caution(store),
        "## Features to look at",
        f"For each variant the {FEATURES_SHOWN} features with the largest standardised shift among those that fire on at least "
        f"{MIN_FIRINGS} tokens of {MIN_DOCUMENTS} documents, on at most {MAX_DENSITY:.0%} of the tokens, have a label, and "
        "whose layer's dictionary fits. Labels are automatic unless imported. The ranking is correlational.",
        *(_features(store, variant) for variant in store.variants),
    ]
    return "\n\n".join(pieces) + "\n"


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


def _caution(store: Store) -> str:
    controls = set(store.controls()["control"]) - {"observed"}
    if controls:
        return f"Controls in this store: {', '.join(sorted(controls))}. Overlap is to be read against them, not by itself."
    return (
        "This store holds no noise floor. A fall in overlap or latent cosine beside a high cosine is also what a *random* "
        "change of the same size produces, so nothing above shows that the change is systematic."
    )


def _features(store: Store, variant: str) -> str:
    found = store.shifted_features(variant=variant, sort="std_shift", min_firings=MIN_FIRINGS, limit=None)
    found = found[
        (found["n_documents"] >= MIN_DOCUMENTS)
        & (found["density"] <= MAX_DENSITY)
        & (found["gate"] == "fits")
        & found["label"].notna()
    ].head(FEATURES_SHOWN)
    lines = [_feature_line(store, variant, row) for _, row in found.iterrows()]
    return f"### {variant}\n\n" + ("\n".join(lines) or "No feature meets these conditions: too few documents, or no label.")


def _feature_line(store: Store, variant: str, row: pd.Series) -> str:
    ranking = "decrease" if row["shift"] < 0 else "increase"
    contexts = store.contexts(row["layer"], row["feature"], variant, ranking, limit=1)
    example = f" {_context(contexts.iloc[0])}" if len(contexts) else ""
    return (
        f"- **L{row['layer']}:{row['feature']}** {_escape(row['label'])}: {row['kind']}, fires on {row['freq_base']:.2%} of "
        f"tokens in the base, {row['freq_variant']:.2%} in the variant ({row['std_shift']:+.2f} standard deviations).{example}"
    )


def _context(context: pd.Series) -> str:
    """A few tokens around the peak, which is bold."""
    peak, tokens = int(context["peak"]), list(context["tokens"])
    start = max(0, peak - CONTEXT_TOKENS // 2)
    before, at, after = tokens[start:peak], tokens[peak], tokens[peak + 1 : start + CONTEXT_TOKENS]
    marked = f"{_escape(''.join(before))} **{_escape(at).strip()}** {_escape(''.join(after))}"
    values = f"{context['base_values'][peak]:.3g} → {context['variant_values'][peak]:.3g}"
    return f"{context['domain']}: “{' '.join(marked.split())}” ({values})"


def _escape(text: str) -> str:
    """Text that Markdown and HTML take as text."""
    flat = " ".join(str(text).split("\n")).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", flat)


def _markdown(frame: pd.DataFrame) -> str:
    rows = [list(frame.columns), ["---"] * len(frame.columns)]
    rows += [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
