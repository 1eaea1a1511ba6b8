"""Whose words a rendered conversation holds: which characters come from which message, whatever the template did to them.

A template may trim, escape, move, repeat or drop what a message says, and write reasoning back its own way. So the text is not
looked for in the rendering. The conversation is rendered a second time *in disguise*: every character of a message replaced by
one sign that stands for that message and for nothing else. Where the two renderings are of one length and agree everywhere but
at the signs, each sign says where a character comes from. A template that looks into what it is given (for ``</think>``, for
white space to trim) takes another way when all is disguised; then a thinner disguise leaves it what it may look for, from white
space to punctuation.

A thin disguise leaves open whose the white space or mark at the edge of a turn is. The *frame* decides: what the template
writes around a plain word is the template's, and what else it writes there is there because of what the message holds.

Where no disguise works (a template that looks at single letters, a text of millions), each message is replaced alone: what
differs from the rendering then is its own.
"""

import string
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from extract.corpus.disguise import Message, beyond_content, disguise, free_signs, n_signs, to_keep, words
from extract.corpus.turn_frame import Render, framed

MOST_DISGUISED, MOST_REPLACED = 2_000_000, 200
"""A longer text is not disguised, but each message replaced; in a conversation of more messages none is replaced."""


@dataclass(frozen=True)
class Turns:
    """Where a conversation's messages stand in its text.

    Attributes:
        spans: (first character, end, message), in order.
        dropped: messages of which the template writes nothing.
        shortened: messages of which it leaves out a part.
        unplaced: messages of which it writes something that cannot be told from its own text.
    """

    spans: tuple[tuple[int, int, int], ...]
    dropped: frozenset[int] = frozenset()
    shortened: frozenset[int] = frozenset()
    unplaced: frozenset[int] = frozenset()


def find_turns(messages: Sequence[Message], text: str, render: Render, literals: Sequence[str]) -> Turns:
    """Find the messages in the text that they were rendered to.

    Args:
        text: the conversation as rendered.
        literals: the strings that the template itself holds, for which it may look in a message.
    """
    signs = free_signs(text + "".join(literals), len(messages))
    said = "\0".join(map(words, messages))
    marks = [literal.strip() for literal in literals if literal.strip() and literal.strip() in said]
    keepers = (None, to_keep([]), to_keep([m for m in marks if not m.isalnum()]), to_keep(marks, string.punctuation))
    for level, keep in enumerate(keepers if len(text) <= MOST_DISGUISED else ()):
        disguised = [disguise(message, sign, keep) for message, sign in zip(messages, signs, strict=True)]
        (shown,) = render([disguised])
        owners = None if isinstance(shown, Exception) else _owners(text, shown, signs)
        if owners is not None and _are_theirs(text, owners, messages, disguised, signs):
            if any(words(m).strip() and not n_signs(m, sign) for m, sign in zip(disguised, signs, strict=True)):
                break  # a message with nothing to disguise
            runs = _runs(owners)
            if level or any(beyond_content(message) for message in messages):
                runs = framed(runs, text, messages, disguised, signs, render)
            return Turns(tuple(runs), *_lost(disguised, shown, signs))
    return _replaced_alone(messages, text, signs, render)


def _owners(text: str, shown: str, signs: Sequence[str]) -> np.ndarray | None:
    """int64 [characters]: the message that each comes from, -1 for the template's; None where the renderings do not agree."""
    if len(text) != len(shown):
        return None
    disguised = _codes(shown)
    known = _codes("".join(signs))  # ascending
    nearest = np.minimum(np.searchsorted(known, disguised), len(known) - 1)
    owners = np.where(known[nearest] == disguised, nearest, -1)
    return owners if (_codes(text) == disguised)[owners < 0].all() else None


def _codes(text: str) -> np.ndarray:
    """uint32 [characters]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _are_theirs(
    text: str, owners: np.ndarray, messages: Sequence[Message], disguised: Sequence[Message], signs: Sequence[str]
) -> bool:
    """Whether each message has the letters that stand at its signs, whatever their case, and as many of each."""
    starts = np.flatnonzero(np.diff(owners, prepend=-2))
    pieces: dict[int, list[str]] = defaultdict(list)
    for start, end in pairwise([*starts.tolist(), len(text)]):
        pieces[int(owners[start])].append(text[start:end])
    for i, found in pieces.items():
        if i >= 0:
            there, given = Counter("".join(found).casefold()), Counter(words(messages[i]).casefold())
            times = -(-sum(map(len, found)) // max(1, n_signs(disguised[i], signs[i])))
            if any(count > times * given[letter] for letter, count in there.items()):
                return False
    return True


def _runs(owners: np.ndarray) -> list[tuple[int, int, int]]:
    """(start, end, message): from a message's first character to its last before another one's."""
    at = np.flatnonzero(owners >= 0)
    if not len(at):
        return []
    starts = np.flatnonzero(np.diff(owners[at], prepend=-1))
    ends = np.append(starts[1:], len(at)) - 1
    return [(int(at[s]), int(at[e]) + 1, int(owners[at[s]])) for s, e in zip(starts, ends, strict=True)]


def _lost(disguised: Sequence[Message], shown: str, signs: Sequence[str]) -> tuple[frozenset[int], frozenset[int]]:
    """Messages of which nothing is shown, and of which only a part is."""
    dropped, shortened = set(), set()
    for i, (message, sign) in enumerate(zip(disguised, signs, strict=True)):
        given, left = n_signs(message, sign), shown.count(sign)
        if given and not left:
            dropped.add(i)
        elif left < given:
            shortened.add(i)
    return frozenset(dropped), frozenset(shortened)


# ---- one message at a time ----


def _replaced_alone(messages: Sequence[Message], text: str, signs: Sequence[str], render: Render) -> Turns:
    """Turns as what differs where one message says a plain word; two that overlap cannot be told apart."""
    speaking = [i for i, message in enumerate(messages) if words(message).strip()]
    if len(messages) > MOST_REPLACED:
        return Turns((), unplaced=frozenset(speaking))
    spans, unplaced, end = [], set(), 0
    for i in speaking:
        others = [{**message, "content": signs[i]} if i == j else message for j, message in enumerate(messages)]
        (shown,) = render([others])
        start, stop = (0, 0) if isinstance(shown, Exception) else _difference(text, shown)
        if start < end or stop <= start:
            unplaced.add(i)
            continue
        spans.append((start, stop, i))
        end = stop
    return Turns(tuple(spans), unplaced=frozenset(unplaced))


def _difference(text: str, other: str) -> tuple[int, int]:
    """Where a text differs from another one: what is left of it without what they begin and end with alike."""
    short = min(len(text), len(other))
    a, b = _codes(text), _codes(other)
    differs = np.flatnonzero(a[:short] != b[:short])
    start = int(differs[0]) if len(differs) else short
    differs = np.flatnonzero(a[::-1][: short - start] != b[::-1][: short - start])
    return start, len(text) - (int(differs[0]) if len(differs) else short - start)
