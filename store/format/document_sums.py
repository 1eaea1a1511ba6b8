"""The sums of a document that a shard leaves, as schema.sql declares them.

Apart from store/format/tables.py, since importing it makes the tables of the schema once (70 ms), and only extraction asks.
"""

from store.format.tables import STORE

_SUMS = {name: kind for name, kind in STORE.stored_columns("document_sums").items() if name not in STORE.keys["document_sums"]}

DOCUMENT_SUMS = tuple(_SUMS)
"""Columns of the table document_sums, each a sum over the counted tokens of one document and segment."""

COUNT_SUMS = tuple(name for name, kind in _SUMS.items() if kind == "BIGINT")
"""Those of :data:`DOCUMENT_SUMS` that are counts (int64); the others are float64."""
