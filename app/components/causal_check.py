"""The causal check of a feature on its page: what it found, or the command that makes it."""

from __future__ import annotations

import shlex
from pathlib import Path

import streamlit as st

from app import data, words
from app.charts import causal_strip
from store.read.store import Store
from store.sidecar.entries import read_steering
from store.sidecar.steering import in_words

RANKINGS = {"decrease", "increase"}
"""A feature without a context under one of them has nothing to be checked on."""


def section(store: Store, layer: int, feature: int, variant: str) -> None:
    """The result with its chart; where there is none yet the command, and nothing where it would find no text to work on."""
    wanted = (layer, feature, variant)
    made = [r for r in read_steering(store.path, store.manifest.digest) if (r.layer, r.feature, r.variant) == wanted]
    if made:
        st.markdown("**Causal check**")
        alternative = "KL of the next token before and after, beside random features"
        st.vega_lite_chart(spec=data.chart(causal_strip.strip, made[0]), key="steering", alt=alternative)
        st.markdown(words.plain(in_words(made[0])))
        return
    kept = data.ask(store, Store.count_contexts, layer=layer, feature=feature, variant=variant)
    if RANKINGS & set(kept["ranking"]):
        # A name that holds a backtick would end the code span; nothing else is read as Markdown inside one.
        line = command(store.path, layer, feature, variant).replace("`", "")
        st.caption(f"No causal check yet. To make it, CONFIG being the file that made the store: `{line}`")


def command(store: Path, layer: int, feature: int, variant: str) -> str:
    """What makes the causal check, with the store as it is reached from here."""
    here = Path.cwd()
    path = store.resolve()
    place = path.relative_to(here) if path.is_relative_to(here) else path
    return (
        f"python -m extract steer {shlex.quote(str(place))} CONFIG --layer {layer} --feature {feature} "
        f"--variant {shlex.quote(variant)}"
    )
