"""Tables: of features, the same wherever one stands, with a click on a row, a way through the pages, and as a file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pandas as pd
import streamlit as st

from app import link, words
from app.components.columns import COLUMNS
from store.metrics.feature_columns import share

LETTER, MARGINS = 6.5, 16
"""Pixels of a letter in a table, and of the margins of its cell."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet runs the text of a cell that begins so."""


def clicked_row(
    shown: pd.DataFrame,
    key: str,
    config: Mapping[str, Any],
    keep: Callable[[int], None] | None = None,
    selected: int | None = None,
    **options: Any,
) -> int | None:
    """Draw a table, a click anywhere on a row of which chooses it.

    Args:
        config: column settings, as st.dataframe takes them.
        keep: gets the number of the row before the page is drawn again, as a rule to write it into the URL; without it the
            number is given back.
        selected: the row that is marked as chosen.
    """

    def kept() -> None:
        if (row := _row_of(st.session_state[key])) is not None and row < len(shown):
            keep(row)

    event = st.dataframe(
        shown,
        hide_index=True,
        column_config=config,
        on_select="rerun" if keep is None else kept,
        selection_mode=["single-row", "single-cell"],
        selection_default=None if selected is None else {"selection": {"rows": [selected]}},
        key=key,
        placeholder="",
        **options,
    )
    row = _row_of(event) if keep is None else None
    return row if row is not None and row < len(shown) else None


def features(
    rows: pd.DataFrame, key: str, columns: list[str], selected: str | None = None, widths: Mapping[str, int] | None = None
) -> pd.Series | None:
    """Draw one page of shifted_features; a click anywhere on a row gives that row, else None.

    selected: name of the feature that the URL says is chosen, for a list that keeps its choice: the table shows it, a
    click writes another into the URL, and nothing is given back. widths: pixels of columns that are not to have their usual.
    """
    shown, config = _chosen(rows, columns, widths or {})
    key = f"{key}_{selected}"
    if selected is None:
        at = clicked_row(shown, key, config, height="content")
        return None if at is None else rows.iloc[at]
    named = shown["name"].to_list()
    clicked_row(
        shown, key, config, lambda at: link.write(selected=named[at]), selected=named.index(selected), height="content"
    )  # fmt: skip
    return None


def pickable(
    rows: pd.DataFrame, key: str, columns: list[str], picked: Collection[str], keep: Callable[[list[str], list[str]], None]
) -> pd.Series | None:
    """As :func:`features`, with a box before each row that picks it; a click on a row itself gives that row.

    Args:
        picked: names of the features whose boxes are ticked.
        keep: gets the names on this page, and those that are ticked, before the page is drawn again.
    """
    shown, config = _chosen(rows, columns)
    named = names(rows)
    event = st.session_state.get(key)
    cells = event["selection"]["cells"] if event else []
    at = [place for place, name in enumerate(named) if name in picked]
    st.session_state[key] = {"selection": {"rows": at, "columns": [], "cells": []}}
    st.dataframe(
        shown,
        hide_index=True,
        column_config=config,
        on_select=lambda: keep(named, [named[row] for row in st.session_state[key]["selection"]["rows"] if row < len(named)]),
        selection_mode=["multi-row", "single-cell"],
        key=key,
        placeholder="",
        height="content",
    )
    return rows.iloc[cells[0][0]] if cells and cells[0][0] < len(rows) else None


def _chosen(
    rows: pd.DataFrame, columns: list[str], widths: Mapping[str, int] = MappingProxyType({})
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The columns of a table of features that say something, as text, and their settings; widths: as of :func:`features`."""
    shown = printed(rows)[columns]
    if "label" in shown and not shown["label"].any():
        shown = shown.drop(columns="label")
    other = {name: {"width": width} for name, width in widths.items()}
    return shown, {name: COLUMNS[name].config(**other.get(name, {})) for name in shown}


def names(rows: pd.DataFrame) -> list[str]:
    """What the features of rows are called."""
    return [words.feature_name(*key) for key in zip(rows["layer"], rows["feature"], strict=True)]


def labels(rows: pd.DataFrame, width: int = COLUMNS["label"].width, marked: bool = True) -> list[str]:
    """The labels of features, each cut so that it fits a column of so many pixels.

    Args:
        rows: label; label_source, unless no label is marked.
        marked: whether each that no person gave says so; not where that is said once above.
    """
    sources = rows["label_source"] if marked else [None] * len(rows)
    length = int((width - MARGINS) / LETTER)
    return [words.label(*one, length) for one in zip(rows["label"], sources, strict=True)]


def printed(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a list of features as a person reads them: the columns of COLUMNS that the rows have, as text."""
    out = pd.DataFrame({"name": names(rows), "label": labels(rows, marked="label_source" in rows)})
    for name, column in COLUMNS.items():
        if name in rows and column.write is not None:
            out[name] = [column.write(value) for value in rows[name]]
        elif column.ends and set(column.ends) <= set(rows):
            out[name] = [words.span(low, high, share) for low, high in zip(*(rows[end] for end in column.ends), strict=True)]
    return out


def right_aligned(columns: Iterable[str]) -> dict:
    """The settings of columns that hold numbers as text, each as wide as its heading needs."""
    return {name: st.column_config.TextColumn(alignment="right", width=max(75, 22 + 13 * len(name) // 2)) for name in columns}


@dataclass(frozen=True)
class Pager:
    """One page of a list: `page` from 1, as the URL has it, of a list of `total` rows, `size` a page."""

    total: int
    size: int

    @property
    def last(self) -> int:
        """The number of pages, at least 1."""
        return max(1, -(-self.total // self.size))

    @property
    def page(self) -> int:
        """The page that the URL names; the first where it names none or an impossible one."""
        return link.read_number("p", 1, 1, self.last)

    @property
    def offset(self) -> int:
        """Rows before it."""
        return (self.page - 1) * self.size

    def rows(self) -> str:
        """Which rows it shows: '16–30 of 40'."""
        return f"{self.offset + 1:,}–{min(self.total, self.offset + self.size):,} of {self.total:,}"

    def buttons(self, said: str) -> st.delta_generator.DeltaGenerator:
        """Buttons to the previous and the next page, and what is said beside them; gives the line they stand in."""
        line = st.container(horizontal=True, vertical_alignment="center")
        for side, to, icon in (("Previous", self.page - 1, "chevron_left"), ("Next", self.page + 1, "chevron_right")):
            line.button(
                side, icon=f":material/{icon}:", disabled=not 1 <= to <= self.last, on_click=link.write,
                kwargs={"p": to if to > 1 else None, "selected": None},
            )  # fmt: skip
        line.caption(said, width="content")
        return line


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


def _row_of(event: Any) -> int | None:
    """The row that a click chose, by a cell or by its checkbox."""
    at = [cell[0] for cell in event.selection.cells] + list(event.selection.rows)
    return at[0] if at else None
