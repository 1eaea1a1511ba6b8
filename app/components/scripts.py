"""What Streamlit's charts and tables lack, done in the browser: pictures that say what they show, and Tab past a table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import streamlit as st
from markupsafe import Markup

SCRIPTS = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("chart_pictures.js", "table_keys.js")]
LEAVE = "document.currentScript.remove();"
"""They leave no script element, so that any on a page is a stranger's (test_browser.py)."""
ELEMENT = Markup("<script>{}</script>").format(Markup("\n".join([*SCRIPTS, LEAVE])))
"""The only script of a page."""


def place(subject: Iterable[str]) -> None:
    """Put the scripts on the page; subject: what its charts are of, for the line below the title of a saved one."""
    line = Markup('<span hidden class="fs-subject">{}</span>').format(" · ".join(subject))
    st.html(line + ELEMENT, unsafe_allow_javascript=True)
