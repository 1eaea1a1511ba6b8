"""Picked features under each other: what each is, how it changed here, under random changes and in other recipes."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

import pandas as pd
import streamlit as st
from markupsafe import Markup

from app import data, link, words
from app.components import badges, feature_evidence, feature_list, learning, runs, selection
from app.markup import contexts, side_by_side
from app.words import meanings
from store.metrics.feature_columns import share
from store.names import ALL
from store.read.store import Store

MOST = 8
"""Features that are shown; the selection may hold more."""


def compare(features: feature_list.FeatureList, keys: Sequence[selection.Key]) -> None:
    """The first of the picked features in the list's variant and domain, a row each with one passage."""
    store, variant = features.store, features.filter.variant
    rows = features.named(keys[:MOST])
    others = [first for first in runs.compared(store) if first != runs.speaker(store, variant)]
    feature_evidence.blur_button(store.domains)
    shown = [_row(store, row, others) for _, row in rows.iterrows()]
    st.html(side_by_side.table(shown, variant, others, badges.has_twins(store, variant), store.has_contributions))
    said = [f"Only the first {MOST} are shown."] if len(keys) > MOST else []
    said += selection.never_firing(keys[:MOST], zip(rows["layer"], rows["feature"], strict=True), variant)
    if said:
        st.caption(" ".join(said))


def _row(store: Store, row: pd.Series, others: Sequence[str]) -> side_by_side.Row:
    layer, feature, variant = int(row["layer"]), int(row["feature"]), row["variant"]
    stats = data.ask(store, Store.feature_stats, layer=layer, feature=feature)
    elsewhere = stats[stats["domain"] == row["domain"]].set_index("variant")
    place = link.query(variant=variant, layer=layer, feature=feature, list_layer=link.read_text("layer") or ALL)
    return side_by_side.Row(
        address=f"feature?{urlencode(place)}",
        name=words.feature_name(layer, feature),
        label=words.label(row["label"], row["label_source"]),
        change=share(row["change"]),
        interval=words.span(row["change_low"], row["change_high"], share),
        verdict=_marked(row["verdict"]),
        twins=words.span(row["twin_low"], row["twin_high"], share),
        others=[_elsewhere(elsewhere, other) for other in others],
        contribution=words.number(row["contribution"], signed=True),
        passage=_passage(store, row),
    )


def _elsewhere(stats: pd.DataFrame, variant: str) -> str:
    if variant not in stats.index:
        return "never fires"
    return share(stats.loc[variant, "change"])


def _marked(verdict: str | None) -> str:
    return f"{meanings.VERDICTS[verdict].mark} {verdict}" if isinstance(verdict, str) else ""


def _passage(store: Store, row: pd.Series) -> Markup:
    """A few tokens where it changed most; else a passage in which its change acts; else nothing."""
    found = feature_evidence.excerpt(store, row, row["variant"], ALL)
    if found:
        return found
    acting = learning.acting_passages(store, int(row["layer"]), int(row["feature"]), row["variant"])
    if acting.empty:
        return Markup("")
    record = feature_evidence.with_cover(store, acting.iloc[0].to_dict())
    return contexts.acting(record, max(map(abs, record["gains"])))
