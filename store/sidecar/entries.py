"""What comes after the extraction, beside the store: imported labels, causal checks, reviews. The store itself never changes.

``my-store.sidecar.sqlite`` next to ``my-store/``, SQLite in WAL mode, so that it can be read while something is written.
Several programs may write at once: each waits for its turn.
Rows carry the digest of the store that they are about: extracted anew with another content, the store does not see them.
How the file is opened, and what is believed of it: :mod:`store.sidecar.database`; its rows: :mod:`store.sidecar.rows`.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, is_dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pandas as pd
from pydantic import FailFast, TypeAdapter, ValidationError

from store.errors import Unavailable, UserError
from store.sidecar import database as sidecar_file
from store.sidecar import rows as sidecar_rows
from store.sidecar.reviews import Review
from store.sidecar.rows import damaged
from store.sidecar.schema import SINCE, TABLES
from store.sidecar.sets import SetSteering
from store.sidecar.steering import Steering
from store.value_types import Index, Word, first_problem

COLUMNS = ["layer", "feature", "label", "label_source"]
Row = TypeVar("Row")
_JSON = {"steering": ("controls",), "set_steering": ("features", "gain", "kl", "opening")}
"""Table -> its columns that hold JSON."""


@dataclass(frozen=True)
class Label:
    """A name that somebody gave a feature, and where it comes from."""

    layer: Index
    feature: Index
    label: Word
    label_source: Word


def sidecar_path(store: Path) -> Path:
    """Where the sidecar of a store is, or would be."""
    folder = store.resolve()
    return folder.with_name(f"{folder.name}.sidecar.sqlite")


def write_labels(store: Path, digest: str, labels: Sequence[Label]) -> Path:
    """Keep labels for a store, all of them or none; a feature that had an imported label gets the new one.

    Args:
        digest: of the store's manifest.

    Returns:
        The sidecar's path.

    Raises:
        UserError: the sidecar cannot be written, or is of another version.
    """
    return _write(store, "labels", [(digest, *astuple(label), _now()) for label in labels])


def write_steering(store: Path, digest: str, *results: Steering) -> Path:
    """Keep causal checks of a store; each takes the place of an earlier one of the same layer, feature and variant.

    Args:
        digest: of the store's manifest.

    Returns:
        The sidecar's path.

    Raises:
        UserError: the sidecar cannot be written, or is of a later version.
    """
    return _write(store, "steering", [_check_row(digest, "steering", result) for result in results])


def write_set_steering(store: Path, digest: str, *results: SetSteering) -> Path:
    """Keep causal checks of sets; each takes the place of an earlier one of the same variant, layer, domain and features.

    Args:
        digest: of the store's manifest.

    Returns:
        The sidecar's path.

    Raises:
        UserError: the sidecar cannot be written, or is of a later version.
    """
    return _write(store, "set_steering", [_check_row(digest, "set_steering", result) for result in results])


def write_review(store: Path, digest: str, review: Review) -> Path:
    """Add a judgement to a store's history; nothing that was written before is touched. Its time is now.

    Args:
        digest: of the store's manifest.

    Returns:
        The sidecar's path.

    Raises:
        UserError: the sidecar cannot be written, or is of a later version.
    """
    return _write(store, "reviews", [(digest, *astuple(replace(review, made=_now())))])


def can_write(store: Path) -> bool:
    """Whether a sidecar of this store could be written where it would be."""
    path = sidecar_path(store)
    return sidecar_file.may(path.parent, os.W_OK) and (not path.exists() or sidecar_file.may(path, os.W_OK))


def check(store: Path) -> list[str]:
    """What is wrong with a store's sidecar, a sentence each: its structure, by SQLite itself, and every row, by its checksum.

    Nothing where there is none.

    Raises:
        Unavailable: it cannot be read just now.
    """
    path = sidecar_path(store)
    try:
        found = sidecar_file.asked(path, lambda connection, _: connection.execute("PRAGMA integrity_check(5)").fetchall())
        for table in TABLES:
            sidecar_rows.read(path, table, None)
    except Unavailable:
        raise
    except UserError as error:
        return [str(error)]
    return [f"The sidecar '{path.name}' is damaged: {text}." for (text,) in found or [] if text != "ok"]


def notes(store: Path) -> list[str]:
    """What cannot be checked of a store's sidecar, a sentence each."""
    path = sidecar_path(store)
    count = sidecar_rows.count_without_checksum(path)
    return [f"The sidecar '{path.name}' has {count:,} rows of before checksums, which cannot be verified."] if count else []


def read_labels(store: Path, digest: str) -> pd.DataFrame:
    """The imported labels of a store: layer, feature, label, label_source; no rows where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read, is damaged or is of a later version.
    """
    labels = _read(store, "labels", digest, "label", Label)
    if len({(label.layer, label.feature) for label in labels}) < len(labels):
        raise damaged(sidecar_path(store), "label", "a feature has two")
    return pd.DataFrame([(label.layer, label.feature, label.label, label.label_source) for label in labels], columns=COLUMNS)


def labels_state(store: Path) -> tuple[int, str | None]:
    """Another value after labels were imported, and the same after anything else: how many there are, and the last time."""

    def ask(connection: Any, version: int) -> tuple[int, str | None] | None:
        if version < SINCE["labels"]:
            return None
        return connection.execute("SELECT count(*), max(imported) FROM labels").fetchone()

    return sidecar_file.asked(sidecar_path(store), ask) or (0, None)


def read_steering(store: Path, digest: str) -> list[Steering]:
    """The causal checks of a store by layer, feature and variant; none where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read or is of a later version.
    """
    found = _read(store, "steering", digest, "causal check", Steering)
    return sorted(found, key=lambda check: (check.layer, check.feature, check.variant))


def read_set_steering(store: Path, digest: str) -> list[SetSteering]:
    """The causal checks of sets of a store by variant, layer and domain; none where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read or is of a later version.
    """
    return _read(store, "set_steering", digest, "causal check of a set", SetSteering)


def read_reviews(store: Path, digest: str, variant: str) -> list[Review]:
    """Every judgement of a variant's features, in the order of writing; none where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read, is damaged or is of a later version.
    """
    return [review for review in _read(store, "reviews", digest, "review", Review) if review.variant == variant]


def _check_row(digest: str, table: str, result: Steering | SetSteering) -> tuple:
    """A causal check as a row of its table, but for the checksum."""
    values = asdict(result) | {name: _as_json(getattr(result, name)) for name in _JSON[table]}
    return (digest, *values.values(), _now())


def _as_json(value: object) -> str | None:
    if value is None:
        return None
    return json.dumps(asdict(value) if is_dataclass(value) else value, allow_nan=False)


def _write(store: Path, table: str, rows: Sequence[tuple]) -> Path:
    path = sidecar_path(store)
    sidecar_rows.write(path, table, rows)
    return path


def _read(store: Path, table: str, digest: str, what: str, kind: type[Row]) -> list[Row]:
    """A store's rows of a table, each value of the kind that was written: SQLite holds no column to its type.

    Raises:
        UserError: the sidecar cannot be read, or a value is not.
    """
    path = sidecar_path(store)
    rows = sidecar_rows.read(path, table, digest)
    try:
        of_table = _JSON.get(table, ())
        rows = [row | {name: row[name] and json.loads(row[name]) for name in of_table} for row in rows]
        return _rows_of(kind).validate_python(rows)
    except ValidationError as error:
        raise damaged(path, what, first_problem(error)) from error
    except (UserError, ValueError, TypeError, RecursionError) as error:
        raise damaged(path, what, str(error)[:200].rstrip(".")) from error


@cache
def _rows_of(kind: type[Row]) -> TypeAdapter[list[Row]]:
    return TypeAdapter(Annotated[list[kind], FailFast()])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
