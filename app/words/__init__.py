"""How a page writes numbers, names and sentences: `words.number(value)`, `words.plain(name)`."""

from app.words.text import HIDDEN, feature_name, file_name, label, named_feature, plain, sentence, short, span
from store.numbers import count, counted, listing, number, percent, probability, ratio, utc

__all__ = [
    "HIDDEN", "count", "counted", "feature_name", "file_name", "label", "listing", "named_feature", "number", "percent",
    "plain", "probability", "ratio", "sentence", "short", "span", "utc",
]  # fmt: skip
