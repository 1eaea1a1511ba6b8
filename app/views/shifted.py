"""Shifted features: the paged list, straight from DuckDB, and base against variant frequency."""

import pandas as pd
import streamlit as st

from app import charts, data, link, tables, widgets, words
from store import queries

SHOWN = ["name", "label", "kind", "shift", "std_shift", "freq_base", "freq_variant", "log_ratio", "n_documents", "gate"]
ORDERS = {"down": ":material/arrow_downward:", "up": ":material/arrow_upward:"}

store = data.current()
st.markdown("## Shifted features")

with st.container(**widgets.ROW):
    variant = widgets.pick_variant(store)
    layer = widgets.pick_layer(store, link.ALL, every=True)
    domain = widgets.pick_domain(store, help="Frequencies and shifts are of the tokens of this domain.")
    widgets.pick("Sort by", "sort", list(words.SORT_NAMES), "abs_shift", show=words.SORT_NAMES.get, forget=("p",), few=0)
    widgets.pick("Order", "order", list(ORDERS), "down", show=ORDERS.get, forget=("p",))
with st.container(**widgets.ROW):
    widgets.pick_kinds(queries.KINDS)
    widgets.pick_number("Min. firings", "min", 0, 0, None, forget=("p",))
    widgets.pick_search()

chosen = widgets.feature_list(store, "shifted", layer, domain)
kinds = data.ask(store, queries.count_features, **chosen.filter)
total = int(kinds["count"].sum())
if total == 0:
    st.info("No feature matches: widen the filters, or lower the minimum of firings.", icon=":material/search_off:")
    st.stop()

page = widgets.pages(total)
rows = data.ask(
    store, queries.shifted_features, **chosen.filter, **chosen.order,
    limit=widgets.PAGE_SIZE, offset=(page - 1) * widgets.PAGE_SIZE,
)  # fmt: skip
st.caption(f"{total:,} features: " + ", ".join(f"{n:,} {kind}" for kind, n in zip(kinds["kind"], kinds["count"], strict=True)))
picked = tables.features(rows, key=f"shifted_{page}_{link.query()}", columns=SHOWN)
row = widgets.page_buttons(page, total)
row.download_button(
    f"Download {total:,} rows (CSV)",
    data=lambda: queries.shifted_features(store, **chosen.filter, **chosen.order, limit=None).to_csv(index=False),
    file_name=f"shifted_{variant}_{domain}.csv",
    mime="text/csv",
    on_click="ignore",
    icon=":material/download:",
)

points = data.ask(store, queries.shifted_features, **chosen.filter, sort="abs_shift", descending=True, limit=charts.MOST_POINTS)
points = points[["layer", "feature", "label", "kind", "shift", "freq_base", "freq_variant"]].assign(
    name=[words.feature_name(*pair) for pair in zip(points["layer"], points["feature"], strict=True)]
)
clicked = st.altair_chart(
    charts.frequency_scatter(points, total), on_select="rerun", selection_mode="point", key=f"scatter_{link.query()}"
)
if clicked.selection.get("point"):
    picked = pd.Series(clicked.selection["point"][0])
if picked is not None:
    st.switch_page("views/feature.py", query_params=tables.feature_link(picked, "shifted", layer))
