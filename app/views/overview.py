"""Overview: what was compared, what each variant's change amounts to, and where the change sits."""

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import layer_charts
from app.components import badges, blur, feature_evidence, learning, pickers, runs, tour
from app.markup import answer_cards
from app.words import metrics
from store.metrics import change_summary
from store.metrics.change_summary import ChangeSummary
from store.metrics.feature_columns import share
from store.names import ALL, BASE, CLAIMED
from store.read.store import Store

TITLE = "Overview"
ICON = ":material/home:"
ORDER = 10

CARD_WIDTHS = {1: 690, 2: 540, 3: 337, 5: 337, 6: 337}  # pixels, by the number of cards: side by side at 1440, two at 1024
CARD_WIDTH = 262  # of another number: four at 1440, two at 1024
MOST_CARDS = 8
STRIKING = 3
MAPPED = (
    "overlap", "n_halved", "n_doubled", "relative_shift", "cosine", "latent_cosine", "centred_cosine", "l0_variant",
    "fvu_variant",
)  # fmt: skip

HOW_TO_READ = """
A language model turns text into long lists of numbers, one list for each token and layer. A **sparse autoencoder** (SAE) is a
dictionary for those lists: it writes each one as a sum of a few **features** out of thousands, and many features stand for
something a person can name, such as "a refusal begins" or "a number in a sum". The dictionary was learnt on the *base* model.
Here the base and its fine-tuned *variants* read the same text, and both are written in the base's dictionary.

Three questions are kept apart:

- **How much did it change?** *Relative shift* is how far the lists moved, *overlap* whether the same features are on (1: the
  same set). Features switch at a threshold, so that any change of that size lowers the overlap: it stands beside what size
  alone gives. Of a single feature the *change* is the share of its activation that is lost or new: -50 % lost half, +50 %
  doubled.
- **Is it this training?** Any change of the weights changes features. So *twins* are read as well: random changes of the
  weights as large as the variant's. And another training run of the recipe, a *replicate*, has to show the same. A feature is
  called **suppressed** or **amplified** only where both hold: beyond the twins, and in every run.
- **Could it have been seen?** Many features fire too seldom or too unevenly over this text, or random changes of the weights
  do to features like them as much as a complete loss. They are counted apart: *could not be seen* is not *steady*.

**Fit** says whether the base's dictionary still describes the variant. Where it does not, claims about features mean little.
"""


def compared(store: Store, dictionaries: pd.DataFrame) -> str:
    """One sentence: which models, on what, through which dictionaries."""
    counts, domains = store.manifest.counts, len(store.domains)
    sizes = sorted({f"{size:,}" for size in dictionaries["d_sae"]}, key=lambda s: (len(s), s))
    variants = words.listing(runs.listed(store))
    named = len(store.layers) <= 8
    layers = words.listing([str(n) for n in store.layers]) if named else f"{store.layers[0]} to {store.layers[-1]}"
    return (
        f"{variants} compared with the base **{words.plain(str(store.manifest.base.get('name', 'base')))}**, on the same "
        f"{words.count(counts.get('tokens'))} tokens of {words.count(counts.get('documents'))} documents in "
        f"{domains} domain{'s' if domains != 1 else ''}, read at layer{'s' if len(store.layers) != 1 else ''} {layers} "
        f"through dictionaries of {words.listing(sizes)} features."
    )


def shown_cards(store: Store, table: pd.DataFrame, layer: int | None) -> pd.DataFrame:
    """The rows of Store.overview that get a card: each recipe's first run at one layer, or (layer None) at every layer."""
    order = {variant: i for i, variant in enumerate(runs.groups(store))}
    here = table if layer is None else table[table["layer"] == layer]
    return here[here["variant"].isin(order)].sort_values("variant", key=lambda column: column.map(order), kind="stable")


def summaries(store: Store, domain: str) -> dict[str, dict[int, ChangeSummary]]:
    """What the change of each recipe's first run amounts to, layer by layer, on one domain."""
    rows = data.ask(store, Store.layer_metrics, domain=domain, segment=ALL)
    found = {}
    for first, members in runs.groups(store).items():
        mine, verdicts = rows[rows["variant"] == first], runs.counts(store, first)
        found[first] = {
            int(layer): change_summary.summarise(group, verdicts and verdicts.get(int(layer), {}), len(members))
            for layer, group in mine.groupby("layer")
        }
    return found


def amounts(store: Store, of_all: dict[str, dict[int, ChangeSummary]]) -> None:
    """What each recipe amounts to over all layers and domains, in three sentences."""
    for first, by_layer in of_all.items():
        if by_layer:
            said = change_summary.over_layers(by_layer, runs.counts(store, first), len(runs.groups(store)[first]))
            st.markdown(f"- **{words.plain(first)}** ({runs.said(store, first)}): {words.plain(said)}")


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
        if badges.has_twins(store, row["variant"]):
            alone = len(runs.groups(store)[row["variant"]]) == 1
            st.caption(f"{runs.said(store, row['variant']).capitalize()}{': a claim takes a second one' * alone}.")
        left, right = st.columns(2)
        left.metric("Cosine", words.number(row["cosine"]), help=metrics.METRICS["cosine"].question)
        right.metric("Overlap", words.number(row["overlap"]), help=metrics.METRICS["overlap"].question)
        for sentence in (summary.size, summary.overlap, summary.features):
            of_all = "Of all domains together: " if sentence is summary.features and domain != ALL else ""
            st.markdown(f":small[{of_all}**{words.plain(sentence.claim)}:** {words.plain(sentence.numbers)}]")
        st.caption(f"L0 {words.number(row['l0_base'])} → {words.number(row['l0_variant'])} features a token.")
        striking(store, row["variant"], int(row["layer"]) if by_layer else None, domain)


def striking(store: Store, variant: str, layer: int | None, domain: str) -> None:
    """The most striking of a variant's claimed features, at one layer or (None) at any, each with a few tokens.

    Of a variant without verdicts: those that lost or gained most.
    """
    twins = badges.has_twins(store, variant)
    here = {"variant": variant} if layer is None else {"variant": variant, "layer": layer}
    chosen = {"verdicts": CLAIMED, "sort": "striking"} if twins else {"sort": "evidence"}
    found = data.ask(store, Store.shifted_features, **here, **chosen, domain=domain, limit=STRIKING)
    if found.empty:
        dense = data.ask(store, Store.hidden_dense, **here, domain=domain, verdicts=CLAIMED) if twins else 0
        hidden = f" but {words.counted(dense, 'dense one')}, hidden" if dense else ""
        st.caption(f"{'No feature is claimed here' if twins else 'No feature changed here'}{hidden}.")
    else:
        where = ", at any layer" if layer is None else ""
        st.caption(f"{'Claimed features' if twins else 'Features that changed most, no evidence'}{where}:")
    for _, mover in found.iterrows():
        place = {"layer": int(mover["layer"]), "feature": int(mover["feature"])}
        label = words.plain(words.short(mover["label"], 40)) if isinstance(mover["label"], str) else words.plain(mover["kind"])
        st.page_link(
            "views/feature.py",
            label=f"{words.feature_name(mover['layer'], mover['feature'])} · {share(mover['change'])} · {label}",
            icon=":material/trending_down:" if mover["change"] < 0 else ":material/trending_up:",
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
        st.markdown("### The same prompt, answered by each")
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

of_all = summaries(store, ALL)
st.markdown("### What each fine-tune amounts to")
amounts(store, of_all)
badges.no_twins_notice(store)

learning.overview(store)

by_layer = len(runs.groups(store)) == 1 and len(store.layers) <= MOST_CARDS
with st.container(**pickers.ROW):
    domain = pickers.pick_domain(store)
    layer = None if by_layer else pickers.pick_layer(store, store.layers[-1])
    feature_evidence.blur_button([*store.domains, *data.ask(store, Store.telling_prompts)["task"]])
    badges.small(store, domain)
table = data.ask(store, Store.overview, domain=domain)
if table.empty:
    st.info("No token counts here: choose another domain.", icon=":material/search_off:")
    st.stop()

here, found = shown_cards(store, table, layer), of_all if domain == ALL else summaries(store, domain)
cards = st.container(horizontal=True)
for _, row in here.iterrows():
    with cards.container(width=CARD_WIDTHS.get(len(here), CARD_WIDTH)):
        card(store, row, found[row["variant"]][int(row["layer"])], domain, by_layer)
st.caption(
    "Passages: the bar above a token is its activation in the base, the one below in the variant, each passage on a scale of "
    "its own; outlined is the token that it was chosen for."
)

with st.container(**pickers.ROW):
    st.markdown("### Where the change sits")
    mapped = ["claimed"] if badges.has_twins(store) else []
    mapped += [name for name in MAPPED if table[name].notna().any()]
    metric = pickers.pick("Metric", "metric", mapped, mapped[0], show=lambda name: metrics.metric(name).label, few=0, width=260)
table = table.assign(claimed=table["n_suppressed"] + table["n_amplified"])
cells = table.assign(value=table[metric])[["variant", "layer", "value", "gate", "n_tokens"]]
clicked = st.altair_chart(
    layer_charts.heat_map(cells, metric, list(runs.firsts(store))),
    on_select="rerun",
    selection_mode="cell",
    key="overview_map",
    alt=f"{metrics.metric(metric).label} of each variant at each layer",
)
word = metrics.metric(metric)
place = "" if metric == "claimed" else f", domain {words.plain(domain)}"  # claims are of all domains
darker = "a larger change" if word.is_change else "a higher value"
st.caption(f"{word.label} ({word.scale}){place}: darker is {darker}. Click a cell for that variant's profile.")
if clicked.selection.get("cell"):
    cell = clicked.selection["cell"][0]
    st.switch_page("views/layers.py", query_params=link.query(variant=cell["variant"], by="domain", layer=cell["layer"]))

answers(store)
for text in store.manifest.notes:
    st.caption(f":material/info: {words.plain(str(text))}")
