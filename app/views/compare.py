"""Across variants: what changed in one recipe or in several, how alike two variants' changes are, and what repeats."""

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import axes, variant_charts
from app.components import badges, pickers, reproduction, runs, tables
from app.components.columns import COLUMNS
from app.words import comparison
from store.metrics.feature_columns import share
from store.names import ALL
from store.numbers import fixed
from store.read.change_rule import RUNS
from store.read.store import Store

TITLE = "Across variants"
ICON = ":material/compare_arrows:"
GROUP = "Explore"
ORDER = 70

PAGE_SIZE = 10
LABEL_WIDTH = 180  # pixels


def set_chart(sets: pd.DataFrame, n_recipes: int) -> tuple[str, ...]:
    """The bars of every set of recipes, and the one that is chosen: by the URL, or the largest."""
    sets = sets.assign(tasks=sets["tasks"].map(tuple))
    named = [comparison.recipes_name(found, n_recipes) for found in sets["tasks"]]
    rows = sets.assign(set=sets["tasks"].map(",".join), name=named)
    largest = rows["set"].iloc[int(rows["count"].to_numpy().argmax())]
    chosen = link.read("set", rows["set"].to_list(), largest)
    key = f"sets_{link.query()}"
    st.vega_lite_chart(
        spec=data.chart(variant_charts.set_bars, rows.drop(columns="tasks"), chosen),
        on_select=lambda: keep_set(key),
        selection_mode="set",
        key=key,
        alt="How many features changed in exactly which recipes",
    )
    more = len(rows) - variant_charts.MOST_SETS
    left_out = f" {more:,} smaller sets are not drawn." if more > 0 else ""
    st.caption(f"{comparison.CHANCE}{left_out} Click a bar for its features.")
    return rows.loc[rows["set"] == chosen, "tasks"].iloc[0]


def shared_table(sets: pd.DataFrame, recipes: list[str]) -> None:
    """How many features changed in each recipe, and how many of them in each other one."""
    counted = comparison.shared_counts(sets, recipes)
    total = "Claimed" if sets["rule"].iloc[0] == "verdict" else "Changed"
    headings = {"recipe": "Recipe", "total": total, "alone": "In it alone"}
    headings |= {f"shared_{other}": f"Also in {other}" for other in recipes}
    shown = counted.rename(columns=headings)
    numbers = shown.columns[1:]
    shown[numbers] = shown[numbers].map(lambda n: "" if pd.isna(n) else words.count(int(n)))
    st.dataframe(shown, hide_index=True, column_config=tables.right_aligned(numbers), height=reproduction.table_height(shown))


def feature_table(store: Store, rows: pd.DataFrame) -> pd.Series:
    """One page of changed_features; gives the row that the URL has selected, or the first."""
    names = [words.feature_name(*pair) for pair in zip(rows["layer"], rows["feature"], strict=True)]
    automatic = words.all_automatic(rows["label_source"])
    label = f"Label{words.AUTO * automatic}"
    shown = pd.DataFrame({label: tables.labels(rows, LABEL_WIDTH, marked=not automatic), "Feature": names})
    variants = runs.compared_variants(store)
    for variant in variants:
        shown[variant] = [
            share(change) + (" ●" if changed else "")
            for change, changed in zip(rows[f"change_{variant}"], rows[f"changed_{variant}"], strict=True)
        ]
    selected = link.read("selected", names, names[0])
    tables.clicked_row(
        shown,
        f"changed_{link.query()}",
        tables.right_aligned(variants) | {label: replace(COLUMNS["label"], title=label, width=LABEL_WIDTH).config()},
        lambda at: link.write(selected=names[at]),
        selected=names.index(selected),
        height="content",
    )
    return rows.iloc[names.index(selected)]


def one_feature(store: Store, row: pd.Series, variant: str) -> None:
    """The selected feature in every variant and domain."""
    layer, feature = int(row["layer"]), int(row["feature"])
    label = words.label(row["label"], row["label_source"])
    line = st.container(horizontal=True, vertical_alignment="center")
    line.markdown(f"**{words.feature_name(layer, feature)}**{' · ' * bool(label)}{words.plain(label)}", width="content")
    line.page_link(
        "views/feature.py",
        label="Open its page",
        icon=":material/arrow_forward:",
        query_params=feature_link(layer, feature, variant),
    )
    found = data.ask(store, Store.feature_across, layer=layer, feature=feature)
    variants = runs.compared_variants(store)
    found = found[found["variant"].isin(variants)]
    cells = found.assign(written=[share(value) for value in found["change"]])
    cells = cells[["variant", "domain", "change", "written", "freq_base", "freq_variant"]]
    drawn = data.chart(variant_charts.domain_map, cells, variants, [ALL, *store.domains])
    st.vega_lite_chart(
        spec=drawn, key="across", alt=f"Change of {words.feature_name(layer, feature)} in every variant and domain"
    )
    lean = " Of replicates this copy may keep the row of all domains alone." if store.manifest.published_from else ""
    st.caption(
        "Share of its activation on the domain's tokens that is lost (below 0) or new. Empty: it fires there in neither "
        f"model.{lean}"
    )


def likeness(pairs: pd.DataFrame, store: Store, variant: str, against: str, domain: str) -> None:
    """The map of every pair of variants, and the chosen pair in words."""
    measures = [name for name in comparison.MEASURES if name == "top" or pairs[name].notna().any()]
    titles = {name: title for name, (title, _) in comparison.MEASURES.items()}
    measure = pickers.pick("Measure", "measure", measures, measures[0], show=titles.get, few=0, width=300)
    values = pairs["top_shared"] / pairs["top_k"].where(pairs["top_k"] > 0) if measure == "top" else pairs[measure]
    half = pairs[["variant_a", "variant_b", "n"]].assign(
        value=values,
        written=[words.percent(v) if measure == "top" else fixed(v, 2) for v in values],
        task=np.where(pairs["same_task"], "runs of one recipe", "different recipes"),
    )
    cells = pd.concat([half, half.rename(columns={"variant_a": "variant_b", "variant_b": "variant_a"})], ignore_index=True)
    key = f"pairs_{link.query()}"
    title, meaning = comparison.MEASURES[measure]
    st.vega_lite_chart(
        spec=data.chart(variant_charts.pair_map, cells, runs.compared_variants(store), title, -1 if values.min() < 0 else 0, 1),
        on_select=lambda: keep_pair(key),
        selection_mode="pair",
        key=key,
        alt=f"{title} of every two variants",
    )
    st.caption(f"{meaning} Click a cell for the two variants side by side.")
    st.markdown(comparison.pair(chosen_pair(pairs, variant, against), domain))


def chosen_pair(pairs: pd.DataFrame, variant: str, against: str) -> pd.Series:
    """The row of two variants, whichever comes first."""
    both = pairs["variant_a"].isin([variant, against]) & pairs["variant_b"].isin([variant, against])
    return pairs[both].iloc[0]


def scatter(store: Store, variant: str, against: str, asked: dict) -> None:
    """Two variants side by side; a click on a point opens the feature."""
    found = data.ask(store, Store.side_by_side, variant_a=variant, variant_b=against, **asked, limit=axes.MOST_POINTS)
    is_cut = len(found) == axes.MOST_POINTS
    if found.empty:
        st.info("No feature fires here in either: choose another domain.", icon=":material/search_off:")
        return
    seen = found[found["seen_a"] | found["seen_b"]]
    points = seen[["layer", "feature", "change_a", "change_b", "changed_a", "changed_b"]].assign(
        label=tables.labels(seen),
        name=[words.feature_name(*pair) for pair in zip(seen["layer"], seen["feature"], strict=True)],
        **{f"said_{side}": comparison.said(seen[f"verdict_{side}"], seen[f"changed_{side}"]) for side in "ab"},
    )
    seen_here = f"{len(points):,} that {comparison.seen(asked['domain'])}"
    shown = f"of the {len(found):,} that moved furthest" if is_cut else f"of {len(found):,} that fire"
    st.markdown(f"**Side by side**: {shown} in either, the {seen_here} in one of the two")
    colours = runs.colours(store)
    clicked = st.vega_lite_chart(
        spec=data.chart(variant_charts.change_scatter, points, variant, against, (colours[variant], colours[against])),
        on_select="rerun",
        selection_mode="point",
        key=f"side_by_side_{link.query()}",
        alt=f"Change of each feature in {against} against its change in {variant}",
    )
    st.caption(
        "One mark a feature: share of its activation lost or new. On the dashed line both variants changed it alike, on an "
        "axis only one did, in the upper left and lower right they changed it in opposite ways. Click to open it."
    )
    if clicked.selection.get("point"):
        point = clicked.selection["point"][0]
        st.switch_page("views/feature.py", query_params=feature_link(point["layer"], point["feature"], variant))


def feature_link(layer: int, feature: int, variant: str) -> dict[str, str]:
    """The URL of a feature's page. What was chosen here stays in it, so that the way back leads to the same view."""
    every = ALL if st.query_params.get("layer", ALL) == ALL else None
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


store = data.current()
st.markdown(f"## {TITLE}")
st.caption("Which features every fine-tune changes, which only one does, and what another training run would show again."
           + runs.others_said(store))  # fmt: skip
variants = runs.compared_variants(store)
if len(variants) < 2:
    st.info(
        f"This store has one {'variant' if len(store.variants) == 1 else 'training'}, so there is nothing to compare it with. "
        "Name several under `variants` in the configuration of a run: they are read over the same tokens.",
        icon=":material/compare_arrows:",
    )
    st.stop()

groups = runs.compared(store)
names = {variant: runs.name(store, variant) for members in groups.values() for variant in members}
asked_for = st.query_params.get("variant")
default = variants[0] if asked_for in names else runs.speaker(store, asked_for) or variants[0]
with st.container(**pickers.ROW):
    variant = pickers.pick(
        "Variant", "variant", list(names), default, names.get, forget=("against",), always=default != variants[0]
    )
    others = [name for name in names if name != variant]
    again = [name for name in groups[runs.firsts(store)[variant]] if name != variant]
    against = pickers.pick("Against", "against", others, [*again, *others][0], names.get)
    forget = ("p", "selected", "set")
    chosen_layer = pickers.pick("Layer", "layer", [ALL, *store.layers], ALL, forget=forget, few=8)
    domain = pickers.pick("Domain", "domain", [ALL, *store.domains], ALL, forget=forget, few=0)
layer = None if chosen_layer == ALL else chosen_layer
rules = data.ask(store, Store.change_rules, domain=domain)["rule"].to_list()
with st.container(**pickers.ROW):
    rule, of_runs = rules[0], "any"
    if len(rules) > 1:
        rule = pickers.pick(
            "A feature changed where", "changed", rules, rules[0], show=comparison.RULE_NAMES.get, forget=forget
        )
    if len(groups) < len(names) and rule != "verdict":  # what is claimed shows in every run
        of_runs = pickers.pick(
            "A recipe of several runs counts", "runs", RUNS, "any", show=comparison.RUN_NAMES.get, forget=forget
        )
    badges.small(store, domain)
asked = {"layer": layer, "domain": domain, "rule": rule}

st.markdown("### In one recipe, in several, in all")
sets = data.ask(store, Store.change_sets, **asked, runs=of_runs)
if sets.empty:
    st.info(
        f"No feature changed here. *Changed* means: {comparison.rule_meaning(rule, domain)}. Choose another layer or domain"
        + (", or another meaning of *changed*." if len(rules) > 1 else "."),
        icon=":material/search_off:",
    )
else:
    st.markdown(comparison.sets(sets, len(groups), layer))
    shared_table(sets, list(groups))
    counted = f" {comparison.runs_count(rule, of_runs)}" if len(groups) < len(names) else ""
    called = "Claimed" if rule == "verdict" else "Changed"
    st.caption(f"*{called}* means: {comparison.rule_meaning(rule, domain)}; dense features included.{counted}")
    chosen = set_chart(sets, len(groups))
    total = int(sets.loc[[tuple(found) == chosen for found in sets["tasks"]], "count"].iloc[0])
    pager = tables.Pager(total, PAGE_SIZE)
    listed = {**asked, "runs": of_runs, "tasks": list(chosen)}
    rows = data.ask(store, Store.changed_features, **listed, limit=PAGE_SIZE, offset=pager.offset)
    name = comparison.recipes_name(chosen, len(groups))
    st.markdown(f"**Changed in {words.plain(name)}** · change in each variant, ● where the rule calls it so; the largest first")
    selected = feature_table(store, rows)
    file = f"{words.file_name('changed_in', *chosen, domain)}.csv"
    pager.buttons(pager.rows()).download_button(
        f"Download {words.counted(total, 'row')} (CSV)",
        data=lambda: tables.csv(store.changed_features(**listed, limit=None)),
        file_name=file,
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
    )
    one_feature(store, selected, variant)

one = {**asked, "layer": store.layers[-1] if layer is None else layer}
where = f"at layer {one['layer']}"
st.markdown(f"### How alike are the changes, {where}")
if layer is None:
    st.caption("Features of different layers cannot be ranked together: this is the last layer; choose another above.")
left, right = st.columns([1, 1.3], gap="medium")
with left:
    likeness(data.ask(store, Store.variant_pairs, **one), store, variant, against, domain)
with right:
    scatter(store, variant, against, one)

st.markdown(f"### What another training run reproduces, {where}")
repeated = data.ask(store, Store.variant_pairs, **(one | {"rule": "material"}))  # a claim repeats by definition
reproduction.repeats(repeated, domain)

st.markdown("### What another dictionary shows")
replica_layers = data.ask(store, Store.replica_layers)["layer"].to_list()
in_replica = replica_layers[-1] if layer is None and replica_layers else layer
if in_replica in replica_layers:
    reproduction.second_dictionary(store, variant, in_replica, rule if domain == ALL else None)
elif replica_layers:
    st.caption(f"A second dictionary was read at layer {words.listing([str(n) for n in replica_layers])}: choose it above.")
else:
    st.caption(
        "Not in this store: name a second dictionary of a layer under `replicas` in the configuration, and extract again."
    )
