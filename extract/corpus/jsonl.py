"""Reading JSONL from anybody: one object a line, within bounds, and a sentence for whatever else a file turns out to be."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extract.corpus.unpacking import BROKEN, lines, open_text
from store.errors import UserError, first_line


def read_objects(path: Path, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line that is not blank.

    Args:
        kind: what the file is called in a sentence, e.g. 'file of answers'.

    Raises:
        UserError: names file and line, and what is wrong.
    """
    number = 1
    try:
        with open_text(path) as file:
            for line in lines(file):
                if line.strip():
                    yield number, parse_object(line)
                number += 1
    except BROKEN as error:
        raise UserError(f"The {kind} '{path}', line {number}, cannot be read: {first_line(error).rstrip('.')}.") from error
    except MemoryError as error:
        raise UserError(f"The {kind} '{path}', line {number}, cannot be read: it takes too much memory.") from error


def parse_object(line: bytes) -> dict[str, Any]:
    """The object of a line.

    Raises:
        ValueError: it is none, or holds what no file can keep.
    """
    try:
        fields = json.loads(line.decode("utf-8"), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error}; write one JSON object a line") from error
    if isinstance(fields, list):
        raise ValueError("the line is a JSON array, not a JSON object; write one object a line")
    if not isinstance(fields, dict):
        raise ValueError("the line is not a JSON object")
    if b"\\u" in line:
        check_characters(fields)
    return fields


def check_characters(value: Any) -> None:
    """Refuse half of a surrogate pair, which is no text.

    Raises:
        ValueError: there is one.
    """
    json.dumps(value, ensure_ascii=False).encode()


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which no name may be given twice.

    Raises:
        ValueError: one is.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        (name, _times), *_others = Counter(name for name, _value in pairs).most_common(1)
        raise ValueError(f"the name {name!r} is given twice")
    return found
