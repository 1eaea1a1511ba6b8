"""What stands beside a page's pickers and a feature's name: verdict, fit, whether there is a noise floor, few documents."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import data, words
from app.words import meanings
from store.metrics import thresholds
from store.metrics.change_summary import HEADLINES
from store.names import ALL
from store.read.store import Store

NO_FLOOR = (
    "No control was computed, so a low overlap proves nothing by itself: a random change of the same size gives the same fall. "
    "No feature has a verdict, either. Read overlap together with L0 and the size of the change."
)


def verdict(verdict: str | None, place: Any = st) -> None:
    """The verdict as a badge, its meaning as help; nothing where there is none."""
    if isinstance(verdict, str):
        shown = meanings.VERDICTS[verdict]
        place.badge(shown.label, color=shown.badge, icon=shown.icon, help=shown.meaning.capitalize() + ".")


def headline(headline: str, place: Any = st) -> None:
    """What a story comes down to, as a badge."""
    colour, icon = meanings.HEADLINE_BADGES[headline]
    place.badge(headline, color=colour, icon=icon, help=HEADLINES[headline].capitalize() + ".")


def no_floor(store: Store, place: Any = st) -> None:
    """A badge that there is no noise floor, in a store that computed no control."""
    if not has_floor(store):
        place.badge("no noise floor", color="gray", icon=":material/straighten:", help=NO_FLOOR)


def has_floor(store: Store) -> bool:
    """Whether the store has the isotropic control, and with it verdicts."""
    return data.ask(store, Store.has_verdicts)


def gate(gate: str | None, place: Any = st) -> None:
    """The fit gate as a badge, its meaning as help."""
    if gate is None or pd.isna(gate):
        place.badge("fit unknown", color="gray")
        return
    colour, icon = meanings.GATE_BADGES.get(gate, meanings.GATE_BADGE_OTHER)
    place.badge(words.plain(gate), color=colour, icon=icon, help=meanings.GATE_MEANINGS.get(gate))


def small(store: Store, domain: str, variant: str | None = None, place: Any = st) -> None:
    """A badge where the numbers of a variant (None: of any) rest on too few documents for each domain shown."""
    table = data.ask(store, Store.overview, domain=domain)
    documents = table.loc[(table["variant"] == variant) | (variant is None), "n_documents"]
    domains = len(store.domains) if domain == ALL else 1
    if len(documents) and documents.min() < thresholds.MIN_DOCUMENTS * domains:
        here = words.counted(int(documents.min()), "document")
        within = f" in {domains} domains" if domains > 1 else ""
        place.badge(meanings.SMALL, color="gray", icon=":material/info:", help=f"{here}{within}. {meanings.SMALL_MEANING}")


def no_floor_notice(store: Store) -> None:
    """Say that overlap alone proves nothing, in a store that computed no control."""
    if not has_floor(store):
        st.info(f"**No noise floor in this store.** {NO_FLOOR}", icon=":material/straighten:")
