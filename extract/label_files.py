"""Reading labels from a file: a CSV, or Neuronpedia's export of explanations. Needs no torch."""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store import Store, open_store
from store.errors import UserError
from store.sidecar import Label, write_labels

MAX_LABEL = 2_000  # characters


@dataclass(frozen=True)
class Record:
    """One labelled feature as a file names it.

    Attributes:
        where: file and line, for messages.
        source: the dictionary on Neuronpedia, 'model/source'; None where the file does not say.
        origin: where the label comes from, as it will be shown.
    """

    where: str
    layer: int
    feature: int
    label: str
    origin: str
    source: str | None = None


def import_labels(store: Path, file: Path) -> str:
    """Read a file of labels and keep them beside a store, all or none.

    Returns:
        What was done, in a sentence.

    Raises:
        UserError: the file cannot be read, a line is malformed, its label is empty, or the store has no such feature.
    """
    read = _READERS.get("".join(file.suffixes[-2:]).lower()) or _READERS.get(file.suffix.lower())
    if read is None:
        raise UserError(f"'{file}' is neither .csv nor .jsonl (or .jsonl.gz); labels are read from these.")
    with open_store(store) as opened:
        labels, repeated = _checked(opened, read(file), one_each=file.suffix.lower() == ".csv")
    if not labels:
        raise UserError(f"'{file}' holds no labels; nothing was imported.")
    path = write_labels(store, opened.manifest.digest, labels)
    left_out = f" {repeated:,} further explanations of the same features were left out." if repeated else ""
    return f"{len(labels):,} labels of '{file.name}' imported into {path.name}, beside the store.{left_out}"


def _checked(store: Store, records: Iterator[Record], one_each: bool) -> tuple[list[Label], int]:
    """Labels of features that the store has, each once; and how many records repeated a feature."""
    sizes = store.dictionaries().set_index("layer")["d_sae"].to_dict()
    published = store.dictionaries().set_index("layer")["neuronpedia"].to_dict()
    labels: dict[tuple[int, int], Label] = {}
    repeated = 0
    for record in records:
        if record.layer not in sizes:
            raise UserError(f"{record.where}: the store has no layer {record.layer}; its layers: {_list(sizes)}.")
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
        if key in labels and one_each:
            raise UserError(f"{record.where}: feature {record.feature} of layer {record.layer} is labelled a second time.")
        repeated += key in labels
        labels.setdefault(key, Label(*key, _clean(record), _one_line(record.origin)))
    return list(labels.values()), repeated


def _clean(record: Record) -> str:
    text = _one_line(record.label)
    if not text:
        raise UserError(f"{record.where}: the label of feature {record.feature} is empty.")
    if len(text) > MAX_LABEL:
        raise UserError(f"{record.where}: the label has {len(text):,} characters; at most {MAX_LABEL:,} are kept.")
    return text


def _one_line(text: str) -> str:
    """Without control characters, to be stored anywhere. What it says is not trusted: whoever shows it escapes it."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _read_csv(file: Path) -> Iterator[Record]:
    table = csv.DictReader(_lines(file), strict=True)
    try:
        if missing := [name for name in ("layer", "feature", "label") if name not in (table.fieldnames or ())]:
            raise UserError(f"{file}, line 1: it must name the columns layer, feature, label; {missing[0]} is missing.")
        for row in table:
            where = f"{file}, line {table.line_num}"
            if None in row or None in row.values():
                raise UserError(f"{where}: there are {'more' if None in row else 'fewer'} fields than columns in line 1.")
            layer, feature = (_whole_number(row[name], name, where) for name in ("layer", "feature"))
            yield Record(where, layer, feature, row["label"], f"imported from {file.name}")
    except csv.Error as error:
        raise UserError(f"{file}, line {table.reader.line_num}: this is not CSV ({error}).") from error


def _read_neuronpedia(file: Path) -> Iterator[Record]:
    """Neuronpedia's explanations: modelId, layer ('20-gemmascope-res-16k'), index, description, explanationModelName."""
    for number, line in enumerate(_lines(file), start=1):
        where = f"{file}, line {number}"
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: this is not JSON ({error}).") from error
        if not isinstance(entry, dict):
            raise UserError(f"{where}: expected an object with layer, index and description.")
        if missing := [name for name in ("layer", "index", "description") if entry.get(name) is None]:
            raise UserError(f"{where}: the field '{missing[0]}' is missing.")
        source = str(entry["layer"])
        layer = _whole_number(re.split(r"[-_]", source, maxsplit=1)[0], "layer", where)
        feature = _whole_number(entry["index"], "index", where)
        model = entry.get("modelId")
        named = f"{model}/{source}" if isinstance(model, str) and not source.isdigit() else None
        by = entry.get("explanationModelName")
        origin = f"imported from Neuronpedia, by {by}" if isinstance(by, str) and by else "imported from Neuronpedia"
        yield Record(where, layer, feature, str(entry["description"]), origin, named)


_READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_neuronpedia,
    ".jsonl.gz": _read_neuronpedia,
}


def _whole_number(value: Any, name: str, where: str) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,9}", str(value).strip()):
        raise UserError(f"{where}: {name} must be a whole number, not {str(value)[:40]!r}.")
    return int(value)


def _lines(file: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, gzipped or not."""
    number = 0
    try:
        with (gzip.open if file.suffix.lower() == ".gz" else open)(file, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}, line {number}: this is not UTF-8 text.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"The labels '{file}' cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _list(values: object) -> str:
    return ", ".join(str(value) for value in values)
