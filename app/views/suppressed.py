"""Suppressed features: the reviewer's list, the largest fall first, with the evidence of the chosen one beside it."""

import streamlit as st

from app import data, link
from app.components import feature_evidence as evidence
from app.components import feature_list as lists
from app.components import pickers as widgets
from app.components import tables
from app.words import metrics as words
from store.names import ALL
from store.read.feature_filter import FALLEN
from store.read.store import Store

SHOWN = ["name", "kind", "shift", "suppression", "gate"]
WITH_FLOOR = ["name", "verdict", "shift", "floor_ratio", "gate"]
VERDICTS = [name for name in words.VERDICTS if name != "amplified"]  # what fell cannot be


def others(store: Store, features: lists.FeatureList) -> None:
    """What became of every feature whose mean fell, counted by verdict: each looks different, and says what it means."""
    counted = features.verdicts().set_index("verdict")
    place = st.container(horizontal=True, vertical_alignment="center")
    for verdict, shown in words.VERDICTS.items():
        if verdict in counted.index:
            number = int(counted.loc[verdict, "count"])
            place.badge(f"{number:,} {shown.label}", color=shown.badge, icon=shown.icon, help=shown.meaning.capitalize() + ".")
    said = []
    if "within noise" in counted.index:
        least = words.number(counted.loc["within noise", "detectable"])
        said.append(f"within noise: tested, and a shift of {least} or more (in the median feature) would have been found")
    if "untestable" in counted.index:
        said.append("could not have been seen here: they fire too seldom on this corpus for any shift of theirs to be claimed")
    silent = never_firing(store, features)
    if silent:
        said.append(f"{silent:,} more features never fire on this corpus, in base or variant: nothing can be said of them")
    if said:
        st.caption("  \n".join(f"{text[0].upper()}{text[1:]}." for text in said))


def never_firing(store: Store, features: lists.FeatureList) -> int:
    """Features of the dictionaries shown that fire neither in the base nor in the variant."""
    sizes = data.ask(store, Store.dictionaries).set_index("layer")["d_sae"]
    layer = features.filter.layer
    fired = data.ask(store, Store.count_features, variant=features.filter.variant, layer=layer)
    return int((sizes.sum() if layer is None else sizes[layer]) - fired["count"].sum())


store = data.current()
floor = widgets.has_floor(store)
st.markdown("## Suppressed features")
st.caption(
    "Features that fire less, or not at all, after fine-tuning; the largest fall of the mean activation first. "
    + (
        "“Suppressed” is said of a fall beyond what noise of the same size does, that holds over documents and is neither near "
        "a threshold nor taken over by a neighbour."
        if floor
        else "A list to check, not a finding: a fall here has not been tested against noise, so read the contexts beside it."
    )
)

with st.container(**widgets.ROW):
    variant = widgets.pick_variant(store)
    layer = widgets.pick_layer(store, ALL, every=True)
    domain = widgets.pick_domain(store, help="Shifts and contexts are of the tokens of this domain.")
if floor:
    widgets.pick_verdicts(VERDICTS, lists.DEFAULT_VERDICTS["suppressed"])
with st.container(**widgets.ROW):
    widgets.pick_kinds(FALLEN)
    widgets.pick_number("Min. firings", "min", 0, 0, None, forget=("p", "selected"))
    widgets.pick_search()
    evidence.blur_button(store.domains)
    widgets.small_badge(store, domain, variant)
    widgets.no_floor_badge(store)

features = lists.from_link(store, "suppressed", layer, domain)
kinds = features.kinds()
total = int(kinds["count"].sum())
if floor:
    others(store, features)
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
    columns = WITH_FLOOR if floor else SHOWN
    tables.features(rows, key=f"suppressed_{link.query(selected=None)}", columns=columns, selected=selected)
    lists.page_buttons(features, page, total)
with right:
    row = rows.iloc[names.index(selected)]
    evidence.summary(store, row, lists.feature_link(row, "suppressed", layer))
    evidence.contexts(store, row, variant, "decrease", domain, limit=5)
