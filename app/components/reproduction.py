"""What another training run of a recipe, or another dictionary of a layer, shows again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from app import data, words
from app.charts import variant_charts
from app.components import tables
from app.words import comparison
from store.metrics.thresholds import SAME_DIRECTION
from store.read.store import Store


def repeats(pairs: pd.DataFrame, domain: str) -> None:
    """What another run of a recipe reproduces, beside what recipes share: of material changes on a domain's tokens."""
    table = pairs.assign(
        from_a=pairs["called_same"] / pairs["called_a"].where(pairs["called_a"] > 0),
        from_b=pairs["called_same"] / pairs["called_b"].where(pairs["called_b"] > 0),
        signs=pairs["signs_agree"] / pairs["called_either"].where(pairs["called_either"] > 0),
    )
    runs, others = table[table["same_task"]], table[~table["same_task"]]
    if runs.empty:
        st.info(
            "No recipe was run twice here. Train one with a second seed and add it to the configuration with `replicate_of`: "
            "only then can one tell what a recipe does from what one training run happened to do.",
            icon=":material/casino:",
        )
        return
    st.markdown(comparison.repeated(runs, others))
    _pairs(runs)
    if len(others):
        with st.expander("Runs of different recipes"):
            _pairs(others)
    st.caption(f"{comparison.REPEATED.format(seen=comparison.seen(domain))} {comparison.SAME_SIGN}")


def _pairs(rows: pd.DataFrame) -> None:
    """A table, a row a pair of variants."""
    shown = pd.DataFrame(
        {
            "A": rows["variant_a"],
            "B": rows["variant_b"],
            "Changed in A": [words.count(v) for v in rows["called_a"]],
            "Changed in B": [words.count(v) for v in rows["called_b"]],
            "Same way in both": [words.count(v) for v in rows["called_same"]],
            "Opposite": [words.count(v) for v in rows["called_opposite"]],
            "Same sign": [words.percent(v) for v in rows["signs"]],
            "Correlation": [words.number(v) for v in rows["correlation"]],
            "Over": [words.count(v) for v in rows["n_seen"]],
        }
    )
    config = tables.right_aligned(shown.columns[2:])
    config["Over"] = st.column_config.TextColumn(
        "Over", help="Features of which a change could have been seen in both.", alignment="right", width="small"
    )
    st.dataframe(shown, hide_index=True, column_config=config, height=table_height(shown))


def second_dictionary(store: Store, variant: str, layer: int, rule: str | None) -> None:
    """Whether another dictionary of the layer shows the same shifts."""
    summary = data.ask(store, Store.replica_summary, layer=layer, rule=rule)
    pairs = data.ask(store, Store.replica_pairs, variant=variant, layer=layer, rule=rule)
    if pairs.empty:
        st.info(f"No second dictionary was read for {words.plain(variant)}.", icon=":material/search_off:")
    else:
        left, right = st.columns([1.1, 1], gap="medium")
        changed, others = (summary[(summary["variant"] == variant) & (summary["changed"] == c)].iloc[0] for c in (True, False))
        left.markdown(comparison.replica(changed, others))
        left.caption(f"Layer {layer}. {comparison.COUNTERPART}")
        drawn = data.chart(variant_charts.cosine_profile, variant_charts.cosine_shares(pairs), SAME_DIRECTION)
        right.vega_lite_chart(spec=drawn, key="replica_cosines", alt="How near each feature's nearest counterpart is")
        right.caption(f"Features of {words.plain(variant)}. Dashed: {SAME_DIRECTION}, from which one has a counterpart.")
    shown = pd.DataFrame(
        {
            "Variant": summary["variant"],
            "Features": np.where(summary["changed"], "changed", "all others"),
            "Number": [words.count(v) for v in summary["n"]],
            "With a counterpart": [words.count(v) for v in summary["matched"]],
            "Same direction": [words.count(v) for v in summary["same_sign"]],
            "Rank correlation": [words.number(v) for v in summary["spearman"]],
        }
    )
    st.dataframe(shown, hide_index=True, column_config=tables.right_aligned(shown.columns[2:]), height=table_height(shown))


def table_height(rows: pd.DataFrame) -> int | str:
    """A table's own height, up to a dozen rows; beyond them it scrolls."""
    return "content" if len(rows) <= 12 else 460
