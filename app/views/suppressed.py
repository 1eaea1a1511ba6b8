"""Suppressed features: the reviewer's list, the largest loss first, with the evidence of the chosen one beside it."""

import streamlit as st

from app import data, link, words
from app.components import badges, feature_evidence, feature_list, pickers, tables
from app.words import meanings
from store.metrics.change_summary import NOT_SEEN, THIS_RUN_ONLY
from store.names import ALL
from store.read.feature_filter import FALLEN
from store.read.store import Store

TITLE = "Suppressed features"
ICON = ":material/trending_down:"
ORDER = 40

SHOWN = ["name", "kind", "change", "interval", "gate"]
WITH_TWINS = ["name", "verdict", "change", "interval", "runs"]
VERDICTS = [name for name in meanings.VERDICTS if name != "amplified"]  # what fell cannot be


def others(store: Store, features: feature_list.FeatureList) -> None:
    """What became of every feature whose mean fell, counted by verdict: each looks different, and says what it means."""
    counted = features.verdicts().set_index("verdict")
    place = st.container(horizontal=True, vertical_alignment="center")
    for verdict in meanings.VERDICTS:
        if verdict in counted.index:
            badges.verdict(verdict, place, int(counted.loc[verdict, "count"]))
    said = []
    if THIS_RUN_ONLY in counted.index:
        name = THIS_RUN_ONLY.capitalize()
        said.append(f"“{name}” is no claim: without another run that shows it, it may be one training run's chance")
    if NOT_SEEN in counted.index:
        said.append(f"“{NOT_SEEN.capitalize()}” is not “steady”: of these nothing is known")
    silent = never_firing(store, features)
    if silent:
        said.append(f"{silent:,} more features never fire on this corpus, in base or variant: nothing can be said of them")
    if said:
        st.caption("  \n".join(f"{text}." for text in said))


def never_firing(store: Store, features: feature_list.FeatureList) -> int:
    """Features of the dictionaries shown that fire neither in the base nor in the variant."""
    sizes = data.ask(store, Store.dictionaries).set_index("layer")["d_sae"]
    layer = features.filter.layer
    fired = data.ask(store, Store.count_features, variant=features.filter.variant, layer=layer, dense=True)
    return int((sizes.sum() if layer is None else sizes[layer]) - fired["count"].sum())


store = data.current()
twins = badges.has_twins(store, link.read("variant", store.variants, store.variants[0]))
st.markdown(f"## {TITLE}")
order = "those first whose loss moves the prediction most" if store.has_contributions else "the largest share first"
st.caption(
    f"Features that lost activation after fine-tuning, {order}. "
    + (
        "“Suppressed” is said of a material loss that shows in every run of the recipe, beyond what recurs under random "
        "changes of the weights of that size."
        if twins
        else "A list to check, not a finding: there are no twins, and any change of the weights takes some away."
    )
)

with st.container(**pickers.ROW):
    variant = pickers.pick_variant(store)
    layer = pickers.pick_layer(store, ALL, every=True)
    domain = pickers.pick_domain(store, help="Changes and contexts are of the tokens of this domain; verdicts are of all.")
if twins:
    pickers.pick_verdicts(VERDICTS, feature_list.usual_verdicts(store, "suppressed", variant))
with st.container(**pickers.ROW):
    pickers.pick_kinds(FALLEN)
    pickers.pick_number("Min. firings", "min", 0, 0, None, forget=("p", "selected"))
    pickers.pick_search()
    feature_evidence.blur_button(store.domains)
    badges.small(store, domain, variant)
    badges.no_twins(store, variant)

features = feature_list.from_link(store, "suppressed", layer, domain)
pickers.pick_dense(features.hidden())
total = int(features.kinds()["count"].sum())
if twins:
    others(store, features)
if total == 0:
    st.info(feature_list.empty_hint(features), icon=":material/search_off:")
    st.stop()

pager = feature_list.pager(total)
rows = features.rows(pager)
st.caption(f"{feature_list.summary(features, total)}. Click a row to see its contexts.")
names = [words.feature_name(*pair) for pair in zip(rows["layer"], rows["feature"], strict=True)]
selected = link.read("selected", names, names[0])
left, right = st.columns([1.2, 1.1] if twins else [1, 1.25], gap="medium")
with left:
    columns = WITH_TWINS if twins else SHOWN
    if store.has_contributions:
        columns = [*columns[:3], "contribution_kl", *columns[3:]]
    tables.features(rows, key=f"suppressed_{link.query(selected=None)}", columns=columns, selected=selected)
    feature_list.page_buttons(features, pager)
with right:
    row = rows.iloc[names.index(selected)]
    feature_evidence.summary(store, row, feature_list.feature_link(row, "suppressed", layer))
    feature_evidence.top_contexts(store, row, variant, "decrease", domain, limit=5)
