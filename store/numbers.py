"""How a number is written for a person: one rule for each kind, for every page, report and sentence. Pure.

=================== ======================================================= ================================
kind                rule                                                    written
=================== ======================================================= ================================
:func:`number`      three digits, at most three of them after the point     0.453, 12.3, 12,346, <0.001
:func:`significant` three significant digits, however small or large it is  0.2, 1.2e-05, 2.2e+03
:func:`fixed`       the same digits after the point for all in one column   0.450, 1.250
:func:`percent`     of a share: two significant digits, two after the point 45 %, 1.2 %, 0.42 %, <0.01 %
:func:`probability` of a q-value: more digits the smaller it is             0.12, 0.012, 0.0012, <0.0001
:func:`ratio`       a multiple                                              13.6×, beyond any
:func:`count`       whole, thousands apart                                  12,346
:func:`counted`     the same with what is counted                           1 feature, 2 features
:func:`utc`         a time                                                  2026-03-04 05:06:07 UTC
=================== ======================================================= ================================

What is unknown, undefined or infinite is '–'. The sign is the hyphen of the keyboard, so that a number which is copied from a
page is one for a spreadsheet and for Python too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

UNKNOWN = "–"


def number(value: float | None, signed: bool = False) -> str:
    """A measurement: three digits that matter, none beyond the third after the point. signed: a rise has its sign too."""
    if not _is_known(value):
        return UNKNOWN
    size = abs(value)
    if size == 0:
        return "0"
    sign = "-" if value < 0 else "+" if signed else ""
    if size < 0.0005:
        return f"{sign}<0.001"
    if size >= 99.95:
        return f"{sign}{size:,.0f}"
    return f"{sign}{size:.{3 if size < 0.9995 else 2 if size < 9.995 else 1}f}"


def significant(value: float | None, signed: bool = False) -> str:
    """A measurement of any size, with three significant digits; no zeros at its end."""
    if not _is_known(value):
        return UNKNOWN
    return f"{value:{'+' if signed else ''}.3g}" if value else "0"


def fixed(value: float | None, digits: int, signed: bool = False) -> str:
    """A number that stands among others of its kind: so many digits after the point."""
    return f"{value:{'+' if signed else ''}.{digits}f}" if _is_known(value) else UNKNOWN


def percent(share: float | None, places: int = 2) -> str:
    """A share as a percentage: two significant digits, at most `places` of them after the point."""
    if not _is_known(share):
        return UNKNOWN
    sign, size = "-" if share < 0 else "", 100 * abs(share)
    if size == 0:
        return "0 %"
    least = 10.0**-places
    if size < least / 2:
        return f"{sign}<{least:.{places}f} %"
    return f"{sign}{size:.{min(places, 2 if size < 0.995 else 1 if size < 9.95 else 0)}f} %"


def probability(value: float | None) -> str:
    """A q-value."""
    if not _is_known(value):
        return UNKNOWN
    return "<0.0001" if value < 1e-4 else f"{value:.{4 if value < 0.001 else 3 if value < 0.1 else 2}f}"


def ratio(value: float | None) -> str:
    """A multiple; 'beyond any' where it is infinite: noise never moves such a feature."""
    if value is not None and value == math.inf:
        return "beyond any"
    return f"{number(value)}×" if _is_known(value) else UNKNOWN


def count(value: float | None) -> str:
    """A whole number."""
    return f"{int(value):,}" if _is_known(value) else UNKNOWN


def counted(many: int, what: str) -> str:
    """'1 feature', '2,000 features'."""
    return f"{many:,} {what}{'' if many == 1 else 's'}"


def utc(made: str) -> str:
    """A time in ISO 8601, to the second."""
    return f"{made[:19].replace('T', ' ')} UTC"


def listing(words: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def listed(values: Iterable[object]) -> str:
    """'a, b, c': what there is to choose from."""
    return ", ".join(map(str, values))


def json_value(value: Any) -> Any:
    """A value of a frame, with all inside it, as JSON knows it; None where it is unknown, undefined or infinite."""
    if isinstance(value, dict):
        return {name: json_value(inside) for name, inside in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, (list, tuple)):
        return [json_value(inside) for inside in value]
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
