"""The columns of the tables of features: the numbers of store/metrics/feature_columns.py, and what is said in words."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from app.components import badges
from app.words import meanings
from store.metrics import feature_columns
from store.metrics.feature_columns import FeatureColumn
from store.names import kind_name
from store.numbers import number, percent
from store.read.store import Store

WIDTHS = {
    "contribution": 100, "contribution_kl": 150, "contribution_rank": 70, "change": 76, "shift": 72, "q_replicates": 76,
    "q_twin": 88, "detectable_loss": 92, "near_threshold": 106, "did_shift": 108, "suppression": 96, "emergence": 90,
    "n_clusters": 80,
}  # fmt: skip
"""Pixels of a number's column, where Streamlit's "small" would cut the heading off or leave much room."""

TWINS, CONTRIBUTIONS = NEEDS = ("twins", "contributions")
"""What some columns rest on."""

RANGES = {
    "interval": ("change_low", "change_high", "95 % interval", "All domains together: of the change, over clusters of texts."),
    "runs": (
        "replicate_low", "replicate_high", "All runs",
        "All domains together: from the lowest change over the runs of the recipe to the highest.",
    ),
    "twins": (
        "twin_low", "twin_high", "Twins",
        "All domains together: from the lowest change of this feature under random changes of the weights of that size to the "
        "highest.",
    ),
}  # fmt: skip
"""A column made of two numbers -> its ends, its heading, and what that says."""


LABEL = f"What the feature is taken to stand for. (auto): {badges.AUTOMATIC_MEANING}"


@dataclass(frozen=True)
class Column:
    """A column of a table of features.

    Attributes:
        name: of the rows of store.shifted_features.
        title, help: its heading, and what that says when somebody points at it.
        write: how a value is written; None for text that stands as it is, or is made of several columns.
        sort: what sorting by it is called; '' where that is not offered.
        needs: what a store must have for it, of NEEDS; '' for nothing.
        width: pixels, or one of Streamlit's sizes.
        every_list: whether every list of features has it.
        ends: of a range the columns of its lowest and its highest number.
    """

    name: str
    title: str
    help: str
    write: Callable[[Any], str] | None = None
    sort: str = ""
    needs: str = ""
    width: int | Literal["small", "medium", "large"] = "small"
    align: Literal["left", "right"] = "left"
    every_list: bool = True
    ends: tuple[str, ...] = ()

    def config(self, **other: Any) -> st.column_config.Column:
        """Its settings for st.dataframe; `other` ones go before its own."""
        return st.column_config.TextColumn(
            self.title, **{"help": self.help, "width": self.width, "alignment": self.align} | other
        )


def of_number(column: FeatureColumn) -> Column:
    """The column of a number."""
    needs = TWINS if column.needs_twins else CONTRIBUTIONS if column.of_contributions else ""
    return Column(
        column.name, column.title, column.meaning, column.write, column.sort, needs, WIDTHS.get(column.name, "small"), "right"
    )


def of_range(name: str) -> Column:
    """The column of a range."""
    low, high, title, meaning = RANGES[name]
    needs = TWINS if feature_columns.COLUMNS[low].needs_twins else ""
    return Column(name, title, meaning, needs=needs, width=128, align="right", ends=(low, high))


def catalogue() -> dict[str, Column]:
    """Every column by its name, in the order in which they are offered: what rests on twins comes last."""
    ends = {end: name for name, (*of_name, _, _) in RANGES.items() for end in of_name}
    listed = [
        of_range(ends[column.name]) if column.name in ends else of_number(column)
        for column in feature_columns.COLUMNS.values()
        if column.is_listed
    ]
    verdicts = "; ".join(f"{name}: {verdict.meaning}" for name, verdict in meanings.VERDICTS.items())
    kinds = "; ".join(f"{kind_name(kind)}: {meaning}" for kind, meaning in meanings.KIND_MEANINGS.items())
    columns = (
        Column("label", "Label", LABEL, width=240),
        Column("name", "Feature", "Layer and number in the dictionary.", width=74),
        Column("kind", "Kind", kinds, kind_name, width=130),
        *(column for column in listed if column.needs != TWINS),
        Column("verdict", "Verdict", f"Of all domains together. {verdicts}", _verdict, needs=TWINS, width=160),
        *(column for column in listed if column.needs == TWINS),
        Column(
            "moved", "Moved here", "The size of its shift summed over the segment's tokens, against the sizes of all segments "
            "added up, whichever way each went.", percent, align="right", every_list=False, width=96,
        ),
        Column(
            "segment_shift", "Shift here", "Mean over the segment's tokens.", lambda value: number(value, signed=True),
            align="right", every_list=False, width=90,
        ),
        Column("gate", "Fit", "Whether the dictionary still describes the variant at this layer and domain.", _gate),
    )  # fmt: skip
    return {column.name: column for column in columns}


def _verdict(value: str | None) -> str:
    return f"{meanings.VERDICTS[value].mark} {value}" if isinstance(value, str) else "–"


def _gate(value: str | None) -> str:
    return value if isinstance(value, str) else "unknown"


COLUMNS = catalogue()

TITLES = {name: column.title for column in COLUMNS.values() for name in (column.name, *column.ends)}
"""What the heading says that a number stands under, by its column in the store."""


def supported(store: Store, variant: str) -> tuple[str, ...]:
    """Which of NEEDS a variant of a store has."""
    return (TWINS,) * badges.has_twins(store, variant) + (CONTRIBUTIONS,) * store.has_contributions


def offered(has: Collection[str]) -> list[str]:
    """The columns that every list of a store has; has: which of NEEDS."""
    return [column.name for column in COLUMNS.values() if column.every_list and column.needs in ("", *has)]


def sort_names(has: Collection[str]) -> dict[str, str]:
    """What a list can be sorted by in a store that has some of NEEDS -> how that is called; the usual one first."""
    numbers = {column.name: column.sort for column in COLUMNS.values() if column.sort and column.needs in ("", *has)}
    claimed = {"evidence": "Claimed changes first" if TWINS in has else "Largest changes first"}
    first = {name: sort for name, sort in numbers.items() if COLUMNS[name].needs == CONTRIBUTIONS}
    return first | claimed | numbers | {"abs_shift": "Shift, either way", "feature": "Feature number"}
