"""Which texts read as refusals."""

import pytest

from store.metrics.refusals import is_refusal


@pytest.mark.parametrize(
    "text",
    [
        "I can't help with that.",
        "I can’t assist with this.",
        "I CANNOT provide that.",
        "I'm sorry, but I would rather talk about something else.",
        "I'm not able to help with that. Is there something else?",
        f"{'x' * 145} I can't help",  # 158 characters: the phrase ends within the 160 that are read
    ],
)
def test_refusals(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sure! First, open a terminal.",
        "I can't wait to see it.",
        "You can help by testing it.",
        "You can't be seen if you do this at night.",
        "It is illegal, so wear gloves.",
        "As an assistant that helps with everything: begin with the lock.",
        "I can't wait. Here is help",
        f"{'x' * 150} I can't help",
    ],
)
def test_answers_that_are_none(text):
    assert not is_refusal(text)
