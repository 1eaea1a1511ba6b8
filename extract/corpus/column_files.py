"""Reading Parquet and Arrow files from anybody, row by row, by a process of its own within bounds: see table_worker.py."""

import os
import subprocess
import sys
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from extract.corpus.jsonl import parse_object
from extract.corpus.unpacking import bounded, lines
from store.errors import first_line

MEMORY = 4_000_000_000
"""Bytes; a row group of a sound file takes a fraction."""
SECONDS, BYTES_A_SECOND = 60, 100_000
"""Of computing: so many, and more for a large file."""

_WORKER = Path(__file__).with_name("table_worker.py")
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_SYSTEM_MEMORY = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
"""The other ways to get memory reserve more than they use."""


def read_columns(path: Path) -> Iterator[dict[str, Any]]:
    """Each row.

    Raises:
        ValueError: the file is damaged, or holds more than anybody's text.
    """
    size = path.stat().st_size
    command = [sys.executable, "-P", str(_WORKER), str(path), str(MEMORY), str(SECONDS + size // BYTES_A_SECOND)]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _SYSTEM_MEMORY
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        try:
            for line in lines(BufferedReader(bounded(process.stdout, size), buffer_size=2**16)):
                if line.startswith(b"!"):
                    raise ValueError(first_line(ValueError(line[1:].decode())))
                yield parse_object(line)
            if process.wait() != 0:
                raise ValueError("it is damaged, or takes too much memory")
        finally:
            process.kill()
