"""Charts are made once: what decides which."""

import altair as alt
import pandas as pd

from app import data


def test_a_chart_is_made_once_for_what_it_draws():
    made = []

    def draw(rows, title):
        made.append((rows["gain"].to_list(), title))
        return alt.Chart(rows).mark_point().encode(x="gain:Q").properties(title=title)

    rows = pd.DataFrame({"gain": [1.0, 2.0]})
    data.chart(draw, rows, "a")["title"] = "spoilt by who was given it"
    assert data.chart(draw, rows.copy(), "a")["title"] == "a"
    data.chart(draw, rows.assign(gain=[1.0, 3.0]), "a")
    data.chart(draw, rows, "b")
    data.chart(draw, rows, "b")
    assert made == [([1.0, 2.0], "a"), ([1.0, 3.0], "a"), ([1.0, 2.0], "b")]


def test_what_draws_nothing_is_none():
    assert data.chart(lambda: None) is None
