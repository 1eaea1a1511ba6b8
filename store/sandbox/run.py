"""A reader's SQL, run so that it can harm nobody: in a process of its own, with limits, killed when its time is up.

DuckDB itself is opened read-only, without access to files or extensions, its configuration locked (store/read/opening.py).
That leaves queries that never end or want all memory. Interrupting DuckDB does not stop them all: ``repeat('x', 3000000000)``
was seen to run for 93 s after an interrupt at 3 s, and to take 8 GB under a memory_limit of 512 MB. So the operating system
sets the limits: a process can always be killed, and what it breaks is only itself.

Nor is its answer believed: the server reads a fixed number of bytes of it, and looks at them before it makes anything of them.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa

from store.format.additions import addition_path
from store.format.manifest import DATABASE_FILE
from store.read.connection import FEATURES_WITH_LABELS, LABELS_DATABASE
from store.read.opening import CATALOG, CONTRIBUTIONS, READ_ONLY
from store.read.store import Store
from store.sandbox.answer import MOST_NAMES, Answer, Limits, QueryError, most_bytes, read
from store.sandbox.fair_turns import Busy, Turns

AT_ONCE = 2
"""Queries that run at the same time, for all readers together; another one waits."""

THREADS = 2
_WORKER = Path(__file__).with_name("worker.py")
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")  # and no secret of the server's
_turns = Turns(AT_ONCE)

START = 60.0
"""Seconds in which a worker has to have started, on a busy machine too."""


def run(store: Store, sql: str, limits: Limits | None = None, who: str = "") -> Answer:
    """One query over the tables of a store, imported labels included.

    Args:
        who: the visitor that asks; those who used less of late have their turn first. '': nobody in particular.

    Raises:
        QueryError: it is not a single query that reads, is wrong, or wants more than the limits allow.
    """
    limits = limits or Limits()
    try:
        with _turns.turn(who or f"thread {threading.get_ident()}", 2 * limits.seconds):
            output = _ask(_task(store, sql, limits), limits)
    except Busy as error:
        raise QueryError("busy", f"The server is busy with {error.others} other queries: try again in a moment.") from error
    if not output:
        raise QueryError("broken", "The query broke the process that ran it, probably by the memory it wanted: ask for less.")
    return read(output, limits)


def others() -> int:
    """How many queries run or wait now: one that is asked beyond AT_ONCE of them waits too."""
    return _turns.others()


def _task(store: Store, sql: str, limits: Limits) -> bytes:
    """What the worker reads: a line of JSON, then the imported labels."""
    task = {
        "databases": _databases(store),
        "config": {
            "autoload_known_extensions": "false",
            "memory_limit": f"{limits.memory}MB",
            "temp_directory": "",
            "max_temp_directory_size": "0KB",
            "threads": str(THREADS),
            **READ_ONLY,  # last, since it locks the others
        },
        "sql": sql,
        "rows": limits.rows,
        "columns": limits.columns,
        "bytes": limits.bytes,
        "unpacked": limits.unpacked,
        "names_bytes": MOST_NAMES,
        "seconds": limits.seconds,
        "process_bytes": 2 * limits.memory * 1_000_000,
        "cpu_seconds": THREADS * (limits.seconds + 1),
        "labels": [text.format(name="imported") for text in (LABELS_DATABASE, FEATURES_WITH_LABELS)],
    }
    labels = _labels(store)
    return json.dumps(task | {"labels_bytes": len(labels)}).encode() + b"\n" + labels


def _databases(store: Store) -> dict[str, str]:
    """Name in SQL -> file; unqualified names are of the first."""
    files = {CATALOG: store.path / DATABASE_FILE}
    if store.has_contributions:
        files[CONTRIBUTIONS] = addition_path(store.path)
    return {name: str(file.resolve()) for name, file in files.items()}


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
    """What a worker answers to a task, which may be anything; at most so many bytes. Nothing where it broke."""
    process = _spare.take()
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(START, stop)
    timer.start()
    try:
        process.stdout.read(1)  # it has loaded DuckDB: from now on its time counts
        timer.cancel()
        timer = threading.Timer(limits.seconds, stop)
        timer.start()
        output = _exchange(process, task, most_bytes(limits))
    finally:
        timer.cancel()
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()
        _spare.renew()
    if late.is_set():
        raise QueryError(
            "time", f"The query was stopped after {limits.seconds:g} seconds: filter more, or ask for one layer or variant."
        )
    return output


def _exchange(process: subprocess.Popen, task: bytes, most: int) -> bytes:
    """Write the task, then read to the end, or to one byte more than `most`. The other end stays open: see the worker."""
    output = bytearray()
    try:
        while task:
            task = task[process.stdin.write(task) :]
        while len(output) <= most and (piece := process.stdout.read(min(1 << 20, most + 1 - len(output)))):
            output += piece
    except BrokenPipeError:
        return b""
    return bytes(output)


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
        [sys.executable, "-B", "-P", str(_WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        bufsize=0,
    )


_spare = _Spare()
