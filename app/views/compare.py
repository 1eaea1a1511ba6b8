"""Across variants: what changed in one task or in several, how alike two variants' shifts are, and what repeats."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import streamlit as st

from app import data, link
from app.charts import variant_charts as compare_charts
from app.charts.features import MOST_POINTS
from app.components import pickers as widgets
from app.components import tables
from app.words import metrics as words
from app.words import variants as compare_words
from store.metrics.thresholds import SAME_DIRECTION
from store.names import ALL
from store.read.change_rule import RUNS
from store.read.store import Store

PAGE_SIZE = 10


def set_chart(sets: pd.DataFrame, tasks: pd.DataFrame) -> tuple[str, ...]:
    """The bars of every set of tasks, and the one that is chosen: by the URL, or the largest."""
    n_tasks = tasks["task"].nunique()
    sets = sets.assign(tasks=sets["tasks"].map(tuple))
    rows = sets.assign(
        set=sets["tasks"].map(",".join), name=[compare_words.tasks_name(found, n_tasks) for found in sets["tasks"]]
    )
    largest = rows["set"].iloc[int(rows["count"].to_numpy().argmax())]
    chosen = link.read("set", rows["set"].to_list(), largest)
    key = f"sets_{link.query()}"
    st.altair_chart(
        compare_charts.set_bars(rows.drop(columns="tasks"), chosen),
        on_select=lambda: keep_set(key),
        selection_mode="set",
        key=key,
        alt="How many features changed in exactly which tasks",
    )
    more = len(rows) - compare_charts.MOST_SETS
    left_out = f" {more:,} smaller sets are not drawn." if more > 0 else ""
    st.caption(f"{compare_words.CHANCE}{left_out} Click a bar for its features.")
    return rows.loc[rows["set"] == chosen, "tasks"].iloc[0]


def feature_table(store: Store, rows: pd.DataFrame) -> pd.Series:
    """One page of changed_features; gives the row that the URL has selected, or the first."""
    names = [words.feature_name(*pair) for pair in zip(rows["layer"], rows["feature"], strict=True)]
    shown = pd.DataFrame({"Feature": names, "Label": rows["label"].fillna("").to_list()})
    for variant in store.variants:
        shown[variant] = [
            words.number(shift, signed=True) + (" ●" if changed else "")
            for shift, changed in zip(rows[f"shift_{variant}"], rows[f"changed_{variant}"], strict=True)
        ]
    selected = link.read("selected", names, names[0])
    key = f"changed_{link.query()}"
    config = right_aligned(store.variants) | {"Label": st.column_config.TextColumn(width="medium")}
    st.dataframe(
        shown,
        hide_index=True,
        column_config=config,
        on_select=lambda: keep_row(key, names),
        selection_mode=["single-row", "single-cell"],
        selection_default={"selection": {"rows": [names.index(selected)]}},
        key=key,
        height="content",
    )
    return rows.iloc[names.index(selected)]


def right_aligned(columns: Iterable[str]) -> dict:
    """The settings of columns that hold numbers as text."""
    return {name: st.column_config.TextColumn(alignment="right", width="small") for name in columns}


def table_height(rows: pd.DataFrame) -> int | str:
    """A table's own height, up to a dozen rows; beyond them it scrolls."""
    return "content" if len(rows) <= 12 else 460


def pager(total: int, page: int, name: str, csv: object) -> None:
    """Which rows are shown, buttons to turn, and the whole list as CSV."""
    last = max(1, -(-total // PAGE_SIZE))
    row = st.container(horizontal=True, vertical_alignment="center")
    for label, to, icon in (("Previous", page - 1, "chevron_left"), ("Next", page + 1, "chevron_right")):
        row.button(label, icon=f":material/{icon}:", disabled=not 1 <= to <= last, on_click=turn, args=(to,))
    row.caption(f"{(page - 1) * PAGE_SIZE + 1:,}–{min(total, page * PAGE_SIZE):,} of {total:,}", width="content")
    row.download_button(
        f"Download {words.counted(total, 'row')} (CSV)",
        data=csv,
        file_name=name,
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
    )


def one_feature(store: Store, row: pd.Series, variant: str) -> None:
    """The selected feature in every variant and domain."""
    layer, feature = int(row["layer"]), int(row["feature"])
    label = f" · {words.plain(row['label'])}" if isinstance(row["label"], str) and row["label"] else ""
    line = st.container(horizontal=True, vertical_alignment="center")
    line.markdown(f"**{words.feature_name(layer, feature)}**{label}", width="content")
    line.page_link(
        "views/feature.py",
        label="Open its page",
        icon=":material/arrow_forward:",
        query_params=feature_link(layer, feature, variant),
    )
    found = data.ask(store, Store.feature_across, layer=layer, feature=feature)
    cells = found.assign(written=[words.number(value, signed=True) for value in found["shift"]])
    cells = cells[["variant", "domain", "shift", "written", "freq_base", "freq_variant"]]
    chart = compare_charts.domain_map(cells, store.variants, [ALL, *store.domains])
    st.altair_chart(chart, key="across", alt=f"Shift of {words.feature_name(layer, feature)} in every variant and domain")
    st.caption(
        "Shift: mean over the domain's tokens of variant minus base, scaled activation. Empty: it fires there in neither model."
    )


def likeness(pairs: pd.DataFrame, store: Store, variant: str, against: str) -> None:
    """The map of every pair of variants, and the chosen pair in words."""
    measures = [name for name in compare_words.MEASURES if name == "top" or pairs[name].notna().any()]
    titles = {name: title for name, (title, _) in compare_words.MEASURES.items()}
    measure = widgets.pick("Measure", "measure", measures, measures[0], show=titles.get, few=0, width=300)
    values = pairs["top_shared"] / pairs["top_k"].where(pairs["top_k"] > 0) if measure == "top" else pairs[measure]
    half = pairs[["variant_a", "variant_b", "n"]].assign(
        value=values,
        written=[words.percent(v) if measure == "top" else words.number(v) for v in values],
        task=np.where(pairs["same_task"], "runs of one task", "different tasks"),
    )
    cells = pd.concat([half, half.rename(columns={"variant_a": "variant_b", "variant_b": "variant_a"})], ignore_index=True)
    key = f"pairs_{link.query()}"
    title, meaning = compare_words.MEASURES[measure]
    st.altair_chart(
        compare_charts.pair_map(cells, store.variants, title, 0 if measure == "top" else -1, 1),
        on_select=lambda: keep_pair(key),
        selection_mode="pair",
        key=key,
        alt=f"{title} of every two variants",
    )
    st.caption(f"{meaning} Click a cell for the two variants side by side.")
    st.markdown(compare_words.pair(chosen_pair(pairs, variant, against)))


def chosen_pair(pairs: pd.DataFrame, variant: str, against: str) -> pd.Series:
    """The row of two variants, whichever comes first."""
    both = pairs["variant_a"].isin([variant, against]) & pairs["variant_b"].isin([variant, against])
    return pairs[both].iloc[0]


def scatter(store: Store, variant: str, against: str, asked: dict) -> None:
    """Two variants side by side; a click on a point opens the feature."""
    found = data.ask(store, Store.side_by_side, variant_a=variant, variant_b=against, **asked, limit=MOST_POINTS)
    if found.empty:
        st.info("No feature fires here in either: choose another domain.", icon=":material/search_off:")
        return
    changed = found[["changed_a", "changed_b"]]
    points = found[["layer", "feature", "label", "shift_a", "shift_b", "changed_a", "changed_b"]].assign(
        name=[words.feature_name(*pair) for pair in zip(found["layer"], found["feature"], strict=True)],
        **{f"said_{side}": compare_words.said(found[f"verdict_{side}"], changed[f"changed_{side}"]) for side in "ab"},
    )
    shown = f"the {MOST_POINTS:,} that moved furthest" if len(points) == MOST_POINTS else f"all {len(points):,} that fire"
    st.markdown(f"**Side by side**: {shown} in either")
    clicked = st.altair_chart(
        compare_charts.shift_scatter(points, variant, against),
        on_select="rerun",
        selection_mode="point",
        key=f"side_by_side_{link.query()}",
        alt=f"Shift of each feature in {against} against its shift in {variant}",
    )
    st.caption(
        "One mark a feature; the axes are linear near 0 and logarithmic further out. On the dashed line both variants moved it "
        "alike, on an axis only one did, in the upper left and lower right they moved it in opposite ways. Click to open it."
    )
    if clicked.selection.get("point"):
        point = clicked.selection["point"][0]
        st.switch_page("views/feature.py", query_params=feature_link(point["layer"], point["feature"], variant))


def repeats(pairs: pd.DataFrame) -> None:
    """What another training run reproduces, beside what different tasks share."""
    table = pairs.assign(
        from_a=pairs["called_same"] / pairs["called_a"].where(pairs["called_a"] > 0),
        from_b=pairs["called_same"] / pairs["called_b"].where(pairs["called_b"] > 0),
        signs=pairs["signs_agree"] / pairs["called_either"].where(pairs["called_either"] > 0),
    ).sort_values("same_task", ascending=False, kind="stable")
    runs, tasks = table[table["same_task"]], table[~table["same_task"]]
    if runs.empty:
        st.info(
            "No task was trained twice here. Train one recipe with a second seed and add it to the configuration as "
            "NAME-seed2: only then can one tell what a task does from what one training run happened to do.",
            icon=":material/casino:",
        )
        return
    for _, run in runs.iterrows():
        st.markdown(compare_words.run(run))
    if len(tasks):
        st.markdown(compare_words.between_tasks(tasks))
    shown = pd.DataFrame(
        {
            "A": table["variant_a"],
            "B": table["variant_b"],
            "They are": np.where(table["same_task"], "runs of one task", "different tasks"),
            "Changed in A": [words.count(v) for v in table["called_a"]],
            "Changed in B": [words.count(v) for v in table["called_b"]],
            "Same way in both": [words.count(v) for v in table["called_same"]],
            "Opposite": [words.count(v) for v in table["called_opposite"]],
            "Same sign": [words.percent(v) for v in table["signs"]],
            "Rank correlation": [words.number(v) for v in table["spearman"]],
        }
    )
    st.dataframe(shown, hide_index=True, column_config=right_aligned(shown.columns[3:]), height=table_height(shown))
    st.caption(compare_words.SAME_SIGN)


def second_dictionary(store: Store, variant: str, layer: int, rule: str | None) -> None:
    """Whether another dictionary of the layer shows the same shifts."""
    summary = data.ask(store, Store.replica_summary, layer=layer, rule=rule)
    pairs = data.ask(store, Store.replica_pairs, variant=variant, layer=layer, rule=rule)
    if pairs.empty:
        st.info(f"No second dictionary was read for {words.plain(variant)}.", icon=":material/search_off:")
    else:
        left, right = st.columns([1.1, 1], gap="medium")
        changed, others = (summary[(summary["variant"] == variant) & (summary["changed"] == c)].iloc[0] for c in (True, False))
        left.markdown(compare_words.replica(changed, others))
        left.caption(compare_words.COUNTERPART)
        chart = compare_charts.cosine_profile(cosine_shares(pairs), SAME_DIRECTION)
        right.altair_chart(chart, key="replica_cosines", alt="How near each feature's nearest counterpart is")
        right.caption(f"Features of {words.plain(variant)}. Dashed: {SAME_DIRECTION}, from which one has a counterpart.")
    shown = pd.DataFrame(
        {
            "Variant": summary["variant"],
            "Features": np.where(summary["changed"], "changed", "all others"),
            "Number": [words.count(v) for v in summary["n"]],
            "With a counterpart": [words.count(v) for v in summary["matched"]],
            "Same direction": [words.count(v) for v in summary["same_sign"]],
            "Beyond the floor": [words.count(v) for v in summary["beyond"]],
            "Rank correlation": [words.number(v) for v in summary["spearman"]],
        }
    )
    st.dataframe(shown, hide_index=True, column_config=right_aligned(shown.columns[2:]), height=table_height(shown))


def cosine_shares(pairs: pd.DataFrame) -> pd.DataFrame:
    """The distribution of the best cosines in bins of 0.05, as shares of changed and of other features: low, group, share."""
    edges = np.linspace(0, 1, 21)
    groups = {"changed": pairs[pairs["changed"]], "all others": pairs[~pairs["changed"]]}
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "low": edges[:-1],
                    "group": f"{name} ({len(rows):,})",
                    "share": np.histogram(rows["cosine"].clip(0, 1), edges)[0] / len(rows),
                }
            )
            for name, rows in groups.items()
            if len(rows)
        ]
    )


def feature_link(layer: int, feature: int, variant: str) -> dict[str, str]:
    """The URL of a feature's page. What was chosen here stays in it, so that the way back leads to the same view."""
    every = ALL if st.query_params.get("layer") == ALL else None
    there = {"layer": int(layer), "feature": int(feature), "variant": variant, "list_layer": every}
    return link.query(**there, p=None, selected=None)


def keep_set(key: str) -> None:
    """A click on a bar: its set into the URL."""
    clicked = st.session_state[key].selection.get("set")
    if clicked:
        link.write(set=clicked[0]["set"], p=None, selected=None)


def keep_pair(key: str) -> None:
    """A click on the map: its two variants into the URL."""
    clicked = st.session_state[key].selection.get("pair")
    if clicked:
        link.write(variant=clicked[0]["variant_a"], against=clicked[0]["variant_b"])


def keep_row(key: str, names: list[str]) -> None:
    """A click in the list: its feature into the URL."""
    chosen = st.session_state[key].selection
    at = [cell[0] for cell in chosen.cells] + list(chosen.rows)
    if at and at[0] < len(names):
        link.write(selected=names[at[0]])


def turn(page: int) -> None:
    """Another page of the list."""
    link.write(p=None if page <= 1 else page, selected=None)


store = data.current()
st.markdown("## Across variants")
st.caption("Which features every fine-tune changes, which only one does, and what another training run would show again.")
if len(store.variants) < 2:
    st.info(
        "This store has one variant, so there is nothing to compare it with. Name several under `variants` in the "
        "configuration of a run: they are read over the same tokens.",
        icon=":material/compare_arrows:",
    )
    st.stop()

tasks = data.ask(store, Store.variant_tasks)
with st.container(**widgets.ROW):
    variant = widgets.pick("Variant", "variant", store.variants, store.variants[0], few=0, forget=("against",))
    others = [name for name in store.variants if name != variant]
    against = widgets.pick("Against", "against", others, others[0], few=0)
    forget = ("p", "selected", "set")
    chosen_layer = widgets.pick("Layer", "layer", [ALL, *store.layers], store.layers[-1], forget=forget, few=8)
    domain = widgets.pick("Domain", "domain", [ALL, *store.domains], ALL, forget=forget, few=0)
layer = None if chosen_layer == ALL else chosen_layer
rules = data.ask(store, Store.change_rules, domain=domain)["rule"].to_list()
with st.container(**widgets.ROW):
    rule, runs = rules[0], "any"
    if len(rules) > 1:
        rule = widgets.pick(
            "A feature changed where", "changed", rules, rules[0], show=compare_words.RULE_NAMES.get, forget=forget
        )
    if tasks["n_runs"].max() > 1:
        runs = widgets.pick(
            "A task of several runs counts", "runs", RUNS, "any", show=compare_words.RUN_NAMES.get, forget=forget
        )
    widgets.small_badge(store, domain)
asked = {"layer": layer, "domain": domain, "rule": rule}

st.markdown("#### In one task, in several, in all")
sets = data.ask(store, Store.change_sets, **asked, runs=runs)
if sets.empty:
    st.info(
        f"No feature changed here. *Changed* means: {compare_words.RULE_MEANINGS[rule]}. Choose another layer or domain"
        + (", or another meaning of *changed*." if len(rules) > 1 else "."),
        icon=":material/search_off:",
    )
else:
    st.markdown(compare_words.sets(sets, tasks["task"].nunique()))
    st.caption(f"*Changed* means: {compare_words.RULE_MEANINGS[rule]}.")
    for sentence in compare_words.repeated(tasks, runs):
        st.caption(sentence)
    chosen = set_chart(sets, tasks)
    total = int(sets.loc[[tuple(found) == chosen for found in sets["tasks"]], "count"].iloc[0])
    page = link.read_number("p", 1, 1, max(1, -(-total // PAGE_SIZE)))
    listed = {**asked, "runs": runs, "tasks": list(chosen)}
    rows = data.ask(store, Store.changed_features, **listed, limit=PAGE_SIZE, offset=(page - 1) * PAGE_SIZE)
    name = compare_words.tasks_name(chosen, tasks["task"].nunique())
    st.markdown(f"**Changed in {words.plain(name)}** · shift in each variant, ● where it changed; the furthest first")
    selected = feature_table(store, rows)
    file = f"{words.file_name('changed_in', *chosen, domain)}.csv"
    pager(total, page, file, lambda: tables.csv(store.changed_features(**listed, limit=None)))
    one_feature(store, selected, variant)

st.markdown("#### How alike are the shifts")
pairs = None if layer is None else data.ask(store, Store.variant_pairs, **asked)
one_layer = "Choose one layer above: shifts of different layers are not on one scale, so they cannot be ranked together."
left, right = st.columns([1, 1.3], gap="medium")
with left:
    if pairs is None:
        st.info(one_layer, icon=":material/layers:")
    else:
        likeness(pairs, store, variant, against)
with right:
    scatter(store, variant, against, asked)

st.markdown("#### What another training run reproduces")
if pairs is None:
    st.info(one_layer, icon=":material/layers:")
else:
    repeats(pairs)

st.markdown("#### What another dictionary shows")
replica_layers = data.ask(store, Store.replica_layers)["layer"].to_list()
if layer in replica_layers:
    second_dictionary(store, variant, layer, rule if domain == ALL else None)
elif replica_layers:
    st.caption(f"A second dictionary was read at layer {words.listing([str(n) for n in replica_layers])}: choose it above.")
else:
    st.caption(
        "Not in this store: name a second dictionary of a layer under `replicas` in the configuration, and extract again."
    )
