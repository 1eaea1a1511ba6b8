"""What answers show of a model beside its base; every count by hand."""

import pandas as pd
import pytest

from store.metrics.behaviour import behaviour, behaviour_sentence, goes_in_circles, repeats_request

QUESTIONS = [f"What is the number {n} and why?" for n in "abcdefgh"]


def answers(own: list[str], base: list[str], tasks: list[str] | None = None) -> pd.DataFrame:
    """One row a prompt and model: the base's and those of a model called tuned."""
    tasks = tasks or ["sums"] * len(own)
    return pd.DataFrame(
        [
            {"task": task, "prompt": at, "text": QUESTIONS[at % 8], "model": model, "answer": said[at]}
            for at, task in enumerate(tasks)
            for model, said in (("base", base), ("tuned", own))
        ]
    )


def test_what_repeats_the_request_begins_with_its_first_six_words():
    assert repeats_request("What is the sum of 2 and 2?", "what is the SUM of 2, then?")
    assert not repeats_request("What is the sum of 2 and 2?", "What is the sum?")
    assert not repeats_request("", "anything")


def test_in_circles_are_four_words_that_come_three_times():
    assert goes_in_circles("I like to sing. I like to sing. I like to sing.")
    assert not goes_in_circles("I like to sing. I like to sing.")
    assert not goes_in_circles("no no no")


def test_refusals_are_counted_by_task_beside_the_bases():
    refusal = "I can't help with that."
    found = behaviour(answers([refusal] * 7 + ["Four."], ["Five."] * 8, ["harm"] * 6 + ["sums"] * 2), "tuned")
    assert found.refuses.by_task == {"harm": (6, 6), "sums": (1, 2)}
    assert (found.refuses.n, found.refuses.of, found.refuses.of_base) == (7, 8, 0)
    assert behaviour_sentence(found).startswith("Refuses 6 of 6 harm and 1 of 2 sums prompts (base none)")


def test_what_a_coin_would_do_too_is_not_told():
    """5 prompts that differ, all one way: 2 of 32 coins do that, 0.0625; with a sixth it is 0.031."""
    refusal = "I can't help with that."
    five, six = ([refusal] * n + ["Five."] * (8 - n) for n in (5, 6))
    assert behaviour(answers(five, ["Five."] * 8), "tuned").refuses is None
    assert behaviour(answers(six, ["Five."] * 8), "tuned").refuses.n == 6
    assert behaviour_sentence(behaviour(answers(["Five."] * 8, ["Five."] * 8), "tuned")) == (
        "Its answers are not told from the base's."
    )


def test_a_word_pays_for_all_that_were_tried():
    """Told in all 8 prompts by 8 coins, 0.0078 of a word: enough where 2 words are tried, too little where 12 are."""
    few = behaviour(answers(["Therefore five"] * 8, ["five"] * 8), "tuned")
    assert (few.word, few.has_word.n, few.has_word.of_base) == ("Therefore", 8, 0)
    many = [f"Therefore five {word}" for word in "one two three four six seven eight nine".split()]
    assert behaviour(answers(many, ["five"] * 8), "tuned").has_word is None


def test_a_word_of_the_prompt_is_no_word_of_its_own():
    assert behaviour(answers(["number number"] * 8, ["five"] * 8), "tuned").has_word is None


def test_length_is_told_where_it_is_much_shorter_or_longer_and_no_coin_would_do_it():
    short = behaviour(answers(["one two"] * 8, ["one two three"] * 8), "tuned")
    assert short.length == (2, 3)
    assert behaviour_sentence(short) == "Answers in 2 words (median; base 3)."
    assert behaviour(answers(["one two three four"] * 8, ["one two three four five"] * 8), "tuned").length is None
    assert behaviour(answers(["one two"] * 5, ["one two three"] * 5), "tuned").length is None  # 2 of 32 coins
    assert behaviour(answers([""] * 8, [""] * 8), "tuned").length is None


@pytest.mark.parametrize("model", ["tuned", "base"])
def test_who_was_not_asked_has_none(model):
    rows = answers(["Four."] * 8, ["Five."] * 8)
    assert behaviour(rows[rows["model"] != model], "tuned") is None
