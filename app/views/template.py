"""Template: which part of a variant's change is only the chat template, and which sits on what is said."""

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import axes, layer_charts, profiles
from app.components import badges, feature_evidence, feature_list, pickers, tables
from app.markup import contexts
from app.words import meanings, palette
from store.names import ALL, OBSERVED, TWIN
from store.read.store import Store

TITLE = "Template"
ICON = ":material/chat:"
ORDER = 80

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
    """The features most of whose shift sits on one segment; a click on a row gives it."""
    st.markdown(f"### Mostly on {segment} tokens")
    rows = data.ask(store, Store.segment_features, variant=variant, segment=segment, layer=layer, least=MOST)
    if rows.empty and not store.keeps_codes(variant):
        st.caption(feature_evidence.statistics_only(variant))
        return None
    if rows.empty:
        st.caption(f"No feature has {words.percent(MOST)} of its shift on {segment} tokens.")
        return None
    said = "verdict" if rows["verdict"].notna().any() else "kind"
    task = ["did_shift"] if rows["did_shift"].notna().any() else []
    picked = tables.features(
        rows, key=f"on_{segment}_{link.query()}", columns=["name", "label", said, "share", "change", *task, "gate"]
    )
    if not task:
        st.caption("No task is given for this variant: what it shifts on its task alone cannot be told from a general shift.")
    return picked


store = data.current()
st.markdown(f"## {TITLE}")
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
    st.stop()
if store.manifest.corpus.get("chat_template", "") is None:
    st.info(
        "No model of this run has a chat template: prompts and responses were joined by a line break, and that alone is what "
        "counts as template here.",
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
    st.altair_chart(
        layer_charts.segment_shares(shares, order),
        key="segment_shares",
        alt="Share of the change on the tokens of each segment, a bar a layer",
    )

st.markdown("### Overlap by segment")
table = data.ask(store, Store.layer_metrics, variant=variant, domain=ALL, metric="overlap", layer=layer)
table = table[table["segment"].isin(order)]
observed, twins = table[table["control"] == OBSERVED], table[table["control"].str.startswith(TWIN)]
present = [name for name in order if name in set(observed["segment"])]
legend = [(name, axes.series_colour(i), "solid", 3) for i, name in enumerate(present)]
if len(twins):
    legend.append((f"{meanings.CONTROL_NAMES[meanings.TWINS]}, in each line's colour", palette.CONTROL_COLOUR, "solid", 8))
st.html(contexts.series_legend(legend))
st.vega_lite_chart(
    spec=profiles.profile(observed, "overlap", "segment", present, twins),
    key="overlap_by_segment",
    alt="Overlap by layer, a line a segment, beside random changes of the weights of that size",
)

picked = features(store, variant, layer, TEMPLATE)
if "response" in store.segments:
    other = features(store, variant, layer, "response")
    picked = other if picked is None else picked
if picked is not None:
    st.switch_page("views/feature.py", query_params=feature_list.feature_link(picked, "shifted", layer))
