"""Features: every feature that fired, searched, filtered and sorted; the list as a whole in a chart, and as a file."""

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import axes, feature_scatter
from app.components import badges, columns, feature_list, picked_table, pickers, selection, tables, terms
from store.metrics.thresholds import MATERIAL
from store.names import ALL, KINDS, VERDICTS

TITLE = "Features"
ICON = ":material/swap_vert:"
GROUP = "Explore"
ORDER = 50

CONTRIBUTED = ["contribution"]
SHOWN = ["label", "name", "kind", "change", "interval", "freq_base", "freq_variant", "n_clusters", "gate"]
WITH_TWINS = ["label", "name", "verdict", "change", "interval", "runs", "twins", "freq_base", "freq_variant", "gate"]
TERMS = ("feature", "claimed", "suppressed", "amplified", "change", "contribution", "twin", "run", "cluster", "dense", "fit")
ORDERS = {"down": "Usual", "up": "Reversed"}
CHARTS = {"change": "Change against frequency", "frequency": "Base against variant"}

store = data.current()
st.markdown(f"## {TITLE}")

with st.container(**pickers.ROW):
    variant = pickers.pick_variant(store)
    twins = badges.has_twins(store, variant)
    layer = pickers.pick_layer(store, ALL, every=True)
    domain = pickers.pick_domain(
        store, help="Changes and frequencies are of the tokens of this domain; intervals and verdicts are of all."
    )
    has = columns.supported(store, variant)
    sorts = columns.sort_names(has)
    pickers.pick("Sort by", "sort", list(sorts), next(iter(sorts)), show=sorts.get, forget=("p",), few=0, width=220)
    pickers.pick("Order", "order", list(ORDERS), "down", show=ORDERS.get, forget=("p",))
if twins:
    pickers.pick_verdicts(VERDICTS, feature_list.usual_verdicts(store, "shifted", variant))
with st.container(**pickers.ROW):
    pickers.pick_kinds(KINDS)
    pickers.pick_number("Min. firings", "min", 0, 0, None, forget=("p",))
    pickers.pick_search()
    usual = WITH_TWINS if twins else SHOWN
    usual = [*usual[:3], *(CONTRIBUTED if store.has_contributions else []), *usual[3:]]
    shown = pickers.pick_columns(columns.offered(has), usual)
    badges.small(store, domain, variant)
    badges.no_twins(store, variant)

features = feature_list.from_link(store, "shifted", layer, domain)
pickers.pick_dense(features.hidden())
total = int(features.kinds()["count"].sum())
if total == 0:
    st.info("No feature matches: widen the filters, or lower the minimum of firings.", icon=":material/search_off:")
    st.stop()

pager = feature_list.pager(total)
rows = features.rows(pager)
keys = selection.picked(store)
ticked = {words.feature_name(*key) for key in keys}
said = "Click a row to open the feature; tick boxes to compare, download or review several."
st.caption(f"{feature_list.summary(features, total)}. {said}")
terms.line(*TERMS)
opened = tables.pickable(
    rows, f"features_{link.query(picked=None)}", shown, ticked, lambda *named: selection.keep_ticked(keys, *named)
)
feature_list.page_buttons(features, pager, keys)
if keys:
    selection.buttons(store, keys)
    picked_table.compare(features, keys)

chart = pickers.pick("Chart", "chart", list(CHARTS), "change", show=CHARTS.get)
points = pd.concat([features.foremost(axes.MOST_POINTS), rows]).drop_duplicates(["layer", "feature"])
listed = tables.names(rows)
points = points.assign(name=tables.names(points), label=tables.labels(points), listed=lambda of: of["name"].isin(listed))
if chart == "change":
    material = float(store.manifest.settings.get("material", MATERIAL))
    drawn = data.chart(feature_scatter.change_scatter, points, total, material)
    alternative = "Share of each feature lost or new against how often it fires"
else:
    drawn = data.chart(feature_scatter.frequency_scatter, points, total)
    alternative = "Frequency of each feature in the variant against its frequency in the base"
key = f"scatter_{link.query()}"
clicked = st.vega_lite_chart(
    spec=drawn, on_select=lambda: selection.keep_marked(keys, points, key), key=key, alt=alternative
)  # fmt: skip
st.caption("Ringed: the rows of the table above, as far as they can be drawn here.")
if clicked.selection.get("point"):
    opened = pd.Series(clicked.selection["point"][0])
if opened is not None:
    st.switch_page("views/feature.py", query_params=feature_list.feature_link(opened, "shifted", layer))
