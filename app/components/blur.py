"""Requests may be harmful: they are covered until somebody asks for them. Whether they are shown is part of the link.

Of a domain or task whose name warns (store.names.may_be_harmful) a request is covered, and so is a response that is no plain
refusal (store/metrics/refusals.py): nothing of their text is on the page. A refusal is read, as is the chat template, and what
was measured at covered tokens stays visible.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import streamlit as st

from app import data, link
from store.names import may_be_harmful
from store.read.store import Store
from store.reports.covering import covered_tokens

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


COVERED = ", covered"
"""On the button of a download in which text that may be harmful is covered, as it is on the page."""
DOWNLOADED = "Text that may be harmful is covered in the file as it is on the page: show it first to have it in the file."


def is_hidden(name: str) -> bool:
    """Whether texts of a domain or task that may be harmful are covered: nobody asked for them."""
    return may_be_harmful(name) and not is_shown()


def hidden(names: Iterable[str]) -> list[str]:
    """Those of some domains whose texts are covered."""
    return [name for name in names if is_hidden(name)]


def covered(store: Store, domain: str, document: int, first: int, count: int) -> list[bool]:
    """Of ``count`` tokens of a document of that domain, from its token ``first``: whether each is covered."""
    if not is_hidden(domain):
        return [False] * count
    return data.ask(store, covered_tokens, document=document, first=first, count=count)
