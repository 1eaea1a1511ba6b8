"""Features: every feature that fired, searched, filtered and sorted; the list as a whole in a chart, and as a file."""

import pandas as pd
import streamlit as st

from app import data, link
from app.charts import features as charts
from app.components import feature_list as lists
from app.components import pickers as widgets
from app.components import tables
from app.words import metrics as words
from store.names import ALL, KINDS, VERDICTS

SHOWN = ["name", "label", "kind", "shift", "std_shift", "freq_base", "freq_variant", "log_ratio", "n_documents", "gate"]
WITH_FLOOR = [
    "name", "label", "verdict", "shift", "floor_ratio", "z", "q", "minimum_detectable", "near_threshold", "freq_base",
    "freq_variant", "gate",
]  # fmt: skip
ORDERS = {"down": "High first", "up": "Low first"}
CHARTS = {"evidence": "Effect against evidence", "frequency": "Base against variant"}

store = data.current()
floor = widgets.has_floor(store)
st.markdown("## Features")

with st.container(**widgets.ROW):
    variant = widgets.pick_variant(store)
    layer = widgets.pick_layer(store, ALL, every=True)
    domain = widgets.pick_domain(store, help="Frequencies and shifts are of the tokens of this domain; verdicts are of all.")
    names, first = lists.sort_names(store), lists.default_sort(store)
    widgets.pick("Sort by", "sort", list(names), first, show=names.get, forget=("p",), few=0, width=220)
    widgets.pick("Order", "order", list(ORDERS), "down", show=ORDERS.get, forget=("p",))
if floor:
    widgets.pick_verdicts(VERDICTS, lists.DEFAULT_VERDICTS["shifted"])
with st.container(**widgets.ROW):
    widgets.pick_kinds(KINDS)
    widgets.pick_number("Min. firings", "min", 0, 0, None, forget=("p",))
    widgets.pick_search()
    columns = widgets.pick_columns(tables.columns_of(lists.NUMBERS, floor), WITH_FLOOR if floor else SHOWN)
    widgets.small_badge(store, domain, variant)
    widgets.no_floor_badge(store)

features = lists.from_link(store, "shifted", layer, domain)
kinds = features.kinds()
total = int(kinds["count"].sum())
if total == 0:
    st.info("No feature matches: widen the filters, or lower the minimum of firings.", icon=":material/search_off:")
    st.stop()

page = lists.page_number(total)
rows = features.rows(page)
st.caption(f"{lists.summary(kinds)}. Click a row to open the feature.")
picked = tables.features(rows, key=f"features_{link.query()}", columns=columns)
lists.page_buttons(features, page, total)

shown = widgets.pick("Chart", "chart", list(CHARTS), "evidence", show=CHARTS.get) if floor else "frequency"
points = features.foremost(charts.MOST_POINTS, "evidence" if shown == "evidence" else "abs_shift")
points = pd.concat([points, rows]).drop_duplicates(["layer", "feature"])
listed = set(zip(rows["layer"], rows["feature"], strict=True))
keys = list(zip(points["layer"], points["feature"], strict=True))
points = points.assign(name=[words.feature_name(*key) for key in keys], listed=[key in listed for key in keys])
draw, alternative = {
    "evidence": (charts.evidence_scatter, "Evidence for each feature's shift against its size over the noise floor"),
    "frequency": (charts.frequency_scatter, "Frequency of each feature in the variant against its frequency in the base"),
}[shown]
clicked = st.altair_chart(
    draw(points, total), on_select="rerun", selection_mode="point", key=f"scatter_{link.query()}", alt=alternative
)
st.caption("Ringed: the rows of the table above, as far as they can be drawn here.")
if clicked.selection.get("point"):
    picked = pd.Series(clicked.selection["point"][0])
if picked is not None:
    st.switch_page("views/feature.py", query_params=lists.feature_link(picked, "shifted", layer))
