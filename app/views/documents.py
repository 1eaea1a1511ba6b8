"""Documents: one text, its tokens coloured by what changed at them; a token's link shows the features that changed there."""

from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from app import data, link, words
from app.components import blur, document_tables, feature_evidence, pickers
from app.markup import token_colours
from app.markup.token_colours import VALUES, TokenValue
from store.names import ALL, BASE, may_be_harmful
from store.read.store import Store
from store.token_text import cut

TITLE = "Documents"
ICON = ":material/article:"
GROUP = "Explore"
ORDER = 80

LISTED = 300  # documents in the list at most; search, domain and order choose which

SORT_NAMES = {"change": "Most changed", "order": "Reading order", "hash": "Shuffled"}
HAVING_NAMES = {ALL: "All", "codes": "With codes", "kl": "With next-token KL"}

TEXT_HEIGHT = 470  # pixels
AROUND = 7  # tokens before and after the chosen one that are shown beside its features
SHORT = 250  # tokens; a text that is not longer is shown whole


def available(store: Store, scales: pd.DataFrame) -> dict[str, TokenValue]:
    """The values that the store has for any token, by their name in the link."""
    counted = scales.set_index("value")["n_tokens"]
    return {name: value for name, value in VALUES.items() if counted[list(value.columns)].min() > 0}


def pick_find() -> str:
    """Free text: part of a source id or of a document's text."""
    st.session_state["pick_find"] = link.read_search("find")
    return st.text_input(
        "Search", key="pick_find", on_change=_keep_find, placeholder="id or text", max_chars=80, width=200
    ).strip()  # fmt: skip


def _keep_find() -> None:
    link.write(find=st.session_state["pick_find"].strip() or None)


def heading(store: Store, about: pd.Series, listed: pd.DataFrame) -> None:
    """Which document this is, and the way to the ones before and after it in the list."""
    numbers = listed["document"].to_list()
    at = numbers.index(about["document"]) if about["document"] in numbers else None
    line = st.container(horizontal=True, vertical_alignment="center")
    for side, step in (("previous", -1), ("next", 1)):
        there = at is not None and 0 <= at + step < len(numbers)
        line.button(
            side.capitalize(),
            icon={"previous": ":material/chevron_left:", "next": ":material/chevron_right:"}[side],
            disabled=not there,
            on_click=link.write,
            kwargs={"document": numbers[at + step], "position": None} if there else {},
        )
    line.markdown(f"**{words.plain(about['source'])}**", width="content")
    where = f"{at + 1:,} of {int(listed['total'].iloc[0]):,}" if at is not None else "not in the list above"
    line.caption(f"{words.plain(about['domain'])} · {words.count(about['n_tokens'])} tokens · {where}", width="content")
    if may_be_harmful(about["domain"]):
        blur.button(line)


def why_uncoloured(store: Store, variant: str, about: pd.Series, value: TokenValue) -> str:
    """Why a document has no values of this kind, and what to do."""
    if not store.keeps_codes(variant):
        return feature_evidence.statistics_only(variant)
    if value.of_prediction:
        return (
            "The next-token prediction of this document was not sampled: choose one “With next-token KL” above, or set "
            "`token_kl` higher in the run's configuration."
        )
    if not about["has_codes"]:
        return (
            "This store kept no token metrics of this document: choose one “With codes” above, or open the store that this "
            "one was cut from."
        )
    return "No token of this document counts at this layer."


def text(rows: pd.DataFrame, value: TokenValue, end: float, variant: str, position: int) -> str:
    """A document, or a piece of it, as HTML, each token a link to itself."""
    here = urlencode(link.query(position=None) | {"position": ""})
    names = (BASE, variant)
    return token_colours.document(rows, value, end, names, position, lambda p: f"?{here}{p}")


def usual(store: Store, value: TokenValue) -> str:
    """Which documents are listed unless asked for others: those that have the value, where a store keeps it of some only."""
    if value.of_prediction:
        return "kl"
    return "codes" if store.manifest.published_from else ALL


def choose(store: Store, variant: str, layer: int, value: TokenValue) -> pd.DataFrame:
    """The list of documents and what it is filtered and sorted by; open until one was chosen."""
    with st.expander("Choose a document", icon=":material/list:", expanded="document" not in st.query_params):
        with st.container(**pickers.ROW):
            domain = pickers.pick_domain(store)
            sort = pickers.pick("Order", "arrange", list(SORT_NAMES), "change", show=SORT_NAMES.get)
            having = pickers.pick("Show", "with", list(HAVING_NAMES), usual(store, value), show=HAVING_NAMES.get)
            find = pick_find()
        listed = data.ask(
            store, Store.document_list, variant=variant, layer=layer, value=value.mean, domain=domain, search=find,
            having=None if having == ALL else having, sort=sort, limit=LISTED,
        )  # fmt: skip
        if listed.empty:
            st.info(
                "No such document. Search finds part of an id or of the text; choose another domain, or show all of them.",
                icon=":material/search_off:",
            )
            return listed
        document_tables.documents(listed, value)
        total = int(listed["total"].iloc[0])
        counted = f"The first {LISTED:,} of {total:,}; search or choose a domain for others" if total > LISTED else f"{total:,}"
        st.caption(f"Documents: {counted}. Click one to read it.")
    return listed


store = data.current()
st.markdown(f"## {TITLE}")
with st.container(**pickers.ROW):
    variant = pickers.pick_variant(store)
    layer = pickers.pick_layer(store, store.layers[-1])
    scales = data.ask(store, Store.token_scales, variant=variant, layer=layer)
    values = available(store, scales)
    if values:
        metric = pickers.pick(
            "Colour by", "colour", list(values), next(iter(values)), show=lambda name: VALUES[name].label, few=0, width=230,
            help="; ".join(f"**{v.label}**: {v.meaning}" for v in values.values()),
        )  # fmt: skip
if not values:
    said = "This store kept no token metrics, so that nothing can be shown of single tokens."
    said = said if store.keeps_codes(variant) else feature_evidence.statistics_only(variant)
    st.info(said, icon=":material/search_off:")
    st.stop()
value = VALUES[metric]
listed = choose(store, variant, layer, value)
last = int(store.manifest.rows["documents"]) - 1
if listed.empty and "document" not in st.query_params:
    st.stop()
number = link.read_number("document", 0 if listed.empty else int(listed["document"].iloc[0]), 0, last)
about = data.ask(store, Store.document_about, document=number).iloc[0]
rows = data.ask(store, Store.document_tokens, document=number, variant=variant, layer=layer)
rows = rows.assign(covered=blur.covered(store, about["domain"], number, 0, len(rows)))
first = token_colours.strongest(rows, value)
position = link.read_number("position", 0 if first is None else first, 0, int(about["n_tokens"]) - 1)
heading(store, about, listed)
end = token_colours.top(value, scales)
if first is None:
    st.info(why_uncoloured(store, variant, about, value), icon=":material/format_color_reset:")
n_tokens = int(scales.set_index("value")["n_tokens"][list(value.columns)].min())
of = f"sampled in {variant}" if value.of_prediction else f"of layer {layer} in {variant}"
st.html(token_colours.legend(value, end, n_tokens, (BASE, variant), rows, of))
left, right = st.columns(2)
with left:
    with st.container(height=TEXT_HEIGHT if len(rows) > SHORT else "content", border=True, key="document_text"):
        st.html(token_colours.STYLE + text(rows, value, end, variant, position))
    st.caption("Click a token, here or in the table below, for the features that changed there.")
with right:
    token = rows.iloc[position]
    st.markdown(f"**Token {position:,}** · {words.plain(token['segment'])}")
    start = max(0, position - AROUND)
    near = rows.iloc[start : position + AROUND + 1]
    near = near.assign(token=cut(rows["token"].to_list(), start, start + len(near)))
    st.html(text(near, value, end, variant, position))
    document_tables.features_there(store, about, token, variant, layer)
st.markdown("**All tokens, the most changed first**")
document_tables.tokens(rows, value)
