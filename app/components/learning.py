"""What variants learned and what it cost, from the contributions beside a store; shown only where there are any."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from markupsafe import Markup

from app import data, words
from app.charts import axes, contribution_charts
from app.components import feature_evidence, runs
from app.markup import contexts
from app.words import palette
from store.names import ALL, NEUTRAL, TASK
from store.points import RESID_POST, STREAM, subject
from store.read.store import Store
from store.sidecar.entries import read_set_steering
from store.sidecar.sets import in_short, in_words

PLACES = {TASK: "task", NEUTRAL: "neutral", ALL: "all"}
"""Domain of the contributions -> what charts call it."""
ANY_RECIPE = "currentcolor"
"""In a legend that stands for charts of several recipes, each in its own colour."""

WHERE = (
    "With all of the variant that comes after kept and the base's activation put at a layer ({}), so much of the gain is gone: "
    "the part made {}, in nats a predicted token. Measured on an eighth of the predictions of the Overview."
)
CURVES = (
    "The variant's change of so many features is taken back, in the model itself, at the layer whose features make most of "
    "what passes through it: features that one half of the documents puts first, on the other half. The dashed line is the "
    "layer's whole change. “As much along the whole change”: as far as the first ones move it, straight towards the base."
)
ACTS = (
    "In the sampled passages: what the feature's change at a token adds to the log-likelihood of the passage's predicted "
    "tokens, which follow there or later, each weighted by how much of the text it stands for. The largest are kept."
)
TAKEN_BACK = (
    "Causal checks: the variant's change of so many features is undone in the model itself, on sampled text; beside it as much "
    "along random features. Made by python -m extract steer."
)
NAMED = 12
"""Features of a set that are named."""
NONE = "what was learned, and through which features, was not measured for this store; python -m extract contributions adds it."
DOMAIN_NAMES = {TASK: "its own task", NEUTRAL: "text of no task", ALL: "all text"}


def is_told(store: Store) -> bool:
    """Whether there is anything to tell of what was learned: contributions, or causal checks of sets."""
    return store.has_contributions or bool(read_set_steering(store.path, store.manifest.digest))


def domain_name(domain: str) -> str:
    """How a page calls a domain of the contributions."""
    return DOMAIN_NAMES.get(domain, domain)


def with_places(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of domains that charts show, with ``place``: of a variant with a task its task and neutral text, else all text."""
    rows = rows.assign(place=rows["domain"].map(PLACES)).dropna(subset="place")
    with_task = set(rows.loc[rows["domain"] == TASK, "variant"])
    return rows[(rows["domain"] != ALL) | ~rows["variant"].isin(with_task)]


def _made(point: str) -> str:
    """Where that part of what was learned comes from that passes through a point of a layer."""
    if point in STREAM:
        return "at or below that layer" if point == RESID_POST else "below that point"
    return f"by what becomes of {subject(point)} there alone, given the stream that the variant has"


def profiles(store: Store) -> None:
    """Where in depth each variant's gain is made: a small chart a recipe's first run."""
    if not store.has_contributions:
        return
    st.markdown("### Where it was learned", help=WHERE.format(store.point, _made(store.point)))
    rows = pd.concat([data.ask(store, Store.layer_gains, domain=domain) for domain in PLACES])
    rows = with_places(rows[rows["variant"].isin(runs.compared(store))])
    panel, colours, shown = st.container(horizontal=True), runs.colours(store), set(rows["place"])
    for variant in runs.compared(store):
        if (mine := rows[rows["variant"] == variant]).empty:
            continue
        with panel.container(width=axes.PANEL_WIDTH):
            spec = data.chart(contribution_charts.gain_profile, mine, variant, colours[variant])
            st.vega_lite_chart(spec=spec, key=f"gain_{variant}", alt=f"What of {variant}'s gain passes through each layer")
    legend = [
        (contribution_charts.PLACES[place], ANY_RECIPE, style, 3)
        for place, (_, style) in contribution_charts.PLACE_LOOKS.items()
        if place in shown
    ]
    st.html(
        contexts.series_legend([*legend, ("random changes of the weights of that size", palette.CONTROL_COLOUR, "solid", 8)])
    )
    st.caption(f"Nats a predicted token. Bands: 95 % intervals over clusters.{runs.others_said(store)}")


def curves(store: Store) -> None:
    """How many features make it: a small chart a recipe's first run."""
    if not store.has_contributions:
        return
    rows, colours = data.ask(store, Store.curves), runs.colours(store)
    of_firsts = {variant: mine for variant in runs.compared(store) if len(mine := rows[rows["variant"] == variant])}
    if not of_firsts:
        return
    st.markdown("### How many features make it", help=CURVES)
    panel = st.container(horizontal=True)
    for variant, mine in of_firsts.items():
        where = f"{variant}, layer {int(mine['layer'].iloc[0])}, {domain_name(mine['domain'].iloc[0])}"
        with panel.container(width=axes.PANEL_WIDTH):
            spec = data.chart(contribution_charts.curve, mine, where, colours[variant])
            st.vega_lite_chart(spec=spec, key=f"curve_{variant}", alt=f"How much of {variant}'s gain so many features make")
    orders = contribution_charts.ORDERS.items()
    legend = [(called, *contribution_charts.order_look(name, ANY_RECIPE), 3) for name, called in orders]
    st.html(contexts.series_legend([*legend, ("the whole layer", palette.QUIET_COLOUR, "dashed", 2)]))
    st.caption("Nats a predicted token that go where the change of so many features is undone.")


def of_feature(store: Store, layer: int, feature: int, variant: str) -> None:
    """What one feature contributes in each domain; a word where it is not among the largest."""
    if not store.has_contributions:
        return
    rows = data.ask(store, Store.feature_contributions, layer=layer, feature=feature)
    rows = rows[rows["variant"] == variant]
    if rows.empty:
        st.caption("Its change is not among those that contribute most to what this variant learned or lost.")
        return
    order = {name: place for place, name in enumerate([ALL, TASK, NEUTRAL, *store.domains])}
    rows = rows.sort_values("domain", key=lambda column: column.map(order))
    spec = data.chart(contribution_charts.by_domain, rows.assign(domain=[domain_name(name) for name in rows["domain"]]))
    st.vega_lite_chart(spec=spec, key="contribution", alt="What this feature's change adds to the log-likelihood")
    st.caption("Below 0: takes from it. Only domains where it is among the features that contribute most.")


def acting_passages(store: Store, layer: int, feature: int, variant: str) -> pd.DataFrame:
    """The passages in which one feature's change contributes most: of Store.acting_passages; empty where none was kept."""
    if not store.has_contributions:
        return pd.DataFrame()
    return data.ask(store, Store.acting_passages, variant=variant, layer=layer, feature=feature)


def where_it_acts(store: Store, found: pd.DataFrame) -> None:
    """Passages of :func:`acting_passages`, their tokens coloured by what the feature's change adds there."""
    st.markdown("**Where its change acts**", help=ACTS)
    top = max(abs(gain) for gains in found["gains"] for gain in gains)
    passages = (contexts.acting(feature_evidence.with_cover(store, record), top) for record in found.to_dict("records"))
    st.html(contexts.acting_legend(top) + Markup("").join(passages))


def taken_back(store: Store) -> None:
    """What came of the causal checks of sets, a sentence of each; nothing where there are none."""
    made = read_set_steering(store.path, store.manifest.digest)
    if not made:
        return
    st.markdown("### Sets of features, taken back together", help=TAKEN_BACK)
    for result in made:
        st.markdown(f"- **{words.plain(result.variant)}**: {words.plain(in_short(result))}")
    with st.expander("In full: intervals, random sets, the way straight back, KL"):
        for result in made:
            features = ", ".join(f"L{result.layer}:{feature}" for feature in result.features[:NAMED])
            more = f" and {len(result.features) - NAMED:,} more" if len(result.features) > NAMED else ""
            st.markdown(f"**{words.plain(result.variant)}**, {features}{more}: {words.plain(in_words(result))}")
