"""Review: a work list of features, one at a time with its evidence; judgements are kept beside the store."""

from dataclasses import asdict
from datetime import UTC, datetime

import streamlit as st

from app import data, link, words
from app.components import badges, blur, feature_evidence, feature_list, harmful, pickers, review_list, review_panel, selection
from app.words import meanings
from store.names import ALL, VERDICTS
from store.read.store import Store
from store.reports.review import as_json, collect, list_in_words, order_in_words
from store.reports.review_page import as_html
from store.sidecar.entries import can_write, read_reviews, sidecar_path
from store.sidecar.reviews import standing

TITLE = "Review"
ICON = ":material/rate_review:"
GROUP = "Review"
ORDER = 100

LISTS = {"claimed": "Claimed changes", "suppressed": "Suppressed", "shifted": "Every feature"}


def filters(store: Store, twins: bool) -> tuple[str, int | None]:
    """Which features: the filters that the other lists have, in a corner of their own; returns the list's name and layer."""
    with st.popover("Which features", icon=":material/filter_list:"):
        forget = ("kinds", "verdicts", "selected", "sort")
        name = pickers.pick("Out of", "list", list(LISTS), "claimed", show=LISTS.get, forget=forget)
        layer = pickers.pick_layer(store, ALL, every=True)
        if twins:
            pickers.pick_verdicts(VERDICTS, feature_list.usual_verdicts(store, name, harmful.variant(store)))
        pickers.pick_kinds(feature_list.LISTED_KINDS[name])
        with st.container(**pickers.ROW):
            pickers.pick_number("Min. firings", "min", 0, 0, None, forget=("selected",))
            pickers.pick_search()
        pickers.pick(
            "Reviewed, once judged by", "by", [review_list.ME, review_list.ANYONE], review_list.ME,
            help="What counts for the progress, and for the next unreviewed feature.",
        )  # fmt: skip
    return name, layer


def exports(store: Store, features: feature_list.FeatureList) -> None:
    """The report as a page and as JSON, made when somebody asks."""
    variant = features.filter.variant

    hidden = blur.hidden(store.domains)

    def content() -> dict:
        history = read_reviews(store.path, store.manifest.digest, variant)
        return collect(store, history, features.filter, datetime.now(UTC), hidden)

    with st.popover("Report", icon=":material/summarize:"):
        st.caption(
            "All of this list and of every reviewer: judgements with their evidence, what was not reviewed, what could not "
            "have been seen, and the hashes of all that it rests on."
        )
        stem = f"review_{variant}_{store.manifest.digest[:8]}"
        for title, file, kind, make in (
            ("Page to read and print (HTML)", f"{stem}.html", "text/html", lambda: as_html(content())),
            ("The same as data (JSON)", f"{stem}.json", "application/json", lambda: as_json(content())),
        ):
            title += blur.COVERED * bool(hidden)
            help = blur.DOWNLOADED if hidden else None
            st.download_button(title, make, file, kind, help=help, on_click="ignore", icon=":material/download:")


store = data.current()
st.markdown(f"## {TITLE}")
with st.container(**pickers.ROW):
    variant = harmful.pick_variant(store)
    twins = badges.has_twins(store, variant)
    domain = pickers.pick_domain(store, help="Of the changes and contexts shown; verdicts are of all domains together.")
    reviewer = review_panel.pick_reviewer()
with st.container(horizontal=True, vertical_alignment="center"):
    picked = selection.picked(store)
    name, layer = ("claimed", None) if picked else filters(store, twins)
    features = feature_list.from_link(store, name, layer, domain, variant)
    if picked:
        back = {"picked": None, "selected": None}
        st.button("Back to the usual list", icon=":material/undo:", on_click=link.write, kwargs=back)
    else:
        pickers.pick_dense(features.hidden())
    exports(store, features)
    feature_evidence.blur_button(store.domains)
    badges.small(store, domain, variant)
    badges.no_twins(store, variant)
chosen = asdict(features.filter)
silent = selection.never_firing(picked, features.keys(), variant) if picked else []
st.caption(" ".join([words.plain(f"{list_in_words(chosen)}; {order_in_words(chosen)}."), *silent]))

writable = can_write(store.path)
if not writable:
    place = words.plain(str(sidecar_path(store.path)))
    st.info(f"Reviews would be written to {place}, but that cannot be written here.", icon=":material/lock:")
elif not reviewer:
    st.info("Give your name above to judge features: it stands beside every judgement.", icon=":material/badge:")

history = read_reviews(store.path, store.manifest.digest, variant)
by = link.read("by", (review_list.ME, review_list.ANYONE), review_list.ME)
work = review_list.work_list(features, standing(history), reviewer, by)
if not work.keys:
    hint = "Go back to the usual list." if picked else feature_list.empty_hint(features)
    st.info(
        f"No feature to review {'of those picked' if picked else 'under these filters'}. {hint}", icon=":material/search_off:"
    )
    st.stop()
review_list.progress_bar(work)

by_name = {review_list.name(key): key for key in work.keys}
at = by_name[link.read("selected", by_name, review_list.name(work.first()))]
left, right = st.columns([1.7, 3.1], gap="medium")
with left:
    review_list.table(store, variant, work, at)
with right:
    review_list.step_buttons(work, at, st.container(horizontal=True, vertical_alignment="center"))
    named = f"{at[0]}:{at[1]}"
    row = data.ask(store, Store.shifted_features, variant=variant, domain=domain, search=named, dense=True, limit=1).iloc[0]
    feature_evidence.summary(store, row, feature_list.feature_link(row, name, layer) | {"variant": variant})
    review_panel.judge(store, variant, at, reviewer, writable and bool(reviewer), history)
    falls = row["shift"] < 0
    ranking = pickers.pick(
        "Contexts",
        "ranking",
        list(meanings.RANKING_NAMES),
        "decrease" if falls else "increase",
        show=meanings.RANKING_NAMES.get,
    )
    feature_evidence.top_contexts(store, row, variant, ranking, domain, limit=5)
