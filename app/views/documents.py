"""Documents: one text, its tokens coloured by what changed at them; a token's link shows the features that changed there."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from app import data, link
from app.components import blur, tables
from app.components import pickers as widgets
from app.markup import token_colours
from app.markup.token_colours import VALUES, TokenValue
from app.words import metrics as words
from store.names import ALL, BASE
from store.read.store import Store
from store.text import marked
from store.token_text import cut

LISTED = 300  # documents in the list at most; search, domain and order choose which

SORT_NAMES = {"change": "Most changed", "order": "Reading order", "hash": "Shuffled"}
HAVING_NAMES = {ALL: "All", "codes": "With codes", "kl": "With next-token KL"}

HIDDEN = "(blurred)"
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


def table(shown: pd.DataFrame, key: str, config: dict[str, Any], keep: Callable[[int], None], **options: Any) -> None:
    """Draw a table; `keep` gets the number of the row that somebody clicks, before the page is drawn again."""

    def chosen() -> None:
        selection = st.session_state[key].selection
        at = [cell[0] for cell in selection.cells] + list(selection.rows)
        if at:
            keep(at[0])

    st.dataframe(
        shown, hide_index=True, column_config=config, on_select=chosen, selection_mode=["single-row", "single-cell"], key=key,
        placeholder="", **options,
    )  # fmt: skip


def document_table(listed: pd.DataFrame, value: TokenValue, lifted: bool) -> None:
    """The documents to choose from."""
    numbers = listed["document"].to_list()
    hidden = [blur.may_be_harmful(domain) and not lifted for domain in listed["domain"]]
    shown = pd.DataFrame(
        {
            "source": listed["source"],
            "domain": listed["domain"],
            "change": [words.number(v, signed=value.signed) for v in listed["change"]],
            "n_tokens": [words.count(v) for v in listed["n_tokens"]],
            "codes": ["✓" if v else "–" for v in listed["has_codes"]],
            "kl": ["✓" if v else "–" for v in listed["has_kl"]],
            "start": [
                HIDDEN if hide else words.short(marked(text or ""), 90)
                for hide, text in zip(hidden, listed["start"], strict=True)
            ],
        }
    )
    of = VALUES[next(name for name, each in VALUES.items() if each.columns == (value.mean,))]
    right = {"alignment": "right", "width": "small"}
    config = {
        "source": st.column_config.TextColumn("Document", width="medium"),
        "domain": st.column_config.TextColumn("Domain", width="small"),
        "change": st.column_config.TextColumn(
            f"Mean {of.label}", help=f"Over its tokens; {of.unit}.", alignment="right", width=130
        ),
        "n_tokens": st.column_config.TextColumn("Tokens", **right),
        "codes": st.column_config.TextColumn("Codes", help="Whether the features at its tokens can be listed.", width=70),
        "kl": st.column_config.TextColumn("KL", help="Whether its next-token prediction was sampled.", width=60),
        "start": st.column_config.TextColumn("Begins", width="large"),
    }
    table(
        shown, f"documents_{link.query()}", config, lambda at: link.write(document=numbers[at], position=None), height=250
    )  # fmt: skip


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
    if blur.may_be_harmful(about["domain"]):
        blur.button(line)


def why_uncoloured(about: pd.Series, value: TokenValue) -> str:
    """Why a document has no values of this kind, and what to do."""
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


def text(rows: pd.DataFrame, value: TokenValue, end: float, variant: str, position: int, blurred: bool) -> str:
    """A document, or a piece of it, as HTML, each token a link to itself."""
    here = urlencode(link.query(position=None) | {"position": ""})
    names = (BASE, variant)
    return token_colours.document(rows, value, end, names, position, lambda p: f"?{here}{p}", blurred=blurred)


def features_there(store: Store, about: pd.Series, token: pd.Series, variant: str, layer: int) -> None:
    """The features that changed at one token; a click on one opens its page."""
    if not about["has_codes"]:
        st.info(
            "This store did not keep the codes of this document, so the features at a token cannot be listed: choose one “With "
            "codes” above, or open the store that this one was cut from.",
            icon=":material/inventory_2:",
        )
        return
    if token_colours.is_sink(token["counted"]):
        st.info(
            "An attention sink: its norm is far beyond the layer's others, so it does not count and its codes are not stored. "
            "Choose another token.",
            icon=":material/do_not_disturb_on:",
        )
        return
    asked = {"document": int(about["document"]), "position": int(token["position"]), "layer": layer, "variant": variant}
    rows = data.ask(store, Store.token_features, **asked)
    changed = rows[rows["change"] != 0]
    same = len(rows) - len(changed)
    if changed.empty:
        unchanged = f"{words.counted(same, 'feature')} on, with the same code in both models"
        what = "no feature is on in either model" if rows.empty else unchanged
        st.info(f"Nothing changed here: {what}.", icon=":material/horizontal_rule:")
        return
    st.caption(
        f"{words.counted(len(changed), 'feature')} changed"
        + (f", {same:,} on and unchanged" if same else "")
        + " · scaled activation; shift and verdict are of all domains"
    )
    written = tables.printed(changed)
    shown = pd.DataFrame(
        {
            "name": written["name"],
            "change": [words.number(v, signed=True) for v in changed["change"]],
            "label": written["label"],
            "base": [words.number(v) for v in changed["base"]],
            "variant": [words.number(v) for v in changed["variant"]],
            "verdict": written["verdict"],
            "shift": written["shift"],
        }
    )
    if changed["verdict"].isna().all():
        shown = shown.drop(columns="verdict")
    right = {"alignment": "right", "width": 68}
    config = {
        "name": st.column_config.TextColumn("Feature", width=74),
        "label": st.column_config.TextColumn("Label", width=160),
        "base": st.column_config.TextColumn("Base", help="Scaled activation here.", **right),
        "variant": st.column_config.TextColumn("Variant", help="Scaled activation here.", **right),
        "change": st.column_config.TextColumn("Change", help="Variant − base, here.", **right),
        "verdict": st.column_config.TextColumn("Verdict", help=tables.COLUMNS["verdict"][1], width=124),
        "shift": st.column_config.TextColumn("Shift", help=tables.COLUMNS["shift"][1], **right),
    }
    event = st.dataframe(
        shown, hide_index=True, column_config=config, on_select="rerun", selection_mode=["single-row", "single-cell"],
        key=f"features_{link.query()}_{token['position']}", height=TEXT_HEIGHT - 150, placeholder="",
    )  # fmt: skip
    at = [cell[0] for cell in event.selection.cells] + list(event.selection.rows)
    if at and at[0] < len(changed):
        there = {"layer": layer, "feature": int(changed.iloc[at[0]]["feature"])}
        # With all that this page reads: the browser's way back passes through this page with the other's parameters.
        st.switch_page("views/feature.py", query_params=link.query(**there))


def token_table(rows: pd.DataFrame, value: TokenValue, hidden: bool) -> None:
    """Every token with all its values, the most changed first; a click chooses it."""
    order = token_colours.change(rows, value).abs().sort_values(ascending=False, kind="stable", na_position="last").index
    rows = rows.loc[order].reset_index(drop=True)
    columns = {
        name: each
        for each in (value, *VALUES.values())
        for name in each.columns
        if rows[name].notna().any()
    }  # fmt: skip
    shown = pd.DataFrame(
        {
            "position": rows["position"],
            "token": HIDDEN if hidden else [marked(token) for token in rows["alone"]],
            "segment": rows["segment"],
            "context": rows["context"] + 1,
            "counts": ["no: sink" if token_colours.is_sink(counted) else "yes" for counted in rows["counted"]],
        }
    )
    places = ["segment", "context", "counts"]
    shown = shown.drop(columns=[name for name in places if shown[name].nunique() == 1])
    shown = pd.concat([shown, rows[list(columns)].astype(float)], axis=1)
    side = {"base": ", base", "variant": ", variant"}
    config = {
        "position": st.column_config.NumberColumn("Position", width="small"),
        "token": st.column_config.TextColumn("Token", width="small"),
        "segment": st.column_config.TextColumn("Segment", width="small"),
        "context": st.column_config.NumberColumn("Window", help="Context window that the models saw it in.", width="small"),
        "counts": st.column_config.TextColumn("Counts", help="Attention sinks of the layer do not count.", width="small"),
    }
    for name, each in columns.items():
        label = each.label.replace(", both models", side.get(name.rsplit("_", 1)[-1], ""))
        config[name] = st.column_config.NumberColumn(
            label, help=f"{each.meaning} {each.unit}.", format="%.3g", width=28 + 7 * len(label)
        )
    positions = rows["position"].to_list()
    table(
        shown, f"tokens_{link.query()}", config, lambda at: link.write(position=positions[at]), height=280
    )  # fmt: skip


def usual(store: Store, value: TokenValue) -> str:
    """Which documents are listed unless asked for others: those that have the value, where a store keeps it of some only."""
    if value.of_prediction:
        return "kl"
    return "codes" if store.manifest.published_from else ALL


def choose(store: Store, variant: str, layer: int, value: TokenValue, lifted: bool) -> pd.DataFrame:
    """The list of documents and what it is filtered and sorted by; open until one was chosen."""
    with st.expander("Choose a document", icon=":material/list:", expanded="document" not in st.query_params):
        with st.container(**widgets.ROW):
            domain = widgets.pick_domain(store)
            sort = widgets.pick("Order", "arrange", list(SORT_NAMES), "change", show=SORT_NAMES.get)
            having = widgets.pick("Show", "with", list(HAVING_NAMES), usual(store, value), show=HAVING_NAMES.get)
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
        document_table(listed, value, lifted)
        total = int(listed["total"].iloc[0])
        counted = f"The first {LISTED:,} of {total:,}; search or choose a domain for others" if total > LISTED else f"{total:,}"
        st.caption(f"Documents: {counted}. Click one to read it.")
    return listed


store = data.current()
st.markdown("## Documents")
with st.container(**widgets.ROW):
    variant = widgets.pick_variant(store)
    layer = widgets.pick_layer(store, store.layers[-1])
    scales = data.ask(store, Store.token_scales, variant=variant, layer=layer)
    values = available(store, scales)
    if values:
        metric = widgets.pick(
            "Colour by", "colour", list(values), next(iter(values)), show=lambda name: VALUES[name].label, few=0, width=230,
            help="; ".join(f"**{v.label}**: {v.meaning}" for v in values.values()),
        )  # fmt: skip
if not values:
    st.info("This store kept no token metrics, so that nothing can be shown of single tokens.", icon=":material/search_off:")
    st.stop()
value, lifted = VALUES[metric], blur.is_shown()
listed = choose(store, variant, layer, value, lifted)
last = int(store.manifest.rows["documents"]) - 1
if listed.empty and "document" not in st.query_params:
    st.stop()
number = link.read_number("document", 0 if listed.empty else int(listed["document"].iloc[0]), 0, last)
about = data.ask(store, Store.document_about, document=number).iloc[0]
rows = data.ask(store, Store.document_tokens, document=number, variant=variant, layer=layer)
hidden = blur.may_be_harmful(about["domain"]) and not lifted
first = token_colours.strongest(rows, value)
position = link.read_number("position", 0 if first is None else first, 0, int(about["n_tokens"]) - 1)
heading(store, about, listed)
end = token_colours.top(value, scales)
if first is None:
    st.info(why_uncoloured(about, value), icon=":material/format_color_reset:")
n_tokens = int(scales.set_index("value")["n_tokens"][list(value.columns)].min())
of = f"sampled in {variant}" if value.of_prediction else f"of layer {layer} in {variant}"
st.html(token_colours.legend(value, end, n_tokens, (BASE, variant), rows, of))
left, right = st.columns(2)
with left:
    with st.container(height=TEXT_HEIGHT if len(rows) > SHORT else "content", border=True, key="document_text"):
        st.html(token_colours.STYLE + text(rows, value, end, variant, position, hidden))
    st.caption("Click a token, here or in the table below, for the features that changed there.")
with right:
    token = rows.iloc[position]
    st.markdown(f"**Token {position:,}** · {words.plain(token['segment'])}")
    start = max(0, position - AROUND)
    near = rows.iloc[start : position + AROUND + 1]
    near = near.assign(token=cut(rows["token"].to_list(), start, start + len(near)))
    st.html(text(near, value, end, variant, position, hidden))
    features_there(store, about, token, variant, layer)
st.markdown("**All tokens, the most changed first**")
token_table(rows, value, hidden)
