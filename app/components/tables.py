"""The table of features, the same wherever one stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import streamlit as st

from app import link
from app.words import metrics as words

COLUMNS = {
    "name": ("Feature", "Layer and number in the dictionary."),
    "label": ("Label", "What the feature is taken to stand for; empty where nobody has said."),
    "kind": ("Kind", "; ".join(f"{kind}: {meaning}" for kind, meaning in words.KIND_MEANINGS.items())),
    "shift": ("Shift", "Mean over tokens of variant minus base, scaled activation."),
    "std_shift": ("Std. shift", "Shift divided by the pooled standard deviation."),
    "freq_base": ("In base", "Share of tokens where it fires in the base."),
    "freq_variant": ("In variant", "Share of tokens where it fires in the variant."),
    "log_ratio": ("log₂ ratio", "log2 of the variant's firings over the base's, half a firing added to both."),
    "suppression": ("Suppression", "Of the base's firings, the share that is gone in the variant."),
    "emergence": ("Emergence", "Of the variant's firings, the share that is new."),
    "n_documents": ("Documents", "Documents where it fires in either."),
    "verdict": (
        "Verdict",
        "Of all domains together. " + "; ".join(f"{name}: {verdict.meaning}" for name, verdict in words.VERDICTS.items()),
    ),
    "floor": ("Floor", "What noise of the same size does to features of like frequency: the 99th percentile of their |shift|."),
    "floor_ratio": ("Over floor", "|Shift| over what noise of the same size does to features of like frequency."),
    "z": ("z", "Over documents: does the shift differ from a random change's? Of all domains together."),
    "q": ("q", "False discovery rate at which it would be claimed, among all features of the layer."),
    "near_threshold": ("Near threshold", "Of the tokens where it starts or stops firing, the share close to its threshold."),
    "minimum_detectable": ("Detectable", "The |shift| from which on a change of this feature would have been found."),
    "did_shift": ("Task − neutral", "Shift on the variant's task domains minus shift on the neutral domains."),
    "share": ("On segment", "Part of its shift that sits on tokens of the segment."),
    "gate": ("Fit", "Whether the dictionary still describes the variant at this layer and domain."),
}
WIDTHS = {
    "name": 74, "label": 150, "kind": 88, "verdict": 124, "shift": 72, "floor": 60, "floor_ratio": 88, "z": 58, "q": 76,
    "minimum_detectable": 92, "near_threshold": 106, "did_shift": 108, "suppression": 96, "emergence": 90, "n_documents": 92,
}  # fmt: skip
"""Column widths in pixels, where Streamlit's "small" would cut the heading off."""

FLOOR_COLUMNS = ("verdict", "floor", "floor_ratio", "z", "q", "near_threshold", "minimum_detectable", "did_shift")

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet runs the text of a cell that begins so."""


def features(rows: pd.DataFrame, key: str, columns: list[str] | None = None, selected: str | None = None) -> pd.Series | None:
    """Draw one page of shifted_features; a click anywhere on a row gives that row, else None.

    selected: name of the feature that the URL says is chosen, for a list that keeps its choice: the table shows it, a
    click writes another into the URL, and nothing is given back.
    """
    written = printed(rows)
    shown = written[columns or [name for name in COLUMNS if name in written]]
    if "label" in shown and not shown["label"].any():
        shown = shown.drop(columns="label")
    config = {
        name: st.column_config.TextColumn(title, help=help_text, width=WIDTHS.get(name, "small"), alignment=_alignment(name))
        for name, (title, help_text) in COLUMNS.items()
    }
    keep = selected is not None
    key = f"{key}_{selected}"
    event = st.dataframe(
        shown,
        hide_index=True,
        column_config=config,
        on_select=(lambda: _keep_selected(key, shown["name"].to_list())) if keep else "rerun",
        selection_mode=["single-row", "single-cell"],
        selection_default={"selection": {"rows": [shown["name"].to_list().index(selected)]}} if keep else None,
        key=key,
        height="content",
        placeholder="",
    )
    at = None if keep else _row(event)
    return rows.iloc[at] if at is not None and at < len(rows) else None


def printed(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a list of features as a person reads them: the columns of COLUMNS that the rows have, as text."""
    out = pd.DataFrame(
        {"name": [words.feature_name(*pair) for pair in zip(rows["layer"], rows["feature"], strict=True)]}
        | {"label": rows["label"].fillna("").to_list(), "kind": rows["kind"].to_list()}
    )
    for name, write in _WRITTEN.items():
        if name in rows:
            out[name] = [write(value) for value in rows[name]]
    return out


def _signed(value: float) -> str:
    return words.number(value, signed=True)


def _verdict(value: str | None) -> str:
    return f"{words.VERDICTS[value].mark} {value}" if isinstance(value, str) else "–"


def _gate(value: str | None) -> str:
    return value if isinstance(value, str) else "unknown"


_WRITTEN = {
    "verdict": _verdict, "shift": _signed, "std_shift": _signed, "floor": words.number, "floor_ratio": words.ratio,
    "z": _signed, "q": words.probability, "freq_base": words.percent, "freq_variant": words.percent, "log_ratio": _signed,
    "suppression": words.percent, "emergence": words.percent, "near_threshold": words.percent,
    "minimum_detectable": words.number, "did_shift": _signed, "share": words.percent, "n_documents": words.count,
    "gate": _gate,
}  # fmt: skip
"""Column -> how its values are written."""


def columns_of(numbers: Iterable[str], floor: bool) -> list[str]:
    """What can be shown of a list, in the order of COLUMNS: `numbers`, and with a noise floor what rests on it."""
    known = {*numbers, *(FLOOR_COLUMNS if floor else ())}
    return [name for name in COLUMNS if name in known]


def csv(rows: pd.DataFrame) -> str:
    """Rows as CSV. Labels are untrusted text: what a spreadsheet would take for a formula gets a ' before it."""
    safe = rows.copy()
    for name in safe.select_dtypes(["object", "string"]):
        risky = safe[name].map(lambda value: isinstance(value, str) and value.startswith(FORMULA_STARTS))
        safe[name] = safe[name].mask(risky.astype(bool), "'" + safe[name].astype("string"))
    return safe.to_csv(index=False)


def parquet(rows: pd.DataFrame) -> bytes:
    """Rows as a Parquet file, text as it is."""
    return rows.to_parquet(index=False)


def _row(event: Any) -> int | None:
    """The row that a click chose, by a cell or by its checkbox."""
    at = [cell[0] for cell in event.selection.cells] + list(event.selection.rows)
    return at[0] if at else None


def _keep_selected(key: str, names: list[str]) -> None:
    at = _row(st.session_state[key])
    if at is not None and at < len(names):
        link.write(selected=names[at])


def _alignment(name: str) -> str:
    return "left" if name in ("name", "label", "kind", "verdict", "gate") else "right"
