"""Reading JSONL from anybody: one object a line, within bounds, and a sentence for whatever else a file turns out to be."""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from store.errors import UserError, first_line

MAX_LINE_BYTES = 128 * 2**20
MAX_TIMES_PACKED, BELIEVED_BYTES = 200, 256 * 2**20
"""A compressed file may unpack to so many times its size, or to so many bytes whatever its size."""

_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00", b"{\x00")
_KINDS = {
    b"PAR1": "it is a Parquet file; give its folder as 'dataset'",
    b"\x28\xb5\x2f\xfd": "it is compressed with Zstandard; unpack it, or compress it with gzip",
    b"\x1f\x8b": "it is compressed with gzip; let its name end in .gz",
    b"BZh": "it is compressed with bzip2; unpack it, or compress it with gzip",
    b"\xfd7zXZ": "it is compressed with xz; unpack it, or compress it with gzip",
    b"PK\x03\x04": "it is a zip archive; unpack it",
    b"[": "it is a JSON array; write its records as JSONL, one object a line",
}


def read_objects(path: Path, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line that is not blank.

    Args:
        kind: what the file is called in a sentence, e.g. 'corpus file'.

    Raises:
        UserError: names file and line, and what is wrong.
    """
    number = 1
    try:
        packed = path.suffix == ".gz"
        with (gzip.open if packed else open)(path, "rb") as file:
            for line in _lines(file, path.stat().st_size if packed else None):
                if line.strip():
                    yield number, _parse(line)
                number += 1
    except (ValueError, RecursionError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"The {kind} '{path}', line {number}, cannot be read: {first_line(error).rstrip('.')}.") from error
    except MemoryError as error:
        raise UserError(f"The {kind} '{path}', line {number}, cannot be read: it takes too much memory.") from error


def _lines(file: BinaryIO, packed_bytes: int | None) -> Iterator[bytes]:
    """Lines of a file that is JSONL as far as its beginning says.

    Raises:
        ValueError: it is not, or holds more than anybody's text.
    """
    most = None if packed_bytes is None else max(BELIEVED_BYTES, MAX_TIMES_PACKED * packed_bytes)
    read, begun = 0, False
    while line := file.readline(MAX_LINE_BYTES + 1):
        if read == 0:
            line = line.removeprefix(b"\xef\xbb\xbf")
            if line.startswith(_WIDE):
                raise ValueError("it is UTF-16 or UTF-32 text; save it as UTF-8")
        read += len(line)
        if not begun and (start := line.lstrip()):
            begun = True
            if kind := next((said for magic, said in _KINDS.items() if start.startswith(magic)), None):
                raise ValueError(kind)
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"it is longer than {MAX_LINE_BYTES / 2**20:.0f} MB")
        if most is not None and read > most:
            raise ValueError(f"so far the file has unpacked to more than {MAX_TIMES_PACKED} times its size; unpack it yourself")
        yield line


def _parse(line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode("utf-8"), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error}; write one JSON object a line") from error
    if not isinstance(fields, dict):
        raise ValueError("the line is not a JSON object")
    if b"\\u" in line:
        json.dumps(fields, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (name, _times), *_others = Counter(name for name, _value in pairs).most_common(1)
        raise ValueError(f"the name {name!r} is given twice")
    return found
