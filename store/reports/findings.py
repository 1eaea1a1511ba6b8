"""What a store shows, as a page of Markdown (findings.md.j2): what each change amounts to, and what does not reproduce."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from store.metrics import change_summary
from store.names import ALL, SUPPORTED
from store.numbers import UNKNOWN, count, fixed, json_value, significant
from store.read.feature_filter import TELLING_DENSITY
from store.read.store import Store
from store.sidecar.entries import read_steering
from store.templates import macros
from store.text import markdown
from store.token_text import cut

PAPER = {
    "name": "arXiv 2605.11426 (Gemma 3 1B, Gemma Scope 2, layers 7 to 22, four single-task SFTs)", "cosine": 0.96,
    "first": 0.87, "last": 0.56, "overlap": 0.45,
}  # fmt: skip
"""What the paper found: a cosine above, a latent cosine that falls from its first layer to at most this, an overlap below."""

FEATURES_SHOWN = 5
LINE_BREAK, SPACES = "⏎", "␣"
MIN_FIRINGS, MIN_DOCUMENTS, MAX_DENSITY = 50, 20, 0.1
CONTEXT_TOKENS = 14
FEW_MARK = "°"

TABLE = {
    "variant": "variant", "layer": "layer", "relative_shift": "relative shift", "cosine": "cosine",
    "centred_cosine": "centred cosine", "overlap": "overlap", "overlap_isotropic": "overlap under noise",
    "excess": Markup("excess [95 %]"), "latent_cosine": "latent cosine", "l0_base": "L0 base", "l0_variant": "L0 variant",
    "l0_inflation": "L0 inflation", "l0_inflation_isotropic": "inflation under noise",
    "n_beyond_noise": "features beyond noise", "systematic_share": "systematic share", "fvu_base": "FVU base",
    "fvu_variant": "FVU variant", "gate": "fit",
}  # fmt: skip
OF_CONTROLS = ("overlap_isotropic", "excess", "l0_inflation_isotropic", "n_beyond_noise", "systematic_share")


def findings(store: Store) -> str:
    """The page for one store."""
    rows, has_verdicts = store.overview(), store.has_verdicts()
    about = {
        "digest": store.manifest.digest[:16], "base": store.manifest.base["name"], "counts": store.manifest.counts,
        "domains": store.domains, "notes": store.manifest.notes, "layers": store.layers, "has_verdicts": has_verdicts,
    }  # fmt: skip
    told = _told(store)
    page = PAGE.page(
        about,
        {variant: told[variant, store.layers[-1], ALL] for variant in store.variants},
        _in_a_word(store, told),
        _table(rows, has_verdicts),
        PAPER | {"variants": [_beside_the_paper(*group) for group in rows.groupby("variant", sort=False)]},
        _cautions(rows),
        {variant: list(_features(store, variant, has_verdicts)) for variant in store.variants},
        _causal_checks(store),
    )
    return re.sub(r"\n{3,}", "\n\n", str(page)).strip() + "\n"


def _told(store: Store) -> dict[tuple[str, int, str], change_summary.ChangeSummary]:
    """(variant, layer, domain) -> its three sentences."""
    told = {}
    for domain in (ALL, *store.domains):
        rows = store.layer_metrics(domain=domain, segment=ALL)
        down = store.beyond_noise(domain).set_index(["variant", "layer"])["n_down"]
        for key, group in rows.groupby(["variant", "layer"]):
            told[(*key, domain)] = change_summary.summarise(group, down.get(key))
    return told


def _in_a_word(store: Store, told: dict[tuple[str, int, str], change_summary.ChangeSummary]) -> dict[str, Any]:
    """A table of headlines by variant, layer and domain, what those that occur mean, and whether any rests on few documents."""
    domains = (ALL, *store.domains)
    words = {
        (variant, layer): [_headline(told.get((variant, layer, domain))) for domain in domains]
        for variant in store.variants
        for layer in store.layers
    }
    said = {word for row in words.values() for word in row}
    occur = {word.removesuffix(f" {FEW_MARK}") for word in said}
    return {
        "titles": ("variant", "layer", *domains),
        "rows": [(*key, *row) for key, row in words.items()],
        "meanings": {name: meaning for name, meaning in change_summary.HEADLINES.items() if name in occur},
        "few": any(word.endswith(FEW_MARK) for word in said),
    }


def _headline(told: change_summary.ChangeSummary | None) -> str:
    if told is None:
        return UNKNOWN
    return f"{told.headline} {FEW_MARK}" if told.few_documents and told.headline != "too few documents" else told.headline


def _table(rows: pd.DataFrame, has_verdicts: bool) -> dict[str, Any]:
    """The headline numbers with the columns of TABLE; those of controls only where there are controls."""
    names = [name for name in TABLE if has_verdicts or name not in OF_CONTROLS]
    return {
        "titles": [TABLE[name] for name in names],
        "rows": [[_cell(row, name) for name in names] for row in map(json_value, rows.to_dict("records"))],
    }


def _cell(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if value is None:
        return UNKNOWN
    if name == "excess":
        return PAGE.interval(value, row["excess_low"], row["excess_high"], "documents")
    if name == "n_beyond_noise":
        return count(value)
    return fixed(value, 3) if isinstance(value, float) else str(value)


def _beside_the_paper(variant: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Which of the paper's three figures the variant shows over all its text."""
    first, last = rows.iloc[0], rows.iloc[-1]
    return {
        "variant": variant,
        "layers": len(rows),
        "above": int((rows["cosine"] > PAPER["cosine"]).sum()),
        "below": int((rows["overlap"] < PAPER["overlap"]).sum()),
        "first": first,
        "last": last,
        "falls": last["latent_cosine"] < first["latent_cosine"],
        "reproduces": last["latent_cosine"] <= PAPER["last"],
        "lowest": rows["overlap"].min(),
    }


def _cautions(rows: pd.DataFrame) -> dict[str, Any]:
    """At how many variants and layers something holds that a reader must not take for more; where the dictionary is unfit."""
    tested = rows[rows["excess_low"].notna()]
    more = tested[(tested["excess_low"] > 0) & (tested["excess"] >= change_summary.MATERIAL_EXCESS)]
    pair = rows[(rows["cosine"] > PAPER["cosine"]) & (rows["overlap"] < PAPER["overlap"])]
    return {
        "all": len(rows),
        "tested": len(tested),
        "more": len(more),
        "pair": len(pair),
        "explained": len(pair.drop(more.index, errors="ignore")),
        "few": int((rows["n_beyond_noise"] < change_summary.MIN_BEYOND_NOISE).sum()),
        "unfit": rows[rows["gate"] == "does not fit"][["variant", "layer"]].to_dict("records"),
    }


def _features(store: Store, variant: str, has_verdicts: bool) -> Iterable[tuple[dict[str, Any], Markup]]:
    """The first features that meet the page's conditions and have a context."""
    if has_verdicts:
        found = store.shifted_features(variant=variant, sort="striking", verdicts=SUPPORTED, limit=None)
    else:
        found = store.shifted_features(variant=variant, sort="std_shift", min_firings=MIN_FIRINGS, limit=None)
        found = found[(found["n_documents"] >= MIN_DOCUMENTS) & (found["gate"] == "fits")]
    found = found[(found["density"] <= MAX_DENSITY) & found["label"].notna()]
    told = ((row, _example(store, variant, row)) for row in map(json_value, found.to_dict("records")))
    return islice(((row, _context(context)) for row, context in told if context is not None), FEATURES_SHOWN)


def _causal_checks(store: Store) -> list[tuple]:
    """A row for each of the checks in the store's sidecar."""
    checks = read_steering(store.path, store.manifest.digest)
    labels = store.sql("SELECT layer, feature, label FROM features").set_index(["layer", "feature"])["label"] if checks else {}
    return [
        (
            check.variant,
            f"L{check.layer}:{check.feature} {labels.get((check.layer, check.feature)) or ''}",
            check.mode,
            fixed(check.kl_before, 3),
            fixed(check.kl_after, 3),
            PAGE.interval(check.change, check.low, check.high, "contexts"),
            f"{check.rank} of {len(check.controls) + 1}",
        )
        for check in checks
    ]


def _example(store: Store, variant: str, row: dict[str, Any]) -> pd.Series | None:
    """The context of the largest change; none where the store keeps none."""
    ranking = "decrease" if row["shift"] < 0 else "increase"
    contexts = store.best_context(row["layer"], row["feature"], variant, ranking)
    return contexts.iloc[0] if len(contexts) else None


def _context(context: pd.Series) -> Markup:
    """A few tokens around the peak, which is bold."""
    peak, tokens = int(context["peak"]), list(context["tokens"])
    base, variant = (significant(context[name][peak]) for name in ("base_values", "variant_values"))
    while peak and not tokens[peak]:  # it only goes on with a character, which stands further in front
        peak -= 1
    start = max(0, peak - CONTEXT_TOKENS // 2)
    before, at, after = cut(tokens, start, peak), tokens[peak], tokens[peak + 1 : start + CONTEXT_TOKENS]
    marked = f"{escaped(''.join(before))} **{escaped(at).strip() or SPACES}** {escaped(''.join(after))}"
    return Markup(f"{escaped(context['domain'])}: “{' '.join(marked.split())}” ({base} → {variant})")


def escaped(value: object) -> Markup:
    """What Markdown and HTML take as text; as it is where it is Markdown of ours already."""
    if isinstance(value, Markup):
        return value
    flat = str(value).replace("\n", f" {LINE_BREAK} ")
    return Markup(html.escape(markdown(flat, "\\`*_[]|#$~"), quote=False))


PAGE = macros(
    Path(__file__).with_name("findings.md.j2"), escaped, few_mark=FEW_MARK, line_break=LINE_BREAK, spaces=SPACES,
    limits={
        "FEATURES_SHOWN": FEATURES_SHOWN, "MIN_FIRINGS": MIN_FIRINGS, "FEATURE_DOCUMENTS": MIN_DOCUMENTS,
        "MAX_DENSITY": f"{MAX_DENSITY:.0%}", "TELLING_DENSITY": f"{TELLING_DENSITY:.0%}",
        "MIN_DOCUMENTS": change_summary.MIN_DOCUMENTS, "MIN_BEYOND_NOISE": change_summary.MIN_BEYOND_NOISE,
    },
)  # fmt: skip
