"""What a store shows, as a page of Markdown (findings.md.j2): what each change amounts to, and what does not reproduce."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from store.metrics.change_summary import ChangeSummary
from store.metrics.feature_columns import share
from store.metrics.reasons import reason
from store.metrics.thresholds import DENSE, MIN_CLUSTERS, SEEN_CLUSTERS, SEEN_FIRINGS
from store.names import ALL, CLAIMED, OBSERVED
from store.numbers import UNKNOWN, count, fixed, json_value, listing, percent, significant
from store.read.store import Store
from store.reports.courses import courses, earlier_checkpoints
from store.reports.learning import foremost_layer
from store.reports.summaries import sentences, summaries, with_unseen
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
WORDS_SHOWN = 10
LINE_BREAK, SPACES = "⏎", "␣"
CONTEXT_TOKENS = 14

TABLE = {
    "variant": "variant", "layer": "layer", "relative_shift": "relative shift", "cosine": "cosine",
    "centred_cosine": "centred cosine", "overlap": "overlap", "overlap_isotropic": "random shift",
    "overlap_twin": "random changes", "latent_cosine": "latent cosine", "latent_cosine_twin": "random changes",
    "l0_base": "L0 base", "l0_variant": "L0 variant", "l0_inflation": "L0 inflation", "l0_inflation_isotropic": "random shift",
    "l0_inflation_twin": "random changes", "n_halved": "lost half or more", "n_halved_twin": "random changes",
    "n_doubled": "doubled or more", "n_doubled_twin": "random changes", "n_suppressed": "suppressed",
    "n_amplified": "amplified", "not_seen": "could not be seen", "never_fired": "never fired", "fvu_base": "FVU base",
    "fvu_variant": "FVU variant", "gate": "fit",
}  # fmt: skip
COUNTS = ("n_halved", "n_doubled", "n_suppressed", "n_amplified", "not_seen", "never_fired")


def findings(store: Store) -> str:
    """The page for one store."""
    rows, told, earlier = store.overview(), summaries(store), earlier_checkpoints(store)
    about = {
        "digest": store.manifest.digest[:16], "base": store.manifest.base["name"], "counts": store.manifest.counts,
        "domains": store.domains, "notes": store.manifest.notes, "has_verdicts": store.has_verdicts(),
    }  # fmt: skip
    groups = _groups(store)
    of_variants = rows[~rows["variant"].isin(earlier)].groupby("variant", sort=False)
    page = PAGE.page(
        about,
        groups,
        sentences(store, told),
        told,
        _table(store, rows),
        PAPER | {"variants": [_beside_the_paper(*group) for group in of_variants]},
        _cautions(rows, told),
        {first: _carried(store, first) for first in groups} if store.has_contributions else {},
        {first: _claims(store, first) for first in groups},
        _causal_checks(store),
        courses(store),
    )
    return re.sub(r"\n{3,}", "\n\n", str(page)).strip() + "\n"


def _groups(store: Store) -> dict[str, list[str]]:
    """First variant -> all of its group, those of several runs first; of a training with checkpoints only the last's."""
    rows = store.groups()
    rows = rows[~rows["first"].isin(earlier_checkpoints(store))]
    groups = rows.groupby("first", sort=False)["variant"].apply(list).to_dict()
    return dict(sorted(groups.items(), key=lambda item: len(item[1]) == 1))


def _table(store: Store, rows: pd.DataFrame) -> dict[str, Any]:
    """The headline numbers with those columns of TABLE that the store has anything in."""
    records = map(json_value, with_unseen(store, rows).to_dict("records"))
    cells = [{name: _cell(row, name) for name in TABLE} for row in records]
    names = [name for name in TABLE if any(row[name] != UNKNOWN for row in cells)]
    return {"titles": [TABLE[name] for name in names], "rows": [[row[name] for name in names] for row in cells]}


def _cell(row: dict[str, Any], name: str) -> str:
    write = count if name.removesuffix("_twin") in COUNTS else lambda value: fixed(value, 3)
    if name.endswith("_twin"):
        low, high = (write(row[f"{name}_{end}"]) for end in ("low", "high"))
        return low if low == high else f"{low} to {high}"
    value = row.get(name)
    if value is None:
        return UNKNOWN
    return write(value) if isinstance(value, float) or name in COUNTS else str(value)


def _beside_the_paper(variant: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Which of the paper's three figures the variant shows over all its text."""
    first, last = rows.iloc[0], rows.iloc[-1]
    twins = [fixed(last[f"latent_cosine_twin_{end}"], 2) for end in ("low", "high")]
    return {
        "variant": variant,
        "layers": len(rows),
        "above": int((rows["cosine"] > PAPER["cosine"]).sum()),
        "below": int((rows["overlap"] < PAPER["overlap"]).sum()),
        "first": first,
        "last": last,
        "falls": last["latent_cosine"] < first["latent_cosine"],
        "reaches": last["latent_cosine"] <= PAPER["last"],
        "of_twins": "" if UNKNOWN in twins else " to ".join(dict.fromkeys(twins)),
        "lowest": rows["overlap"].min(),
    }


def _cautions(rows: pd.DataFrame, told: Mapping[str, Mapping[int, ChangeSummary]]) -> dict[str, Any]:
    """At how many variants and layers something holds that a reader must not take for more; where the dictionary is unfit."""
    keys = list(zip(rows["variant"], rows["layer"], strict=True))
    explained = pd.Series([told[variant][layer].overlap.level == "explained" for variant, layer in keys], rows.index)
    pair = (rows["cosine"] > PAPER["cosine"]) & (rows["overlap"] < PAPER["overlap"])
    return {
        "all": len(rows),
        "explained": int(explained.sum()),
        "halved_in_twins": int((rows["n_halved"] <= rows["n_halved_twin_high"]).sum()),
        "doubled_in_twins": int((rows["n_doubled"] <= rows["n_doubled_twin_high"]).sum()),
        "pair": int(pair.sum()),
        "pair_explained": int((pair & explained).sum()),
        "few": any(summary.few_clusters for of_layer in told.values() for summary in of_layer.values()),
        "unfit": rows[rows["gate"] == "does not fit"][["variant", "layer"]].to_dict("records"),
    }


def _claims(store: Store, variant: str) -> dict[str, Any]:
    """The claimed features of a group, by its first variant: of each verdict the largest changes, and how many more."""
    shown, left, judged = [], 0, store.has_verdicts(variant)
    for verdict in CLAIMED if judged else ():
        chosen = {"variant": variant, "verdicts": verdict}
        found = store.shifted_features(**chosen, sort="evidence", limit=FEATURES_SHOWN)
        left += int(store.count_features(**chosen)["count"].sum()) - len(found)
        shown += [_claim(store, variant, row) for row in map(json_value, found.to_dict("records"))]
    dense = store.hidden_dense(variant, verdicts=CLAIMED)
    return {"shown": shown, "left": left, "dense": dense, "judged": judged}


def _claim(store: Store, variant: str, row: dict[str, Any]) -> dict[str, Any]:
    runs = store.replicate_changes(row["layer"], row["feature"], variant)
    changes = [f"{run} {share(change)}" for run, change in zip(runs["variant"], runs["change"], strict=True)]
    context = _example(store, variant, row)
    return row | {
        "reason": reason(row),
        "runs": listing(changes) if len(changes) > 1 else "",
        "context": "" if context is None else _context(context),
    }


def _carried(store: Store, variant: str) -> dict[str, Any]:
    """Through which features a group's first variant learned most, at the layer whose features make most; and its words."""
    found = foremost_layer(store, variant)
    if found is None:
        return {"features": [], "rose": [], "said": []}
    domain, through = found
    rows = store.contributions(variant, through.layer, domain, through.order, FEATURES_SHOWN)
    rose = store.word_changes(variant, domain)
    said = store.change_words(variant, through.layer)
    here = (said["component"] == 0) & (said["slot"] == "opening") & (said["against"] == "others") & (said["domain"] == domain)
    return {
        "features": [_contribution(store, variant, row) for row in map(json_value, rows.to_dict("records"))],
        "rose": rose.loc[(rose["control"] == OBSERVED) & (rose["change"] > 0), "token"].head(WORDS_SHOWN).to_list(),
        "said": said.loc[here, "token"].head(WORDS_SHOWN).to_list(),
    }


def _contribution(store: Store, variant: str, row: dict[str, Any]) -> dict[str, Any]:
    stats = store.feature_stats(row["layer"], row["feature"], variant)
    pooled = stats[stats["domain"] == ALL]
    context = _example(store, variant, pooled.iloc[0]) if len(pooled) else None
    return row | {"context": "" if context is None else _context(context)}


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


def _example(store: Store, variant: str, row: Mapping[str, Any]) -> pd.Series | None:
    """The context of the largest change; none where the store keeps none."""
    ranking = "decrease" if row["change"] < 0 else "increase"
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
    Path(__file__).with_name("findings.md.j2"), escaped, line_break=LINE_BREAK, spaces=SPACES,
    limits={"FEATURES_SHOWN": FEATURES_SHOWN, "DENSE": percent(DENSE), "MIN_CLUSTERS": MIN_CLUSTERS,
            "SEEN_CLUSTERS": SEEN_CLUSTERS, "SEEN_FIRINGS": SEEN_FIRINGS},
)  # fmt: skip
