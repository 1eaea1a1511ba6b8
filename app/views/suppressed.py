"""Suppressed features: the reviewer's list, the largest fall first, with the evidence of the chosen one beside it."""

import streamlit as st

from app import data, evidence, link, tables, widgets, words
from store import queries

SHOWN = ["name", "kind", "shift", "suppression", "n_documents", "gate"]

store = data.current()
st.markdown("## Suppressed features")
st.caption(
    "Features that fire less, or not at all, after fine-tuning; the largest fall of the mean activation first. A list to "
    "check, not a finding: a fall here has not been tested against noise, so read the contexts beside it."
)

with st.container(**widgets.ROW):
    variant = widgets.pick_variant(store)
    layer = widgets.pick_layer(store, link.ALL, every=True)
    domain = widgets.pick_domain(store, help="Shifts and contexts are of the tokens of this domain.")
with st.container(**widgets.ROW):
    widgets.pick_kinds(widgets.SUPPRESSED_KINDS)
    widgets.pick_number("Min. firings", "min", 0, 0, None, forget=("p", "selected"))
    widgets.pick_search()

chosen = widgets.feature_list(store, "suppressed", layer, domain)
kinds = data.ask(store, queries.count_features, **chosen.filter)
total = int(kinds["count"].sum())
if total == 0:
    st.info("No feature fell under these filters: widen them, or ask for fewer firings.", icon=":material/search_off:")
    st.stop()

page = widgets.pages(total)
rows = data.ask(
    store, queries.shifted_features, **chosen.filter, **chosen.order,
    limit=widgets.PAGE_SIZE, offset=(page - 1) * widgets.PAGE_SIZE,
)  # fmt: skip
st.caption(f"{total:,} features: " + ", ".join(f"{n:,} {kind}" for kind, n in zip(kinds["kind"], kinds["count"], strict=True)))
names = [words.feature_name(*pair) for pair in zip(rows["layer"], rows["feature"], strict=True)]
selected = link.read("selected", names, names[0])
left, right = st.columns([1, 1.25], gap="medium")
with left:
    tables.features(rows, key=f"suppressed_{page}_{link.query(selected=None)}", columns=SHOWN, selected=selected)
    widgets.page_buttons(page, total)
with right:
    feature = rows.iloc[names.index(selected)]
    evidence.summary(feature, tables.feature_link(feature, "suppressed", layer))
    evidence.contexts(store, feature, variant, "decrease", domain, limit=5)
