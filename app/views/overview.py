"""Overview: what was compared, what each variant's change amounts to, and where the change sits."""

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import layer_charts
from app.components import badges, blur, feature_evidence, pickers, recipe_rows, runs, tour
from app.markup import answer_cards
from app.words import metrics
from store.metrics import change_summary
from store.names import BASE, may_be_harmful
from store.points import subject
from store.read.store import Store
from store.reports.courses import courses, earlier_checkpoints
from store.reports.learning import learning_sentences
from store.reports.summaries import summaries

TITLE = "Overview"
ICON = ":material/home:"
GROUP = "Story"
ORDER = 10

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
    named = len(store.layers) <= 8
    layers = words.listing([str(n) for n in store.layers]) if named else f"{store.layers[0]} to {store.layers[-1]}"
    return (
        f"Base **{words.plain(str(store.manifest.base.get('name', 'base')))}**; the same "
        f"{words.count(counts.get('tokens'))} tokens of {words.count(counts.get('documents'))} documents in "
        f"{domains} domain{'s' if domains != 1 else ''}; layer{'s' if len(store.layers) != 1 else ''} {layers}; "
        f"dictionaries of {words.listing(sizes)} features."
    )


def answers(store: Store) -> None:
    """What the models answer to the one prompt of a task that their answers differ most on."""
    telling = data.ask(store, Store.telling_prompts)
    if telling.empty:
        return
    tasks = telling["task"].to_list()
    first = next((task for task in tasks if not may_be_harmful(task)), tasks[0])
    with st.container(**pickers.ROW):
        st.markdown("### The same prompt, answered by each")
        task = pickers.pick("Task", "task", tasks, first) if len(tasks) > 1 else first
    prompt = int(telling.set_index("task").loc[task, "prompt"])
    rows = data.ask(store, Store.answers, task=task)
    rows = rows[rows["prompt"] == prompt]
    models = [model for model in (BASE, *store.variants) if model in set(rows["model"])]
    st.html(answer_cards.STYLE + answer_cards.cards(rows, models, blur.is_hidden(task)))
    st.page_link(
        "views/answers.py", label="All prompts", icon=":material/arrow_forward:", query_params=link.query(task=task, p=None)
    )
    st.caption("Of this task the prompt whose answers have fewest words in common: an example, no measurement.")


def where(store: Store) -> None:
    """A metric of each variant at each layer as a map; a click on a cell leads to that variant's profile."""
    with st.container(**pickers.ROW):
        st.markdown("### Where the change sits")
        domain = pickers.pick_domain(store)
        table = data.ask(store, Store.overview, domain=domain)
        if table.empty:
            st.info("No token counts here: choose another domain.", icon=":material/search_off:")
            return
        mapped = ["claimed"] if badges.has_twins(store) else []
        mapped += [name for name in MAPPED if table[name].notna().any()]
        metric = pickers.pick(
            "Metric", "metric", mapped, mapped[0], show=lambda name: metrics.metric(name).label, few=0, width=260
        )
        badges.small(store, domain)
    table = table.assign(claimed=table["n_suppressed"] + table["n_amplified"])
    cells = table.assign(value=table[metric])[["variant", "layer", "value", "gate", "n_tokens"]]
    compared = runs.compared(store)
    order = list(compared) if metric == "claimed" else [name for members in compared.values() for name in members]
    clicked = st.vega_lite_chart(
        spec=data.chart(layer_charts.heat_map, cells[cells["variant"].isin(order)], metric, order),
        on_select="rerun",
        selection_mode="cell",
        key="overview_map",
        alt=f"{metrics.metric(metric).label} of each variant at each layer",
    )
    word = metrics.metric(metric)
    place = "" if metric == "claimed" else f", domain {words.plain(domain)}"  # claims are of all domains
    st.caption(f"{word.label} ({word.scale}){place}. {metrics.read_map(metric)} Click a cell for that variant's profile."
               + runs.others_said(store))  # fmt: skip
    if clicked.selection.get("cell"):
        cell = clicked.selection["cell"][0]
        st.switch_page("views/layers.py", query_params=link.query(variant=cell["variant"], by="domain", layer=cell["layer"]))


def in_words(store: Store) -> None:
    """What each recipe amounts to over all layers, and what it learned, in whole sentences."""
    told = data.ask(store, learning_sentences)
    of_layers, over_steps = data.ask(store, summaries), data.ask(store, courses)
    earlier = data.ask(store, earlier_checkpoints)
    for first, members in runs.groups(store).items():
        if first in earlier:
            continue
        said = change_summary.over_layers(of_layers[first], runs.counts(store, first), len(members), subject(store.point))
        st.markdown(f"**{words.plain(first)}** ({runs.said(store, first)}). {words.plain(said)}")
        if first in told:
            st.markdown(words.plain(told[first]))
        if first in over_steps:
            st.markdown(words.plain(over_steps[first].text))


store = data.current()
with st.container(horizontal=True, vertical_alignment="center"):
    st.markdown(f"## {TITLE}", width="content")
    with st.popover("How to read this", icon=":material/help:"):
        st.markdown(HOW_TO_READ)
    stops = st.popover("Guided tour", icon=":material/tour:", on_change="rerun", key="tour_links")
    feature_evidence.blur_button([*store.domains, *data.ask(store, Store.telling_prompts)["task"]])
if stops.open:
    with stops:
        tour.links(store)
badges.no_twins_notice(store)
recipe_rows.rows(store)
st.caption(
    "Grey: random changes of the weights of that size; what they do too is no finding. Lines on bars: 95 % intervals. "
    + compared(store, data.ask(store, Store.dictionaries))
)

answers(store)
where(store)
prose = st.expander("The same in whole sentences", icon=":material/notes:", on_change="rerun", key="in_words")
if prose.open:
    with prose:
        in_words(store)
for text in store.manifest.notes:
    st.caption(f":material/info: {words.plain(str(text))}")
