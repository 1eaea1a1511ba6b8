"""The words and the small pictures of a recipe's row on the first page, as HTML (story.html.j2). Pure.

What a picture shows is written beside it as well, and said to those who cannot see it.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from markupsafe import Markup

from app import words
from app.words import palette
from store.metrics.learning_summary import Learned
from store.metrics.verdicts import AMPLIFIED, SUPPRESSED
from store.names import ALL, NEUTRAL, TASK
from store.numbers import count, fixed
from store.reports.courses import Course
from store.reports.story import COMPARED, Story
from store.templates import macros, style

STYLE = style(Path(__file__).with_name("story.css"))
PLACES = {TASK: "its task", NEUTRAL: "other text", ALL: "all text"}
"""Where something was learned -> what the row calls it."""

GAIN, LINES, CLAIMS, SPARK = (150, 16), (150, 56), (100, 56), (120, 30)
"""Width and height of the pictures, in pixels."""
ROOMY = 6
"""Up to so many layers each bar of claimed features has its name below."""


@dataclass(frozen=True)
class Scales:
    """What the pictures of all rows share, so that rows can be compared.

    Attributes:
        gain: lowest and highest change of likelihood, nats a token.
        least: the lowest of the compared metrics.
        claimed: the most features claimed at one layer, either way.
    """

    gain: tuple[float, float]
    least: float
    claimed: int


def scales(stories: Sequence[Story]) -> Scales:
    """The scales on which these recipes stand side by side."""
    gains = [0.0] + [
        value
        for story in stories
        for found in shown_gains(story).values()
        for value in (found.gain, found.low, found.high, *found.twins)
        if math.isfinite(value)
    ]
    values = [
        value
        for story in stories
        for profile in story.profiles.values()
        for value in (*profile.values, *profile.low)
        if math.isfinite(value)
    ]
    claimed = [n for story in stories for name in (SUPPRESSED, AMPLIFIED) for n in (story.verdicts or {}).get(name, ())]
    return Scales((min(gains), max(gains)), min(values, default=0.0), max(claimed, default=0))


def shown_gains(story: Story) -> Mapping[str, Learned]:
    """What is shown of what a recipe learned: of one with a task its task and neutral text, else all text."""
    places = (TASK, NEUTRAL) if TASK in story.learned else (ALL,)
    return {place: story.learned[place] for place in places if place in story.learned}


def told(story: Story, runs: str, colour: str) -> Markup:
    """Its name, its runs, and the plain sentences.

    Args:
        runs: how many there are, in words.
        colour: the recipe's.
    """
    return HTML.told(story, runs, colour)


def quiet(sentence: str) -> Markup:
    """A sentence in small print."""
    return HTML.quiet(sentence)


def learned(story: Story, shared: Scales) -> Markup:
    """What it learned and what it cost: a bar each, with its interval, beside a tick for each random change of that size."""
    at = _scale(*shared.gain, GAIN[0])
    bars = []
    for place, found in shown_gains(story).items():
        ends = sorted((at(0.0), at(found.gain)))
        bar = {
            "x": ends[0], "width": max(ends[1] - ends[0], 0.5), "rose": found.gain > 0,
            "interval": (at(found.low), at(found.high)) if found.has_interval else None,
            "twins": [at(twin) for twin in found.twins],
        }  # fmt: skip
        beside = f", random changes of that size {_listed(found.twins)}" if found.twins else ""
        said = words.number(found.gain, signed=True)
        alt = f"{PLACES[place]}: {said} nats a token{beside}"
        bars.append({"place": PLACES[place], "said": said, "picture": _picture(HTML.gain(bar, at(0.0), GAIN), alt)})
    return HTML.learned(bars)


def profiles(story: Story, shared: Scales, colour: str) -> Markup:
    """Cosine and overlap over the layers in the recipe's colour, each over the band of the random changes of that size."""
    only = len(story.layers) == 1
    across = _scale(0, max(len(story.layers) - 1, 1), LINES[0] - 4)
    up = _scale(1.0, shared.least, LINES[1] - 4)

    def points(values: Sequence[float]) -> list[tuple[float, float]]:
        """Where they stand; one layer's number all across."""
        values = [*values] * 2 if only else values
        return [(across(at) + 2, up(value) + 2) for at, value in enumerate(values) if math.isfinite(value)]

    drawn, said = [], []
    for name in COMPARED:
        found = story.profiles[name]
        band = points(found.high) + points(found.low)[::-1]
        drawn.append({"line": _joined(points(found.values)), "band": _joined(band)})
        said.append(f"{name} {_listed(found.values)}")
    picture = _picture(HTML.lines(drawn, LINES, colour), f"by layer: {'; '.join(said)}")
    lasts = [(mark, name, fixed(story.profiles[name].values[-1], 2)) for mark, name in zip("─╌", COMPARED, strict=True)]
    return HTML.profiles(picture, lasts, story.layers)


def claims(story: Story, shared: Scales) -> Markup:
    """How many features are claimed at each layer: risen ones up, fallen ones down."""
    tall = _scale(0, max(shared.claimed, 1), CLAIMS[1] / 2)
    none = [0] * len(story.layers)
    fell, rose = ((story.verdicts or {}).get(name, none) for name in (SUPPRESSED, AMPLIFIED))
    step = CLAIMS[0] / max(len(story.layers), 1)
    bars = [
        {"x": (at + 0.15) * step, "width": 0.7 * step, "up": tall(risen), "down": tall(fallen)}
        for at, (fallen, risen) in enumerate(zip(fell, rose, strict=True))
    ]
    of_layers = zip(story.layers, fell, rose, strict=True)
    alt = "; ".join(f"layer {layer}: {fallen} fell, {risen} rose" for layer, fallen, risen in of_layers)
    return HTML.claims(_picture(HTML.bars(bars, CLAIMS), alt), story.layers, sum(fell), sum(rose))


def over_steps(course: Course, colour: str) -> Markup:
    """How a training came to what its row says: a small line over its steps of each number, and when its changes began.

    Args:
        colour: of the recipe.
    """
    sparks = []
    if course.judged:
        sparks += [("▼ fell", course.fell, count), ("▲ rose", course.rose, count)]
    for place, of_steps in course.learned.items():
        called = f"{'learned, ' if place == TASK else ''}{PLACES[place]} (nats)"
        sparks.append((called, [one.gain for one in of_steps], partial(words.number, signed=True)))
    drawn = []
    for called, values, write in sparks:
        alt = f"{called}: " + ", ".join(
            f"{write(value)} at step {step:,}" for step, value in zip(course.steps, values, strict=True)
        )
        ends = f"{write(values[0])} → {write(values[-1])}"
        drawn.append({"called": called, "ends": ends, "picture": _picture(_spark(course.steps, values, colour), alt)})
    return HTML.over_steps(course, drawn)


def _spark(steps: Sequence[int], values: Sequence[float], colour: str) -> Markup:
    """A line over steps, as far apart as these are, with 0 in it."""
    across = _scale(steps[0], steps[-1], SPARK[0] - 8)
    known = [value for value in values if math.isfinite(value)]
    low = min([0, *known])
    up = _scale(max([low + 1e-9, *known]), low, SPARK[1] - 8)
    points = [
        (across(step) + 4, up(value) + 4) for step, value in zip(steps, values, strict=True) if math.isfinite(value)
    ]
    return HTML.spark(_joined(points), points, up(0) + 4, SPARK, colour)


def passage(columns: Sequence[tuple]) -> Markup:
    """A passage in one line, of contexts.acting_columns."""
    return HTML.passage(columns)


def _scale(low: float, high: float, size: float) -> Callable[[float], float]:
    """A number between low and high -> its place from 0 to size."""
    span = high - low
    return lambda value: round(size * (value - low) / span, 2) if span else 0.0


def _joined(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(words.number(value) for value in values)


def _picture(drawing: Markup, said: str) -> Markup:
    """A drawing as an image of its own: Streamlit takes drawings out of a page's HTML."""
    return HTML.picture(f"data:image/svg+xml;base64,{b64encode(drawing.encode()).decode()}", said)


HTML = macros(
    Path(__file__).with_name("story.html.j2"), ROSE=palette.INCREASE_COLOUR, FELL=palette.DECREASE_COLOUR,
    CONTROL=palette.CONTROL_COLOUR, INK=palette.QUIET_COLOUR, ROOMY=ROOMY,
)  # fmt: skip
