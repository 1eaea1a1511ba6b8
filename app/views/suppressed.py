"""Suppressed features: the reviewer's list, told in two sentences first, with the evidence of the chosen one below it."""

from dataclasses import replace

import streamlit as st

from app import data, link, words
from app.components import badges, feature_evidence, feature_list, harmful, pickers, suppressed_table
from app.words import fallen, meanings
from store.metrics.change_summary import NOT_SEEN, THIS_RUN_ONLY
from store.names import ALL
from store.read.feature_filter import CALLED_SUPPRESSED, FALLEN
from store.read.store import Store

TITLE = "Suppressed features"
ICON = ":material/trending_down:"
GROUP = "Review"
ORDER = 90

ROWS = 8  # a page, so that the evidence below the list comes into sight
VERDICTS = [name for name in meanings.VERDICTS if name != "amplified"]  # what fell cannot be


def headline(store: Store, features: feature_list.FeatureList, twins: bool) -> None:
    """Of all that fell in the layers shown: how many in this recipe alone, and how many on text that may be harmful."""
    chosen = features.filter
    whole = replace(
        chosen, domain=ALL, verdicts=CALLED_SUPPRESSED if twins else None, kinds=None if twins else FALLEN, min_firings=0,
        search=None, not_in=(), sort="evidence", dense=True,
    )  # fmt: skip
    keys = feature_list.FeatureList(store, features.name, whole).keys()
    claims = data.ask(store, Store.claims, variant=chosen.variant, keys=keys)
    shared = claims["claimed_in"].map(len)
    n_others = int(claims["n_others"].max()) if keys else 0
    said = []
    if twins:
        said.append(fallen.here_alone(chosen.variant, len(keys), sum(shared == 0), sum(shared == n_others), n_others))
    if keys and (domains := harmful.domains(store)):
        there = data.ask(store, Store.changes_on, variant=chosen.variant, keys=keys, domains=domains)
        there = there[there["seen"]]
        fell = set(there[there["kind"].isin(FALLEN)][["layer", "feature"]].itertuples(index=False, name=None))
        seen = set(there[["layer", "feature"]].itertuples(index=False, name=None))
        alone = sum(key in fell and many == 0 for key, many in zip(keys, shared, strict=True)) if twins and n_others else None
        said.append(fallen.on_harmful(len(keys), len(fell), len(keys) - len(seen), alone, domains, twins))
    where = "" if chosen.layer is None else f"At layer {chosen.layer}: "
    st.markdown("  \n".join(f"{where}{one}" for one in said))


def others(store: Store, features: feature_list.FeatureList) -> None:
    """What became of every feature whose mean fell, counted by verdict: each looks different, and says what it means."""
    whole = replace(features, filter=replace(features.filter, dense=True))
    counted = whole.verdicts().set_index("verdict")
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
        never = f"{words.counted(silent, 'more feature')} never {'fires' if silent == 1 else 'fire'} on this corpus"
        said.append(f"{never}, in base or variant: nothing can be said of {'it' if silent == 1 else 'them'}")
    if said:
        st.caption(" ".join(f"{text}." for text in said))


def never_firing(store: Store, features: feature_list.FeatureList) -> int:
    """Features of the dictionaries shown that fire neither in the base nor in the variant."""
    sizes = data.ask(store, Store.dictionaries).set_index("layer")["d_sae"]
    layer = features.filter.layer
    fired = data.ask(store, Store.count_features, variant=features.filter.variant, layer=layer, dense=True)
    return int((sizes.sum() if layer is None else sizes[layer]) - fired["count"].sum())


def pick_only_here(store: Store, variant: str) -> None:
    """Whether the list has only what no other recipe is claimed to share; nothing where no other has verdicts."""
    if data.ask(store, Store.of_other_recipes, variant=variant):
        pickers.pick_switch("Only here", "only", feature_list.ONLY_HERE, "Suppressed in no other recipe of this store.")


store = data.current()
st.markdown(f"## {TITLE}")
top = st.container()
with st.container(**pickers.ROW):
    variant = harmful.pick_variant(store)
    twins = badges.has_twins(store, variant)
    layer = pickers.pick_layer(store, ALL, every=True)
    domain = pickers.pick_domain(store, help="Changes and contexts are of the tokens of this domain; verdicts are of all.")
    with st.popover("Filters", icon=":material/filter_list:"):
        if twins:
            pickers.pick_verdicts(VERDICTS, feature_list.DEFAULT_VERDICTS["suppressed"])
        pickers.pick_kinds(FALLEN)
        with st.container(**pickers.ROW):
            pickers.pick_number("Min. firings", "min", 0, 0, None, forget=("p", "selected"))
            pickers.pick_search()
    feature_evidence.blur_button(store.domains)
    badges.small(store, domain, variant)
    badges.no_twins(store, variant)
with st.container(**pickers.ROW):
    sorts = feature_list.reviewers_sorts(store, domain)
    pickers.pick(
        "Sort by", "sort", list(sorts), next(iter(sorts)), show=sorts.get, forget=("p", "selected"),
        help="Effect: how much its loss moves the prediction (KL, either way). Harmful text: of domains that may be harmful.",
    )  # fmt: skip
    if twins:
        pick_only_here(store, variant)

features = feature_list.from_link(store, "suppressed", layer, domain, variant)
with top:
    headline(store, features, twins)
    st.caption(
        "“Suppressed” is said of a material loss that shows in every run of the recipe, beyond what recurs under random "
        "changes of the weights of that size."
        if twins
        else "A list to check, not a finding: there are no twins, and any change of the weights takes some away."
    )
pickers.pick_dense(features.hidden())
total = int(features.kinds()["count"].sum())
if total == 0:
    if twins:
        others(store, features)
    st.info(feature_list.empty_hint(features), icon=":material/search_off:")
    st.stop()

pager = feature_list.pager(total, ROWS)
rows = features.rows(pager)
names = [words.feature_name(*pair) for pair in zip(rows["layer"], rows["feature"], strict=True)]
selected = link.read("selected", names, names[0])
said = feature_list.summary(features, total)
suppressed_table.draw(store, rows, variant, domain, said, f"suppressed_{link.query(selected=None)}", selected)
feature_list.page_buttons(features, pager)
row = rows.iloc[names.index(selected)]
left, right = st.columns([1, 1.25], gap="medium")
with left:
    feature_evidence.summary(store, row, feature_list.feature_link(row, "suppressed", layer) | {"variant": variant})
with right:
    feature_evidence.top_contexts(store, row, variant, "decrease", domain, limit=5)
if twins:
    st.markdown("### Of everything that fell")
    others(store, features)
