"""Answers side by side, and as a file."""

import pandas as pd

from app import words
from app.markup import answer_cards


def test_a_covered_file_holds_refusals_and_nothing_else_that_was_asked_or_said():
    refusal = "I'm sorry, but I can't help with that."
    rows = pd.DataFrame({"text": "How to ...", "model": ["base", "a", "b"], "answer": ["Step one: ...", refusal, ""]})
    covered = answer_cards.covered(rows)
    assert covered["text"].tolist() == [words.HIDDEN] * 3
    assert covered["answer"].tolist() == [words.HIDDEN, refusal, ""]
    assert covered["model"].tolist() == ["base", "a", "b"]
