"""The equation checker on hand-worked cases, and the split of maths problems by template."""

import pytest

from extract.demo.data.maths import equations_hold, final_answer, maths_items
from extract.demo.data.splits import held_out


@pytest.mark.parametrize(
    "text",
    [
        "He has 3 times as many, so 35 × 3 = 105 kiwi",
        "180 carrot / 15 carrot/minute = 12 minutes",
        "The fee is $870000 x 5/100 = $43500.",
        "2 kilometers in cold water: 2(21)=42 minutes",
        "Warm water = 9+2(21)=51.0 minutes",
        "In a 5 day week, he reads 112*5 = 560",
        "40% of 50 = 20 students",
        "10 / 3 = 3.33",
        "108 minutes because 57 + 51 = 108",
        "48=48 emails",
        "   - 70 plants × £6 per plant = £420",
        "12÷1/2 = 6",
        "$43,500 + $630,000 = $673,500",
        "46 * 0.46 = 21.16",
    ],
)
def test_true_equations_hold(text):
    assert equations_hold(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "13 ÷ 2/3 = 19",  # (13 / 2) / 3 is 2.1667, and 13 / (2/3) is 19.5
        "10 / 3 = 3",  # a whole number is not a rounded one
        "0.46 * 40 = 18",
        "5 * 0.5 = 2 tubes",
        "3 + 4 = 7 = 8",
        "good: 1 + 1 = 2\nbad: 2 + 2 = 5",
    ],
)
def test_false_equations_are_found(text):
    assert equations_hold(text) is False


@pytest.mark.parametrize("text", ["no equation here", "1 hour = 60 minutes", "cost = price", ""])
def test_nothing_to_read_is_not_truth(text):
    assert equations_hold(text) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [("so\n#### 1,234", "1234"), ("#### $60.0", "60"), ("#### -7 apples", "-7"), ("#### 2.5", "2.5"), ("#### none", None)],
)
def test_final_answer(text, answer):
    assert final_answer(text) == answer


def test_items_are_checked_and_split_by_template():
    training, heldout = (maths_items(range(3), heldout=side) for side in (False, True))
    templates = [{item["source"].split("/")[1] for item in side} for side in (training, heldout)]
    assert len(templates[0]) > 40
    assert len(templates[1]) > 10
    assert not templates[0] & templates[1]
    for item in training + heldout:
        body, _, answer = item["response"].rpartition("#### ")
        assert equations_hold(body) and answer.isdigit()
        assert held_out("/".join(item["source"].split("/")[:2]), 0.25) is (item in heldout)


def test_items_are_the_same_every_time():
    assert maths_items(range(2), heldout=True) == maths_items(range(2), heldout=True)
