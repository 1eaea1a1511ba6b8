"""Charts are built from frames alone; what is checked is what a reader of the chart could be misled by."""

import pandas as pd

from app.charts import activations, answer_chart, axes, layer_charts
from app.words import meanings, metrics, palette
from store.names import CLAIMED, CONTROLS, KINDS, RANKINGS, VERDICTS
from tests.unit.app.charts.parts import inner, layer_rows, marks, values


def test_every_kind_and_ranking_has_its_words():
    assert tuple(palette.KIND_COLOURS) == tuple(palette.KIND_SHAPES) == tuple(meanings.KIND_MEANINGS) == KINDS
    assert set(meanings.RANKING_NAMES) == set(RANKINGS)


def test_every_verdict_and_control_has_its_words_and_no_two_look_alike():
    assert set(meanings.VERDICTS) == set(VERDICTS)
    for look in ("label", "icon", "mark", "colour", "shape", "meaning"):
        looks = [getattr(verdict, look) for verdict in meanings.VERDICTS.values()]
        assert len(set(looks)) == len(looks), look
    assert set(meanings.CONTROL_NAMES) - {meanings.TWINS} == set(palette.CONTROL_LINES) == set(CONTROLS)
    assert len(set(palette.CONTROL_LINES.values())) == len(CONTROLS)


def test_what_is_no_claim_says_so_in_its_badge():
    claims = [name for name, verdict in meanings.VERDICTS.items() if "no claim" not in verdict.label]
    assert [name for name in claims if name not in CLAIMED] == ["does not fit", "steady", "could not be seen"]


def test_segments_are_stacked_in_their_order():
    rows = pd.DataFrame(
        {"layer": 5, "segment": ["text", "template"], "share": [0.75, 0.25], "token_share": [0.9, 0.1], "n_tokens": [9, 1]}
    )
    spec = layer_charts.segment_shares(rows, ["template", "text"]).to_dict()
    assert {row["segment"]: row["place"] for row in values(spec)} == {"template": 0, "text": 1}
    assert spec["encoding"]["color"]["scale"]["domain"] == ["template", "text"]


def test_a_map_stands_out_most_where_the_number_is_largest_and_says_which_end_is_the_change():
    for metric, end in (("overlap", "Lower: more changed."), ("relative_shift", "Higher: more changed.")):
        squares = layer_charts.heat_map(layer_rows(), metric, ["maths"]).to_dict()["layer"][0]
        assert squares["encoding"]["color"]["condition"]["scale"] == {"range": palette.RAMP, "domain": [0.4, 0.9]}
        assert metrics.read_map(metric).endswith(end)
    assert metrics.read_map("l0_base").endswith("number.")


def test_a_map_of_many_layers_has_no_text_that_would_overlap():
    many = pd.concat([layer_rows(layer=[n, n + 100]) for n in range(20)])
    assert marks(layer_charts.heat_map(layer_rows(), "overlap", ["maths"]).to_dict()) == ["rect", "text"]
    assert marks(layer_charts.heat_map(many, "overlap", ["maths"]).to_dict()) == ["rect"]


def test_a_map_of_one_value_or_none_is_still_a_map():
    assert layer_charts.heat_map(layer_rows(value=0.5), "overlap", ["maths"]).to_dict()
    assert layer_charts.heat_map(layer_rows(value=float("nan")), "overlap", ["maths"]).to_dict()


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


def test_more_lines_than_colours_never_look_alike():
    """Nine variants: the ninth has the first one's colour, and is dashed."""
    variants = [name for name in "abcdefghi" for _ in range(3)]
    rows = pd.DataFrame({"layer": list(range(3)) * 9, "overlap": 0.5, "variant": variants})
    encoding = answer_chart.chart(rows, "layer", "overlap", "variant", "line").to_dict()["encoding"]
    colours, dashes = (encoding[channel]["scale"]["range"] for channel in ("color", "strokeDash"))
    assert colours[0] == colours[8] and len(set(zip(colours, map(tuple, dashes), strict=True))) == 9


def test_words_that_mean_something_keep_their_colour_in_any_chart():
    rows = pd.DataFrame({"layer": 5, "overlap": 0.5, "model": ["base", "x", "maths"]})
    known = {"base": axes.Look("#111111"), "maths": axes.Look("#222222"), "safety": axes.Look("#333333")}
    scale = answer_chart.chart(rows, "layer", "overlap", "model", "points", known).to_dict()["encoding"]["color"]["scale"]
    assert scale == {"domain": ["base", "maths", "x"], "range": ["#111111", "#222222", palette.SERIES_COLOURS[0]]}
