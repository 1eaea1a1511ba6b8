"""Suppressed features: the reviewer's list, the largest fall first, with the evidence of the chosen one beneath."""

import streamlit as st

from app import data, evidence, link, tables, widgets, words
from store import queries

SHOWN = ["name", "label", "kind", "shift", "suppression", "freq_base", "freq_variant", "n_documents", "gate"]

store = data.current()
st.markdown("## Suppressed features")
st.caption(
    "Features that fire less, or not at all, after fine-tuning; the largest fall of the mean activation first. A list to check, "
    "not a finding: this store knows neither a noise floor nor a test for the single feature, so read the contexts beneath."
)

row = st.columns([1.5, 1.6, 1], vertical_alignment="bottom")
with row[0]:
    variant = widgets.pick_variant(store)
with row[1]:
    layer = widgets.pick_layer(store, link.ALL, every=True)
with row[2]:
    domain = widgets.pick_domain(store, help="Shifts and contexts are of the tokens of this domain.")
row = st.columns([1.6, 1, 1.4, 1.6], vertical_alignment="bottom")
with row[0]:
    widgets.pick_kinds(widgets.SUPPRESSED_KINDS)
with row[1]:
    widgets.pick_number("Min. firings", "min", 0, 0, None, forget=("p", "selected"))
with row[2]:
    widgets.pick_search()

chosen = widgets.feature_list(store, "suppressed", layer, domain)
kinds = data.ask(store, queries.count_features, **chosen.filter)
total = int(kinds["count"].sum())
if total == 0:
    st.info(
        "No feature fell under these filters: widen them, or lower the minimum of firings.", icon=":material/search_off:"
    )
    st.stop()

page = widgets.pages(total)
rows = data.ask(
    store, queries.shifted_features, **chosen.filter, **chosen.order,
    limit=widgets.PAGE_SIZE, offset=(page - 1) * widgets.PAGE_SIZE,
)  # fmt: skip
st.caption(f"{total:,} features: " + ", ".join(f"{n:,} {kind}" for kind, n in zip(kinds["kind"], kinds["count"], strict=True)))
names = [words.feature_name(*pair) for pair in zip(rows["layer"], rows["feature"], strict=True)]
selected = link.read("selected", names, names[0])
tables.features(rows, key=f"suppressed_{page}_{link.query(selected=None)}", columns=SHOWN, selected=selected)
widgets.page_buttons(page, total)

feature = rows.iloc[names.index(selected)]
evidence.summary(feature, tables.feature_link(feature, "suppressed", layer))
evidence.contexts(store, feature, variant, "decrease", domain, limit=5)
