"""What stands behind one feature's change, drawn the same way wherever it is shown."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import data, tokens, widgets, words
from store import queries
from store.evidence import reason
from store.names import ALL, BASE
from store.reader import Store


def summary(store: Store, row: pd.Series, target: dict[str, str]) -> None:
    """A row of shifted_features in words: name, label, badges, the way to its own page, its numbers, why its verdict."""
    line = st.container(horizontal=True, vertical_alignment="center")
    label = f" · {words.plain(row['label'])}" if isinstance(row["label"], str) and row["label"] else ""
    line.markdown(f"**{words.feature_name(row['layer'], row['feature'])}**{label}", width="content")
    badges(row, line)
    line.page_link("views/feature.py", label="Open its page", icon=":material/arrow_forward:", query_params=target)
    shift, deviations = words.number(row["shift"], signed=True), words.number(row["std_shift"], signed=True)
    st.caption(
        f"fires on {words.percent(row['freq_base'])} of tokens in the base, {words.percent(row['freq_variant'])} in the "
        f"variant · shift {shift} ({deviations} standard deviations) · {words.count(row['n_documents'])} documents"
        + (f" · near threshold: {words.percent(row['near_threshold'])} of its flips" if pd.notna(row["near_threshold"]) else "")
        + (f" · detectable from {words.number(row['minimum_detectable'])}" if pd.notna(row["minimum_detectable"]) else "")
    )

    if isinstance(row["verdict"], str):
        st.markdown(why(store, int(row["layer"]), int(row["feature"]), row["variant"]))


def badges(row: pd.Series, place: st.delta_generator.DeltaGenerator) -> None:
    """Verdict, kind of change and fit gate as badges."""
    widgets.verdict_badge(row["verdict"], place)
    if row["kind"] == row["verdict"]:
        widgets.gate_badge(row["gate"], place)
        return
    colour = {"vanished": "violet", "attenuated": "violet", "amplified": "green", "appeared": "green"}.get(row["kind"], "gray")
    place.badge(row["kind"], color=colour, help=words.KIND_MEANINGS.get(row["kind"]))
    widgets.gate_badge(row["gate"], place)


def why(store: Store, layer: int, feature: int, variant: str) -> str:
    """The sentence behind a feature's verdict, which is of all domains together."""
    stats = data.ask(store, queries.feature_stats, layer=layer, feature=feature, variant=variant)
    pooled = stats[stats["domain"] == ALL]
    return words.plain(reason(pooled.iloc[0] if len(pooled) else None))


def contexts(store: Store, row: pd.Series, variant: str, ranking: str, domain: str, limit: int) -> None:
    """The contexts of a feature under one ranking, base above variant, on one shared scale."""
    asked = {"layer": int(row["layer"]), "feature": int(row["feature"]), "variant": variant}
    found = data.ask(store, queries.contexts, **asked, ranking=ranking, domain=domain, limit=limit)
    if found.empty:
        kept = data.ask(store, queries.count_contexts, **asked)
        st.info(_no_contexts(kept, ranking, domain), icon=":material/search_off:")
        return
    names = (BASE, variant)
    records = found.to_dict("records")
    top = tokens.scale([(record["base_values"], record["variant_values"]) for record in records])
    windows = "".join(tokens.context(record, top, names) for record in records)
    st.html(tokens.legend(top, names) + windows)


def _no_contexts(kept: pd.DataFrame, ranking: str, domain: str) -> str:
    if kept.empty:
        return "This store keeps no contexts of this feature: it never fired, or was not among those kept."
    here = kept[kept["ranking"] == ranking]
    if here.empty:
        return f"No context under “{words.RANKING_NAMES[ranking]}”: choose another ranking."
    domains = words.listing([words.plain(name) for name in here["domain"]])
    return f"No context of domain {words.plain(domain)} under “{words.RANKING_NAMES[ranking]}”; there are some of {domains}."
