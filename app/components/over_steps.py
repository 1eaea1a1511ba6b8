"""A training over the steps of its checkpoints: its layers, when features changed, what it learned; and one feature."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import axes, step_charts
from app.components import badges, learning, pickers, runs, tables
from app.markup import contexts
from app.words import meanings, metrics, palette, step_words
from store.metrics.feature_columns import share
from store.metrics.thresholds import MATERIAL
from store.names import OBSERVED, TWIN
from store.read.series import EVERY_RUN
from store.read.store import Store
from store.reports.courses import NO_TWINS, courses

PAIR = "pair"
"""Of the picker of metrics: cosine and overlap together, as the part 'Cosine and overlap' shows them over depth."""
PAIRED = ("cosine", "overlap")
OFFERED = (
    "latent_cosine", "centred_cosine", "relative_shift", "weighted_overlap", "l0_inflation", "l0_variant", "fvu_variant",
    "n_halved", "n_doubled",
)  # fmt: skip
SERIES = "series"
"""The parameter of the URL that names one."""
FEATURES_SHOWN = 15
MARKS = {-1: "▼", 0: "·", 1: "▲"}


def has_series(store: Store) -> bool:
    """Whether a store has two checkpoints or more of any training."""
    return not data.ask(store, Store.series).empty


def show(store: Store) -> None:
    """The page's part: a small chart a layer, when changes of features began, and what was learned, each over steps."""
    rows = data.ask(store, Store.series)
    mains = list(dict.fromkeys(rows[rows["repeats"].isna()]["series"]))
    with st.container(**pickers.ROW):
        series = pickers.pick("Training", SERIES, mains, mains[0], forget=("p",))
        domain = pickers.pick_domain(store)
        repeats = list(dict.fromkeys(rows[rows["repeats"] == series]["series"]))
        measured, table = _measured(store, series, repeats, domain)
        badges.small(store, domain)
        badges.no_twins(store)
    steps = rows[rows["series"] == series]
    colour = runs.colours(store)[steps["variant"].iloc[-1]]
    course = next(one for one in data.ask(store, courses).values() if one.series == series)
    st.markdown(f"**{words.plain(series)}**: {words.plain(course.checkpoints)}. {words.plain(course.began)}")
    if table.empty:
        st.info("No token counts here: choose another domain.", icon=":material/search_off:")
        return
    _layers(table, measured, colour, bool(repeats))
    _features(store, series, steps)
    _learned(store, series, colour)


def _measured(store: Store, series: str, repeats: list[str], domain: str) -> tuple[tuple[str, ...], pd.DataFrame]:
    """The metrics that the URL asks for, and their rows, observed and twins, with series and is_repeat."""
    asked = [data.ask(store, Store.layers_over_steps, series=name, domain=domain) for name in (series, *repeats)]
    every = zip((series, *repeats), asked, strict=True)
    table = pd.concat([one.assign(series=of, is_repeat=of != series) for of, one in every])
    table = table[(table["control"] == OBSERVED) | table["control"].str.startswith(TWIN)]
    known = set(table["metric"])
    options = [PAIR] * (known >= set(PAIRED)) + [name for name in OFFERED if name in known]
    if not options:
        return (), table.iloc[:0]
    chosen = pickers.pick(
        "Metric", "over", options, options[0],
        show=lambda name: "Cosine and overlap" if name == PAIR else metrics.metric(name).label, few=0, width=230,
    )  # fmt: skip
    measured = PAIRED if chosen == PAIR else (chosen,)
    return measured, table[table["metric"].isin(measured)]


def _layers(table: pd.DataFrame, measured: tuple[str, ...], colour: str, has_repeats: bool) -> None:
    """A small chart a layer, the numbers beside them; a click on a point opens that checkpoint's features there."""
    known = table[["value", "low", "high"]].stack().dropna()
    low, high = float(known.min()), float(known.max())
    if axes.reaches_zero(known) and low > 0:
        low = 0.0
    panel = st.container(horizontal=True)
    for layer, mine in table.groupby("layer"):
        with panel.container(width=axes.PANEL_WIDTH):
            clicked = st.vega_lite_chart(
                spec=data.chart(step_charts.layer_panel, mine, int(layer), colour, measured, (low, high)),
                on_select="rerun",
                selection_mode="point",
                key=f"steps_{layer}_{link.query()}",
                alt=f"{words.listing([metrics.metric(name).label for name in measured])} of layer {layer} over steps",
            )
            if clicked.selection.get("point"):
                place = {"variant": clicked.selection["point"][0]["variant"], "layer": int(layer)}
                st.switch_page("views/features.py", query_params=link.query(**place, view=None))
    styles = zip(measured, ("solid", "dashed"), strict=False)
    legend = [(metrics.metric(name).label, colour, style, 3) for name, style in styles]
    if table["control"].str.startswith(TWIN).any():
        legend.append((meanings.CONTROL_NAMES[meanings.TWINS], palette.CONTROL_COLOUR, "solid", 8))
    st.html(contexts.series_legend(legend))
    others = " Thin lines: the training's other runs." if has_repeats else ""
    st.caption(
        f"{' '.join(metrics.metric(name).question for name in measured)} Upright lines: 95 % intervals over clusters.{others} "
        "Click a point for the features behind it."
    )
    numbers = table[["variant", "step", "layer", "metric", "control", "value", "low", "high", "n_tokens", "n_clusters"]]
    with st.expander("The numbers"):
        order = ["metric", "layer", "step", "control"]
        st.dataframe(numbers.sort_values(order), hide_index=True, column_config={"step": step_words.STEP.capitalize()})
        _download(numbers, words.file_name("layers_over_steps", *measured), "numbers")


def _features(store: Store, series: str, steps: pd.DataFrame) -> None:
    """When the change of each feature began, and which did not last: a page of a table, a click on a row opens the feature."""
    found = data.ask(store, Store.courses, series=series)
    level = data.ask(store, Store.course_level, series=series)
    st.markdown("### When features changed", help=step_words.CAUTION)
    judged = _is_judged(store, steps["variant"])
    st.caption(step_words.LEVELS[level] if judged else NO_TWINS)
    if found.empty or not judged:
        return
    pager = tables.Pager(len(found), FEATURES_SHOWN)
    page = found.iloc[pager.offset : pager.offset + pager.size]
    shown = pd.DataFrame(
        {
            "Feature": tables.names(page),
            "Label": tables.labels(page),
            step_words.ONSET: [_step(step) for step in page["onset"]],
            step_words.FIRST: [_step(step) for step in page["first"]],
            step_words.WENT: [
                "came and went" if went else "turned" if turned else ""
                for went, turned in zip(page["came_and_went"], page["turned"], strict=True)
            ],
            "At each step": [" ".join(MARKS[way] for way in ways) for ways in page["ways"]],
            "Change at the last": [share(change) for change in page["change"]],
            "Largest": [share(change) for change in page["largest"]],
        }
    )
    config = tables.right_aligned(["Change at the last", "Largest"])
    for name, said in step_words.HELP.items():
        side = "left" if name == step_words.WENT else "right"
        config[name] = st.column_config.TextColumn(help=said, width="small", alignment=side)
    row = tables.clicked_row(shown, f"courses_{link.query()}", config, height="content")
    numbers = found.assign(ways=[" ".join(map(str, ways)) for ways in found["ways"]])
    with pager.buttons(f"{pager.rows()} · page {pager.page:,} of {pager.last:,}"):
        _download(numbers, words.file_name("onsets", series), "onsets")
    what = "claimed" if level == EVERY_RUN else "standing out"
    st.caption(f"At each step, in order: ▼ fell, {what}; ▲ rose, {what}; · nothing {what}. {step_words.CAUTION}")
    if row is not None:
        at = page.iloc[row]
        place = {"variant": steps["variant"].iloc[-1], "layer": int(at["layer"]), "feature": int(at["feature"])}
        st.switch_page("views/feature.py", query_params=link.query(**place, view=None, p=None, list_layer=place["layer"]))


def _learned(store: Store, series: str, colour: str) -> None:
    """What was learned and what it cost at each step; nothing where that was not measured."""
    rows = data.ask(store, Store.learned_over_steps, series=series)
    rows = learning.with_places(rows) if len(rows) else rows
    if rows.empty:
        return
    st.markdown("### What was learned, and what it cost")
    panel = st.container(horizontal=True)
    in_order = [domain for domain in learning.PLACES if domain in set(rows["domain"])]
    for domain, mine in ((domain, rows[rows["domain"] == domain]) for domain in in_order):
        title = learning.domain_name(domain)
        with panel.container(width=axes.PANEL_WIDTH):
            spec = data.chart(step_charts.learned, mine, title, colour)
            st.vega_lite_chart(spec=spec, key=f"learned_{domain}", alt=f"Nats a token learned on {title} over steps")
    st.caption(
        "How much likelier the text became, in nats a predicted token (0.69: twice as likely); below 0 less likely. Upright "
        "lines: 95 % intervals over clusters. Grey: random changes of the weights of that size."
    )
    with st.expander("The numbers of what was learned"):
        numbers = rows[["variant", "step", "domain", "control", "gain", "low", "high", "kl", "n_clusters"]]
        st.dataframe(numbers, hide_index=True, column_config={"step": step_words.STEP.capitalize()})
        _download(numbers, words.file_name("learned_over_steps", series), "learned")


def of_feature(store: Store, layer: int, feature: int, variant: str) -> None:
    """One feature over the steps of the training that a variant is a checkpoint of; nothing of any other."""
    series = data.ask(store, Store.series_of, variant=variant)
    if series is None:
        return
    rows = data.ask(store, Store.feature_over_steps, series=series, layer=layer, feature=feature)
    if rows["change"].isna().all():
        return
    course = data.ask(store, Store.courses, series=series, layer=layer, feature=feature)
    judged = _is_judged(store, rows["variant"])
    has_onset = judged and not course.empty and pd.notna(course["onset"].iloc[0])
    onset = int(course["onset"].iloc[0]) if has_onset else None
    material = float(store.manifest.settings.get("material", MATERIAL))
    said = _said(data.ask(store, Store.course_level, series=series), course) if judged else NO_TWINS
    st.markdown(f"**Over the steps of {words.plain(series)}.** {said}", help=step_words.CAUTION)
    alt = f"Change of the feature over the steps of {series}"
    st.vega_lite_chart(spec=data.chart(step_charts.feature_change, rows, onset, material), key="change_over_steps", alt=alt)
    spec = data.chart(step_charts.feature_level, rows)
    st.vega_lite_chart(spec=spec, key="level_over_steps", alt="Mean activation of the feature over steps, and in the base")
    with st.expander("The numbers at each step"):
        intervals, twins = (zip(rows[f"{of}_low"], rows[f"{of}_high"], strict=True) for of in ("change", "twin"))
        shown = pd.DataFrame(
            {
                "Step": [f"{step:,}" for step in rows["step"]],
                "Change": [share(change) for change in rows["change"]],
                "95 % interval": [words.span(*ends, share) for ends in intervals],
                "Random changes": [words.span(*ends, share) for ends in twins],
                "Mean": [words.number(mean) for mean in rows["mean_variant"]],
                "Verdict": [verdict if isinstance(verdict, str) else "" for verdict in rows["verdict"]],
            }
        )
        st.dataframe(shown, hide_index=True, height="content", column_config=tables.right_aligned(list(shown)[:-1]))
        _download(rows, words.file_name("feature_over_steps", series, f"L{layer}", str(feature)), "feature_steps")


def _is_judged(store: Store, variants: Iterable[str]) -> bool:
    """Whether each of some checkpoints has verdicts, for which it needs twins."""
    return all(data.ask(store, Store.has_verdicts, variant=variant) for variant in variants)


def _said(level: str, course: pd.DataFrame) -> str:
    """When one feature's change began, in a sentence."""
    claimed = "claimed" if level == EVERY_RUN else "stands out (in this run only, no claim)"
    if course.empty:
        return f"Its change is {claimed} at no step." if level == EVERY_RUN else "Its change stands out at no step."
    one = course.iloc[0]
    is_claimed = f"is {claimed}" if level == EVERY_RUN else claimed
    if pd.isna(one["onset"]):
        return f"Came and went: its change {is_claimed} at step {_step(one['first'])} first, and not at the last."
    already = f"it {is_claimed} at step {_step(one['first'])} already"
    before = f" It turned: {already}, the other way at some step." if one["turned"] else f" It flickers: {already}."
    before = "" if one["first"] == one["onset"] else before
    return f"Onset: its change {is_claimed} from step {_step(one['onset'])} on, at every later step.{before}"


def _step(step: int | None) -> str:
    return "" if pd.isna(step) else f"{int(step):,}"


def _download(rows: pd.DataFrame, stem: str, key: str) -> None:
    st.download_button(
        "CSV", lambda: tables.csv(rows), f"{stem}.csv", "text/csv", key=f"download_{key}", on_click="ignore",
        icon=":material/download:",
    )  # fmt: skip
