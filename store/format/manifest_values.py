"""What the fields of a manifest may hold, as pydantic checks them: what a run writes, and what pages and commands can bear."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # what pydantic needs before Python 3.12

from store.names import VARIANT_NAME
from store.points import POINTS
from store.value_types import LARGEST, Count, first_problem

MOST_BYTES = 64_000_000
"""Of the file; one of ten million tokens has 100,000."""
MOST_OF_FILES, MOST_VALUES = 500_000, 100_000
"""Keys and values in ``files``, where each has six to eight, and in all other fields: pydantic tells of each that is wrong."""
LONGEST_TEXT = 100_000
DEEPEST = 20

VariantName = Annotated[str, Field(pattern=f"^{VARIANT_NAME}$")]
"""It stands in paths of the parts and in every page."""
Layer = Annotated[str, Field(pattern=r"^[0-9]{1,5}$")]


class Facts(TypedDict):
    """Some named facts: those that a reader counts on; others may stand beside them."""

    __pydantic_config__ = ConfigDict(extra="allow", strict=True)


class Named(Facts):
    name: str


class Variant(Named):
    kind: str
    replicate_of: NotRequired[VariantName]
    series: NotRequired[VariantName]
    step: NotRequired[Count]
    statistics_only: NotRequired[bool]


def _with_both(variant: Variant) -> Variant:
    if ("series" in variant) != ("step" in variant):
        raise ValueError("it has a series without a step, or a step without a series")
    return variant


AVariant = Annotated[Variant, AfterValidator(_with_both)]


class Dictionary(Facts):
    point: NotRequired[Literal[tuple(POINTS)]]
    reads: NotRequired[Literal[tuple(POINTS)]]


class Corpus(Facts):
    sources: NotRequired[list[Any]]
    domains: NotRequired[dict[str, dict[str, Count]]]


class Settings(Facts):
    tasks: NotRequired[dict[str, list[str]] | None]


class Counts(Facts):
    tokens: Count
    documents: Count
    skipped: NotRequired[dict[str, Count] | None]
    bos: NotRequired[bool | None]


class File(Facts):
    sha256: str
    bytes: Count


def _with_documents(rows: dict[str, int]) -> dict[str, int]:
    if "documents" not in rows:
        raise ValueError("the table 'documents' is missing")
    return rows


Rows = Annotated[dict[str, Count], AfterValidator(_with_documents)]


def check_fields(adapter: TypeAdapter, fields: Mapping[str, Any]) -> None:
    """Refuse what no run writes.

    Args:
        adapter: of :class:`store.format.manifest.Manifest`.

    Raises:
        ValueError: names the first field that is not what it should be, and what it should be.
    """
    sizes = {name: _size(f"{name[:80]!r}", value, may_be_endless=name == "settings") for name, value in fields.items()}
    if sizes.pop("files", 0) > MOST_OF_FILES or sum(sizes.values()) > MOST_VALUES:
        raise ValueError("it holds more values than any run writes")
    try:
        adapter.validate_python(fields)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None


def _size(what: str, value: Any, may_be_endless: bool, depth: int = 0) -> int:
    """How many keys and values there are in a field.

    Raises:
        ValueError: one is longer, larger or deeper than a run writes.
    """
    if depth > DEEPEST:
        raise ValueError(f"{what} is nested too deep")
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise ValueError(f"{what} holds a text of {len(value):,} characters")
    if type(value) is int and abs(value) > LARGEST:
        raise ValueError(f"{what} holds a number of {value.bit_length():,} bits")
    if type(value) is float and not may_be_endless and not math.isfinite(value):
        raise ValueError(f"{what} holds a number that is none")
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(_size(what, one, may_be_endless, depth + 1) for one in inner)
