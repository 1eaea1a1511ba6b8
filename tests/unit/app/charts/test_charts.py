"""Charts are built from frames alone; what is checked is what a reader of the chart could be misled by."""

import altair as alt
import pandas as pd
import pytest

from app.charts import activations, axes, feature_scatter, layer_charts, profiles
from app.words import meanings, metrics, palette
from store.names import CONTROLS, KINDS, RANKINGS, VERDICTS


def layer_rows(**changes):
    rows = pd.DataFrame(
        {"layer": [5, 12], "variant": "maths", "value": [0.9, 0.4], "low": None, "high": None, "gate": "fits"}
    ).assign(n_tokens=14, n_documents=3)
    return rows.assign(**changes)


def marks(spec):
    """The marks of a specification, layers included."""
    inner = [mark for layer in spec.get("layer", []) for mark in marks(layer)]
    mark = spec.get("mark")
    return inner + ([mark if isinstance(mark, str) else mark["type"]] if mark else [])


def values(spec):
    return [row for rows in spec["datasets"].values() for row in rows]


@pytest.mark.parametrize("metric", list(metrics.METRICS))
def test_every_metric_has_a_profile_and_a_map(metric):
    spec = profiles.profile(layer_rows(), metric, "variant", ["maths"])
    alt.LayerChart.from_dict(spec)  # checks it against Vega-Lite's schema
    assert spec["title"]["text"] == metrics.METRICS[metric].label
    assert spec["title"]["subtitle"] == metrics.METRICS[metric].scale
    assert layer_charts.heat_map(layer_rows(), metric, ["maths"]).to_dict()


def test_every_kind_and_ranking_has_its_words():
    assert tuple(palette.KIND_COLOURS) == tuple(palette.KIND_SHAPES) == tuple(meanings.KIND_MEANINGS) == KINDS
    assert set(meanings.RANKING_NAMES) == set(RANKINGS)


def test_every_verdict_and_control_has_its_words_and_no_two_look_alike():
    assert set(meanings.VERDICTS) == set(VERDICTS)
    for look in ("label", "badge", "icon", "mark", "colour", "shape", "meaning"):
        looks = [getattr(verdict, look) for verdict in meanings.VERDICTS.values()]
        assert len(set(looks)) == len(looks), look
    assert set(meanings.CONTROL_NAMES) == set(palette.CONTROL_LINES) == set(CONTROLS)
    assert len(set(palette.CONTROL_LINES.values())) == len(CONTROLS)


def test_a_profile_shows_an_interval_only_where_there_is_one():
    assert marks(profiles.profile(layer_rows(), "cosine", "variant", ["maths"])) == ["line", "point"]
    with_interval = profiles.profile(layer_rows(low=[0.8, 0.3], high=[0.95, 0.5]), "cosine", "variant", ["maths"])
    assert marks(with_interval) == ["area", "line", "point"]


def control_rows(**changes):
    return pd.concat([layer_rows(value=[0.8, 0.5], control=control) for control in ("isotropic", "shuffled")]).assign(**changes)


def inner(spec, mark):
    return [part for part in spec["layer"] if part["mark"]["type"] == mark]


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
    names = [f"d{i}" for i in range(profiles.MOST_FLOORS + 1)]
    rows = pd.concat([layer_rows(variant=name) for name in names])
    controls = pd.concat(
        [layer_rows(variant=name, control="isotropic", value=[0.1 * i, 0.5]) for i, name in enumerate(names)]
    )
    spec = profiles.profile(rows, "overlap", "variant", names, controls)
    alt.LayerChart.from_dict(spec)
    assert len(inner(spec, "line")) == 1
    bands = {row["layer"]: (row["low"], row["high"]) for row in values(spec) if "control" in row and "variant" not in row}
    assert bands == {5: (0.0, pytest.approx(0.6)), 12: (0.5, 0.5)}


def evidence_rows(**changes):
    rows = pd.DataFrame(
        {"layer": 5, "feature": range(4), "name": "L5:0", "label": None, "shift": [-1.0, 0.5, 0.2, 0.1],
         "floor_ratio": [20.0, 5.0, float("inf"), None], "z": [-8.0, 3.0, 2.0, 1.0], "q": 0.01,
         "verdict": ["suppressed", "amplified", "untestable", "within noise"], "listed": False}
    )  # fmt: skip
    return rows.assign(**changes)


def test_the_evidence_chart_has_effect_with_its_sign_and_evidence_without():
    spec = feature_scatter.evidence_scatter(evidence_rows(), 9).to_dict()
    points = {row["feature"]: row for row in values(spec) if "feature" in row}
    assert [(points[i]["effect"], points[i]["evidence"]) for i in range(3)] == [(-20, 8), (5, 3), (30, 2)]
    assert points[2]["floor_ratio"] == "beyond any"
    assert 3 not in points  # no floor, no place; and the chart says that some are left out
    assert spec["title"]["subtitle"].startswith("3 of 9 features")
    assert feature_scatter.evidence_scatter(evidence_rows(floor_ratio=None), 4).to_dict()


def test_what_was_tested_and_what_could_not_be_never_look_alike_in_the_chart():
    spec = feature_scatter.evidence_scatter(evidence_rows(), 4).to_dict()
    encoding = spec["layer"][-1]["encoding"]
    for channel in ("fill", "stroke", "shape"):
        scale = encoding[channel]["scale"]
        looks = dict(zip(scale["domain"], scale["range"], strict=True))
        assert looks["within noise"] != looks["untestable"]


def test_ticks_of_the_evidence_chart_are_alike_on_both_sides():
    assert feature_scatter._both_signs(12.0) == [-10, -3, -1, 0, 1, 3, 10]


def test_segments_are_stacked_in_their_order():
    rows = pd.DataFrame(
        {"layer": 5, "segment": ["text", "template"], "share": [0.75, 0.25], "token_share": [0.9, 0.1], "n_tokens": [9, 1]}
    )
    spec = layer_charts.segment_shares(rows, ["template", "text"]).to_dict()
    assert {row["segment"]: row["place"] for row in values(spec)} == {"template": 0, "text": 1}
    assert spec["encoding"]["color"]["scale"]["domain"] == ["template", "text"]


def test_the_mean_of_a_change_has_a_colour_of_its_own():
    rows = pd.DataFrame({"name": ["the mean", "direction 1"], "share": [0.3, 0.4], "component": [0, 1]})
    colour = layer_charts.spectrum(rows).to_dict()["encoding"]["color"]
    assert (colour["condition"]["value"], colour["value"]) == (palette.VARIANT_COLOUR, palette.BASE_COLOUR)


def test_a_map_is_darker_where_the_change_is_larger():
    def reversed_scale(metric):
        spec = layer_charts.heat_map(layer_rows(), metric, ["maths"]).to_dict()
        return spec["layer"][0]["encoding"]["color"]["condition"]["scale"]["reverse"]

    assert reversed_scale("overlap")
    assert not reversed_scale("relative_shift")


def test_a_map_of_many_layers_has_no_text_that_would_overlap():
    many = pd.concat([layer_rows(layer=[n, n + 100]) for n in range(20)])
    assert marks(layer_charts.heat_map(layer_rows(), "overlap", ["maths"]).to_dict()) == ["rect", "text"]
    assert marks(layer_charts.heat_map(many, "overlap", ["maths"]).to_dict()) == ["rect"]


def test_more_series_than_colours_come_again_dashed():
    looks = [(axes.series_colour(i), axes.series_is_dashed(i)) for i in range(16)]
    assert len(set(looks)) == 16


def test_a_map_of_one_value_or_none_is_still_a_map():
    assert layer_charts.heat_map(layer_rows(value=0.5), "overlap", ["maths"]).to_dict()
    assert layer_charts.heat_map(layer_rows(value=float("nan")), "overlap", ["maths"]).to_dict()


def feature_rows(n, **changes):
    rows = pd.DataFrame({"layer": 5, "feature": range(n), "freq_base": 0.01, "freq_variant": 0.02, "shift": 1.0})
    return rows.assign(name="L5:0", label=None, kind="amplified", listed=False).assign(**changes)


def test_a_feature_that_never_fires_stands_in_a_lane_of_its_own():
    rows = feature_rows(2, freq_base=[0.0, 0.01], freq_variant=[0.02, 0.0])
    spec = feature_scatter.frequency_scatter(rows, 2).to_dict()
    points = {row["feature"]: row for row in values(spec) if "feature" in row}
    assert points[0]["x"] == 0.01 / 4
    assert points[1]["y"] == 0.01 / 4
    assert "'never'" in spec["layer"][-1]["encoding"]["x"]["axis"]["labelExpr"]


def test_a_scatter_never_gets_more_points_than_agreed_and_says_so():
    spec = feature_scatter.frequency_scatter(feature_rows(axes.MOST_POINTS + 5), 9000).to_dict()
    assert sum("feature" in row for row in values(spec)) == axes.MOST_POINTS
    assert "2,000 most shifted of 9,000 features" in spec["title"]["subtitle"]


def test_rows_of_the_table_are_ringed_and_always_drawn():
    many = feature_rows(axes.MOST_POINTS + 5)
    listed = many["feature"] == axes.MOST_POINTS + 4
    for chart in (
        feature_scatter.frequency_scatter(many.assign(listed=listed), 9000),
        feature_scatter.evidence_scatter(many.assign(listed=listed, verdict="amplified", floor_ratio=2.0, z=3.0, q=0.01), 9000),
    ):
        sets = [rows for rows in chart.to_dict()["datasets"].values() if rows and "feature" in rows[0]]
        rings, marks = sorted(sets, key=len)
        assert [row["feature"] for row in rings] == [axes.MOST_POINTS + 4]
        assert len(marks) == axes.MOST_POINTS
        assert sum(row["listed"] for row in marks) == 1


def test_a_scatter_of_features_that_never_fire_at_all():
    assert feature_scatter.frequency_scatter(feature_rows(1, freq_base=0.0, freq_variant=0.0), 1).to_dict()


def test_a_histogram_shows_base_and_the_one_variant_on_the_same_bins():
    rows = pd.DataFrame({"model": ["base", "maths", "safety"], "bin": 1, "low": 1.0, "high": 2**0.5, "count": [3, 2, 9]})
    spec = activations.histogram(rows, "maths").to_dict()
    assert sorted((row["model"], row["count"]) for row in values(spec)) == [("base", 3), ("variant", 2)]
    assert {row["low"] for row in values(spec)} == {1.0}


def test_no_axis_calls_a_half_500m():
    """d3's `s` has prefixes below 1 too: 500m, where 0.5 is meant."""
    bins = pd.DataFrame({"model": ["base", "maths"], "bin": -1, "low": 0.5, "high": 0.7, "count": 3})
    groups = pd.DataFrame({"group": "a", "model": ["base", "variant"], "mean": 0.5, "share": 0.1, "n_tokens": 9})
    drawn = [activations.histogram(bins, "maths"), activations.density(density_rows(), "maths")]
    drawn += [activations.by_group(groups, "maths", "By domain", "domain", line=line) for line in (True, False)]
    for spec in (chart.to_dict() for chart in drawn):
        sides = [layer["encoding"][side] for layer in spec["layer"] for side in "xy" if side in layer["encoding"]]
        axes = [side["axis"] for side in sides if "axis" in side]
        assert any("abs(datum.value) < 1 ? '.3~r'" in axis.get("labelExpr", "") for axis in axes)
        assert not any(axis.get("format", "").endswith("s") for axis in axes)
    assert not any(metric.format.endswith("s") for metric in metrics.METRICS.values())


def test_a_chart_says_nothing_in_scientific_notation():
    for metric in metrics.METRICS.values():
        assert "e" not in metric.format


def test_relative_profiles_are_shares_of_the_largest_observed_change():
    rows = pd.DataFrame(
        {"variant": ["maths", "maths", "safety", "maths"], "layer": [5, 12, 5, 5],
         "control": ["observed", "observed", "observed", "isotropic"],
         "value": [0.9, 0.6, 0.8, 0.5], "low": [0.85, 0.5, 0.7, None], "high": [0.95, 0.7, 0.9, None]}
    )  # fmt: skip
    overlap = profiles.relative(rows, "overlap")  # 1 - value: 0.1, 0.4, 0.2, under noise 0.5
    assert overlap["value"].tolist() == pytest.approx([0.25, 1.0, 0.5, 1.25])
    assert overlap["low"].tolist()[:3] == pytest.approx([0.125, 0.75, 0.25])
    assert overlap["high"].tolist()[:3] == pytest.approx([0.375, 1.25, 0.75])
    shift = profiles.relative(rows, "relative_shift")
    assert shift["value"].tolist() == pytest.approx([1.0, 2 / 3, 8 / 9, 5 / 9])
    assert profiles.relative(rows.assign(value=1.0), "overlap")["value"].isna().all()


def test_a_profile_in_focus_leaves_the_others_pale():
    spec = profiles.profile(layer_rows(), "overlap", "variant", ["maths", "safety"], focus="maths")
    opacity = inner(spec, "line")[0]["encoding"]["opacity"]
    assert opacity["condition"] == {"test": "(datum['variant'] === 'maths')", "value": 1}
    assert opacity["value"] < 0.5
    alike = profiles.profile(layer_rows(), "overlap", "variant", ["maths"])
    assert "opacity" not in inner(alike, "line")[0]["encoding"]


def density_rows():
    return pd.DataFrame(
        {"base_low": [2.0, 0.0, 4.0], "base_high": [2.83, 0.0, 5.66], "variant_low": [2.0, 4.0, 0.0],
         "variant_high": [2.83, 5.66, 0.0], "count": [7, 2, 1]}
    )  # fmt: skip


def test_a_density_has_both_models_on_one_scale_and_lanes_for_silence():
    spec = activations.density(density_rows(), "maths").to_dict()
    x, y = (inner(spec, "rect")[0]["encoding"][side] for side in "xy")
    assert x["scale"] == y["scale"] == {"type": "log", "domain": [1.0, 5.66], "nice": False}
    drawn = [row for row in values(spec) if "count" in row]
    assert [(row["base_from"], row["variant_from"]) for row in drawn] == [(2.0, 2.0), (1.0, 4.0), (4.0, 1.0)]
    assert [row["base_said"] for row in drawn] == ["2.00 to 2.83", "silent", "4.00 to 5.66"]
    assert "'silent'" in x["axis"]["labelExpr"]


def test_groups_keep_their_order():
    rows = pd.DataFrame(
        {"group": ["0", "1–2", "15–30"] * 2, "model": ["base"] * 3 + ["variant"] * 3, "mean": 1.0, "share": 0.1, "n_tokens": 9}
    )
    lines = activations.by_group(rows, "maths", "By place", "place", line=True).to_dict()
    assert lines["layer"][0]["encoding"]["x"]["sort"] == ["0", "1–2", "15–30"]
    bars = activations.by_group(rows, "maths", "By domain", "domain", line=False).to_dict()
    assert bars["layer"][1]["encoding"]["y"]["sort"] == ["0", "1–2", "15–30"]
    assert bars["layer"][1]["encoding"]["x"]["scale"] == {"zero": True}
    assert bars["height"] - axes.AXIS_HEIGHT - axes.LEGEND_HEIGHT - axes.TITLE_HEIGHT >= 3 * 20  # room for three names


def contrast(one, other):
    """WCAG's contrast of two colours."""
    lights = []
    for colour in (one, other):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(lights) / min(lights)


@pytest.mark.parametrize("page", ["#ffffff", "#0e1117"])
def test_small_print_and_marks_stand_out_on_a_light_and_on_a_dark_page(page):
    assert contrast(palette.QUIET_COLOUR, page) > 4.2
    marks = [palette.BASE_COLOUR, palette.VARIANT_COLOUR, palette.DECREASE_COLOUR, palette.INCREASE_COLOUR]
    assert min(contrast(colour, page) for colour in [*marks, *(verdict.colour for verdict in meanings.VERDICTS.values())]) > 2.4
