"""The pages Documents and Answers, on stores of hand-written numbers: see tests/support/document_store.py."""

import os
import re
from urllib.parse import parse_qs

import pytest

from app import data, words
from tests.support import pages
from tests.support.document_store import IMAGE
from tests.support.outline import Outline


@pytest.fixture
def open_page(monkeypatch, document_store):
    def opened(view, stored=None, **params):
        monkeypatch.setenv(data.VARIABLE, os.fspath(stored or document_store))
        return pages.open_page(view, **params)

    return opened


def cards(app):
    """The answers on the page."""
    return Outline(next(element.value for element in app.html if 'class="fs-asked"' in element.value).split("</style>")[1])


def said(app):
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error, app.html)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def drawn(app):
    """The document on the page; the piece of it around the chosen token."""
    drawn = [element.value for element in app.html if 'class="fs-document' in element.value]
    return Outline(drawn[0].split("</style>")[1]), Outline(drawn[1])


def test_the_page_opens_on_the_document_that_changed_most_and_says_what_it_lacks(open_page):
    app = open_page("documents")
    assert not app.exception
    assert not app.error
    assert not app.warning
    assert app.dataframe[0].value["source"].tolist() == ["cut-1", "sum-1", "ask-1"]
    text = said(app)
    assert "**cut\\-1**" in text
    assert "kept no token metrics of this document" in text
    assert "did not keep the codes of this document" in text


def test_a_link_opens_document_token_and_value(open_page):
    app = open_page("documents", document="0", position="1", colour="l1")
    assert not app.warning
    whole, piece = drawn(app)
    here = whole.of_class("fs-here")
    assert piece.of_class("fs-here") == here
    assert parse_qs(here[0]["href"].lstrip("?")) == {"document": ["0"], "position": ["1"], "colour": ["l1"]}
    assert "2 features changed, 1 on and unchanged" in said(app)
    features = app.dataframe[1].value
    assert features["name"].tolist() == ["L12:1", "L12:2"]
    assert features["change"].tolist() == ["+3.00", "+0.500"]
    assert app.dataframe[2].value["position"].tolist() == [4, 2, 1, 0, 3]  # by L1: 8, 4, 2, 1, 0


def test_without_a_position_the_most_changed_token_is_chosen(open_page):
    app = open_page("documents", document="0", colour="cosine")
    assert drawn(app)[0].of_class("fs-here")[0]["href"].endswith("position=2")
    assert "1 feature changed ·" in said(app)


def test_a_sink_says_why_nothing_is_listed(open_page):
    app = open_page("documents", document="1", position="0", text="shown")
    assert "An attention sink" in said(app)
    assert len(app.dataframe) == 2  # documents and tokens


def test_a_token_where_nothing_changed_says_so(open_page):
    assert "Nothing changed here: no feature is on" in said(open_page("documents", document="0", position="0"))
    assert "Nothing changed here: 1 feature on, with the same code" in said(
        open_page("documents", document="1", position="1", text="shown")
    )


def test_harmful_text_is_covered_everywhere_until_asked_for(open_page):
    app = open_page("documents", document="1", position="2")
    assert [len(part.of_class("fs-covered")) for part in drawn(app)] == [3, 3]  # all but the template's token
    assert not any("No" in part.text for part in drawn(app))
    listed = app.dataframe[0].value.set_index("source")["start"]
    assert listed["ask-1"] == words.HIDDEN
    assert listed["cut-1"] == " plus plus No"
    assert set(app.dataframe[-1].value["token"]) == {words.HIDDEN, IMAGE}
    lifted = open_page("documents", document="1", position="2", text="shown")
    assert not any(part.of_class("fs-covered") for part in drawn(lifted))
    assert "⟨U+200B⟩" in lifted.dataframe[-1].value["token"].tolist()


def test_a_token_s_link_holds_what_the_page_was_given_and_no_more(open_page):
    href = drawn(open_page("documents"))[0].of_class("fs-here")[0]["href"]
    assert re.fullmatch(r"\?position=\d+", href)


def test_search_that_finds_nothing_says_what_to_do(open_page):
    app = open_page("documents", find="zebra")
    assert not app.exception
    assert "No such document" in said(app)
    assert not app.dataframe
    kept = open_page("documents", find="zebra", document="0")  # one that is named stays
    assert "not in the list above" in said(kept)


def test_a_document_that_does_not_exist_is_said_and_replaced(open_page):
    app = open_page("documents", document="99")
    assert "asks for document “99”, but it has to be a number from 0 to 2" in app.warning[0].value


def test_without_sampled_predictions_they_are_not_offered(open_page, poor_document_store):
    app = open_page("documents", stored=poor_document_store, document="0")
    assert not app.exception
    offered = next(box for box in app.selectbox if box.label == "Colour by").options
    assert offered == ["1 − cosine", "1 − overlap", "L1 divergence", "L0 change", "L0, both models"]
    assert "kl" not in app.dataframe[-1].value


def test_a_document_that_was_not_sampled_says_so(open_page):
    assert "was not sampled" in said(open_page("documents", document="1", colour="kl"))


def test_a_store_without_any_token_value_says_so(open_page, empty_document_store):
    app = open_page("documents", stored=empty_document_store)
    assert not app.exception
    assert "kept no token metrics, so that nothing can be shown" in said(app)


def test_the_way_through_the_list_is_in_the_link(open_page):
    app = open_page("documents", document="0", position="3", arrange="order")
    app.button[1].click().run()  # Next
    assert app.query_params["document"] == "1"
    assert "position" not in app.query_params


def test_answers_a_page_at_a_time(open_page):
    app = open_page("answers", task="sums")
    assert not app.exception
    assert not app.warning
    page = cards(app)
    assert len(page.of_class("fs-asked")) == 10
    assert words.HIDDEN not in page.text
    assert "12 prompts · page 1 of 2" in said(app)
    app.button[1].click().run()
    assert app.query_params["p"] == "2"
    assert len(cards(app).of_class("fs-asked")) == 2


def test_answers_of_a_task_that_may_be_harmful_are_covered_until_asked_for(open_page):
    app = open_page("answers")
    assert cards(app).text.count(words.HIDDEN) == 3
    app.button[0].click().run()
    assert app.query_params["text"] == "shown"
    assert words.HIDDEN not in cards(app).text


def test_answers_that_differ_or_contain_a_text(open_page):
    assert "6 prompts" in said(open_page("answers", task="sums", differ="yes"))
    assert "1 prompt ·" in said(open_page("answers", task="sums", find="it is 16"))
    assert "No such prompt or answer" in said(open_page("answers", task="sums", find="zebra"))


def test_a_store_without_answers_says_how_to_get_them(open_page, poor_document_store):
    app = open_page("answers", stored=poor_document_store)
    assert not app.exception
    assert "holds no answers" in said(app)
