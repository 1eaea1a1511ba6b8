"""Steps of a training in the names of its checkpoints: which number in a name is one, and which counts something else. Pure."""

import re

_NUMBER = "([0-9]{1,18})"
_WORD = "(?:checkpoint|ckpt|global_step|step|iter)[-_]?"
CHECKPOINT = re.compile(_WORD + _NUMBER, re.IGNORECASE)
"""What trainers call a state of a training; the group: its step."""
_STEP = re.compile(f"[-_.]?(?:{_WORD})?{_NUMBER}", re.IGNORECASE)
_COUNTED = re.compile(
    r"((?:seed|replicate|version|epoch)s?[-_. ]*|(?<![^\W\d_])(?:run|rep|rank|fold|trial)[-_. ]*|(?<![^\W\d_])[svr])$",
    re.IGNORECASE,
)
"""At the end of what stands before a number: it counts seeds, runs, versions, ranks or epochs, and no optimiser steps."""


def counted(before: str) -> str | None:
    """What a number counts by the word before it, 'seed' or 'v'; None where that may be steps."""
    found = _COUNTED.search(before)
    return found[1].rstrip("-_. ") if found else None


def step_of(star: str, before: str = "", after: str = "") -> int | None:
    """The step that stands in a name where a pattern has its ``*``; None where none does.

    Args:
        star: digits alone, or with such a word before them as trainers write: 'step_0020'.
        before, after: what the name has on both sides of it. Where a digit stands next to it, it is no whole number.
    """
    found = _STEP.fullmatch(star)
    if found is None or (star[:1].isdigit() and before[-1:].isdigit()) or after[:1].isdigit():
        return None
    return None if is_bare(star) and counted(before) else int(found[1])


def is_bare(star: str) -> bool:
    """Whether a number stands there without a word, so that the word before it says what it counts."""
    return star.lstrip("-_.")[:1].isdigit()
