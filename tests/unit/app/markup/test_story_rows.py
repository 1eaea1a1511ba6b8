"""The pictures of a recipe's row: what they say in letters, where marks stand, and stores of one layer or many."""

import base64
import re

import pytest

from app.markup import story
from store.metrics.learning_summary import Learned
from store.reports.story import Profile, Story

NAN = float("nan")


def made(layers=(5, 12), verdicts=True, learned=None, values=(0.9, 0.5), twins=((0.8, 0.4), (0.85, 0.45))) -> Story:
    """A recipe of two runs whose cosine and overlap are alike."""
    of_layers = values if len(layers) == len(values) else [values[0]] * len(layers)
    bands = twins if len(layers) == len(values) else ([], [])
    profile = Profile(list(of_layers), *bands)
    counts = {"suppressed": [2] * len(layers), "amplified": [4] * len(layers), "could not be seen": [3] * len(layers)}
    return Story(
        "maths", 2, "", learned or {}, list(layers), {"cosine": profile, "overlap": profile}, counts if verdicts else None,
        None, None, {}, (), (),
    )  # fmt: skip


def drawing(html) -> str:
    """The one drawing in it."""
    (found,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', str(html))
    return base64.b64decode(found).decode()


def test_what_changed_is_said_and_drawn_on_a_scale_that_rows_share():
    """At most 8 at a layer of another recipe: 4 rose to half of the upper half (28 of 56 pixels), 2 fell to a quarter."""
    shared = story.Scales((0.0, 1.0), 0.0, 8)
    html = str(story.claims(made(), shared))
    assert "▼ 4" in html and "▲ 8" in html and 'alt="layer 5: 2 fell, 4 rose; layer 12: 2 fell, 4 rose"' in html
    assert re.findall(r'height="(\d+\.\d+)" fill', drawing(html)) == ["14.0", "7.0"] * 2
    assert re.findall(r"<span>(L?\d+)<", html) == ["L5", "12"]


def test_many_layers_name_their_ends_only():
    assert re.findall(r"<span>(L?\d+)<", str(story.claims(made(range(26)), story.Scales((0, 1), 0.0, 8)))) == ["L0", "25"]


def test_one_layer_is_a_line_all_across():
    html = story.profiles(made((7,)), story.Scales((0, 1), 0.0, 8), "#112233")
    points = re.findall(r'polyline points="([^"]+)"', drawing(html))
    assert points == ["2.0,7.2 148.0,7.2"] * 2  # 0.9 of 52 pixels from below, all of 146 across
    assert re.findall(r"<span>(L\d+)", str(html)) == ["L7"]


def test_a_gain_stands_beside_its_twins_from_zero():
    """From -1 to +3 over 150 pixels: 0 at 37.5, +2 at 112.5, a twin of -0.5 at 18.75."""
    learned = {"*task": Learned(2.0, 1.5, 2.5, 30, [-0.5]), "*neutral": Learned(-1.0, NAN, NAN, 5, [])}
    recipe = made(learned=learned)
    html = str(story.learned(recipe, story.Scales((-1.0, 3.0), 0.0, 8)))
    pictures = [base64.b64decode(one).decode() for one in re.findall(r'base64,([^"]+)"', html)]
    assert 'x="37.5" y="4" width="75.0"' in pictures[0] and 'x1="18.75"' in pictures[0]
    assert 'x="0.0" y="4" width="37.5"' in pictures[1]
    assert 'alt="its task: +2.00 nats a token, random changes of that size -0.500"' in html
    assert 'alt="other text: -1.00 nats a token"' in html


def test_scales_hold_every_row():
    learned = {"*task": Learned(2.0, 1.5, 2.5, 30, [-0.5])}
    shared = story.scales([made(learned=learned), made(verdicts=False, values=(0.3, NAN))])
    assert shared == story.Scales((-0.5, 2.5), 0.3, 4)


@pytest.mark.parametrize("verdicts", [True, False])
def test_what_a_recipe_is_called_is_only_text(verdicts):
    html = str(story.told(made(verdicts=verdicts), "<b>2</b>", "#112233"))
    assert "&lt;b&gt;2" in html and "features" in html
