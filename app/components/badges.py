"""What stands beside a page's pickers and a feature's name: verdict, fit, whether there are twins, few clusters."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import data, words
from app.words import meanings
from store.metrics import thresholds
from store.read.store import Store

NO_TWINS = (
    "Without twins, random changes of the weights as large as the variant's, nothing says whether a change is this training's: "
    "no feature has a verdict. Set `twins` in the configuration of a run, and extract again."
)


AUTOMATIC_MEANING = "worked out of the tokens that it fires on, and of the output tokens that it promotes: a hint, no finding."
OTHERS_HAVE_TWINS = (
    "This variant has no twins, which are made of plain LoRA adapters and full checkpoints, or another run of its recipe has "
    "none: no feature of it has a verdict."
)


def verdict(verdict: str | None, place: Any = st, count: int | None = None) -> None:
    """The verdict as a badge, its meaning as help, with how many features have it; nothing where there is none."""
    if isinstance(verdict, str):
        shown = meanings.VERDICTS[verdict]
        label = shown.label if count is None else f"{count:,} {shown.label}"
        place.badge(label, color=shown.badge, icon=shown.icon, help=shown.meaning.capitalize() + ".")


def automatic(source: str | None, place: Any = st) -> None:
    """A badge that no person gave a feature its label; source: the store's label_source."""
    if source == words.AUTOMATIC:
        place.badge("automatic label", color="gray", icon=":material/smart_toy:", help=AUTOMATIC_MEANING.capitalize())


def has_twins(store: Store, variant: str | None = None) -> bool:
    """Whether a variant (None: any) has twins, and with them verdicts."""
    return data.ask(store, Store.has_verdicts, variant=variant)


def no_twins(store: Store, variant: str | None = None, place: Any = st) -> None:
    """A badge that a variant (None: any) has no verdicts, where it has no twins, or another run of its recipe has none."""
    if not has_twins(store, variant):
        why = OTHERS_HAVE_TWINS if has_twins(store) else NO_TWINS
        place.badge("no verdicts: no twins", color="gray", icon=":material/content_copy:", help=why)


def no_twins_notice(store: Store) -> None:
    """Say what cannot be said, in a store without twins."""
    if not has_twins(store):
        st.info(f"**No verdicts: this store has no twins.** {NO_TWINS}", icon=":material/content_copy:")


def gate(gate: str | None, place: Any = st) -> None:
    """The fit gate as a badge, its meaning as help."""
    if gate is None or pd.isna(gate):
        place.badge("fit unknown", color="gray")
        return
    colour, icon = meanings.GATE_BADGES.get(gate, meanings.GATE_BADGE_OTHER)
    place.badge(words.plain(gate), color=colour, icon=icon, help=meanings.GATE_MEANINGS.get(gate))


def small(store: Store, domain: str, variant: str | None = None, place: Any = st) -> None:
    """A badge where the numbers of a variant (None: of any) rest on too few clusters for intervals."""
    table = data.ask(store, Store.overview, domain=domain)
    clusters = table.loc[(table["variant"] == variant) | (variant is None), "n_clusters"]
    if len(clusters) and clusters.min() < thresholds.MIN_CLUSTERS:
        here = words.counted(int(clusters.min()), "cluster")
        place.badge(meanings.SMALL, color="gray", icon=":material/info:", help=f"{here}. {meanings.SMALL_MEANING}")
