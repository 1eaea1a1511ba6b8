"""Opening a file of anybody's as UTF-8: unpacked by what it is, decoded by its byte-order mark, within bounds."""

import bz2
import gzip
import io
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MAX_LINE_BYTES, MOST_LINES = 128 * 2**20, 50_000_000
MAX_TIMES_PACKED, BELIEVED_BYTES = 200, 256 * 2**20
"""A compressed file may unpack to so many times its size, or to so many bytes whatever its size."""
BROKEN = (ValueError, RecursionError, OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a file of the wrong kind, or a damaged one, may raise; MemoryError besides."""


def _zstd(path: Path) -> BinaryIO:
    import pyarrow  # which most runs do not need

    return pyarrow.input_stream(path, compression="zstd")


_PACKED: dict[bytes, Callable[[Path], BinaryIO]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _zstd,
}
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte-order mark -> encoding, the longer ones first."""
_NOT_TEXT = {b"PK\x03\x04": "it is a zip archive; unpack it", b"%PDF": "it is a PDF; save it as text"}
UTF8_MARK = b"\xef\xbb\xbf"


class Bounded(io.RawIOBase):
    """A stream that ends with an error where it has given more than it may; its first bytes can be looked at.

    Args:
        most: bytes that it may give, or None.
    """

    def __init__(self, stream: BinaryIO, most: int | None = None) -> None:
        self._stream, self._most = stream, most
        self._ahead = b""
        self._given = 0

    def readable(self) -> bool:
        return True

    def head(self, count: int) -> bytes:
        """The first bytes that are still to be read; fewer where there are no more."""
        while len(self._ahead) < count and (more := self._stream.read(count - len(self._ahead))):
            self._ahead += more
        return self._ahead[:count]

    def skip(self, count: int) -> None:
        """Leave out bytes that have been looked at."""
        self._ahead = self._ahead[count:]

    def readinto(self, buffer: memoryview) -> int:
        piece = self._ahead[: len(buffer)] or self._stream.read(len(buffer))
        self._ahead = self._ahead[len(piece) :]
        buffer[: len(piece)] = piece
        self._given += len(piece)
        if self._most is not None and self._given > self._most:
            raise ValueError(f"so far the file has unpacked to more than {MAX_TIMES_PACKED} times its size; unpack it yourself")
        return len(piece)


class _Recoded(io.RawIOBase):
    """A stream of text in another encoding as UTF-8."""

    def __init__(self, stream: io.RawIOBase, encoding: str) -> None:
        self._text = io.TextIOWrapper(io.BufferedReader(stream), encoding=encoding, newline="")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        piece = self._text.read(max(1, len(buffer) // 4)).encode()
        buffer[: len(piece)] = piece
        return len(piece)


def bounded(stream: BinaryIO, packed_bytes: int) -> Bounded:
    """What something packed unpacks to, as far as anybody's text is that much."""
    return Bounded(stream, max(BELIEVED_BYTES, MAX_TIMES_PACKED * packed_bytes))


def magic(path: Path, count: int = 6) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(count)


@contextmanager
def open_text(path: Path) -> Iterator[io.BufferedReader]:
    """The file as UTF-8 without a byte-order mark.

    Raises:
        ValueError: it is no text as far as its beginning says, or, in reading, unpacks to more than anybody's text.
    """
    start = magic(path)
    opener = next((opener for begin, opener in _PACKED.items() if start.startswith(begin)), None)
    with (opener or (lambda path: path.open("rb")))(path) as stream:
        raw = Bounded(stream) if opener is None else bounded(stream, path.stat().st_size)
        start = raw.head(6)
        if said := next((said for begin, said in _NOT_TEXT.items() if start.startswith(begin)), None):
            raise ValueError(said)
        if encoding := next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), None):
            yield io.BufferedReader(_Recoded(raw, encoding))
            return
        if b"\0" in start[:4]:
            raise ValueError("it is UTF-16 or UTF-32 text without a byte-order mark, or no text at all; save it as UTF-8")
        if start.startswith(UTF8_MARK):
            raw.skip(len(UTF8_MARK))
        yield io.BufferedReader(raw, buffer_size=2**16)


def lines(file: io.BufferedReader) -> Iterator[bytes]:
    """The lines of a file, each with its end.

    Raises:
        ValueError: one is longer than anybody's text, or there are too many.
    """
    for count in itertools.count(1):
        if not (line := file.readline(MAX_LINE_BYTES + 1)):
            return
        if count > MOST_LINES:
            raise ValueError(f"the file has more than {MOST_LINES:,} lines")
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"it is longer than {MAX_LINE_BYTES / 2**20:.0f} MB")
        yield line
