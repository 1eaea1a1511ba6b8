"""Whose a turn's edges are: what the template writes around a plain word is the template's, what else stands there is not."""

from collections.abc import Callable, Sequence

from extract.corpus.disguise import REASONING, Message

Render = Callable[[list[list[Message]]], list[str | Exception]]
"""Conversations -> their texts, or why one cannot be rendered."""


def framed(
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
