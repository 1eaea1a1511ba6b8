"""Which part of a variant's change is only the chat template, and which sits on what is said."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import axes, layer_charts, profiles
from app.components import badges, feature_evidence, feature_list, pickers, tables
from app.markup import contexts
from app.words import meanings, palette
from store.names import ALL, OBSERVED, TWIN
from store.read.store import Store

SEGMENTS = ("template", "prompt", "response", "text")
TEMPLATE = "template"
MOST = 0.5


def sentence(rows: pd.DataFrame) -> str:
    """How much of the change sits on the template, against its part of the tokens, at each layer."""
    said = [
        f"layer {row.layer}: **{words.percent(row.share)}** of the change on {words.percent(row.token_share)} of the tokens "
        f"({words.ratio(row.share / row.token_share)} their part)"
        for row in rows[rows["segment"] == TEMPLATE].itertuples()
        if pd.notna(row.share) and row.token_share > 0
    ]
    return "On the chat template's own tokens: " + "; ".join(said) + "."


def features(store: Store, variant: str, layer: int | None, segment: str) -> pd.Series | None:
    """The features that moved mostly on one segment; a click on a row gives it."""
    st.markdown(f"### Moved mostly on {words.plain(segment)} tokens")
    rows = data.ask(store, Store.segment_features, variant=variant, segment=segment, layer=layer, least=MOST)
    if rows.empty and not store.keeps_codes(variant):
        st.caption(feature_evidence.statistics_only(variant))
        return None
    if rows.empty:
        st.caption(f"No feature moved by more than {words.percent(MOST)} on {words.plain(segment)} tokens.")
        return None
    said = "verdict" if rows["verdict"].notna().any() else "kind"
    task = ["did_shift"] if rows["did_shift"].notna().any() else []
    columns = ["label", "name", said, "moved", "segment_shift", "change", *task, "gate"]
    picked = tables.features(rows, f"on_{segment}_{link.query()}", columns, widths={"label": 330})
    if not task:
        st.caption("No task is given for this variant: what it shifts on its task alone cannot be told from a general shift.")
    return picked


def show(store: Store) -> None:
    """What part of a variant's change sits on each segment, its overlap there, and the features that moved mostly there."""
    st.caption(
        "Fine-tuning on chats often changes, first of all, what the model does on the template's own tokens (turn marks, role "
        "names). Which part of the change is only that, and which sits on what is said?"
    )
    with st.container(**pickers.ROW):
        variant = pickers.pick_variant(store)
        layer = pickers.pick_layer(store, ALL, every=True)
        badges.small(store, ALL, variant)
        badges.no_twins(store)
    if TEMPLATE not in store.segments:
        st.info(
            "This corpus has no template tokens: no document is a chat, so nothing of the change can be the template's.",
            icon=":material/search_off:",
        )
        return
    if store.manifest.corpus.get("chat_template", "") is None:
        st.info(
            "No model of this run has a chat template: prompts and responses were joined by a line break, and that alone is "
            "what counts as template here.",
            icon=":material/info:",
        )

    left_out = store.manifest.counts.get("left_out")
    for what, number in left_out.items() if isinstance(left_out, dict) else ():
        if "chat template" in what:
            st.caption(words.plain(f"{number} {what}."))

    order = [name for name in SEGMENTS if name in store.segments] + [name for name in store.segments if name not in SEGMENTS]
    shares = data.ask(store, Store.shift_by_segment, variant=variant, layer=layer)
    if len(shares):
        st.markdown(sentence(shares))
        st.vega_lite_chart(
            spec=data.chart(layer_charts.segment_shares, shares, order),
            key="segment_shares",
            alt="Share of the change on the tokens of each segment, a bar a layer",
        )

    st.markdown("### Overlap by segment")
    table = data.ask(store, Store.layer_metrics, variant=variant, domain=ALL, metric="overlap", layer=layer)
    table = table[table["segment"].isin(order)]
    observed, twins = table[table["control"] == OBSERVED], table[table["control"].str.startswith(TWIN)]
    present = [name for name in order if name in set(observed["segment"])]
    looks = axes.series_looks(order)
    legend = [(name, *looks[name], 3) for name in present]
    if len(twins):
        legend.append((f"{meanings.CONTROL_NAMES[meanings.TWINS]}, in each line's colour", palette.CONTROL_COLOUR, "solid", 8))
    st.html(contexts.series_legend(legend))
    st.vega_lite_chart(
        spec=profiles.profile(observed, "overlap", "segment", present, twins, looks=looks, drawn=data.chart),
        key="overlap_by_segment",
        alt="Overlap by layer, a line a segment, beside random changes of the weights of that size",
    )

    picked = features(store, variant, layer, TEMPLATE)
    if "response" in store.segments:
        other = features(store, variant, layer, "response")
        picked = other if picked is None else picked
    if picked is not None:
        st.switch_page("views/feature.py", query_params=feature_list.feature_link(picked, "shifted", layer))
