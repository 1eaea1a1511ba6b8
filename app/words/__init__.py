"""How a page writes numbers, names and sentences: `words.number(value)`, `words.plain(name)`."""

from app.words.text import (
    AUTO,
    AUTOMATIC,
    all_automatic,
    feature_name,
    file_name,
    label,
    named_feature,
    plain,
    sentence,
    short,
    span,
)  # fmt: skip
from store.numbers import count, counted, listing, number, percent, probability, ratio, utc
from store.text import HIDDEN

__all__ = [
    "AUTO", "AUTOMATIC", "HIDDEN", "all_automatic", "count", "counted", "feature_name", "file_name", "label",
    "listing", "named_feature", "number", "percent",
    "plain", "probability", "ratio", "sentence", "short", "span", "utc",
]  # fmt: skip
