"""Features: every feature that fired, searched, filtered and sorted; the list as a whole in a chart, and as a file."""

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import axes, feature_scatter
from app.components import badges, columns, feature_list, pickers, tables
from store.names import ALL, KINDS, VERDICTS

TITLE = "Features"
ICON = ":material/swap_vert:"
ORDER = 30

SHOWN = ["name", "label", "kind", "shift", "std_shift", "freq_base", "freq_variant", "log_ratio", "n_documents", "gate"]
WITH_FLOOR = [
    "name", "label", "verdict", "shift", "floor_ratio", "z", "q", "minimum_detectable", "near_threshold", "freq_base",
    "freq_variant", "gate",
]  # fmt: skip
ORDERS = {"down": "High first", "up": "Low first"}
CHARTS = {"evidence": "Effect against evidence", "frequency": "Base against variant"}

store = data.current()
floor = badges.has_floor(store)
st.markdown(f"## {TITLE}")

with st.container(**pickers.ROW):
    variant = pickers.pick_variant(store)
    layer = pickers.pick_layer(store, ALL, every=True)
    domain = pickers.pick_domain(store, help="Frequencies and shifts are of the tokens of this domain; verdicts are of all.")
    sorts = columns.sort_names(floor)
    pickers.pick("Sort by", "sort", list(sorts), next(iter(sorts)), show=sorts.get, forget=("p",), few=0, width=220)
    pickers.pick("Order", "order", list(ORDERS), "down", show=ORDERS.get, forget=("p",))
if floor:
    pickers.pick_verdicts(VERDICTS, feature_list.DEFAULT_VERDICTS["shifted"])
with st.container(**pickers.ROW):
    pickers.pick_kinds(KINDS)
    pickers.pick_number("Min. firings", "min", 0, 0, None, forget=("p",))
    pickers.pick_search()
    shown = pickers.pick_columns(columns.offered(floor), WITH_FLOOR if floor else SHOWN)
    badges.small(store, domain, variant)
    badges.no_floor(store)

features = feature_list.from_link(store, "shifted", layer, domain)
kinds = features.kinds()
total = int(kinds["count"].sum())
if total == 0:
    st.info("No feature matches: widen the filters, or lower the minimum of firings.", icon=":material/search_off:")
    st.stop()

pager = feature_list.pager(total)
rows = features.rows(pager)
st.caption(f"{feature_list.summary(kinds)}. Click a row to open the feature.")
picked = tables.features(rows, key=f"features_{link.query()}", columns=shown)
feature_list.page_buttons(features, pager)

chart = pickers.pick("Chart", "chart", list(CHARTS), "evidence", show=CHARTS.get) if floor else "frequency"
points = features.foremost(axes.MOST_POINTS, "evidence" if chart == "evidence" else "abs_shift")
points = pd.concat([points, rows]).drop_duplicates(["layer", "feature"])
listed = set(zip(rows["layer"], rows["feature"], strict=True))
keys = list(zip(points["layer"], points["feature"], strict=True))
points = points.assign(name=[words.feature_name(*key) for key in keys], listed=[key in listed for key in keys])
draw, alternative = {
    "evidence": (feature_scatter.evidence_scatter, "Evidence for each feature's shift against its size over the noise floor"),
    "frequency": (
        feature_scatter.frequency_scatter,
        "Frequency of each feature in the variant against its frequency in the base",
    ),
}[chart]
clicked = st.altair_chart(
    draw(points, total), on_select="rerun", selection_mode="point", key=f"scatter_{link.query()}", alt=alternative
)
st.caption("Ringed: the rows of the table above, as far as they can be drawn here.")
if clicked.selection.get("point"):
    picked = pd.Series(clicked.selection["point"][0])
if picked is not None:
    st.switch_page("views/feature.py", query_params=feature_list.feature_link(picked, "shifted", layer))
