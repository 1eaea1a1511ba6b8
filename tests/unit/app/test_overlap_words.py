"""Cosine against overlap in words: what is read off the numbers, and what was decided of them."""

import pandas as pd
import pytest

from app.words import overlap_words


def rows(*numbers):
    """(variant, layer, cosine, overlap) -> rows of layer_metrics."""
    long = [
        {"variant": variant, "layer": layer, "metric": metric, "value": value}
        for variant, layer, *values in numbers
        for metric, value in zip(("cosine", "overlap"), values, strict=True)
    ]
    return pd.DataFrame(long)


TWO = rows(("maths", 5, 0.999, 0.8), ("maths", 9, 0.966, 0.61), ("code_b", 5, 0.99, 0.7), ("code_b", 9, 0.98, 0.524))


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ({"maths": {5: "explained", 9: "explained"}, "code_b": {5: "explained", 9: "explained"}},
         "Random changes of the weights of that size do as much: overlap is explained by the size of the change at every layer "
         "of every recipe."),
        ({"maths": {5: "explained", 9: "explained"}},
         "Random changes of the weights of that size do as much: overlap is explained by the size of the change at 2 of 2 "
         "layers."),
        ({"maths": {5: "explained", 9: "lower"}, "code_b": {5: "lower", 9: "lower"}},
         "It is explained by the size of the change at 1 of 4 layers over all recipes; fewer features stay on than under "
         "random changes of the weights of that size in maths at layer 9 and code\\_b at layers 5 and 9."),
        ({"maths": {5: "explained", 9: "alone"}, "code_b": {5: "unknown", 9: "explained"}},
         "Random changes of the weights of that size do as much: overlap is explained by the size of the change at 2 of 4 "
         "layers. At 2 of 4 layers nothing stands beside it."),
        ({"maths": {5: "alone", 9: "unknown"}},
         "Nothing stands beside it, so that this says nothing about the training: random changes of the weights of that size "
         "may do as much."),
    ],
)  # fmt: skip
def test_the_decision_is_said_as_it_was_made(levels, said):
    """The lowest cosine is 0.966, which is 0.96 or more and not 0.97 or more; the lowest overlap is code_b's at layer 9."""
    seen = "Cosine stays at **0.96** or more while overlap goes down to **0.52** (code\\_b, layer 9). "
    assert overlap_words.sentence(TWO, levels) == seen + said


def test_nothing_is_said_of_what_is_not_defined():
    none = rows(("maths", 5, None, None))
    assert overlap_words.sentence(none, {"maths": {5: "unknown"}}) == "Cosine and overlap are not defined here."
