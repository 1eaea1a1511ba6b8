"""Runs one query in a process of its own and ends: started by store/sandbox/run.py as a script, never imported.

Only DuckDB and PyArrow are loaded, so that it starts fast. It says that it is ready with one byte on stdout, reads a line of
JSON and the imported labels as an Arrow stream from stdin, and answers a line of JSON and an Arrow stream. The caller holds
the other end of stdin: once that is closed, it ends whatever it is doing.
"""

import importlib.util
import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

try:
    import resource
except ImportError:  # Windows has none: there only DuckDB's own limit and the time-out hold
    resource = None

# Not by its package, which would load all of store/.
_SIZE = importlib.util.spec_from_file_location("arrow_size", Path(__file__).with_name("arrow_size.py"))
size = importlib.util.module_from_spec(_SIZE)
_SIZE.loader.exec_module(size)

BATCH = 1024
GRACE = 5
"""Seconds beyond the query's own after which the process ends by itself, should nobody have ended it."""

STATEMENTS = "SELECT, WITH, FROM, PIVOT, DESCRIBE, SUMMARIZE or SHOW"
PLAIN = {
    "boolean", "tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "float",
    "double", "decimal", "varchar", "blob", "date", "time", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns",
    "timestamp with time zone", "uuid", "null",
}  # fmt: skip
"""Types that come over as they are, alone or in lists, maps and structs; all others come as DuckDB writes them."""

NESTED = {"list", "array", "map", "struct", "tuple"}
MOST_MESSAGE, MOST_WHERE = 1000, 2000
"""Characters of an error."""


class Refused(Exception):
    """What is wrong, in a sentence; its kind is one of store.sandbox.run.QueryError's."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main() -> None:
    """Answer one query."""
    sys.stdout.buffer.write(b".")
    sys.stdout.buffer.flush()
    line = sys.stdin.buffer.readline()
    if not line:  # not needed after all
        return
    task = json.loads(line)
    labels = sys.stdin.buffer.read(task["labels_bytes"])
    _end_with_the_server(task["seconds"] + GRACE)
    header, table = {}, None
    connection = _open(task, labels)
    _limit(task)
    try:
        table, header = _run(connection, task)
    except Refused as error:
        header = {"error": error.kind, "message": str(error)}
    except (duckdb.OutOfMemoryException, MemoryError, pa.ArrowMemoryError):
        header = {"error": "memory", "message": ""}
    except (duckdb.Error, pa.ArrowException) as error:
        header = _explained(connection, task["sql"], str(error))
    output = sys.stdout.buffer
    output.write(json.dumps(header).encode() + b"\n")
    if table is not None:
        with pa.ipc.new_stream(output, table.schema) as stream:
            stream.write_table(table)
    output.flush()
    os._exit(0)  # a thread still waits at stdin


def _end_with_the_server(seconds: float) -> None:
    """The process ends when the other end of stdin is closed, as it is by a server's death; and after these seconds."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    if hasattr(signal, "setitimer"):  # the system's own, which needs no word of Python's
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _explained(connection: duckdb.DuckDBPyConnection, sql: str, error: str) -> dict[str, str]:
    """DuckDB's error as a header: its first line, and the place that it names."""
    first, _, rest = error[: MOST_MESSAGE + MOST_WHERE].strip().partition("\n")
    kind = "memory" if "bad_alloc" in first or "length_error" in first else "wrong"
    where = rest.strip("\n")
    if kind == "wrong" and "LINE " not in where:
        where = "\n\n".join(filter(None, [where, _position(connection, sql)]))
    return {"error": kind, "message": _cut(first, MOST_MESSAGE), "where": _cut(where, MOST_WHERE)}


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _open(task: dict[str, Any], labels: bytes) -> duckdb.DuckDBPyConnection:
    """The store's databases as store/read/opening.py opens them, with less memory and no place to spill to."""
    connection = duckdb.connect(":memory:")
    for name, file in task["databases"].items():
        address = file.replace("'", "''")
        connection.execute(f"ATTACH '{address}' AS {name} (READ_ONLY, TYPE duckdb)")
    for name, value in task["config"].items():
        connection.execute(f"SET {name} = '{value}'")
    connection.execute(f"USE {next(iter(task['databases']))}")
    if labels:
        make_table, make_view = task["labels"]
        connection.execute(make_table)
        connection.register("incoming", pa.ipc.open_stream(labels).read_all())
        connection.execute("INSERT INTO imported.labels SELECT * FROM incoming")
        connection.unregister("incoming")
        connection.execute(make_view)
    return connection


def _limit(task: dict[str, Any]) -> None:
    """From here on the operating system refuses what DuckDB's own settings leave open.

    A scalar function allocates what it likes whatever memory_limit says, and none of this process may write a file.
    """
    if resource is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + task["cpu_seconds"]) + 1
    for name, most in (
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_DATA", task["process_bytes"]),
        ("RLIMIT_CPU", seconds),
    ):
        if hasattr(resource, name):
            which = getattr(resource, name)
            hard = resource.getrlimit(which)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(which, (most, most))


def _run(connection: duckdb.DuckDBPyConnection, task: dict[str, Any]) -> tuple[pa.Table, dict[str, Any]]:
    """The answer's first rows in plain types (store/sandbox/arrow_size.py), and what is to be said of them.

    cut: 'rows', 'bytes' or None; as_text: the numbers of the columns that came as text.
    """
    relation = connection.sql(_query(connection, task["sql"]))
    if relation is None:
        raise Refused("refused", f"Only a query that reads can run here ({STATEMENTS}).")
    if len(relation.columns) > task["columns"]:
        most = f"{task['columns']:,}"
        raise Refused("size", f"The answer has {len(relation.columns):,} columns; at most {most} can be shown: ask for fewer.")
    relation, as_text = _written(relation)
    reader = relation.limit(task["rows"] + 1).to_arrow_reader(BATCH)
    batches, small = [], True
    for batch in reader:
        batches.append(batch)
        table = pa.Table.from_batches(batches, reader.schema)
        small = table.nbytes <= task["bytes"] and size.unpacked(table) <= task["unpacked"]
        if not small:
            break
    table = pa.Table.from_batches(batches, reader.schema)
    cut = None if small else "bytes"
    if table.num_rows > task["rows"]:
        table, cut = table.slice(0, task["rows"]), "rows"
    strange = [i for i, column in enumerate(table.columns) if size.is_strange(column)]
    if strange:
        table = _as_text(connection, table, strange)
    whole = table.num_rows
    table = size.largest_part(table, task["bytes"], task["unpacked"])
    if whole and not table.num_rows:
        raise Refused("size", "")
    if table.num_rows < whole:
        cut = "bytes"
    if table.schema.serialize().size > task["names_bytes"]:
        raise Refused("size", "The names in this answer's columns are too long to be shown: give shorter ones.")
    return table, {"cut": cut, "as_text": sorted({*as_text, *strange})}


def _query(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The one query that a reader wrote, without the semicolon at its end.

    Raises:
        Refused: it is none, several, or a statement that does not only read.
    """
    statements = connection.extract_statements(sql)
    if not statements:
        raise Refused("refused", "There is no query here: write one.")
    if len(statements) > 1:
        raise Refused("refused", f"One query at a time: there are {len(statements)} statements here.")
    query, kind = _without_end(sql), _kind(statements[0])
    if kind == "MULTI":  # a PIVOT first lists the values that become columns; in brackets nothing but a query can stand
        query = f"FROM (\n{query}\n)"
        inside = connection.extract_statements(query)
        kind = "SELECT" if [_kind(statement) for statement in inside] == ["MULTI"] else kind
    if kind != "SELECT":
        raise Refused("refused", f"Only a query that reads can run here ({STATEMENTS}); this is a statement of kind {kind}.")
    return query


def _written(relation: duckdb.DuckDBPyRelation) -> tuple[duckdb.DuckDBPyRelation, list[int]]:
    """A relation with short names, its columns of other types than PLAIN as text; and which those are."""
    odd = [i for i, kind in enumerate(relation.types) if not _is_plain(kind)]
    for i in odd:
        if "BIGNUM" in str(relation.types[i]):
            name, kind = _cut(relation.columns[i], size.MOST_NAME), _cut(str(relation.types[i]), size.MOST_NAME)
            raise Refused("refused", f"Column '{name}' is of a type without a table's cell, {kind}: cast it, ::VARCHAR.")
    if odd or any(len(name) > size.MOST_NAME for name in relation.columns):
        names = [_cut(name, size.MOST_NAME).replace('"', '""') for name in relation.columns]
        cells = [f'#{i + 1}{"::VARCHAR" if i in odd else ""} AS "{name}"' for i, name in enumerate(names)]
        relation = relation.project(", ".join(cells))
    return relation, odd


def _is_plain(kind: Any, depth: int = 0) -> bool:
    if kind.id not in NESTED:
        return kind.id in PLAIN
    inside = [child for _, child in kind.children if not isinstance(child, int)]
    return len(inside) > 0 and depth < size.MOST_NESTED and all(_is_plain(child, depth + 1) for child in inside)


def _as_text(connection: duckdb.DuckDBPyConnection, table: pa.Table, which: list[int]) -> pa.Table:
    """A table with some of its columns as DuckDB writes them."""
    for i in which:
        alone = connection.from_arrow(pa.table({"c": table.column(i)}))
        table = table.set_column(i, table.column_names[i], alone.project("c::VARCHAR").to_arrow_table().column(0))
    return table


def _kind(statement: duckdb.Statement) -> str:
    """DuckDB's word for what a statement does."""
    try:
        return statement.type.name
    except ValueError:  # its Python module does not name them all: UPDATE EXTENSIONS is 29
        return "UNKNOWN"


def _without_end(sql: str) -> str:
    """A single statement without the semicolon that ends it, which a relation cannot have before a comment."""
    text = sql.encode()
    end = len(text)
    for offset, kind in reversed(duckdb.tokenize(sql)):
        if kind == duckdb.token_type.operator and text[offset : offset + 1] == b";":
            end = offset
        elif kind != duckdb.token_type.comment:
            break
    return text[:end].decode()


def _position(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Where DuckDB finds a query wrong, 'LINE 1: ...' with a mark below; '' where it does not say.

    A relation's errors come without it, those of a statement with it: here the query stands in one that does not run it.
    """
    try:
        connection.execute(f"EXPLAIN\n{sql}")
    except duckdb.Error as error:
        found = re.search(r"^LINE (\d+): (.*)\n( *)(\^.*)", str(error), re.MULTILINE)
        if found:
            head = f"LINE {int(found[1]) - 1}: "
            shift = len(f"LINE {found[1]}: ") - len(head)
            return f"{head}{found[2]}\n{found[3][shift:]}{found[4]}"
    return ""


main()
