"""What the models answered, as HTML: prompt by prompt, side by side, what differs from the base marked. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from app import words
from app.words import palette
from store.metrics.refusals import is_plain_refusal
from store.names import BASE
from store.templates import macros, style
from store.text import lines

STYLE = style(Path(__file__).with_name("answers.css"), base=palette.BASE_COLOUR, variant=palette.VARIANT_COLOUR)

ALIKE = 0.5
"""Share of common words (difflib's ratio) below which two answers are not compared word by word."""

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


def found(rows: pd.DataFrame, search: str = "", differing: bool = False) -> pd.DataFrame:
    """The rows of the prompts that are looked for: all models' answers to each.

    Args:
        rows: the answer of Store.answers of one task.
        search: part of the prompt or of any answer, whatever its case.
        differing: only prompts that some variant answers unlike the base, spaces at both ends apart.
    """
    if search:
        part = search.lower()
        hits = [rows[name].str.lower().str.contains(part, regex=False) for name in ("text", "answer")]
        rows = rows[rows["prompt"].isin(rows["prompt"][hits[0] | hits[1]])]
    if differing:
        said = rows.assign(answer=rows["answer"].str.strip()).groupby("prompt")["answer"].nunique()
        rows = rows[rows["prompt"].isin(said.index[said > 1])]
    return rows


def covered(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with HIDDEN in place of what :func:`cards` covers."""
    said = rows["answer"].fillna("")
    shown = said.map(is_plain_refusal) | (said.str.strip() == "")
    return rows.assign(text=words.HIDDEN, answer=rows["answer"].where(shown, words.HIDDEN))


def cards(rows: pd.DataFrame, models: Sequence[str], hidden: bool = False) -> Markup:
    """Every prompt of the rows with its answers, the models in one order.

    Args:
        rows: of one task, as :func:`found` gives them.
        models: the base, then the variants; one without an answer says so.
        hidden: whether prompts, and answers that do not read as refusals, are covered: nothing of their text is there.
    """
    prompts = []
    for prompt, group in rows.groupby("prompt", sort=True):
        said = dict(zip(group["model"], group["answer"], strict=True))
        answers = [_answer(model, said.get(model), said.get(BASE), hidden) for model in models]
        prompts.append({"number": int(prompt) + 1, "text": None if hidden else str(group["text"].iloc[0]), "answers": answers})
    return HTML.cards(prompts, words.HIDDEN)


def marked(answer: str, base: str) -> Markup:
    """An answer as safe HTML, the words that the base's answer does not have in that place marked; none where all differs."""
    theirs, own = _WORDS.findall(base), _WORDS.findall(answer)
    matcher = SequenceMatcher(None, theirs, own, autojunk=False)
    if matcher.ratio() < ALIKE:
        return lines(answer)
    pieces = ((kind, lines("".join(own[start:stop]))) for kind, _, _, start, stop in matcher.get_opcodes())
    return Markup("").join(piece if kind == "equal" else OWN.format(piece) for kind, piece in pieces if piece)


def _answer(model: str, answer: str | None, base: str | None, hidden: bool) -> dict[str, str]:
    """What the template says of one answer: its model, how it compares with the base's, and itself or why it is not there."""
    kind, note = "", ""
    if model == BASE:
        kind = " fs-of-base"
    elif answer is not None and base is not None:
        same = answer.strip() == base.strip()
        kind, note = (" fs-same", "as the base") if same else (" fs-differs", "differs")
    missing, said = "", ""
    if answer is None or not answer.strip():
        missing = "not asked" if answer is None else "nothing"
    elif hidden and not is_plain_refusal(answer):
        missing = words.HIDDEN
    else:
        said = lines(answer) if model == BASE or base is None else marked(answer.strip(), base.strip())
    return {"model": model, "kind": kind, "note": note, "missing": missing, "said": said}


OWN = Markup('<span class="fs-own">{}</span>')
HTML = macros(Path(__file__).with_name("answers.html.j2"))
