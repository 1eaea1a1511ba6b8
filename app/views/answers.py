"""Answers: what base and variants say to the same prompts, side by side."""

import streamlit as st

from app import data, link, words
from app.components import blur, pickers, tables
from app.markup import answer_cards
from store.names import ALL, BASE, may_be_harmful
from store.read.store import Store

TITLE = "Answers"
ICON = ":material/forum:"
GROUP = "Story"
ORDER = 30

PAGE_SIZE = 10
SHOWN = {ALL: "All", "yes": "Where a variant differs"}


def pick_find() -> str:
    """Free text: part of a prompt or of an answer."""
    st.session_state["pick_find"] = link.read_search("find")
    return st.text_input(
        "Search", key="pick_find", on_change=_keep_find, placeholder="prompt or answer", max_chars=80, width=200
    ).strip()  # fmt: skip


def _keep_find() -> None:
    link.write(find=st.session_state["pick_find"].strip() or None, p=None)


store = data.current()
st.markdown(f"## {TITLE}")
tasks = data.ask(store, Store.answer_tasks)
if tasks.empty:
    st.info(
        "This store holds no answers: give a file of them to the run with `answers` in its configuration.",
        icon=":material/search_off:",
    )
    st.stop()
st.caption(
    "The same prompts, answered greedily by the base and by each variant. Where a variant says nearly the same as the base, "
    "what it says otherwise is marked. A few prompts are an impression, and no measurement."
)
names = tasks["task"].to_list()
with st.container(**pickers.ROW):
    task = pickers.pick("Task", "task", names, names[0], forget=("p",))
    show = pickers.pick("Show", "differ", list(SHOWN), ALL, show=SHOWN.get, forget=("p",))
    find = pick_find()
    if may_be_harmful(task):
        blur.button()
rows = data.ask(store, Store.answers, task=task)
models = [model for model in (BASE, *store.variants) if model in set(rows["model"])]
found = answer_cards.found(rows, find, differing=show != ALL)
if found.empty:
    st.info("No such prompt or answer: search finds part of either; or show all of them.", icon=":material/search_off:")
    st.stop()
prompts = sorted(found["prompt"].unique())
pager = tables.Pager(len(prompts), PAGE_SIZE)
chosen = prompts[pager.offset : pager.offset + PAGE_SIZE]
line = pager.buttons(f"{words.counted(len(prompts), 'prompt')} · page {pager.page:,} of {pager.last:,}")
hidden = blur.is_hidden(task)
line.download_button(
    f"Download {words.counted(len(prompts), 'prompt')} (CSV{blur.COVERED * hidden})",
    data=lambda: tables.csv(answer_cards.covered(found) if hidden else found),
    help=blur.DOWNLOADED if hidden else None,
    file_name=f"{words.file_name('answers', task)}.csv",
    mime="text/csv",
    on_click="ignore",
    icon=":material/download:",
)
st.html(answer_cards.STYLE + answer_cards.cards(found[found["prompt"].isin(chosen)], models, hidden))
