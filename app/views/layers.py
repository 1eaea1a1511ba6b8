"""Layers: every layer metric over depth as small multiples, by variant, domain or segment, beside twins and controls."""

import streamlit as st

from app import data, link, words
from app.charts import axes, profiles
from app.components import badges, learning, pickers, runs
from app.markup import contexts
from app.words import meanings, metrics, palette
from store.metrics import layer_metrics
from store.names import ALL, CONTROLS, OBSERVED, TWIN
from store.read.store import Store

TITLE = "Layers"
ICON = ":material/stacked_line_chart:"
ORDER = 20

BY = {"variant": "Variants", "domain": "Domains", "segment": "Segments"}
WIDTH = 262  # pixels; four stand side by side at 1440, two at 1024
EVERY, NONE = "all", "none"
MEASURED, RELATIVE = "measured", "relative"
OWN = ("by", "beside", "scale", "focus")  # parameters that other pages do not know
SCALES = {MEASURED: "As measured", RELATIVE: "Share of the largest"}

store = data.current()
st.markdown(f"## {TITLE}")
st.caption("How far each variant is from the base, layer by layer. The same tokens in both; sinks and padding left out.")

learning.profiles(store)
learning.curves(store)
learning.taken_back(store)

replicates = runs.firsts(store)
known = set(data.ask(store, Store.controls)["control"])
twins = sorted(name for name in known if name.startswith(TWIN))
computed = ([meanings.TWINS] if twins else []) + [control for control in CONTROLS if control in known]
with st.container(**pickers.ROW):
    by = pickers.pick("Compare", "by", list(BY), "variant", show=BY.get)
    variant = None if by == "variant" else pickers.pick_variant(store)
    domain = ALL if by != "variant" else pickers.pick_domain(store)
    beside = NONE
    if computed:
        options = [*computed, *([EVERY] if len(computed) > 1 else []), NONE]
        beside = pickers.pick(
            "Beside", "beside", options, computed[0], show=lambda name: name.replace("_", " "), few=7,
            help="What stands beside the variant. "
            + "; ".join(f"**{control.replace('_', ' ')}**: {meanings.CONTROL_NAMES[control]}" for control in computed) + ".",
        )  # fmt: skip
    badges.no_twins(store)

    scale, focus = MEASURED, EVERY
    if by == "variant" and len(store.variants) > 1:
        scale = pickers.pick(
            "Scale", "scale", list(SCALES), MEASURED, show=SCALES.get,
            help="Share of the largest: each metric divided by its largest size over all variants and layers; of cosines and "
            "overlaps, 1 − value. So the profiles of a strong and a weak fine-tune can be laid over each other.",
        )  # fmt: skip
        focus = pickers.pick(
            "Highlight", "focus", [EVERY, *replicates], EVERY, lambda name: runs.name(store, name) if name != EVERY else EVERY
        )  # fmt: skip

table = data.ask(
    store,
    Store.layer_metrics,
    variant=variant,
    domain=None if by == "domain" else domain,
    segment=None if by == "segment" else ALL,
)
observed = table[table["control"] == OBSERVED]
drawn = [] if beside == NONE else computed if beside == EVERY else [beside]
controls = [control for name in drawn for control in (twins if name == meanings.TWINS else [name])]
order = {"variant": list(replicates), "domain": [ALL, *store.domains], "segment": [ALL, *store.segments]}[by]
order = [name for name in order if name in set(observed[by])]
if observed.empty:
    st.info("No token counts here: choose another domain.", icon=":material/search_off:")
    st.stop()

of_runs = replicates if by == "variant" else None
looks = axes.series_looks(order, of_runs)
names = order if of_runs is None else [runs.name(store, name) for name in order]
legend = [(name, colour, style, 3) for name, (colour, style) in zip(names, looks, strict=True)]
if len(order) > profiles.MOST_BESIDE:
    if drawn:
        named = words.listing([meanings.CONTROL_NAMES[control] for control in drawn])
        legend.append((f"{named}: from the lowest to the highest over all lines", palette.CONTROL_COLOUR, "solid", 8))
else:
    suffix = "" if len(order) == 1 else ", in each line's colour"
    lines = palette.CONTROL_LINES | {meanings.TWINS: ("solid", 8)}
    legend += [(meanings.CONTROL_NAMES[control] + suffix, palette.CONTROL_COLOUR, *lines[control]) for control in drawn]
st.html(contexts.series_legend(legend))
if observed["low"].notna().any():
    said = "Bands around the lines: 95 % intervals over clusters."
else:
    said = "Too few clusters for intervals, or none computed."
if meanings.TWINS in drawn:
    said += " Bands with dash-dotted edges: twins, from the lowest random change of the weights of that size to the highest."
st.caption(f"{said} Click a point for the features behind it.")
measured = set(observed["metric"])
panels = layer_metrics.panels()
others = sorted(measured - {name for names in panels.values() for name in names})
for heading, names in (panels | {"More": others}).items():
    shown = [name for name in names if name in measured]
    if not shown:
        continue
    st.markdown(f"### {heading}")
    panel = st.container(horizontal=True)
    for name in shown:
        with panel.container(width=WIDTH):
            here = table[table["metric"] == name]
            if scale == RELATIVE:
                here = profiles.relative(here, name)
            lines, others_there = here[here["control"] == OBSERVED], here[here["control"].isin(controls)]
            chart = profiles.profile(
                lines, name, by, order, others_there, None if focus == EVERY else focus, scale == RELATIVE, of_runs
            )
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
                st.switch_page("views/features.py", query_params=link.query(**place, **dict.fromkeys(OWN)))

with st.expander("The numbers"):
    rows = table[table["control"].isin([OBSERVED, *controls])]
    wide = rows.pivot_table(index=[by, "layer", "control"], columns="metric", values="value", dropna=False)
    st.dataframe(wide.dropna(how="all").reset_index(), hide_index=True)
