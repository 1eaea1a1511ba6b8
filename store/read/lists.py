"""Lists of features: one :class:`Filter` says which and in what order; a list, its count and the way through it share it.

Every function takes the fields of :class:`Filter` as keywords:

>>> store.shifted_features(variant="maths", layer=12, kinds=("vanished",), sort="suppression", limit=10)

The only text put into a statement is a condition or a sort expression from this file; values travel as parameters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from store.errors import UserError
from store.metrics.feature_columns import COLUMNS
from store.names import ALL, KINDS, SUPPORTED, VERDICTS
from store.token_text import spellings

if TYPE_CHECKING:
    from store.read.connection import Store

FLOOR_RATIO = "CASE WHEN s.floor > 0 THEN abs(s.shift) / s.floor WHEN s.floor = 0 AND s.shift <> 0 THEN 'infinity'::DOUBLE END"
"""|shift| over what noise of the same size does to features of like frequency; null without a floor, or where neither moves."""

READABLE = "coalesce(f.label_source <> 'automatic' OR (contains(f.label, '“') AND NOT contains(f.label, '(fires on')), false)"
"""Whether a label names something: one that somebody gave, or an automatic one that quotes tokens, and not as an example of
many (extract/tables/labels.py)."""

WITHOUT_BYTES = "regexp_replace(f.label, '<0x[0-9a-f]{2}>', '', 'g')"
"""A label less its byte marks (store/token_text.py, in lower case there), whose figures are no letters."""

TELLING_DENSITY, TELLING_TEMPLATE = 0.05, 0.3
TELLING = f"""(
    {READABLE} AND (f.label_source <> 'automatic' OR regexp_matches({WITHOUT_BYTES}, '“[^”]*\\p{{L}}{{3}}'))
    AND coalesce(f.density <= {TELLING_DENSITY}, true) AND coalesce(p.did_shift / nullif(p.shift, 0) >= 1, true)
    AND coalesce((
        SELECT t.share <= {TELLING_TEMPLATE} FROM feature_segments t
        WHERE t.variant = s.variant AND t.layer = s.layer AND t.feature = s.feature AND t.segment = 'template'), true)
)"""
"""Whether a reader can tell at once what the change has to do with the variant: the label is READABLE and quotes a word, the
feature fires on few tokens, it moved more on the variant's task than on all text, and hardly on the chat template's tokens."""

NUMBERS = {
    **{name: f"{'p' if column.is_pooled else 's'}.{name}" for name, column in COLUMNS.items()},
    "floor_ratio": FLOOR_RATIO,
}
"""Each number of a feature -> where a list takes it from."""

SORTS = {
    "evidence": f"row(p.verdict IN {SUPPORTED}, {FLOOR_RATIO})",
    "striking": f"row(coalesce(p.verdict IN {SUPPORTED}, false), {TELLING}, {READABLE}, coalesce({FLOOR_RATIO}, 0))",
    **NUMBERS,
    "z": "abs(p.z)",
    "q": "-p.q",
    "verdict": "p.verdict",
    "abs_shift": "abs(s.shift)",
    "std_shift": "abs(s.std_shift)",
    "log_ratio": "abs(s.log_ratio)",
    "magnitude_ratio": "s.magnitude_ratio",
    "kind": "s.kind",
    "label": "f.label",
    "feature": "s.feature",
    "layer": "s.layer",
}
DIRECTIONS = {"down": "s.shift < 0", "up": "s.shift > 0"}
FALLEN = ("vanished", "attenuated")
"""The kinds whose mean activation fell."""

TOP_TOKENS = 3
"""Of the output tokens that a feature promotes, those that a search finds it by."""

POOLED = """
LEFT JOIN feature_stats p ON p.variant = s.variant AND p.layer = s.layer AND p.feature = s.feature AND p.domain = 'all'
"""
LABELLED = """
LEFT JOIN features f ON f.layer = s.layer AND f.feature = s.feature
"""
"""What a list is made from: feature_stats s, the numbers of its domain; p, the evidence of all domains together; f, labels.
In a store of millions of rows a join takes most of the time, so each is left out where it is not needed."""


@dataclass(frozen=True)
class Filter:
    """Which features a list shows, and in what order.

    Attributes:
        variant: of the store's variants.
        layer: None for all.
        domain: whose tokens the numbers are of; 'all' for every domain together.
        kinds: any of KINDS; None for all.
        verdicts: any of VERDICTS, which are of all domains together; None for all, and for features without a verdict.
        min_firings: tokens where it fires in base or variant, at least.
        search: a feature's number, 'layer:feature' ('L12:431' too), part of a label, or one of the TOP_TOKENS output tokens
            that it promotes most (whatever its case and the spaces around it).
        direction: 'down' (shift < 0), 'up' (shift > 0), or None.
        sort: a key of SORTS; missing values come last, ties by layer and feature. 'evidence' is the claimed changes
            (SUPPORTED), then the others, each by |shift| / floor; 'striking' is the same with those that are TELLING first,
            then those whose label is READABLE; 'q' has the smallest q as its highest.
        descending: whether the highest comes first.

    Raises:
        UserError: no such kind, verdict, direction or sort.
    """

    variant: str
    layer: int | None = None
    domain: str = ALL
    kinds: tuple[str, ...] | None = None
    verdicts: tuple[str, ...] | None = None
    min_firings: int = 0
    search: str | None = None
    direction: str | None = None
    sort: str = "abs_shift"
    descending: bool = True

    def __post_init__(self) -> None:
        for name, noun, options in (("kinds", "kind of change", KINDS), ("verdicts", "verdict", VERDICTS)):
            given = getattr(self, name)
            if given is None:
                continue
            given = (given,) if isinstance(given, str) else tuple(given)
            object.__setattr__(self, name, given)
            for one in given:
                if one not in options:
                    raise UserError(f"There is no {noun} '{one}'; choose from {', '.join(options)}.")
        if self.direction is not None and self.direction not in DIRECTIONS:
            raise UserError(f"Features do not move '{self.direction}'; choose one of {', '.join(DIRECTIONS)}, or None.")
        if self.sort not in SORTS:
            raise UserError(f"Features cannot be sorted by '{self.sort}'; choose one of {', '.join(SORTS)}.")

    def where(self) -> tuple[str, list[Any]]:
        """The condition on s, p and f, and its parameters."""
        conditions, params = ["s.variant = ?", "s.domain = ?"], [self.variant, self.domain]
        if self.layer is not None:
            conditions.append("s.layer = ?")
            params.append(int(self.layer))
        if self.kinds is not None:
            conditions.append("list_contains(?::VARCHAR[], s.kind)")
            params.append(list(self.kinds))
        if self.verdicts is not None:
            conditions.append("list_contains(?::VARCHAR[], p.verdict)")
            params.append(list(self.verdicts))
        if self.min_firings > 0:
            conditions.append("s.n11 + s.n10 + s.n01 >= ?")
            params.append(int(self.min_firings))
        if self.direction is not None:
            conditions.append(DIRECTIONS[self.direction])
        text = (self.search or "").strip()
        named = re.fullmatch(r"[Ll]?(\d{1,4}):(\d{1,9})", text)
        if named:
            conditions.append("s.layer = ? AND s.feature = ?")
            params += [int(named[1]), int(named[2])]
        elif text:
            conditions.append(
                "(s.feature = try_cast(? AS INTEGER) OR contains(lower(f.label), lower(?)) "
                f"OR contains(lower(f.label), lower(?)) OR list_has_any(f.promoted[1:{TOP_TOKENS}], "
                "(SELECT list(token_id) FROM vocabulary WHERE lower(trim(token)) IN (lower(?), lower(?)))))"
            )
            params += [text, *spellings(text), *spellings(text)]
        return " AND ".join(conditions), params

    def ask(self, store: Store, query: str, params: list[Any]) -> pd.DataFrame:
        """The answer to a query of {tables}, s, p and f, or of {listed}: the same, but f only where filter or order need it."""
        pooled = "" if self.domain == ALL else POOLED  # of all domains together the row s is its own p
        needs = re.search(r"\bf\.", f"{self.where()[0]} {self.order()}")
        query = query.replace("{tables}", f"feature_stats s {pooled} {LABELLED}")
        query = query.replace("{listed}", f"feature_stats s {pooled} {LABELLED if needs else ''}")
        return store.sql(query if pooled else re.sub(r"\bp\.", "s.", query), params)

    def order(self) -> str:
        """The ORDER BY: the chosen column, then layer and feature, so that pages never overlap."""
        return f"{SORTS[self.sort]} {'DESC' if self.descending else 'ASC'} NULLS LAST, s.layer, s.feature"


def shifted_features(store: Store, variant: str, *, limit: int | None = 50, offset: int = 0, **filters: Any) -> pd.DataFrame:
    """Features of one variant, the largest absolute shift first unless `sort` says otherwise.

    filters: fields of :class:`Filter` (layer, domain, kinds, verdicts, min_firings, search, direction, sort, descending).
    limit None: every row. Columns: those of feature_stats (verdict, z, q and all else that is pooled: of all domains
    together), with floor_ratio (|shift| / floor), label, readable (whether the label names something), density, decoder_norm,
    gate, n_base and n_variant (tokens where it fires).
    """
    chosen = Filter(variant, **filters)
    where, params = chosen.where()
    return chosen.ask(
        store,
        f"""
        WITH keys AS (
            SELECT s.layer, s.feature, row_number() OVER () AS place FROM (
                SELECT s.layer, s.feature FROM {{listed}} WHERE {where} ORDER BY {chosen.order()} LIMIT ? OFFSET ?
            ) s
        )
        SELECT s.layer, s.feature, f.label, {READABLE} AS readable, s.kind, p.verdict,
               {", ".join(f"{value} AS {name}" for name, value in NUMBERS.items())},
               s.magnitude_ratio, s.n11 + s.n10 AS n_base, s.n11 + s.n01 AS n_variant, s.n11, s.n10, s.n01, s.shift_isotropic,
               p.moved_to,
               f.density, f.decoder_norm, g.gate, s.variant, s.domain
        FROM {{tables}}
        LEFT JOIN fit g ON g.variant = s.variant AND g.layer = s.layer AND g.domain = s.domain
        JOIN keys k ON k.layer = s.layer AND k.feature = s.feature
        WHERE s.variant = ? AND s.domain = ? ORDER BY k.place
        """,
        [*params, 2**62 if limit is None else int(limit), int(offset), variant, chosen.domain],
    )


def feature_keys(store: Store, variant: str, *, limit: int | None = None, **filters: Any) -> pd.DataFrame:
    """The features of a list in its order, by their keys alone: layer, feature.

    filters: fields of :class:`Filter`. limit None: every one.
    """
    chosen = Filter(variant, **filters)
    where, params = chosen.where()
    return chosen.ask(
        store,
        f"SELECT s.layer, s.feature FROM {{listed}} WHERE {where} ORDER BY {chosen.order()} LIMIT ?",
        [*params, 2**62 if limit is None else int(limit)],
    )


def suppressed_features(store: Store, variant: str, *, limit: int | None = 50, offset: int = 0, **filters: Any) -> pd.DataFrame:
    """Features that fell (shift < 0), the largest fall first: those that are called suppressed.

    In a store without verdicts, which has no noise floor: all that fell, of the kinds FALLEN.

    filters: fields of :class:`Filter` but direction, sort and descending; verdicts=None gives every feature that fell.
    Columns as shifted_features.
    """
    fell = {"verdicts": ("suppressed",)} if has_verdicts(store) else {"kinds": FALLEN}
    falls = {"direction": "down", "sort": "shift", "descending": False}
    return shifted_features(store, variant, limit=limit, offset=offset, **(fell | filters), **falls)


def has_verdicts(store: Store) -> bool:
    """Whether the run computed the isotropic control, on which every verdict rests."""
    return "isotropic" in store.controls()["control"].to_list()


def count_features(store: Store, variant: str, **filters: Any) -> pd.DataFrame:
    """How many features a filter leaves, by kind: columns kind, count (kinds that occur).

    filters: fields of :class:`Filter`; the order makes no difference.
    """
    chosen = Filter(variant, **filters)
    where, params = chosen.where()
    return chosen.ask(
        store,
        f"""
        SELECT s.kind, count(*) AS count FROM {{listed}} WHERE {where} GROUP BY s.kind ORDER BY s.kind
        """,
        params,
    )


def count_verdicts(store: Store, variant: str, **filters: Any) -> pd.DataFrame:
    """How many features a filter leaves, by verdict: columns verdict, count, detectable.

    filters: fields of :class:`Filter`; its verdicts and its order make no difference, and features without a verdict are
    left out. detectable: the median of minimum_detectable, the |shift| from which on such a feature's change would have been
    found; null for untestable ones, of which none would.
    """
    chosen = Filter(variant, **(filters | {"verdicts": None}))
    where, params = chosen.where()
    return chosen.ask(
        store,
        f"""
        SELECT p.verdict, count(*) AS count, median(p.minimum_detectable) AS detectable
        FROM {{listed}} WHERE {where} AND p.verdict IS NOT NULL GROUP BY p.verdict ORDER BY p.verdict
        """,
        params,
    )


def neighbours(store: Store, feature_layer: int, feature: int, variant: str, **filters: Any) -> pd.DataFrame:
    """Where one feature stands in a list, and what stands beside it.

    filters: fields of :class:`Filter`. One row, or none where the list does not hold it: position (from 1), total,
    previous_layer, previous_feature, next_layer, next_feature (null at the ends).
    """
    chosen = Filter(variant, **filters)
    where, params = chosen.where()
    return chosen.ask(
        store,
        f"""
        SELECT * FROM (
            SELECT s.layer, s.feature, row_number() OVER w AS position, count(*) OVER () AS total,
                   lag(s.layer) OVER w AS previous_layer, lag(s.feature) OVER w AS previous_feature,
                   lead(s.layer) OVER w AS next_layer, lead(s.feature) OVER w AS next_feature
            FROM {{listed}} WHERE {where} WINDOW w AS (ORDER BY {chosen.order()})
        ) WHERE layer = ? AND feature = ?
        """,
        [*params, int(feature_layer), int(feature)],
    )
