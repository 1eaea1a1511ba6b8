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

import re
import string
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Message = Mapping[str, Any]
Render = Callable[[list[list[Message]]], list[str | Exception]]
"""Conversations -> their texts, or why one cannot be rendered."""

REASONING = ("reasoning_content", "thinking", "reasoning")
MOST_DISGUISED, MOST_REPLACED = 2_000_000, 200
"""A longer text is not disguised, but each message replaced; in a conversation of more messages none is replaced."""

_SIGNS = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))  # for private use: nobody's letters
_UNSPOKEN = ("type", "id")  # of a tool call: what is compared, not said


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
    signs = _free_signs(text + "".join(literals), len(messages))
    said = "\0".join(map(_words, messages))
    marks = [literal.strip() for literal in literals if literal.strip() and literal.strip() in said]
    keepers = (None, _kept([]), _kept([m for m in marks if not m.isalnum()]), _kept(marks, string.punctuation))
    for level, keep in enumerate(keepers if len(text) <= MOST_DISGUISED else ()):
        disguised = [_disguise(message, sign, keep) for message, sign in zip(messages, signs, strict=True)]
        (shown,) = render([disguised])
        owners = None if isinstance(shown, Exception) else _owners(text, shown, signs)
        if owners is not None and _are_theirs(text, owners, messages, disguised, signs):
            if any(_words(m).strip() and not _hidden(m, sign) for m, sign in zip(disguised, signs, strict=True)):
                break  # a message with nothing to disguise
            runs = _runs(owners)
            if level or any(_beyond_content(message) for message in messages):
                runs = _framed(runs, text, messages, disguised, signs, render)
            return Turns(tuple(runs), *_lost(disguised, shown, signs))
    return _replaced_alone(messages, text, signs, render)


# ---- disguise ----


def _kept(strings: Sequence[str], characters: str = "") -> re.Pattern[str]:
    """What a disguise leaves as it is: white space, some strings whole, some single characters."""
    whole = [re.escape(text) for text in sorted(set(strings), key=len, reverse=True)]
    return re.compile("|".join([*whole, rf"[\s{re.escape(characters)}]+"]))


def _disguise(message: Message, sign: str, keep: re.Pattern[str] | None) -> dict[str, Any]:
    """A message with every character that is said replaced by a sign, but for those to keep."""

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            return _hide(value, sign, keep)
        if isinstance(value, list):
            return [hide(item) for item in value]
        if isinstance(value, Mapping):
            return {name: item if name in _UNSPOKEN else hide(item) for name, item in value.items()}
        return value

    said = ("content", "tool_calls", *REASONING)
    return {name: hide(value) if name in said else value for name, value in message.items()}


def _hide(text: str, sign: str, keep: re.Pattern[str] | None) -> str:
    pieces, place = [], 0
    for found in keep.finditer(text) if keep else ():
        pieces += [sign * (found.start() - place), found[0]]
        place = found.end()
    return "".join([*pieces, sign * (len(text) - place)])


def _free_signs(taken: str, count: int) -> list[str]:
    """Characters for private use that a text does not hold."""
    used = set(taken)
    free = (chr(code) for codes in _SIGNS for code in codes if chr(code) not in used)
    return [next(free) for _ in range(count)]


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
            there, given = Counter("".join(found).casefold()), Counter(_words(messages[i]).casefold())
            times = -(-sum(map(len, found)) // max(1, _hidden(disguised[i], signs[i])))
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
        given, left = _hidden(message, sign), shown.count(sign)
        if given and not left:
            dropped.add(i)
        elif left < given:
            shortened.add(i)
    return frozenset(dropped), frozenset(shortened)


def _hidden(message: Message, sign: str) -> int:
    return _words(message).count(sign)


def _words(message: Message) -> str:
    """All that a message says, in one text; reasoning that stands in it under several names once."""

    def said(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            for item in value:
                yield from said(item)
        elif isinstance(value, Mapping):
            for name, item in value.items():
                if name not in _UNSPOKEN:
                    yield from said(item)

    reasoning = next((message[name] for name in REASONING if message.get(name) is not None), None)
    return "".join(said([message.get("content"), reasoning, message.get("tool_calls")]))


def _beyond_content(message: Message) -> bool:
    return any(message.get(name) for name in ("tool_calls", *REASONING))


# ---- frame ----


def _framed(
    runs: list[tuple[int, int, int]],
    text: str,
    messages: Sequence[Message],
    disguised: Sequence[Message],
    signs: Sequence[str],
    render: Render,
) -> list[tuple[int, int, int]]:
    """Runs with what the template writes at their edges because of what the messages hold."""
    frame = _frame(runs, messages, signs, render)
    bounds = [0, *(place for start, end, _message in runs for place in (start, end)), len(text)]
    edges = []
    for k in range(len(runs) + 1):
        start, end = bounds[2 * k], bounds[2 * k + 1]
        gap = text[start:end]
        plain = None if frame is None else _plain_at(gap, frame[k], first=k == 0, last=k == len(runs))
        if plain is None:  # what of the messages' own is left there undisguised
            tail = 0 if k == 0 else _own_tail(gap, disguised[runs[k - 1][2]], signs[runs[k - 1][2]])
            head = 0 if k == len(runs) else _own_head(gap[tail:], disguised[runs[k][2]], signs[runs[k][2]])
            plain = (tail, len(gap) - head)
        edges.append((start + plain[0], start + plain[1]))
    return [(edges[k][1], edges[k + 1][0], message) for k, (_start, _end, message) in enumerate(runs)]


def _frame(
    runs: Sequence[tuple[int, int, int]], messages: Sequence[Message], signs: Sequence[str], render: Render
) -> list[str] | None:
    """What the template writes before, between and after the messages shown, where each says one plain word."""
    order = [message for _start, _end, message in runs]
    others = ("tool_calls", *REASONING)
    plain = list(messages)
    for i in order:
        plain[i] = {name: value for name, value in messages[i].items() if name not in others} | {"content": signs[i]}
    (text,) = render([plain])
    if isinstance(text, Exception):
        return None
    pieces, place = [], 0
    for message in order:
        at = text.find(signs[message], place)
        if at < 0:
            return None
        pieces.append(text[place:at])
        place = at + 1
    pieces.append(text[place:])
    return None if any(sign in piece for piece in pieces for sign in signs) else pieces


def _plain_at(gap: str, plain: str, first: bool, last: bool) -> tuple[int, int] | None:
    """Where in a gap the template's plain frame stands; before it is the one message's, behind it the other's."""
    if first and last:
        return (0, len(gap))
    if first:
        return (0, len(plain)) if gap.startswith(plain) else None
    if last:
        return (len(gap) - len(plain), len(gap)) if gap.endswith(plain) else None
    at = gap.find(plain) if plain else -1
    return None if at < 0 else (at, at + len(plain))


def _own_head(gap: str, message: Message, sign: str) -> int:
    """How many characters at the end of a gap are those that the next message begins with."""
    heads = [text.partition(sign)[0].lstrip() for text in _texts(message)]
    return max((len(head) for head in heads if gap.endswith(head)), default=0)


def _own_tail(gap: str, message: Message, sign: str) -> int:
    """How many characters at the start of a gap are those that the message before ends with."""
    tails = [text.rpartition(sign)[2].rstrip() for text in _texts(message)]
    return max((len(tail) for tail in tails if gap.startswith(tail)), default=0)


def _texts(message: Message) -> list[str]:
    """Content and reasoning, where they are text."""
    return [text for name in ("content", *REASONING) if isinstance(text := message.get(name), str)]


# ---- one message at a time ----


def _replaced_alone(messages: Sequence[Message], text: str, signs: Sequence[str], render: Render) -> Turns:
    """Turns as what differs where one message says a plain word; two that overlap cannot be told apart."""
    speaking = [i for i, message in enumerate(messages) if _words(message).strip()]
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
