"""What the models answered, as HTML: prompt by prompt, side by side, what differs from the base marked. Pure; escapes all."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from difflib import SequenceMatcher

import pandas as pd

from app.words import metrics as words
from store.names import BASE
from store.text import lines

STYLE = f"""<style>
.fs-asked {{ margin: 0 0 1.2rem 0; }}
.fs-prompt {{ font-weight: 600; overflow-wrap: anywhere; margin-bottom: 0.35rem; }}
.fs-prompt small {{ font-weight: 400; opacity: 0.7; margin-right: 0.5rem; }}
.fs-answers {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 0.5rem; }}
.fs-answer {{ border: 1px solid rgba(128,128,128,0.35); border-radius: 6px; padding: 0.4rem 0.6rem; font-size: 0.88rem;
  overflow-wrap: anywhere; }}
.fs-answer.fs-differs {{ border-left: 4px solid {words.VARIANT_COLOUR}; }}
.fs-answer.fs-of-base {{ border-left: 4px solid {words.BASE_COLOUR}; }}
.fs-answer-head {{ display: flex; justify-content: space-between; font-size: 0.76rem; opacity: 0.8; margin-bottom: 0.2rem; }}
.fs-answer.fs-same .fs-said {{ opacity: 0.72; }}
.fs-answer .fs-own {{ background: rgba(221,107,16,0.24); border-radius: 2px; }}
.fs-asked .fs-blur {{ filter: blur(0.4em); pointer-events: none; user-select: none; }}
</style>"""

ALIKE = 0.5
"""Share of common words (difflib's ratio) below which two answers are not compared word by word."""

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


def found(rows: pd.DataFrame, search: str = "", differing: bool = False) -> pd.DataFrame:
    """The rows of the prompts that are looked for: all models' answers to each.

    Args:
        rows: the answer of store.read.queries.answers of one task.
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


def cards(rows: pd.DataFrame, models: Sequence[str], blurred: bool = False) -> str:
    """Every prompt of the rows with its answers, the models in one order.

    Args:
        rows: of one task, as :func:`found` gives them.
        models: the base, then the variants; one without an answer says so.
        blurred: whether prompts and answers are unreadable until asked for.
    """
    pieces = []
    blur = " fs-blur" if blurred else ""
    for prompt, group in rows.groupby("prompt", sort=True):
        said = dict(zip(group["model"], group["answer"], strict=True))
        text = lines(str(group["text"].iloc[0]))
        answers = "".join(_answer(model, said.get(model), said.get(BASE), blur) for model in models)
        pieces.append(
            f'<div class="fs-asked"><div class="fs-prompt"><small>{int(prompt) + 1:,}</small><span class="fs-text{blur}">{text}'
            f'</span></div><div class="fs-answers">{answers}</div></div>'
        )
    return "".join(pieces)


def marked(answer: str, base: str) -> str:
    """An answer as safe HTML, the words that the base's answer does not have in that place marked; none where all differs."""
    theirs, own = _WORDS.findall(base), _WORDS.findall(answer)
    matcher = SequenceMatcher(None, theirs, own, autojunk=False)
    if matcher.ratio() < ALIKE:
        return lines(answer)
    pieces = []
    for kind, _, _, start, stop in matcher.get_opcodes():
        piece = lines("".join(own[start:stop]))
        if piece:
            pieces.append(piece if kind == "equal" else f'<span class="fs-own">{piece}</span>')
    return "".join(pieces)


def _answer(model: str, answer: str | None, base: str | None, blur: str) -> str:
    kind, note = "", ""
    if answer is None:
        said, note = "<i>not asked</i>", ""
    elif not answer.strip():
        said = "<i>nothing</i>"
    elif model == BASE or base is None:
        said = lines(answer)
    else:
        said = marked(answer.strip(), base.strip())
    if model == BASE:
        kind = " fs-of-base"
    elif answer is not None and base is not None:
        same = answer.strip() == base.strip()
        kind, note = (" fs-same", "as the base") if same else (" fs-differs", "differs")
    return (
        f'<div class="fs-answer{kind}"><div class="fs-answer-head"><b>{html.escape(model)}</b><span>{note}</span></div>'
        f'<div class="fs-said{blur}">{said}</div></div>'
    )
