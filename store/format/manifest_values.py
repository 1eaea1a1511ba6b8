"""Whether the values in a manifest are such as a run writes: numbers that can be counted with, texts that fit a page."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from store.format.manifest import Manifest

MOST_BYTES = 64_000_000
"""Of the file; one of ten million tokens has 100,000."""
LONGEST_TEXT = 100_000
DEEPEST = 20
MOST_FILES = 100_000
LARGEST = 2**53


def check_values(manifest: "Manifest") -> None:
    """Refuse what pages and commands would stumble over.

    Raises:
        TypeError: names the field.
    """
    for name, value in vars(manifest).items():
        _check(name, value, endless=name == "settings")
    if not all(name.isdecimal() and len(name) <= 5 for name in manifest.saes):
        raise TypeError("'saes' is not by layer")
    if len(manifest.files) > MOST_FILES or any(facts["bytes"] < 0 for facts in manifest.files.values()):
        raise TypeError("'files' is not what it should be")
    counts = manifest.counts
    skipped, bos, tasks = counts.get("skipped") or {}, counts.get("bos"), manifest.settings.get("tasks") or {}
    if not _counted({name: counts[name] for name in ("tokens", "documents")}) or not _counted(manifest.rows):
        raise TypeError("'counts' or 'rows' holds a number that counts nothing")
    if not _counted(skipped) or bos not in (None, True, False):
        raise TypeError("'counts' is not what it should be")
    if not all(_counted(numbers) for numbers in manifest.corpus.get("domains", {}).values()):
        raise TypeError("'corpus' is not what it should be")
    if not isinstance(tasks, dict) or not all(_are_texts(domains) for domains in tasks.values()):
        raise TypeError("'settings' is not what it should be")


def _counted(numbers: Any) -> bool:
    """Whether each of some named numbers is one of things."""
    return isinstance(numbers, Mapping) and all(type(number) is int and 0 <= number <= LARGEST for number in numbers.values())


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is str for value in values)


def _check(name: str, value: Any, endless: bool, depth: int = 0) -> None:
    """A value and what is in it; ``endless``: a setting may be infinite.

    Raises:
        TypeError: it is beyond what a run writes.
    """
    if depth > DEEPEST:
        raise TypeError(f"'{name}' is nested too deep")
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise TypeError(f"'{name}' holds a text of {len(value):,} characters")
    if type(value) is int and abs(value) > LARGEST:
        raise TypeError(f"'{name}' holds a number of {len(bin(value)) - 2:,} bits")
    if type(value) is float and not endless and not math.isfinite(value):
        raise TypeError(f"'{name}' holds a number that is none")
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        _check(name, one, endless, depth + 1)
