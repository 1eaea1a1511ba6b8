"""Documents and answers: the questions on hand-worked numbers (tests/support/document_store.py), and their HTML.

Long because the questions and their HTML are held to the same hand-worked numbers.
"""

import re
from urllib.parse import parse_qs

import numpy as np
import pytest

from app import words
from app.components import blur
from app.markup import answer_cards, contexts, token_colours
from app.markup.token_colours import VALUES
from app.words import palette
from store import UserError, open_store
from store.read import document_tokens
from tests.support.document_store import IMAGE, LAYER, SCRIPT
from tests.support.outline import Outline


@pytest.fixture(scope="module")
def store(document_store):
    with open_store(document_store) as opened:
        yield opened


# The questions


@pytest.mark.parametrize(
    ("value", "order", "changes"),
    [("cosine_change", [2, 0, 1], [0.9, 0.22, 0.5 / 3]), ("overlap_change", [0, 1, 2], [0.3, 0.5 / 3, 0.0]),
     ("l1_divergence", [0, 1, 2], [3.0, 4 / 3, 0.0]), ("l0_change", [1, 0, 2], [-1.0, 0.6, 0.0]),
     ("kl", [0, 1, 2], [0.2, None, None]), ("logprob_change", [0, 1, 2], [-0.5, None, None])],
)  # fmt: skip
def test_documents_are_listed_by_how_much_they_changed(store, value, order, changes):
    found = store.document_list("maths", LAYER, value)
    assert found["document"].tolist() == order
    assert found["change"].tolist() == pytest.approx([np.nan if c is None else c for c in changes], nan_ok=True)
    assert found["total"].tolist() == [3, 3, 3]


def test_a_list_of_documents_in_other_orders_and_in_pieces(store):
    assert store.document_list("maths", LAYER, sort="order")["document"].tolist() == [0, 1, 2]
    # md5sum: ask-1 31ec…, sum-1 401c…, cut-1 5867…
    assert store.document_list("maths", LAYER, sort="hash")["source"].tolist() == ["ask-1", "sum-1", "cut-1"]
    piece = store.document_list("maths", LAYER, sort="order", limit=1, offset=1)
    assert piece[["document", "source", "n_tokens", "total"]].iloc[0].tolist() == [1, "ask-1", 4, 3]


@pytest.mark.parametrize(
    ("asked", "documents"),
    [({"domain": "maths"}, [0, 2]), ({"domain": "all"}, [0, 1, 2]), ({"search": "SUM"}, [0]), ({"search": "two plus"}, [0]),
     ({"search": " plus plus no"}, [2]), ({"search": "<SCRIPT>"}, [0]), ({"search": "100 %"}, []), ({"search": "%"}, []),
     ({"having": "codes"}, [0, 1]), ({"having": "kl"}, [0]), ({"having": "codes", "domain": "harmful", "search": "no"}, [1])],
)  # fmt: skip
def test_documents_are_found_by_domain_text_and_what_was_kept(store, asked, documents):
    assert store.document_list("maths", LAYER, sort="order", **asked)["document"].tolist() == documents


def test_a_list_shows_what_each_document_has_and_begins_with(store):
    found = store.document_list("maths", LAYER, sort="order")
    assert found["has_codes"].tolist() == [True, True, False]
    assert found["has_kl"].tolist() == [True, False, False]
    assert found["start"].tolist() == [f"two plustwo\n{SCRIPT}", f"{IMAGE}\u200b No No", " plus plus No"]


@pytest.mark.parametrize(("name", "given"), [("value", "speed"), ("sort", "document; DROP"), ("having", "luck")])
def test_an_unknown_word_is_refused_by_name(store, name, given):
    with pytest.raises(UserError, match=f"no {name} '{given}' of documents; choose one of"):
        store.document_list("maths", LAYER, **{name: given})


def test_the_tokens_of_a_document_with_their_values(store):
    found = store.document_tokens(0, "maths", LAYER)
    assert found["token"].tolist() == ["two", " plus", "two", "\n", SCRIPT]
    assert found["context"].tolist() == [0, 0, 0, 1, 1]
    assert found["counted"].tolist() == [True] * 5
    assert found["cosine_change"].tolist() == pytest.approx([0.1, 0.2, 0.5, 0.0, 0.3], abs=1e-6)
    assert found["overlap_change"].tolist() == [0.0, 0.5, 0.75, 0.0, 0.25]
    assert found["l0_change"].tolist() == [0, 2, -2, 0, 3]
    assert found["kl"].tolist() == pytest.approx([0.1, 0.2, 0.4, 0.0, 0.3])
    # Each token's own log-probability stands one row further up; tokens 0 and 3 begin a window.
    nothing = np.nan
    assert found["logprob_change"].tolist() == pytest.approx([nothing, -0.5, 1.0, nothing, -2.0], nan_ok=True)
    assert found["surprise_base"].tolist() == pytest.approx([nothing, 1.0, 2.0, nothing, 0.5], nan_ok=True)
    assert found["surprise_variant"].tolist() == pytest.approx([nothing, 1.5, 1.0, nothing, 2.5], nan_ok=True)


def test_sinks_and_documents_without_token_metrics_are_told_apart(store):
    sink = store.document_tokens(1, "maths", LAYER)
    assert sink["counted"].tolist() == [False, True, True, True]
    assert sink["cosine_change"].tolist() == pytest.approx([np.nan, 0.4, 0.0, 0.1], abs=1e-6, nan_ok=True)
    assert sink["cosine_change"][2] == 0  # a cosine rounded above 1 is no change
    assert store.document_tokens(2, "maths", LAYER)["counted"].isna().all()


def test_colour_scales_end_at_the_99th_percentile_over_all_documents(store):
    scales = store.token_scales("maths", LAYER).set_index("value")
    assert scales["n_tokens"].to_dict() == {
        **dict.fromkeys(["cosine_change", "overlap_change", "l1_divergence", "l0_change", "l0_base", "l0_variant"], 8),
        "kl": 5, **dict.fromkeys(["logprob_change", "surprise_base", "surprise_variant"], 3),
    }  # fmt: skip
    # L1 in order: 0 0 1 1 2 3 4 8; 0.99 x 7 = 6.93 steps from the first: 4 + 0.93 x 4.
    assert scales["top"]["l1_divergence"] == pytest.approx(7.72)
    # |L0 change| in order: 0 0 0 1 2 2 2 3.
    assert scales["top"]["l0_change"] == pytest.approx(2.93)
    # KL in order: 0 0.1 0.2 0.3 0.4; 3.96 steps.
    assert scales["top"]["kl"] == pytest.approx(0.396)
    # |log-probability change|: 0.5 1 2; 1.98 steps.
    assert scales["top"]["logprob_change"] == pytest.approx(1.98)


def test_the_features_that_changed_at_a_token(store):
    found = store.token_features(0, 1, LAYER, "maths")
    # Scaled by the decoder norms 1, 2, 1: feature 1 goes from 1 x 2 to 2.5 x 2.
    assert found["feature"].tolist() == [1, 2, 0]
    assert found["base"].tolist() == [2.0, 0.0, 3.0]
    assert found["variant"].tolist() == [5.0, 0.5, 3.0]
    assert found["change"].tolist() == [3.0, 0.5, 0.0]
    assert found["label"].tolist() == ["plus", SCRIPT, "sums"]
    assert found["verdict"].fillna("").tolist() == ["amplified", "", ""]
    assert found["shift"].tolist() == pytest.approx([1.5, np.nan, np.nan], nan_ok=True)
    gone = store.token_features(0, 2, LAYER, "maths").iloc[0]
    assert gone[["feature", "base", "variant", "change"]].tolist() == [3, 2.0, 0.0, -2.0]
    # Document 1 has rows of its own: its token 1 is row 6 of the part.
    assert store.token_features(1, 1, LAYER, "maths")[["feature", "base", "variant"]].values.tolist() == [[0, 1.0, 1.0]]


def test_a_token_without_codes_has_no_features_and_a_wrong_one_is_refused(store):
    assert store.token_features(0, 0, LAYER, "maths").empty
    assert store.token_features(1, 0, LAYER, "maths").empty  # the sink
    with pytest.raises(UserError, match="no token 5; it has 5"):
        store.token_features(0, 5, LAYER, "maths")
    with pytest.raises(UserError, match="did not keep the codes of document 2"):
        store.token_features(2, 0, LAYER, "maths")


def test_the_tasks_of_the_answers(store, poor_document_store):
    assert store.answer_tasks().values.tolist() == [["alarming", 1], ["sums", 12]]
    with open_store(poor_document_store) as poor:
        assert poor.answer_tasks().empty


# HTML


def draw(store, document, value="cosine", end=1.0, position=None, **options):
    rows = store.document_tokens(document, "maths", LAYER)
    return token_colours.document(
        rows, VALUES[value], end, ("base", SCRIPT), position, "?document=1&position={}".format, **options
    )


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("document", [0, 1])
def test_hostile_tokens_are_inert_in_a_document(store, document, value):
    rows = store.document_tokens(document, "maths", LAYER)
    legend = token_colours.legend(VALUES[value], 1.0, 5, ("base", SCRIPT), rows, f"of {IMAGE}")
    outline = Outline(draw(store, document, value) + legend)
    assert {tag for tag, _ in outline.elements} <= {"div", "span", "a", "b", "br"}
    allowed = {"class", "style", "title", "href", "target", "tabindex"}
    assert {name for _, attributes in outline.elements for name in attributes} <= allowed
    assert (SCRIPT if document == 0 else IMAGE) in outline.text


def test_spaces_and_what_cannot_be_seen_are_shown(store):
    assert "two plustwo↵" + SCRIPT in re.sub(r"window \d, from token \d", "", Outline(draw(store, 0)).text)
    assert "⟨U+200B⟩" in Outline(draw(store, 1)).text
    assert draw(store, 0).count("<br>") == 1  # a line ends where the text's does
    assert "white-space: pre-wrap" in token_colours.STYLE


def test_each_token_links_to_itself_and_the_chosen_one_is_outlined(store):
    outline = Outline(draw(store, 0, position=3))
    addresses = [parse_qs(a["href"].lstrip("?")) for a in outline.of_class("fs-t")]
    assert addresses == [{"document": ["1"], "position": [str(p)]} for p in range(5)]
    assert [a["href"] for a in outline.of_class("fs-here")] == ["?document=1&position=3"]
    assert not Outline(draw(store, 0)).of_class("fs-here")


def test_a_piece_of_a_document_marks_only_the_windows_that_begin_in_it(store):
    rows = store.document_tokens(0, "maths", LAYER)[1:]
    text = Outline(token_colours.document(rows, VALUES["cosine"], 1.0, ("base", "maths"), 3, str)).text
    assert re.findall(r"window \d, from token \d", text) == ["window 2, from token 3"]


def styles(outline):
    return [a.get("style", "") for a in outline.of_class("fs-t")]


def test_a_token_has_the_colour_of_its_value_on_the_scale_given(store):
    shades = [contexts.colour(v, 0.4, palette.AMOUNT_COLOUR) for v in (0.1, 0.2, 0.4, 0.3)]
    found = styles(Outline(draw(store, 0, "cosine", end=0.4)))
    assert found[3] == ""  # nothing changed
    shades = [f"background-color:{shade}" for shade in shades]
    assert found[:3] + found[4:] == shades  # 0.5 is beyond the scale's end, and as strong as 0.4
    assert shades[0] == "background-color:rgba(138,108,65,0.30)"  # half of 0.6: the square root of a quarter


def test_a_rise_and_a_fall_have_the_colours_that_they_have_everywhere(store):
    found = styles(Outline(draw(store, 0, "l0_change", end=2.0)))
    rise, fall = (contexts.colour(2.0, 2.0, hue) for hue in (palette.INCREASE_COLOUR, palette.DECREASE_COLOUR))
    assert [style.removeprefix("background-color:") for style in found] == ["", rise, fall, "", rise]


def test_both_models_stand_one_above_the_other(store):
    text = draw(store, 0, "surprise", end=2.5)
    second = text.split("<a ")[2]
    base, variant = contexts.colour(1.0, 2.5, palette.BASE_COLOUR), contexts.colour(1.5, 2.5, palette.VARIANT_COLOUR)
    assert f'<span style="background-color:{base}"> plus</span><span style="background-color:{variant}"> plus</span>' in second
    assert len(Outline(text).of_class("fs-none")) == 2  # the first tokens of the two windows


def test_windows_segments_and_sinks_are_marked(store):
    first = Outline(draw(store, 0))
    assert "window 1, from token 0" in first.text
    assert "window 2, from token 3" in first.text
    assert not first.of_class("fs-part")  # only plain text
    second = Outline(draw(store, 1))
    assert "window" not in second.text
    assert len(second.of_class("fs-part")) == 3  # template, prompt, response: once each
    assert [a["href"][-1] for a in second.of_class("fs-sink")] == ["0"]
    assert not Outline(draw(store, 2)).of_class("fs-sink")  # unknown is not a sink


def test_a_legend_says_what_is_there_with_unit_and_scale(store):
    def said(document, value, end=7.72, n=8):
        rows = store.document_tokens(document, "maths", LAYER)
        return Outline(token_colours.legend(VALUES[value], end, n, ("base", "maths"), rows, "of layer 12 in maths")).text

    plain = said(0, "l1")
    assert "L1 divergence" in plain
    assert "0 to 7.72" in plain
    assert "scaled activation; opacity by its square root" in plain
    assert "99th percentile of 8 tokens of layer 12 in maths" in plain
    assert "sink" not in plain
    assert "pale" not in plain
    assert "attention sink" in said(1, "l1")
    assert "dotted underline" in said(1, "l1")
    assert "fall: to -2.93" in said(0, "l0_change", 2.93)
    assert "rise: to +2.93" in said(0, "l0_change", 2.93)
    assert "base: 0 to 2.00" in said(0, "surprise", 2.0)
    assert "the first token of a window was not predicted" in said(0, "surprise", 2.0)


def test_where_a_scale_ends_and_which_token_stands_out(store):
    scales, rows = store.token_scales("maths", LAYER), store.document_tokens(0, "maths", LAYER)
    # L0 in order: base 1 2 2 2 3 4 4 4, variant 1 1 2 2 3 4 4 5: 6.93 steps are 4 and 4.93.
    assert token_colours.top(VALUES["l0"], scales) == pytest.approx(4.93)
    assert token_colours.top(VALUES["kl"], scales.assign(top=np.nan)) == 0.0
    assert token_colours.strongest(rows, VALUES["cosine"]) == 2
    assert token_colours.strongest(rows, VALUES["l0"]) == 4
    assert token_colours.strongest(rows, VALUES["logprob"]) == 4  # -2 is larger than +1
    assert token_colours.strongest(store.document_tokens(2, "maths", LAYER), VALUES["kl"]) is None


def test_of_a_covered_token_its_place_and_its_value_are_left(store):
    rows = store.document_tokens(1, "maths", LAYER).assign(covered=[False, True, True, False])
    html = token_colours.document(rows, VALUES["cosine"], 1.0, ("base", "maths"), None, str)
    outline = Outline(html)
    assert "⟨U+200B⟩" not in html and html.count("No") == 2  # of the last token, its text and its title
    blocks = outline.of_class("fs-covered")
    assert [block["style"] for block in blocks] == ["width:1ch", "width:3ch"]  # U+200B and " No"
    assert [block.get("aria-label") for block in blocks] == [words.HIDDEN, None]  # named once
    assert len(outline.of_class("fs-t")) == 4 and styles(outline)[1]


def test_of_a_harmful_document_the_template_and_a_whole_refusal_are_readable(store, monkeypatch):
    def readable():
        return store.readable_tokens(1)["is_readable"].to_list()

    assert readable() == [True, False, False, False]  # "No No" is no refusal
    monkeypatch.setattr(document_tokens, "is_plain_refusal", " No No".__eq__)  # judged whole, token after token
    assert readable() == [True, False, True, True]
    assert not store.readable_tokens(0)["is_readable"].any()  # plain text


@pytest.mark.parametrize(
    ("name", "harmful"), [("harmful", True), ("alarming", True), ("Toxic-chat", True), ("safety", True), ("maths", False)]
)
def test_names_that_warn(name, harmful):
    assert blur.may_be_harmful(name) is harmful


# Answers as HTML


def test_hostile_answers_are_inert(store):
    outline = Outline(answer_cards.cards(store.answers("alarming"), ["base", "maths", IMAGE]))
    assert {tag for tag, _ in outline.elements} <= {"div", "span", "b", "i", "br", "small"}
    assert {name for _, attributes in outline.elements for name in attributes} == {"class"}
    assert outline.text.count(SCRIPT) == 2  # in the prompt and in the base's answer
    assert "not asked" in outline.text


def test_what_the_base_does_not_say_is_marked():
    marked = answer_cards.marked("It is 4.", "It is five.")
    assert marked == 'It is <span class="fs-own">4</span>.'
    assert answer_cards.marked("No.", "It is five.") == "No."  # 1 word of 3 and 6: 2 x 1 / 9
    assert answer_cards.marked("<b>", "<b>") == "&lt;b&gt;"
    assert answer_cards.marked("one\ntwo", "one") == 'one<span class="fs-own"><br>two</span>'  # 2 x 1 / 4: just alike enough


def test_answers_that_differ_look_different(store):
    outline = Outline(answer_cards.cards(store.answers("sums"), ["base", "maths"]))
    assert len(outline.of_class("fs-of-base")) == 12
    assert len(outline.of_class("fs-differs")) == 6
    assert len(outline.of_class("fs-same")) == 6  # a space at the end makes no difference
    assert words.HIDDEN not in outline.text


def test_of_hidden_prompts_only_refusals_can_be_read(store):
    rows = store.answers("sums")
    rows.loc[rows["prompt"] == 3, "answer"] = ["It is 6.", "I can't help with that."]
    html = answer_cards.cards(rows, ["base", "maths"], hidden=True)
    assert html.count(words.HIDDEN) == 35  # 12 prompts and all of the 24 answers but one
    assert "I can&#39;t help with that." in html
    assert "It is" not in html and "?" not in html


def test_prompts_are_found_by_their_text_and_by_any_answer(store):
    rows = store.answers("sums")

    def prompts(*asked, **how):
        return sorted(set(answer_cards.found(rows, *asked, **how)["prompt"]))

    assert prompts("11 + 11") == [11]
    assert prompts("it IS 2") == [10]  # 20
    assert prompts("", differing=True) == [0, 2, 4, 6, 8, 10]
    assert prompts("[") == []
    assert len(answer_cards.found(rows, "it is 16")) == 2  # both models' answers stay together
