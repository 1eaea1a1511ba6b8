"""What stands behind one feature's change, drawn the same way wherever it is shown."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import pandas as pd
import streamlit as st
from markupsafe import Markup

from app import data, words
from app.charts import change_strip
from app.components import badges, blur, runs
from app.markup import contexts
from app.words import meanings
from store.metrics.feature_columns import share
from store.metrics.reasons import reason
from store.metrics.thresholds import MATERIAL, MOST_CONTEXTS
from store.names import ALL, BASE, KINDS, RANKINGS, kind_name, may_be_harmful
from store.numbers import json_value
from store.read.store import Store
from store.reports.covering import covered_context
from store.token_text import cut

STEADY = KINDS[2]

EXCERPT = (8, 5)
"""Tokens before and after the peak of an excerpt."""


def summary(store: Store, row: pd.Series, target: dict[str, str]) -> None:
    """A row of shifted_features in words: name, label, badges, the way to its own page, its numbers, why its verdict."""
    line = st.container(horizontal=True, vertical_alignment="center")
    called = words.feature_name(row["layer"], row["feature"])
    if label := words.label(row["label"], row["label_source"]):
        called = f"{words.plain(label)}** · **{called}"
    line.markdown(f"**{called}**", width="content")
    badge_line(row, line)
    line.page_link("views/feature.py", label="Open its page", icon=":material/arrow_forward:", query_params=target)
    st.caption(
        f"change {share(row['change'])} · fires on {words.percent(row['freq_base'])} of tokens in the base, "
        f"{words.percent(row['freq_variant'])} in the variant · {words.count(row['n_clusters'])} clusters"
    )

    if isinstance(row["verdict"], str):
        whole = "" if row["domain"] == ALL else "All domains together: "
        st.markdown(whole + why(store, int(row["layer"]), int(row["feature"]), row["variant"]))


def badge_line(row: pd.Series, place: st.delta_generator.DeltaGenerator) -> None:
    """Verdict, kind of change and fit gate as badges."""
    badges.verdict(row["verdict"], place)
    if row["kind"] != STEADY or not isinstance(row["verdict"], str):
        place.badge(words.plain(kind_name(row["kind"])), color="gray", help=meanings.KIND_MEANINGS.get(row["kind"]))
    badges.gate(row["gate"], place)


def facts(row: pd.Series) -> list[str]:
    """What bears on a feature's change and decides nothing, as sentences; row: of feature_stats, domain 'all'."""
    found = []
    if pd.notna(row["near_threshold"]):
        near = words.percent(row["near_threshold"])
        found.append(f"Of the tokens where it starts or stops firing, {near} lie near its threshold.")
    if pd.notna(row["did_shift"]):
        more = words.number(row["did_shift"], signed=True)
        found.append(f"Its shift on the variant's task less that on neutral text: {more}.")
    return found


def change_chart(store: Store, pooled: pd.Series) -> None:
    """The feature's change beside its other runs, its twins and the norm."""
    material = float(store.manifest.settings.get("material", MATERIAL))
    spec = data.chart(change_strip.strip, pooled, runs.changes(store, pooled), material)
    if spec is not None:
        alt = "Share of the feature lost or new, in each run and under random changes"
        st.vega_lite_chart(spec=spec, key="change", alt=alt)


def why(store: Store, layer: int, feature: int, variant: str) -> str:
    """The sentence behind a feature's verdict, which is of all domains together."""
    stats = data.ask(store, Store.feature_stats, layer=layer, feature=feature, variant=variant)
    pooled = stats[stats["domain"] == ALL]
    return words.plain(reason(pooled.iloc[0] if len(pooled) else None))


def top_contexts(
    store: Store, row: pd.Series, variant: str, ranking: str, domain: str, limit: int, around: int | None = None
) -> None:
    """The contexts of a feature under one ranking, base above variant, on one shared scale, and how many there are.

    limit: how many; around: tokens shown on either side of the peak, None for all that were kept. Windows that show the same
    tokens are folded into the first of them; requests that may be harmful are covered until asked for.
    """
    asked = {"layer": int(row["layer"]), "feature": int(row["feature"]), "variant": variant}
    found = data.ask(store, Store.contexts, **asked, ranking=ranking, domain=domain, limit=MOST_CONTEXTS)
    if found.empty:
        kept = data.ask(store, Store.count_contexts, **asked)
        said = _no_contexts(kept, ranking, domain) if store.keeps_codes(variant) else statistics_only(variant)
        st.info(said, icon=":material/search_off:")
        return
    windows = (with_cover(store, record, -int(record["peak"])) for record in found.to_dict("records"))
    every, alike = _folded([_cropped(record, around, around) for record in windows])
    records, alike, names = every[:limit], alike[:limit], (BASE, variant)
    st.caption(_how_many(len(records), len(every), sum(alike) - len(records)))
    top = contexts.scale([(record["base_values"], record["variant_values"]) for record in records])
    windows = (contexts.context(record, top, names, number) for record, number in zip(records, alike, strict=True))
    st.html(contexts.legend(top, names) + Markup("").join(windows))


def statistics_only(variant: str) -> str:
    """What a copy of a store says of a replicate of which it keeps no tokens and no contexts; safe Markdown."""
    of = words.plain(variant)
    return f"Of {of}, a replicate, this copy keeps statistics only: see the recipe's first run for tokens and contexts."


def excerpt(store: Store, row: pd.Series, variant: str, domain: str) -> str | None:
    """A few tokens around the feature's most telling place, as HTML (contexts.excerpt); None where no context is kept.

    row: layer, feature and shift: of a fall the strongest decrease is the most telling, of a rise the strongest increase.
    """
    telling = "decrease" if row["shift"] < 0 else "increase"
    asked = {"layer": int(row["layer"]), "feature": int(row["feature"]), "variant": variant, "domain": domain}
    for ranking in dict.fromkeys((telling, *RANKINGS)):
        found = data.ask(store, Store.best_context, **asked, ranking=ranking)
        if len(found):
            record = found.iloc[0].to_dict()
            record = _cropped(with_cover(store, record, -int(record["peak"])), *EXCERPT)
            return contexts.excerpt(record, (BASE, variant))
    return None


def blur_button(names: list[str], place: Any = st) -> None:
    """The button that shows covered text, where any of these domains or tasks may be harmful."""
    if any(may_be_harmful(name) for name in names):
        blur.button(place)


def as_json(store: Store, layer: int, feature: int, variant: str, hidden: Collection[str] = ()) -> str:
    """What stands behind a feature's change in a variant, as JSON: the store, numbers by domain, verdict, reason, contexts.

    hidden: domains in whose contexts HIDDEN stands in place of each token that a page covers.
    ASCII only, so that no text in it can turn writing around or hide.
    """
    about = store.feature(layer, feature).iloc[0]
    stats = store.feature_stats(layer, feature, variant)
    pooled = stats[stats["domain"] == ALL]
    kept = {
        ranking: store.contexts(layer, feature, variant, ranking, limit=MOST_CONTEXTS).drop(
            columns=["variant", "layer", "feature", "ranking"]
        )
        for ranking in RANKINGS
    }
    content = {
        "store": store.manifest.digest,
        "base": store.manifest.base.get("name"),
        "variant": variant,
        "dictionary": about["sae"],
        "layer": layer,
        "feature": feature,
        "label": about["label"],
        "verdict": pooled["verdict"].iloc[0] if len(pooled) else None,
        "reason": reason(pooled.iloc[0] if len(pooled) else None),
        "numbers": stats.drop(columns=["variant", "layer", "feature"]).to_dict("records"),
        "contexts": {
            ranking: [covered_context(store, row, hidden) for row in rows.to_dict("records")] for ranking, rows in kept.items()
        },
    }
    return json.dumps(json_value(content), indent=1, ensure_ascii=True, allow_nan=False)


def _cropped(record: dict, before: int | None, after: int | None) -> dict:
    """A context with at most so many tokens on either side of its peak."""
    peak = int(record["peak"])
    first = 0 if before is None else max(0, peak - before)
    last = None if after is None else peak + after + 1
    listed = ("alone", "base_values", "variant_values", "covered")
    kept = {name: list(record[name])[first:last] for name in listed if name in record}
    kept["tokens"] = cut(record["tokens"], first, last)
    return record | kept | {"peak": peak - first}


def _folded(records: list[dict]) -> tuple[list[dict], list[int]]:
    """The first of all contexts that show the same tokens with the same peak, and how many each stands for."""
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        groups.setdefault((record["peak"], *record["tokens"]), []).append(record)
    return [group[0] for group in groups.values()], [len(group) for group in groups.values()]


def with_cover(store: Store, record: dict, start: int = 0) -> dict:
    """A passage with ``covered``: which of its tokens are, the first standing ``start`` from its position."""
    first = int(record["position"]) + start
    return record | {
        "covered": blur.covered(store, str(record["domain"]), int(record["document"]), first, len(record["tokens"]))
    }


def _how_many(shown: int, different: int, alike: int) -> str:
    """'4 contexts; 1 more reads the same': how many are shown, of how many that differ, and how many these stand for."""
    said = words.counted(shown, "context") if shown == different else f"{shown:,} of {words.counted(different, 'context')}"
    return f"{said}; {alike:,} more {'reads' if alike == 1 else 'read'} the same" if alike else said


def _no_contexts(kept: pd.DataFrame, ranking: str, domain: str) -> str:
    if kept.empty:
        return "This store keeps no contexts of this feature: it never fired, or was not among those kept."
    here = kept[kept["ranking"] == ranking]
    if here.empty:
        return f"No context under “{meanings.RANKING_NAMES[ranking]}”: choose another ranking."
    domains = words.listing([words.plain(name) for name in here["domain"]])
    return f"No context of domain {words.plain(domain)} under “{meanings.RANKING_NAMES[ranking]}”; there are some of {domains}."
