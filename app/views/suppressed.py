"""Suppressed features: the reviewer's list, the largest fall first, with the evidence of the chosen one beside it."""

import streamlit as st

from app import data, evidence, link, lists, tables, widgets, words
from store.feature_lists import FALLEN
from store.names import ALL

SHOWN = ["name", "kind", "shift", "suppression", "gate"]

store = data.current()
st.markdown("## Suppressed features")
st.caption(
    "Features that fire less, or not at all, after fine-tuning; the largest fall of the mean activation first. A list to "
    "check, not a finding: a fall here has not been tested against noise, so read the contexts beside it."
)

with st.container(**widgets.ROW):
    variant = widgets.pick_variant(store)
    layer = widgets.pick_layer(store, ALL, every=True)
    domain = widgets.pick_domain(store, help="Shifts and contexts are of the tokens of this domain.")
with st.container(**widgets.ROW):
    widgets.pick_kinds(FALLEN)
    widgets.pick_number("Min. firings", "min", 0, 0, None, forget=("p", "selected"))
    widgets.pick_search()
    widgets.small_badge(store, domain, variant)

features = lists.from_link(store, "suppressed", layer, domain)
kinds = features.kinds()
total = int(kinds["count"].sum())
if total == 0:
    st.info("No feature fell under these filters: widen them, or ask for fewer firings.", icon=":material/search_off:")
    st.stop()

page = lists.page_number(total)
rows = features.rows(page)
st.caption(f"{lists.summary(kinds)}. Click a row to see its contexts.")
names = [words.feature_name(*pair) for pair in zip(rows["layer"], rows["feature"], strict=True)]
selected = link.read("selected", names, names[0])
left, right = st.columns([1, 1.25], gap="medium")
with left:
    tables.features(rows, key=f"suppressed_{link.query(selected=None)}", columns=SHOWN, selected=selected)
    lists.page_buttons(features, page, total)
with right:
    row = rows.iloc[names.index(selected)]
    evidence.summary(row, lists.feature_link(row, "suppressed", layer))
    evidence.contexts(store, row, variant, "decrease", domain, limit=5)
