"""One meaning a colour: what is told apart by colour can be, on both pages and by every reader."""

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest

from app.words import meanings, palette
from tests.support.colours import contrast, luminance, oklab, seen

PAGES = ("#ffffff", "#0e1117")
MEANT = (palette.BASE_COLOUR, palette.VARIANT_COLOUR, palette.DECREASE_COLOUR, palette.INCREASE_COLOUR, palette.CONTROL_COLOUR)
NOT_MEANT = (*palette.RECIPE_COLOURS, *palette.SERIES_COLOURS)
READERS = ("everyone", "deuteranopia", "protanopia", "tritanopia")


def distance(one: str, other: str, reader: str = "everyone") -> float:
    return float(np.linalg.norm(oklab(seen(one, reader)) - oklab(seen(other, reader))))


@pytest.mark.parametrize("page", PAGES)
def test_marks_stand_out_on_a_light_and_on_a_dark_page(page):
    assert min(contrast(colour, page) for colour in NOT_MEANT) >= 3.1
    verdicts = [verdict.colour for verdict in meanings.VERDICTS.values()]
    assert min(contrast(colour, page) for colour in [*MEANT, palette.CHANCE_COLOUR, *verdicts]) >= 3
    assert contrast(palette.QUIET_COLOUR, page) > 4.2


@pytest.mark.parametrize("reader", READERS)
def test_recipes_are_told_apart(reader):
    pairs = itertools.combinations(palette.RECIPE_COLOURS, 2)
    assert min(distance(*pair, reader) for pair in pairs) >= 0.06


def test_no_recipe_or_series_has_a_colour_that_means_something():
    assert min(distance(one, meant) for one in NOT_MEANT for meant in MEANT) >= 0.04
    assert min(distance(one, meant) for one in palette.RECIPE_COLOURS for meant in MEANT) >= 0.08
    assert min(distance(one, other) for one in palette.RECIPE_COLOURS for other in palette.SERIES_COLOURS) >= 0.03


def test_only_claims_have_the_colour_of_a_direction():
    coloured = {name: verdict.badge for name, verdict in meanings.VERDICTS.items() if verdict.badge != "gray"}
    assert coloured == {"suppressed": "violet", "amplified": "green", "does not fit": "red"}
    assert not {"violet", "green", "blue", "orange"} & {badge for badge, _ in meanings.GATE_BADGES.values()}


def test_a_map_is_darker_for_more_on_a_light_page_and_brighter_on_a_dark_one():
    theme = tomllib.loads(Path(".streamlit/config.toml").read_text(encoding="utf-8"))["theme"]
    light, dark = ([luminance(colour) for colour in theme[page]["chartSequentialColors"]] for page in ("light", "dark"))
    assert len(light) == len(dark) == 10  # what Streamlit takes
    assert light == sorted(light, reverse=True)
    assert dark == sorted(dark)
