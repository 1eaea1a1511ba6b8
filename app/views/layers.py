"""Layers: where in depth variants differ from the base: cosine and overlap, over steps, what was learned, metrics, template."""

import streamlit as st

from app import data, link
from app.components import cosine_overlap, every_metric, learning, over_steps, pickers, template
from store.read.store import Store

TITLE = "Layers"
ICON = ":material/stacked_line_chart:"
GROUP = "Explore"
ORDER = 40

OVERLAP, STEPS, LEARNED, METRICS, TEMPLATE = VIEWS = ("overlap", "steps", "learned", "metrics", "template")
NAMES = {
    OVERLAP: "Cosine and overlap", STEPS: "Over steps", LEARNED: "Learned", METRICS: "All metrics", TEMPLATE: "Template",
}  # fmt: skip


def learned(store: Store) -> None:
    """Where in depth it was learned, how many features make it, and what undoing sets of them takes back."""
    learning.profiles(store)
    learning.curves(store)
    learning.taken_back(store)


SHOWN = {
    OVERLAP: cosine_overlap.show, STEPS: over_steps.show, LEARNED: learned, METRICS: every_metric.show,
    TEMPLATE: template.show,
}  # fmt: skip

store = data.current()
st.markdown(f"## {TITLE}")
st.caption("How far each variant is from the base, layer by layer. The same tokens in both; sinks and padding left out.")
known = {LEARNED: learning.is_told(store), STEPS: over_steps.has_series(store)}
offered = [view for view in VIEWS if known.get(view, True)]
default = METRICS if any(name in link.query() for name in every_metric.OWN) else OVERLAP  # links from before there were parts
view = pickers.pick("Show", "view", offered, default, show=NAMES.get)
SHOWN[view](store)
