"""A document as HTML, its tokens coloured by one of their values. Pure; escapes everything, like app/markup/contexts.py."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from app.markup import contexts as tokens
from app.words import metrics as words
from store.text import in_place

CHANGE_COLOUR = "#c79a00"
"""Of values that say how much changed, and not in which direction."""

STYLE = """<style>
.fs-document { font-family: "Source Code Pro", monospace; font-size: 0.86rem; line-height: 1.75; overflow-wrap: anywhere; }
.fs-document.fs-pairs { line-height: 1.25; }
.fs-document a.fs-t { color: inherit !important; text-decoration: none !important; white-space: pre-wrap; border-radius: 2px;
  padding: 0.12em 0; unicode-bidi: isolate; cursor: pointer; }
.fs-document a.fs-t:hover { outline: 1px solid currentColor; }
.fs-pairs a.fs-t { display: inline-grid; vertical-align: top; max-width: 100%; margin-bottom: 0.35rem; padding: 0; }
.fs-pairs a.fs-t > span { padding: 0.1em 1px; }
.fs-document a.fs-here { outline: 2px solid currentColor; outline-offset: 1px; }
.fs-document a.fs-none { opacity: 0.7; }
.fs-sink { background-image: repeating-linear-gradient(45deg, rgba(128,128,128,0.6) 0 2px, transparent 2px 5px); }
.fs-document a.fs-template { text-decoration: underline dotted currentColor 1px !important; text-underline-offset: 0.25em; }
.fs-part { display: inline-block; font-family: sans-serif; font-size: 0.68rem; line-height: 1.5; padding: 0 0.4em;
  margin: 0 0.35em; border: 1px solid rgba(128,128,128,0.6); border-radius: 0.6em; opacity: 0.8; white-space: nowrap; }
.fs-context-start { display: block; border-top: 1px dashed rgba(128,128,128,0.7); margin: 0.5rem 0 0.2rem 0;
  font-family: sans-serif; font-size: 0.68rem; line-height: 1.5; opacity: 0.75; }
.fs-blurred { filter: blur(0.4em); pointer-events: none; user-select: none; }
.fs-key { display: inline-block; width: 1.3rem; height: 0.85em; vertical-align: -0.05em; margin-right: 0.4rem;
  border-radius: 2px; }
.fs-key-here { outline: 2px solid currentColor; outline-offset: -1px; }
</style>"""


@dataclass(frozen=True)
class TokenValue:
    """How a value of tokens is shown.

    Attributes:
        label, unit, meaning: what it is called, in what it is counted, and what it says.
        columns: of store.read.documents.document_tokens: one; or the base's and the variant's, shown one above the other.
        mean: the key of store.read.documents.MEANS that documents are sorted by.
        signed: whether it has a direction, so that a rise and a fall look different.
        of_prediction: whether it comes from the sampled prediction, and belongs to no layer.
    """

    label: str
    unit: str
    meaning: str
    columns: tuple[str, ...]
    mean: str
    signed: bool = False
    of_prediction: bool = False


VALUES = {
    "cosine": TokenValue(
        "1 − cosine", "0: same direction, 2: opposite", "How far the residual's direction turned.", ("cosine_change",),
        "cosine_change",
    ),
    "overlap": TokenValue(
        "1 − overlap", "share of the active features", "Of the features on in either model, the share that is on in only one.",
        ("overlap_change",), "overlap_change",
    ),
    "l1": TokenValue(
        "L1 divergence", "scaled activation", "How much activation moved, over all features.", ("l1_divergence",),
        "l1_divergence",
    ),
    "l0_change": TokenValue(
        "L0 change", "features", "How many more features are on in the variant.", ("l0_change",), "l0_change", signed=True
    ),
    "l0": TokenValue("L0, both models", "features", "How many features are on.", ("l0_base", "l0_variant"), "l0_change"),
    "kl": TokenValue(
        "KL of the next token", "nats", "How far the prediction made after the token changed.", ("kl",), "kl",
        of_prediction=True,
    ),
    "logprob": TokenValue(
        "Log-probability change", "nats", "How much likelier than the base the variant finds the token after what precedes it.",
        ("logprob_change",), "logprob_change", signed=True, of_prediction=True,
    ),
    "surprise": TokenValue(
        "Surprise, both models", "nats, −log p", "How unexpected the token is after what precedes it.",
        ("surprise_base", "surprise_variant"), "logprob_change", of_prediction=True,
    ),
}  # fmt: skip


def top(value: TokenValue, scales: pd.DataFrame) -> float:
    """Where the colour scale of a value ends: the larger of the two models' ends where it shows both; 0 without tokens.

    Args:
        scales: the answer of store.read.documents.token_scales.
    """
    ends = scales[scales["value"].isin(value.columns)]["top"].dropna()
    return float(ends.max()) if len(ends) else 0.0


def document(
    rows: pd.DataFrame,
    value: TokenValue,
    end: float,
    names: tuple[str, str],
    position: int | None,
    address: Callable[[int], str],
    blurred: bool = False,
) -> str:
    """A document's tokens, each a link to itself, on the colour of its value.

    Args:
        rows: the answer of store.read.documents.document_tokens, or a piece of it.
        end: the value of the strongest colour.
        names: what to call base and variant.
        position: the chosen token, outlined; or None.
        address: position -> the link to it, a query string.
        blurred: whether the text is unreadable, and cannot be clicked, until asked for.
    """
    windows, parted = rows["context"].nunique() > 1, set(rows["segment"]) != {"text"}
    pieces, context, segment = [], None, None
    for row in rows.to_dict("records"):
        if windows and row["context"] != context and (context is not None or row["position"] == 0):
            pieces.append(f'<span class="fs-context-start">window {row["context"] + 1}, from token {row["position"]:,}</span>')
        if parted and row["segment"] != segment:
            pieces.append(f'<span class="fs-part">{html.escape(str(row["segment"]))}</span>')
        context, segment = row["context"], row["segment"]
        pieces.append(_token(row, value, end, names, row["position"] == position, address(row["position"])))
    classes = "fs-document" + (" fs-pairs" if len(value.columns) > 1 else "") + (" fs-blurred" if blurred else "")
    return f'<div class="{classes}">{"".join(pieces)}</div>'


def legend(value: TokenValue, end: float, n_tokens: int, names: tuple[str, str], rows: pd.DataFrame, where: str) -> str:
    """What the colours and marks mean, with units, and over which tokens the scale was made.

    Args:
        n_tokens: tokens whose 99th percentile is `end`.
        rows: the document, so that only the marks that occur in it are explained.
        where: whose tokens those are, e.g. 'of layer 12 in maths'.
    """
    reach = words.number(end)
    if len(value.columns) > 1:
        colours = [(hue, f"{name}: 0 to {reach}") for hue, name in zip(_hues(value), names, strict=True)]
    elif value.signed:
        fall, rise = words.number(-end), words.number(end, signed=True)
        colours = [(words.DECREASE_COLOUR, f"fall: to {fall}"), (words.INCREASE_COLOUR, f"rise: to {rise}")]
    else:
        colours = [(CHANGE_COLOUR, f"0 to {reach}")]
    parts = [f"<b>{html.escape(value.label)}</b>", *(_swatch(hue, html.escape(text)) for hue, text in colours)]
    parts.append(
        f"<span>{html.escape(value.unit)}; opacity by its square root. The scale is the same for all documents and ends at the "
        f"99th percentile of {n_tokens:,} tokens {html.escape(where)}: beyond it the colour stays the same</span>"
    )
    sinks = rows["counted"].eq(False)  # where it is null, nothing is known
    if sinks.any():
        parts.append('<span><span class="fs-key fs-sink"></span>attention sink: does not count at this layer</span>')
    missing = rows[list(value.columns)].isna().any(axis=1) & ~sinks
    if missing.any() and not missing.all():
        why = "the first token of a window was not predicted" if value.of_prediction else "no value"
        parts.append(f"<span>pale: {why}</span>")
    if rows["token"].eq("").any():
        parts.append(f"<span>{in_place('')} goes on with the character before it: one character, several tokens</span>")
    if "template" in set(rows["segment"]):
        parts.append("<span>dotted underline: the chat template's own tokens</span>")
    parts.append('<span><span class="fs-key fs-key-here"></span>chosen token</span>')
    return f'<div class="fs-legend">{"".join(parts)}</div>'


def strongest(rows: pd.DataFrame, value: TokenValue) -> int | None:
    """Position of the token where the value (of two models: their difference) is largest either way; None without any."""
    size = change(rows, value).abs()
    return int(rows["position"][size.idxmax()]) if size.notna().any() else None


def change(rows: pd.DataFrame, value: TokenValue) -> pd.Series:
    """The value of each token; where it shows both models, variant − base."""
    first = rows[value.columns[0]].astype(float)
    return first if len(value.columns) == 1 else rows[value.columns[1]].astype(float) - first


def is_sink(counted: bool | None) -> bool:
    """Whether the column `counted` says that a token is an attention sink; null says nothing."""
    return bool(pd.notna(counted) and not counted)


def _token(row: Mapping, value: TokenValue, end: float, names: tuple[str, str], here: bool, address: str) -> str:
    text = in_place(row["token"], row["token"] != row.get("alone", row["token"]))
    numbers = [float(row[name]) if pd.notna(row[name]) else None for name in value.columns]
    classes = ["fs-t"]
    if is_sink(row["counted"]):
        classes.append("fs-sink")
    if None in numbers:
        classes.append("fs-none")
    if row["segment"] == "template":
        classes.append("fs-template")
    if here:
        classes.append("fs-here")
    shades = [_shade(number, value, end, hue) for number, hue in zip(numbers, _hues(value), strict=True)]
    if len(shades) == 1:
        style, inside = shades[0], text
    else:
        style, inside = "", "".join(f"<span{shade}>{text}</span>" for shade in shades)
    title = html.escape(_title(row, value, numbers, names), quote=True)
    link = html.escape(address, quote=True)
    element = f'<a class="{" ".join(classes)}" href="{link}" target="_self" tabindex="-1" title="{title}"{style}>{inside}</a>'
    return element + ("<br>" if "\n" in row["token"] else "")


def _title(row: Mapping, value: TokenValue, numbers: Sequence[float | None], names: tuple[str, str]) -> str:
    lines = [tokens.called(row["token"], row.get("alone", row["token"])), f"token {row['position']:,}, {row['segment']}"]
    if len(numbers) == 1:
        lines.append(f"{value.label} {words.number(numbers[0], signed=value.signed)}")
    else:
        lines += [f"{name} {words.number(number)}" for name, number in zip(names, numbers, strict=True)]
    if is_sink(row["counted"]):
        lines.append("attention sink: does not count")
    return "\n".join(lines)


def _hues(value: TokenValue) -> tuple[str, ...]:
    return (words.BASE_COLOUR, words.VARIANT_COLOUR) if len(value.columns) > 1 else (CHANGE_COLOUR,)


def _shade(number: float | None, value: TokenValue, end: float, hue: str) -> str:
    """The style attribute of a token, with its leading space; empty where it has no colour."""
    if number is None:
        return ""
    if value.signed:
        hue = words.INCREASE_COLOUR if number > 0 else words.DECREASE_COLOUR
    background = tokens.colour(abs(number), end, hue)
    return "" if background == "transparent" else f' style="background-color:{background}"'


def _swatch(hue: str, text: str) -> str:
    weakest, strongest = tokens.colour(0.01, 1.0, hue), tokens.colour(1.0, 1.0, hue)
    gradient = f"linear-gradient(90deg, {weakest}, {strongest})"
    return f'<span><span class="fs-swatch" style="background:{gradient}"></span>{text}</span>'
