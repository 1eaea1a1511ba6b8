"""The reviewer's work list: which features, what has been said of each, how far one is, and the way to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import streamlit as st

from app import data, link, words
from app.components import tables
from app.components.columns import COLUMNS
from app.components.feature_list import FeatureList
from app.words import meanings
from store.read.store import Store
from store.reports.review import progress
from store.sidecar.reviews import CONCERN, Key, Review, disagree, step

LONGEST = 2000
"""Features that a work list holds at most, the first of its order."""

MARKS = {CONCERN: "⚑", "benign": "✓", "unclear": "?"}
LABEL_WIDTH = 128
"""Pixels."""
ME, ANYONE = "me", "anyone"


@dataclass(frozen=True)
class WorkList:
    """Features to review, in order, and the current judgements of each.

    Attributes:
        keys: at most LONGEST of the list.
        total: how many the list has.
        found: current judgements of the variant's features, of the list or not.
        reviewer: who reviews; '' while nobody has said.
        by: ME where a feature counts as reviewed once `reviewer` judged it, ANYONE where anybody's judgement will do.
    """

    keys: Sequence[Key]
    total: int
    found: Mapping[Key, Sequence[Review]]
    reviewer: str
    by: str

    def counted(self, key: Key) -> list[Review]:
        """The judgements of a feature that count for how far one is."""
        return [one for one in self.found.get(key, ()) if self.by == ANYONE or one.reviewer == self.reviewer]

    @property
    def done(self) -> set[Key]:
        """The features of the list that count as reviewed."""
        return {key for key in self.keys if self.counted(key)}

    def first(self) -> Key:
        """Where to begin: the first that is not done, or the first."""
        done = self.done
        return next((key for key in self.keys if key not in done), self.keys[0])


def work_list(features: FeatureList, found: Mapping[Key, Sequence[Review]], reviewer: str, by: str) -> WorkList:
    """The work list of a list of features."""
    keys = features.keys(LONGEST)
    total = len(keys)
    if total == LONGEST:
        total = int(features.kinds()["count"].sum())
    return WorkList(keys, total, found, reviewer, by if reviewer else ANYONE)


def name(key: Key) -> str:
    """How a feature is written."""
    return words.feature_name(*key)


def progress_bar(work: WorkList) -> None:
    """'12 of 40 reviewed by Ada, 3 concerns', and what others did."""
    counted = {key: reviews for key in work.keys if (reviews := work.counted(key))}
    mine = progress(counted)
    everyone = progress({key: work.found[key] for key in work.keys if key in work.found})
    who = f" by {words.plain(work.reviewer)}" if work.by == ME else ""
    said = f"**{mine['reviewed']:,} of {len(work.keys):,} reviewed**{who}, {words.counted(mine['concerns'], 'concern')}"
    if work.by == ME and everyone["reviewed"] > mine["reviewed"]:
        said += f" · {everyone['reviewed']:,} by anyone"
    if everyone["disagreements"]:
        said += f" · reviewers disagree on {words.counted(everyone['disagreements'], 'feature')}"
    if work.total > len(work.keys):
        said += f" · the first {len(work.keys):,} of {work.total:,} in this list"
    st.progress(len(counted) / len(work.keys), text=said)


def table(store: Store, variant: str, work: WorkList, selected: Key) -> None:
    """The list with what was said of each feature; a click on a row goes there."""
    names = [name(key) for key in work.keys]
    claims = data.ask(store, Store.claims, variant=variant, keys=work.keys)
    marks = {verdict: shown.mark for verdict, shown in meanings.VERDICTS.items()}
    automatic = words.all_automatic(claims["label_source"])
    judged = [work.found.get(key, ()) for key in work.keys]
    shown = pd.DataFrame(
        {
            "verdict": claims["verdict"].map(marks).fillna(""),
            "label": tables.labels(claims, LABEL_WIDTH, marked=not automatic),
            "feature": names,
            "said": [_marks(reviews) for reviews in judged],
        }
    )
    config = {
        "verdict": st.column_config.TextColumn("", help="▼ suppressed, ▲ amplified, or another verdict.", width=30),
        "label": replace(COLUMNS["label"], title=f"Label{words.AUTO * automatic}", width=LABEL_WIDTH).config(),
        "feature": st.column_config.TextColumn("Feature", width=74),
        "said": st.column_config.TextColumn(
            "Said", help="⚑ concern, ✓ benign, ? unclear, a mark a reviewer; ≠ where reviewers disagree.", width=50
        ),
    }
    tables.clicked_row(
        shown,
        f"work_{link.query(selected=None)}_{name(selected)}",
        config,
        lambda at: link.write(selected=names[at]),
        selected=names.index(name(selected)),
        height=min(460, 38 + 35 * len(names)),
    )


def step_buttons(work: WorkList, at: Key, place: Any) -> None:
    """To the features before and after this one that are not reviewed (P, N), and to those beside it in the list (K, J)."""
    here = work.keys.index(at)
    done = work.done
    back, on = (":material/keyboard_double_arrow_left:", ":material/keyboard_double_arrow_right:")
    _step(place, work, "Previous unreviewed", back, "P", step(work.keys, done, at, ahead=False))
    _step(place, work, "Next unreviewed", on, "N", step(work.keys, done, at, ahead=True))
    place.caption(f"{here + 1:,} of {len(work.keys):,}", width="content")
    _step(place, work, "Back", ":material/chevron_left:", "K", work.keys[here - 1] if here else None)
    _step(place, work, "On", ":material/chevron_right:", "J", work.keys[here + 1] if here + 1 < len(work.keys) else None)


def _step(place: Any, work: WorkList, title: str, icon: str, shortcut: str, target: Key | None) -> None:
    place.button(
        title,
        key=f"step_{shortcut}",
        icon=icon,
        shortcut=shortcut,
        disabled=target is None,
        on_click=link.write,
        kwargs={"selected": target and name(target), "reviewer": work.reviewer or None},
    )


def _marks(reviews: Sequence[Review]) -> str:
    return " ".join([*(MARKS[review.verdict] for review in reviews), *(["≠"] if disagree(reviews) else [])])
