"""Feature: one feature's numbers, histograms and paired contexts in base and variant."""

import pandas as pd
import streamlit as st

from app import data, link, pages, words
from app.charts import activations
from app.components import (
    badges,
    blur,
    causal_check,
    feature_evidence,
    feature_list,
    further_evidence,
    learning,
    over_steps,
    pickers,
    runs,
    sections,
    tables,
    terms,
)
from app.components.columns import COLUMNS
from app.markup import contexts
from app.words import meanings
from store.metrics.feature_columns import share
from store.names import ALL
from store.read import firings
from store.read.store import Store

TITLE = "Feature"
ICON = ":material/search_insights:"
GROUP = "Explore"
ORDER = 60

EVIDENCE_WIDTH, PASSAGES_WIDTH = 470, 610  # pixels: side by side at 1440, under each other at 1024
TERMS = ("feature", "activation", "suppressed", "amplified", "twin", "run", "contribution", "nats", "cluster", "fit")
AROUND = {"5": 5, "10": 10, ALL: None}  # tokens shown on either side of a context's peak


def list_links(store: Store, layer: int, feature: int, domain: str) -> None:
    """Where this feature stands in the list one came from, with links to the one before and after, and back."""
    name = link.read("list", feature_list.PAGES, "shifted")
    list_layer = link.read("list_layer", [ALL, *store.layers], ALL)
    features = feature_list.from_link(store, name, None if list_layer == ALL else list_layer, domain)
    found, page = features.neighbours(layer, feature), pages.every()[feature_list.PAGES[name]]
    place = st.container(horizontal=True, vertical_alignment="center")
    if not found.empty:
        at = found.iloc[0]
        for side in ("previous", "next"):
            feature_list.step_button(place, side, at[f"{side}_layer"], at[f"{side}_feature"], list=name, list_layer=list_layer)
        place.caption(f"{int(at['position']):,} of {int(at['total']):,} in {page.title}", width="content")
    else:
        place.caption(f"Not in {page.title} as that list is filtered", width="content")
    back = link.query(layer=None if list_layer == ALL else list_layer, feature=None, list=None, list_layer=None, ranking=None)
    place.page_link(page.file, label=f"Back to {page.title}", icon=":material/list:", query_params=back)


def header(store: Store, about: pd.Series, variant: str, here: pd.Series | None, pooled: pd.Series | None) -> None:
    """What it is, its number, badges (the verdict is of all domains together), link and file."""
    place = {"layer": int(about["layer"]), "feature": int(about["feature"]), "variant": variant}
    name, label = words.feature_name(place["layer"], place["feature"]), words.label(about["label"], None, 200)
    line = st.container(horizontal=True, vertical_alignment="center")
    line.markdown(f"### {words.plain(label or name)}", width="content")
    if label:
        line.markdown(name, width="content")
        badges.automatic(about["label_source"], line)
    if here is not None:
        feature_evidence.badge_line(here.where(here.index != "verdict", pooled["verdict"]), line)
    if isinstance(about["neuronpedia"], str):
        url = f"https://www.neuronpedia.org/{about['neuronpedia']}/{place['feature']}"
        line.page_link(url, label="Neuronpedia", icon=":material/open_in_new:")
    pickers.copy_link(line, **place)
    hidden = blur.hidden(store.domains)
    line.download_button(
        f"Evidence (JSON{blur.COVERED * bool(hidden)})",
        lambda: feature_evidence.as_json(store, **place, hidden=hidden),
        f"evidence_{variant}_L{place['layer']}_{place['feature']}.json",
        "application/json",
        help=blur.DOWNLOADED if hidden else None,
        on_click="ignore",
        icon=":material/download:",
    )


def evidence(store: Store, pooled: pd.Series) -> None:
    """Why its verdict in this variant, all domains together; what it contributes; its change beside other runs and twins."""
    layer, feature, variant = int(pooled["layer"]), int(pooled["feature"]), pooled["variant"]
    badges.no_twins(store, variant)
    st.markdown(feature_evidence.why(store, layer, feature, variant))
    learning.of_feature(store, layer, feature, variant)
    feature_evidence.change_chart(store, pooled)
    over_steps.of_feature(store, layer, feature, variant)
    st.caption("All domains together. " + " ".join(feature_evidence.facts(pooled)))
    further_evidence.moved_to(pooled)
    further_evidence.prediction_and_replica(store, pooled)
    causal_check.section(store, layer, feature, variant)


def passages(store: Store, about: pd.Series, pooled: pd.Series, acting: pd.DataFrame) -> None:
    """Its contexts; where none is kept, the passages in which its change acts, if there are any.

    acting: of learning.acting_passages.
    """
    layer, feature, variant = int(about["layer"]), int(about["feature"]), pooled["variant"]
    if len(acting) and not has_contexts(store, layer, feature, variant):
        feature_evidence.blur_button(acting["domain"].unique())
        learning.where_it_acts(store, acting)
        kept = "This store keeps no contexts of this feature."
        st.caption(kept if store.keeps_codes(variant) else feature_evidence.statistics_only(variant))
        return
    telling = "decrease" if pooled["shift"] < 0 else "increase"
    with st.container(**pickers.ROW):
        ranking = pickers.pick(
            "Contexts", "ranking", list(meanings.RANKING_NAMES), telling, show=meanings.RANKING_NAMES.get, few=0
        )
        shown = pickers.pick("Show", "n", [5, 10, 20], 5, show=lambda n: f"up to {n}", few=0, width=105)
        around = pickers.pick(
            "Around the peak", "around", list(AROUND), ALL, show=lambda name: "all kept" if name == ALL else f"±{name}",
            help="Tokens on either side. Windows that show the same are folded into one.", few=0, width=140,
        )  # fmt: skip
        feature_evidence.blur_button(store.domains)
    feature_evidence.top_contexts(store, about, variant, ranking, domain, limit=shown, around=AROUND[around])


def has_contexts(store: Store, layer: int, feature: int, variant: str) -> bool:
    """Whether any context is kept of the feature in a variant."""
    return not data.ask(store, Store.count_contexts, layer=layer, feature=feature, variant=variant).empty


def by_domain_and_segment(store: Store, about: pd.Series, pooled: pd.Series, stats: pd.DataFrame, domain: str) -> None:
    """The feature's numbers domain by domain, its change in other variants, its shift by segment, what the dictionary says."""
    variant = pooled["variant"]
    left, right = st.columns([1.25, 1])
    with left:
        st.markdown(f"**{words.plain(variant)} against base, by domain**")
        numbers(stats[stats["variant"] == variant])
        others = stats[(stats["domain"] == domain) & (stats["variant"] != variant)]
        if len(others):
            named = [words.plain(runs.name(store, other)) for other in others["variant"]]
            changes = [f"{name} {share(change)}" for name, change in zip(named, others["change"], strict=True)]
            st.caption(f"Change in the other variants, domain {words.plain(domain)}: " + ", ".join(changes))
    with right:
        further_evidence.segments(store, pooled)
    st.caption(
        f"{words.plain(about['sae'])} · {words.plain(about['architecture'])} · {int(about['d_sae']):,} features · "
        f"density in base {words.percent(about['density'])} · decoder norm {words.number(about['decoder_norm'])}"
    )


def numbers(stats: pd.DataFrame) -> None:
    """One variant's numbers, a row a domain."""
    printed = tables.printed(stats.assign(label="", label_source=None))
    lost_or_new = "suppression" if stats.iloc[0]["shift"] < 0 else "emergence"  # of firings; the other would not fit
    columns = ["kind", "change", "shift", "freq_base", "freq_variant", lost_or_new]
    shown = pd.concat([stats["domain"].reset_index(drop=True), printed[columns]], axis=1)
    config = {name: COLUMNS[name].config() for name in columns[1:]}
    st.dataframe(shown, hide_index=True, column_config={"domain": "Domain", "kind": "Kind"} | config, height="content")


def strengths(store: Store, layer: int, feature: int, variant: str) -> None:
    """How strong it is where it fires, in base and variant."""
    bins = data.ask(store, Store.histogram, layer=layer, feature=feature)
    if bins.empty:
        st.info("No histogram of this feature.", icon=":material/search_off:")
    else:
        drawn = data.chart(activations.histogram, bins, variant)
        st.vega_lite_chart(spec=drawn, key="histogram", alt=f"Histogram of activations in base and {variant}")


def directions(store: Store, about: pd.Series, pooled: pd.Series) -> None:
    """The features whose decoder rows lie nearest, and the output tokens that its own raises and lowers."""
    further_evidence.neighbours(store, pooled)
    output_tokens(about)


def token_by_token(store: Store, layer: int, feature: int, variant: str, domain: str) -> None:
    """Base over variant token by token, and where in a corpus and a context window it fires: from the codes that were kept."""
    tokens_kept = data.ask(store, Store.coded_tokens)
    if tokens_kept.empty:
        st.caption("This store kept no codes, so that single tokens cannot be looked at.")
        return
    if not store.keeps_codes(variant):
        st.caption(feature_evidence.statistics_only(variant))
        return
    pairs = data.ask(store, Store.paired_activations, layer=layer, feature=feature, variant=variant)
    here = pairs if domain == ALL else pairs[pairs["domain"] == domain]
    documents = tokens_kept.drop_duplicates("domain").set_index("domain")["n_documents"]
    kept = int(documents.sum() if domain == ALL else documents.get(domain, 0))
    every = int(store.manifest.rows["documents"])
    said = f"From {words.counted(kept, 'document')}" + ("" if domain == ALL else f" of domain {words.plain(domain)}")
    left, right = st.columns([1, 1.25])
    with left:
        if here.empty:
            st.caption(f"{said} whose codes this store keeps: it fires in none of them.")
        else:
            drawn = data.chart(activations.density, firings.density(here), variant)
            alternative = f"How often which activation in base comes with which in {variant}, token by token"
            st.vega_lite_chart(spec=drawn, key="density", alt=alternative)
            fires = f"{len(here):,} tokens where it fires in either"
            st.caption(f"{said} (of {every:,} in all) whose codes this store keeps: {fires}.")
    with right:
        if pairs.empty:
            return
        for title, rows, axis, is_line in (
            ("By domain", firings.by_domain(pairs, tokens_kept), "domain", False),
            ("By place in the context window", firings.by_place(pairs, tokens_kept), "tokens before it in the window", True),
        ):
            spec = data.chart(activations.by_group, rows, variant, title, axis, is_line)
            st.vega_lite_chart(spec=spec, key=f"firings_{title}", alt=f"{title}: mean activation in base and {variant}")


def output_tokens(about: pd.Series) -> None:
    """The output tokens whose logits the feature's decoder direction raises and lowers most; nothing where not computed."""
    if about["promoted_tokens"] is None:
        return
    left, right = st.columns(2)
    for place, title, name in ((left, "Promotes", "promoted"), (right, "Suppresses", "suppressed")):
        place.markdown(f"**{title} these output tokens**")
        place.html(contexts.chips(about[f"{name}_tokens"], about[f"{name}_logits"]))


def chosen(store: Store) -> tuple[int, int, int]:
    """The layer and feature that the link names, else the first of the list one came from; the number of the layer's last."""
    named = {str(layer): layer for layer in store.layers}.get(link.read_text("layer"))
    first = feature_list.from_link(store, link.read("list", feature_list.PAGES, "shifted"), named, ALL).first()
    first_layer, first_feature = first or (named or store.layers[0], 0)
    layer = link.read("layer", store.layers, first_layer)
    last = int(data.ask(store, Store.dictionaries).set_index("layer").loc[layer, "d_sae"]) - 1
    return layer, link.read_number("feature", first_feature, 0, last), last


store = data.current()
st.markdown(f"## {TITLE}")
layer, number, last = chosen(store)
with st.container(**pickers.ROW):
    variant = pickers.pick_variant(store, pin={"layer": layer, "feature": number})
    pickers.pick_layer(store, layer)
    pickers.pick_number("Feature", "feature", number, 0, last)
    domain = pickers.pick_domain(store, help="Of the contexts, and of the list that Previous and Next walk through.")
list_links(store, layer, number, domain)

about = data.ask(store, Store.feature, layer=layer, feature=number)
if about.empty:
    st.info(f"This store says nothing about feature {number} of layer {layer}.", icon=":material/search_off:")
    st.stop()
about = about.iloc[0]
stats = data.ask(store, Store.feature_stats, layer=layer, feature=number)
mine = stats[stats["variant"] == variant]
in_domain = mine[mine["domain"] == domain]
pooled = mine[mine["domain"] == ALL].iloc[0] if len(mine) else None
header(store, about, variant, in_domain.iloc[0] if len(in_domain) else None, pooled)
if pooled is None:
    st.info("It never fired on this corpus, neither in the base nor in this variant.", icon=":material/search_off:")
    st.stop()
terms.line(*TERMS)
acting = learning.acting_passages(store, layer, number, variant)
sides = st.container(horizontal=True)
with sides.container(width=EVIDENCE_WIDTH):
    evidence(store, pooled)
with sides.container(width=PASSAGES_WIDTH):
    passages(store, about, pooled, acting)

if len(acting) and has_contexts(store, layer, number, variant):
    learning.where_it_acts(store, acting)
sections.section("numbers", "By domain and segment", by_domain_and_segment, store, about, pooled, stats, domain)
sections.section("strengths", "How strong it is where it fires", strengths, store, layer, number, variant)
sections.section("directions", "Nearest decoder directions and output tokens", directions, store, about, pooled)
sections.section("tokens", "Token by token, and by place", token_by_token, store, layer, number, variant, domain)
