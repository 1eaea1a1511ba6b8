"""The guided tour: a few links with a sentence each, worked out from the store, so that a demo of any store runs itself.

Where one stands is in the URL (`tour`, from 1). A step is an ordinary link: a visitor who leaves it on the same page sees so,
and comes back by one button; the sidebar leaves the tour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from app import data, link, words
from store.metrics.feature_columns import share
from store.metrics.reasons import change_in_words
from store.names import ALL, CLAIMED, OBSERVED
from store.read.feature_filter import FALLEN
from store.read.store import Store

TEMPLATE = "template"
KEPT = ("store", "present")
"""What of a link goes from step to step."""


@dataclass(frozen=True)
class Step:
    """A saved link: the page (its file in app/views, and its path), a title, what there is to see, and the parameters."""

    page: str
    title: str
    sentence: str
    params: dict[str, str]

    def query(self, number: int) -> dict[str, str]:
        """The link's parameters, as the step of that number."""
        kept = {name: value for name, value in link.query().items() if name in KEPT}
        return kept | self.params | {"tour": str(number)}


def steps(store: Store) -> list[Step]:
    """At most five; one that the store holds nothing for is left out. The title and the sentence are safe Markdown."""
    found = [step(store) for step in (_size, _suppressed, _one_offset, _prediction, _again)]
    return [step for step in found if step is not None]


def links(store: Store) -> None:
    """Every step as a link with its sentence."""
    for number, step in enumerate(steps(store), start=1):
        st.page_link(
            f"views/{step.page}.py",
            label=f"{number} · {step.title}",
            icon=":material/tour:",
            query_params=step.query(number),
        )
        st.caption(step.sentence)


def banner(store: Store, here: str) -> None:
    """Where one stands in the tour, what there is to see, and the ways on; nothing where the link is on no tour.

    here: the page that is shown.
    """
    if "tour" not in st.query_params:
        return
    found = steps(store)
    if not found:
        return
    number = link.read_number("tour", 1, 1, len(found))
    step = found[number - 1]
    wandered = here != step.page or any(st.query_params.get(name) != value for name, value in step.params.items())
    with st.container(border=True, key="tour"):
        st.markdown(f"**{number} of {len(found)} · {step.title}.** {step.sentence}")
        line = st.container(horizontal=True, vertical_alignment="center")
        if number > 1:
            _way(line, "Previous step", ":material/chevron_left:", found[number - 2], number - 1, here)
        if number < len(found):
            _way(line, "Next step", ":material/chevron_right:", found[number], number + 1, here)
        if wandered:
            _way(line, "Back to this step", ":material/undo:", step, number, here)
        line.button("End the tour", icon=":material/close:", on_click=link.write, kwargs={"tour": None}, key="tour_end")


def _way(place: Any, label: str, icon: str, step: Step, number: int, here: str) -> None:
    """To a step: a link, or a button on the page one is on, where a link would leave the address as it was."""
    if step.page == here:
        there = dict.fromkeys(link.query()) | step.query(number)
        place.button(label, icon=icon, on_click=link.write, kwargs=there, key=f"tour_{label}")
    else:
        place.page_link(f"views/{step.page}.py", label=label, icon=icon, query_params=step.query(number))


def _size(store: Store) -> Step | None:
    """Where the overlap is lowest, beside what size alone and random changes of the weights give: what proves nothing."""
    table = data.ask(store, Store.overview)
    if table["overlap"].isna().all():
        return None
    row = table.loc[table["overlap"].idxmin()]
    beside = []
    if pd.notna(row["overlap_isotropic"]):
        beside.append(f"a random shift of that size gives {words.number(row['overlap_isotropic'])}")
    if pd.notna(row["overlap_twin_low"]):
        twins = words.span(row["overlap_twin_low"], row["overlap_twin_high"], words.number)
        beside.append(f"random changes of the weights of that size {twins}")
    said = f"It is lowest {_where(row)}: {words.number(row['overlap'])}"
    said += f"; {words.listing(beside)}." if beside else ". This store has nothing to compare it with: alone it proves nothing."
    return Step("layers", "The lowest overlap, and what size alone gives", said, {"view": "overlap", **_place(row)})


def _suppressed(store: Store) -> Step | None:
    """The claimed feature that lost most, of those whose label says something; where no label does, of all claimed ones.

    Where none is claimed, the largest loss.
    """
    claimed = None
    if data.ask(store, Store.has_verdicts):
        claimed = _furthest(store, "striking", lambda row: (row["readable"], -row["change"]), verdicts=CLAIMED[:1])
    row = claimed
    if row is None:
        row = _furthest(store, "evidence", lambda row: -row["change"], kinds=FALLEN)
    if row is None:
        return None
    label = f", {words.plain(words.short(row['label'], 60))}," if isinstance(row["label"], str) else ""
    name = f"{words.feature_name(row['layer'], row['feature'])}{label} in {words.plain(row['variant'])}"
    change = change_in_words(row["change"])
    if claimed is not None:
        title = "A suppressed feature with a telling label" if row["readable"] else "A suppressed feature"
        twins = words.span(row["twin_low"], row["twin_high"], share)
        beside = f"in every run; under random changes of the weights of that size {twins}"
        said = f"{name}: it {change}, {beside}. Its contexts show base above variant."
    else:
        title = "The largest loss"
        said = f"{name}: it {change}. No suppressed feature is in the list; the page says why this one is not."
    place = {"layer": str(int(row["layer"])), "feature": str(int(row["feature"]))}
    return Step("feature", title, said, {"variant": row["variant"], **place, "list": "suppressed", "list_layer": ALL})


def _furthest(store: Store, sort: str, size: Callable[[pd.Series], float], **filters: Any) -> pd.Series | None:
    """The first feature of a list over all variants: of each variant's first row the one of the largest size."""
    asked = {"direction": "down", "sort": sort, "limit": 1, **filters}
    rows = [data.ask(store, Store.shifted_features, variant=variant, **asked) for variant in store.variants]
    return max((found.iloc[0] for found in rows if len(found)), key=size, default=None)


def _one_offset(store: Store) -> Step | None:
    """What only the template moved; of a corpus without chats, where one constant offset holds most of the change."""
    shares = [
        data.ask(store, Store.shift_by_segment, variant=variant).assign(variant=variant)
        for variant in (store.variants if TEMPLATE in store.segments else [])
    ]
    rows = pd.concat(shares) if shares else pd.DataFrame(columns=["segment"])
    rows = rows[rows["segment"] == TEMPLATE].dropna(subset=["share", "token_share"]).reset_index(drop=True)
    if len(rows):
        row = rows.loc[(rows["share"] / rows["token_share"]).idxmax()]
        said = (
            f"{words.percent(row['share'])} of what changed {_where(row)} sits on turn marks and role names, "
            f"{words.percent(row['token_share'])} of the tokens. The lists below say which features moved there, and which on "
            "what is said."
        )
        return Step("layers", "What only the template moved", said, {"view": TEMPLATE, **_place(row)})
    rows = data.ask(store, Store.layer_metrics, metric="mean_share", domain=ALL, control=OBSERVED).dropna(subset="value")
    if rows.empty:
        return None
    row = rows.loc[rows["value"].idxmax()]
    said = f"{words.percent(row['value'])} of what changed {_where(row)} is one offset, the same at every token."
    return Step("words", "What one constant offset moved", said, _place(row) | {"open": "shape"})


def _prediction(store: Store) -> Step | None:
    """A token where the prediction jumped; where that was not sampled, the text that changed most."""
    found = data.ask(store, Store.largest_kl)
    if len(found):
        row = found.iloc[0]
        said = (
            f"In “{words.plain(words.short(row['source'], 40))}” ({words.plain(row['domain'])}) {words.plain(row['variant'])} "
            f"predicts something else after token {int(row['position']):,}: KL {words.number(row['kl'])} nats. Beside the text "
            "stand the features that changed there."
        )
        place = {"document": str(int(row["document"])), "position": str(int(row["position"])), "colour": "kl"}
        return Step("documents", "A token where the prediction jumped", said, {"variant": row["variant"], **place})
    variant, layer = store.variants[0], store.layers[-1]
    listed = data.ask(store, Store.document_list, variant=variant, layer=layer, limit=1)
    if listed.empty or pd.isna(listed["change"].iloc[0]):
        return None
    row = listed.iloc[0]
    said = (
        f"“{words.plain(words.short(row['source'], 40))}” ({words.plain(row['domain'])}), token by token in "
        f"{words.plain(variant)} at layer {layer}. Where the next-token prediction changed was not sampled in this store."
    )
    return Step("documents", "The text that changed most", said, {"variant": variant, "layer": str(layer)})


def _again(store: Store) -> Step | None:
    """What a second seed reproduces of material changes; without one, the two variants that share most of them.

    Not of claims, which every run shows by definition.
    """
    if len(data.ask(store, Store.compared)) < 2:
        return None
    layer = store.layers[-1]
    pairs = data.ask(store, Store.variant_pairs, layer=layer, rule="material")
    seeds = pairs[pairs["same_task"]]
    pairs = seeds if len(seeds) else pairs
    row = pairs.loc[pairs["called_same"].idxmax()]
    names = f"{words.plain(row['variant_a'])} and {words.plain(row['variant_b'])}"
    both = (
        f"At layer {layer}, {words.count(row['called_either'])} features changed materially in {names} taken together, "
        f"{words.count(row['called_same'])} of them in both and in the same direction"
    )
    said = f"{both}; the correlation of all changes that could be seen is {words.number(row['correlation'])}."
    said += " Random changes of the weights share some of that too."
    title = "What a second seed reproduces" if len(seeds) else "What two variants share"
    return Step("compare", title, said, {"variant": row["variant_a"], "against": row["variant_b"], "layer": str(layer)})


def _where(row: pd.Series) -> str:
    return f"in {words.plain(row['variant'])} at layer {int(row['layer'])}"


def _place(row: pd.Series) -> dict[str, str]:
    return {"variant": row["variant"], "layer": str(int(row["layer"]))}
