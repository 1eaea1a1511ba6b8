"""The recipes of a store, a row each: what it says, what changed inside, what it learned, and the features that carry most."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import data, link, words
from app.components import badges, feature_evidence, learning, runs, terms
from app.markup import contexts, story
from store.metrics.feature_columns import share
from store.names import ALL, CLAIMED
from store.points import subject
from store.read.store import Store
from store.reports.courses import Course
from store.reports.story import Story, check, stories
from store.sidecar.entries import read_set_steering
from store.sidecar.sets import SetSteering
from store.token_text import cut

COLUMNS = (3.5, 1.5, 1.5, 1.05, 2.75)
"""Widths of: the words, what was learned, cosine and overlap, claimed features, the foremost features."""
FOREMOST = 3
BEFORE, AFTER = 14, 10
"""Of the line in which a feature acts: letters shown before the token where it acts most, and tokens after it."""


def rows(store: Store) -> None:
    """Every recipe; the headings lead to the pages that show more of their column."""
    told = data.ask(store, stories)
    shared, colours = story.scales(told), runs.colours(store)
    made = read_set_steering(store.path, store.manifest.digest)
    st.html(story.STYLE)
    terms.line("feature", "run", "nats", "cosine", "overlap", "random change", "contribution")
    with st.container(key="recipes", gap="xsmall"):
        with st.container(key="headings"):
            headings(store)
        for at, one in enumerate(told):
            with st.container(border=True, gap=None, key=f"recipe_{at}"):
                said, gains, profiles, claimed, features = st.columns(COLUMNS, vertical_alignment="center")
                said.html(story.told(one, words.counted(one.runs, "run"), colours[one.variant]))
                gains.html(story.learned(one, shared))
                profiles.html(story.profiles(one, shared, colours[one.variant]))
                claimed.html(story.claims(one, shared) if one.verdicts is not None else "<small>no verdicts</small>")
                with features.container(gap=None):
                    foremost(store, one, made)
                if one.course is not None:
                    over_steps(one.course, colours[one.variant])


def headings(store: Store) -> None:
    """What the columns are, each a link to the page that shows it whole."""
    said, gains, profiles, claimed, features = st.columns(COLUMNS, vertical_alignment="bottom")
    said.page_link(
        "views/answers.py", label="What it does", query_params=link.query(), help="All answers to the fixed prompts."
    )
    part = "learned" if learning.is_told(store) else None
    gains.page_link(
        "views/layers.py", label="Learned, and cost", query_params=link.query(view=part),
        help="How much likelier it makes each token of the text, in nats (0.69: twice as likely), on its own task and on text "
        "that no fine-tune was trained for. Line: 95 % interval. Grey ticks: random changes of the weights of that size.",
    )  # fmt: skip
    profiles.page_link(
        "views/layers.py", label="Cosine and overlap", query_params=link.query(view="overlap"),
        help=f"Over the layers: whether {subject(store.point)} points the same way, and whether the same features are on (1: "
        "the same). Grey: random changes of the weights of that size. What lies in the grey is no finding.",
    )  # fmt: skip
    claimed.page_link(
        "views/features.py", label="Changed", query_params=link.query(),
        help="Features that fell (▼) or rose (▲) by half or more in every run of the recipe, beyond what random changes of the "
        "weights do, by layer.",
    )  # fmt: skip
    features.page_link(
        "views/features.py", label="Features that contribute most", query_params=link.query(),
        help="Those whose change adds most to the likelihood of the task's text, by its gradient, at the layer whose features "
        "make most of it, in nats. Below each the passage where it acts most, coloured by what it adds. That is no proof: what "
        "comes of undoing them in the model stands below."
        + f" Their names are automatic: {badges.AUTOMATIC_MEANING}" * names_are_automatic(store),
    )  # fmt: skip


def over_steps(course: Course, colour: str) -> None:
    """How a training came to what its last checkpoint shows, and the way to its layers over steps."""
    pictures, way = st.columns((8, 1.2), vertical_alignment="center")
    pictures.html(story.over_steps(course, colour))
    there = link.query(view="steps", series=course.series)
    way.page_link("views/layers.py", label="Over steps", icon=":material/timeline:", query_params=there)


def names_are_automatic(store: Store) -> bool:
    """Whether no person gave any label of the store, which the heading then says once."""
    return words.all_automatic(data.ask(store, Store.label_sources)["label_source"])


def foremost(store: Store, one: Story, made: Sequence[SetSteering]) -> None:
    """The features that carry most of what a recipe learned, a passage each; without contributions the most striking ones.

    made: the causal checks of sets.
    """
    if one.main is None:
        striking(store, one.variant)
        return
    domain, main = one.main
    asked = {"variant": one.variant, "layer": main.layer, "domain": domain}
    task = store.manifest.settings.get("tasks", {}).get(one.variant, ())
    found = data.ask(store, Store.contributions, **asked, order=main.order, limit=FOREMOST)
    marked = not names_are_automatic(store)
    for row in found.to_dict("records"):
        feature_link(row, words.number(row["gain"], signed=True), one.variant, marked)
        acts = data.ask(store, Store.acting_passages, variant=one.variant, layer=main.layer, feature=int(row["feature"]))
        told = [act for act in acts.to_dict("records") if (act["gain"] > 0) == (row["gain"] > 0)]
        if told:
            st.html(passage(store, min(told, key=lambda act: act["domain"] not in task)))
    st.html(story.quiet(check(one, made)))


def striking(store: Store, variant: str) -> None:
    """The most striking of a variant's claimed features, an excerpt each; of one without twins those that changed most."""
    twins = badges.has_twins(store, variant)
    chosen = {"verdicts": CLAIMED, "sort": "striking"} if twins else {"sort": "evidence"}
    found = data.ask(store, Store.shifted_features, variant=variant, domain=ALL, limit=FOREMOST, **chosen)
    if found.empty:
        st.caption("No feature is claimed." if twins else "No feature changed.")
    elif not twins:
        st.caption("Changed most, no evidence:")
    for _, row in found.iterrows():
        feature_link(row.to_dict(), share(row["change"]), variant, not names_are_automatic(store))
        if shown := feature_evidence.excerpt(store, row, variant, ALL):
            st.html(shown)


def feature_link(row: dict, number: str, variant: str, marked: bool) -> None:
    """A link to a feature's page: what it stands for first, then its number and its name.

    marked: whether an automatic label says that it is one; not where the heading does.
    """
    layer, feature = int(row["layer"]), int(row["feature"])
    label = words.label(row["label"], row["label_source"] if marked else None, 22)
    st.page_link(
        "views/feature.py",
        label=f"{words.plain(label)}{' · ' * bool(label)}{words.feature_name(layer, feature)} · {number}",
        query_params=link.query(variant=variant, layer=layer, feature=feature, list_layer=layer),
    )


def passage(store: Store, act: dict) -> str:
    """One line of where a feature acts most."""
    peak = first = act["peak"]
    while first > 0 and sum(map(len, act["tokens"][first - 1 : peak])) <= BEFORE:
        first -= 1
    last = peak + AFTER
    act = feature_evidence.with_cover(store, act)
    cropped = {name: act[name][first:last] for name in ("alone", "gains", "covered")}
    shown = act | cropped | {"tokens": cut(act["tokens"], first, last), "peak": peak - first}
    return story.passage(contexts.acting_columns(shown, max(abs(gain) for gain in act["gains"])))
