"""Suppressed features: the reviewer's list, the largest fall first, with the evidence of the chosen one beside it."""

import streamlit as st

from app import data, link, words
from app.components import badges, feature_evidence, feature_list, pickers, tables
from app.words import meanings
from store.names import ALL
from store.read.feature_filter import FALLEN
from store.read.store import Store

TITLE = "Suppressed features"
ICON = ":material/trending_down:"
ORDER = 40

SHOWN = ["name", "kind", "shift", "suppression", "gate"]
WITH_FLOOR = ["name", "verdict", "shift", "floor_ratio", "gate"]
VERDICTS = [name for name in meanings.VERDICTS if name != "amplified"]  # what fell cannot be


def others(store: Store, features: feature_list.FeatureList) -> None:
    """What became of every feature whose mean fell, counted by verdict: each looks different, and says what it means."""
    counted = features.verdicts().set_index("verdict")
    place = st.container(horizontal=True, vertical_alignment="center")
    for verdict, shown in meanings.VERDICTS.items():
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


def never_firing(store: Store, features: feature_list.FeatureList) -> int:
    """Features of the dictionaries shown that fire neither in the base nor in the variant."""
    sizes = data.ask(store, Store.dictionaries).set_index("layer")["d_sae"]
    layer = features.filter.layer
    fired = data.ask(store, Store.count_features, variant=features.filter.variant, layer=layer)
    return int((sizes.sum() if layer is None else sizes[layer]) - fired["count"].sum())


store = data.current()
floor = badges.has_floor(store)
st.markdown(f"## {TITLE}")
st.caption(
    "Features that fire less, or not at all, after fine-tuning; the largest fall of the mean activation first. "
    + (
        "“Suppressed” is said of a fall beyond what noise of the same size does, that holds over documents and is neither near "
        "a threshold nor taken over by a neighbour."
        if floor
        else "A list to check, not a finding: a fall here has not been tested against noise, so read the contexts beside it."
    )
)

with st.container(**pickers.ROW):
    variant = pickers.pick_variant(store)
    layer = pickers.pick_layer(store, ALL, every=True)
    domain = pickers.pick_domain(store, help="Shifts and contexts are of the tokens of this domain.")
if floor:
    pickers.pick_verdicts(VERDICTS, feature_list.DEFAULT_VERDICTS["suppressed"])
with st.container(**pickers.ROW):
    pickers.pick_kinds(FALLEN)
    pickers.pick_number("Min. firings", "min", 0, 0, None, forget=("p", "selected"))
    pickers.pick_search()
    feature_evidence.blur_button(store.domains)
    badges.small(store, domain, variant)
    badges.no_floor(store)

features = feature_list.from_link(store, "suppressed", layer, domain)
kinds = features.kinds()
total = int(kinds["count"].sum())
if floor:
    others(store, features)
if total == 0:
    st.info("No feature fell under these filters: widen them, or ask for fewer firings.", icon=":material/search_off:")
    st.stop()

pager = feature_list.pager(total)
rows = features.rows(pager)
st.caption(f"{feature_list.summary(kinds)}. Click a row to see its contexts.")
names = [words.feature_name(*pair) for pair in zip(rows["layer"], rows["feature"], strict=True)]
selected = link.read("selected", names, names[0])
left, right = st.columns([1, 1.25], gap="medium")
with left:
    columns = WITH_FLOOR if floor else SHOWN
    tables.features(rows, key=f"suppressed_{link.query(selected=None)}", columns=columns, selected=selected)
    feature_list.page_buttons(features, pager)
with right:
    row = rows.iloc[names.index(selected)]
    feature_evidence.summary(store, row, feature_list.feature_link(row, "suppressed", layer))
    feature_evidence.top_contexts(store, row, variant, "decrease", domain, limit=5)
