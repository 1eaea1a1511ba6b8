"""Layers: every layer metric over depth as small multiples, by variant, domain or segment."""

import streamlit as st

from app import charts, data, link, tokens, widgets, words
from store import queries

BY = {"variant": "Variants", "domain": "Domains", "segment": "Segments"}
ACROSS = 3

store = data.current()
st.markdown("## Layers")
st.caption("How far each variant is from the base, layer by layer. The same tokens in both; sinks and padding left out.")

row = st.columns([1.3, 1.5, 1.2], vertical_alignment="bottom")
with row[0]:
    by = widgets.pick("Compare", "by", list(BY), "variant", show=BY.get)
with row[1]:
    variant = None if by == "variant" else widgets.pick_variant(store)
with row[2]:
    domain = link.ALL if by != "variant" else widgets.pick_domain(store)

table = data.ask(
    store,
    queries.layer_metrics,
    variant=variant,
    domain=None if by == "domain" else domain,
    segment=None if by == "segment" else link.ALL,
    control="observed",
)
order = {"variant": store.variants, "domain": [link.ALL, *store.domains], "segment": [link.ALL, *store.segments]}[by]
order = [name for name in order if name in set(table[by])]
if table.empty:
    st.info("No token counts here: choose another domain.", icon=":material/search_off:")
    st.stop()

st.html(tokens.series_legend(order, [charts.series_colour(i) for i in range(len(order))]))
known = set(table["metric"])
others = tuple(sorted(known - {name for _, names in words.PANELS for name in names}))
for heading, names in (*words.PANELS, ("More", others)):
    shown = [name for name in names if name in known]
    if not shown:
        continue
    st.markdown(f"#### {heading}")
    for start in range(0, len(shown), ACROSS + 1):
        places = st.columns(4 if len(shown) > ACROSS else ACROSS)
        for place, name in zip(places, shown[start : start + ACROSS + 1], strict=False):
            place.altair_chart(charts.profile(table[table["metric"] == name], name, by, order), key=f"profile_{name}")
            place.caption(words.metric(name).question)

with st.expander("The numbers"):
    wide = table.pivot_table(index=[by, "layer"], columns="metric", values="value", dropna=False).reset_index()
    st.dataframe(wide, hide_index=True)
