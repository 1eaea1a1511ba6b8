"""The records of a file, whatever kind of file it is: JSON, CSV, Parquet, Arrow, plain text."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BufferedReader
from itertools import chain, count
from pathlib import Path
from typing import Any

from extract.corpus import unpacking
from extract.corpus.cells import Cells
from extract.corpus.column_files import read_columns
from extract.corpus.json_values import WRAPPERS, JsonValues
from extract.corpus.jsonl import parse_object
from extract.corpus.unpacking import BROKEN, lines, magic, open_text
from store.errors import UserError, first_line

JSON, CELLS, COLUMNS, TEXT = "JSON", "cells", "columns", "text"
KINDS = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), JSON),
    **dict.fromkeys((".csv", ".tsv"), CELLS),
    **dict.fromkeys((".parquet", ".arrow"), COLUMNS),
    **dict.fromkeys((".txt", ".md", ".markdown"), TEXT),
}
"""Suffix -> what a file is."""
PACKED = (".gz", ".bz2", ".xz", ".zst")
READ = ", ".join(KINDS)


@dataclass(frozen=True)
class Row:
    """One record of a file.

    Attributes:
        number: that tells it from the others of its file; empty where it is the whole file.
        place: 'line 3', for messages; empty likewise.
    """

    number: str
    place: str
    fields: dict[str, Any]


def kind_of(path: Path) -> str | None:
    """What a file is by its name; None where that says nothing."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return KINDS.get(suffixes[-1]) if suffixes else None


class RecordFile:
    """The records of one file.

    Args:
        split: the member of a JSON object that holds the records, where a file is one.
        paragraphs: of a text: each block between blank lines is a record; else the file is one.
    """

    def __init__(self, path: Path, split: str = "train", paragraphs: bool = False) -> None:
        self._path, self._split, self._paragraphs = path, split, paragraphs
        self._line, self._place = 1, "line 1"

    def rows(self) -> Iterator[Row]:
        """Each record.

        Raises:
            UserError: the file cannot be read; it and the place are named.
        """
        try:
            with closing(self._rows()) as rows:
                yield from rows
        except BROKEN as error:
            raise self._cannot_be_read(first_line(error).rstrip(".")) from error
        except MemoryError as error:
            raise self._cannot_be_read("it takes too much memory") from error

    def _cannot_be_read(self, said: str) -> UserError:
        return UserError(f"The corpus file '{self._path}', {self._place}, cannot be read: {said}.")

    def _rows(self) -> Iterator[Row]:
        if magic(self._path).startswith((b"PAR1", b"ARROW1")) or kind_of(self._path) == COLUMNS:
            return self._columns()
        reader = {CELLS: self._cells, TEXT: self._text}.get(kind_of(self._path), self._json)
        return reader()

    def _columns(self) -> Iterator[Row]:
        self._place = "row 1"
        for number, fields in enumerate(read_columns(self._path), 1):
            yield Row(str(number), f"row {number}", fields)
            self._place = f"row {number + 1}"

    def _cells(self) -> Iterator[Row]:
        with open_text(self._path) as file:
            cells = Cells(file, tabs=".tsv" in self._path.suffixes)
            try:
                for number, fields in cells.rows():
                    yield Row(str(number), f"line {number}", fields)
            finally:
                self._place = f"line {cells.line}"

    def _text(self) -> Iterator[Row]:
        with open_text(self._path) as file:
            blocks = _paragraphs(file) if self._paragraphs else [("", file.read(unpacking.MAX_LINE_BYTES + 1))]
            for number, block in blocks:
                self._place = f"line {number or 1}"
                if len(block) > unpacking.MAX_LINE_BYTES:
                    raise ValueError(f"it is longer than {unpacking.MAX_LINE_BYTES / 2**20:.0f} MB")
                yield Row(str(number), f"line {number}" if number else "", {"text": block.decode("utf-8")})

    def _json(self) -> Iterator[Row]:
        """Objects a line; or what the file is where its first line is no object of its own."""
        with open_text(self._path) as file:
            filled = self._filled(lines(file))
            try:
                first = next(filled, b"")
                fields = None if first.startswith(b"[") else parse_object(first) if first else {}
            except ValueError as error:
                yield from self._one_value(otherwise=error)
                return
            if not first:
                return
            number, second = self._line, next(filled, None)
            if fields is None or (second is None and self._is_wrapper(fields)):
                yield from self._one_value()
                return
            yield Row(str(number), f"line {number}", fields)
            for line in filled if second is None else chain([second], filled):
                yield Row(str(self._line), f"line {self._line}", parse_object(line))

    def _filled(self, every: Iterator[bytes]) -> Iterator[bytes]:
        """The lines that are not blank; where that is, is kept."""
        for self._line in count(1):
            self._place = f"line {self._line}"
            if (line := next(every, None)) is None:
                return
            if line.strip():
                yield line.lstrip()

    def _is_wrapper(self, fields: dict[str, Any]) -> bool:
        found = [fields[name] for name in (self._split, *WRAPPERS) if isinstance(fields.get(name), list)]
        return any(value and isinstance(value[0], dict) for value in found)

    def _one_value(self, otherwise: ValueError | None = None) -> Iterator[Row]:
        """The records of a file that is one JSON value.

        Args:
            otherwise: what is wrong where it turns out to be no such file.
        """
        place = self._place
        with open_text(self._path) as file:
            values = JsonValues(file)
            try:
                for number, fields in enumerate(values.records(self._split), 1):
                    yield Row(str(number), f"record {number}", fields)
            except BROKEN as error:
                if otherwise is not None and not values.in_array:
                    self._place = place
                    raise otherwise from error
                self._place = f"line {values.line}"
                raise


def _paragraphs(file: BufferedReader) -> Iterator[tuple[int, bytes]]:
    """(first line, text) of each block between blank lines."""
    block: list[bytes] = []
    size = start = 0
    for number, line in enumerate(lines(file), 1):
        if line.strip():
            start = start if block else number
            size = size + len(line) if block else len(line)
            block.append(line)
            if size > unpacking.MAX_LINE_BYTES:
                yield start, b"".join(block)
        elif block:
            yield start, b"".join(block).strip(b"\r\n")
            block = []
    if block:
        yield start, b"".join(block).strip(b"\r\n")
