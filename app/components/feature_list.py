"""Lists of features: what the URL says of one, its rows from DuckDB a page at a time, and the way through it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from app import data, link, words
from app.components import badges, columns, pickers, runs, tables
from store.names import ALL, CLAIMED, KINDS, VERDICTS, kind_name
from store.read.feature_filter import FALLEN, Filter
from store.read.store import Store

PAGE_SIZE = 15
DEFAULT_VERDICTS = {"shifted": (), "suppressed": CLAIMED[:1]}
"""Which verdicts a list shows until others are chosen; none means all."""

PAGES = {"shifted": "features", "suppressed": "suppressed"}
"""A list's name in a link -> the page that shows it."""


@dataclass(frozen=True)
class FeatureList:
    """A list as the URL describes it: `filter` says which features, and how they are sorted."""

    store: Store
    name: str
    filter: Filter

    def kinds(self) -> pd.DataFrame:
        """How many features of each kind the list has: kind, count."""
        return data.ask(self.store, Store.count_features, **asdict(self.filter))

    def hidden(self) -> int:
        """How many dense features the list would have besides."""
        return data.ask(self.store, Store.hidden_dense, **asdict(self.filter))

    def rows(self, pager: tables.Pager) -> pd.DataFrame:
        """One page of the list."""
        asked = {"limit": pager.size, "offset": pager.offset}
        return data.ask(self.store, Store.shifted_features, **asdict(self.filter), **asked)

    def first(self) -> tuple[int, int] | None:
        """The layer and number of its first feature; of the variant's, where the list is empty; None where nothing fired."""
        for filters in (asdict(self.filter), {"variant": self.filter.variant, "layer": self.filter.layer}):
            found = data.ask(self.store, Store.shifted_features, **filters, limit=1)
            if len(found):
                return int(found["layer"].iloc[0]), int(found["feature"].iloc[0])
        return None

    def verdicts(self) -> pd.DataFrame:
        """How many features of each verdict there are under the list's other filters: verdict, count."""
        return data.ask(self.store, Store.count_verdicts, **asdict(self.filter))

    def foremost(self, limit: int) -> pd.DataFrame:
        """The first rows of the usual order, whatever that of the list."""
        in_order = replace(self.filter, sort="evidence", descending=True)
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
    """The list `name` of PAGES with the filters that the URL holds."""
    variant = link.read("variant", store.variants, store.variants[0])
    twins = badges.has_twins(store, variant)
    kinds = tuple(link.read_list("kinds", KINDS))
    chosen = {
        "variant": variant,
        "layer": layer,
        "domain": domain,
        "min_firings": link.read_number("min", 0, 0),
        "search": link.read_search("q"),
        "contributions": store.has_contributions,
        "dense": link.read("dense", (pickers.SHOWN,), None) == pickers.SHOWN,
    }
    if twins:
        chosen["verdicts"] = pickers.chosen_verdicts(DEFAULT_VERDICTS[name])
    if name == "suppressed":
        kinds = tuple(kind for kind in kinds if kind in FALLEN) or (None if twins else FALLEN)
        return FeatureList(store, name, Filter.suppressed(has_verdicts=twins, **(chosen | {"kinds": kinds})))
    sorts = columns.sort_names(columns.supported(store, variant))
    sort = link.read("sort", sorts, next(iter(sorts)))
    descending = link.read("order", ("down", "up"), "down") == "down"
    return FeatureList(store, name, Filter(**chosen, kinds=kinds or None, sort=sort, descending=descending))


def summary(features: FeatureList, total: int) -> str:
    """'12 features: 2 suppressed, 10 steady'; of a variant without verdicts, of kinds."""
    verdicts = features.verdicts().set_index("verdict")["count"]
    chosen = [name for name in VERDICTS if name in verdicts and name in (features.filter.verdicts or VERDICTS)]
    counted = {name: verdicts[name] for name in chosen}
    if not badges.has_twins(features.store, features.filter.variant):
        counted = {kind_name(kind): count for kind, count in features.kinds().itertuples(index=False)}
    parts = [f"{count:,} {words.plain(name)}" for name, count in counted.items()]
    return f"{words.counted(total, 'feature')}: {', '.join(parts)}"


def empty_hint(features: FeatureList) -> str:
    """Why a list may be empty, and what to do."""
    chosen, dense = features.filter, features.hidden()
    hidden = f" {words.counted(dense, 'dense one')} hidden." if dense else ""
    if not badges.has_twins(features.store, chosen.variant) or chosen.verdicts != CLAIMED[:1]:
        return f"No feature is left by these filters: widen them, or ask for fewer firings.{hidden}"
    alone = len(runs.groups(features.store)[runs.firsts(features.store)[chosen.variant]]) == 1
    why = (
        "The store has one run of this recipe, and a claim takes two: choose “this run only” above."
        if alone
        else "Choose other verdicts above, or widen the filters."
    )
    return f"No feature here is called suppressed. {why}{hidden}"


def pager(total: int) -> tables.Pager:
    """The page of a list of `total` features that the URL names."""
    return tables.Pager(total, PAGE_SIZE)


def page_buttons(features: FeatureList, pager: tables.Pager) -> None:
    """Which rows are shown, buttons to the previous and next page, and the whole list as a file."""
    line = pager.buttons(f"{pager.rows()} · page {pager.page:,} of {pager.last:,}")
    stem = words.file_name(features.name, features.filter.variant, features.filter.domain)
    for title, make, ending, kind in (
        (f"{words.counted(pager.total, 'row')} as CSV", features.csv, "csv", "text/csv"),
        ("as Parquet", features.parquet, "parquet", "application/vnd.apache.parquet"),
    ):
        line.download_button(title, make, f"{stem}.{ending}", kind, on_click="ignore", icon=":material/download:")


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
