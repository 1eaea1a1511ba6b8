"""A document as HTML, its tokens coloured by one of their values (documents.html.j2). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from app import words
from app.markup import contexts
from app.words import palette
from store.templates import macros, style

STYLE = style(Path(__file__).with_name("documents.css"))


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
        "1 − cosine", "0: same direction, 2: opposite", "How far its direction turned.", ("cosine_change",),
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
) -> Markup:
    """A document's tokens, each a link to itself, on the colour of its value.

    Args:
        rows: the answer of store.read.documents.document_tokens, or a piece of it; `covered`, if they have it, is as of
            :func:`app.markup.contexts.texts`.
        end: the value of the strongest colour.
        names: what to call base and variant.
        position: the chosen token, outlined; or None.
        address: position -> the link to it, a query string.
    """
    classes = "fs-document" + (" fs-pairs" if len(value.columns) > 1 else "")
    return HTML.document(_tokens(rows, value, end, names, position, address), classes)


def legend(value: TokenValue, end: float, n_tokens: int, names: tuple[str, str], rows: pd.DataFrame, where: str) -> Markup:
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
        colours = [(palette.DECREASE_COLOUR, f"fall: to {fall}"), (palette.INCREASE_COLOUR, f"rise: to {rise}")]
    else:
        colours = [(palette.AMOUNT_COLOUR, f"0 to {reach}")]
    sinks = rows["counted"].eq(False)  # where it is null, nothing is known
    missing = rows[list(value.columns)].isna().any(axis=1) & ~sinks
    why = "the first token of a window was not predicted" if value.of_prediction else "no value"
    pale = why if missing.any() and not missing.all() else None
    goes_on, template = rows["token"].eq("").any(), rows["segment"].eq("template").any()
    return HTML.legend(value, colours, n_tokens, where, sinks.any(), pale, goes_on, template)


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


class Token(NamedTuple):
    """A token as the template knows it. window, part: those that begin with it; shades: a colour for each model shown."""

    window: int | None
    part: str | None
    position: int
    marks: str
    address: str
    title: str
    text: Markup
    shades: list[str]
    ends_line: bool


def _tokens(
    rows: pd.DataFrame, value: TokenValue, end: float, names: tuple[str, str], chosen: int | None, address: Callable[[int], str]
) -> Iterator[Token]:
    windows, parted = rows["context"].nunique() > 1, set(rows["segment"]) != {"text"}
    context, segment = None, None
    covered = rows["covered"].to_list() if "covered" in rows else None
    texts = contexts.texts(rows["token"].to_list(), rows.get("alone", rows["token"]).to_list(), covered)
    for row, text in zip(rows.to_dict("records"), texts, strict=True):
        begins = windows and row["context"] != context and (context is not None or row["position"] == 0)
        numbers = [float(row[name]) if pd.notna(row[name]) else None for name in value.columns]
        yield Token(
            row["context"] if begins else None,
            str(row["segment"]) if parted and row["segment"] != segment else None,
            row["position"],
            _classes(row, None in numbers, row["position"] == chosen),
            address(row["position"]),
            _title(row, text, value, numbers, names),
            text.shown,
            [_shade(number, value, end, hue) for number, hue in zip(numbers, _hues(value), strict=True)],
            "\n" in row["token"] and not row.get("covered"),
        )
        context, segment = row["context"], row["segment"]


def _classes(row: Mapping[str, Any], unknown: bool, chosen: bool) -> str:
    told = {
        "fs-sink": is_sink(row["counted"]), "fs-none": unknown, "fs-template": row["segment"] == "template", "fs-here": chosen,
    }  # fmt: skip
    return " ".join(["fs-t", *(name for name, holds in told.items() if holds)])


def _title(
    row: Mapping, text: contexts.Text, value: TokenValue, numbers: Sequence[float | None], names: tuple[str, str]
) -> str:
    lines = [text.called, f"token {row['position']:,}, {row['segment']}"]
    if len(numbers) == 1:
        lines.append(f"{value.label} {words.number(numbers[0], signed=value.signed)}")
    else:
        lines += [f"{name} {words.number(number)}" for name, number in zip(names, numbers, strict=True)]
    if is_sink(row["counted"]):
        lines.append("attention sink: does not count")
    return "\n".join(lines)


def _hues(value: TokenValue) -> tuple[str, ...]:
    return (palette.BASE_COLOUR, palette.VARIANT_COLOUR) if len(value.columns) > 1 else (palette.AMOUNT_COLOUR,)


def _shade(number: float | None, value: TokenValue, end: float, hue: str) -> str:
    """The background of a token; empty where it has none."""
    if not number:
        return ""
    if value.signed:
        hue = palette.INCREASE_COLOUR if number > 0 else palette.DECREASE_COLOUR
    return contexts.colour(abs(number), end, hue) if end > 0 else ""


HTML = macros(Path(__file__).with_name("documents.html.j2"), colour=contexts.colour)
