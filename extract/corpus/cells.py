"""Reading CSV and TSV from anybody: a header, then a record a row; an empty cell holds nothing."""

import csv
import io
from collections.abc import Iterator
from itertools import chain

from extract.corpus import unpacking
from extract.corpus.unpacking import lines

DELIMITERS = (",", ";", "\t")


class Cells:
    """The records of a file of cells.

    Args:
        file: from :func:`extract.corpus.unpacking.open_text`.
        tabs: cells are parted by tabs; else by the first of DELIMITERS that the header holds.

    Attributes:
        line: where it is being read.
    """

    def __init__(self, file: io.BufferedReader, tabs: bool) -> None:
        self.line = 1
        self._lines, self._tabs = lines(file), tabs

    def rows(self) -> Iterator[tuple[int, dict[str, str | None]]]:
        """(line that a row begins on, column -> cell) of each row that is not empty.

        Raises:
            ValueError: a row has more or fewer cells than the header, a column's name is given twice, a quote is not closed.
        """
        decoded = (line.decode("utf-8") for line in self._lines)
        blank, header = 0, next(decoded, "")
        while header and not header.strip():
            blank, header = blank + 1, next(decoded, "")
        delimiter = "\t" if self._tabs else next((one for one in DELIMITERS if one in header), ",")
        rows = csv.reader(chain([header], decoded), delimiter=delimiter, strict=True)
        self.line = blank + 1
        try:
            names = _next(rows) or []
            if len(set(names)) < len(names):
                raise ValueError(f"the column {next(name for name in names if names.count(name) > 1)!r} is given twice")
            self.line = blank + rows.line_num + 1
            while (row := _next(rows)) is not None:
                if any(row):
                    if len(row) != len(names):
                        raise ValueError(f"the row has {len(row):,} cells, and the header {len(names):,}")
                    yield self.line, {name: cell or None for name, cell in zip(names, row, strict=True)}
                self.line = blank + rows.line_num + 1
        except csv.Error as error:
            raise ValueError(str(error)) from error


def _next(rows: Iterator[list[str]]) -> list[str] | None:
    """The next row; None at the end. How long a cell may be is a setting of the whole process, which others read files in."""
    usual = csv.field_size_limit(unpacking.MAX_LINE_BYTES)
    try:
        return next(rows, None)
    finally:
        csv.field_size_limit(usual)
