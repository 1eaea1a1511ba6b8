"""Pages over the steps of a training: tests/support/series_store.py has the numbers; without series nothing is drawn."""

import json
import os

import pytest

from app import data
from store.format.manifest import read_manifest
from tests.support.forged import forge_without_twins, rewrite_manifest
from tests.support.pages import open_page, text
from tests.support.series_store import forge_turned, make_series_store, make_uneven_store


@pytest.fixture
def opened(monkeypatch, series_store):
    """opened('layers', view='steps') -> the page that this link shows."""

    def opened(view, /, stores=(series_store,), **params):
        monkeypatch.setenv(data.VARIABLE, os.pathsep.join(map(str, stores)))
        app = open_page(view, **params)
        assert not app.exception and not app.error
        return app

    return opened


def specs(app):
    return [json.loads(chart.proto.spec) for kind in ("vega_lite_chart", "arrow_vega_lite_chart") for chart in app.get(kind)]


def titles(app):
    return [title if isinstance(title, str) else title["text"] for spec in specs(app) if (title := spec.get("title"))]


def test_layers_over_steps_are_a_chart_a_layer_with_every_training_on_offer(opened):
    app = opened("layers", view="steps")
    assert app.segmented_control(key="pick_view").options[1] == "Over steps"
    assert app.segmented_control(key="pick_series").options == ["maths", "code"]
    assert titles(app) == ["layer 5", "layer 12", "its own task", "text of no task"]
    assert "maths**: 3 checkpoints, optimiser steps 100, 200 and 400." in text(app)
    assert "Thin lines: the training" in text(app)
    app.segmented_control(key="pick_series").set_value("code").run()
    assert app.query_params["series"] == "code" and titles(app) == ["layer 5", "layer 12"]
    assert "so nothing is claimed here" in text(app)


def test_another_metric_is_kept_in_the_link(opened):
    app = opened("layers", view="steps", over="relative_shift")
    assert app.selectbox(key="pick_over").value == "relative_shift"
    assert "relative_shift" in json.dumps(specs(app)[0])
    assert not app.warning
    wrong = opened("layers", view="steps", over="n_halved", series="nobody")
    assert len(wrong.warning) == 2


def test_onsets_are_a_table_in_order(opened):
    table = opened("layers", view="steps").dataframe
    onsets = next(one.value for one in table if "Onset" in one.value)
    assert onsets["Feature"].to_list() == ["L12:1", "L12:0", "L12:4", "L12:2"]
    assert onsets["Onset"].to_list() == ["100", "200", "400", ""]
    assert onsets["First"].to_list() == ["100", "200", "100", "200"]
    assert onsets["Came and went"].to_list() == ["", "", "", "came and went"]
    assert onsets["At each step"].to_list() == ["▼ ▼ ▼", "· ▲ ▲", "▲ · ▲", "· ▼ ·"]


@pytest.mark.parametrize(
    ("feature", "said", "has_onset"),
    [
        (0, "Onset: its change is claimed from step 200 on, at every later step.", True),
        (2, "Came and went: its change is claimed at step 200 first, and not at the last.", False),
        (4, "It flickers: it is claimed at step 100 already.", True),
        (5, "Its change is claimed at no step.", False),
    ],
)
def test_a_feature_over_steps_has_its_onset_marked(opened, feature, said, has_onset):
    app = opened("feature", layer="12", feature=str(feature), variant="maths-200")
    assert said in text(app)
    drawn = next(spec for spec in specs(app) if "Change over steps" in str(spec.get("title")))
    assert any(layer["mark"]["type"] == "text" for layer in drawn["layer"]) == has_onset
    assert any("Mean activation over steps" in str(title) for title in titles(app))


def test_of_a_training_run_once_a_feature_stands_out_and_is_not_claimed(opened):
    said = text(opened("feature", layer="12", feature="1", variant="code-20"))
    assert "stands out (in this run only, no claim) from step 20 on" in said


def test_without_twins_nothing_can_be_claimed_and_that_is_said(opened, tmp_path):
    """Not that a change is claimed at no step, which would be a finding."""
    folder = make_series_store(tmp_path / "store")
    forge_without_twins(folder, "maths-200")
    for feature in (0, 5):
        app = opened("feature", stores=[folder], layer="12", feature=str(feature), variant="maths-400")
        assert "without which nothing can be claimed" in text(app) and "at no step" not in text(app)
        drawn = next(spec for spec in specs(app) if "Change over steps" in str(spec.get("title")))
        assert not any(layer["mark"]["type"] == "text" for layer in drawn["layer"])  # no onset
    app = opened("layers", stores=[folder], view="steps")
    assert "without which nothing can be claimed" in text(app)
    assert not any("Onset" in one.value for one in app.dataframe)


def test_a_change_that_turned_is_claimed_at_the_last(opened, tmp_path):
    folder = make_series_store(tmp_path / "store")
    forge_turned(folder)
    table = next(one.value for one in opened("layers", stores=[folder], view="steps").dataframe if "Onset" in one.value)
    turned = table.set_index("Feature").loc["L12:0"]
    assert (turned["At each step"], turned["Came and went"], turned["Onset"]) == ("▼ ▲ ▲", "turned", "200")
    said = text(opened("feature", stores=[folder], layer="12", feature="0", variant="maths-200"))
    assert "from step 200 on" in said and "It turned: it is claimed at step 100 already, the other way at some step." in said


def test_a_feature_of_no_series_has_no_steps(opened):
    assert "Over the steps" not in text(opened("feature", layer="12", feature="1", variant="safety"))


def test_the_first_page_tells_a_training_once_with_lines_over_its_steps(opened):
    app = opened("overview")
    rows = [str(html.value) for html in app.html if 'class="fs-told"' in str(html.value)]
    assert [row.split("<b>")[1].split("</b>")[0] for row in rows] == ["maths-400", "code-20", "safety"]
    steps = [str(html.value) for html in app.html if 'class="fs-steps"' in str(html.value)]
    assert len(steps) == 2 and "▼ fell: 1 at step 100, 2 at step 200, 1 at step 400" in steps[0]
    assert "1 → 2" in steps[0] and "+0.100 → +0.500" in steps[0] and "-0.010 → -0.200" in steps[0]
    assert "1 came and went" in steps[0] and "1 from step 100, 1 from step 200 and 1 from step 400 on" in steps[0]


def test_variants_are_picked_in_order_of_their_steps(opened):
    app = opened("features", variant="maths-100")
    assert app.selectbox(key="pick_variant").options == [
        "maths-100", "maths-100 · run 2", "maths-200", "maths-200 · run 2", "maths-400", "maths-400 · run 2", "code-5",
        "code-20", "safety",
    ]  # fmt: skip


@pytest.mark.parametrize("page", ["features", "suppressed", "compare", "documents", "about", "review", "words", "query"])
def test_every_other_page_opens(opened, page):
    assert opened(page, variant="maths-200").markdown


OTHERS = "Of a training with several checkpoints the last one"
RECIPES = ["maths-400", "code-20", "safety"]


def test_cosine_and_overlap_are_a_chart_a_training(opened):
    app = opened("layers", view="overlap")
    assert titles(app) == RECIPES and OTHERS in text(app)


@pytest.mark.parametrize(
    ("metric", "rows"), [("claimed", RECIPES), ("overlap", ["maths-400", "second-400", "code-20", "safety"])]
)
def test_the_map_of_the_first_page_has_a_row_a_training(opened, metric, rows):
    app = opened("overview", metric=metric)
    drawn = next(json.dumps(spec) for spec in specs(app) if '"cell"' in json.dumps(spec.get("params")))
    assert json.dumps(rows) in drawn and "maths-100" not in drawn and OTHERS in text(app)


def test_across_variants_a_training_is_one_recipe(opened):
    app = opened("compare", variant="maths-100", layer="12")
    assert "maths-100" in app.warning[0].value and "maths-400" in app.warning[0].value  # its last speaks for it
    assert app.segmented_control(key="pick_variant").options == [
        r"maths\-400", r"maths\-400 · run 2", r"code\-20", "safety"
    ]  # fmt: skip
    shared = next(one.value for one in app.dataframe if "Recipe" in one.value)
    assert shared["Recipe"].to_list() == RECIPES and OTHERS in text(app)
    features = next(one.value for one in app.dataframe if "Feature" in one.value)
    assert [name for name in features if name not in ("Feature", "Label", "Label (auto)")] == [
        "second-400" if name == "second" else name for name in ("maths-400", "second", "code-20", "safety")
    ]


def test_across_variants_of_one_training_there_is_nothing_to_compare(opened, tmp_path):
    folder = make_uneven_store(tmp_path / "store")
    made = read_manifest(folder).variants
    steps = {"code-5": 5, "code-20": 20, "safety": 30}
    more = {name: made[name] | {"series": "maths-seed2", "step": step} for name, step in steps.items()}
    rewrite_manifest(folder, variants=made | more)
    app = opened("compare", stores=[folder])
    assert "This store has one training, so there is nothing to compare it with" in app.info[0].value
    assert opened("overview", stores=[folder]).markdown and opened("layers", stores=[folder]).markdown


def test_a_store_without_series_shows_nothing_of_them(opened, tiny_store):
    app = opened("layers", stores=[tiny_store])
    assert "Over steps" not in app.segmented_control(key="pick_view").options
    overview = opened("overview", stores=[tiny_store])
    assert not [html for html in overview.html if 'class="fs-steps"' in str(html.value)]
    assert "Over the steps" not in text(opened("feature", stores=[tiny_store], layer="12", feature="1", variant="maths"))
