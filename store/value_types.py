"""Types of single values, as pydantic checks them where they come from a file that a stranger may have written."""

from typing import Annotated

from pydantic import Field, ValidationError

LARGEST = 2**53
"""Whole numbers up to it are floats too."""
LONGEST_WORD = 10_000

Count = Annotated[int, Field(strict=True, ge=0, le=LARGEST)]
"""How many."""
Index = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
"""Which: a layer, a feature; or how many of what a context has."""
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Word = Annotated[str, Field(strict=True, max_length=LONGEST_WORD)]


def first_problem(error: ValidationError) -> str:
    """The first value that is not what it should be, and what it should be: "'counts.tokens': input should be ..."."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step) for step in problem["loc"] if step != "[key]")
    said = problem["msg"].removeprefix("Value error, ")
    return f"{place[:80]!r}: {said[0].lower()}{said[1:]}"
