"""A metric of a layer is one entry of the catalogue: its value, interval, excess, words and definition follow from that."""

import numpy as np
import pytest

from app.words import metrics
from store.format.document_sums import DOCUMENT_SUMS
from store.metrics import definitions, layer_metrics
from store.metrics.estimates import Estimate
from store.metrics.intervals import excess_intervals, intervals
from store.metrics.layer_metrics import METRICS, Metric, layer_values


@pytest.fixture
def made_up(monkeypatch):
    """'moved_codes': a function of two sums that no metric has."""
    metric = Metric(
        "Moved codes", "sqrt(1 − mean ‖b − a‖₁ / max)", lambda group: (1 - group.ratio("l1_divergence", "maximum")).sqrt(),
        "Is this made up?", "Made up", "share of codes", 0, 1, sign=-1, has_excess=True,
    )  # fmt: skip
    monkeypatch.setitem(METRICS, "moved_codes", metric)


def documents(l1_divergence):
    """60 documents of 5 tokens."""
    sums = dict.fromkeys(DOCUMENT_SUMS, np.full(60, 5.0))
    return sums | {"l1_divergence": np.asarray(l1_divergence, dtype=float), "maximum": np.full(60, 10.0)}


def test_a_metric_of_the_catalogue_alone_has_value_interval_excess_and_words(made_up):
    sums, domain = documents(np.tile([5.0, 7.8], 30)), np.repeat("a", 60)
    added = {name: float(values.sum()) for name, values in sums.items()}
    assert layer_values(added, 1.0, 1.0, 1.0)["moved_codes"] == pytest.approx(0.6)  # 1 - 6.4 / 10 = 0.36
    where = (domain, np.arange(60))
    low, high = intervals(sums, *where, base_total_norm2=1.0, variant_total_norm2=1.0, mean_norm=1.0)["moved_codes"]
    # The mean of the 60 ratios has se = 0.14 sqrt(60 / 59) / sqrt(60); the root's derivative is 0.5 / 0.6.
    half = 2.001 * 0.14 / 59**0.5 * 0.5 / 0.6
    assert ((low + high) / 2, (high - low) / 2) == (pytest.approx(0.6), pytest.approx(half, rel=0.03))
    control = documents(np.tile([5.1, 5.1], 30))
    excess, *_ = excess_intervals(sums, control, *where, observed_total_norm2=1.0, control_total_norm2=1.0)["moved_codes"]
    assert excess == pytest.approx(0.7 - 0.6)  # lower is more
    assert metrics.metric("moved_codes").label == "Moved codes" and metrics.metric("moved_codes").scale == "share of codes"
    assert metrics.relative_metric("moved_codes").label == "1 − moved codes"
    assert layer_metrics.panels()["Made up"] == ["moved_codes"]
    defined = {row[0]: row[1:] for section in definitions.sections() for row in section.rows}
    assert defined["`moved_codes`"] == ("sqrt(1 − mean ‖b − a‖₁ / max)", "share of codes, 0 … 1", "control − observed")


def test_functions_of_an_estimate_carry_its_influence_by_their_derivative():
    of, step = np.array([0.5, -2.0]), 1e-6

    def by_hand(function):
        return (function(4.0 + step) - function(4.0 - step)) / (2 * step) * of

    for estimate, function in (
        (Estimate(4.0, of).sqrt(), lambda x: x**0.5),
        (Estimate(4.0, of).rsqrt(3.0), lambda x: 3 / x**0.5),
        (1 - Estimate(4.0, of), lambda x: 1 - x),
    ):
        assert estimate.value == function(4.0)
        np.testing.assert_allclose(estimate.influence, by_hand(function), rtol=1e-8)


def test_a_metric_has_one_direction():
    """The sign of its excess is the direction of its profile: what the dictionary misses of a change counts as more."""
    for name, metric in METRICS.items():
        assert metric.excess(0.75, 0.5) == metric.sign * 0.25
        assert metrics.relative_metric(name).label.startswith("1 − ") == (metric.sign < 0)
    assert METRICS["delta_coverage"].sign == -METRICS["fvu_variant"].sign == -1


def test_ranges_are_those_of_the_definitions():
    assert METRICS["mean_alignment"].high is None  # a domain whose norms are below the pilot's
    few = dict.fromkeys(DOCUMENT_SUMS, 1.0) | {"n_tokens": 4.0, "base_norm2": 1.0}
    assert layer_values(few, 1.0, 1.0, mean_norm=1.0)["mean_alignment"] == 2
    for metric in METRICS.values():
        assert metric.low is None or metric.high is None or metric.low < metric.high
