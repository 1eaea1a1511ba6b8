"""Feature: one feature's numbers, histograms and paired contexts in base and variant."""

import pandas as pd
import streamlit as st

from app import charts, data, evidence, link, lists, tables, tokens, widgets, words
from store import feature_lists, queries
from store.names import ALL
from store.reader import Store


def list_links(store: Store, layer: int, feature: int, domain: str) -> None:
    """Where this feature stands in the list one came from, with links to the one before and after, and back."""
    name = link.read("list", lists.NAMES, "shifted")
    list_layer = link.read("list_layer", [ALL, *store.layers], ALL)
    features = lists.from_link(store, name, None if list_layer == ALL else list_layer, domain)
    found = features.neighbours(layer, feature)
    place = st.container(horizontal=True, vertical_alignment="center")
    if not found.empty:
        at = found.iloc[0]
        for side in ("previous", "next"):
            lists.step_button(place, side, at[f"{side}_layer"], at[f"{side}_feature"], list=name, list_layer=list_layer)
        place.caption(f"{int(at['position']):,} of {int(at['total']):,} in {lists.NAMES[name]}", width="content")
    back = link.query(
        layer=None if list_layer == ALL else list_layer, feature=None, list=None, list_layer=None, ranking=None
    )
    place.page_link(f"views/{name}.py", label=f"Back to {lists.NAMES[name]}", icon=":material/list:", query_params=back)


def header(about: pd.Series, here: pd.Series | None) -> None:
    """Name, label, badges, and what the dictionary says about the feature."""
    label = about["label"] if isinstance(about["label"], str) and about["label"] else ""
    line = st.container(horizontal=True, vertical_alignment="center")
    line.markdown(
        f"#### {words.feature_name(about['layer'], about['feature'])}" + (f" · {words.plain(label)}" if label else ""),
        width="content",
    )
    if here is not None:
        evidence.badges(here, line)
    if isinstance(about["neuronpedia"], str):
        url = f"https://www.neuronpedia.org/{about['neuronpedia']}/{int(about['feature'])}"
        line.page_link(url, label="Neuronpedia", icon=":material/open_in_new:")
    source = f", label {words.plain(about['label_source'])}" if label and isinstance(about["label_source"], str) else ""
    st.caption(
        f"{words.plain(about['sae'])} · {words.plain(about['architecture'])} · {int(about['d_sae']):,} features · "
        f"density in base {words.percent(about['density'])} · decoder norm {words.number(about['decoder_norm'])}{source}"
    )


def numbers(stats: pd.DataFrame) -> None:
    """One variant's numbers, a row a domain."""
    printed = tables.printed(stats.assign(label=""))
    columns = ["kind", "shift", "freq_base", "freq_variant", "suppression", "emergence"]
    shown = pd.concat([stats["domain"].reset_index(drop=True), printed[columns]], axis=1)
    config = {
        name: st.column_config.TextColumn(
            tables.COLUMNS[name][0], help=tables.COLUMNS[name][1], alignment="right", width="small"
        )
        for name in columns[1:]
    }
    st.dataframe(shown, hide_index=True, column_config={"domain": "Domain", "kind": "Kind"} | config, height="content")


def output_tokens(about: pd.Series) -> None:
    """The output tokens whose logits the feature's decoder direction raises and lowers most; nothing where not computed."""
    if about["promoted_tokens"] is None:
        return
    left, right = st.columns(2)
    for place, title, name in ((left, "Promotes", "promoted"), (right, "Suppresses", "suppressed")):
        place.markdown(f"**{title} these output tokens**")
        place.html(tokens.chips(about[f"{name}_tokens"], about[f"{name}_logits"]))


def start(store: Store) -> tuple[int, int, dict[int, int]]:
    """The layer and feature to show where the link names none (the most shifted one), and each layer's number of features."""
    variant = link.read("variant", store.variants, store.variants[0])
    named = link.read("layer", store.layers, None) if "layer" in st.query_params else None
    first = data.ask(store, feature_lists.shifted_features, variant=variant, layer=named, limit=1)
    sizes = data.ask(store, queries.dictionaries).set_index("layer")["d_sae"].to_dict()
    if first.empty:
        return named or store.layers[0], 0, sizes
    return int(first["layer"].iloc[0]), int(first["feature"].iloc[0]), sizes


store = data.current()
st.markdown("## Feature")
first_layer, first_feature, sizes = start(store)
layer = link.read("layer", store.layers, first_layer)
number = link.read_number("feature", first_feature, 0, sizes[layer] - 1)
with st.container(**widgets.ROW):
    variant = widgets.pick_variant(store, pin={"layer": layer, "feature": number})
    widgets.pick_layer(store, first_layer)
    widgets.pick_number("Feature", "feature", first_feature, 0, sizes[layer] - 1)
    domain = widgets.pick_domain(store, help="Of the contexts, and of the list that Previous and Next walk through.")
list_links(store, layer, number, domain)

about = data.ask(store, queries.feature, layer=layer, feature=number)
if about.empty:
    st.info(f"This store says nothing about feature {number} of layer {layer}.", icon=":material/search_off:")
    st.stop()
stats = data.ask(store, queries.feature_stats, layer=layer, feature=number)
mine = stats[stats["variant"] == variant]
in_domain = mine[mine["domain"] == domain]
header(about.iloc[0], in_domain.iloc[0] if len(in_domain) else None)
if mine.empty:
    st.info("It never fired on this corpus, neither in the base nor in this variant.", icon=":material/search_off:")
    st.stop()

left, right = st.columns([1, 1.25])
with left:
    bins = data.ask(store, queries.histogram, layer=layer, feature=number)
    if bins.empty:
        st.info("No histogram of this feature.", icon=":material/search_off:")
    else:
        st.altair_chart(
            charts.histogram(bins, variant, height=max(300, 35 * len(mine) + 60)),
            key="histogram",
            alt=f"Histogram of activations in base and {variant}",
        )
with right:
    st.markdown(f"**{words.plain(variant)} against base, by domain**")
    numbers(mine)
    others = stats[(stats["domain"] == domain) & (stats["variant"] != variant)]
    if len(others):
        shifts = [
            f"{words.plain(v)} {words.number(s, signed=True)}" for v, s in zip(others["variant"], others["shift"], strict=True)
        ]
        st.caption(f"Shift in the other variants, domain {words.plain(domain)}: " + ", ".join(shifts))

output_tokens(about.iloc[0])
telling = "decrease" if mine.iloc[0]["shift"] < 0 else "increase"
with st.container(**widgets.ROW):
    ranking = widgets.pick("Contexts", "ranking", list(words.RANKING_NAMES), telling, show=words.RANKING_NAMES.get)
    shown = widgets.pick("Show", "n", [5, 10, 20], 5, show=lambda n: f"{n} contexts", few=0)
evidence.contexts(store, about.iloc[0], variant, ranking, domain, limit=shown)
