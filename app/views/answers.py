"""Answers: what base and variants say to the same prompts, side by side."""

from typing import Any

import streamlit as st

from app import data, link
from app.components import blur, tables
from app.components import pickers as widgets
from app.markup import answer_cards
from app.words import metrics as words
from store.names import ALL, BASE
from store.read.store import Store

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


def page_buttons(line: Any, page: int, last: int, total: int) -> None:
    """Which prompts are shown, and the way to the others."""
    for side, step, icon in (("Previous", -1, ":material/chevron_left:"), ("Next", 1, ":material/chevron_right:")):
        there = 1 <= page + step <= last
        line.button(side, icon=icon, disabled=not there, on_click=link.write, kwargs={"p": page + step})
    line.caption(f"{words.counted(total, 'prompt')} · page {page:,} of {last:,}", width="content")


store = data.current()
st.markdown("## Answers")
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
with st.container(**widgets.ROW):
    task = widgets.pick("Task", "task", names, names[0], forget=("p",))
    show = widgets.pick("Show", "differ", list(SHOWN), ALL, show=SHOWN.get, forget=("p",))
    find = pick_find()
    harmful = blur.may_be_harmful(task)
    if harmful:
        blur.button()
rows = data.ask(store, Store.answers, task=task)
models = [model for model in (BASE, *store.variants) if model in set(rows["model"])]
found = answer_cards.found(rows, find, differing=show != ALL)
if found.empty:
    st.info("No such prompt or answer: search finds part of either; or show all of them.", icon=":material/search_off:")
    st.stop()
prompts = sorted(found["prompt"].unique())
last = -(-len(prompts) // PAGE_SIZE)
page = link.read_number("p", 1, 1, last)
chosen = prompts[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
blurred = harmful and not blur.is_shown()
line = st.container(horizontal=True, vertical_alignment="center")
page_buttons(line, page, last, len(prompts))
line.download_button(
    f"Download {words.counted(len(prompts), 'prompt')} (CSV)",
    data=lambda: tables.csv(found),
    file_name=f"{words.file_name('answers', task)}.csv",
    mime="text/csv",
    on_click="ignore",
    icon=":material/download:",
)
st.html(answer_cards.STYLE + answer_cards.cards(found[found["prompt"].isin(chosen)], models, blurred))
