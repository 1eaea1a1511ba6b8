"""What else bears on a feature's change: the prediction, a second dictionary, segments of chats, decoder neighbours."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import data, link, words
from store.metrics.feature_columns import share
from store.metrics.thresholds import SAME_DIRECTION
from store.read.store import Store


def prediction_and_replica(store: Store, pooled: pd.Series) -> None:
    """What else bears on the change: the prediction, where no contribution says more of it; a second dictionary."""
    asked = {"layer": int(pooled["layer"]), "feature": int(pooled["feature"]), "variant": pooled["variant"]}
    kl = data.ask(store, Store.feature_kl, **asked)
    if not store.has_contributions and len(kl) and pd.notna(kl.iloc[0]["kl_ratio"]):
        ratio = kl.iloc[0]["kl_ratio"]
        where = "where the prediction changed" if ratio > 1 else "where the prediction changed little"
        st.markdown(
            f":material/target: Its changes sit {where}: {words.ratio(ratio)} the mean KL "
            f"({words.count(kl.iloc[0]['n_tokens'])} sampled tokens where it changed)."
        )
    replica = data.ask(store, Store.replica, **asked)
    if len(replica):
        st.markdown(":material/content_copy: " + same_elsewhere(pooled["shift"], replica.iloc[0]))


def same_elsewhere(shift: float, replica: pd.Series) -> str:
    """Which way the feature's counterpart moved in the layer's second dictionary: alike in half of all cases by chance."""
    found = (
        f"nearest feature {int(replica['replica_feature']):,}, decoder cosine {words.number(replica['cosine'])}, "
        f"its shift {words.number(replica['shift'], signed=True)}"
    )
    if replica["cosine"] < SAME_DIRECTION:
        return f"A second dictionary has no such feature ({found})."
    if not replica["shift"] * shift:
        return f"In a second dictionary its counterpart did not move with it ({found})."
    way = "the same way" if replica["shift"] * shift > 0 else "the other way"
    return f"In a second dictionary its counterpart moved {way} ({found})."


def segments(store: Store, pooled: pd.Series) -> None:
    """What part of its shift sits on the template's own tokens, the prompt, the response, or plain text."""
    asked = {"layer": int(pooled["layer"]), "feature": int(pooled["feature"]), "variant": pooled["variant"]}
    rows = data.ask(store, Store.feature_segments, **asked)
    if rows.empty:
        return
    st.markdown("**By segment**")
    shown = pd.DataFrame(
        {
            "segment": rows["segment"],
            "moved": [words.percent(v) for v in rows["moved"]],
            "shift": [words.number(v, signed=True) for v in rows["shift"]],
            "in base": [words.count(v) for v in rows["n11"] + rows["n10"]],
            "in variant": [words.count(v) for v in rows["n11"] + rows["n01"]],
        }
    )
    help_texts = {
        "moved": "The size of its shift summed over the segment's tokens, against the sizes of all segments added up.",
        "shift": "Mean over the segment's tokens.",
        "in base": "Tokens of the segment where it fires.",
        "in variant": "Tokens of the segment where it fires.",
    }
    config = {
        name: st.column_config.TextColumn(f"{name[0].upper()}{name[1:]}", help=text, alignment="right", width="small")
        for name, text in help_texts.items()
    }
    st.dataframe(shown, hide_index=True, column_config={"segment": "Segment"} | config, height="content")


def moved_to(pooled: pd.Series) -> None:
    """The nearest decoder neighbour that changed materially the other way, as a link; nothing where there is none."""
    if pd.isna(pooled["moved_to"]):
        return
    layer, target = int(pooled["layer"]), int(pooled["moved_to"])
    st.page_link(
        "views/feature.py",
        label=f"{words.feature_name(layer, target)}, a decoder neighbour, changed the other way",
        icon=":material/swap_horiz:",
        query_params=link.query(layer=layer, feature=target),
    )


def neighbours(store: Store, pooled: pd.Series) -> None:
    """The features with the most similar decoder rows, each a link, with what became of it."""
    asked = {"layer": int(pooled["layer"]), "feature": int(pooled["feature"]), "variant": pooled["variant"]}
    rows = data.ask(store, Store.decoder_neighbours, **asked)
    if rows.empty:
        return
    st.markdown("**Nearest decoder directions**")
    for _, row in rows.iterrows():
        label = words.label(row["label"], row["label_source"], 40)
        name = words.feature_name(row["layer"], row["feature"])
        fate = f"change {share(row['change'])}" if pd.notna(row["change"]) else "never fires"
        said = f", {words.plain(row['verdict'])}" if isinstance(row["verdict"], str) else ""
        st.page_link(
            "views/feature.py",
            label=f"{words.plain(label)}{' · ' * bool(label)}{name} · cosine {words.number(row['cosine'])} · {fate}{said}",
            icon=":material/near_me:",
            query_params=link.query(layer=int(row["layer"]), feature=int(row["feature"])),
        )
