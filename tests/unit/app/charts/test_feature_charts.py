"""Charts of features: change against frequency, base against variant, one feature beside its other runs, two variants."""

import pandas as pd

from app.charts import axes, change_strip, feature_scatter, variant_charts
from store.names import KINDS, VERDICTS, kind_name
from tests.unit.app.charts.parts import inner, values

CLAIM = {"verdict": "amplified", "change_low": 0.4, "change_high": 0.6}


def change_rows(**changes):
    rows = pd.DataFrame(
        {"layer": 5, "feature": range(4), "name": "L5:0", "label": None, "change": [-0.9, 0.6, -0.1, None],
         "change_low": -1.0, "change_high": 1.0, "freq_base": [0.2, 0.01, 0.05, 0.0], "freq_variant": [0.02, 0.03, 0.04, 0.0],
         "verdict": ["suppressed", "this run only", "steady", None], "listed": False}
    )  # fmt: skip
    return rows.assign(**changes)


def test_the_change_chart_has_change_against_the_larger_frequency_and_the_material_bounds():
    spec = feature_scatter.change_scatter(change_rows(), 9, 0.4).to_dict()
    points = {row["feature"]: (row["often"], row["change"]) for row in values(spec) if "feature" in row}
    assert points == {0: (0.2, -0.9), 1: (0.03, 0.6), 2: (0.05, -0.1)}  # 3 fires in neither
    assert [row["change"] for row in values(spec) if "feature" not in row] == [-0.4, 0.0, 0.4]
    assert spec["title"]["subtitle"].startswith("3 of 9 features, the first of this order")


def test_verdicts_never_look_alike_in_the_chart():
    every = pd.concat([change_rows().head(1).assign(verdict=verdict) for verdict in VERDICTS])
    encoding = feature_scatter.change_scatter(every, 8, 0.5).to_dict()["layer"][-1]["encoding"]
    for channel in ("fill", "stroke", "shape"):
        scale = encoding[channel]["scale"]
        assert set(scale["domain"]) == set(VERDICTS)
        assert len(set(scale["range"])) == len(VERDICTS)


def test_a_store_without_verdicts_has_a_change_chart_too():
    spec = feature_scatter.change_scatter(change_rows(verdict=None), 3, 0.5).to_dict()
    assert spec["layer"][-1]["encoding"]["fill"]["scale"]["domain"] == ["no verdict"]


PROOF = {"change": -0.6, "change_low": -0.7, "change_high": -0.5, "twin_low": -0.1, "twin_high": 0.2, "change_rescaled": -0.55}


def strip_rows(spec):
    return {row["what"]: row for row in values(spec) if "what" in row}


def test_a_features_change_stands_beside_its_other_runs_its_twins_and_the_norm():
    others = pd.DataFrame({"name": ["safety · run 2", "safety · run 3"], "change": [-0.64, None]})
    spec = change_strip.strip(PROOF, others, 0.5).to_dict()
    rows = strip_rows(spec)
    order = ["this run", "safety · run 2", "random changes of that size", "the base at the variant's norm"]
    assert spec["layer"][1]["encoding"]["y"]["scale"]["domain"] == order  # in run 3 it never fires
    assert {name: rows[name]["change"] for name in order if "change" in rows[name]} == {
        "this run": -0.6, "safety · run 2": -0.64, "the base at the variant's norm": -0.55,
    }  # fmt: skip
    assert (rows["random changes of that size"]["low"], rows["random changes of that size"]["high"]) == (-0.1, 0.2)
    interval = [row for row in values(spec) if row.get("low") == -0.7]
    assert interval and all(row["high"] == -0.5 and row["what"] == "this run" for row in interval)
    assert [row["change"] for row in values(spec) if "what" not in row] == [-0.5, 0.0, 0.5]
    assert "'lost half'" in spec["layer"][0]["encoding"]["x"]["axis"]["labelExpr"]


def test_a_change_without_twins_and_runs_stands_alone_and_none_is_no_chart():
    alone = dict.fromkeys(PROOF, None) | {"change": 0.3}
    none = pd.DataFrame({"name": [], "change": []})
    assert set(strip_rows(change_strip.strip(alone, none, 0.5).to_dict())) == {"this run"}
    assert change_strip.strip(dict.fromkeys(PROOF, None), none, 0.5) is None


def test_two_variants_changes_are_told_apart_by_where_they_are_called_and_which_way():
    rows = pd.DataFrame(
        {"layer": 5, "feature": range(5), "name": "L5:0", "label": None, "change_a": [-0.6, 0.6, -0.9, 0.1, 0.2],
         "change_b": [-0.8, -0.7, 0.1, 0.2, 0.9], "changed_a": [True, True, True, False, False],
         "changed_b": [True, True, False, False, True], "said_a": "", "said_b": ""}
    )  # fmt: skip
    spec = variant_charts.change_scatter(rows, "maths", "code", ("#111111", "#222222")).to_dict()
    where = {row["feature"]: row["changed_in"] for row in values(spec) if "feature" in row}
    assert where == {0: "both, same way", 1: "both, opposite ways", 2: "maths alone", 3: "neither", 4: "code alone"}
    scale = inner(spec, "point")[0]["encoding"]["color"]["scale"]
    looks = dict(zip(scale["domain"], scale["range"], strict=True))
    assert (looks["maths alone"], looks["code alone"]) == ("#111111", "#222222")


def feature_rows(n, **changes):
    rows = pd.DataFrame({"layer": 5, "feature": range(n), "freq_base": 0.01, "freq_variant": 0.02, "change": 0.5})
    return rows.assign(name="L5:0", label=None, kind="strengthened", listed=False).assign(**changes)


def test_a_feature_that_never_fires_stands_in_a_lane_of_its_own():
    rows = feature_rows(2, freq_base=[0.0, 0.01], freq_variant=[0.02, 0.0])
    spec = feature_scatter.frequency_scatter(rows, 2).to_dict()
    points = {row["feature"]: row for row in values(spec) if "feature" in row}
    assert points[0]["x"] == 0.01 / 4
    assert points[1]["y"] == 0.01 / 4
    assert "'never'" in spec["layer"][-1]["encoding"]["x"]["axis"]["labelExpr"]


def test_a_kind_is_never_called_as_a_verdict_is():
    """A feature whose change is not material may be one that could not be seen: its kind must not call it 'steady'."""
    spec = feature_scatter.frequency_scatter(feature_rows(1, kind="steady"), 1).to_dict()
    assert [row["kind"] for row in values(spec) if "feature" in row] == ["no material change"]
    assert "steady" not in spec["layer"][-1]["encoding"]["color"]["scale"]["domain"]
    assert not set(map(kind_name, KINDS)) & set(VERDICTS)


def test_a_scatter_never_gets_more_points_than_agreed_and_says_so():
    spec = feature_scatter.frequency_scatter(feature_rows(axes.MOST_POINTS + 5), 9000).to_dict()
    assert sum("feature" in row for row in values(spec)) == axes.MOST_POINTS
    assert "2,000 of 9,000 features, the first of this order" in spec["title"]["subtitle"]


def test_rows_of_the_table_are_ringed_and_always_drawn():
    many = feature_rows(axes.MOST_POINTS + 5)
    listed = many["feature"] == axes.MOST_POINTS + 4
    for chart in (
        feature_scatter.frequency_scatter(many.assign(listed=listed), 9000),
        feature_scatter.change_scatter(many.assign(listed=listed, **CLAIM), 9000, 0.5),
    ):
        sets = [rows for rows in chart.to_dict()["datasets"].values() if rows and "feature" in rows[0]]
        rings, marks = sorted(sets, key=len)
        assert [row["feature"] for row in rings] == [axes.MOST_POINTS + 4]
        assert len(marks) == axes.MOST_POINTS
        assert sum(row["listed"] for row in marks) == 1


def test_a_scatter_of_features_that_never_fire_at_all():
    assert feature_scatter.frequency_scatter(feature_rows(1, freq_base=0.0, freq_variant=0.0), 1).to_dict()
