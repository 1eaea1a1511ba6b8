"""The tables of the page Documents: the documents to choose from, the tokens of one, the features that changed at a token."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import data, link, words
from app.components import blur, feature_evidence, tables
from app.components.columns import COLUMNS
from app.markup import token_colours
from app.markup.token_colours import VALUES, TokenValue
from store.read.store import Store
from store.text import marked

LABEL_WIDTH = 160
"""Pixels."""


def documents(listed: pd.DataFrame, value: TokenValue) -> None:
    """The documents to choose from; where a request may be harmful, how it begins is covered until asked for."""
    numbers = listed["document"].to_list()
    shown = pd.DataFrame(
        {
            "source": listed["source"],
            "domain": listed["domain"],
            "change": [words.number(v, signed=value.signed) for v in listed["change"]],
            "n_tokens": [words.count(v) for v in listed["n_tokens"]],
            "codes": ["✓" if v else "–" for v in listed["has_codes"]],
            "kl": ["✓" if v else "–" for v in listed["has_kl"]],
            "start": [
                words.HIDDEN if blur.is_hidden(domain) else words.short(marked(text or ""), 90)
                for domain, text in zip(listed["domain"], listed["start"], strict=True)
            ],
        }
    )
    of = VALUES[next(name for name, each in VALUES.items() if each.columns == (value.mean,))]
    right = {"alignment": "right", "width": "small"}
    config = {
        "source": st.column_config.TextColumn("Document", width="medium"),
        "domain": st.column_config.TextColumn("Domain", width="small"),
        "change": st.column_config.TextColumn(
            f"Mean {of.label}", help=f"Over its tokens; {of.unit}.", alignment="right", width=130
        ),
        "n_tokens": st.column_config.TextColumn("Tokens", **right),
        "codes": st.column_config.TextColumn("Codes", help="Whether the features at its tokens can be listed.", width=70),
        "kl": st.column_config.TextColumn("KL", help="Whether its next-token prediction was sampled.", width=60),
        "start": st.column_config.TextColumn("Begins", width="large"),
    }
    tables.clicked_row(
        shown, f"documents_{link.query()}", config, lambda at: link.write(document=numbers[at], position=None), height=250
    )  # fmt: skip


def features_there(store: Store, about: pd.Series, token: pd.Series, variant: str, layer: int) -> None:
    """The features that changed at one token; a click on one opens its page."""
    if not store.keeps_codes(variant):
        st.info(feature_evidence.statistics_only(variant), icon=":material/inventory_2:")
        return
    if not about["has_codes"]:
        st.info(
            "This store did not keep the codes of this document, so the features at a token cannot be listed: choose one “With "
            "codes” above, or open the store that this one was cut from.",
            icon=":material/inventory_2:",
        )
        return
    if token_colours.is_sink(token["counted"]):
        st.info(
            "An attention sink: its norm is far beyond the layer's others, so it does not count and its codes are not stored. "
            "Choose another token.",
            icon=":material/do_not_disturb_on:",
        )
        return
    asked = {"document": int(about["document"]), "position": int(token["position"]), "layer": layer, "variant": variant}
    rows = data.ask(store, Store.token_features, **asked)
    changed = rows[rows["change"] != 0]
    same = len(rows) - len(changed)
    if changed.empty:
        unchanged = f"{words.counted(same, 'feature')} on, with the same code in both models"
        what = "no feature is on in either model" if rows.empty else unchanged
        st.info(f"Nothing changed here: {what}.", icon=":material/horizontal_rule:")
        return
    st.caption(
        f"{words.counted(len(changed), 'feature')} changed"
        + (f", {same:,} on and unchanged" if same else "")
        + " · scaled activation; shift and verdict are of all domains"
    )
    written = tables.printed(changed)
    shown = pd.DataFrame(
        {
            "name": written["name"],
            "change": [words.number(v, signed=True) for v in changed["change"]],
            "label": tables.labels(changed, LABEL_WIDTH),
            "base": [words.number(v) for v in changed["base"]],
            "variant": [words.number(v) for v in changed["variant"]],
            "verdict": written["verdict"],
            "shift": written["shift"],
        }
    )
    if changed["verdict"].isna().all():
        shown = shown.drop(columns="verdict")
    right = {"alignment": "right", "width": 68}
    config = {
        "name": COLUMNS["name"].config(help=None),
        "label": COLUMNS["label"].config(help=None, width=LABEL_WIDTH),
        "base": st.column_config.TextColumn("Base", help="Scaled activation here.", **right),
        "variant": st.column_config.TextColumn("Variant", help="Scaled activation here.", **right),
        "change": st.column_config.TextColumn("Difference", help="Variant − base, here.", alignment="right", width=80),
        "verdict": COLUMNS["verdict"].config(),
        "shift": COLUMNS["shift"].config(width=68),
    }
    at = tables.clicked_row(shown, f"features_{link.query()}_{token['position']}", config, height=320)
    if at is not None:
        there = {"layer": layer, "feature": int(changed.iloc[at]["feature"])}
        # With all that this page reads: the browser's way back passes through this page with the other's parameters.
        st.switch_page("views/feature.py", query_params=link.query(**there))


def tokens(rows: pd.DataFrame, value: TokenValue) -> None:
    """Every token with all its values, the most changed first; a click chooses it."""
    order = token_colours.change(rows, value).abs().sort_values(ascending=False, kind="stable", na_position="last").index
    rows = rows.loc[order].reset_index(drop=True)
    columns = {
        name: each
        for each in (value, *VALUES.values())
        for name in each.columns
        if rows[name].notna().any()
    }  # fmt: skip
    shown = pd.DataFrame(
        {
            "position": rows["position"],
            "token": rows["alone"].map(marked).mask(rows["covered"], words.HIDDEN),
            "segment": rows["segment"],
            "context": rows["context"] + 1,
            "counts": ["no: sink" if token_colours.is_sink(counted) else "yes" for counted in rows["counted"]],
        }
    )
    places = ["segment", "context", "counts"]
    shown = shown.drop(columns=[name for name in places if shown[name].nunique() == 1])
    shown = pd.concat([shown, rows[list(columns)].astype(float)], axis=1)
    side = {"base": ", base", "variant": ", variant"}
    config = {
        "position": st.column_config.NumberColumn("Position", width="small"),
        "token": st.column_config.TextColumn("Token", width="small"),
        "segment": st.column_config.TextColumn("Segment", width="small"),
        "context": st.column_config.NumberColumn("Window", help="Context window that the models saw it in.", width="small"),
        "counts": st.column_config.TextColumn("Counts", help="Attention sinks of the layer do not count.", width="small"),
    }
    for name, each in columns.items():
        label = each.label.replace(", both models", side.get(name.rsplit("_", 1)[-1], ""))
        config[name] = st.column_config.NumberColumn(
            label, help=f"{each.meaning} {each.unit}.", format="%.3g", width=28 + 7 * len(label)
        )
    positions = rows["position"].to_list()
    tables.clicked_row(
        shown, f"tokens_{link.query()}", config, lambda at: link.write(position=positions[at]), height=280
    )  # fmt: skip
