"""What comes after the extraction, beside the store: imported labels, causal checks, reviews. The store itself never changes.

``my-store.sidecar.sqlite`` next to ``my-store/``, SQLite in WAL mode, so that it can be read while something is written.
Several programs may write at once: each waits for its turn.
Rows carry the digest of the store that they are about: extracted anew with another content, the store does not see them.
How the file is opened, and what is believed of it: :mod:`store.sidecar.database`.
"""

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from store.errors import Unavailable, UserError
from store.sidecar import database as sidecar_file
from store.sidecar.database import LONGEST_WORD, damaged
from store.sidecar.reviews import MAX_NAME, MAX_NOTE, SEVERITIES, VERDICTS, Review
from store.sidecar.steering import Steering

COLUMNS = ["layer", "feature", "label", "label_source"]


@dataclass(frozen=True)
class Label:
    """A name that somebody gave a feature, and where it comes from."""

    layer: int
    feature: int
    label: str
    source: str


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
    rows = []
    for result in results:
        *numbers, controls, seed = astuple(result)
        rows.append((digest, *numbers, json.dumps(controls, allow_nan=False), seed, _now()))
    return _write(store, "steering", rows)


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
        for table in sidecar_file.TABLES:
            sidecar_file.read(path, table, None)
    except Unavailable:
        raise
    except UserError as error:
        return [str(error)]
    return [f"The sidecar '{path.name}' is damaged: {text}." for (text,) in found or [] if text != "ok"]


def notes(store: Path) -> list[str]:
    """What cannot be checked of a store's sidecar, a sentence each."""
    path = sidecar_path(store)
    count = sidecar_file.count_without_checksum(path)
    return [f"The sidecar '{path.name}' has {count:,} rows of before checksums, which cannot be verified."] if count else []


def read_labels(store: Path, digest: str) -> pd.DataFrame:
    """The imported labels of a store: layer, feature, label, label_source; no rows where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read, is damaged or is of a later version.
    """
    kinds = {"layer": _is_index, "feature": _is_index, "label": _is_text, "label_source": _is_text}
    rows = _read(store, "labels", digest, "label", kinds)
    if len({row[:2] for row in rows}) < len(rows):
        raise damaged(sidecar_path(store), "label", "a feature has two")
    return pd.DataFrame(rows, columns=COLUMNS)


def labels_state(store: Path) -> tuple[int, str | None]:
    """Another value after labels were imported, and the same after anything else: how many there are, and the last time."""

    def ask(connection: Any, version: int) -> tuple[int, str | None] | None:
        if version < sidecar_file.SINCE["labels"]:
            return None
        return connection.execute("SELECT count(*), max(imported) FROM labels").fetchone()

    return sidecar_file.asked(sidecar_path(store), ask) or (0, None)


def read_steering(store: Path, digest: str) -> list[Steering]:
    """The causal checks of a store by layer, feature and variant; none where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read or is of a later version.
    """
    kinds = {
        "layer": _is_index, "feature": _is_index, "variant": _is_text, "mode": _is_text, "n_contexts": _is_index,
        "n_positions": _is_index, "kl_before": _is_number, "kl_after": _is_number, "low": _is_null_or_number,
        "high": _is_null_or_number, "controls": _is_numbers, "seed": _is_whole,
    }  # fmt: skip
    rows = _read(store, "steering", digest, "causal check", kinds)
    try:
        found = [
            Steering(*numbers, {int(feature): float(kl) for feature, kl in json.loads(controls).items()}, seed)
            for *numbers, controls, seed in rows
        ]
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise damaged(sidecar_path(store), "causal check", str(error)[:200]) from error
    return sorted(found, key=lambda check: (check.layer, check.feature, check.variant))


def read_reviews(store: Path, digest: str, variant: str) -> list[Review]:
    """Every judgement of a variant's features, in the order of writing; none where there is no sidecar.

    Raises:
        UserError: there is one, but it cannot be read, is damaged or is of a later version.
    """
    kinds = {
        "variant": _is_text, "layer": _is_index, "feature": _is_index, "reviewer": _is_name,
        "verdict": VERDICTS.__contains__, "severity": (None, *SEVERITIES).__contains__, "note": _is_note, "made": _is_text,
    }  # fmt: skip
    rows = _read(store, "reviews", digest, "review", kinds)
    try:
        return [Review(*row) for row in rows if row[0] == variant]
    except UserError as error:
        raise damaged(sidecar_path(store), "review", str(error).rstrip(".")) from error


def _write(store: Path, table: str, rows: Sequence[tuple]) -> Path:
    path = sidecar_path(store)
    sidecar_file.write(path, table, rows)
    return path


def _read(store: Path, table: str, digest: str, what: str, kinds: dict[str, Callable[[Any], bool]]) -> list[tuple]:
    """Some columns of a store's rows, each of the kind that was written: SQLite holds no column to its type.

    Raises:
        UserError: the sidecar cannot be read, or a value is not.
    """
    rows = sidecar_file.read(sidecar_path(store), table, digest)
    if not all(fits(row[name]) for row in rows for name, fits in kinds.items()):
        raise damaged(sidecar_path(store), what, "a value is not of its kind")
    return [tuple(row[name] for name in kinds) for row in rows]


def _is_index(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_null_or_number(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_text(value: Any) -> bool:
    return type(value) is str and len(value) <= LONGEST_WORD


def _is_numbers(value: Any) -> bool:
    """A set of numbers as JSON, which may be long."""
    return type(value) is str


def _is_name(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= MAX_NAME


def _is_note(value: Any) -> bool:
    return type(value) is str and len(value) <= MAX_NOTE


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
