"""Whether a database, which may come from a stranger, is what an extraction writes: found out before anything in it is read.

Three things are looked at: that there is nothing but the tables of schema.sql, each with its columns and types; how many rows
they have; and what DuckDB keeps of every column beside its values: smallest, largest and longest. None of that reads the
values, so that it takes a tenth of a second whatever the size, and a text of 60 MB or a list of 500 million is refused before
it is unpacked. Whatever a page allocates by is bounded here. Values themselves:
:func:`store.read.connection.verify`, by the digest.
"""

import secrets
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from math import isfinite, isinf, prod
from pathlib import Path
from typing import Any

import duckdb

from store.errors import UserError
from store.format.manifest import Manifest
from store.format.part_guard import MAX_PART_TOKENS
from store.format.tables import CONTRIBUTIONS, STORE, Schema
from store.metrics.verdicts import REASONS
from store.names import ALL, CHOSEN_BY, CONTROLS, GATES, KINDS, MOST_TWINS, OBSERVED, RANKINGS, SLOTS, TWIN, VERDICTS


def _spill() -> str:
    """Where DuckDB puts what does not fit into memory: made when needed, and never beside the store."""
    try:
        return str(Path(tempfile.gettempdir()) / f"featureshift-{secrets.token_hex(8)}")
    except OSError:
        return ""


LIMITS = {"memory_limit": "50%", "temp_directory": _spill(), "max_temp_directory_size": "20GB"}
"""DuckDB's configuration for a store's connection: half of the memory that the process may have."""

LONGEST = {
    "source": 10_000, "cluster": 10_000, "token": 10_000, "label": 10_000, "text": 1_000_000, "answer": 1_000_000,
    "label_source": 1_000, "domain": 1_000, "sae": 1_000, "hook_name": 1_000, "neuronpedia": 1_000,
}  # fmt: skip
"""Column -> bytes of its longest text; of others LONGEST_WORD. Real stores stay far below."""
LONGEST_WORD = 200
TEXT_A_BYTE = 20
"""Bytes of text that one of the database may stand for, beyond TEXT_FREE: repeated words are packed."""
TEXT_FREE = 10_000_000

MOST = {
    "layer": 10_000, "d_model": 2**20, "d_sae": 2**24, "bin": 10_000, "rank": 1_000, "component": 2**20, "prompt": 10**6,
    "peak": 16_384, "n_window": 16_384, "first_row": MAX_PART_TOKENS, "context": MAX_PART_TOKENS, "part": 99_999,
}  # fmt: skip
"""Column -> its largest whole number. Counts of tokens are held to the manifest's, features, documents and positions to the
tables'."""
LONGEST_LIST = {"direction": 2**20, "features": 10_000, "cosines": 10_000}
"""Column of lists -> entries of the longest; of others LONGEST_LIST_ELSE."""
LONGEST_LIST_ELSE = 16_384
MOST_LAYERS, MOST_VARIANTS, MOST_DOMAINS = 1_000, 1_000, 10_000
NOWHERE = {"part": -1, "first_row": -1}
"""The two columns that say by a negative number that there is none."""
MAY_BE_INFINITE = ("low", "high", "excess", "excess_low", "excess_high")

_TWINS = tuple(f"{TWIN}{draw}" for draw in range(1, MOST_TWINS + 1))
WORDS = {
    ("feature_stats", "kind"): KINDS,
    ("feature_stats", "verdict"): VERDICTS,
    ("feature_stats", "reason"): tuple(REASONS),
    ("contexts", "ranking"): RANKINGS,
    ("layer_metrics", "control"): (OBSERVED, *CONTROLS, *_TWINS),
    ("fit", "gate"): GATES,
}
"""Columns that hold one of a few words, which the pages know."""
WORDS_OF_CONTRIBUTIONS = {
    ("predictions", "slot"): SLOTS,
    ("learned", "control"): (OBSERVED, *_TWINS),
    ("learned", "slot"): (*SLOTS, ALL),
    ("layers", "control"): (OBSERVED, *_TWINS),
    ("curves", "chosen_by"): CHOSEN_BY,
    ("word_changes", "control"): (OBSERVED, *_TWINS),
    ("word_changes", "slot"): (*SLOTS, ALL),
    ("change_words", "way"): ("+", "-"),
    ("change_words", "slot"): (*SLOTS, ALL),
    ("change_words", "against"): ("nothing", "others"),
}
"""The same of contributions.sql."""

_CATALOG = """
SELECT 'table' AS kind, table_name AS name, sql AS made FROM duckdb_tables() WHERE database_name = current_database()
UNION ALL SELECT 'view', view_name, '' FROM duckdb_views() WHERE NOT internal AND database_name = current_database()
UNION ALL SELECT 'function', function_name, '' FROM duckdb_functions()
    WHERE NOT internal AND database_name = current_database()
UNION ALL SELECT 'type', type_name, '' FROM duckdb_types() WHERE NOT internal AND database_name = current_database()
UNION ALL SELECT 'sequence', sequence_name, '' FROM duckdb_sequences() WHERE database_name = current_database()
UNION ALL SELECT 'index', index_name, '' FROM duckdb_indexes() WHERE database_name = current_database()
UNION ALL SELECT 'trigger', trigger_name, '' FROM duckdb_triggers() WHERE database_name = current_database()
UNION ALL SELECT 'schema', schema_name, '' FROM duckdb_schemas()
    WHERE NOT internal AND database_name = current_database() AND schema_name <> 'main'
"""


def check_database(connection: duckdb.DuckDBPyConnection, manifest: Manifest, n_bytes: int) -> None:
    """Refuse a database that no extraction writes.

    Args:
        n_bytes: of its file.

    Raises:
        UserError: it is one.
        duckdb.Error: it is damaged.
    """
    if (fault := first_fault(connection, manifest, n_bytes)) is not None:
        raise UserError(f"{fault}, which no extracted store has; do not trust this copy.")


def first_fault(connection: duckdb.DuckDBPyConnection, manifest: Manifest, n_bytes: int) -> str | None:
    """The first thing in a database that no extraction writes, as the beginning of a sentence; None where it is sound."""
    return next(_faults(connection, manifest, n_bytes), None)


def _faults(connection: duckdb.DuckDBPyConnection, manifest: Manifest, n_bytes: int) -> Iterator[str]:
    yield from _catalog(connection, STORE)
    yield from _columns(connection, manifest, n_bytes)
    yield from _rows(connection, manifest, n_bytes)
    yield from _words(connection, WORDS)


def contributions_fault(connection: duckdb.DuckDBPyConnection, d_sae: int, n_documents: int, n_bytes: int) -> str | None:
    """The same of a database of contributions.

    Args:
        connection: uses it.
        d_sae: the largest of the store's; n_documents: the store's.
        n_bytes: of its file.
    """
    return next(_contributions_faults(connection, d_sae, n_documents, n_bytes), None)


def _contributions_faults(connection: duckdb.DuckDBPyConnection, d_sae: int, n_documents: int, n_bytes: int) -> Iterator[str]:
    yield from _catalog(connection, CONTRIBUTIONS)
    largest = {"feature": d_sae - 1, "document": n_documents - 1, "position": MAX_PART_TOKENS - 1, "rank": d_sae, "k": d_sae}
    yield from _bounds(connection, CONTRIBUTIONS, largest, n_bytes)
    if (rows := sum(CONTRIBUTIONS.row_counts(connection).values())) > n_bytes:
        yield f"The database has {rows:,} rows in {n_bytes:,} bytes"
    yield from _words(connection, WORDS_OF_CONTRIBUTIONS)


def _catalog(connection: duckdb.DuckDBPyConnection, schema: Schema) -> Iterator[str]:
    """Nothing but the tables of a schema, each made as there: views and generated columns may be anything."""
    found = connection.execute(_CATALOG).fetchall()
    made = {name: sql for kind, name, sql in found if kind == "table"}
    for kind, name, _ in found:
        if kind != "table" or name not in _made(schema):
            yield f"The database holds a {kind} {name[:LONGEST_WORD]!r}"
    for name, sql in _made(schema).items():
        if name not in made:
            yield f"The database has no table {name!r}"
        elif made[name] != sql:
            yield f"The database has a table {name!r} with other columns, types or rules than it should"


@cache
def _made(schema: Schema) -> dict[str, str]:
    """Table -> the statement that makes it, in DuckDB's own words."""
    with schema.create(":memory:") as connection:
        return {name: sql for _, name, sql in connection.execute(_CATALOG).fetchall()}


def _rows(connection: duckdb.DuckDBPyConnection, manifest: Manifest, n_bytes: int) -> Iterator[str]:
    """As many rows as the manifest says, no more than keys can tell apart, and at least a byte of the file for each."""
    found = STORE.row_counts(connection)
    for table, count in found.items():
        if manifest.rows.get(table) != count:
            yield f"The table {table!r} has {count:,} rows, the manifest says {_shown(manifest.rows.get(table, 'nothing'))}"
    if not found["layers"]:
        yield "The table 'layers' is empty"
    if sum(found.values()) > n_bytes:
        yield f"The database has {sum(found.values()):,} rows in {n_bytes:,} bytes"
    if found["layers"] > MOST_LAYERS:
        yield f"The table 'layers' has {found['layers']:,} rows"
    sizes = _key_sizes(connection, manifest, found)
    if sizes["domain"] > MOST_DOMAINS or sizes["variant"] > MOST_VARIANTS:
        yield f"The store has {sizes['variant']:,} variants and {sizes['domain'] - 1:,} domains"
    for table, key in STORE.keys.items():
        if all(column in sizes for column in key) and found[table] > prod(sizes[column] for column in key):
            yield f"The table {table!r} has {found[table]:,} rows, more than there are keys"


def repeated_keys(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """A sentence for the first table with rows of the same key, for ``verify``: too slow for every opening."""
    try:
        STORE.check_keys(connection)
    except UserError as error:
        return [str(error)]
    return []


def _key_sizes(connection: duckdb.DuckDBPyConnection, manifest: Manifest, rows: Mapping[str, int]) -> dict[str, int]:
    """Column of keys -> how many values it can have."""
    d_sae, d_model = connection.execute("SELECT coalesce(max(d_sae), 0), coalesce(max(d_model), 0) FROM layers").fetchone()
    domains, longest = connection.execute("SELECT count(DISTINCT domain), coalesce(max(n_tokens), 0) FROM documents").fetchone()
    return {
        "layer": rows["layers"], "variant": len(manifest.variants), "model": len(manifest.variants) + 1,
        "domain": domains + 1, "segment": 16, "metric": 200, "control": 1 + len(CONTROLS) + MOST_TWINS, "feature": d_sae,
        "document": rows["documents"], "position": longest, "ranking": len(RANKINGS), "rank": MOST["rank"],
        "component": d_model + 1, "bin": MOST["bin"],
    }  # fmt: skip


def _columns(connection: duckdb.DuckDBPyConnection, manifest: Manifest, n_bytes: int) -> Iterator[str]:
    """Texts, numbers and lists within their bounds, by what DuckDB keeps of them."""
    layers, documents = _statistics(connection, STORE, "layers"), _statistics(connection, STORE, "documents")
    longest_document = documents.get("n_tokens", {}).get("max", MAX_PART_TOKENS)
    largest = {
        "feature": layers.get("d_sae", {}).get("max", MOST["d_sae"]) - 1,
        "document": manifest.rows["documents"] - 1,
        "position": longest_document - 1,
        "n_tokens": 2**53,
    }
    largest |= {"moved_to": largest["feature"], "l0_base": 2**53, "l0_variant": 2**53}
    yield from _bounds(connection, STORE, largest, n_bytes)
    if longest_document > MAX_PART_TOKENS:
        yield f"The table 'documents' has one of {longest_document:,} tokens"


def _bounds(connection: duckdb.DuckDBPyConnection, schema: Schema, largest: Mapping[str, int], n_bytes: int) -> Iterator[str]:
    """What DuckDB keeps of each column within its bounds.

    Args:
        largest: column -> its largest whole number, where that is not MOST's.
    """
    statistics = {table: _statistics(connection, schema, table) for table in schema.keys}
    n_text = 0
    for table, columns in statistics.items():
        for column, found in columns.items():
            kind = schema.stored_columns(table)[column]
            n_text += found.get("total_string_length", 0)
            for fault in _fault(column, kind, found, largest):
                yield f"The column {column!r} of the table {table!r} {fault}"
    if n_text > TEXT_FREE + TEXT_A_BYTE * n_bytes:
        yield f"The database holds {n_text:,} bytes of text in {n_bytes:,}"
    for table, columns in statistics.items():
        kinds = schema.stored_columns(table)
        yield from _lists(connection, table, [name for name in columns if kinds[name].endswith("[]")])


def _statistics(connection: duckdb.DuckDBPyConnection, schema: Schema, table: str) -> dict[str, dict[str, Any]]:
    """Column -> smallest and largest value, longest text; no column where the table is empty."""
    columns = list(schema.stored_columns(table))
    found = connection.execute(f"SELECT {', '.join(f'stats({name})' for name in columns)} FROM {table} LIMIT 1").fetchone()
    return dict(zip(columns, found, strict=True)) if found else {}


def _fault(column: str, kind: str, found: Mapping[str, Any], largest: Mapping[str, int]) -> Iterator[str]:
    if kind.endswith("[]"):
        kind, found, column = kind.removesuffix("[]"), found["child_stats"], f"{column}[]"
    if kind == "VARCHAR":
        longest = LONGEST.get(column, LONGEST_WORD)
        if found.get("has_no_null") and found.get("max_string_length", longest + 1) > longest:
            yield f"may have a text of more than {longest:,} bytes"
        return
    low, high = found.get("min"), found.get("max")
    if low is None or high is None or kind == "BOOLEAN":  # only nulls
        return
    if kind in ("DOUBLE", "FLOAT"):
        if any(not isfinite(value) and not (isinf(value) and column in MAY_BE_INFINITE) for value in (low, high)):
            yield "has a value that is no number"
        return
    if low < NOWHERE.get(column, 0):
        yield f"has the value {low:,}"
    if high > (most := largest.get(column, MOST.get(column, 2**53))):
        yield f"has the value {high:,}, beyond {most:,}"


def _lists(connection: duckdb.DuckDBPyConnection, table: str, columns: list[str]) -> Iterator[str]:
    """The longest list of each column; only where lists end is read."""
    if not columns:
        return
    lengths = ", ".join(f"coalesce(max(len({name})), 0)" for name in columns)
    for column, longest in zip(columns, connection.execute(f"SELECT {lengths} FROM {table}").fetchone(), strict=True):
        if longest > LONGEST_LIST.get(column, LONGEST_LIST_ELSE):
            yield f"The column {column!r} of the table {table!r} has a list of {longest:,} entries"


def _words(connection: duckdb.DuckDBPyConnection, columns: Mapping[tuple[str, str], tuple[str, ...]]) -> Iterator[str]:
    for (table, column), known in columns.items():
        words = ", ".join(f"'{word}'" for word in known)
        found = connection.execute(f"SELECT {column} FROM {table} WHERE {column} NOT IN ({words}) LIMIT 1").fetchone()
        if found:
            yield f"The column {column!r} of the table {table!r} has the value {found[0]!r}"


def _shown(count: Any) -> str:
    return f"{count:,}" if type(count) is int and abs(count) < 2**63 else str(count)[:LONGEST_WORD]
