"""The URL is the only state of the app: what a page shows is read from it, and a widget's change is written to it.

Nothing is written while a page is drawn, so the back button always works. A value equal to its default is left out.
A value that is not possible here falls back to the default, with a note at the top of the page.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any

import streamlit as st

from store.names import ALL
from store.text import markdown, unjoined

NOTES = "_notes"
READ = "_read"
VISITOR = "_visitor"

ABOUT = ("variant", "layer", "feature", "domain")
"""Parameters that say what a page's numbers are of."""


def start() -> None:
    """Make room at the top of the page for notes; called once a run, before anything is read."""
    st.session_state[NOTES] = (st.container(), set())
    st.session_state[READ] = {}


def note(text: str) -> None:
    """Say once, at the top of the page, what in the link could not be followed."""
    place, said = st.session_state[NOTES]
    if text not in said:
        said.add(text)
        place.warning(text, icon=":material/link_off:")


def read(name: str, options: Iterable[Any], default: Any) -> Any:
    """The option that the URL names; the default where it names none, with a note where it names an impossible one."""
    raw = st.query_params.get(name)
    found = [option for option in options if str(option) == raw]
    if raw is not None and not found:
        note(f"The link asks for {name} “{_shown(raw)}”, which is not here; this page shows {_shown(default)} instead.")
    return _kept(name, found[0] if found else default)


def read_number(name: str, default: int, low: int, high: int | None = None) -> int:
    """A whole number of the URL within [low, high]; else the default, with a note."""
    raw = st.query_params.get(name)
    if raw is None:
        return _kept(name, default)
    if raw.isascii() and raw.isdigit() and len(raw) < 10 and low <= int(raw) and (high is None or int(raw) <= high):
        return _kept(name, int(raw))
    limits = f"from {low:,} to {high:,}" if high is not None else f"of at least {low:,}"
    note(f"The link asks for {name} “{_shown(raw)}”, but it has to be a number {limits}; this page shows {default:,}.")
    return _kept(name, default)


def subject() -> list[str]:
    """What the page is about, as far as it has read the URL: 'variant maths', 'layer 15'; its defaults are said too."""
    read = st.session_state[READ]
    return [f"{name} {read[name]}" for name in ABOUT if read.get(name) not in (None, ALL)]


def read_list(name: str, options: Iterable[str]) -> list[str]:
    """The options that a comma-separated value of the URL names, in the order of options; unknown ones give a note."""
    wanted = [part for part in st.query_params.get(name, "").split(",") if part]
    options = list(options)
    for part in wanted:
        if part not in options:
            note(f"The link asks for {name} “{_shown(part)}”, which does not exist; it is left out.")
    return [option for option in options if option in wanted]


def read_each(name: str, meaning: Callable[[str], Any], most: int) -> list[Any]:
    """What the parts of a comma-separated value of the URL mean, each once, in their order, at most so many of them.

    meaning: None for a part that means nothing here, which gives a note.
    """
    found: dict[Any, None] = {}
    for part in filter(None, st.query_params.get(name, "").split(",")):
        if len(found) == most:
            note(f"The link asks for more than {most:,} of {name}; this page shows the first ones.")
            break
        if (one := meaning(part)) is None:
            note(f"The link asks for {name} “{_shown(part)}”, which does not exist; it is left out.")
        else:
            found[one] = None
    return list(found)


def read_text(name: str) -> str:
    """Free text of the URL; empty where there is none."""
    return st.query_params.get(name, "")


def read_search(name: str) -> str:
    """Words to look for, as :func:`read_text`; what somebody copied from a page is looked for as the store has it."""
    return unjoined(read_text(name))


def visitor() -> str:
    """A name for the visitor: of their session, which no link carries."""
    return st.session_state.setdefault(VISITOR, secrets.token_hex(8))


def write(**values: Any) -> None:
    """Put values into the URL at once (one step of the browser's history); None takes one out. For callbacks."""
    st.query_params.from_dict(query(**values))


def query(**changes: Any) -> dict[str, str]:
    """The URL's parameters with changes, for a link to a page; None takes one out."""
    params = dict(st.query_params.to_dict())
    for name, value in changes.items():
        if value is None:
            params.pop(name, None)
        else:
            params[name] = str(value)
    return params


def shared(store: str | None) -> dict[str, str]:
    """What every page has in common, for the links of the sidebar: store, variant, layer, domain, presentation mode."""
    params = query(store=store)
    if "list_layer" in params:  # On a feature's page `layer` is the feature's own; the list's stands beside it.
        params["layer"] = params["list_layer"]
    return {name: params[name] for name in ("store", "variant", "layer", "domain", "present") if name in params}


def _kept(name: str, value: Any) -> Any:
    st.session_state.setdefault(READ, {})[name] = value
    return value


def _shown(value: Any) -> str:
    """A value for a note: short, and with every mark of Markdown taken out or escaped."""
    text = "".join(c if c.isalnum() or c in " -_.,/" else "·" for c in str(value))
    return markdown(text if len(text) <= 40 else text[:39] + "…", "_")
