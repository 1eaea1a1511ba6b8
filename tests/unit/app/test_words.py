"""How a page writes what has two ends, or depends on who is asked."""

import pandas as pd
import pytest

from app import words
from app.components import further_evidence
from app.words import comparison, meanings
from app.words.glossary import TERMS
from store.metrics.feature_columns import share
from store.metrics.thresholds import MIN_CLUSTERS
from store.names import ALL, kind_name


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [(-0.7, -0.52, "-70 % to -52 %"), (-0.1, 0.2, "-10 % to +20 %"), (1.0, 1.0, "+100 %"), (None, 0.2, "–"), (-0.1, None, "–")],
)
def test_a_range_is_its_two_ends_or_one_number_or_unknown(low, high, written):
    assert words.span(low, high, share) == written


def test_only_the_kind_that_a_verdict_is_called_too_has_another_name():
    assert [kind_name(name) for name in ("vanished", "steady")] == ["vanished", "no material change"]


def test_few_clusters_are_said_with_their_number():
    assert f"below {MIN_CLUSTERS} clusters" in meanings.SMALL_MEANING


@pytest.mark.parametrize(
    ("text", "length", "written"),
    [
        ("end of a turn", 13, "end of a turn"),
        ("end of a turn", 12, "end of a…"),
        ("“two”, “three”, “3” → “ co”, “ sum”", 24, "“two”, “three”, “3”…"),
        ("“two”, “three words in one token”", 12, "“two”…"),
        ("incomprehensibilities", 10, "incompreh…"),
        ("a incomprehensibilities", 10, "a incompr…"),
    ],
)
def test_text_is_cut_between_words_or_quoted_tokens_unless_that_leaves_little(text, length, written):
    assert words.short(text, length) == written
    assert len(written) <= length


def test_a_label_that_no_person_gave_is_marked_even_where_it_is_cut():
    assert words.label("end of a turn", "automatic", 19) == "end of a… (auto)"
    assert words.label("“trust”, “someone”, “rely”", None, 17) == "“trust”…"
    assert words.label("end of a turn", "reviewer", 12) == "end of a…"
    assert words.label(None, None) == ""


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_explained_in_one_sentence_that_needs_no_escaping(term):
    meaning = TERMS[term]
    assert meaning.endswith(".") and ". " not in meaning and not set(meaning) & set("`*_[]<>#~$&|\\")


def test_the_rule_that_is_no_evidence_says_so():
    assert "A random change of the weights does that to features too" in comparison.rule_meaning("material", ALL)
    assert "random changes of the weights of that size" in comparison.rule_meaning("verdict", ALL)


def test_of_one_domain_it_is_said_that_features_fire_often_enough_not_that_they_could_be_seen():
    assert "of features that could have been seen" in comparison.rule_meaning("material", ALL)
    assert "of features that fire often enough" in comparison.rule_meaning("material", "maths")


@pytest.mark.parametrize(("shift", "way"), [(2.0, "moved the same way"), (-2.0, "moved the other way"), (0.0, "did not move")])
def test_of_a_second_dictionary_the_direction_is_said_and_no_more(shift, way):
    replica = pd.Series({"replica_feature": 7, "cosine": 0.9, "shift": shift})
    assert further_evidence.same_elsewhere(1.0, replica).startswith(f"In a second dictionary its counterpart {way}")
