"""Judging one feature: every press of a button is written at once; what stands, and what others say, is read back from disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import link, words
from app.components.review_list import MARKS, name
from store.errors import UserError
from store.read.store import Store
from store.sidecar.entries import read_reviews, write_review
from store.sidecar.reviews import CONCERN, MAX_NAME, MAX_NOTE, SEVERITIES, VERDICTS, Key, Review, disagree, standing

FAILED, UNSAVED = "_review_failed", "_review_unsaved"
"""Why the last judgement was not saved; the note that still is not, which stays in its field."""

REVIEWER = "_reviewer"


def pick_reviewer() -> str:
    """The reviewer's name: of the link, or as it was given before in this session; '' while nobody has said."""
    known = link.read_text("reviewer") or st.session_state.get(REVIEWER, "")
    st.session_state["pick_reviewer"] = known[:MAX_NAME]
    st.text_input(
        "Reviewer", key="pick_reviewer", on_change=_keep_reviewer, placeholder="your name", max_chars=MAX_NAME, width=170,
        help="Stands beside each of your judgements. A link to this page carries it: take it out before you send one on.",
    )  # fmt: skip
    return " ".join(known[:MAX_NAME].split())


def judge(store: Store, variant: str, key: Key, reviewer: str, can_judge: bool, history: Sequence[Review]) -> None:
    """The buttons of verdict (1, 2, 3) and severity (L, M, H), the note, and what is on disk of this feature.

    history: every judgement of the variant's features, in the order of writing.
    """
    here = [review for review in history if review.key == key]
    found = standing(here).get(key, [])
    mine = next((review for review in found if review.reviewer == reviewer), None)
    failed = st.session_state.pop(FAILED, None)
    if failed:
        st.error(f"Not saved: {words.plain(failed)}", icon=":material/error:")
    target = (store, variant, key, reviewer)
    with st.container(border=True):
        row = st.container(horizontal=True, vertical_alignment="center", gap="small")
        for shortcut, verdict in zip("123", VERDICTS, strict=True):
            chosen = mine is not None and mine.verdict == verdict
            _button(row, f"{MARKS[verdict]} {verdict.capitalize()}", shortcut, chosen, can_judge, target, verdict=verdict)
        if mine is not None and mine.verdict == CONCERN:
            row.caption("Severity", width="content")
            for severity in SEVERITIES:
                chosen = mine.severity == severity
                change = {"severity": None if chosen else severity}
                _button(row, severity.capitalize(), severity[0].upper(), chosen, can_judge, target, **change)
        _note(mine, can_judge, target)
        _saved(mine, reviewer, can_judge)
    _others([review for review in found if review is not mine], found)
    _past(here)


def _button(place: Any, title: str, shortcut: str, chosen: bool, enabled: bool, target: tuple, **change: Any) -> None:
    _, variant, feature, _ = target
    place.button(
        title,
        # Named by the feature: a key pressed while the next one is being drawn judges the one that was on the screen.
        key=f"judge_{title}_{variant}_{name(feature)}",
        type="primary" if chosen else "secondary",
        shortcut=shortcut,
        disabled=not enabled,
        on_click=_save,
        args=target,
        kwargs=change,
    )


def _note(mine: Review | None, can_judge: bool, target: tuple) -> None:
    store, variant, key, reviewer = target
    widget = f"note_{store.manifest.digest[:8]}_{variant}_{name(key)}_{reviewer}"
    if st.session_state.get(UNSAVED) != widget:
        st.session_state[widget] = mine.note if mine else ""
    st.text_area(
        "Note", key=widget, height=68, max_chars=MAX_NOTE, label_visibility="collapsed",
        disabled=not can_judge or mine is None, on_change=_save_note, args=(widget, *target),
        placeholder="A note, saved when you leave the field" if mine else "Give a verdict first; then a note can be added",
    )  # fmt: skip


def _saved(mine: Review | None, reviewer: str, can_judge: bool) -> None:
    if mine is not None:
        st.caption(f":material/check: Saved {words.utc(mine.made)} as {words.plain(reviewer)}", width="content")
    elif can_judge:
        st.caption(f"Not judged yet by {words.plain(reviewer)}. A verdict is saved as soon as it is given.", width="content")


def _others(others: Sequence[Review], found: Sequence[Review]) -> None:
    """What other reviewers hold, and that they do not agree."""
    if disagree(found):
        said = words.listing([f"{words.plain(review.reviewer)}: {_verdict(review)}" for review in found])
        st.warning(f"**Reviewers disagree.** {said}.", icon=":material/call_split:")
    for review in others:
        line = st.container(horizontal=True, vertical_alignment="center", gap="small")
        line.badge(f"{MARKS[review.verdict]} {_verdict(review)}", color="red" if review.verdict == CONCERN else "gray")
        note = f": {words.plain(review.note)}" if review.note else ""
        line.markdown(f"**{words.plain(review.reviewer)}**, {words.utc(review.made)}{note}", width="content")


def _past(history: Sequence[Review]) -> None:
    """Every judgement ever given of the feature; nothing is overwritten."""
    if len(history) < 2:
        return
    with st.expander(f"History: {len(history):,} judgements"):
        rows = [
            {"Time": words.utc(review.made), "Reviewer": review.reviewer, "Verdict": _verdict(review), "Note": review.note}
            for review in reversed(history)
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, height="content")


def _save(store: Store, variant: str, key: Key, reviewer: str, **change: Any) -> None:
    """Write this reviewer's current judgement, read anew, with one thing changed; nothing where it is so already."""
    try:
        store.snapshot.check()  # what was on the screen is what is judged
        digest = store.manifest.digest
        found = standing(read_reviews(store.path, digest, variant)).get(key, [])
        mine = next((review for review in found if review.reviewer == reviewer), None)
        fields = {"verdict": mine.verdict, "severity": mine.severity, "note": mine.note} if mine else {}
        fields |= change
        if fields["verdict"] != CONCERN:
            fields["severity"] = None
        if mine is None or any(getattr(mine, field) != value for field, value in fields.items()):
            write_review(store.path, digest, Review(variant, *key, reviewer, **fields))
    except UserError as error:
        st.session_state[FAILED] = str(error)
    st.session_state[REVIEWER] = reviewer
    link.write(selected=name(key), reviewer=reviewer)


def _save_note(widget: str, store: Store, variant: str, key: Key, reviewer: str) -> None:
    _save(store, variant, key, reviewer, note=st.session_state[widget].strip())
    st.session_state[UNSAVED] = widget if FAILED in st.session_state else None


def _keep_reviewer() -> None:
    given = " ".join(st.session_state["pick_reviewer"].split())
    st.session_state[REVIEWER] = given
    link.write(reviewer=given or None)


def _verdict(review: Review) -> str:
    return f"{review.verdict} ({review.severity})" if review.severity else review.verdict
