"""The first comparison: cosine of the two models at the store's point against overlap of active features, layer by layer."""

from __future__ import annotations

import streamlit as st

from app import data, link
from app.charts import axes, overlap_panel
from app.components import badges, pickers, runs
from app.markup import contexts
from app.words import meanings, overlap_words, palette
from store.metrics import change_summary
from store.names import ALL, OBSERVED, TWIN
from store.points import subject
from store.read.store import Store


def show(store: Store) -> None:
    """What is seen, in a sentence, and a small chart a recipe; a click on a point opens the features behind it."""
    with st.container(**pickers.ROW):
        domain = pickers.pick_domain(store)
        badges.small(store, domain)
        badges.no_twins(store)
    rows = data.ask(store, Store.layer_metrics, domain=domain, segment=ALL)
    compared = rows[rows["metric"].isin(overlap_panel.METRICS)]
    groups, colours = runs.compared(store), runs.colours(store)
    panels = {first: mine for first, members in groups.items() if len(mine := compared[compared["variant"].isin(members)])}
    if not panels:
        st.info("No token counts here: choose another domain.", icon=":material/search_off:")
        return
    st.markdown(data.ask(store, _said, domain=domain))
    row, lowest = st.container(horizontal=True), float(compared["value"].min())  # which the panels share an axis by
    for first, mine in panels.items():
        with row.container(width=axes.PANEL_WIDTH):
            clicked = st.vega_lite_chart(
                spec=data.chart(overlap_panel.panel, mine, first, first, colours[first], lowest=lowest),
                on_select="rerun",
                selection_mode="point",
                key=f"overlap_{first}_{link.query()}",
                alt=f"Cosine and overlap of {first} by layer, beside random changes of the weights of that size",
            )
            if clicked.selection.get("point"):
                point = clicked.selection["point"][0]
                place = {"variant": point["variant"], "layer": int(point["layer"])}
                st.switch_page("views/features.py", query_params=link.query(**place, view=None))
    known = set(data.ask(store, Store.controls)["control"])
    legend = []
    if any(name.startswith(TWIN) for name in known):
        legend.append((meanings.CONTROL_NAMES[meanings.TWINS], palette.CONTROL_COLOUR, "solid", 8))
    if overlap_panel.FLOOR in known:
        floor = f"overlap under a {meanings.CONTROL_NAMES[overlap_panel.FLOOR]}"
        legend.append((floor, palette.CONTROL_COLOUR, "dashed", 2))
    st.html(contexts.series_legend(legend))
    others = " Thin dotted lines: the recipe's other runs." if any(len(groups[first]) > 1 for first in panels) else ""
    st.caption(
        f"Cosine: does {subject(store.point)} of base and variant point the same way at a token? Overlap: of the features that "
        f"are on in either, the share that is on in both (Jaccard).{others} Click a point for the features behind it."
        f"{runs.others_said(store)}"
    )


def _said(store: Store, domain: str) -> str:
    """What is seen, in a sentence."""
    rows = store.layer_metrics(domain=domain, segment=ALL)
    groups, levels = runs.compared(store), {}
    for first in groups:
        by_layer = rows[rows["variant"] == first].groupby("layer")
        levels[first] = {int(layer): change_summary.summarise(found, None).overlap.level for layer, found in by_layer}
    rows = rows[rows["metric"].isin(overlap_panel.METRICS)]
    observed = rows[(rows["control"] == OBSERVED) & rows["variant"].isin(groups)]
    return overlap_words.sentence(observed, {first: of_layer for first, of_layer in levels.items() if of_layer})
