"""A context as HTML: the same window in base and variant, token under token, and the difference. Pure; escapes everything.

Token texts and labels are untrusted: they come from a corpus and a vocabulary, and may hold markup, control characters
or marks that turn the direction of writing around. Colours are translucent, so that they work on any theme.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from app.words import metrics as words
from store.text import in_place, visible

STRONGEST = 0.6
"""Opacity of the largest value: text stays readable on it, in light and dark."""

WRITTEN = 0.15
"""A difference is written out where it is at least this share of its window's largest activation; all are in the titles."""

STYLE = """<style>
.fs-context { margin: 0 0 1.1rem 0; }
.fs-context-head { font-size: 0.82rem; opacity: 0.75; margin-bottom: 0.2rem; overflow-wrap: anywhere; }
.fs-window { display: flex; flex-wrap: wrap; row-gap: 0.45rem; font-family: "Source Code Pro", monospace; font-size: 0.84rem; }
.fs-token, .fs-rows { display: grid; grid-template-rows: 1.5em 1.5em 0.95em; flex: none; }
.fs-token > span, .fs-rows > span { white-space: pre; line-height: 1.5em; padding: 0 1px; unicode-bidi: isolate; }
.fs-token > span:last-child { font-size: 0.64rem; line-height: 1.45em; text-align: center; opacity: 0.95; padding: 0 3px; }
.fs-rows { padding-right: 0.6rem; opacity: 0.7; font-family: inherit; }
.fs-rows > span:last-child { font-size: 0.7rem; line-height: 1.35em; }
.fs-peak { outline: 1.5px solid currentColor; outline-offset: 0; border-radius: 2px; }
.fs-mark { font-size: 0.85em; }
.fs-legend { display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; font-size: 0.82rem; opacity: 0.9; margin-bottom: 0.6rem; }
.fs-swatch { display: inline-block; width: 3.2rem; height: 0.75em; border-radius: 2px; margin-right: 0.4rem; }
.fs-line { display: inline-block; width: 1.3rem; vertical-align: middle; margin-right: 0.4rem; }
.fs-chips { display: flex; flex-wrap: wrap; gap: 0.25rem; font-family: "Source Code Pro", monospace; font-size: 0.84rem; }
.fs-chip { border: 1px solid rgba(128,128,128,0.45); border-radius: 4px; padding: 0 0.35rem; white-space: pre;
  unicode-bidi: isolate; }
.fs-chip small { opacity: 0.7; }
.fs-duo { font-family: "Source Code Pro", monospace; font-size: 0.8rem; line-height: 2.1; overflow-wrap: anywhere; }
.fs-duo > span { white-space: pre-wrap; unicode-bidi: isolate; border-style: solid; border-width: 0.32em 0; }
.st-key-veiled .fs-window, .fs-veiled .fs-window, .fs-duo.fs-veiled { filter: blur(0.4em); pointer-events: none;
  user-select: none; }
</style>"""

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


def window(
    tokens: Sequence[str],
    base: Sequence[float],
    variant: Sequence[float],
    peak: int,
    top: float,
    names: tuple[str, str],
    alone: Sequence[str] | None = None,
) -> str:
    """One window as HTML, a column a token: its text on the base's activation, on the variant's, and the difference.

    Args:
        tokens, base, variant: lists of one length; tokens are texts where they stand, activations are scaled and not negative.
        peak: index of the outlined token.
        top: the activation of the strongest colour, shared by both models.
        names: what to call base and variant.
        alone: the text of each token by itself, for the titles.
    """
    row_names = "".join(f"<span>{visible(name)}</span>" for name in (*names, "change"))
    columns = [f'<div class="fs-rows" aria-hidden="true">{row_names}</div>']
    written = WRITTEN * scale([(base, variant)])
    for i, (token, by_itself) in enumerate(zip(tokens, tokens if alone is None else alone, strict=True)):
        a, b = float(base[i]), float(variant[i])
        columns.append(_column(token, by_itself, a, b, i == peak, top, written, names))
    return f'<div class="fs-window">{"".join(columns)}</div>'


def context(row: dict, top: float, names: tuple[str, str], alike: int = 1, veiled: bool = False) -> str:
    """One row of queries.contexts as HTML: where it stands, then its window.

    alike: how many contexts it stands for, itself among them; veiled: whether the window is blurred.
    """
    peak = int(row["peak"])
    a, b = float(row["base_values"][peak]), float(row["variant_values"][peak])
    head = (
        f"<b>{int(row['rank'])}</b> · {visible(str(row['domain']))} · {visible(str(row['source']))}"
        f" · token {int(row['position']):,} · {words.number(a)} → {words.number(b)}"
        f" ({words.number(b - a, signed=True)})"
        + (f" · {alike:,} such windows" if alike > 1 else "")
    )
    body = window(row["tokens"], row["base_values"], row["variant_values"], peak, top, names, row.get("alone"))
    blur = " fs-veiled" if veiled else ""
    return f'<div class="fs-context{blur}"><div class="fs-context-head">{head}</div>{body}</div>'


def excerpt(row: dict, names: tuple[str, str], veiled: bool = False) -> str:
    """A row of queries.contexts in one running line: each token under a bar of the base's colour, over one of the variant's.

    Its scale is its own. veiled: whether it is blurred.
    """
    base, variant, peak = row["base_values"], row["variant_values"], int(row["peak"])
    top = scale([(base, variant)])
    pieces = []
    for i, (token, alone, a, b) in enumerate(zip(row["tokens"], row.get("alone", row["tokens"]), base, variant, strict=True)):
        above, below = colour(float(a), top, words.BASE_COLOUR), colour(float(b), top, words.VARIANT_COLOUR)
        title = html.escape(f"{names[0]} {words.number(float(a))}, {names[1]} {words.number(float(b))}", quote=True)
        mark = ' class="fs-peak"' if i == peak else ""
        text = in_place(token, token != alone)
        pieces.append(f'<span{mark} title="{title}" style="border-color:{above} transparent {below}">{text}</span>')
    return f'<div class="fs-duo{" fs-veiled" if veiled else ""}">{"".join(pieces)}</div>'


def legend(top: float, names: tuple[str, str]) -> str:
    """What the colours mean, with the top of the shared scale."""
    parts = [
        _swatch(words.BASE_COLOUR, f"{visible(names[0])}: 0 to {words.number(top)}"),
        _swatch(words.VARIANT_COLOUR, f"{visible(names[1])}: 0 to {words.number(top)}"),
        _swatch(words.DECREASE_COLOUR, "decrease"),
        _swatch(words.INCREASE_COLOUR, "increase"),
        "<span>scaled activation, opacity by its square root · outlined: the peak</span>",
    ]
    return f'<div class="fs-legend">{"".join(parts)}</div>'


def series_legend(series: Sequence[tuple[str, str, str, int]]) -> str:
    """One legend for many charts: a piece of line before each name. series: name, colour, CSS line style, width in pixels."""
    parts = [
        f'<span><span class="fs-line" style="border-top:{width}px {style} {hue}"></span>{visible(name)}</span>'
        for name, hue, style, width in series
    ]
    return f'<div class="fs-legend">{"".join(parts)}</div>'


def chips(tokens: Sequence[str], values: Sequence[float]) -> str:
    """Tokens in a row, each with its number: the output tokens that a feature promotes or suppresses."""
    parts = [
        f'<span class="fs-chip"><bdi>{visible(token)}</bdi> <small>{words.number(float(value), signed=True)}</small></span>'
        for token, value in zip(tokens, values, strict=True)
    ]
    return f'<div class="fs-chips">{"".join(parts)}</div>'


def called(token: str, alone: str) -> str:
    """What a token is called in its title: its text, and the bytes that it is where that is only part of a character.

    Args:
        token, alone: its text where it stands, and by itself.
    """
    if token == alone:
        return repr(token)
    return f"{token!r} ({alone})" if token else f"{alone}: the rest of the character before it"


def _column(
    token: str, alone: str, a: float, b: float, is_peak: bool, top: float, written: float, names: tuple[str, str]
) -> str:
    text, change = in_place(token, token != alone), b - a
    numbers = f"{names[0]} {words.number(a)}\n{names[1]} {words.number(b)}\nchange {words.number(change, signed=True)}"
    title = html.escape(f"{called(token, alone)}\n{numbers}", quote=True)
    hue = words.INCREASE_COLOUR if change > 0 else words.DECREASE_COLOUR
    said = words.number(change, signed=True) if abs(change) >= written > 0 else ""
    return (
        f'<div class="fs-token{" fs-peak" if is_peak else ""}" title="{title}">'
        f'<span style="background:{colour(a, top, words.BASE_COLOUR)}">{text}</span>'
        f'<span style="background:{colour(b, top, words.VARIANT_COLOUR)}">{text}</span>'
        f'<span style="background:{colour(abs(change), top, hue)}">{said}</span></div>'
    )


def _swatch(hue: str, text: str) -> str:
    red, green, blue = (int(hue[i : i + 2], 16) for i in (1, 3, 5))
    gradient = f"linear-gradient(90deg, rgba({red},{green},{blue},0.06), rgba({red},{green},{blue},{STRONGEST}))"
    return f'<span><span class="fs-swatch" style="background:{gradient}"></span>{text}</span>'
