"""The metrics of layers in words: those of store/metrics/layer_metrics.py, and what the app makes of them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace

from app.words.text import short
from store.metrics import layer_metrics
from store.metrics.layer_metrics import Metric
from store.text import on_one_line

METRICS: Mapping[str, Metric] = ChainMap(
    {
        "claimed": Metric(
            "Features suppressed or amplified", "", None, "How many features changed in every run?", "",
            "in every run, all domains together", low=0, format=",.0f",
        ),
    },
    layer_metrics.METRICS,
)  # fmt: skip
"""Those of the catalogue, and what the app makes of them."""


def metric(name: str) -> Metric:
    """The metric of that name; one that this app has no words for keeps its name."""
    return METRICS.get(name) or Metric(short(on_one_line(name.replace("_", " ")), 40).capitalize(), "", None, "", "")


def read_map(name: str) -> str:
    """How a map of the metric is read: the larger number stands out most, and which end is the change."""
    known = metric(name)
    change = f" {'Lower' if known.sign < 0 else 'Higher'}: more changed." if known.is_change else ""
    return f"The darker (on a dark page: the brighter), the larger the number.{change}"


def relative_metric(name: str) -> Metric:
    """The metric as a share of its largest value (profiles.relative), where a higher one is always a larger change."""
    known = metric(name)
    label = f"1 − {known.label.lower()}" if known.sign < 0 else known.label
    return replace(known, label=label, unit="share of the largest", low=0, high=None, sign=1, format=".2f")
