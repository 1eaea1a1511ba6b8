"""The causal check of a feature on its page: what it found, or the command that makes it."""

from __future__ import annotations

import shlex
from pathlib import Path

import altair as alt
import pandas as pd
import streamlit as st

from app import data
from app.charts import features as charts
from app.words import metrics as words
from store.read.store import Store
from store.sidecar.entries import read_steering
from store.sidecar.steering import ABLATE, RESTORE, Steering, in_words

RANKINGS = {"decrease", "increase"}
"""A feature without a context under one of them has nothing to be checked on."""


def section(store: Store, layer: int, feature: int, variant: str) -> None:
    """The result with its chart; where there is none yet the command, and nothing where it would find no text to work on."""
    wanted = (layer, feature, variant)
    made = [r for r in read_steering(store.path, store.manifest.digest) if (r.layer, r.feature, r.variant) == wanted]
    if made:
        st.markdown("**Causal check**")
        st.altair_chart(strip(made[0]), key="steering", alt="KL of the next token before and after, beside random features")
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


def strip(result: Steering) -> alt.LayerChart:
    """KL of the next token on one axis: as it is, moved along the feature (with its interval), and along random features."""
    done = {RESTORE: "feature restored", ABLATE: "feature ablated"}[result.mode]
    rows = ["as it is", done, "random directions"]
    data = pd.DataFrame(
        [
            {"what": rows[0], "name": rows[0], "kl": result.kl_before},
            {"what": rows[1], "name": words.feature_name(result.layer, result.feature), "kl": result.kl_after},
            *(
                {"what": rows[2], "name": words.feature_name(result.layer, feature), "kl": kl}
                for feature, kl in result.controls.items()
            ),
        ]
    )
    axis = alt.Axis(labelFontSize=13, labelLimit=160, labelOverlap=False, grid=False, ticks=False, domain=False)
    base = alt.Chart(data).encode(
        x=alt.X(
            "kl:Q",
            title="KL(base ‖ variant) of the next token, nats",
            scale=alt.Scale(zero=True),
            axis=alt.Axis(labelFlushOffset=charts.INSIDE),
        ),
        y=alt.Y("what:N", title=None, sort=rows, axis=axis),
        tooltip=[alt.Tooltip("name:N", title="moved along"), alt.Tooltip("kl:Q", title="KL, nats", format=".3~g")],
    )
    layers = [
        alt.Chart(data.head(1)).mark_rule(color=charts.GUIDE_COLOUR, strokeDash=[4, 4]).encode(x="kl:Q"),
        base.transform_filter(alt.datum.what == rows[2]).mark_tick(color="#808495", thickness=2, size=16),
        base.transform_filter(alt.datum.what != rows[2]).mark_point(
            color=words.VARIANT_COLOUR, filled=True, size=90, opacity=1
        ),
    ]
    if result.low is not None and result.high is not None:
        ends = pd.DataFrame([{"what": rows[1], "low": result.kl_before + result.low, "high": result.kl_before + result.high}])
        interval = (
            alt.Chart(ends)
            .mark_rule(color=words.VARIANT_COLOUR, strokeWidth=2)
            .encode(
                x="low:Q",
                x2="high:Q",
                y=alt.Y("what:N", sort=rows),
                tooltip=[
                    alt.Tooltip("low:Q", title="95 % interval of the change from as it is: from", format=".3~g"),
                    alt.Tooltip("high:Q", title="to", format=".3~g"),
                ],
            )
        )
        layers.insert(1, interval)
    return alt.layer(*layers).properties(height=30 * len(rows) + charts.AXIS_HEIGHT)
