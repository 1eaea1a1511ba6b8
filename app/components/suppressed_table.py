"""The table of suppressed features: what each is called, what its loss does, whether runs agree and other recipes share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import streamlit as st

from app import data, link, words
from app.components import harmful, tables
from app.components.columns import COLUMNS, Column
from store.metrics.feature_columns import share, signed
from store.metrics.thresholds import SEEN_CLUSTERS, SEEN_FIRINGS
from store.names import ALL, CLAIMED
from store.numbers import UNKNOWN
from store.read.store import Store

Keys = Sequence[tuple[int, int]]

MOST_DOMAINS = 2
"""So many domains that may be harmful have a column each; more share one."""

LABEL = replace(COLUMNS["label"], width=200)
VERDICT = replace(COLUMNS["verdict"], width=116)
CHANGE = replace(COLUMNS["change"], width=70)
CHANGE_THERE = Column(
    "there", "Change on",
    "Its change on the tokens of {of}, which may be harmful. In brackets where it fires there on fewer than "
    f"{SEEN_FIRINGS} tokens, or in fewer than {SEEN_CLUSTERS} clusters of texts: too seldom to tell.",
    width=90, align="right",
)  # fmt: skip
EFFECT = replace(COLUMNS["contribution_kl"], title="Effect: its text", width=98)
RUNS = Column(
    "runs", "Runs that agree",
    "All domains together: runs of the recipe that changed it materially the same way; the lowest and highest change of a run.",
    width=158, align="right",
)  # fmt: skip
OTHERS = Column(
    "others", "Other recipes",
    "Which other recipes are claimed to have changed it the same way. Replicates are runs of one recipe, and no others.",
    width=162,
)  # fmt: skip
ALWAYS = ("label", "name", "change")
"""Columns that a table has even where every row says the same."""


def draw(store: Store, rows: pd.DataFrame, variant: str, domain: str, said: str, key: str, selected: str) -> None:
    """One page of a list, where a click on a row chooses it; what is the same in every row is said above, once.

    said: what the list holds.
    """
    claims = data.ask(store, Store.claims, variant=variant, keys=_keys(rows))
    shown, columns = _cells(store, rows, claims, variant, domain)
    same = [name for name in shown if name not in ALWAYS and len(shown) > 1 and shown[name].nunique() == 1]
    values = {columns[name].title: shown[name].iloc[0] for name in same if shown[name].iloc[0] != UNKNOWN}
    automatic = words.all_automatic(rows["label_source"])
    if automatic:
        values[LABEL.title] = words.AUTOMATIC
    told = [f"{words.plain(title)} **{words.plain(value)}**" for title, value in values.items()]
    in_every = [f"in every row: {', '.join(told)}"] if told else []
    st.caption(" · ".join([said, *in_every, "click a row for its evidence below"]) + ".")
    shown = shown.drop(columns=same)
    width = LABEL.width - 60 * ("verdict" in shown)
    shown["label"] = tables.labels(rows, width, marked=not automatic)
    config = {name: columns[name].config() for name in shown} | {"label": LABEL.config(width=width)}
    names = shown["name"].to_list()
    tables.clicked_row(
        shown, f"{key}_{selected}", config, lambda at: link.write(selected=names[at]), selected=names.index(selected),
        height="content",
    )  # fmt: skip


def _keys(rows: pd.DataFrame) -> Keys:
    return list(zip(rows["layer"].to_list(), rows["feature"].to_list(), strict=True))


def _cells(
    store: Store, rows: pd.DataFrame, claims: pd.DataFrame, variant: str, domain: str
) -> tuple[pd.DataFrame, dict[str, Column]]:
    """The cells as text, and the columns by name."""
    keys, printed = _keys(rows), tables.printed(rows)
    found = {LABEL: printed["label"], COLUMNS["name"]: printed["name"], VERDICT: printed["verdict"], CHANGE: printed["change"]}
    found |= _on_harmful(store, variant, keys, [name for name in harmful.domains(store) if name != domain])
    if store.has_contributions:
        found[replace(EFFECT, title="Effect: all text") if domain == ALL else EFFECT] = printed["contribution_kl"]
    if claims["n_runs"].iloc[0] > 1:
        found[RUNS] = claims["runs_alike"].astype(str) + f" of {claims['n_runs'].iloc[0]}: " + printed["runs"]
    found[OTHERS] = [_others(*row) for row in claims[["verdict", "n_others", "claimed_in"]].itertuples(index=False)]
    found[COLUMNS["gate"]] = printed["gate"]
    columns = {column.name: column for column in found}
    return pd.DataFrame(dict(zip(columns, map(list, found.values()), strict=True))), columns


def _on_harmful(store: Store, variant: str, keys: Keys, domains: Sequence[str]) -> dict[Column, list[str]]:
    """What became of the features on the domains that may be harmful, and what that does there, as columns of text."""
    if not domains:
        return {}
    there = data.ask(store, Store.changes_on, variant=variant, keys=keys, domains=domains)
    by_key = {key: of.set_index("domain") for key, of in there.groupby(["layer", "feature"])}
    several = len(domains) > MOST_DOMAINS
    columns = {}
    for number, of in enumerate([list(domains)] if several else [[name] for name in domains]):
        title = "On harmful text" if several else f"On {words.short(of[0], 24)}"
        named = f"that of {words.listing(of)} where it changed most" if several else f"domain {of[0]}"
        help = CHANGE_THERE.help.format(of=words.plain(named))
        column = replace(CHANGE_THERE, name=f"there_{number}", title=title, help=help)
        columns[column] = [_change(by_key.get(key), of) for key in keys]
    if store.has_contributions:
        most = there.assign(size=there["kl"].abs()).sort_values("size").groupby(["layer", "feature"])["kl"].last()
        where = f" On text that may be harmful: in {words.plain(words.listing(list(domains)))}, where that is most."
        column = replace(EFFECT, name="effect", title="Effect: harmful text", width=126, help=EFFECT.help + where)
        columns[column] = [signed(most.get(key)) for key in keys]
    return columns


def _change(there: pd.DataFrame | None, domains: Sequence[str]) -> str:
    """The largest change on some domains, of those seen if any; in brackets where none is; '–' where it fires in none."""
    rows = None if there is None else there.reindex(domains).dropna(subset="change")
    if rows is None or rows.empty:
        return UNKNOWN
    most = rows.assign(size=rows["change"].abs()).sort_values(["seen", "size"]).iloc[-1]
    return share(most["change"]) if most["seen"] else f"({share(most['change'])})"


def _others(verdict: str | None, n_others: int, claimed_in: list[str]) -> str:
    """'only here', 'none' of what is not claimed here either, '1 of 3: maths', 'all 3 others'; '–' without others' verdicts."""
    if not n_others:
        return UNKNOWN
    if not claimed_in:
        return "only here" if verdict in CLAIMED else "none"
    if len(claimed_in) == n_others > 1:
        return f"all {n_others} others"
    return f"{len(claimed_in)} of {n_others}: {', '.join(claimed_in)}"
