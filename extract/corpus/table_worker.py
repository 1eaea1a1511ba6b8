"""Writes the rows of a Parquet or Arrow file as JSON lines: extract/corpus/column_files.py starts it as a script.

Such files come from strangers, and a small one can unpack to anything, or lead the code that reads it astray. So they are read
in a process of their own with bounded memory, whose lines are read as those of any compressed file.

Arguments: the file, bytes of memory, seconds. Columns that hold bytes (pictures, sound) are left out. Where the file cannot be
read, the last line is '!' and the reason.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet

try:
    import resource
except ImportError:  # Windows has none: there only the reader of the lines bounds
    resource = None

BATCH_ROWS = 64


def _holds_bytes(kind: pyarrow.DataType) -> bool:
    if pyarrow.types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    binary = (pyarrow.types.is_binary, pyarrow.types.is_large_binary, pyarrow.types.is_fixed_size_binary)
    return any(test(kind) for test in binary) or any(map(_holds_bytes, inner))


def _columns(schema: pyarrow.Schema) -> list[str]:
    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"the column {next(name for name in schema.names if schema.names.count(name) > 1)!r} is given twice")
    return [field.name for field in schema if not _holds_bytes(field.type)]


def _parquet(path: str) -> Iterator[pyarrow.RecordBatch]:
    with pyarrow.parquet.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
        columns = _columns(file.schema_arrow)
        if columns:
            yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)


def _arrow(path: str) -> Iterator[pyarrow.RecordBatch]:
    with pyarrow.memory_map(path) as file:
        whole = file.read(6) == b"ARROW1"
        file.seek(0)
        reader = pyarrow.ipc.open_file(file) if whole else pyarrow.ipc.open_stream(file)
        columns = _columns(reader.schema)
        for batch in (reader.get_batch(i) for i in range(reader.num_record_batches)) if whole else reader:
            batch.validate(full=True)
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.select(columns).slice(start, BATCH_ROWS)


def _limit(memory: int, seconds: int) -> None:
    if resource is None:
        return
    for name, most in (("RLIMIT_DATA", memory), ("RLIMIT_CPU", seconds), ("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0)):
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main(path: str, memory: str, seconds: str) -> None:
    """Write every row."""
    _limit(int(memory), int(seconds))
    pyarrow.set_cpu_count(1)
    output = sys.stdout.buffer
    with Path(path).open("rb") as file:
        read = _parquet if file.read(4) == b"PAR1" else _arrow
    try:
        for batch in read(path):
            for row in batch.to_pylist():
                output.write(json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n")
    except MemoryError:
        output.write(b"!it takes too much memory\n")
    except Exception as error:  # whatever a damaged or foreign file makes the library run into
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        output.write(b"!" + reason.encode(errors="replace") + b"\n")
    output.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
