"""Parts of a page that are drawn only while they are open; which are, is in the URL, so that a link reproduces the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from app import link

OPEN = "open"
"""In the URL: the names of the open parts, comma-separated. Those of another page do nothing here, and are kept."""


def section(name: str, title: str, draw: Callable[..., None], *args: Any) -> None:
    """A part of a page under its title, which a click opens; closed, `draw` is not called."""
    key = f"{OPEN}_{name}"
    st.session_state[key] = name in _open()
    part = st.expander(title, key=key, on_change=_keep, args=(name,))
    if part.open:
        with part:
            draw(*args)


def _open() -> list[str]:
    return [name for name in link.read_text(OPEN).split(",") if name]


def _keep(name: str) -> None:
    others = [other for other in _open() if other != name]
    link.write(open=",".join([*others, name] if st.session_state[f"{OPEN}_{name}"] else others) or None)
