"""Numbers as a person reads them: one rule for each kind."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from store import numbers


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (float("nan"), "–"), (0.0, "0"), (0.45312, "0.453"), (1.23456e-05, "<0.001"), (-1.5, "-1.50"),
     (12.34, "12.3"), (431.2, "431"), (12345.6, "12,346"), (0.9999, "1.00"), (9.996, "10.0"), (-0.0001, "-<0.001")],
)  # fmt: skip
def test_a_measurement_has_three_digits(value, shown):
    assert numbers.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (math.inf, "–"), (0.0, "0"), (0.2, "0.2"), (0.125, "0.125"), (1.234e-05, "1.23e-05"), (-69.54, "-69.5"),
     (2200.0, "2.2e+03")],
)  # fmt: skip
def test_a_measurement_of_any_size_has_three_significant_digits(value, shown):
    assert numbers.significant(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0 %"), (0.012, "1.2 %"), (1.23456e-05, "<0.01 %"), (0.0042, "0.42 %"), (0.45, "45 %"), (1.0, "100 %"),
     (-0.042, "-4.2 %"), (-1e-6, "-<0.01 %")],
)  # fmt: skip
def test_a_share_is_a_percentage_of_two_significant_digits(value, shown):
    assert numbers.percent(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0, "0 %"), (0.0042, "0.4 %"), (0.0004, "<0.1 %"), (0.12, "12 %")])
def test_a_coarse_percentage_has_one_digit_after_the_point(value, shown):
    assert numbers.percent(value, 1) == shown


def test_what_stands_in_a_column_has_the_same_digits():
    assert [numbers.fixed(value, 3) for value in (0.5, -1.25, None, math.nan)] == ["0.500", "-1.250", "–", "–"]
    assert numbers.fixed(0.02, 3, signed=True) == "+0.020"


def test_a_rise_has_a_sign_where_falls_have_one():
    assert (numbers.number(2.0, signed=True), numbers.number(0.0, signed=True)) == ("+2.00", "0")
    assert (numbers.significant(0.05, signed=True), numbers.significant(0.0, signed=True)) == ("+0.05", "0")


def test_probabilities_multiples_and_counts():
    assert [numbers.probability(q) for q in (None, 5e-5, 0.00042, 0.012, 0.5)] == ["–", "<0.0001", "0.0004", "0.012", "0.50"]
    assert [numbers.ratio(value) for value in (None, 13.57, math.inf)] == ["–", "13.6×", "beyond any"]
    assert [numbers.count(value) for value in (None, 12345.0)] == ["–", "12,345"]
    assert [numbers.counted(many, "feature") for many in (0, 1, 2000)] == ["0 features", "1 feature", "2,000 features"]


def test_times_and_lists():
    assert numbers.utc("2026-03-04T05:06:07.123+00:00") == "2026-03-04 05:06:07 UTC"
    assert [numbers.listing(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert numbers.listed({3: "x", 5: "y"}) == "3, 5"


def test_values_of_a_frame_become_json():
    found = numbers.json_value({"a": np.float32("nan"), "b": [np.int64(3), pd.NA], "c": np.array([1.5, math.inf]), "d": "x"})
    assert json.dumps(found) == '{"a": null, "b": [3, null], "c": [1.5, null], "d": "x"}'
