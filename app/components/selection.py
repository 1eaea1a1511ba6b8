"""Features that a reader picked in a list, to compare, download or review them; the URL holds their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import feature_scatter
from app.components import tables
from store.read.store import Store

Key = tuple[int, int]
"""Layer and number of a feature."""

PICKED = "picked"
"""In the URL: names as words.feature_name writes them, comma-separated."""

MOST = 100
"""More than so many a link does not hold."""

FOR_REVIEW = ("store", "present", "variant", "domain", PICKED)
"""What of a list's link goes on to Review with what is picked."""


def picked(store: Store) -> list[Key]:
    """The features that the URL names, in its order; one that no dictionary of the store has gives a note."""
    if not link.read_text(PICKED):
        return []
    sizes = data.ask(store, Store.dictionaries).set_index("layer")["d_sae"].to_dict()

    def known(name: str) -> Key | None:
        key = words.named_feature(name)
        return key if key and key[1] < sizes.get(key[0], 0) else None

    return link.read_each(PICKED, known, MOST)


def never_firing(keys: Iterable[Key], firing: Iterable[Key], variant: str) -> list[str]:
    """A sentence that names those of `keys` that are not among `firing`, as safe Markdown; no sentence where all are."""
    firing = set(firing)
    silent = [words.feature_name(*key) for key in keys if key not in firing]
    return [f"Never firing in {words.plain(variant)} on this text: {', '.join(silent)}."] if silent else []


def keep_ticked(before: Iterable[Key], on_page: list[str], ticked: list[str]) -> None:
    """For a table's callback: what was picked on other pages stays, of this page's rows those that are ticked now."""
    names = [words.feature_name(*key) for key in before]
    _write([name for name in names if name not in on_page or name in ticked] + ticked)


def keep_marked(before: Iterable[Key], points: pd.DataFrame, key: str) -> None:
    """For a chart's callback: a mark clicked with Shift or Ctrl is picked or let go; those inside a box are picked.

    Args:
        points: what the chart shows.
        key: of the chart, one of charts.feature_scatter.
    """
    chosen: Mapping[str, Any] = st.session_state[key]["selection"]
    names = [words.feature_name(*one) for one in before]
    for name in (words.feature_name(mark["layer"], mark["feature"]) for mark in chosen.get("pick", [])):
        names = [other for other in names if other != name] if name in names else [*names, name]
    if box := chosen.get("box"):
        names += tables.names(feature_scatter.inside(points, box))
    if chosen.get("pick") or box:
        _write(names)


def buttons(store: Store, keys: list[Key]) -> None:
    """How many are picked, a link that takes them to Review, and a button that lets them go."""
    line = st.container(horizontal=True, vertical_alignment="center")
    line.markdown(f"### {words.counted(len(keys), 'feature')} picked", width="content")
    variant = link.read("variant", store.variants, store.variants[0])
    there = {name: value for name, value in link.query(variant=variant).items() if name in FOR_REVIEW}
    line.page_link("views/review.py", label="Send to Review", icon=":material/rate_review:", query_params=there)
    line.button("Let go of all", icon=":material/close:", on_click=link.write, kwargs={PICKED: None})


def _write(names: Iterable[str]) -> None:
    link.write(**{PICKED: ",".join(list(dict.fromkeys(names))[:MOST]) or None})
