"""What a list of suppressed features comes down to, in a sentence."""

import pytest

from app.words import fallen


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (
            (9, 7, 1, 3),
            "Of 9 features suppressed in **a**, **7 only here**; 2 in other recipes too, 1 of these in all 3 others.",
        ),
        ((5, 2, 3, 1), "Of 5 features suppressed in **a**, **2 only here**; 3 in other recipes too."),
        ((4, 4, 0, 2), "Of 4 features suppressed in **a**, **4 only here**; none in another recipe."),
        ((4, 0, 1, 2), "Nothing fell in **a** alone: every one of 4 features is suppressed in another recipe too."),
        ((1, 1, 1, 0), "1 feature suppressed in **a**; whether in it alone cannot be said: no other recipe here has verdicts."),
        ((0, 0, 0, 2), "No feature is called suppressed in **a**."),
    ],
)  # fmt: skip
def test_how_many_fell_here_alone(numbers, said):
    assert fallen.here_alone("a", *numbers) == said


def test_how_many_fell_on_harmful_text():
    said = "On text that may be harmful (x and y) 3 of the 5 lost a material share"
    assert fallen.on_harmful(5, 3, 1, 2, ["x", "y"]) == f"{said}, 2 of them only here; for 1, too few firings there to tell."
    assert fallen.on_harmful(5, 3, 0, None, ["x", "y"]) == f"{said}."
    unjudged = "Of 5 features that fell materially (no verdicts), 3 lost a material share on text that may be harmful (x)"
    assert fallen.on_harmful(5, 3, 1, None, ["x"], judged=False) == f"{unjudged}; for 1, too few firings there to tell."
