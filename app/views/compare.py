"""Across variants: what changed in one task or in several, how alike two variants' shifts are, and what repeats."""

import numpy as np
import pandas as pd
import streamlit as st

from app import compare_charts, data, link, tables, widgets, words
from app.charts import MOST_POINTS
from store import compare
from store.names import ALL
from store.reader import Store

PAGE_SIZE = 10
OWN = ("against", "set", "selected", "p", "measure", "changed", "runs")
"""What of the URL means something on this page alone."""

RULE_NAMES = {"verdict": "It has a verdict", "floor": "Beyond the floor", "rms": "Beyond 3 × typical"}
RULE_MEANINGS = {
    "verdict": (
        "its verdict is suppressed or amplified: it passed the noise floor, the test over documents and the fit gate "
        "(all domains together)"
    ),
    "floor": (
        "its shift is beyond the floor, which 1 in 100 features passes by noise alone; no test over documents stands behind it"
    ),
    "rms": (
        "its shift is beyond 3 × the root mean square shift of the variant's layer. **This is not tested against noise**: a "
        "larger change does not get more features by it, and a list is one to check"
    ),
}
RUN_NAMES = {"any": "In any of its runs", "every": "In every run"}
MEASURES = {
    "spearman": (
        "Rank correlation of shifts",
        "1: both variants move the same features up and the same ones down, in the same order; 0: nothing in common.",
    ),
    "spearman_std": (
        "Rank correlation of standardised shifts",
        "As for shifts, each divided by how much the feature varies, so that loud features do not lead.",
    ),
    "spearman_noise": (
        "The same under noise",
        "What two random changes of these sizes give: noise makes rarely firing features rise in every variant, so it is not "
        "always 0. A correlation of shifts says something by what it is above this.",
    ),
    "top": (
        f"{compare.TOP} most moved in common",
        f"Of the (at most) {compare.TOP} features that moved furthest in each, the share that is the same.",
    ),
}


def names_of(tasks: tuple[str, ...], n_tasks: int) -> str:
    """A set of tasks in words: 'maths alone', 'maths and code', 'all 3 tasks'."""
    if len(tasks) == 1:
        return f"{tasks[0]} alone"
    return f"all {n_tasks} tasks" if len(tasks) == n_tasks else words.listing(list(tasks))


def of_tasks(sets: pd.DataFrame, tasks: pd.DataFrame, rule: str, runs: str) -> None:
    """How many features changed in one task, several and all of them, and what that means, in words."""
    n = tasks["task"].nunique()
    counts = sets.groupby("extent")["count"].sum()
    one, several, everywhere = (int(counts.get(extent, 0)) for extent in ("one", "several", "all"))
    parts = [f"**{one:,}** changed in one task only"]
    parts += [f"**{several:,}** in several"] if n > 2 else []
    parts += [f"**{everywhere:,}** in all {n}"] if n > 1 else []
    opposite = int(sets.loc[sets["n_tasks"] > 1, "opposite"].sum())
    shared = several + everywhere
    agreed = f" Of the {shared:,} shared ones, {shared - opposite:,} moved the same way everywhere." if shared else ""
    st.markdown(f"{one + shared:,} features changed: {words.listing(parts)}.{agreed}")
    st.caption(f"*Changed* means: {RULE_MEANINGS[rule]}.")
    repeated = tasks[tasks["n_runs"] > 1].groupby("task", sort=False)["variant"].agg(list)
    for task, of_task in repeated.items():
        st.caption(
            f"{words.plain(words.listing(of_task))} are runs of one recipe and count as one task, {words.plain(task)}, which "
            f"changed a feature where {'any' if runs == 'any' else 'every one'} of them did."
        )


def set_chart(sets: pd.DataFrame, tasks: pd.DataFrame) -> tuple[str, ...]:
    """The bars of every set of tasks, and the one that is chosen: by the URL, or the largest."""
    n_tasks = tasks["task"].nunique()
    sets = sets.assign(tasks=sets["tasks"].map(tuple))
    rows = sets.assign(set=sets["tasks"].map(",".join), name=[names_of(found, n_tasks) for found in sets["tasks"]])
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
    st.caption(
        "Each feature is counted once, in the set of exactly those tasks where it changed. Orange tick: the count if every "
        "task had changed as many features drawn at random. A bar far beyond its tick is shared for a reason, if only that "
        f"features which fire often are likelier to be called in any task.{left_out} Click a bar for its features."
    )
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
    config = {variant: st.column_config.TextColumn(alignment="right", width="small") for variant in store.variants}
    config["Label"] = st.column_config.TextColumn(width="medium")
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


def pager(total: int, page: int, name: str, csv: object) -> None:
    """Which rows are shown, buttons to turn, and the whole list as CSV."""
    last = max(1, -(-total // PAGE_SIZE))
    row = st.container(horizontal=True, vertical_alignment="center")
    for label, to, icon in (("Previous", page - 1, "chevron_left"), ("Next", page + 1, "chevron_right")):
        row.button(label, icon=f":material/{icon}:", disabled=not 1 <= to <= last, on_click=turn, args=(to,))
    row.caption(f"{(page - 1) * PAGE_SIZE + 1:,}–{min(total, page * PAGE_SIZE):,} of {total:,}", width="content")
    row.download_button(
        f"Download {total:,} row{'s' if total != 1 else ''} (CSV)",
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
    found = data.ask(store, compare.feature_across, layer=layer, feature=feature)
    cells = found.assign(written=[words.number(value, signed=True) for value in found["shift"]])
    cells = cells[["variant", "domain", "shift", "written", "freq_base", "freq_variant"]]
    chart = compare_charts.domain_map(cells, store.variants, [ALL, *store.domains])
    st.altair_chart(chart, key="across", alt=f"Shift of {words.feature_name(layer, feature)} in every variant and domain")
    st.caption(
        "Shift: mean over the domain's tokens of variant minus base, scaled activation. Empty: it fires there in neither model."
    )


def likeness(pairs: pd.DataFrame, store: Store, variant: str, against: str) -> None:
    """The map of every pair of variants, and the chosen pair in words."""
    measures = [name for name in MEASURES if name == "top" or pairs[name].notna().any()] or ["top"]
    measure = widgets.pick("Measure", "measure", measures, measures[0], show=lambda name: MEASURES[name][0], few=0, width=300)
    values = pairs["top_shared"] / pairs["top_k"].where(pairs["top_k"] > 0) if measure == "top" else pairs[measure]
    half = pairs[["variant_a", "variant_b", "n"]].assign(
        value=values,
        written=[words.percent(v) if measure == "top" else words.number(v) for v in values],
        task=np.where(pairs["same_task"], "runs of one task", "different tasks"),
    )
    cells = pd.concat([half, half.rename(columns={"variant_a": "variant_b", "variant_b": "variant_a"})], ignore_index=True)
    key = f"pairs_{link.query()}"
    title, meaning = MEASURES[measure]
    st.altair_chart(
        compare_charts.pair_map(cells, store.variants, title, 0 if measure == "top" else -1, 1),
        on_select=lambda: keep_pair(key),
        selection_mode="pair",
        key=key,
        alt=f"{title} of every two variants",
    )
    st.caption(f"{meaning} Click a cell for the two variants side by side.")
    st.markdown(of_pair(chosen_pair(pairs, variant, against)))


def of_pair(pair: pd.Series) -> str:
    """Two variants in words: how alike their shifts are, beside noise and chance."""
    noise = f", where noise alone gives {words.number(pair['spearman_noise'])}" if pd.notna(pair["spearman_noise"]) else ""
    k = int(pair["top_k"])
    top = (
        f" Of the {k:,} that moved furthest in each, {int(pair['top_shared']):,} are the same; chance gives "
        f"{words.number(pair['top_expected'])}."
        if k
        else ""
    )
    return (
        f"**{words.plain(pair['variant_a'])} and {words.plain(pair['variant_b'])}**: rank correlation "
        f"{words.number(pair['spearman'])} over the {int(pair['n']):,} features that fire in either{noise}.{top}"
    )


def chosen_pair(pairs: pd.DataFrame, variant: str, against: str) -> pd.Series:
    """The row of two variants, whichever comes first."""
    both = pairs["variant_a"].isin([variant, against]) & pairs["variant_b"].isin([variant, against])
    return pairs[both].iloc[0]


def scatter(store: Store, variant: str, against: str, asked: dict) -> None:
    """Two variants side by side; a click on a point opens the feature."""
    found = data.ask(store, compare.side_by_side, variant_a=variant, variant_b=against, **asked, limit=MOST_POINTS)
    if found.empty:
        st.info("No feature fires here in either: choose another domain.", icon=":material/search_off:")
        return
    changed = found[["changed_a", "changed_b"]]
    points = found[["layer", "feature", "label", "shift_a", "shift_b", "changed_a", "changed_b"]].assign(
        name=[words.feature_name(*pair) for pair in zip(found["layer"], found["feature"], strict=True)],
        **{f"said_{side}": said(found[f"verdict_{side}"], changed[f"changed_{side}"]) for side in "ab"},
    )
    limit = f"the {MOST_POINTS:,} that moved furthest in either" if len(points) == MOST_POINTS else f"{len(points):,} features"
    clicked = st.altair_chart(
        compare_charts.shift_scatter(points, variant, against, f"{limit} · dashed: the same shift in both"),
        on_select="rerun",
        selection_mode="point",
        key=f"side_by_side_{link.query()}",
        alt=f"Shift of each feature in {against} against its shift in {variant}",
    )
    st.caption(
        "One mark a feature. Near the diagonal both variants moved it alike; on an axis only one moved it; in the upper left "
        "and lower right they moved it in opposite directions. Click a mark to open it."
    )
    if clicked.selection.get("point"):
        point = clicked.selection["point"][0]
        st.switch_page("views/feature.py", query_params=feature_link(point["layer"], point["feature"], variant))


def said(verdicts: pd.Series, changed: pd.Series) -> list[str]:
    """A verdict in words; where there is none, whether the rule calls it changed."""
    return [v if isinstance(v, str) else "changed" if c else "not changed" for v, c in zip(verdicts, changed, strict=True)]


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
        a, b = (words.plain(run[side]) for side in ("variant_a", "variant_b"))
        st.markdown(
            f"**{a} and {b}**: of the {int(run['called_a']):,} features that changed in {a}, {words.percent(run['from_a'])} "
            f"changed the same way in {b}; of the {int(run['called_b']):,} that changed in {b}, {words.percent(run['from_b'])} "
            f"did in {a}. Where either changed, the two shifts have the same sign in {words.percent(run['signs'])} of cases; "
            f"the rank correlation is {words.number(run['spearman'])}."
        )
    if len(tasks):
        shares = pd.concat([tasks["from_a"], tasks["from_b"]])
        st.markdown(
            f"Between different tasks: {span(shares, words.percent)} changed the same way, the same sign in "
            f"{span(tasks['signs'], words.percent)}, and a rank correlation of {span(tasks['spearman'], words.number)}. What "
            "two runs share beyond that belongs to the task; what they do not share belongs to one training run, or lay just "
            "below what could be called."
        )
    shown = pd.DataFrame(
        {
            "Variant": table["variant_a"],
            "Against": table["variant_b"],
            "They are": np.where(table["same_task"], "runs of one task", "different tasks"),
            "Changed": [words.count(v) for v in table["called_a"]],
            "Changed in other": [words.count(v) for v in table["called_b"]],
            "Same way in both": [words.count(v) for v in table["called_same"]],
            "Opposite": [words.count(v) for v in table["called_opposite"]],
            "Same sign": [words.percent(v) for v in table["signs"]],
            "Rank correlation": [words.number(v) for v in table["spearman"]],
        }
    )
    right = {name: st.column_config.TextColumn(alignment="right") for name in shown.columns[3:]}
    st.dataframe(shown, hide_index=True, column_config=right, height="content" if len(shown) <= 12 else 460)
    st.caption(
        "Same sign: of the features that changed in at least one of the two, the share that moved in the same direction in "
        "both, called or not; 50 % is what chance gives where ups and downs are as many."
    )


def span(values: pd.Series, show: object) -> str:
    """'12 %', or '4 % to 20 %', of what is known."""
    known = values.dropna()
    if known.empty:
        return "–"
    low, high = show(known.min()), show(known.max())
    return low if low == high else f"{low} to {high}"


def second_dictionary(store: Store, variant: str, layer: int, asked: dict) -> None:
    """Whether another dictionary of the layer shows the same shifts."""
    summary = data.ask(store, compare.replica_summary, layer=layer, **asked)
    pairs = data.ask(store, compare.replica_pairs, variant=variant, layer=layer, **asked)
    left, right = st.columns([1.25, 1])
    with left:
        for _, row in summary[summary["changed"]].iterrows():
            st.markdown(of_replica(row, summary[(summary["variant"] == row["variant"]) & ~summary["changed"]].iloc[0]))
        st.caption(
            f"A counterpart is the nearest decoder row of the second dictionary, with a cosine of at least {compare.MATCHED}. "
            "A feature without one is not refuted: the other dictionary divides that part of the space in another way. All "
            "domains together."
        )
    with right:
        if pairs.empty:
            st.info(f"No second dictionary was read for {words.plain(variant)}.", icon=":material/search_off:")
            return
        chart = compare_charts.cosine_profile(cosine_shares(pairs), compare.MATCHED)
        st.altair_chart(chart, key="replica_cosines", alt="How near each feature's counterpart in the second dictionary is")
        st.caption(f"Dashed: {compare.MATCHED}, from which it counts as a counterpart. Variant: {words.plain(variant)}.")


def of_replica(row: pd.Series, others: pd.Series) -> str:
    """One variant's changed features in the second dictionary, in words, beside the features that did not change."""
    name, n, matched = words.plain(row["variant"]), int(row["n"]), int(row["matched"])
    if not n:
        return f"**{name}**: no feature changed."
    text = f"**{name}**: {matched:,} of {n:,} changed features have a counterpart"
    if not matched:
        return f"{text}."
    text += f"; {int(row['same_sign']):,} of these moved in the same direction"
    text += f", {int(row['beyond']):,} of them further than the feature's own floor" if pd.notna(row["beyond"]) else ""
    text += f". Rank correlation of the two shifts: {words.number(row['spearman'])}" if pd.notna(row["spearman"]) else ""
    if others["matched"]:
        share = others["same_sign"] / others["matched"]
        text += f". Of the features that did not change, {words.percent(share)} moved in the same direction"
    return f"{text}."


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
    """The URL of a feature's page, without what belongs to this one."""
    return link.query(**dict.fromkeys(OWN), layer=int(layer), feature=int(feature), variant=variant)


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

tasks = data.ask(store, compare.variant_tasks)
with st.container(**widgets.ROW):
    variant = widgets.pick("Variant", "variant", store.variants, store.variants[0], few=0, forget=("against",))
    others = [name for name in store.variants if name != variant]
    against = widgets.pick("Against", "against", others, others[0], few=0)
    forget = ("p", "selected", "set")
    chosen_layer = widgets.pick("Layer", "layer", [ALL, *store.layers], store.layers[-1], forget=forget, few=8)
    domain = widgets.pick("Domain", "domain", [ALL, *store.domains], ALL, forget=forget, few=0)
layer = None if chosen_layer == ALL else chosen_layer
rules = data.ask(store, compare.change_rules, domain=domain)["rule"].to_list()
with st.container(**widgets.ROW):
    rule, runs = rules[0], "any"
    if len(rules) > 1:
        rule = widgets.pick("A feature changed where", "changed", rules, rules[0], show=RULE_NAMES.get, forget=forget)
    if tasks["n_runs"].max() > 1:
        runs = widgets.pick("A task of several runs counts", "runs", compare.RUNS, "any", show=RUN_NAMES.get, forget=forget)
    widgets.small_badge(store, domain)
asked = {"layer": layer, "domain": domain, "rule": rule}

st.markdown("#### In one task, in several, in all")
sets = data.ask(store, compare.change_sets, **asked, runs=runs)
if sets.empty:
    st.info(
        f"No feature changed here. *Changed* means: {RULE_MEANINGS[rule]}. Choose another layer or domain"
        + (", or another meaning of *changed*." if len(rules) > 1 else "."),
        icon=":material/search_off:",
    )
else:
    of_tasks(sets, tasks, rule, runs)
    chosen = set_chart(sets, tasks)
    total = int(sets.loc[[tuple(found) == chosen for found in sets["tasks"]], "count"].iloc[0])
    page = link.read_number("p", 1, 1, max(1, -(-total // PAGE_SIZE)))
    listed = {**asked, "runs": runs, "tasks": list(chosen)}
    rows = data.ask(store, compare.changed_features, **listed, limit=PAGE_SIZE, offset=(page - 1) * PAGE_SIZE)
    name = names_of(chosen, tasks["task"].nunique())
    st.markdown(f"**Changed in {words.plain(name)}** · shift in each variant, ● where it changed; the furthest first")
    left, right = st.columns([1.45, 1], gap="medium")
    with left:
        selected = feature_table(store, rows)
        file = f"changed_in_{'_'.join(chosen)}_{domain}.csv"
        pager(total, page, file, lambda: tables.csv(compare.changed_features(store, **listed, limit=None)))
    with right:
        one_feature(store, selected, variant)

st.markdown("#### How alike are the shifts")
pairs = None if layer is None else data.ask(store, compare.variant_pairs, **asked)
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
replica_layers = data.ask(store, compare.replica_layers)["layer"].to_list()
if layer in replica_layers:
    second_dictionary(store, variant, layer, {"rule": rule if domain == ALL else None})
elif replica_layers:
    st.caption(f"A second dictionary was read at layer {words.listing([str(n) for n in replica_layers])}: choose it above.")
else:
    st.caption(
        "Not in this store: name a second dictionary of a layer under `replicas` in the configuration, and extract again."
    )
