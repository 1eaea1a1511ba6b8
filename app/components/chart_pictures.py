"""Charts as pictures: what a reader saves by the buttons of a chart has a background, and says what it shows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import streamlit as st
from markupsafe import Markup

SCRIPT = Markup(f"<script>{Path(__file__).with_suffix('.js').read_text(encoding='utf-8')}</script>")


def offer(of: Iterable[str]) -> None:
    """Let every chart of this page be saved as PNG and as SVG; of: what they are of, for the line below each one's title."""
    line = Markup('<span hidden class="fs-picture-of">{}</span>').format(" · ".join(of))
    st.html(line + SCRIPT, unsafe_allow_javascript=True)
