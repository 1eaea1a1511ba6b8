"""What pages say of a store that has contributions beside it; without them each says less, and nothing wrong."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from app import data
from app.components import sql_answer
from store import open_store, verify
from store.format.additions import addition_path
from store.format.manifest import read_manifest
from store.read.store import Store
from store.sidecar.entries import write_set_steering
from store.sidecar.sets import Gone, SetSteering
from tests.support.pages import open_page


@pytest.fixture
def store(contributing_store: Path) -> Path:
    return contributing_store


@pytest.fixture
def open_view(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(data.VARIABLE, str(store))
    return open_page


def text(app) -> str:
    assert not app.exception and not app.error
    kinds = (app.markdown, app.caption, app.info, app.warning, app.html)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def test_they_are_sound(store: Path):
    assert verify(store) == []


def test_the_overview_shows_what_was_learned_and_cost(open_view):
    said = text(open_view("overview"))
    assert "<span>its task</span> <span><b>+0.500</b> nats" in said
    assert "<span>other text</span> <span><b>-0.200</b> nats" in said
    assert 'alt="its task: +0.500 nats a token, random changes of that size -0.300"' in said
    assert "Both runs agree on the features (correlation 0.90; random changes 0.10)" in said


def test_the_overview_tells_it_in_whole_sentences(open_view):
    app = open_view("overview")
    app.session_state["in_words"] = True
    said = text(app.run())
    assert "On its own task it learned +0.5 nats a token (0.45 to 0.55); a random change of that size: -0.3." in said
    assert "Of +0.5 on the predictions that were taken apart +0.3 passes through layer 12: +0.24 through its features, " in said
    assert "2 of which make half of that, +0.06 through what its dictionary cannot express." in said
    assert "other runs work through the same features (correlation +0.9; a random change of the weights: +0.1)." in said
    assert "it costs 0.2 nats a token (0.15 to 0.25), not told from a random change of that size: 0.25." in said


def test_the_features_that_contribute_most_are_a_click_away_with_the_place_where_they_act(open_view):
    app = open_view("overview")
    links = [link.label for link in app.get("page_link") if " · +" in link.label]
    assert links[0] == "sums \\(auto\\) · L12:0 · +0.080" and not [label for label in links if "L5" in label]
    passages = [str(element.value) for element in app.html if 'class="fs-line-of' in str(element.value)]
    assert len(passages) == 2 and "+0.500 nats" in passages[0]  # of safety in its own


def test_layers_tell_where(open_view):
    said = text(open_view("layers", view="learned"))
    assert "Where it was learned" in said and "How many features make it" in said


def test_the_overview_says_what_came_of_undoing_them_as_soon_as_it_is_known(open_view, store, tmp_path, monkeypatch):
    copy = Path(shutil.copytree(store, tmp_path / "tiny"))
    shutil.copy(addition_path(store), tmp_path)
    monkeypatch.setenv(data.VARIABLE, str(copy))
    before = text(open_view("overview"))
    assert "Of a random change at most +0.080. Whether undoing them takes that back was not tried." in before
    gone = Gone(0.5, 0.3, 0.1, 0.5, 0.25, 0.05, 0.45, 0.4, 0.1, (0.05, -0.01))
    for layer in (5, 12):  # of two checks the one at the layer whose features are shown
        made = SetSteering("maths", layer, "*task", "contribution", (0, 5), 64, 8, 0, gone, gone, None)
        write_set_steering(copy, read_manifest(copy).digest, made)
    said = text(open_view("overview"))
    assert "On new text, undoing the first 2 at layer 12 takes back 0.30 of 0.50 nats, more than random ones do." in said


def test_layers_tell_what_sets_of_features_do(open_view, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "taken back together" not in text(open_view("layers", view="learned"))
    copy = Path(shutil.copytree(store, tmp_path / "tiny"))
    shutil.copy(addition_path(store), tmp_path)
    gone = Gone(0.5, 0.3, 0.1, 0.5, 0.25, 0.05, 0.45, 0.4, 0.1, (0.05, -0.01))
    made = SetSteering("maths", 12, "*task", "contribution", (0, 5), 64, 8, 0, gone, gone, None)
    write_set_steering(copy, read_manifest(copy).digest, made)
    monkeypatch.setenv(data.VARIABLE, str(copy))
    said = text(open_view("layers", view="learned"))
    assert "taken back together" in said and "**maths**, L12:0, L12:5: In 64 predictions of its own task" in said
    assert "takes +0.3 of +0.5 (95 % interval +0.1 to +0.5); the layer's whole change: +0.4." in said


def test_features_are_in_the_order_of_their_contribution(open_view):
    app = open_view("features", variant="maths", verdicts="all")
    shown = app.dataframe[0].value
    assert shown["contribution"].tolist()[:3] == ["+0.080", "-0.030", "+0.010"]
    assert shown["name"].tolist()[:3] == ["L12:0", "L12:1", "L12:5"]
    by_change = open_view("features", variant="maths", verdicts="all", sort="change")
    assert by_change.dataframe[0].value["name"].tolist() != shown["name"].tolist()


def test_suppressed_ones_by_what_their_loss_does(open_view):
    app = open_view("suppressed", variant="maths")
    assert app.dataframe[0].value["name"].tolist() == ["L12:1", "L5:1"]  # of L5:1 no contribution is kept
    by_change = open_view("suppressed", variant="maths", sort="evidence")
    assert by_change.dataframe[0].value["name"].tolist() == ["L5:1", "L12:1"]  # -95 % both


def test_a_feature_has_its_contribution_or_is_told_to_have_none(open_view):
    app = open_view("feature", variant="maths", layer="12", feature="0")
    charts = [str(chart.proto) for kind in ("vega_lite_chart", "arrow_vega_lite_chart") for chart in app.get(kind)]
    assert any("What its change adds to the log-likelihood" in chart for chart in charts)
    said = text(open_view("feature", variant="maths", layer="5", feature="1"))
    assert "not among those that contribute most" in said


def test_a_feature_shows_where_it_acts(open_view):
    """Two acts of +0.5 and -0.2 nats in one document, each on its own colour, the first outlined."""
    said = text(open_view("feature", variant="maths", layer="12", feature="0"))
    assert "Where its change acts" in said and "likelier: 0 to 0.500 nats" in said
    shown = said[said.index("likelier: 0 to") :]
    assert "+0.300 nats" in shown and "+0.500 nats" in shown and "-0.200 nats" in shown
    assert "Where its change acts" not in text(open_view("feature", variant="maths", layer="12", feature="5"))


def test_where_no_context_is_kept_the_passages_in_which_its_change_acts_stand_in_their_place(open_view, monkeypatch):
    real = Store.count_contexts
    monkeypatch.setattr(Store, "count_contexts", lambda store, **asked: real(store, **asked)[:0])
    app = open_view("feature", variant="maths", layer="12", feature="0")
    said = text(app)
    assert "Where its change acts" in said and "keeps no contexts of this feature" in said
    assert "pick_ranking" not in {box.key for box in app.selectbox} and not app.info


def test_the_passage_of_a_picked_feature_without_contexts_is_where_its_change_acts_covered_as_any(open_view, monkeypatch):
    """safety's L12:1 acts at “ <img …>” of refusal-1, a request; around it a template's token and a response."""
    monkeypatch.setattr(Store, "best_context", lambda store, **asked: pd.DataFrame())
    table = text(open_view("features", variant="safety", verdicts="all", picked="L12:1")).split('class="fs-side"')[1]
    assert "+0.300 nats" in table and "fs-covered" in table and "onerror" not in table
    shown = text(open_view("features", variant="safety", verdicts="all", picked="L12:1", text="shown"))
    assert "onerror" in shown and 'class="fs-covered"' not in shown


def test_every_example_of_contributions_answers(store: Path):
    with open_store(store) as opened:
        asked = [example for example in sql_answer.EXAMPLES if example.needs == "contributions"]
        found = {example.title: opened.sql(example.sql) for example in asked}
    gains = found["Learned and cost, beside random changes of the weights"].set_index(["variant", "domain"])
    assert gains.loc[("maths", "*task"), ["gain", "highest_twin"]].to_list() == [0.5, -0.3]
    beyond = found["Features through which the task was learned, beyond any of a random change"]
    assert beyond.empty  # 0.08 is what its twin's largest has


def test_words(open_view):
    said = text(open_view("words", variant="maths", layer="12"))
    assert "**Before an answer**, against the other fine-tunes" in said
    assert "####" in said and "&lt;script&gt;alert(3)&lt;/script&gt;" in said and "<script>alert(3)" not in said


def test_words_of_a_variant_that_predicts_as_the_base(open_view, monkeypatch: pytest.MonkeyPatch):
    real = Store.word_places
    monkeypatch.setattr(Store, "word_places", lambda store, variant: real(store, variant)[:0])
    assert "No token's probability moved" in text(open_view("words", variant="maths", layer="12"))


def test_words_without_twins_do_not_speak_of_them(open_view, monkeypatch: pytest.MonkeyPatch):
    def helps(app) -> str:
        return " ".join(element.help or "" for element in app.markdown)

    assert helps(open_view("words", variant="maths", layer="12")).count("a random change of the weights of that size") == 2
    monkeypatch.setattr(Store, "has_word_twins", lambda _store: False)
    real = Store.change_words
    monkeypatch.setattr(Store, "change_words", lambda store, **asked: real(store, **asked).assign(chance=float("nan")))
    said = helps(open_view("words", variant="maths-seed2", layer="12"))
    assert said.count("There are no twins") == 2 and "of that size" not in said


def test_without_contributions_the_pages_say_how_to_add_them(monkeypatch: pytest.MonkeyPatch, tiny_store: Path):
    monkeypatch.setenv(data.VARIABLE, str(tiny_store))
    assert "python -m extract contributions adds it" in text(open_page("words"))
    assert "not measured" in text(open_page("overview"))


def test_lists_cannot_be_sorted_by_what_a_store_has_not(tiny_store: Path, store: Path):
    from store.errors import UserError

    with open_store(tiny_store) as opened, pytest.raises(UserError, match="has no contributions beside it"):
        opened.shifted_features("maths", sort="contribution")
    with open_store(store) as opened:
        found = opened.shifted_features("maths", sort="contribution_kl", limit=3)
        assert found[["layer", "feature"]].values.tolist() == [[12, 5], [12, 0], [12, 1]]
        assert found["contribution_kl"].round(3).tolist() == [0.06, 0.05, 0.02]
