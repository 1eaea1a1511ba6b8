"""Every page through Streamlit's AppTest, on the tiny store: what it says, what a link does, what bad input gives."""

import os
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app import data, lists, tables, words
from store import open_store
from store.feature_lists import Filter
from store.manifest import DATABASE_FILE, MANIFEST_FILE
from tests.support.tiny_store import HOSTILE

MAIN = Path(__file__).resolve().parent.parent / "app" / "main.py"
VIEWS = ("overview", "layers", "shifted", "suppressed", "feature")


@pytest.fixture
def open_view(monkeypatch, tiny_store):
    """open_view('shifted', variant='maths') -> the page that this link shows; stores= names other stores."""

    def opened(view="overview", stores=(tiny_store,), **params):
        monkeypatch.setenv(data.VARIABLE, os.pathsep.join(map(str, stores)))
        app = AppTest.from_file(str(MAIN), default_timeout=30).run()
        if view != "overview":
            app.switch_page(f"views/{view}.py")
        app.query_params.update(params)
        return app.run()

    return opened


def text(app):
    """Everything that the page says in words."""
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error, app.html)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def column(app, name):
    return app.dataframe[0].value[name].tolist()


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_opens_without_a_word_of_complaint(open_view, view):
    app = open_view(view)
    assert not app.exception
    assert not app.error
    assert not app.warning


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("variant", ["maths", "safety"])
@pytest.mark.parametrize("domain", ["all", "maths", "harmful"])
def test_every_page_opens_for_every_variant_and_domain(open_view, view, variant, domain):
    app = open_view(view, variant=variant, domain=domain, layer="5")
    assert not app.exception
    assert not app.warning


def test_overview_says_what_was_compared(open_view):
    said = text(open_view())
    assert "**maths** and **safety** compared with the base" in said
    assert "14 tokens of 3 documents in 2 domains, read at layers 5 and 12 through dictionaries of 4 features" in said
    assert "No noise floor in this store" in said


def test_overview_has_both_headline_numbers_of_each_variant(open_view):
    app = open_view(layer="12")
    assert [(m.label, m.value) for m in app.metric] == [("Cosine", "0.958"), ("Overlap", "0.450")] * 2
    said = text(app)
    assert said.count("L0 2.00 → 2.50 features a token") == 2
    assert "does not fit" in said
    assert "strained" in said


def test_layers_by_variant_domain_and_segment(open_view):
    for by, names in (("variant", "maths"), ("domain", "harmful"), ("segment", "response")):
        app = open_view("layers", by=by)
        assert not app.exception
        assert names in text(app)


def test_shifted_features_are_sorted_by_absolute_shift(open_view):
    app = open_view("shifted", layer="12")
    assert column(app, "name") == ["L12:1", "L12:0", "L12:2"]
    assert column(app, "shift") == ["−1.36", "+0.500", "−0.143"]
    assert column(app, "freq_base") == ["71 %", "29 %", "29 %"]
    assert "3 features: 1 amplified, 1 attenuated, 1 vanished" in text(app)


def test_filters_of_a_link_are_followed(open_view):
    app = open_view("shifted", layer="12", kinds="vanished,attenuated", min="5", sort="feature", order="up")
    assert column(app, "name") == ["L12:1"]
    assert app.pills(key="pick_kinds").value == ["vanished", "attenuated"]
    assert app.number_input(key="pick_min").value == 5
    assert app.selectbox(key="pick_sort").value == "feature"


def test_a_search_finds_a_hostile_label(open_view):
    assert column(open_view("shifted", layer="5", q="<script>"), "label") == [f"{HOSTILE} label"]


def test_pages_are_turned_in_the_link(open_view, monkeypatch):
    monkeypatch.setattr(lists, "PAGE_SIZE", 2)
    app = open_view("shifted", p="2")
    assert column(app, "name") == ["L5:0", "L12:0"]
    app.button[1].click().run()
    assert app.query_params["p"] == "3"
    assert column(app, "name") == ["L5:2", "L12:2"]
    assert app.button[1].disabled


def test_nothing_found_says_what_to_do(open_view):
    assert "widen the filters" in open_view("shifted", q="no such label").info[0].value
    assert "No feature fell" in open_view("suppressed", min="1000").info[0].value


def test_a_picker_writes_the_link_and_a_default_leaves_it(open_view):
    app = open_view("shifted", p="1")
    app.selectbox(key="pick_domain").set_value("harmful").run()
    assert app.query_params == {"domain": "harmful"}
    app.selectbox(key="pick_domain").set_value("all").run()
    assert app.query_params == {}


def test_another_layer_forgets_the_feature_but_another_variant_keeps_it(open_view):
    app = open_view("feature", layer="12", feature="2")
    app.segmented_control(key="pick_variant").set_value("safety").run()
    assert (app.query_params["layer"], app.query_params["feature"]) == ("12", "2")
    app.segmented_control(key="pick_layer").set_value(5).run()
    assert "feature" not in app.query_params


def test_suppressed_features_fell_and_show_their_contexts(open_view):
    app = open_view("suppressed", variant="safety", layer="12")
    assert column(app, "name") == ["L12:1"]
    said = text(app)
    assert "does not fit" in said
    assert "sum-2" in said
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in said


def test_the_chosen_suppressed_feature_is_in_the_link(open_view):
    said = text(open_view("suppressed", layer="12", selected="L12:2"))
    assert "**L12:2**" in said
    assert "fires on 29 % of tokens in the base, 21 % in the variant" in said


def test_feature_page_shows_numbers_contexts_and_place_in_the_list(open_view):
    app = open_view("feature", variant="safety", layer="12", feature="1", ranking="decrease")
    said = text(app)
    assert "#### L12:1 · small words" in said
    assert app.dataframe[0].value["shift"].tolist() == ["−0.786", "−2.75", "−1.10"]
    assert "4.00 → 0 (−4.00)" in said
    assert "of 6 in Shifted features" in said
    assert "Promotes these output tokens" in said


def test_feature_page_without_a_feature_shows_the_most_shifted(open_view):
    assert "#### L12:2" in text(open_view("feature", variant="safety", layer="12"))


def test_a_feature_that_never_fired_says_so(open_view):
    assert "never fired on this corpus" in open_view("feature", layer="5", feature="3").info[0].value


def test_a_ranking_without_contexts_says_where_there_are_some(open_view):
    app = open_view("feature", variant="safety", layer="12", feature="1", ranking="base", domain="maths")
    assert "there are some of harmful" in app.info[0].value


@pytest.mark.parametrize("view", VIEWS)
def test_a_bad_link_falls_back_with_a_note(open_view, view):
    bad = dict.fromkeys(("store", "variant", "layer", "domain", "feature", "ranking", "list", "list_layer"), "<b>no</b>")
    bad |= {"sort": "x; DROP TABLE", "order": "?", "kinds": "gone,vanished", "min": "-3", "p": "1e9", "n": "7", "by": "?"}
    app = open_view(view, **bad, metric="?", selected="L99:1")
    assert not app.exception
    assert not app.error
    notes = [warning.value for warning in app.warning]
    assert any("variant “·b·no·/b·”" in note and "maths" in note for note in notes) or view in ("overview", "layers")
    assert any("domain" in note for note in notes)
    assert "<b>" not in "".join(notes)


@pytest.mark.parametrize("text_", ["x" * 500, "\x00", "99999999999999999999", "L99999:1", "'\"%_\\", "5:", "🙂", "\u202e"])
def test_any_search_is_only_a_search(open_view, text_):
    for view in ("shifted", "suppressed", "feature"):
        app = open_view(view, q=text_)
        assert not app.exception
        assert not app.error


def test_numbers_out_of_range_are_named(open_view):
    app = open_view("feature", layer="5", feature="4")
    assert app.warning[0].value == ("The link asks for feature “4”, but it has to be a number from 0 to 3; this page shows 1.")


def test_several_stores_are_offered_and_a_link_names_one(open_view, tiny_store, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(tiny_store, tmp_path / name)
    app = open_view(stores=[tmp_path, tiny_store], store="two")
    assert app.sidebar.selectbox(key="pick_store").options == ["one", "two", tiny_store.name]
    assert app.sidebar.selectbox(key="pick_store").value == "two"
    app.sidebar.selectbox(key="pick_store").set_value("one").run()
    assert app.query_params == {"store": "one"}
    assert not app.exception


def test_without_a_store_the_page_says_how_to_get_one(open_view, monkeypatch, tmp_path):
    monkeypatch.setattr(data, "DEMO", tmp_path / "none")
    monkeypatch.setattr(data, "RUNS", tmp_path / "runs")
    for _ in range(2):  # without the folder, and with one that holds nothing finished
        app = open_view(stores=())
        assert "make demo" in app.error[0].value
        assert "make app STORE\\=path" in app.error[0].value
        assert not app.exception
        (tmp_path / "runs" / "begun.partial").mkdir(parents=True, exist_ok=True)


def test_finished_runs_are_found_where_there_is_no_demo(open_view, monkeypatch, tiny_store, tmp_path):
    monkeypatch.setattr(data, "DEMO", tmp_path / "none")
    monkeypatch.setattr(data, "RUNS", tmp_path / "runs")
    for name in ("second", "first", "third.partial"):
        shutil.copytree(tiny_store, tmp_path / "runs" / name)
    app = open_view(stores=())
    assert app.sidebar.selectbox(key="pick_store").options == ["first", "second"]
    assert not app.error
    shutil.copytree(tiny_store, tmp_path / "none")
    assert open_view(stores=()).sidebar.selectbox(key="pick_store").options == ["none"]


@pytest.mark.parametrize("view", ["overview", "shifted", "suppressed"])
def test_few_documents_are_badged_and_enough_are_not(open_view, monkeypatch, view):
    assert text(open_view(view)).count(words.SMALL) == 1
    monkeypatch.setattr(words, "FEW_DOCUMENTS", 2)  # a domain; this store has 3 documents in each row, and 2 domains
    assert words.SMALL in text(open_view(view))
    assert words.SMALL not in text(open_view(view, domain="harmful"))


def test_a_downloaded_list_holds_no_formula():
    labels = ["=1+1", "+a", "-b", "@c", "\td", "fine", "a=b", None]
    written = tables.csv(pd.DataFrame({"label": labels, "kind": "vanished", "shift": -0.5}))
    assert [line.split(",")[0] for line in written.splitlines()[1:]] == [
        "'=1+1", "'+a", "'-b", "'@c", "'\td", "fine", "a=b", "",
    ]  # fmt: skip
    assert all(line.endswith(",vanished,-0.5") for line in written.splitlines()[1:])


def test_a_list_is_downloaded_whole(tiny_store):
    with open_store(tiny_store) as store:
        written = lists.FeatureList(store, "shifted", Filter("maths", layer=12)).csv()
    assert [line.split(",")[1] for line in written.splitlines()] == ["feature", "1", "0", "2"]


def test_a_missing_store_is_named(open_view, tmp_path):
    app = open_view(stores=[tmp_path / "gone"])
    assert "gone" in app.error[0].value
    assert not app.exception


def test_a_database_that_breaks_later_gives_one_sentence(open_view, monkeypatch):
    def broken(*_args, **_filters):
        raise duckdb.IOException("Could not read block 7\nstack")

    monkeypatch.setattr(data, "ask", broken)
    app = open_view()
    assert not app.exception
    assert "Could not read block 7" in app.error[0].value
    assert "extract verify" in app.error[0].value


@pytest.mark.parametrize("damage", ["cut", "no database", "other version", "not json"])
def test_a_damaged_store_gives_one_sentence(open_view, tiny_store, tmp_path, damage):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_store, broken)
    database, manifest = broken / DATABASE_FILE, broken / MANIFEST_FILE
    if damage == "cut":
        database.write_bytes(database.read_bytes()[:1000])
    elif damage == "no database":
        database.unlink()
    elif damage == "other version":
        manifest.write_text(manifest.read_text().replace('"schema_version": 1', '"schema_version": 999'))
    else:
        manifest.write_text("{")
    for view in VIEWS[:2]:
        app = open_view(view, stores=[broken])
        assert not app.exception
        assert len(app.error) == 1
        assert "broken" in app.error[0].value
