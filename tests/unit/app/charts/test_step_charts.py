"""Charts over the steps of a training: what is drawn, and that steps stand as far apart as they are."""

import pandas as pd
import pytest

from app.charts import step_charts
from store.names import OBSERVED
from tests.unit.app.charts.parts import inner, marks, values


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ([0, 100, 200, 300], None),
        ([100, 200, 400], None),
        ([0, 1, 2, 4, 8, 16], "symlog"),
        ([10, 20, 1000], "symlog"),
        ([7], None),
    ],
)
def test_steps_that_double_stand_by_their_logarithms(steps, kind):
    x = step_charts.step_axis(steps).to_dict()
    assert x["scale"].get("type") == kind and x["scale"]["domain"] == [steps[0], steps[-1]]
    assert x["axis"]["values"] == steps and x["title"] == "optimiser step"


def layer_rows(**changes):
    rows = pd.DataFrame(
        {"step": [1, 2, 1, 2, 1, 2], "control": [OBSERVED] * 2 + ["twin_1"] * 2 + ["twin_2"] * 2, "variant": "m",
         "metric": "overlap", "value": [0.9, 0.7, 0.8, 0.75, 0.85, 0.65], "low": [0.88, 0.6] + [None] * 4,
         "high": [0.92, 0.8] + [None] * 4, "n_tokens": 9, "n_clusters": 3, "series": "m", "is_repeat": False}
    )  # fmt: skip
    return rows.assign(**changes)


def test_a_layer_stands_over_the_band_of_its_twins():
    spec = step_charts.layer_panel(layer_rows(), 5, "#123456", ["overlap"], (0.5, 1.0)).to_dict()
    bands = [row for row in values(spec) if set(row) == {"metric", "called", "step", "low", "high"}]
    assert [(row["step"], row["low"], row["high"]) for row in bands] == [(1, 0.8, 0.85), (2, 0.65, 0.75)]
    assert spec["title"]["text"] == "layer 5" and "area" in marks(spec)
    alone = layer_rows()
    alone = alone[alone["control"] == OBSERVED]
    assert "area" not in marks(step_charts.layer_panel(alone, 5, "#123456", ["overlap"], (0.5, 1.0)).to_dict())


def test_each_other_run_of_a_training_has_a_line_of_its_own():
    rows = pd.concat([layer_rows(series=of, is_repeat=of != "m") for of in ("m", "m-seed2", "m-seed3")])
    spec = step_charts.layer_panel(rows, 5, "#123456", ["overlap"], (0.5, 1.0)).to_dict()
    lines = inner(spec, "line")
    assert len(lines) == 2  # the first run's, thick, and the others'
    for line in lines:
        assert [of["field"] for of in line["encoding"]["detail"]] == ["metric", "series"]
    drawn = [row for row in values(spec) if row.get("control") == OBSERVED and row["is_repeat"]]
    assert {row["series"] for row in drawn} == {"m-seed2", "m-seed3"}


def feature_rows(**changes):
    rows = pd.DataFrame(
        {"step": [0, 10, 20], "variant": "m", "change": [0.0, -0.6, -0.8], "change_low": [0.0, -0.7, -0.9],
         "change_high": [0.0, -0.5, -0.7], "twin_low": -0.1, "twin_high": 0.2, "mean_base": 2.0,
         "mean_variant": [2.0, 0.8, 0.4], "verdict": ["steady", "suppressed", "suppressed"]}
    )  # fmt: skip
    return rows.assign(**changes)


def test_an_onset_is_a_line_with_its_step_and_none_where_there_is_none():
    spec = step_charts.feature_change(feature_rows(), 10, 0.4).to_dict()
    (text,) = inner(spec, "text")
    assert [row["text"] for row in values(spec) if "text" in row] == ["onset 10"] and text["mark"]["align"] == "left"
    assert [row["change"] for row in values(spec) if set(row) == {"change"}] == [-0.4, 0, 0.4]
    late = step_charts.feature_change(feature_rows(), 20, 0.4).to_dict()
    assert inner(late, "text")[0]["mark"]["align"] == "right"
    assert not inner(step_charts.feature_change(feature_rows(), None, 0.5).to_dict(), "text")


def test_a_step_where_it_fires_in_neither_is_left_out():
    drawn = values(step_charts.feature_change(feature_rows(change=[None, -0.6, -0.8]), None, 0.5).to_dict())
    assert [row["step"] for row in drawn if "verdict" in row] == [10, 20]


def test_a_level_stands_beside_the_base_s():
    spec = step_charts.feature_level(feature_rows()).to_dict()
    assert [row["mean"] for row in values(spec) if "what" in row] == [2.0]
    assert [row["mean"] for row in values(spec) if "verdict" in row] == [2.0, 0.8, 0.4]


def test_what_was_learned_has_its_twins_and_zero():
    rows = pd.DataFrame(
        {"step": [1, 2, 1, 2], "variant": "m", "control": [OBSERVED, OBSERVED, "twin_1", "twin_1"],
         "gain": [0.1, 0.5, -0.1, -0.2], "low": 0.0, "high": 0.6, "n_clusters": 8}
    )  # fmt: skip
    spec = step_charts.learned(rows, "its own task", "#123456").to_dict()
    assert {"area", "line", "point", "rule"} <= set(marks(spec))
    assert [row["low"] for row in values(spec) if "called" in row and "low" in row] == [-0.1, -0.2]
