"""Shape of the change: along how few directions it runs, and which features of the dictionary point that way."""

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import layer_charts
from app.components import badges, pickers
from store.names import ALL, OBSERVED
from store.read.store import Store

TITLE = "Shape of the change"
ICON = ":material/scatter_plot:"
ORDER = 90

NEAREST = 3


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


def nearest(row: pd.Series, labels: dict[int, str], variant: str) -> None:
    """One direction: its share, and the features whose decoder rows lie nearest to it, against what chance gives."""
    st.markdown(f"**{row['name'].capitalize()}** · {words.percent(row['share'])} of the change")
    best = abs(row["cosines"][0]) if len(row["cosines"]) else 0.0
    beyond = best > row["chance"]
    st.badge(
        "nearer than chance" if beyond else "no nearer than chance",
        color="violet" if beyond else "gray",
        icon=":material/my_location:" if beyond else ":material/casino:",
        help=f"The nearest decoder row has |cosine| {words.number(best)}; for random directions of the base's own activations "
        f"the nearest reaches {words.number(row['chance'])} in 1 of 20.",
    )
    for feature, cosine in list(zip(row["features"], row["cosines"], strict=True))[:NEAREST]:
        label = labels.get(int(feature))
        named = f" · {words.plain(words.short(label, 15))}" if label else ""
        st.page_link(
            "views/feature.py",
            label=f"{words.feature_name(row['layer'], feature)} · {words.number(cosine, signed=True)}{named}",
            icon=":material/north_east:" if cosine > 0 else ":material/south_west:",
            query_params=link.query(variant=variant, layer=int(row["layer"]), feature=int(feature)),
        )


store = data.current()
st.markdown(f"## {TITLE}")
st.caption(
    "The change δ = variant − base of every token, all domains together: its mean, and the principal directions about it. "
    "The order of directions is by size, not by what they do: the largest need not be the one that matters."
)
with st.container(**pickers.ROW):
    variant = pickers.pick_variant(store)
    layer = pickers.pick_layer(store, store.layers[-1])
    badges.small(store, ALL, variant)
    gate = data.ask(store, Store.fit, variant=variant, layer=layer, domain=ALL)["gate"]
    if len(gate):
        badges.gate(gate.iloc[0])

rows = data.ask(store, Store.spectrum, variant=variant, layer=layer)
if rows.empty:
    st.info("This store holds no spectrum: the run was made with spectrum: 0.", icon=":material/search_off:")
    st.stop()
rows = rows.assign(name=["the mean" if n == 0 else f"direction {n}" for n in rows["component"]])
st.markdown(summary(store, variant, layer, rows))
st.altair_chart(
    layer_charts.spectrum(rows), key="spectrum", alt="Share of the change along its mean and its principal directions"
)
st.caption("Orange: the mean. Blue: principal directions about it, largest first.")

st.markdown("#### Features that point the same way")
labels = data.ask(store, Store.labels, layer=layer).set_index("feature")["label"].to_dict()
panel = st.container(horizontal=True)
for _, row in rows.iterrows():
    with panel.container(width=262, border=True):
        nearest(row, labels, variant)
