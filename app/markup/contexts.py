"""A context as HTML: the same window in base and variant, token under token, and the difference (contexts.html.j2). Pure.

Token texts and labels are untrusted: they come from a corpus and a vocabulary, and may hold markup, control characters
or marks that turn the direction of writing around. Colours are translucent, so that they work on any theme.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from app import words
from app.words import palette
from store.templates import macros, style
from store.text import in_place

STRONGEST = 0.6
"""Opacity of the largest value: text stays readable on it, in light and dark."""

WRITTEN = 0.15
"""A difference is written out where it is at least this share of its window's largest activation; all are in the titles."""

STYLE = style(Path(__file__).with_name("contexts.css"))


def colour(value: float, top: float, hue: str) -> str:
    """A CSS background: `hue`, its opacity growing with the square root of value / top; none at zero.

    The square root keeps ordinary activations visible beside one that is many times stronger.
    """
    if value <= 0 or top <= 0:
        return "transparent"
    red, green, blue = (int(hue[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{max(0.06, STRONGEST * math.sqrt(min(1.0, value / top))):.2f})"


def scale(contexts: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float:
    """The largest activation in several windows (base values, variant values): one scale for all that stand together."""
    return max((float(v) for pair in contexts for values in pair for v in values), default=0.0)


def context(row: dict, top: float, names: tuple[str, str], alike: int = 1) -> Markup:
    """One row of Store.contexts as HTML: where it stands, then its window; ``covered`` of the row is as of :func:`texts`.

    alike: how many contexts it stands for, itself among them.
    """
    base, variant, peak = row["base_values"], row["variant_values"], int(row["peak"])
    columns = _columns(row["tokens"], base, variant, peak, top, names, row.get("alone"), row.get("covered"))
    return HTML.context(row, columns, float(base[peak]), float(variant[peak]), names, alike)


def excerpt(row: dict, names: tuple[str, str]) -> Markup:
    """A row of Store.contexts in one running line: each token under a bar of the base's colour, over one of the variant's.

    Its scale is its own. ``covered`` of the row is as of :func:`texts`.
    """
    base, variant, peak = row["base_values"], row["variant_values"], int(row["peak"])
    top = scale([(base, variant)])
    columns = []
    shown = texts(row["tokens"], row.get("alone", row["tokens"]), row.get("covered"))
    for i, (text, a, b) in enumerate(zip(shown, base, variant, strict=True)):
        title = f"{names[0]} {words.number(float(a))}, {names[1]} {words.number(float(b))}"
        above, below = colour(float(a), top, palette.BASE_COLOUR), colour(float(b), top, palette.VARIANT_COLOUR)
        columns.append((title, i == peak, text.shown, above, below))
    return HTML.excerpt(columns)


def acting(row: dict, top: float) -> Markup:
    """A row of Store.acting_passages in one running line: tokens on the colour of what the feature's change adds there.

    Args:
        row: ``covered`` of it is as of :func:`texts`.
        top: the contribution of the strongest colour, shared by the passages that stand together.
    """
    return HTML.acting(row, acting_columns(row, top))


def acting_columns(row: dict, top: float) -> list[tuple[str, bool, Markup, str]]:
    """Of each token of :func:`acting` its title, whether it is the peak, its text and its colour."""
    columns = []
    shown = texts(row["tokens"], row["alone"], row.get("covered"))
    for i, (text, gain) in enumerate(zip(shown, row["gains"], strict=True)):
        title = f"{text.called}\n{words.number(gain, signed=True)} nats" if gain else text.called
        hue = palette.INCREASE_COLOUR if gain > 0 else palette.DECREASE_COLOUR
        columns.append((title, i == row["peak"], text.shown, colour(abs(gain), top, hue)))
    return columns


def acting_legend(top: float) -> Markup:
    """What the colours of :func:`acting` mean."""
    return HTML.acting_legend(top, HUES)


def legend(top: float, names: tuple[str, str]) -> Markup:
    """What the colours mean, with the top of the shared scale."""
    return HTML.legend(top, names, HUES)


def series_legend(series: Sequence[tuple[str, str, str, int]]) -> Markup:
    """One legend for many charts: a piece of line before each name. series: name, colour, CSS line style, width in pixels."""
    return HTML.series_legend(series)


def chips(tokens: Sequence[str], values: Sequence[float]) -> Markup:
    """Tokens in a row, each with its number: the output tokens that a feature promotes or suppresses.

    The title of one beyond ASCII has its characters' numbers, for whom no font shows it.
    """
    titles = ("" if token.isascii() else " ".join(f"U+{ord(character):04X}" for character in token) for token in tokens)
    return HTML.chips(zip(titles, tokens, map(float, values), strict=True))


def terms(meanings: Sequence[tuple[str, str]]) -> Markup:
    """Terms in one line, each of which shows its meaning when it is pointed at or reached with the keyboard.

    meanings: (term, what it means).
    """
    return HTML.terms(meanings)


class Text(NamedTuple):
    """A token as it is drawn: what it is called in its title, and itself as safe HTML."""

    called: str
    shown: Markup


def texts(tokens: Sequence[str], alone: Sequence[str], covered: Sequence[bool] | None = None) -> Iterator[Text]:
    """Tokens where they stand; of a covered one nothing is left but a block of its length.

    Args:
        tokens, alone: their texts where they stand, and by themselves.
        covered: whether each is; None: none is. Only the first block in a row has a name, for those who listen to it.
    """
    covered = [False] * len(tokens) if covered is None else covered
    for token, by_itself, is_covered, before in zip(tokens, alone, covered, [False, *covered[:-1]], strict=True):
        if is_covered:
            yield Text(words.HIDDEN, BLOCK.format(max(1, len(token)), UNNAMED if before else NAMED))
        else:
            yield Text(called(token, by_itself), in_place(token, token != by_itself))


BLOCK = Markup('<span class="fs-covered" style="width:{}ch" {}></span>')
NAMED, UNNAMED = Markup('role="img" aria-label="{}"').format(words.HIDDEN), Markup('aria-hidden="true"')


def called(token: str, alone: str) -> str:
    """What a token is called in its title: its text, and the bytes that it is where that is only part of a character.

    Args:
        token, alone: its text where it stands, and by itself.
    """
    if token == alone:
        return repr(token)
    return f"{token!r} ({alone})" if token else f"{alone}: the rest of the character before it"


def _columns(
    tokens: Sequence[str],
    base: Sequence[float],
    variant: Sequence[float],
    peak: int,
    top: float,
    names: tuple[str, str],
    alone: Sequence[str] | None,
    covered: Sequence[bool] | None = None,
) -> Iterator[tuple]:
    """A token's title, whether it is the peak, its text, the colours of base, variant and change, the change in words."""
    written = WRITTEN * scale([(base, variant)])
    for i, text in enumerate(texts(tokens, tokens if alone is None else alone, covered)):
        a, b = float(base[i]), float(variant[i])
        change = b - a
        said = words.number(change, signed=True)
        numbers = f"{names[0]} {words.number(a)}\n{names[1]} {words.number(b)}\nchange {said}"
        yield (
            f"{text.called}\n{numbers}",
            i == peak,
            text.shown,
            colour(a, top, palette.BASE_COLOUR),
            colour(b, top, palette.VARIANT_COLOUR),
            colour(abs(change), top, palette.INCREASE_COLOUR if change > 0 else palette.DECREASE_COLOUR),
            said if abs(change) >= written > 0 else "",
        )


HUES = {
    "base": palette.BASE_COLOUR, "variant": palette.VARIANT_COLOUR, "decrease": palette.DECREASE_COLOUR,
    "increase": palette.INCREASE_COLOUR,
}  # fmt: skip
HTML = macros(Path(__file__).with_name("contexts.html.j2"), colour=colour)
