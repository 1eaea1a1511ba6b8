"""Layers: every layer metric over depth as small multiples, by variant, domain or segment."""

import streamlit as st

from app import charts, data, tokens, widgets, words
from store import queries
from store.names import ALL

BY = {"variant": "Variants", "domain": "Domains", "segment": "Segments"}
WIDTH = 262  # pixels; four stand side by side at 1440, two at 1024

store = data.current()
st.markdown("## Layers")
st.caption("How far each variant is from the base, layer by layer. The same tokens in both; sinks and padding left out.")

with st.container(**widgets.ROW):
    by = widgets.pick("Compare", "by", list(BY), "variant", show=BY.get)
    variant = None if by == "variant" else widgets.pick_variant(store)
    domain = ALL if by != "variant" else widgets.pick_domain(store)

table = data.ask(
    store,
    queries.layer_metrics,
    variant=variant,
    domain=None if by == "domain" else domain,
    segment=None if by == "segment" else ALL,
    control="observed",
)
order = {"variant": store.variants, "domain": [ALL, *store.domains], "segment": [ALL, *store.segments]}[by]
order = [name for name in order if name in set(table[by])]
if table.empty:
    st.info("No token counts here: choose another domain.", icon=":material/search_off:")
    st.stop()

legend = [(name, charts.series_colour(i), charts.series_is_dashed(i)) for i, name in enumerate(order)]
st.html(tokens.series_legend(legend))
known = set(table["metric"])
others = tuple(sorted(known - {name for _, names in words.PANELS for name in names}))
for heading, names in (*words.PANELS, ("More", others)):
    shown = [name for name in names if name in known]
    if not shown:
        continue
    st.markdown(f"#### {heading}")
    panel = st.container(horizontal=True)
    for name in shown:
        with panel.container(width=WIDTH):
            chart = charts.profile(table[table["metric"] == name], name, by, order)
            st.altair_chart(chart, key=f"profile_{name}", alt=f"{words.metric(name).label} by layer, a line a {by}")
            st.caption(words.metric(name).question)

with st.expander("The numbers"):
    wide = table.pivot_table(index=[by, "layer"], columns="metric", values="value", dropna=False).reset_index()
    st.dataframe(wide, hide_index=True)
