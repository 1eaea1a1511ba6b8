"""Cosine against overlap: what stands behind the lines, and what they are called."""

import altair as alt
import pandas as pd

from app.charts import overlap_panel
from app.words import palette
from tests.unit.app.charts.parts import inner, layer_rows


def panel_rows():
    """maths and its second run, with two twins each and both of the controls that every run has."""
    one = [
        layer_rows(metric="cosine", control="observed", value=[0.99, 0.95]),
        layer_rows(metric="overlap", control="observed", value=[0.8, 0.5]),
        layer_rows(metric="overlap", control="twin_1", value=[0.7, 0.4]),
        layer_rows(metric="overlap", control="twin_2", value=[0.75, 0.35]),
        layer_rows(metric="overlap", control="isotropic", value=[0.6, 0.45]),
        layer_rows(metric="cosine", control="isotropic", value=[0.9, 0.9]),
        layer_rows(metric="overlap", control="rescaled", value=[0.1, 0.1]),
    ]
    rows = pd.concat(one, ignore_index=True)
    return pd.concat([rows, rows.assign(variant="maths-b", value=rows["value"] - 0.01)], ignore_index=True)


def drawn(spec, part):
    """The rows behind one mark."""
    return spec["datasets"][part["data"]["name"]]


def test_behind_the_lines_stand_the_twins_and_the_floor_of_the_first_run_alone():
    spec = overlap_panel.panel(panel_rows(), "maths", "maths", "#123456").to_dict()
    (area,) = inner(spec, "area")
    assert [(row["metric"], row["layer"], row["low"], row["high"]) for row in drawn(spec, area)] == [
        ("overlap", 5, 0.7, 0.75), ("overlap", 12, 0.35, 0.4),
    ]  # fmt: skip
    floor = inner(spec, "line")[0]
    assert [(row["control"], row["value"]) for row in drawn(spec, floor)] == [("isotropic", 0.6), ("isotropic", 0.45)]
    assert area["mark"]["color"] == floor["mark"]["color"] == palette.CONTROL_COLOUR


def test_the_names_stand_at_the_last_layer_clear_of_what_is_drawn():
    """Above cosine's highest line there, and below the lowest of overlap's, a twin's."""
    spec = overlap_panel.panel(panel_rows(), "maths", "maths", "#123456").to_dict()
    names = [row for part in inner(spec, "text") for row in drawn(spec, part)]
    assert [(row["text"], row["layer"], row["at"]) for row in names] == [("cosine 0.95", 12, 0.95), ("overlap 0.50", 12, 0.35)]


def test_every_panel_has_the_scale_from_0_to_1_or_from_below():
    def ends(**other):
        spec = overlap_panel.panel(panel_rows(), "maths", "maths", "#123456", **other).to_dict()
        return spec["layer"][-1]["encoding"]["y"]["scale"]["domain"]

    assert ends() == ends(lowest=0.3) == [0.0, 1]
    assert ends(lowest=-0.2) == [-0.2, 1]


def test_without_twins_and_controls_the_lines_stand_alone():
    rows = panel_rows()
    spec = overlap_panel.panel(rows[rows["control"] == "observed"], "maths", "maths", "#123456").to_dict()
    assert not inner(spec, "area")
    alt.LayerChart.from_dict(spec)
