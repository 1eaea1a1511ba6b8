"""Requests may be harmful: they are covered until somebody asks for them. Whether they are shown is part of the link.

Of a domain or task whose name warns (store.names.may_be_harmful) a request is covered, and so is a response that is no plain
refusal (store/metrics/refusals.py): nothing of their text is on the page. A refusal is read, as is the chat template, and what
was measured at covered tokens stays visible.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import data, link
from store.names import may_be_harmful
from store.read.store import Store

SHOWN = "shown"


def is_shown() -> bool:
    """Whether the link asks for texts that may be harmful."""
    return link.read("text", (SHOWN, "hidden"), "hidden") == SHOWN


def button(place: Any = st) -> None:
    """A button, and the key T, that shows covered text or hides it again."""
    lifted = is_shown()
    place.button(
        "Hide example text" if lifted else "Show example text",
        key="blur",
        icon=":material/visibility_off:" if lifted else ":material/visibility:",
        shortcut="T",
        on_click=link.write,
        kwargs={"text": None if lifted else SHOWN},
        help=None if lifted else "Requests that may be harmful, and answers to them that are no refusals, are covered until "
        "asked for.",
    )  # fmt: skip


def is_hidden(name: str) -> bool:
    """Whether texts of a domain or task that may be harmful are covered: nobody asked for them."""
    return may_be_harmful(name) and not is_shown()


def covered(store: Store, domain: str, document: int, first: int, count: int) -> list[bool]:
    """Of ``count`` tokens of a document of that domain, from its token ``first``: whether each is covered."""
    if not is_hidden(domain):
        return [False] * count
    rows = data.ask(store, Store.readable_tokens, document=document)
    readable = set(rows.loc[rows["is_readable"], "position"])
    return [position not in readable for position in range(first, first + count)]
