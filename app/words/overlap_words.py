"""Cosine against overlap in two sentences: numbers -> Markdown with every name escaped; no Streamlit in here."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from app.words.text import plain
from store.metrics.change_summary import RANDOM
from store.numbers import fixed, listing


def sentence(rows: pd.DataFrame, levels: Mapping[str, Mapping[int, str]]) -> str:
    """How far cosine and overlap fall, and whether the size of the change explains the overlap.

    Args:
        rows: variant, layer, metric ('cosine' or 'overlap'), value; of each recipe's first run.
        levels: variant -> layer -> what was decided of its overlap (:attr:`store.metrics.change_summary.Sentence.level`).
    """
    known = rows.dropna(subset="value")
    cosine, overlap = (known[known["metric"] == metric].reset_index(drop=True) for metric in ("cosine", "overlap"))
    if cosine.empty or overlap.empty:
        return "Cosine and overlap are not defined here."
    lowest = overlap.loc[overlap["value"].idxmin()]
    at_least = math.floor(100 * cosine["value"].min() + 1e-6) / 100
    said = (
        f"Cosine stays at **{fixed(at_least, 2)}** or more while overlap goes down to **{fixed(lowest['value'], 2)}** "
        f"({plain(lowest['variant'])}, layer {int(lowest['layer'])})."
    )
    return f"{said} {_explained(levels)}"


def _explained(levels: Mapping[str, Mapping[int, str]]) -> str:
    """At how many layers random changes of the size do as much; where they do not, by name."""
    judged = [level for of_layer in levels.values() for level in of_layer.values() if level in ("explained", "lower")]
    explained, every = judged.count("explained"), sum(map(len, levels.values()))
    open_ = f" At {every - len(judged)} of {every} layers nothing stands beside it." if every > len(judged) else ""
    if not judged:
        return f"Nothing stands beside it, so that this says nothing about the training: {RANDOM} may do as much."
    if explained == len(judged):
        where = f"at {_all(len(judged), every)}" if len(levels) == 1 else "at every layer of every recipe"
        where = f"at {len(judged)} of {every} layers" if open_ else where
        return f"{RANDOM.capitalize()} do as much: overlap is explained by the size of the change {where}.{open_}"
    lower = {name: [layer for layer, level in of_layer.items() if level == "lower"] for name, of_layer in levels.items()}
    places = listing([f"{plain(name)} at {_layers(layers)}" for name, layers in lower.items() if layers])
    over = " over all recipes" if len(levels) > 1 else ""
    return (
        f"It is explained by the size of the change at {explained} of {len(judged)} layers{over}; fewer features stay on than "
        f"under {RANDOM} in {places}.{open_}"
    )


def _all(n: int, every: int) -> str:
    return "its one layer" if every == 1 else f"{n} of {every} layers"


def _layers(layers: list[int]) -> str:
    return f"layer{'s' if len(layers) > 1 else ''} {listing([str(layer) for layer in layers])}"
