"""The page across variants, on stores of hand-written numbers: see tests/support/compare_store.py."""

import os
import statistics

import pytest

from app import data
from tests.support import pages
from tests.support.compare_store import HOSTILE, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("compare") / "full")


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory):
    """The same without twins, verdicts and a second dictionary."""
    return write(tmp_path_factory.mktemp("compare") / "plain", evidence=False, replicas=False)


@pytest.fixture
def open_page(monkeypatch):
    """open_page(store, layer='7') -> the page that this link shows."""

    def opened(store, **params):
        monkeypatch.setenv(data.VARIABLE, os.fspath(store))
        return pages.open_page("compare", **params)

    return opened


def text(app):
    """Everything that the page says in words."""
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


@pytest.mark.parametrize("params", [{}, {"layer": "all"}, {"layer": "3"}, {"domain": "maths"}, {"variant": "safety-seed2"}])
def test_the_page_opens_without_complaint(open_page, folder, plain_folder, params):
    for store in (folder, plain_folder):
        app = open_page(store, **params)
        assert not app.exception
        assert not app.error
        assert not app.warning


def test_the_page_counts_recipes_and_says_what_changed_means(open_page, folder):
    said = text(open_page(folder))
    assert "7 features are claimed over all layers: **4** in one recipe only, **2** in several and **1** in all 3." in said
    assert "Of the 3 shared, 2 moved the same way wherever they changed." in said
    assert "*Claimed* means: it is suppressed or amplified: materially, in every run of the recipe" in said
    assert said.count("The runs of a recipe count as one") == 1


def test_a_table_says_what_recipes_share_and_what_each_has_alone(open_page, folder):
    """maths: features 0, 1, 4, 6; code: 0, 4; safety: 0, 2, 3, 5, 6."""
    shown = open_page(folder).dataframe[0].value
    assert shown.columns.tolist() == ["Recipe", "Claimed", "In it alone", "Also in maths", "Also in code", "Also in safety"]
    assert shown.values.tolist() == [
        ["maths", "4", "1", "", "2", "2"], ["code", "2", "0", "2", "", "1"], ["safety", "5", "3", "2", "1", ""],
    ]  # fmt: skip


def test_a_recipe_stands_against_its_second_run_where_it_has_one(open_page, folder):
    def against(variant):
        return open_page(folder, variant=variant).segmented_control(key="pick_against").value

    assert against("safety") == "safety-seed2"
    assert against("safety-seed2") == "safety"
    assert against("code") == "maths"


def test_the_largest_set_is_listed_until_another_is_chosen(open_page, folder):
    app = open_page(folder)
    assert app.dataframe[1].value["Feature"].tolist() == ["L7:2", "L7:5", "L7:3"]  # safety lost all, quadrupled, lost half
    assert app.dataframe[1].value["safety"].tolist() == ["-100 % ●", "+75 % ●", "-50 % ●"]
    assert app.dataframe[1].value["safety-seed2"].tolist() == ["-88 % ●", "-50 % ●", "-12 %"]  # 7, 4 and 1 of 8
    app = open_page(folder, set="maths,code,safety")
    assert app.dataframe[1].value["Feature"].tolist() == ["L7:0"]
    assert "Changed in all 3 recipes" in text(app)


def test_every_run_of_a_recipe_can_be_asked_for_on_the_page(open_page, folder):
    app = open_page(folder, set="safety", changed="material")
    app.segmented_control(key="pick_runs").set_value("every").run()
    assert app.query_params["runs"] == "every"
    assert "set" not in app.query_params
    said = "7 features changed materially over all layers: **5** in one recipe only, **1** in several and **1** in all 3."
    assert said in text(app)  # alone: maths 1 and 6, safety 2 and 5, code 8
    claimed = open_page(folder, runs="every")  # which shows in every run by definition
    assert "pick_runs" not in [control.key for control in claimed.segmented_control]


def test_a_hostile_label_is_shown_as_it_is(open_page, folder):
    app = open_page(folder)  # feature 2 is the first of the list
    assert app.dataframe[1].value["Label"].tolist()[0] == HOSTILE
    assert "**L7:2** · \\<script\\>alert\\(1\\)\\</script\\>" in text(app)
    assert HOSTILE not in text(app)


def test_runs_are_told_beside_different_recipes(open_page, folder):
    """5 features changed in safety and 3 in its second run, 2 of them the same way."""
    app = open_page(folder)
    said = text(app)
    assert "Of what changed in one run of a recipe, 40 % to 67 % (between different recipes " in said
    assert "moved in the same direction in 80 % (between different recipes " in said
    runs = next(shown.value for shown in app.dataframe if "Same way in both" in shown.value)
    assert runs.iloc[:, :5].values.tolist() == [["safety", "safety-seed2", "5", "3", "2"]]
    safety = [-6 / 8, -1 / 8, -1, -4 / 8, 0.5 / 8.5, 24 / 32, 12 / 20]  # features 0 to 6; 7 could not be seen
    seed2 = [-6 / 8, 0, -7 / 8, -1 / 8, 0.5 / 8.5, -4 / 8, 1 / 9]
    found = statistics.correlation(safety, seed2)
    assert f"the correlation of changes is {found:.3f} (between different recipes " in said
    assert runs["Over"].tolist() == ["7"]
    assert "What is claimed shows in every run by definition" in said


def test_the_second_dictionary_is_told(open_page, folder):
    said = text(open_page(folder, variant="safety"))
    assert "4 of 5 changed features have a counterpart; 3 of these moved in the same direction. Rank" in said
    assert "Of the features that did not change, 50 % moved in the same direction" in said
    assert "No second dictionary was read for code" in text(open_page(folder, variant="code"))
    assert "A second dictionary was read at layer 7" in text(open_page(folder, layer="3"))


def test_a_store_without_evidence_says_so(open_page, plain_folder):
    said = text(open_page(plain_folder))
    assert "50 % or more of its activation are lost or new, of features that could have been seen" in said
    assert "A random change of the weights does that to features too" in said
    assert "name a second dictionary of a layer under `replicas`" in said


def test_over_all_layers_the_last_one_is_ranked_and_named(open_page, folder):
    said = "this is the last layer; choose another above"
    assert "How alike are the changes, at layer 7" in text(open_page(folder)) and said in text(open_page(folder, layer="all"))
    assert "How alike are the changes, at layer 3" in text(open_page(folder, layer="3"))
    assert said not in text(open_page(folder, layer="3"))


def test_nothing_found_says_what_to_do(open_page, folder):
    said = text(open_page(folder, domain="harmful"))
    assert "No feature changed here" in said
    assert "No feature fires here in either" in said


def test_one_variant_has_nothing_to_be_compared_with(open_page, tmp_path):
    app = open_page(write(tmp_path / "one", variants=("maths",), replicas=False))
    assert "This store has one variant" in app.info[0].value
    assert not app.exception


def test_two_recipes_without_a_second_run(open_page, tmp_path):
    said = text(open_page(write(tmp_path / "two", variants=("maths", "code"), replicas=False)))
    assert "**2** in one recipe only and **2** in both" in said
    assert "No recipe was run twice here" in said
    assert "The runs of a recipe count as one" not in said
