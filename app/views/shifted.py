"""Shifted features: the paged list, straight from DuckDB, and base against variant frequency."""

import pandas as pd
import streamlit as st

from app import charts, data, link, lists, tables, widgets, words
from store.names import ALL, KINDS

SHOWN = ["name", "label", "kind", "shift", "std_shift", "freq_base", "freq_variant", "log_ratio", "n_documents", "gate"]
ORDERS = {"down": "High first", "up": "Low first"}

store = data.current()
st.markdown("## Shifted features")

with st.container(**widgets.ROW):
    variant = widgets.pick_variant(store)
    layer = widgets.pick_layer(store, ALL, every=True)
    domain = widgets.pick_domain(store, help="Frequencies and shifts are of the tokens of this domain.")
    widgets.pick("Sort by", "sort", list(words.SORT_NAMES), "abs_shift", show=words.SORT_NAMES.get, forget=("p",), few=0)
    widgets.pick("Order", "order", list(ORDERS), "down", show=ORDERS.get, forget=("p",))
with st.container(**widgets.ROW):
    widgets.pick_kinds(KINDS)
    widgets.pick_number("Min. firings", "min", 0, 0, None, forget=("p",))
    widgets.pick_search()
    widgets.small_badge(store, domain, variant)

features = lists.from_link(store, "shifted", layer, domain)
kinds = features.kinds()
total = int(kinds["count"].sum())
if total == 0:
    st.info("No feature matches: widen the filters, or lower the minimum of firings.", icon=":material/search_off:")
    st.stop()

page = lists.page_number(total)
st.caption(f"{lists.summary(kinds)}. Click a row to open the feature.")
picked = tables.features(features.rows(page), key=f"shifted_{link.query()}", columns=SHOWN)
lists.page_buttons(features, page, total)

points = features.most_shifted(charts.MOST_POINTS)
points = points[["layer", "feature", "label", "kind", "shift", "freq_base", "freq_variant"]].assign(
    name=[words.feature_name(*pair) for pair in zip(points["layer"], points["feature"], strict=True)]
)
scatter = charts.frequency_scatter(points, total)
clicked = st.altair_chart(
    scatter,
    on_select="rerun",
    selection_mode="point",
    key=f"scatter_{link.query()}",
    alt="Frequency of each feature in the variant against its frequency in the base",
)
if clicked.selection.get("point"):
    picked = pd.Series(clicked.selection["point"][0])
if picked is not None:
    st.switch_page("views/feature.py", query_params=lists.feature_link(picked, "shifted", layer))
