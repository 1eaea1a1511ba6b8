"""Overview: what was compared, what each variant's change amounts to, and where the change sits."""

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import layer_charts
from app.components import badges, blur, feature_evidence, pickers, tour
from app.markup import answer_cards
from app.words import metrics
from store.metrics import change_summary
from store.metrics.change_summary import ChangeSummary
from store.names import ALL, BASE, SUPPORTED
from store.read.store import Store

TITLE = "Overview"
ICON = ":material/home:"
ORDER = 10

CARD_WIDTHS = {1: 690, 2: 540, 3: 337, 5: 337, 6: 337}  # pixels, by the number of cards: side by side at 1440, two at 1024
CARD_WIDTH = 262  # of another number: four at 1440, two at 1024
MOST_CARDS = 8
STRIKING = 3
MAPPED = ("overlap", "cosine", "latent_cosine", "centred_cosine", "relative_shift", "l0_variant", "fvu_variant")
MAPPED_WITH_FLOOR = ("excess", "n_beyond_noise", "systematic_share")

HOW_TO_READ = """
A language model turns text into long lists of numbers, one list for each token and layer. A **sparse autoencoder** (SAE) is a
dictionary for those lists: it writes each one as a sum of a few **features** out of thousands, and many features stand for
something a person can name, such as "a refusal begins" or "a number in a sum". The dictionary was learnt on the *base* model.
Here the base and its fine-tuned *variants* read the same text, and both are written in the base's dictionary.

- **Cosine** asks whether the two models' lists of numbers point the same way: 1 is the same direction. It is usually close
  to 1, partly because all lists share one large average.
- **Overlap** asks whether the same features are on: 1 is exactly the same set, 0 is none in common. Features switch on and off
  at a threshold, so a small change of the list can switch many of them.
- **L0** is how many features are on at once. If it rises a lot, the variant's text looks noisy to the dictionary.
- **Fit** says whether the base's dictionary still describes the variant. Where it does not, claims about features mean little.

A high cosine beside a low overlap is the interesting case, and also the one that noise alone can produce. So the base plus a
*random* change of the same size is read as well: the **noise floor**. Three different things are told apart: how **large** the
change is, whether more features switch than noise of that size switches (**overlap against its floor**), and whether some
features move further than noise can (**systematic change**). Only the last says that something in particular was learnt.
"""


def compared(store: Store, dictionaries: pd.DataFrame) -> str:
    """One sentence: which models, on what, through which dictionaries."""
    counts, domains = store.manifest.counts, len(store.domains)
    sizes = sorted({f"{size:,}" for size in dictionaries["d_sae"]}, key=lambda s: (len(s), s))
    variants = words.listing([f"**{words.plain(name)}**" for name in store.variants])
    named = len(store.layers) <= 8
    layers = words.listing([str(n) for n in store.layers]) if named else f"{store.layers[0]} to {store.layers[-1]}"
    return (
        f"{variants} compared with the base **{words.plain(str(store.manifest.base.get('name', 'base')))}**, on the same "
        f"{words.count(counts.get('tokens'))} tokens of {words.count(counts.get('documents'))} documents in "
        f"{domains} domain{'s' if domains != 1 else ''}, read at layer{'s' if len(store.layers) != 1 else ''} {layers} "
        f"through dictionaries of {words.listing(sizes)} features."
    )


def shown_cards(store: Store, table: pd.DataFrame, layer: int | None) -> pd.DataFrame:
    """The rows of Store.overview that get a card: each variant at one layer, or (layer None) each layer of the only one."""
    order = {variant: i for i, variant in enumerate(store.variants)}
    here = table if layer is None else table[table["layer"] == layer]
    return here.sort_values("variant", key=lambda column: column.map(order), kind="stable")


def summaries(store: Store, domain: str) -> dict[tuple[str, int], ChangeSummary]:
    """What the change of each variant at each layer amounts to, on one domain."""
    rows = data.ask(store, Store.layer_metrics, domain=domain, segment=ALL)
    down = data.ask(store, Store.beyond_noise, domain=domain).set_index(["variant", "layer"])["n_down"]
    return {key: change_summary.summarise(group, down.get(key)) for key, group in rows.groupby(["variant", "layer"])}


def card(store: Store, row: pd.Series, summary: ChangeSummary, domain: str, by_layer: bool) -> None:
    """One headline: what it amounts to, cosine beside overlap, the three sentences, and its most striking features.

    by_layer: the card is one of the layers of the only variant; else of the variants at one layer.
    """
    with st.container(border=True):
        head = st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center")
        title = f"layer {int(row['layer'])}" if by_layer else words.plain(row["variant"])
        head.markdown(f"**{title}**", width="content")
        badges.gate(row["gate"], head)
        badges.headline(summary.headline)
        left, right = st.columns(2)
        left.metric("Cosine", words.number(row["cosine"]), help=metrics.METRICS["cosine"].question)
        right.metric("Overlap", words.number(row["overlap"]), help=metrics.METRICS["overlap"].question)
        for sentence in (summary.size, summary.overlap, summary.systematic):
            st.markdown(f":small[**{words.plain(sentence.claim)}:** {words.plain(sentence.numbers)}]")
        st.caption(f"L0 {words.number(row['l0_base'])} → {words.number(row['l0_variant'])} features a token.")
        striking(store, row["variant"], int(row["layer"]) if by_layer else None, domain)


def striking(store: Store, variant: str, layer: int | None, domain: str) -> None:
    """A variant's most striking features whose change holds up, at one layer or (None) at any, each with a few tokens.

    In a store without verdicts: those that moved most.
    """
    floor = badges.has_floor(store)
    here = {"variant": variant} if layer is None else {"variant": variant, "layer": layer}
    chosen = {"verdicts": SUPPORTED, "sort": "striking"} if floor else {"sort": "abs_shift"}
    found = data.ask(store, Store.shifted_features, **here, **chosen, domain=domain, limit=STRIKING)
    if found.empty:
        st.caption("No change of a single feature holds up here.")
    else:
        where = ", at any layer" if layer is None else ""
        st.caption(f"{'Striking features whose change holds up' if floor else 'Features that moved most, untested'}{where}:")
    for _, mover in found.iterrows():
        place = {"layer": int(mover["layer"]), "feature": int(mover["feature"])}
        label = words.plain(words.short(mover["label"], 40)) if isinstance(mover["label"], str) else words.plain(mover["kind"])
        st.page_link(
            "views/feature.py",
            label=f"{words.feature_name(mover['layer'], mover['feature'])} · {label}",
            icon=":material/trending_down:" if mover["shift"] < 0 else ":material/trending_up:",
            query_params=link.query(**here | place, list="shifted", list_layer=ALL if layer is None else layer),
        )
        shown = feature_evidence.excerpt(store, mover, variant, domain)
        if shown:
            st.html(shown)
    st.page_link("views/features.py", label="All of them", icon=":material/arrow_forward:", query_params=link.query(**here))


def answers(store: Store) -> None:
    """What the models answer to the one prompt of a task that their answers differ most on."""
    telling = data.ask(store, Store.telling_prompts)
    if telling.empty:
        return
    tasks = telling["task"].to_list()
    first = next((task for task in tasks if not blur.may_be_harmful(task)), tasks[0])
    with st.container(**pickers.ROW):
        st.markdown("#### The same prompt, answered by each")
        task = pickers.pick("Task", "task", tasks, first) if len(tasks) > 1 else first
    prompt = int(telling.set_index("task").loc[task, "prompt"])
    rows = data.ask(store, Store.answers, task=task)
    rows = rows[rows["prompt"] == prompt]
    models = [model for model in (BASE, *store.variants) if model in set(rows["model"])]
    blurred = blur.may_be_harmful(task) and not blur.is_shown()
    st.html(answer_cards.STYLE + answer_cards.cards(rows, models, blurred))
    st.page_link(
        "views/answers.py", label="All prompts", icon=":material/arrow_forward:", query_params=link.query(task=task, p=None)
    )
    st.caption("Of this task the prompt whose answers have fewest words in common: an example, no measurement.")


store = data.current()
st.markdown(f"## {TITLE}")
st.markdown(compared(store, data.ask(store, Store.dictionaries)))
with st.expander("How to read this, if you have never heard of a sparse autoencoder"):
    st.markdown(HOW_TO_READ)
stops = st.expander("Guided tour: a few places to look at", icon=":material/tour:", on_change="rerun", key="tour_links")
if stops.open:
    with stops:
        tour.links(store)

by_layer = len(store.variants) == 1 and len(store.layers) <= MOST_CARDS
with st.container(**pickers.ROW):
    domain = pickers.pick_domain(store)
    layer = None if by_layer else pickers.pick_layer(store, store.layers[-1])
    feature_evidence.blur_button([*store.domains, *data.ask(store, Store.telling_prompts)["task"]])
    badges.small(store, domain)
table = data.ask(store, Store.overview, domain=domain)
if table.empty:
    st.info("No token counts here: choose another domain.", icon=":material/search_off:")
    st.stop()

here, found = shown_cards(store, table, layer), summaries(store, domain)
cards = st.container(horizontal=True)
for _, row in here.iterrows():
    with cards.container(width=CARD_WIDTHS.get(len(here), CARD_WIDTH)):
        card(store, row, found[row["variant"], int(row["layer"])], domain, by_layer)
st.caption(
    "Passages: the bar above a token is its activation in the base, the one below in the variant, each passage on a scale of "
    "its own; outlined is the token that it was chosen for."
)
badges.no_floor_notice(store)

with st.container(**pickers.ROW):
    st.markdown("#### Where the change sits")
    mapped = (*MAPPED, *MAPPED_WITH_FLOOR) if badges.has_floor(store) else MAPPED
    metric = pickers.pick("Metric", "metric", mapped, "overlap", show=lambda name: metrics.metric(name).label, few=0)
cells = table.assign(value=table[metric])[["variant", "layer", "value", "gate", "n_tokens"]]
clicked = st.altair_chart(
    layer_charts.heat_map(cells, metric, store.variants),
    on_select="rerun",
    selection_mode="cell",
    key="overview_map",
    alt=f"{metrics.metric(metric).label} of each variant at each layer",
)
word = metrics.metric(metric)
darker = "a larger change" if word.is_change else "a higher value"
st.caption(
    f"{word.label} ({word.scale}), domain {words.plain(domain)}: darker is {darker}. Click a cell for that variant's profile."
)
if clicked.selection.get("cell"):
    cell = clicked.selection["cell"][0]
    st.switch_page("views/layers.py", query_params=link.query(variant=cell["variant"], by="domain", layer=cell["layer"]))

answers(store)
for text in store.manifest.notes:
    st.caption(f":material/info: {words.plain(str(text))}")
