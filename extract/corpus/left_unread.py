"""Which fields of a record hold text that is read nowhere: told, so that nothing is lost without a word."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

NOT_ANSWERED = ("rejected",)
"""Fields that are no part of what a model is trained to say, as everybody knows who has them."""
_PIECE = re.compile(r"\S+")


class Taken(Mapping[str, Any]):
    """A record's fields, which remember those that were taken.

    Attributes:
        names: of the fields that were taken.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return self._fields[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def look(self, name: str) -> Any:
        """A field, or None, without taking it."""
        return self._fields.get(name)


def left_unread(fields: Taken, said: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields with text that were not taken and whose text stands nowhere in what the record became, sorted."""
    names = [name for name in fields if name not in fields.names and name not in NOT_ANSWERED and has_text(fields.look(name))]
    if not names:
        return ()
    read = "\0".join(_strings(said))
    return tuple(
        sorted(name for name in names if any(_is_text(one) and one not in read for one in _strings(fields.look(name))))
    )


def has_text(value: Any) -> bool:
    """Whether a value holds text, at any depth; a single word is a label, a name or an address."""
    return any(map(_is_text, _strings(value)))


def _strings(value: Any) -> Iterator[str]:
    """Every string in a value; not by recursion, as a file may nest as deep as it likes."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one


def _is_text(value: str) -> bool:
    """Whether a string has two words, or one in a script that puts no space between them."""
    pieces = (piece[0] for piece in _PIECE.finditer(value))
    words = list(islice((piece for piece in pieces if any(map(str.isalpha, piece))), 2))
    return len(words) > 1 or any(unicodedata.category(letter) == "Lo" for word in words for letter in word)
