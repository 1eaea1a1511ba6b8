"""Messages in disguise: what each says replaced by a sign of its own, so that a rendering shows whose a character is."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]

REASONING = ("reasoning_content", "thinking", "reasoning")

_SIGNS = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))  # for private use: nobody's letters
_UNSPOKEN = ("type", "id")  # of a tool call: what is compared, not said


def to_keep(strings: Sequence[str], characters: str = "") -> re.Pattern[str]:
    """What a disguise leaves as it is: white space, some strings whole, some single characters."""
    whole = [re.escape(text) for text in sorted(set(strings), key=len, reverse=True)]
    return re.compile("|".join([*whole, rf"[\s{re.escape(characters)}]+"]))


def disguise(message: Message, sign: str, keep: re.Pattern[str] | None) -> dict[str, Any]:
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


def free_signs(taken: str, count: int) -> list[str]:
    """Characters for private use that a text does not hold."""
    used = set(taken)
    free = (chr(code) for codes in _SIGNS for code in codes if chr(code) not in used)
    return [next(free) for _ in range(count)]


def n_signs(message: Message, sign: str) -> int:
    """How often a disguised message holds its sign."""
    return words(message).count(sign)


def words(message: Message) -> str:
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


def beyond_content(message: Message) -> bool:
    """Whether it says something besides its content: a tool call, or reasoning."""
    return any(message.get(name) for name in ("tool_calls", *REASONING))
