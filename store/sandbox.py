"""A reader's SQL, run so that it can harm nobody: in a process of its own, with limits, killed when its time is up.

DuckDB itself is opened read-only, without access to files or extensions and with its configuration locked (store/reader.py).
That leaves queries that never end or want all memory. Interrupting DuckDB does not stop them all: ``repeat('x', 3000000000)``
was seen to run for 93 s after an interrupt at 3 s, and to take 8 GB under a memory_limit of 512 MB. So the operating system
sets the limits: a process can always be killed, and what it breaks is only itself.
"""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from store import reader
from store.errors import UserError
from store.manifest import DATABASE_FILE
from store.reader import Store

AT_ONCE = 2
"""Queries that run at the same time, for all readers together; another one waits."""

THREADS = 2
_WORKER = Path(__file__).with_name("sandbox_worker.py")
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")  # and no secret of the server's
_places = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True)
class Limits:
    """What one query may take.

    Attributes:
        rows: of the answer; the rest is cut.
        bytes: of the answer; the rest is cut.
        seconds: until it is killed.
        memory: MB that DuckDB plans with; the process may hold as much again, and no more.
    """

    rows: int = 10_000
    bytes: int = 8_000_000
    seconds: float = 10.0
    memory: int = 1000


@dataclass(frozen=True)
class Answer:
    """What a query gave.

    Attributes:
        table: the rows with DuckDB's types, column names made unique.
        cut: 'rows' or 'bytes', whichever limit cut it; None where it is whole.
    """

    table: pa.Table
    cut: str | None

    def frame(self) -> pd.DataFrame:
        """The rows as :meth:`store.reader.Store.sql` gives them."""
        with duckdb.connect(":memory:") as connection:
            return connection.from_arrow(self.table).df()


class QueryError(UserError):
    """A query that was refused, is wrong, or was stopped.

    Attributes:
        kind: 'refused', 'wrong', 'time', 'memory', 'size', 'busy' or 'broken'.
        where: DuckDB's hint and position, on lines of their own; empty where there is none.
    """

    def __init__(self, kind: str, message: str, where: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.where = where


def run(store: Store, sql: str, limits: Limits | None = None) -> Answer:
    """One query over the tables of a store, imported labels included.

    Raises:
        QueryError: it is not a single query that reads, is wrong, or wants more than the limits allow.
    """
    limits = limits or Limits()
    if not _places.acquire(timeout=limits.seconds):
        raise QueryError("busy", f"The server is busy with {AT_ONCE} other queries: try again in a moment.")
    try:
        output = _ask(_task(store, sql, limits), limits)
    finally:
        _places.release()
    line, _, rows = output.partition(b"\n")
    if not line:
        raise QueryError("broken", "The query broke the process that ran it, probably by the memory it wanted: ask for less.")
    header = json.loads(line)
    if "error" in header:
        raise QueryError(header["error"], _message(header, limits), header.get("where", ""))
    table = pa.ipc.open_stream(rows).read_all()
    return Answer(table.rename_columns(_unique(table.column_names)), header["cut"])


def _task(store: Store, sql: str, limits: Limits) -> bytes:
    """What the worker reads: a line of JSON, then the imported labels."""
    task = {
        "database": str((store.path / DATABASE_FILE).resolve()),
        "config": reader.READ_ONLY
        | {
            "autoload_known_extensions": "false",
            "memory_limit": f"{limits.memory}MB",
            "temp_directory": "",
            "max_temp_directory_size": "0KB",
            "threads": str(THREADS),
        },
        "sql": sql,
        "rows": limits.rows,
        "bytes": limits.bytes,
        "process_bytes": 2 * limits.memory * 1_000_000,
        "cpu_seconds": THREADS * (limits.seconds + 1),
        "labels": [text.format(name="imported") for text in (reader.LABELS_DATABASE, reader.FEATURES_WITH_LABELS)],
    }
    return json.dumps(task).encode() + b"\n" + _labels(store)


def _labels(store: Store) -> bytes:
    """The labels that are not automatic, as an Arrow stream: put over the stored ones they give what the store shows."""
    if not store.n_labels:
        return b""
    sink = pa.BufferOutputStream()
    with store.cursor() as cursor:
        labels = cursor.sql("SELECT layer, feature, label, label_source FROM features WHERE label_source <> 'automatic'")
        table = labels.to_arrow_table()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _ask(task: bytes, limits: Limits) -> bytes:
    process = _spare.take()
    try:
        process.stdout.read(1)  # it has loaded DuckDB: from now on its time counts
        return process.communicate(task, timeout=limits.seconds)[0]
    except subprocess.TimeoutExpired as error:
        raise QueryError(
            "time", f"The query was stopped after {limits.seconds:g} seconds: filter more, or ask for one layer or variant."
        ) from error
    except BrokenPipeError:
        return b""
    finally:
        process.kill()
        process.communicate()
        _spare.renew()


def _message(header: dict, limits: Limits) -> str:
    if header["error"] == "memory":
        return f"The query was stopped: it wants more than {limits.memory:,} MB of memory; filter or aggregate earlier."
    if header["error"] == "size":
        return f"The first rows alone are larger than {limits.bytes / 1e6:g} MB: ask for fewer columns, or shorter ones."
    return header["message"]


def _unique(names: list[str]) -> list[str]:
    """Column names with repeated ones numbered, as DuckDB's data frames have them: a, a_1."""
    unique: list[str] = []
    for name in names:
        new, number = name, 0
        while new in unique:
            number += 1
            new = f"{name}_{number}"
        unique.append(new)
    return unique


class _Spare:
    """One worker that has started already, so that a query need not wait for that; it ends with the server's own process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: subprocess.Popen | None = None

    def take(self) -> subprocess.Popen:
        """The worker that waits, or a new one."""
        with self._lock:
            taken, self._waiting = self._waiting, None
        return taken if taken is not None and taken.poll() is None else _start()

    def renew(self) -> None:
        """Start one for the next query."""
        with self._lock:
            if self._waiting is None:
                self._waiting = _start()


def _start() -> subprocess.Popen:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-P", str(_WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        bufsize=0,
    )


_spare = _Spare()
