"""Reading JSON that is one value over many lines, record by record: an array, or an object with an array in it."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from extract.corpus import unpacking
from extract.corpus.jsonl import check_characters, unique

WRAPPERS = ("data", "rows", "records", "examples", "instances")
"""Members of an object under which files keep their records, beside the name of a split."""
_PIECE = 2**20
_WHITE = re.compile(r"[ \t\r\n]*")


class JsonValues:
    """The records of a file that is an array, or an object with one.

    Args:
        file: from :func:`extract.corpus.unpacking.open_text`.

    Attributes:
        line: where it is being read.
        in_array: whether the array of the records has begun.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self.line, self.in_array = 1, False
        self._file = io.TextIOWrapper(file, encoding="utf-8", newline="")
        self._text, self._at, self._ended = "", 0, False
        self._decoder = json.JSONDecoder(object_pairs_hook=unique)

    def records(self, split: str) -> Iterator[dict[str, Any]]:
        """Each record.

        Args:
            split: the member of an object that is looked for first of all.

        Raises:
            ValueError: it is neither, or a record is no object.
        """
        in_object = self._next() == "{"
        if in_object:
            self._find_array((split, *WRAPPERS))
        yield from self._elements()
        if in_object and self._next() != ",":
            self._take("}")
        elif in_object:
            return  # other members are none of the records
        if self._next():
            raise ValueError(
                "it is one list a line, or something stands behind the list of records; write one object a line, a list in it "
                'under a name, as {"messages": [...]}'
            )

    def _find_array(self, names: tuple[str, ...]) -> None:
        """Go to where the array of one of these names begins."""
        others = []
        self._take("{")
        while self._next() == '"':
            name = self._value()
            self._take(":")
            if name in names and self._next() == "[":
                return
            others.append(name)
            self._value()
            if self._next() != ",":
                break
            self._take(",")
        raise ValueError(
            f"it is one JSON object ({', '.join(map(repr, others[:10])) or 'empty'}), without a list of records under "
            f"{', '.join(map(repr, names))}; write its records as a list, or one object a line"
        )

    def _elements(self) -> Iterator[dict[str, Any]]:
        self._take("[")
        self.in_array = True
        while self._next() not in ("]", ""):
            record = self._value()
            if not isinstance(record, dict):
                raise ValueError(
                    f"the record is a {type(record).__name__}, not a JSON object; write one object a line, or a list of objects"
                )
            yield record
            if self._next() != "]":
                self._take(",")
        self._take("]")

    def _next(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            end = _WHITE.match(self._text, self._at).end()
            self.line += self._text.count("\n", self._at, end)
            self._at = end
            if end < len(self._text):
                return self._text[end]
            if not self._more():
                return ""

    def _take(self, character: str) -> None:
        if (found := self._next()) != character:
            raise ValueError(f"expected {character!r}, found {found!r}" if found else "it ends in the middle")
        self._at += 1

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                at = error.pos - self._at
                self._check_length(len(self._text))
                if not self._more():
                    self.line += self._text.count("\n", self._at, self._at + at)
                    raise ValueError(error.msg) from error
                continue
            if end < len(self._text) or not self._more():  # else a number may go on
                break
        self._check_length(end)
        if self._text.find("\\u", self._at, end) >= 0:
            check_characters(value)
        self.line += self._text.count("\n", self._at, end)
        self._at = end
        return value

    def _check_length(self, end: int) -> None:
        if end - self._at > unpacking.MAX_LINE_BYTES:
            raise ValueError(f"the record is longer than {unpacking.MAX_LINE_BYTES / 2**20:.0f} MB")

    def _more(self) -> bool:
        """Read on, as much again as is waiting; whether there was anything."""
        rest = self._text[self._at :]
        piece = self._file.read(max(_PIECE, len(rest)))
        self._text, self._at = rest + piece, 0
        return bool(piece)
