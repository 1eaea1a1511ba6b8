"""Every layer metric over depth as small multiples, by variant, domain or segment, beside twins and controls."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import axes, profiles
from app.components import badges, pickers, runs
from app.markup import contexts
from app.words import meanings, metrics, palette
from store.metrics import layer_metrics
from store.names import ALL, CONTROLS, OBSERVED, TWIN
from store.read.store import Store

BY = {"variant": "Variants", "domain": "Domains", "segment": "Segments"}
EVERY, NONE = "all", "none"
MEASURED, RELATIVE = "measured", "relative"
OWN = ("by", "beside", "scale", "focus")
"""Parameters of this part alone."""
TWINS_SAID = "Bands with dash-dotted edges: twins, from the lowest random change of the weights of that size to the highest."
SCALES = {MEASURED: "As measured", RELATIVE: "Share of the largest"}


def show(store: Store) -> None:
    """The pickers, a small chart a metric, and the numbers behind them."""
    replicates = runs.firsts(store)
    known = set(data.ask(store, Store.controls)["control"])
    twins = sorted(name for name in known if name.startswith(TWIN))
    computed = ([meanings.TWINS] if twins else []) + [control for control in CONTROLS if control in known]
    with st.container(**pickers.ROW):
        by = pickers.pick("Compare", "by", list(BY), "variant", show=BY.get)
        variant = None if by == "variant" else pickers.pick_variant(store)
        domain = ALL if by == "domain" else pickers.pick_domain(store)
        beside = _pick_beside(computed)
        badges.no_twins(store)
        scale, focus = _pick_scale(store, replicates) if by == "variant" and len(store.variants) > 1 else (MEASURED, EVERY)

    table = data.ask(
        store,
        Store.layer_metrics,
        variant=variant,
        domain=None if by == "domain" else domain,
        segment=None if by == "segment" else ALL,
    )
    observed = table[table["control"] == OBSERVED]
    if observed.empty:
        st.info("No token counts here: choose another domain.", icon=":material/search_off:")
        return
    drawn = [] if beside == NONE else computed if beside == EVERY else [beside]
    controls = [control for name in drawn for control in (twins if name == meanings.TWINS else [name])]
    order = {"variant": list(replicates), "domain": [ALL, *store.domains], "segment": [ALL, *store.segments]}[by]
    order = [name for name in order if name in set(observed[by])]
    looks = runs.looks(store) if by == "variant" else axes.series_looks(order)
    names = {name: runs.name(store, name) if by == "variant" else name for name in order}
    st.html(contexts.series_legend(_legend([(names[name], looks[name]) for name in order], drawn)))
    st.caption(_said(observed, meanings.TWINS in drawn and len(order) <= profiles.MOST_BESIDE))

    table = table[table["control"].isin([OBSERVED, *controls])]
    panels = layer_metrics.panels()
    others = sorted(set(observed["metric"]) - {name for names in panels.values() for name in names})
    constant: dict[float, list[str]] = {}
    for heading, measured in (panels | {"More": others}).items():
        found = {name: rows for name in measured if len(rows := table[table["metric"] == name])}
        values = {name: profiles.constant(rows) for name, rows in found.items()}
        for name, value in values.items():
            if value is not None:
                constant.setdefault(value, []).append(metrics.metric(name).label)
        varying = [name for name, value in values.items() if value is None]
        if not varying:
            continue
        st.markdown(f"### {heading}")
        panel = st.container(horizontal=True)
        for name in varying:
            with panel.container(width=axes.PANEL_WIDTH):
                here = profiles.relative(found[name], name) if scale == RELATIVE else found[name]
                is_observed = here["control"] == OBSERVED
                chart = profiles.profile(
                    here[is_observed], name, by, order, here[~is_observed],
                    None if focus == EVERY else focus, scale == RELATIVE, looks, data.chart,
                )  # fmt: skip
                _draw(chart, name, by, variant)
    for value, labels in constant.items():
        st.caption(f"{words.number(value)} at every layer in all {BY[by].lower()}: {words.plain(words.listing(labels))}.")
    with st.expander("The numbers"):
        wide = table.pivot_table(index=[by, "layer", "control"], columns="metric", values="value", dropna=False)
        st.dataframe(wide.dropna(how="all").reset_index(), hide_index=True)


def _pick_beside(computed: Sequence[str]) -> str:
    """What stands beside the lines: 'twins', a control, every one or none; of a store without any nothing is asked."""
    if not computed:
        return NONE
    options = [*computed, *([EVERY] if len(computed) > 1 else []), NONE]
    return pickers.pick(
        "Beside", "beside", options, computed[0], show=lambda name: name.replace("_", " "), few=7,
        help="What stands beside the variant. "
        + "; ".join(f"**{control.replace('_', ' ')}**: {meanings.CONTROL_NAMES[control]}" for control in computed) + ".",
    )  # fmt: skip


def _pick_scale(store: Store, variants: Sequence[str]) -> tuple[str, str]:
    """(as measured or relative, the variant that stands out or EVERY)."""
    scale = pickers.pick(
        "Scale", "scale", list(SCALES), MEASURED, show=SCALES.get,
        help="Share of the largest: each metric divided by its largest size over all variants and layers; of cosines and "
        "overlaps, 1 − value. So the profiles of a strong and a weak fine-tune can be laid over each other.",
    )  # fmt: skip
    options = [EVERY, *variants]
    return scale, pickers.pick(
        "Highlight", "focus", options, EVERY, lambda name: runs.name(store, name) if name != EVERY else EVERY
    )


def _legend(series: Sequence[tuple[str, axes.Look]], drawn: Sequence[str]) -> list[tuple[str, str, str, int]]:
    """The lines and what stands beside them, as contexts.series_legend takes them."""
    legend = [(name, *look, 3) for name, look in series]
    if len(series) > profiles.MOST_BESIDE:
        if drawn:
            named = words.listing([meanings.CONTROL_NAMES[control] for control in drawn])
            legend.append((f"{named}: from the lowest to the highest over all lines", palette.CONTROL_COLOUR, "solid", 8))
        return legend
    suffix = "" if len(series) == 1 else ", in each line's colour"
    lines = palette.CONTROL_LINES | {meanings.TWINS: ("solid", 8)}
    return legend + [(meanings.CONTROL_NAMES[control] + suffix, palette.CONTROL_COLOUR, *lines[control]) for control in drawn]


def _said(observed: pd.DataFrame, has_bands: bool) -> str:
    """What the bands are, and what a click does; has_bands: whether each line has one of its twins."""
    if observed["low"].notna().any():
        said = "Bands around the lines: 95 % intervals over clusters."
    else:
        said = "Too few clusters for intervals, or none computed."
    if has_bands:
        said += f" {TWINS_SAID}"
    return f"{said} Click a point for the features behind it."


def _draw(chart: dict, name: str, by: str, variant: str | None) -> None:
    """One metric's chart; a click on a point opens the features behind it."""
    clicked = st.vega_lite_chart(
        spec=chart,
        on_select="rerun",
        selection_mode="point",
        key=f"profile_{name}_{link.query()}",
        alt=f"{metrics.metric(name).label} by layer, a line a {by}",
    )
    st.caption(metrics.metric(name).question)
    if clicked.selection.get("point"):
        point = clicked.selection["point"][0]
        place = {"variant": variant, "layer": int(point["layer"])} | ({} if by == "segment" else {by: point[by]})
        st.switch_page("views/features.py", query_params=link.query(**place, view=None, **dict.fromkeys(OWN)))
