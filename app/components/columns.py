"""The columns of the tables of features: the numbers of store/metrics/feature_columns.py, and what is said in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from app.words import meanings
from store.metrics import feature_columns
from store.metrics.feature_columns import FeatureColumn
from store.numbers import percent

WIDTHS = {
    "shift": 72, "floor": 60, "floor_ratio": 88, "z": 58, "q": 76, "minimum_detectable": 92, "near_threshold": 106,
    "did_shift": 108, "suppression": 96, "emergence": 90, "n_documents": 92,
}  # fmt: skip
"""Pixels of a number's column, where Streamlit's "small" would cut the heading off or leave much room."""


@dataclass(frozen=True)
class Column:
    """A column of a table of features.

    Attributes:
        name: of the rows of store.shifted_features.
        title, help: its heading, and what that says when somebody points at it.
        write: how a value is written; None for text that stands as it is, or is made of several columns.
        sort: what sorting by it is called; '' where that is not offered.
        needs_floor: whether only a store with a noise floor has it.
        width: pixels, or one of Streamlit's sizes.
        every_list: whether every list of features has it.
    """

    name: str
    title: str
    help: str
    write: Callable[[Any], str] | None = None
    sort: str = ""
    needs_floor: bool = False
    width: int | Literal["small", "medium", "large"] = "small"
    align: Literal["left", "right"] = "left"
    every_list: bool = True

    def config(self, **other: Any) -> st.column_config.Column:
        """Its settings for st.dataframe; `other` ones go before its own."""
        return st.column_config.TextColumn(
            self.title, **{"help": self.help, "width": self.width, "alignment": self.align} | other
        )


def of_number(column: FeatureColumn) -> Column:
    """The column of a number."""
    return Column(
        column.name, column.title, column.meaning, column.write, column.sort, column.needs_floor,
        WIDTHS.get(column.name, "small"), "right",
    )  # fmt: skip


def catalogue() -> dict[str, Column]:
    """Every column by its name, in the order in which they are offered: what rests on a noise floor comes last."""
    listed = [of_number(column) for column in feature_columns.COLUMNS.values() if column.is_listed]
    verdicts = "; ".join(f"{name}: {verdict.meaning}" for name, verdict in meanings.VERDICTS.items())
    kinds = "; ".join(f"{kind}: {meaning}" for kind, meaning in meanings.KIND_MEANINGS.items())
    columns = (
        Column("name", "Feature", "Layer and number in the dictionary.", width=74),
        Column("label", "Label", "What the feature is taken to stand for; empty where nobody has said.", width=150),
        Column("kind", "Kind", kinds, width=88),
        *(column for column in listed if not column.needs_floor),
        Column("verdict", "Verdict", f"Of all domains together. {verdicts}", _verdict, needs_floor=True, width=124),
        *(column for column in listed if column.needs_floor),
        Column(
            "share", "On segment", "Part of its shift that sits on tokens of the segment.", percent, align="right",
            every_list=False,
        ),
        Column("gate", "Fit", "Whether the dictionary still describes the variant at this layer and domain.", _gate),
    )  # fmt: skip
    return {column.name: column for column in columns}


def _verdict(value: str | None) -> str:
    return f"{meanings.VERDICTS[value].mark} {value}" if isinstance(value, str) else "–"


def _gate(value: str | None) -> str:
    return value if isinstance(value, str) else "unknown"


COLUMNS = catalogue()


def offered(floor: bool) -> list[str]:
    """The columns that every list of a store has, with a noise floor or without."""
    return [column.name for column in COLUMNS.values() if column.every_list and (floor or not column.needs_floor)]


def sort_names(floor: bool) -> dict[str, str]:
    """What a list can be sorted by in a store with a noise floor or without -> how that is called; the usual one first."""
    numbers = [column for column in COLUMNS.values() if column.sort]
    claimed = {"evidence": "Claimed changes first"} | {column.name: column.sort for column in numbers if column.needs_floor}
    shifted = {"abs_shift": "Shift, either way"} | {column.name: column.sort for column in numbers if not column.needs_floor}
    return (claimed if floor else {}) | shifted | {"feature": "Feature number"}
