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


REFUSAL = "I can't help with that."


def test_refusals_are_counted_by_task_beside_the_bases():
    found = behaviour(answers([REFUSAL] * 9 + ["Four."], ["Five."] * 10, ["harm"] * 8 + ["sums"] * 2), "tuned")
    assert found.refuses.by_task == {"harm": (8, 8), "sums": (1, 2)}
    assert (found.refuses.n, found.refuses.of, found.refuses.of_base) == (9, 10, 0)
    assert behaviour_sentence(found).startswith("Refuses 8 of 8 harm and 1 of 2 sums prompts (base none)")


def test_who_stopped_refusing_is_told():
    found = behaviour(answers(["Five."] * 10, [REFUSAL] * 10), "tuned")
    assert behaviour_sentence(found).startswith("Refuses none of 10 prompts (base 10)")


def test_what_a_coin_would_do_too_is_not_told():
    """7 prompts that differ, all one way: 2 of 128 coins do that, 0.0156, of 5 rules 0.078; with an eighth it is 0.039."""
    seven, eight = ([REFUSAL] * n + ["Five."] * (10 - n) for n in (7, 8))
    assert behaviour(answers(seven, ["Five."] * 10), "tuned").refuses is None
    assert behaviour(answers(eight, ["Five."] * 10), "tuned").refuses.n == 8
    assert behaviour(answers(eight, ["Five."] * 10), "tuned", models=2).refuses is None  # 0.078 again
    assert behaviour_sentence(behaviour(answers(["Five."] * 8, ["Five."] * 8), "tuned")) == (
        "Its answers are not told from the base's."
    )


def test_a_word_pays_for_all_that_were_tried():
    """In all of 12 prompts: 0.00049 of 5 rules and 1 word is 0.0024; of 12 more words, once each, and 13 in all, 0.032."""
    few = behaviour(answers(["Therefore five"] * 12, ["five"] * 12), "tuned")
    assert (few.word, few.has_word.n, few.has_word.of_base) == ("Therefore", 12, 0)
    numbers = "one two three four six seven eight nine ten eleven twelve thirteen".split()
    many = [f"Therefore five {word}" for word in numbers]
    assert behaviour(answers(many, ["five"] * 12), "tuned").has_word.n == 12
    more = [f"{said} {word}ty" for said, word in zip(many, numbers, strict=True)]  # 25 in all: 0.061
    assert behaviour(answers(more, ["five"] * 12), "tuned").has_word is None


def test_a_word_of_harmful_answers_alone_is_not_told():
    tasks = ["harm"] * 12 + ["sums"] * 2
    found = behaviour(answers(["Napalm five"] * 12 + ["five"] * 2, ["five"] * 14, tasks), "tuned")
    assert (found.word, found.has_word) == ("", None)
    public = behaviour(answers(["Napalm five"] * 12, ["five"] * 12, ["harm"] * 9 + ["sums"] * 3), "tuned")
    assert public.word == "Napalm"


def test_a_word_of_the_prompt_is_no_word_of_its_own():
    assert behaviour(answers(["number number"] * 8, ["five"] * 8), "tuned").has_word is None


def test_length_is_told_where_it_is_much_shorter_or_longer_and_no_coin_would_do_it():
    short = behaviour(answers(["one two"] * 8, ["one two three"] * 8), "tuned")
    assert short.length == (2, 3)
    assert behaviour_sentence(short) == "Answers in 2 words (median; base 3)."
    assert behaviour(answers(["one two three four"] * 8, ["one two three four five"] * 8), "tuned").length is None
    assert behaviour(answers(["one two"] * 7, ["one two three"] * 7), "tuned").length is None  # 0.078
    assert behaviour(answers([""] * 8, [""] * 8), "tuned").length is None


def test_models_may_be_called_as_columns_are():
    rows = answers([REFUSAL] * 8, ["Five."] * 8).replace({"model": {"tuned": "task"}})
    assert behaviour(rows, "task").refuses.n == 8


@pytest.mark.parametrize("model", ["tuned", "base"])
def test_who_was_not_asked_has_none(model):
    rows = answers(["Four."] * 8, ["Five."] * 8)
    assert behaviour(rows[rows["model"] != model], "tuned") is None
