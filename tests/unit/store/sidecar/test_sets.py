"""A causal check of a set in one line: which way it compares, and when it does not."""

import pytest

from store.sidecar.sets import Gone, SetSteering, in_short


def made(gain: Gone, chosen_by: str = "contribution") -> SetSteering:
    return SetSteering("maths", 12, "*task", chosen_by, (0, 5), 64, 8, 0, gain, gain, None)


@pytest.mark.parametrize(
    ("whole", "gone", "more", "low", "high", "beside"),
    [
        (0.5, 0.3, 0.25, 0.1, 0.4, "more than random ones do"),
        (0.5, -0.3, -0.35, -0.4, -0.1, "less than random ones do"),
        (0.5, 0.3, 0.25, -0.1, 0.6, "not told from random ones"),
        (-0.5, -0.3, -0.25, -0.4, -0.1, "more than random ones do"),  # of a loss so much comes back
        (0.5, 0.3, 0.25, None, None, "too few clusters to tell it from random ones"),
    ],
)
def test_in_short(whole, gone, more, low, high, beside):
    gain = Gone(whole, gone, None, None, more, low, high, 0.4, 0.1, (0.05,))
    said = f"On new text, undoing the first 2 at layer 12 takes back {gone:.2f} of {whole:.2f} nats, {beside}."
    assert in_short(made(gain)) == said


def test_what_chose_its_features_is_no_new_text():
    gain = Gone(0.5, 0.3, None, None, 0.25, 0.1, 0.4, 0.4, 0.1, (0.05,))
    said = "On sampled text, undoing the 2 that are claimed at layer 12 takes back 0.30 of 0.50 nats, more than random ones do."
    assert in_short(made(gain, "claimed")) == said
