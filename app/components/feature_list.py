"""Lists of features: what the URL says of one, its rows from DuckDB a page at a time, and the way through it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from app import data, link, words
from app.components import badges, columns, harmful, pickers, runs, selection, tables
from store.names import ALL, CLAIMED, KINDS, VERDICTS, kind_name
from store.read.feature_filter import FALLEN, RISEN, Filter
from store.read.store import Store

PAGE_SIZE = 15
DEFAULT_VERDICTS = {"shifted": CLAIMED, "suppressed": CLAIMED[:1], "claimed": CLAIMED}
"""Which verdicts a list shows as a rule until others are chosen: see :func:`usual_verdicts`."""

PAGES = {"shifted": "features", "suppressed": "suppressed", "claimed": "review"}
"""A list's name in a link -> the page that shows it."""

LISTED_KINDS = {"shifted": KINDS, "suppressed": FALLEN, "claimed": FALLEN + RISEN}
"""The kinds of change that a list can have."""

ONLY_HERE = "here"
"""In the URL, of a list of what is claimed of no other recipe."""


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

    def keys(self, limit: int | None = None) -> list[tuple[int, int]]:
        """(layer, feature) of the list's features in its order; limit: of the first, None for all."""
        found = data.ask(self.store, Store.feature_keys, **asdict(self.filter), limit=limit)
        return list(found.itertuples(index=False, name=None))

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

    def named(self, keys: Iterable[tuple[int, int]]) -> pd.DataFrame:
        """The rows of features by layer and number, in that order, whether the list holds them or not.

        One that never fires in the list's variant and domain has none.
        """
        chosen = {"variant": self.filter.variant, "domain": self.filter.domain}
        asked = [chosen | {"search": words.feature_name(*key)} for key in keys]
        return pd.concat([data.ask(self.store, Store.shifted_features, **one) for one in asked], ignore_index=True)

    def _every_row(self) -> pd.DataFrame:
        return self.store.shifted_features(**asdict(self.filter), limit=None)


def usual_verdicts(store: Store, name: str, variant: str) -> tuple[str, ...]:
    """Which verdicts the list `name` of PAGES shows until the URL names others; none means all.

    Of the list of all features those that are claimed, unless none of the variant is, or something is searched for.
    """
    usual = DEFAULT_VERDICTS[name]
    if name != "shifted":
        return usual
    counts = (runs.counts(store, variant) or {}).values()
    return usual if any(of_layer.get(verdict) for of_layer in counts for verdict in usual) and not link.read_search("q") else ()


def from_link(store: Store, name: str, layer: int | None, domain: str, variant: str | None = None) -> FeatureList:
    """The list `name` of PAGES with the filters that the URL holds; variant: None for the one that it names."""
    variant = variant or link.read("variant", store.variants, store.variants[0])
    if name == "claimed" and (named := picked(store, variant, domain)):
        return named
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
        chosen["verdicts"] = pickers.chosen_verdicts(usual_verdicts(store, name, variant))
    if name == "shifted":
        sorts = columns.sort_names(columns.supported(store, variant))
        sort = link.read("sort", sorts, next(iter(sorts)))
        descending = link.read("order", ("down", "up"), "down") == "down"
        return FeatureList(store, name, Filter(**chosen, kinds=kinds or None, sort=sort, descending=descending))
    listed = LISTED_KINDS[name]
    kinds = tuple(kind for kind in kinds if kind in listed) or (None if twins else listed)
    chosen |= {"kinds": kinds, "focus": harmful.domains(store) if domain == ALL else ()}
    sorts = reviewers_sorts(store, domain)
    chosen["sort"] = link.read("sort", sorts, next(iter(sorts)))
    if name == "suppressed":
        others = tuple(data.ask(store, Store.of_other_recipes, variant=variant))
        chosen["not_in"] = others if link.read("only", (ONLY_HERE,), None) else ()
    make = Filter.suppressed if name == "suppressed" else Filter.claimed
    return FeatureList(store, name, make(has_verdicts=twins, **chosen))


def reviewers_sorts(store: Store, domain: str) -> dict[str, str]:
    """What lists of falls and of claims can be sorted by -> how that is called; the usual one first."""
    focused = domain == ALL and bool(harmful.domains(store))
    names = {}
    if store.has_contributions:
        names = {"focus_kl": "Effect on harmful text"} if focused else {}
        names["contribution_kl"] = "Effect on all text" if domain == ALL else "Effect on its text"
    names["evidence"] = "Change"
    return names | ({"focus_change": "Change on harmful text"} if focused else {})


def picked(store: Store, variant: str, domain: str) -> FeatureList | None:
    """Of the features that the URL names one by one those that fire, in the usual order; None where it names none."""
    if not (keys := selection.picked(store)):
        return None
    focus = harmful.domains(store) if domain == ALL else ()
    chosen = Filter.claimed(
        variant, False, domain=domain, kinds=None, dense=True, contributions=store.has_contributions, focus=focus,
        picked=tuple(keys),
    )  # fmt: skip
    return FeatureList(store, "claimed", chosen)


def summary(features: FeatureList, total: int) -> str:
    """'12 claimed: 2 suppressed, 10 amplified; 3 dense ones hidden'; of a variant without verdicts, of kinds.

    Dense features count, whether the list hides them or not, so that every page says one number for one thing.
    """
    chosen, hidden = features.filter, features.hidden()
    every = replace(features, filter=replace(chosen, dense=True))
    if badges.has_twins(features.store, chosen.variant):
        verdicts = every.verdicts().set_index("verdict")["count"]
        counted = {name: verdicts[name] for name in chosen.verdicts or VERDICTS if name in verdicts}
    else:
        counted = {kind_name(kind): count for kind, count in every.kinds().itertuples(index=False)}
    claimed = chosen.verdicts is not None and set(chosen.verdicts) == set(CLAIMED)
    what = f"{total + hidden:,} claimed" if claimed else words.counted(total + hidden, "feature")
    said = f"{what}: {', '.join(f'{count:,} {words.plain(name)}' for name, count in counted.items())}"
    return f"{said}; {words.counted(hidden, 'dense one')} hidden" if hidden else said


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


def pager(total: int, size: int | None = None) -> tables.Pager:
    """The page of a list of `total` features that the URL names, `size` a page (None: as usual)."""
    return tables.Pager(total, size or PAGE_SIZE)


def page_buttons(features: FeatureList, pager: tables.Pager, picked: Sequence[tuple[int, int]] = ()) -> None:
    """Which rows are shown, buttons to the previous and next page, the whole list as a file, and what is picked as one."""
    line = pager.buttons(f"{pager.rows()} · page {pager.page:,} of {pager.last:,}")
    stem = words.file_name(features.name, features.filter.variant, features.filter.domain)
    files = [
        (f"{words.counted(pager.total, 'row')} as CSV", features.csv, f"{stem}.csv", "text/csv"),
        ("as Parquet", features.parquet, f"{stem}.parquet", "application/vnd.apache.parquet"),
    ]
    if picked:
        title = f"{len(picked):,} picked as CSV"
        files.append((title, lambda: tables.csv(features.named(picked)), f"{stem}_picked.csv", "text/csv"))
    for title, make, file, kind in files:
        line.download_button(title, make, file, kind, on_click="ignore", icon=":material/download:")


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
