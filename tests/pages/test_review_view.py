"""The Review page through AppTest on a store of its own: a judgement is on disk at once, and read back from there."""

import shutil

import pytest

from app import data
from app.components import review_list, review_panel
from store import open_store
from store.sidecar.entries import Label, can_write, read_reviews, sidecar_path, write_labels, write_review
from store.sidecar.reviews import Review
from tests.support import pages
from tests.support.tiny_store import HOSTILE


@pytest.fixture
def digest(own):
    with open_store(own) as store:
        return store.manifest.digest


@pytest.fixture
def review_page(monkeypatch, own):
    """review_page(reviewer='Ada') -> the page of variant maths, whose L5:1 and L12:1 are called suppressed, L12:0 amplified."""

    def opened(store=own, **params):
        monkeypatch.setenv(data.VARIABLE, str(store))
        app = pages.open_page("review", **params)
        assert not app.exception
        return app

    return opened


def text(app):
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error)
    progress = [element.proto.text for element in app.get("progress")]
    return "\n".join([*(str(element.value) for kind in kinds for element in kind), *progress]).replace("\\", "")


def press(app, label):
    (button,) = [one for one in app.button if one.label == label]
    assert not button.disabled
    button.click().run()
    assert not app.exception
    return app


def shortcuts(app):
    return {one.label: one.proto.shortcut for one in app.button if one.proto.shortcut}


def on_disk(own, digest):
    found = read_reviews(own, digest, "maths")
    return [(one.layer, one.feature, one.reviewer, one.verdict, one.severity, one.note) for one in found]


def test_a_verdict_is_on_disk_at_once_and_a_reload_shows_it(review_page, own, digest):
    app = review_page(reviewer="Ada")
    assert "**small words (auto)** · **L5:1**" in text(app)
    assert "**0 of 3 reviewed** by Ada, 0 concerns" in text(app)
    assert "every layer; every domain; verdict suppressed, amplified; none that fires" in text(app)
    assert "Not judged yet by Ada." in text(app)
    press(app, "⚑ Concern")
    assert on_disk(own, digest) == [(5, 1, "Ada", "concern", None, "")]
    assert app.query_params["selected"] == "L5:1"
    assert app.query_params["reviewer"] == "Ada"
    for shown in (app, review_page(reviewer="Ada", selected="L5:1")):
        assert "**1 of 3 reviewed** by Ada, 1 concern" in text(shown)
        assert "Saved 20" in text(shown)


def test_severity_and_note_are_kept_with_the_verdict_and_all_of_it_as_history(review_page, own, digest):
    app = press(press(review_page(reviewer="Ada"), "⚑ Concern"), "High")
    app.text_area[0].set_value("It fell on refusals. ").run()
    press(app, "✓ Benign")
    assert on_disk(own, digest) == [
        (5, 1, "Ada", "concern", None, ""),
        (5, 1, "Ada", "concern", "high", ""),
        (5, 1, "Ada", "concern", "high", "It fell on refusals."),
        (5, 1, "Ada", "benign", None, "It fell on refusals."),
    ]
    app = review_page(reviewer="Ada", selected="L5:1")
    assert app.text_area[0].value == "It fell on refusals."
    assert "High" not in [one.label for one in app.button]
    assert app.expander[-1].label == "History: 4 judgements"
    assert app.expander[-1].dataframe[0].value["Verdict"].tolist() == ["benign", "concern (high)", "concern (high)", "concern"]


def test_what_stands_already_is_not_written_again(review_page, own, digest):
    press(press(review_page(reviewer="Ada"), "? Unclear"), "? Unclear")
    assert len(on_disk(own, digest)) == 1


def test_a_note_needs_a_verdict_first(review_page):
    app = review_page(reviewer="Ada")
    assert app.text_area[0].disabled
    assert not press(app, "✓ Benign").text_area[0].disabled


def test_another_reviewers_disagreement_is_shown_and_stays(review_page, own, digest):
    write_review(own, digest, Review("maths", 5, 1, "Ben <b>", "concern", "high", f"Look: {HOSTILE}"))
    app = press(review_page(reviewer="Ada", selected="L5:1"), "✓ Benign")
    said = text(app)
    assert "**Reviewers disagree.** Ada: benign and Ben <b>: concern (high)." in said
    assert "reviewers disagree on 1 feature" in said
    assert "1 of 3 reviewed** by Ada, 0 concerns" in said
    assert "Look: <script>" in said
    assert not any("<script>" in str(one.value) for one in app.markdown)  # escaped: text() takes the marks away
    assert [(one[2], one[3]) for one in on_disk(own, digest)] == [("Ben <b>", "concern"), ("Ada", "benign")]
    assert app.dataframe[0].value["said"].tolist() == ["✓ ⚑ ≠", "", ""]


def test_a_judgement_of_another_variant_or_store_does_not_count(review_page, own, digest):
    write_review(own, digest, Review("safety", 5, 1, "Ada", "concern"))
    write_review(own, "another", Review("maths", 5, 1, "Ada", "concern"))
    assert "**0 of 3 reviewed**" in text(review_page(reviewer="Ada"))


def test_next_goes_to_what_is_not_reviewed_and_the_page_begins_there(review_page, own, digest):
    write_review(own, digest, Review("maths", 5, 1, "Ada", "benign"))
    app = review_page(reviewer="Ada", list="suppressed")
    assert "**L12:1**" in text(app)
    assert [one.disabled for one in app.button if one.label in ("Next unreviewed", "Previous unreviewed")] == [True, True]
    app = press(press(app, "Back"), "Next unreviewed")
    assert app.query_params["selected"] == "L12:1"
    assert "**0 of 3 reviewed** by Ben" in text(review_page(reviewer="Ben"))
    assert "· 1 by anyone" in text(review_page(reviewer="Ben"))
    assert "**1 of 3 reviewed**, 0 concerns" in text(review_page(reviewer="Ben", by="anyone"))


def test_every_judgement_and_step_has_a_key(review_page):
    app = press(review_page(reviewer="Ada"), "⚑ Concern")
    assert shortcuts(app) == {
        "⚑ Concern": "1", "✓ Benign": "2", "? Unclear": "3", "Low": "l", "Medium": "m", "High": "h", "Back": "k", "On": "j",
        "Previous unreviewed": "p", "Next unreviewed": "n", "Show example text": "t",
    }  # fmt: skip


def test_without_a_name_nothing_can_be_judged(review_page):
    app = review_page()
    assert "Give your name above" in text(app)
    assert all(one.disabled for one in app.button if one.label in ("⚑ Concern", "✓ Benign", "? Unclear"))
    app.text_input(key="pick_reviewer").set_value("  Ada   Lovelace ").run()
    assert app.query_params["reviewer"] == "Ada Lovelace"
    press(app, "✓ Benign")
    assert "Saved" in text(app)


def test_the_name_is_remembered_on_another_page_and_back(review_page):
    app = press(review_page(reviewer="Ada"), "✓ Benign")
    app.switch_page("views/suppressed.py").run()
    app.query_params.clear()
    app.switch_page("views/review.py").run()
    assert app.text_input(key="pick_reviewer").value == "Ada"


def test_where_nothing_can_be_written_the_page_stays_readable(review_page, own, digest, monkeypatch):
    write_review(own, digest, Review("maths", 5, 1, "Ben", "benign", note="Seen before."))
    assert can_write(own)
    monkeypatch.setattr("store.sidecar.entries.can_write", lambda store: False)
    app = review_page(reviewer="Ada", selected="L5:1")
    assert f"Reviews would be written to {sidecar_path(own)}, but that cannot be written here." in text(app)
    assert "Seen before." in text(app)
    assert all(one.disabled for one in app.button if one.label in ("⚑ Concern", "✓ Benign", "? Unclear"))


def test_what_could_not_be_saved_is_said_and_the_note_stays_in_its_field(review_page, own, digest, monkeypatch):
    app = press(review_page(reviewer="Ada"), "✓ Benign")

    def refuse(*_arguments):
        raise review_panel.UserError("The sidecar is kept busy.")

    monkeypatch.setattr(review_panel, "write_review", refuse)
    app.text_area[0].set_value("Words.").run()
    assert "Not saved: The sidecar is kept busy." in text(app)
    assert app.text_area[0].value == "Words."
    monkeypatch.undo()
    assert len(on_disk(own, digest)) == 1


def test_an_empty_list_says_what_to_do(review_page):
    app = review_page(variant="safety", reviewer="Ada")  # nothing of it is called suppressed
    assert "No feature to review under these filters" in text(app)


def test_any_list_can_be_reviewed(review_page):
    app = review_page(list="shifted", verdicts="amplified,could not be seen", layer="12")
    assert app.dataframe[0].value["feature"].tolist() == ["L12:0", "L12:5", "L12:2"]
    app = review_page(list="shifted", q="small words", verdicts="all", domain="maths")
    assert sorted(app.dataframe[0].value["feature"].tolist()) == ["L12:1", "L5:1"]


def test_the_usual_list_is_of_both_directions_the_largest_change_first_without_contributions(review_page):
    app = review_page()
    assert app.dataframe[0].value["feature"].tolist() == ["L5:1", "L12:1", "L12:0"]  # -0.95, -0.95, +0.6
    assert app.dataframe[0].value["verdict"].tolist() == ["▼", "▼", "▲"]
    assert "the largest change first." in text(app)


def test_features_picked_elsewhere_are_the_list_until_one_goes_back(review_page):
    app = review_page(picked="L12:2,L5:4,L5:3,nothing", verdicts="amplified", layer="12", min="99999")
    assert app.dataframe[0].value["feature"].tolist() == ["L5:4", "L12:2"]  # seen before not seen; a dense one too
    assert "3 picked features; the largest change first. Never firing in maths on this text: L5:3." in text(app).replace(
        "\\", ""
    )
    assert [warning.value.split("“")[1].split("”")[0] for warning in app.warning] == ["nothing"]
    assert "picked=L12%3A2" in str([link.proto.query_string for link in app.get("page_link")])
    press(app, "Back to the usual list")
    assert "picked" not in app.query_params


def test_where_no_picked_feature_fires_the_page_says_so(review_page):
    app = review_page(picked="L5:3")
    assert "Never firing in maths on this text: L5:3." in text(app) and not app.warning
    assert app.info[-1].value == "No feature to review of those picked. Go back to the usual list."


def test_without_a_feature_that_can_be_picked_the_list_is_the_usual_one(review_page):
    app = review_page(picked="L99:1")
    assert app.dataframe[0].value["feature"].tolist() == ["L5:1", "L12:1", "L12:0"]
    assert "The link asks for picked “L99·1”" in text(app)


@pytest.fixture
def own_bare(bare_store, tmp_path):
    return shutil.copytree(bare_store, tmp_path / "bare")


def test_a_store_without_verdicts_has_a_list_of_what_changed_materially(review_page, own_bare):
    app = review_page(own_bare, layer="12", reviewer="Ada")
    assert app.dataframe[0].value["feature"].tolist() == ["L12:1", "L12:0", "L12:5"]  # 2 lost a third, 4 is dense
    press(app, "✓ Benign")
    assert "**1 of 3 reviewed**" in text(app)


def test_example_text_is_covered_until_asked_for(review_page):
    app = review_page(reviewer="Ada")
    assert "Show example text" in [one.label for one in app.button]
    press(app, "Show example text")
    assert app.query_params["text"] == "shown"
    assert "Hide example text" in [one.label for one in app.button]


def test_a_list_longer_than_can_be_shown_says_so(review_page, monkeypatch):
    monkeypatch.setattr(review_list, "LONGEST", 1)
    assert "the first 1 of 3 in this list" in text(review_page(reviewer="Ada"))


def test_a_judgement_does_not_open_the_store_anew(review_page, monkeypatch):
    """Opening reads the whole manifest and every label, which a reviewer would wait for after each key."""
    opened = []
    monkeypatch.setattr(data, "open_store", lambda path: opened.append(path) or open_store(path))
    press(press(review_page(reviewer="Ada"), "✓ Benign"), "⚑ Concern")
    assert len(opened) == 1


def test_labels_imported_meanwhile_are_shown(review_page, own, digest):
    app = review_page(reviewer="Ada")
    assert "small words" in text(app)
    for label in ("of refusing", "of declining"):
        write_labels(own, digest, [Label(5, 1, label, "somebody")])
        assert label in text(app.run())
