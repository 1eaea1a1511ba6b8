"""Profiles: what stands beside a line, and which lines look alike."""

import altair as alt
import pandas as pd
import pytest

from app.charts import axes, layer_charts, profiles
from app.words import metrics, palette
from tests.unit.app.charts.parts import inner, layer_rows, marks, values


@pytest.mark.parametrize("metric", list(metrics.METRICS))
def test_every_metric_has_a_profile_and_a_map(metric):
    spec = profiles.profile(layer_rows(), metric, "variant", ["maths"])
    alt.LayerChart.from_dict(spec)  # checks it against Vega-Lite's schema
    assert spec["title"]["text"] == metrics.METRICS[metric].label
    assert spec["title"]["subtitle"] == metrics.METRICS[metric].scale
    assert layer_charts.heat_map(layer_rows(), metric, ["maths"]).to_dict()


def test_a_profile_shows_an_interval_only_where_there_is_one():
    assert marks(profiles.profile(layer_rows(), "cosine", "variant", ["maths"])) == ["line", "point"]
    with_interval = profiles.profile(layer_rows(low=[0.8, 0.3], high=[0.95, 0.5]), "cosine", "variant", ["maths"])
    assert marks(with_interval) == ["area", "line", "point"]


def control_rows(**changes):
    return pd.concat([layer_rows(value=[0.8, 0.5], control=control) for control in ("isotropic", "shuffled")]).assign(**changes)


def test_controls_of_one_line_are_grey_and_dashed_each_in_its_way():
    spec = profiles.profile(layer_rows(), "overlap", "variant", ["maths"], control_rows())
    lines = inner(spec, "line")
    assert [line["mark"].get("color") for line in lines] == [palette.CONTROL_COLOUR] * 2 + [None]
    assert lines[0]["mark"]["strokeDash"] != lines[1]["mark"]["strokeDash"]


def test_controls_of_several_lines_have_the_lines_colours():
    both = pd.concat([layer_rows(), layer_rows(variant="safety")])
    spec = profiles.profile(both, "overlap", "variant", ["maths", "safety"], control_rows())
    alt.LayerChart.from_dict(spec)
    control = inner(spec, "line")[0]
    assert control["encoding"]["color"]["field"] == "variant"
    assert "color" not in control["mark"]


def test_controls_of_many_lines_are_one_band_from_lowest_to_highest():
    names = [f"d{i}" for i in range(profiles.MOST_BESIDE + 1)]
    rows = pd.concat([layer_rows(variant=name) for name in names])
    controls = pd.concat([layer_rows(variant=name, control="isotropic", value=[0.1 * i, 0.5]) for i, name in enumerate(names)])
    spec = profiles.profile(rows, "overlap", "variant", names, controls)
    alt.LayerChart.from_dict(spec)
    assert len(inner(spec, "line")) == 1
    bands = {row["layer"]: (row["low"], row["high"]) for row in values(spec) if "control" in row and "variant" not in row}
    assert bands == {5: (0.0, pytest.approx(0.6)), 12: (0.5, 0.5)}


def twin_rows(**changes):
    """Two twins of maths: 0.8 and 0.5 at the layers 5 and 12, and 0.7 and 0.6."""
    twins = [layer_rows(value=[0.8, 0.5], control="twin_1"), layer_rows(value=[0.7, 0.6], control="twin_2")]
    return pd.concat(twins).assign(**changes)


def test_twins_are_a_band_from_the_lowest_to_the_highest_at_each_layer():
    spec = profiles.profile(layer_rows(), "overlap", "variant", ["maths"], twin_rows())
    alt.LayerChart.from_dict(spec)
    assert {row["layer"]: (row["low"], row["high"]) for row in spec["datasets"]["twins"]} == {5: (0.7, 0.8), 12: (0.5, 0.6)}
    area, *edges = spec["layer"][0]["layer"]
    assert area["mark"]["color"] == palette.CONTROL_COLOUR
    assert [edge["encoding"]["y"]["field"] for edge in edges] == ["low", "high"]  # so that a single twin is seen too


def test_twins_of_several_lines_are_not_mixed_and_have_the_lines_colours():
    both = pd.concat([layer_rows(), layer_rows(variant="safety")])
    twins = pd.concat([twin_rows(), twin_rows(variant="safety", value=0.2)])
    spec = profiles.profile(both, "overlap", "variant", ["maths", "safety"], twins)
    found = {(row["variant"], row["layer"]): (row["low"], row["high"]) for row in spec["datasets"]["twins"]}
    assert found[("maths", 5)] == (0.7, 0.8)
    assert found[("safety", 5)] == (0.2, 0.2)
    area = spec["layer"][0]["layer"][0]
    assert area["encoding"]["color"]["field"] == "variant" and "color" not in area["mark"]


def test_twins_beside_many_lines_are_one_band_called_what_they_are():
    names = [f"d{i}" for i in range(profiles.MOST_BESIDE + 1)]
    rows = pd.concat([layer_rows(variant=name) for name in names])
    twins = pd.concat([twin_rows(variant=name) for name in names])
    spec = profiles.profile(rows, "overlap", "variant", names, twins)
    assert {row["control"] for row in spec["datasets"]["band"]} == {"random changes of the weights of that size"}
    assert {row["layer"]: (row["low"], row["high"]) for row in spec["datasets"]["band"]} == {5: (0.7, 0.8), 12: (0.5, 0.6)}


def test_a_recipe_has_its_colour_by_its_place_and_its_other_runs_are_dotted():
    first, second, *_ = palette.RECIPE_COLOURS
    assert axes.recipe_looks({"maths": ["maths", "maths-b"], "safety": ["safety"]}) == {
        "maths": (first, "solid"), "maths-b": (first, "dotted"), "safety": (second, "solid"),
    }  # fmt: skip


def test_more_recipes_than_colours_come_again_dashed():
    looks = axes.recipe_looks({f"r{i}": [f"r{i}"] for i in range(9)})
    assert looks["r8"] == (palette.RECIPE_COLOURS[0], "dashed")


def test_a_line_drawn_alone_keeps_its_colour():
    looks = axes.recipe_looks({"maths": ["maths"], "safety": ["safety"]})
    spec = profiles.profile(layer_rows(variant="safety"), "overlap", "variant", ["safety"], looks=looks)
    (line,) = (layer for layer in spec["layer"] if layer["mark"]["type"] == "line")
    assert line["encoding"]["color"]["scale"] == {"domain": ["safety"], "range": [palette.RECIPE_COLOURS[1]]}


def test_domains_are_neutral_and_come_again_dashed_and_dotted():
    looks = axes.series_looks([f"d{i}" for i in range(12)])
    assert len(set(looks.values())) == 12
    assert {look.colour for look in looks.values()} == set(palette.SERIES_COLOURS)


def test_relative_profiles_are_shares_of_the_largest_observed_change():
    rows = pd.DataFrame(
        {"variant": ["maths", "maths", "safety", "maths"], "layer": [5, 12, 5, 5],
         "control": ["observed", "observed", "observed", "isotropic"],
         "value": [0.9, 0.6, 0.8, 0.5], "low": [0.85, 0.5, 0.7, None], "high": [0.95, 0.7, 0.9, None]}
    )  # fmt: skip
    overlap = profiles.relative(rows, "overlap")  # 1 - value: 0.1, 0.4, 0.2, under the control 0.5
    assert overlap["value"].tolist() == pytest.approx([0.25, 1.0, 0.5, 1.25])
    assert overlap["low"].tolist()[:3] == pytest.approx([0.125, 0.75, 0.25])
    assert overlap["high"].tolist()[:3] == pytest.approx([0.375, 1.25, 0.75])
    shift = profiles.relative(rows, "relative_shift")
    assert shift["value"].tolist() == pytest.approx([1.0, 2 / 3, 8 / 9, 5 / 9])
    assert profiles.relative(rows.assign(value=1.0), "overlap")["value"].isna().all()


def test_what_has_one_value_everywhere_is_not_drawn():
    assert profiles.constant(layer_rows(value=0.0)) == 0.0
    assert profiles.constant(layer_rows(value=[0.25, None])) == 0.25
    assert profiles.constant(layer_rows()) is None  # 0.9 and 0.4
    assert profiles.constant(pd.concat([layer_rows(value=1.0), layer_rows(value=0.9, control="twin_1")])) is None
    assert profiles.constant(layer_rows(value=None)) is None


def test_a_profile_in_focus_leaves_the_others_pale():
    spec = profiles.profile(layer_rows(), "overlap", "variant", ["maths", "safety"], focus="maths")
    opacity = inner(spec, "line")[0]["encoding"]["opacity"]
    assert opacity["condition"] == {"test": "(datum['variant'] === 'maths')", "value": 1}
    assert opacity["value"] < 0.5
    alike = profiles.profile(layer_rows(), "overlap", "variant", ["maths"])
    assert "opacity" not in inner(alike, "line")[0]["encoding"]
