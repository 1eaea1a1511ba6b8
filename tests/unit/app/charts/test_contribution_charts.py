"""Charts of what was learned and lost: what a reader could be misled by."""

import pandas as pd

from app.charts import contribution_charts as charts
from app.words import palette
from tests.unit.app.charts.parts import values

ROWS = pd.DataFrame(
    [("maths", "task", "observed", 0.5), ("maths", "task", "twin_1", -0.3), ("maths", "neutral", "observed", -0.2),
     ("safety", "all", "observed", 0.3)],
    columns=["variant", "place", "control", "gain"],
).assign(low=lambda rows: rows["gain"] - 0.1, high=lambda rows: rows["gain"] + 0.1, layer=12, features=0.1, carrying_half=2,
         n_clusters=8)  # fmt: skip
COLOURS = {"maths": "#111111", "safety": "#222222"}


def test_a_profile_has_zero_on_its_axis_and_the_twins_as_a_span():
    rows = pd.concat([ROWS, ROWS[ROWS["control"] == "twin_1"].assign(control="twin_2", gain=-0.1)])
    spec = charts.gain_profile(rows[rows["variant"] == "maths"], "maths", "#111111").to_dict()
    assert {"gain": 0.0} in values(spec)
    assert [(row["low"], row["high"]) for row in values(spec) if set(row) == {"layer", "called", "low", "high"}] == [
        (-0.3, -0.1)
    ]


def test_a_feature_has_a_row_a_domain():
    rows = pd.DataFrame({"domain": ["all text", "maths"], "gain": [0.1, -0.2]}).assign(low=0.0, high=0.1, kl=0.1, n_clusters=6)
    spec = charts.by_domain(rows).to_dict()
    assert spec["layer"][-1]["encoding"]["y"]["sort"] == ["all text", "maths"]


def test_words_stand_in_order_and_what_cannot_be_seen_as_a_mark():
    changes = {"change": [0.2, 0.1, 0.05, 0.01], "twin": [0.01, None, None, None]}
    rows = pd.DataFrame({"token": [" sorry", "\n", "####", "\u202e"], **changes})
    spec = charts.word_bars(rows, "rose").to_dict()
    order = spec["layer"][0]["encoding"]["y"]["sort"]
    assert order[0] == "␣sorry" and order[2] == "####"
    assert all(text.isprintable() for text in order)
    twins = spec["layer"][1].get("data", spec.get("data"))["name"]
    assert [row["twin"] for row in spec["datasets"][twins]] == [0.01]


def test_a_curve_has_a_line_an_order_and_the_whole_layer_as_a_rule():
    rows = pd.DataFrame(
        [("contribution", 1, 0.1), ("contribution", 10, 0.3), ("random", 1, 0.0), ("layer", 64, 0.4)],
        columns=["chosen_by", "k", "gain"],
    )
    spec = charts.curve(rows, "maths", "#111111").to_dict()
    lines = spec["layer"][2]
    assert lines["encoding"]["x"]["scale"]["type"] == "log"
    scale = lines["encoding"]["color"]["scale"]
    assert scale == {"domain": ["the largest contributions", "at random"], "range": ["#111111", palette.CONTROL_COLOUR]}
    assert [row["gain"] for row in spec["datasets"][spec["layer"][1]["data"]["name"]]] == [0.4]
