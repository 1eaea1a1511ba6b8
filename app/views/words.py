"""Words: which tokens rose and fell, what the change says when the output head reads it, and along which directions it runs."""

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import contribution_charts, layer_charts
from app.components import badges, learning, pickers, sections, terms
from app.markup import contexts
from store.names import ALL, NEUTRAL, OBSERVED, SLOTS, TASK
from store.points import subject
from store.read.store import Store

TITLE = "Words"
ICON = ":material/match_word:"
GROUP = "Story"
ORDER = 20

NEAREST = 3
MOST_WORDS = 12
SLOT_NAMES = {
    "opening": "before an answer", "answer": "at its start", "first": "first tokens of a text", "rest": "elsewhere",
    ALL: "everywhere",
}  # fmt: skip
ROSE = "Mean change of the probability of the next token over the text that was sampled."
ROSE_TWINS = " Grey ticks: what a random change of the weights of that size does to the same token."
READ = "The mean change of {} at a layer, put through the model's last norm and output head: the tokens that it raises most."
READ_TWINS = " Only tokens beyond what a random change of the weights of that size raises any token by."
NO_TWINS = " There are no twins, so that nothing tells them from what a random change of the weights would say."
SHAPE = (
    "The change δ = variant − base of every token, all domains together: its mean, and the principal directions about it. "
    "Their order is by size, not by what they do."
)
TERMS = ("token", "layer", "residual stream", "twin", "feature", "cosine", "fit")
AGAINST = {"others": "against the other fine-tunes", "nothing": "alone"}


def rose_and_fell(store: Store, variant: str) -> None:
    """The tokens whose probability rose and fell most, beside a random change of the weights."""
    rows = data.ask(store, Store.word_places, variant=variant)
    beside = ROSE_TWINS if data.ask(store, Store.has_word_twins) else NO_TWINS
    st.markdown("### Tokens that rose and fell", help=ROSE + beside)
    domains = [name for name in (TASK, ALL, NEUTRAL, *store.domains) if name in set(rows["domain"])]
    if not domains:
        st.caption("No token's probability moved: on the sampled text it predicts what the base does.")
        return
    with st.container(**pickers.ROW):
        domain = pickers.pick("Text", "text", domains, domains[0], show=learning.domain_name, few=0, width=220)
        slots = [ALL, *(slot for slot in SLOTS if slot in set(rows.loc[rows["domain"] == domain, "slot"]))]
        slot = pickers.pick("Where", "slot", slots, ALL, show=SLOT_NAMES.get) if len(slots) > 1 else ALL
    found = data.ask(store, Store.word_changes, variant=variant, domain=domain, slot=slot)
    observed, twins = found[found["control"] == OBSERVED], found[found["control"] != OBSERVED]
    twins = twins.sort_values("change", key=abs, ascending=False).drop_duplicates("token_id")
    twins = twins[["token_id", "change"]].rename(columns={"change": "twin"})
    observed = observed.merge(twins, how="left", on="token_id")
    left, right = st.columns(2)
    for place, title, part in (
        (left, "rose", observed[observed["change"] > 0].head(MOST_WORDS)),
        (right, "fell", observed[observed["change"] < 0].tail(MOST_WORDS)[::-1]),
    ):
        with place:
            if len(part):
                bars = data.chart(contribution_charts.word_bars, part, title)
                st.vega_lite_chart(spec=bars, key=f"words_{title}", alt=f"Tokens that {title} most")
            else:
                st.caption(f"No token {title}.")


def through_the_head(rows: pd.DataFrame, what: str) -> None:
    """What the mean change says when the output head reads it, by slot, alone and against the others; what: it is of."""
    rows = rows[rows["component"] == 0]
    alone = rows["chance"].isna().any()
    st.markdown("### The change, read by the output head", help=READ.format(what) + (NO_TWINS if alone else READ_TWINS))
    domains = [name for name in (TASK, ALL) if name in set(rows["domain"])]
    if len(domains) > 1:
        domain = pickers.pick("On", "on", domains, domains[0], show=learning.domain_name)
        rows = rows[rows["domain"] == domain]
    panel = st.container(horizontal=True)
    for slot in SLOT_NAMES:
        for against in AGAINST:
            here = rows[(rows["slot"] == slot) & (rows["against"] == against)]
            if here.empty:
                continue
            with panel.container(width=337, border=True):
                st.markdown(f"**{SLOT_NAMES[slot].capitalize()}**, {AGAINST[against]}")
                st.html(contexts.chips(here["token"].head(MOST_WORDS), here["score"].head(MOST_WORDS)))
    if rows.empty:
        st.caption("No token stands out.")


def summary(store: Store, variant: str, layer: int, rows: pd.DataFrame) -> str:
    """The mean's share, and how many directions the rest takes."""
    asked = {"variant": variant, "layer": layer, "domain": ALL, "segment": ALL, "metric": "effective_rank", "control": OBSERVED}
    rank = data.ask(store, Store.layer_metrics, **asked)["value"]
    width = int(data.ask(store, Store.dictionaries).set_index("layer").loc[layer, "d_model"])
    mean, leading = rows[rows["component"] == 0]["share"], rows[rows["component"] > 0]["share"]
    parts = []
    if len(mean):
        parts.append(f"one constant offset, the mean change, holds **{words.percent(mean.iloc[0])}** of it")
    if len(leading):
        count = len(leading)
        parts.append(f"the {count} leading direction{'s' if count > 1 else ''} about it hold {words.percent(leading.sum())}")
    if len(rank) and pd.notna(rank.iloc[0]):
        parts.append(f"about the mean it runs along **{rank.iloc[0]:.1f}** directions of {width:,} (effective rank)")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def nearest(row: pd.Series, labels: dict[int, tuple[str, str]], variant: str, said: pd.DataFrame) -> None:
    """One direction: its share, the features whose decoder rows lie nearest to it, and what it says either way.

    Args:
        labels: feature -> label and where it is from.
        said: its rows of the table change_words; empty without contributions.
    """
    st.markdown(f"**{row['name'].capitalize()}** · {words.percent(row['share'])} of the change")
    best = abs(row["cosines"][0]) if len(row["cosines"]) else 0.0
    beyond = best > row["chance"]
    st.badge(
        "nearer than chance" if beyond else "no nearer than chance",
        color="gray",
        icon=":material/my_location:" if beyond else ":material/casino:",
        help=f"The nearest decoder row has |cosine| {words.number(best)}; for random directions of the base's own activations "
        f"the nearest reaches {words.number(row['chance'])} in 1 of 20.",
    )
    for feature, cosine in list(zip(row["features"], row["cosines"], strict=True))[:NEAREST]:
        name = words.feature_name(row["layer"], feature)
        label = words.label(*labels.get(int(feature), (None, None)), 18)
        st.page_link(
            "views/feature.py",
            label=" · ".join([words.plain(label), name] if label else [name]) + f" · {words.number(cosine, signed=True)}",
            icon=":material/north_east:" if cosine > 0 else ":material/south_west:",
            query_params=link.query(variant=variant, layer=int(row["layer"]), feature=int(feature)),
        )
    for way, arrow in (("+", "along it"), ("-", "against it")):
        here = said[said["way"] == way]
        if len(here):
            st.caption(arrow.capitalize())
            st.html(contexts.chips(here["token"].head(NEAREST), here["score"].head(NEAREST)))


def shape(store: Store, variant: str, layer: int, said: pd.DataFrame) -> None:
    """Along how few directions the change runs, and what points the same way."""
    st.caption(SHAPE)
    rows = data.ask(store, Store.spectrum, variant=variant, layer=layer)
    if rows.empty:
        st.info("This store holds no spectrum: the run was made with spectrum: 0.", icon=":material/search_off:")
        return
    rows = rows.assign(name=["the mean" if n == 0 else f"direction {n}" for n in rows["component"]])
    st.markdown(summary(store, variant, layer, rows))
    alternative = "Share of the change along its mean and its principal directions"
    st.vega_lite_chart(spec=data.chart(layer_charts.spectrum, rows), key="spectrum", alt=alternative)
    st.caption("The mean of the change, and the principal directions about it, largest first.")
    labelled = data.ask(store, Store.labels, layer=layer)
    labels = dict(zip(labelled["feature"], zip(labelled["label"], labelled["label_source"], strict=True), strict=True))
    panel = st.container(horizontal=True)
    for _, row in rows.iterrows():
        with panel.container(width=337, border=True):
            nearest(row, labels, variant, said[said["component"] == row["component"]] if row["component"] else said[:0])


store = data.current()
st.markdown(f"## {TITLE}")
st.caption("The change in the model's own words, and along how few directions it runs.")
with st.container(**pickers.ROW):
    variant = pickers.pick_variant(store)
    layer = pickers.pick_layer(store, store.layers[-1])
    badges.small(store, ALL, variant)
    gate = data.ask(store, Store.fit, variant=variant, layer=layer, domain=ALL)["gate"]
    if len(gate):
        badges.gate(gate.iloc[0])
terms.line(*TERMS)

said = pd.DataFrame(columns=["component", "way"])
if store.has_contributions:
    said = data.ask(store, Store.change_words, variant=variant, layer=layer)
    rose_and_fell(store, variant)
    through_the_head(said, subject(store.point))
else:
    st.info(f"No words: {learning.NONE}", icon=":material/search_off:")
sections.section("shape", "Along how few directions it runs: its shape", shape, store, variant, layer, said)
