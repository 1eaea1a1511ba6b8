"""Reading labels from a file: a CSV, or explanations as Neuronpedia exports them. Needs no torch.

What a file is, its content says: gzipped or not, UTF-8 or UTF-16 with its byte-order mark, JSON or CSV with commas, semicolons
or tabs. Of Neuronpedia's come JSON Lines (its exports), one array of explanations (its API), and objects that hold some under
``explanations`` (its API's answer about a feature) or ``results`` (about a search).
"""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from store import Store, open_store
from store.errors import UserError, first_line, unavailable
from store.numbers import listed
from store.sidecar.entries import Label, write_labels
from store.text import printable

MAX_LABEL = 2_000  # characters
MAX_AT_ONCE = 2**30  # bytes of one line, or of a file that is read as a whole
GZIP = b"\x1f\x8b"
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
NAMES = re.compile(r"\.(csv|tsv|json|jsonl|ndjson)(\.gz)?$", re.IGNORECASE)
COLUMNS = ("layer", "feature", "label")


@dataclass(frozen=True)
class Record:
    """One labelled feature as a file names it.

    Attributes:
        where: file and line, for messages.
        source: the dictionary on Neuronpedia, 'model/source'; None where the file does not say.
        origin: where the label comes from, as it will be shown.
        alone: whether a second label of the same feature is a mistake; else the first one of a file is kept.
    """

    where: str
    layer: int
    feature: int
    label: str
    origin: str
    source: str | None = None
    alone: bool = False


def import_labels(store: Path, file: Path) -> str:
    """Read a file of labels and keep them beside a store, all or none.

    Returns:
        What was done, in a sentence.

    Raises:
        UserError: the file cannot be read, a line is malformed, its label is empty, or the store has no such feature.
    """
    if not NAMES.search(file.name):
        raise UserError(f"'{file}' is neither .csv nor .jsonl nor .json (or .gz of these); labels are read from these.")
    with open_store(store) as opened:
        labels, repeated = _checked(opened, _records(file))
    if not labels:
        raise UserError(f"'{file}' holds no labels; nothing was imported.")
    path = write_labels(store, opened.manifest.digest, labels)
    left_out = f" {repeated:,} further explanations of the same features were left out." if repeated else ""
    return f"{len(labels):,} labels of '{file.name}' imported into {path.name}, beside the store.{left_out}"


def _checked(store: Store, records: Iterator[Record]) -> tuple[list[Label], int]:
    """Labels of features that the store has, each once; and how many records repeated a feature."""
    sizes = store.dictionaries().set_index("layer")["d_sae"].to_dict()
    published = store.dictionaries().set_index("layer")["neuronpedia"].to_dict()
    labels: dict[tuple[int, int], Label] = {}
    repeated = 0
    for record in records:
        if record.layer not in sizes:
            raise UserError(f"{record.where}: the store has no layer {record.layer}; its layers: {listed(sizes)}.")
        if not 0 <= record.feature < sizes[record.layer]:
            raise UserError(
                f"{record.where}: layer {record.layer} has no feature {record.feature}; they go from 0 to "
                f"{sizes[record.layer] - 1:,}."
            )
        here = published[record.layer]
        if record.source is not None and isinstance(here, str) and here != record.source:
            raise UserError(
                f"{record.where}: the label is of the dictionary {record.source!r}, but the store's at layer {record.layer} is "
                f"{here!r}; its features are others."
            )
        key = (record.layer, record.feature)
        if key in labels and record.alone:
            raise UserError(f"{record.where}: feature {record.feature} of layer {record.layer} is labelled a second time.")
        repeated += key in labels
        labels.setdefault(key, Label(*key, _clean(record), printable(record.origin)))
    return list(labels.values()), repeated


def _clean(record: Record) -> str:
    text = printable(record.label)
    if not text:
        raise UserError(f"{record.where}: the label of feature {record.feature} is empty.")
    if len(text) > MAX_LABEL:
        raise UserError(f"{record.where}: the label has {len(text):,} characters; at most {MAX_LABEL:,} are kept.")
    return text


def _records(file: Path) -> Iterator[Record]:
    """The records of a file, whatever it is."""
    lines = _lines(file)
    skipped, first = next(((number, line) for number, line in enumerate(lines) if line.strip()), (0, ""))
    if first.lstrip().startswith(("{", "[")):
        return _read_json(file, first, lines, skipped)
    return _read_csv(file, first, lines, skipped) if first else iter(())


def _read_csv(file: Path, first: str, lines: Iterator[str], skipped: int) -> Iterator[Record]:
    """Rows of layer, feature, label; other columns are passed over."""
    said = re.fullmatch(r'"?sep=(.)"?\s*', first)  # Excel's way of naming what separates
    if said:
        first, skipped = next(lines, ""), skipped + 1
    separator = said[1] if said else next((mark for mark in ",;\t|" if set(COLUMNS) <= set(_header(first, mark))), ",")
    table = csv.DictReader(chain([first], lines), delimiter=separator, strict=True)
    try:
        names = _header(first, separator)
        if missing := [name for name in COLUMNS if names.count(name) != 1]:
            wrong = "is there twice" if missing[0] in names else "is missing"
            raise UserError(
                f"{file}, line {skipped + 1}: it must name the columns {listed(COLUMNS)}; {missing[0]} {wrong}, or the file is "
                "neither CSV nor JSON."
            )
        table.fieldnames = names
        next(table.reader)
        for row in table:
            where = f"{file}, line {table.line_num + skipped}"
            if None in row or None in row.values():
                raise UserError(f"{where}: there are {'more' if None in row else 'fewer'} fields than columns.")
            layer, feature = (_whole_number(row[name], name, where) for name in ("layer", "feature"))
            yield Record(where, layer, feature, row["label"], f"imported from {file.name}", alone=True)
    except csv.Error as error:
        raise UserError(f"{file}, line {table.reader.line_num + skipped}: this is not CSV ({error}).") from error


def _header(line: str, separator: str) -> list[str]:
    """The names of the columns, without the spaces around them and in small letters."""
    try:
        return [name.strip().lower() for name in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return []


def _read_json(file: Path, first: str, lines: Iterator[str], skipped: int) -> Iterator[Record]:
    """Neuronpedia's explanations: one object a line, or one array or object over all lines."""
    whole = first.lstrip().startswith("[")
    if not whole:
        try:
            json.loads(first)
        except (ValueError, RecursionError):
            whole = True  # an object over several lines
    if whole:
        text = _joined(file, first, lines)
        content = _parsed(text, file, skipped + 1)
        place = f"{file}, line {skipped + 1}" if len(text.rstrip()) <= len(first) else str(file)
        if not isinstance(content, list):
            yield from _explanations(content, place)
            return
        for number, entry in enumerate(content, start=1):
            yield from _explanations(entry, f"{place}, entry {number}")
        return
    for number, line in enumerate(chain([first], lines), start=skipped + 1):
        if line.strip():
            yield from _explanations(_parsed(line, file, number), f"{file}, line {number}")


def _joined(file: Path, first: str, lines: Iterator[str]) -> str:
    pieces, size = [first], len(first)
    for line in lines:
        size += len(line)
        if size > MAX_AT_ONCE:
            raise UserError(f"'{file}' is one JSON value of more than {MAX_AT_ONCE:,} characters; write one object a line.")
        pieces.append(line)
    return "".join(pieces)


def _parsed(text: str, file: Path, number: int) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        number += getattr(error, "lineno", 1) - 1
        raise UserError(f"{file}, line {number}: this is not JSON ({getattr(error, 'msg', error)}).") from error


def _explanations(entry: Any, where: str) -> Iterator[Record]:
    """The records of an explanation, or of an object that holds some and may name what they are of."""
    held = [entry[name] for name in ("explanations", "results") if name in entry] if isinstance(entry, dict) else []
    inside = next((value for value in held if isinstance(value, list)), None)
    if inside is None:
        yield _explanation(entry, where)
        return
    shared = {name: entry[name] for name in ("modelId", "layer", "index") if name in entry}
    for number, one in enumerate(inside, start=1):
        yield _explanation({**shared, **one} if isinstance(one, dict) else one, f"{where}, explanation {number}")


def _explanation(entry: Any, where: str) -> Record:
    """modelId, layer ('20-gemmascope-res-16k'), index, description, explanationModelName."""
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected an object with layer, index and description.")
    if missing := [name for name in ("layer", "index", "description") if entry.get(name) is None]:
        raise UserError(f"{where}: the field '{missing[0]}' is missing.")
    if not isinstance(entry["description"], str):
        raise UserError(f"{where}: description must be text, not {str(entry['description'])[:40]!r}.")
    source = str(entry["layer"])
    layer = _whole_number(re.split(r"[-_]", source, maxsplit=1)[0], "layer", where)
    feature = _whole_number(entry["index"], "index", where)
    model = entry.get("modelId")
    named = f"{model}/{source}" if isinstance(model, str) and not source.isdigit() else None
    by = entry.get("explanationModelName")
    origin = f"imported from Neuronpedia, by {by}" if isinstance(by, str) and by else "imported from Neuronpedia"
    return Record(where, layer, feature, entry["description"], origin, named)


def _whole_number(value: Any, name: str, where: str) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,9}", str(value).strip()):
        raise UserError(f"{where}: {name} must be a whole number, not {str(value)[:40]!r}.")
    return int(value)


def _lines(file: Path) -> Iterator[str]:
    """The lines of a text file, gzipped or not, in UTF-8 or in what its byte-order mark says."""
    number = 0
    try:
        with file.open("rb") as raw:
            stream: BinaryIO = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == GZIP else raw
            if stream.peek(2)[:2] in UTF16:
                yield from io.StringIO(_utf16(stream, file))
                return
            while line := stream.readline(MAX_AT_ONCE + 1):
                number += 1
                if b"\0" in line or len(line) > MAX_AT_ONCE:
                    wrong = "holds NUL bytes" if b"\0" in line else f"has more than {MAX_AT_ONCE:,} bytes"
                    raise UserError(f"{file}, line {number}: it {wrong}; save the file as UTF-8 text.")
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        place = f"{file}, line {number}" if number else str(file)
        raise UserError(f"{place}: this is not {error.encoding.upper()} text; save the file as UTF-8.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"The labels '{file}' cannot be read: {first_line(error)}; fetch or write the file anew.") from error
    except OSError as error:
        raise unavailable(f"The labels '{file}'", error) from error


def _utf16(stream: BinaryIO, file: Path) -> str:
    content = stream.read(MAX_AT_ONCE + 1)
    if len(content) > MAX_AT_ONCE or "\0" in (text := content.decode("utf-16")):
        raise UserError(f"'{file}' holds NUL characters or more than {MAX_AT_ONCE:,} bytes; save the file as UTF-8 text.")
    return text
