"""Runs one query in a process of its own and ends: started by store/sandbox.py as a script, never imported.

Only DuckDB and PyArrow are loaded, so that it starts fast. It says that it is ready with one byte on stdout, reads a line of
JSON, the imported labels as an Arrow stream and nothing else from stdin, and answers a line of JSON and an Arrow stream.
"""

import json
import re
import sys
from typing import Any

import duckdb
import pyarrow as pa

try:
    import resource
except ImportError:  # Windows has none: there only DuckDB's own limit and the time-out hold
    resource = None

BATCH = 1024
STATEMENTS = "SELECT, WITH, FROM, DESCRIBE, SUMMARIZE or SHOW"


class Refused(Exception):
    """What is wrong, in a sentence; its kind is one of store.sandbox.QueryError's."""

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
    labels = sys.stdin.buffer.read()
    header, table = {}, None
    connection = _open(task, labels)
    _limit(task)
    try:
        table, header["cut"] = _run(connection, task)
    except Refused as error:
        header = {"error": error.kind, "message": str(error)}
    except (duckdb.OutOfMemoryException, MemoryError, pa.ArrowMemoryError):
        header = {"error": "memory", "message": ""}
    except (duckdb.Error, pa.ArrowException) as error:
        first, _, rest = str(error).strip().partition("\n")
        kind = "memory" if "bad_alloc" in first or "length_error" in first else "wrong"
        where = rest.strip("\n")
        if kind == "wrong" and "LINE " not in where:
            where = "\n\n".join(filter(None, [where, _position(connection, task["sql"])]))
        header = {"error": kind, "message": first, "where": where}
    output = sys.stdout.buffer
    output.write(json.dumps(header).encode() + b"\n")
    if table is not None:
        with pa.ipc.new_stream(output, table.schema) as stream:
            stream.write_table(table)


def _open(task: dict[str, Any], labels: bytes) -> duckdb.DuckDBPyConnection:
    """The store's database as store/reader.py opens it, with less memory and no place to spill to."""
    connection = duckdb.connect(task["database"], read_only=True, config=task["config"])
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


def _run(connection: duckdb.DuckDBPyConnection, task: dict[str, Any]) -> tuple[pa.Table, str | None]:
    """The answer's first rows, and what it was cut by: 'rows', 'bytes' or None."""
    statements = connection.extract_statements(task["sql"])
    if not statements:
        raise Refused("refused", "There is no query here: write one.")
    if len(statements) > 1:
        raise Refused("refused", f"One query at a time: there are {len(statements)} statements here.")
    kind = _kind(statements[0])
    if kind != "SELECT":
        raise Refused("refused", f"Only a query that reads can run here ({STATEMENTS}); this is a statement of kind {kind}.")
    relation = connection.sql(_without_end(task["sql"]))
    for name, type_ in zip(relation.columns, relation.types, strict=True):
        if "BIGNUM" in str(type_):
            raise Refused("refused", f"Column '{name}' is of a type without a table's cell, {type_}: cast it, ::VARCHAR.")
    reader = relation.limit(task["rows"] + 1).to_arrow_reader(BATCH)
    batches, rows, size, cut = [], 0, 0, None
    for batch in reader:
        size += batch.nbytes
        if size > task["bytes"]:
            cut = "bytes"
            break
        batches.append(batch)
        rows += batch.num_rows
    if cut and not batches:
        raise Refused("size", "")
    table = pa.Table.from_batches(batches, reader.schema)
    if rows > task["rows"]:
        table, cut = table.slice(0, task["rows"]), "rows"
    return table, cut


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
