"""The app's pickers, each written once. A picker shows what the URL says and writes a change back into it (app/link.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from app import data, link, words
from app.components import badges, runs
from app.components.columns import COLUMNS, TWINS
from app.words import meanings
from store.metrics.thresholds import DENSE
from store.names import ALL, VERDICTS, kind_name
from store.read.feature_filter import FOCUSED
from store.read.store import Store
from store.text import on_one_line

ROW = {"horizontal": True, "vertical_alignment": "bottom", "gap": "small"}
"""How pickers stand beside each other: in a row that wraps where the window is narrow."""

SHOWN = "shown"
"""In the URL, of what is hidden otherwise."""

FEW = 6
"""Up to this many options stand side by side; more go into a list."""


def pick(
    label: str,
    name: str,
    options: Sequence[Any],
    default: Any,
    show: Callable[[Any], str] = str,
    forget: Sequence[str] = (),
    few: int = FEW,
    help: str | None = None,
    pin: dict[str, Any] | None = None,
    width: int = 170,
    always: bool = False,
) -> Any:
    """One of several options, kept in the URL under `name`; a change also takes the parameters `forget` out of the URL.

    always: whether a choice of the default is written too, because other pages have another default.
    """
    key = f"pick_{name}"
    st.session_state[key] = link.read(name, options, default)
    left_out = None if always else default
    change = {"key": key, "on_change": _keep, "args": (name, left_out, tuple(forget), pin), "help": help}
    if len(options) <= few:
        return st.segmented_control(label, options, required=True, format_func=lambda one: words.plain(show(one)), **change)
    return st.selectbox(label, options, format_func=lambda one: on_one_line(show(one)), width=width, **change)


def pick_store(names: Sequence[str]) -> str:
    """Which store to look at. Another store forgets everything that was chosen in this one."""
    st.session_state["pick_store"] = link.read("store", names, names[0])
    points = data.points()

    def shown(name: str) -> str:
        return f"{name} · {points[name]}" if name in points else name

    return st.selectbox("Store", names, format_func=shown, key="pick_store", on_change=_keep_store)


def pick_variant(store: Store, pin: dict[str, Any] | None = None, default: str | None = None, help: str | None = None) -> str:
    """One of the store's variants, the runs of a recipe beside each other; a replicate is badged as one.

    pin: what a change also writes into the URL, because it must not change with the variant; default: which is shown where the
    URL names none, None for the first.
    """
    chosen = pick(
        "Variant", "variant", list(runs.firsts(store)), default or store.variants[0], lambda name: runs.name(store, name),
        forget=("p", "selected", *_resting_on_twins(store)), pin=pin, always=default is not None,
        help=help and words.plain(help),
    )  # fmt: skip
    runs.badge(store, chosen)
    return chosen


def pick_layer(store: Store, default: int | str, every: bool = False) -> int | None:
    """One of the store's layers; with `every`, also all of them (None)."""
    options = [ALL, *store.layers] if every else store.layers
    chosen = pick("Layer", "layer", options, default, forget=("p", "selected", "feature", "list_layer"), few=8)
    return None if chosen == ALL else chosen


def pick_domain(store: Store, help: str | None = None) -> str:
    """One of the store's domains, or 'all'; a sort by several domains together is forgotten with the choice."""
    forget = ("p", "selected", *(["sort"] if link.read_text("sort") in FOCUSED else []))
    return pick("Domain", "domain", [ALL, *store.domains], ALL, forget=forget, few=0, help=help)


def pick_search() -> str:
    """Free text: a feature's number, 'L12:431', part of a label, or an output token that it promotes."""
    st.session_state["pick_q"] = link.read_search("q")
    return st.text_input(
        "Search", key="pick_q", on_change=_keep, args=("q", "", ("p", "selected")), placeholder="number, label or token",
        max_chars=80, width=190,
        help="A feature's number, L12:431, part of a label, or one of the output tokens that it promotes most.",
    )  # fmt: skip


def pick_number(label: str, name: str, default: int, low: int, high: int | None, forget: Sequence[str] = ()) -> int:
    """A whole number."""
    st.session_state[f"pick_{name}"] = link.read_number(name, default, low, high)
    return st.number_input(
        label, low, high, step=1, key=f"pick_{name}", on_change=_keep, args=(name, default, tuple(forget)), width=140
    )


def pick_kinds(options: Sequence[str]) -> tuple[str, ...] | None:
    """Some of the kinds of change; none chosen means all of them (None)."""
    st.session_state["pick_kinds"] = link.read_list("kinds", options)
    chosen = st.pills(
        "Kind", options, selection_mode="multi", key="pick_kinds", on_change=_keep_list, args=("kinds", ("p", "selected")),
        format_func=kind_name,
        help="None chosen: all. "
        + "; ".join(f"**{kind_name(kind)}**: {meanings.KIND_MEANINGS[kind]}" for kind in options) + ".",
    )  # fmt: skip
    return tuple(chosen) or None


def copy_link(place: Any = st, **pins: Any) -> None:
    """The address of what is shown, to be copied; `pins` are the parameters that must not depend on a default."""
    stores = list(data.stores())
    if len(stores) > 1:
        pins |= {"store": link.read("store", stores, stores[0])}
    address = (st.context.url or "").split("?")[0]
    with place.popover("Link", icon=":material/link:", help="A link that shows just this."):
        st.code(f"{address}?{urlencode(link.query(**pins))}", language=None, wrap_lines=True)


def pick_dense(hidden: int) -> None:
    """Whether a list shows dense features, and how many it hides where it does not; nothing where there are none."""
    shown = link.read("dense", (SHOWN,), None) == SHOWN
    if not hidden and not shown:
        return
    said = f"on more than {words.percent(DENSE)} of tokens"
    label = f"Dense features, {said}" if shown else f"{words.counted(hidden, 'dense feature')} hidden: firing {said}"
    help = "They fire nearly everywhere, so that hardly any of them stands for something a person can name."
    pick_switch(label, "dense", SHOWN, help)


def pick_switch(label: str, name: str, value: str, help: str) -> None:
    """A switch that writes `value` into the URL under `name`, and takes it out again."""
    st.session_state[f"pick_{name}"] = link.read(name, (value,), None) == value
    st.toggle(label, key=f"pick_{name}", on_change=_keep_switch, args=(name, value), help=help)


def pick_columns(options: Sequence[str], default: Sequence[str]) -> list[str]:
    """Which columns a table has; none chosen means those of `default`. In the order of the default, then of the others."""
    chosen = link.read_list("columns", options) or [name for name in options if name in default]
    st.session_state["pick_columns"] = chosen
    with st.popover("Columns", icon=":material/view_column:"):
        st.pills(
            "Columns", options, selection_mode="multi", key="pick_columns", on_change=_keep_columns, args=(tuple(default),),
            format_func=lambda name: COLUMNS[name].title, label_visibility="collapsed",
        )  # fmt: skip
    order = [*default, *(name for name in options if name not in default)]
    return [name for name in order if name in chosen]


def pick_verdicts(options: Sequence[str], default: Sequence[str] = ()) -> tuple[str, ...] | None:
    """Some of the verdicts `options`; without a choice in the URL those of `default`, none chosen means all of them (None)."""
    chosen = chosen_verdicts(default)
    st.session_state["pick_verdicts"] = [name for name in options if name in (chosen or ())]
    with st.container(**ROW):
        st.pills(
            "Verdict", options, selection_mode="multi", key="pick_verdicts", on_change=_keep_verdicts, args=(tuple(default),),
            format_func=lambda name: f"{meanings.VERDICTS[name].mark} {name}",
            help="Of all domains together. None chosen: all. "
            + "; ".join(f"**{name}**: {meanings.VERDICTS[name].meaning}" for name in options) + ".",
        )  # fmt: skip
        if chosen is not None:
            every = {"verdicts": ALL if default else None, "p": None, "selected": None}
            st.button("Any verdict", on_click=link.write, kwargs=every, key="any_verdict")
    return chosen


def chosen_verdicts(default: Sequence[str] = ()) -> tuple[str, ...] | None:
    """The verdicts that the URL names ('all': every one, None), or the default where it names none."""
    named = tuple(name for name in link.read_list("verdicts", (ALL, *VERDICTS)))
    if ALL in named:
        return None
    return named or tuple(default) or None


def _resting_on_twins(store: Store) -> list[str]:
    """What of the URL a variant without twins cannot show, in a store where some variants have twins and others none."""
    if len({badges.has_twins(store, variant) for variant in store.variants}) == 1:
        return []
    columns = {end for column in COLUMNS.values() if column.needs == TWINS for end in (column.name, *column.ends)}
    return [name for name in ("sort", "columns") if columns & set(link.read_text(name).split(","))]


def _keep(name: str, default: Any, forget: tuple[str, ...] = (), pin: dict[str, Any] | None = None) -> None:
    value = st.session_state[f"pick_{name}"]
    link.write(**dict.fromkeys(forget) | (pin or {}) | {name: None if value == default else value})


def _keep_verdicts(default: tuple[str, ...]) -> None:
    chosen = st.session_state["pick_verdicts"]
    is_default = set(chosen) == set(default)
    link.write(verdicts=None if is_default else ",".join(chosen) or ALL, p=None, selected=None)


def _keep_list(name: str, forget: tuple[str, ...]) -> None:
    chosen = st.session_state[f"pick_{name}"]
    link.write(**{name: ",".join(chosen) or None}, **dict.fromkeys(forget))


def _keep_switch(name: str, value: str) -> None:
    link.write(**{name: value if st.session_state[f"pick_{name}"] else None}, p=None, selected=None)


def _keep_columns(default: tuple[str, ...]) -> None:
    chosen = st.session_state["pick_columns"]
    link.write(columns=None if set(chosen) == set(default) else ",".join(chosen) or None)


def _keep_store() -> None:
    st.query_params.from_dict({"store": st.session_state["pick_store"]})
