"""The causal check on the Feature page, through Streamlit's AppTest on the tiny store: the result, or the command."""

import json
from pathlib import Path

import pytest

from app import data
from app.charts import causal_strip
from app.components import causal_check
from extract.__main__ import app as extract_app
from store import open_store
from store.sidecar.entries import write_steering
from store.sidecar.steering import Steering
from tests.support import pages

RESULT = Steering(12, 1, "safety", "restore", 10, 212, 0.25, 0.125, -0.2, -0.05, {0: 0.3, 2: 0.24}, 0)


@pytest.fixture
def feature_page(monkeypatch, own):
    """feature_page(variant='safety', feature='1') -> the page's words, and its charts' names."""

    def opened(**params):
        monkeypatch.setenv(data.VARIABLE, str(own))
        app = pages.open_page("feature", **({"layer": "12", "variant": "safety", "feature": "1"} | params))
        assert not app.exception and not app.error and not app.warning
        said = "\n".join(str(element.value) for kind in (app.markdown, app.caption) for element in kind)
        return said.replace("\\", ""), said

    return opened


def keep(own, result):
    with open_store(own) as store:
        write_steering(own, store.manifest.digest, result)


def test_without_a_result_the_page_names_a_command_that_parses(feature_page, own):
    said, _ = feature_page()
    line = next(line for line in said.splitlines() if "No causal check yet" in line)
    words = line.split("`")[1].split()
    assert words[:3] == ["python", "-m", "extract"]
    _, given, _ = extract_app.parse_args(words[3:], exit_on_error=False)
    assert (given.arguments["layer"], given.arguments["feature"], given.arguments["variant"]) == (12, 1, "safety")
    assert Path(given.arguments["store"]) == own
    assert "Causal check**" not in said


def test_a_feature_without_a_text_to_check_it_on_names_no_command(feature_page):
    said, _ = feature_page(feature="0")
    assert "causal check" not in said.lower()


def test_a_result_is_said_with_its_limits(feature_page, own):
    keep(own, RESULT)
    said, raw = feature_page()
    assert "**Causal check**" in said
    assert "from 0.25 to 0.125 nats: -0.125 (95 % interval -0.2 to -0.05), nearer to the base" in said
    assert "this feature ranks 1 of 3" in said
    assert "causal for these contexts and this direction only" in said
    assert "No causal check yet" not in said
    assert "extract steer" not in raw


@pytest.mark.parametrize("other", [{"variant": "maths"}, {"layer": "5"}])
def test_a_result_is_shown_for_its_own_feature_and_variant_only(feature_page, own, other):
    keep(own, RESULT)
    said, _ = feature_page(**other)
    assert "nearer to the base" not in said
    assert "No causal check yet" in said


def test_the_command_survives_spaces_and_is_short_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = causal_check.command(tmp_path / "my runs" / "one", 3, 4, "a")
    assert line == "python -m extract steer 'my runs/one' CONFIG --layer 3 --feature 4 --variant a"
    monkeypatch.chdir(tmp_path.parent.parent)
    assert str(tmp_path.name) in causal_check.command(tmp_path / "one", 3, 4, "a")


def chart(result):
    """(names of the rows from top to bottom, every mark's values)."""
    spec = json.loads(causal_strip.strip(result).to_json())
    return spec["layer"], [row for rows in spec["datasets"].values() for row in rows]


def test_the_chart_has_before_after_and_every_control():
    layers, rows = chart(RESULT)
    assert sorted((row["what"], row["name"], row["kl"]) for row in rows if "kl" in row and row["name"] != "as it is") == [
        ("feature restored", "L12:1", 0.125),
        ("random directions", "L12:0", 0.3),
        ("random directions", "L12:2", 0.24),
    ]
    assert any(row.get("kl") == 0.25 and row["name"] == "as it is" for row in rows)
    (interval,) = [row for row in rows if "low" in row]
    assert (interval["low"], interval["high"]) == pytest.approx((0.05, 0.2))
    sorts = [layer["encoding"]["y"]["sort"] for layer in layers if "y" in layer["encoding"]]
    assert sorts and all(sort == ["as it is", "feature restored", "random directions"] for sort in sorts)


def test_the_chart_of_few_contexts_has_no_interval_and_says_what_was_done():
    few = Steering(12, 1, "safety", "ablate", 3, 40, 0.25, 0.125, None, None, {0: 0.3}, 0)
    layers, rows = chart(few)
    assert not [row for row in rows if "low" in row]
    assert len(layers) == 3
    assert "feature ablated" in {row["what"] for row in rows}


@pytest.mark.parametrize(("before", "after", "other", "from_zero"), [(7.1, 6.9, 7.0, False), (7.1, 2.0, 7.0, True)])
def test_the_axis_is_around_what_there_is_and_begins_at_zero_only_near_it(before, after, other, from_zero):
    """2.0 is below 35 % of 7.1, 6.9 is not."""
    layers, _ = chart(Steering(12, 1, "safety", "restore", 10, 212, before, after, None, None, {0: other}, 0))
    scales = [layer["encoding"]["x"]["scale"]["zero"] for layer in layers if "scale" in layer["encoding"]["x"]]
    assert scales and set(scales) == {from_zero}
