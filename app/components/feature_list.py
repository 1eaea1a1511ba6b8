"""Lists of features: what the URL says of one, its rows from DuckDB a page at a time, and the way through it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
import streamlit as st

from app import data, link
from app.components import pickers as widgets
from app.components import tables
from app.words import metrics as words
from store.names import ALL, KINDS
from store.read.feature_filter import CALLED_SUPPRESSED, FALLEN, Filter
from store.read.store import Store

PAGE_SIZE = 15
DEFAULT_VERDICTS = {"shifted": (), "suppressed": CALLED_SUPPRESSED}
"""Which verdicts a list shows until others are chosen; none means all."""

NAMES = {"shifted": "Features", "suppressed": "Suppressed features"}
PAGES = {"shifted": "views/features.py", "suppressed": "views/suppressed.py"}
NUMBERS = (
    "name", "label", "kind", "shift", "std_shift", "freq_base", "freq_variant", "log_ratio", "suppression", "emergence",
    "n_documents", "gate",
)  # fmt: skip
"""The columns that every list has, whether the store has verdicts or not: of tables.COLUMNS."""


@dataclass(frozen=True)
class FeatureList:
    """A list as the URL describes it: `filter` says which features, and how they are sorted."""

    store: Store
    name: str
    filter: Filter

    def kinds(self) -> pd.DataFrame:
        """How many features of each kind the list has: kind, count."""
        return data.ask(self.store, Store.count_features, **asdict(self.filter))

    def rows(self, page: int) -> pd.DataFrame:
        """One page of the list, counted from 1."""
        asked = {"limit": PAGE_SIZE, "offset": (page - 1) * PAGE_SIZE}
        return data.ask(self.store, Store.shifted_features, **asdict(self.filter), **asked)

    def verdicts(self) -> pd.DataFrame:
        """How many features of each verdict there are under the list's other filters: verdict, count, detectable."""
        return data.ask(self.store, Store.count_verdicts, **asdict(self.filter))

    def foremost(self, limit: int, sort: str = "abs_shift") -> pd.DataFrame:
        """The first rows by a sort of their own, whatever the order of the list."""
        in_order = replace(self.filter, sort=sort, descending=True)
        return data.ask(self.store, Store.shifted_features, **asdict(in_order), limit=limit)

    def neighbours(self, layer: int, feature: int) -> pd.DataFrame:
        """Where a feature stands in the list: see Store.neighbours."""
        return data.ask(self.store, Store.neighbours, feature_layer=layer, feature=feature, **asdict(self.filter))

    def csv(self) -> str:
        """Every row of the list, in its order; asked for only when somebody downloads it."""
        return tables.csv(self._every_row())

    def parquet(self) -> bytes:
        """The same as a Parquet file, which keeps the types."""
        return tables.parquet(self._every_row())

    def _every_row(self) -> pd.DataFrame:
        return self.store.shifted_features(**asdict(self.filter), limit=None)


def from_link(store: Store, name: str, layer: int | None, domain: str) -> FeatureList:
    """The list `name` of NAMES with the filters that the URL holds."""
    floor = widgets.has_floor(store)
    kinds = tuple(link.read_list("kinds", KINDS))
    chosen = {
        "variant": link.read("variant", store.variants, store.variants[0]),
        "layer": layer,
        "domain": domain,
        "min_firings": link.read_number("min", 0, 0),
        "search": link.read_search("q"),
    }
    if floor:
        chosen["verdicts"] = widgets.chosen_verdicts(DEFAULT_VERDICTS[name])
    if name == "suppressed":
        if fell := [kind for kind in kinds if kind in FALLEN]:
            chosen["kinds"] = fell
        return FeatureList(store, name, Filter.suppressed(**chosen, has_verdicts=floor))
    sort = link.read("sort", sort_names(store), default_sort(store))
    descending = link.read("order", ("down", "up"), "down") == "down"
    return FeatureList(store, name, Filter(**chosen, kinds=kinds or None, sort=sort, descending=descending))


def sort_names(store: Store) -> dict[str, str]:
    """What the list of shifted features can be sorted by in this store -> how that is called."""
    return (words.EVIDENCE_SORT_NAMES if widgets.has_floor(store) else {}) | words.SORT_NAMES


def default_sort(store: Store) -> str:
    """Claimed changes first where the store has verdicts, else by the size of the shift."""
    return "evidence" if widgets.has_floor(store) else "abs_shift"


def summary(kinds: pd.DataFrame) -> str:
    """'12 features: 3 amplified, 9 vanished'."""
    total = int(kinds["count"].sum())
    parts = [f"{count:,} {words.plain(kind)}" for kind, count in zip(kinds["kind"], kinds["count"], strict=True)]
    return f"{words.counted(total, 'feature')}: {', '.join(parts)}"


def page_number(total: int) -> int:
    """The page that the URL names, from 1; its buttons are drawn by page_buttons."""
    return link.read_number("p", 1, 1, max(1, -(-total // PAGE_SIZE)))


def page_buttons(features: FeatureList, page: int, total: int) -> None:
    """Which rows are shown, buttons to the previous and next page, and the whole list as a file."""
    last = max(1, -(-total // PAGE_SIZE))
    first_row = (page - 1) * PAGE_SIZE + 1
    row = st.container(horizontal=True, vertical_alignment="center")
    row.button("Previous", icon=":material/chevron_left:", disabled=page <= 1, on_click=_turn, args=(page - 1,))
    row.button("Next", icon=":material/chevron_right:", disabled=page >= last, on_click=_turn, args=(page + 1,))
    row.caption(f"{first_row:,}–{min(total, page * PAGE_SIZE):,} of {total:,} · page {page:,} of {last:,}", width="content")
    stem = words.file_name(features.name, features.filter.variant, features.filter.domain)
    for title, make, ending, kind in (
        (f"{words.counted(total, 'row')} as CSV", features.csv, "csv", "text/csv"),
        ("as Parquet", features.parquet, "parquet", "application/vnd.apache.parquet"),
    ):
        row.download_button(title, make, f"{stem}.{ending}", kind, on_click="ignore", icon=":material/download:")


def step_button(place: Any, side: str, layer: float | None, feature: float | None, **params: Any) -> None:
    """A button to the feature before or after this one in a list; off where there is none.

    Not a link: a link to the page one is on changes what is shown, but leaves the address as it was.
    """
    there = pd.notna(feature)
    place.button(
        side.capitalize(),
        icon={"previous": ":material/chevron_left:", "next": ":material/chevron_right:"}[side],
        disabled=not there,
        on_click=link.write,
        kwargs=params | ({"layer": int(layer), "feature": int(feature)} if there else {}),
    )


def feature_link(row: pd.Series, name: str, layer: int | None) -> dict[str, str]:
    """The URL of a feature's page that remembers the list it was opened from, and that list's layer (None: all)."""
    return link.query(
        layer=int(row["layer"]),
        feature=int(row["feature"]),
        list=name,
        list_layer=ALL if layer is None else layer,
        selected=None,
    )


def _turn(page: int) -> None:
    link.write(p=None if page <= 1 else page, selected=None)
