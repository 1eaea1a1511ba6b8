"""Data files of strangers that unpack to anything, or lead their reader astray: refused in a sentence, within bounds."""

import bz2
import gzip
import json
import lzma
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from extract.config_sections import SourceConfig
from extract.corpus import column_files, unpacking
from extract.corpus.records import read_corpus
from store.errors import UserError
from tests.support.data_formats import FILES
from tests.support.runs import in_a_process

MB = 2**20
MOST_MB = 600
"""What reading may take besides the program: a line of 128 MB as bytes and as text, and what is being read ahead."""


def refused(path: Path) -> tuple[str, float]:
    """The sentence that ends reading, and by how many MB the process has grown."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_corpus([SourceConfig(path=str(path), domain="d")])
    except UserError as error:
        return str(error), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return "", 0.0


def is_refused(path: Path, *said: str) -> None:
    sentence, grown = in_a_process(refused, path)
    assert any(piece in sentence for piece in said), sentence
    assert path.name in sentence and sentence.isprintable() and grown < MOST_MB, grown


def _zstd(content: bytes) -> bytes:
    return pyarrow.Codec("zstd").compress(content, asbytes=True)


PACKERS = {"gz": lambda c: gzip.compress(c, 6), "bz2": bz2.compress, "xz": lambda c: lzma.compress(c, preset=1), "zst": _zstd}
BOMBS = {"a line": (b"a" * MB, "longer than 128 MB"), "blank lines": (b" " * (MB - 1) + b"\n", "more than 200 times its size")}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("packer", PACKERS)
def test_a_file_that_unpacks_to_very_much(tmp_path, packer, bomb):
    """300 MB in a few hundred KB, as every packer can: one stream after another."""
    piece, said = BOMBS[bomb]
    path = tmp_path / f"bomb.jsonl.{packer}"
    path.write_bytes(PACKERS[packer](piece * 10) * 30)
    assert path.stat().st_size < 400_000
    is_refused(path, said)


@pytest.mark.parametrize(
    ("name", "head", "tail"),
    [("a.csv", b"text\n", b"\n"), ("quoted.csv", b'text\n"', b'"\n'), ("a.json", b'[{"text": "', b'"}]'), ("a.txt", b"", b""),
     ("a.jsonl", b'{"text": "', b'"}'), ("utf16.jsonl", b"\xff\xfe", b"")],
)  # fmt: skip
def test_a_line_of_200_MB(tmp_path, name, head, tail):
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(head)
        for _ in range(200):
            file.write(b"a" * MB)
        file.write(tail)
    is_refused(path, "longer than 128 MB")


def test_a_cell_over_many_lines(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.write(b'text\n"')
        for _ in range(200):
            file.write(b"a" * (MB - 1) + b"\n")
    is_refused(path, "field larger than field limit")


# ---- columns ----


@pytest.fixture
def little(monkeypatch):
    """Bounds that are reached soon."""
    monkeypatch.setattr(column_files, "MEMORY", 1_000_000_000)
    monkeypatch.setattr(unpacking, "BELIEVED_BYTES", 2 * MB)


def sentence(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        read_corpus([SourceConfig(path=str(path), domain="d")])
    return str(refused.value)


def test_a_parquet_file_with_a_huge_page(tmp_path, little):
    """1 GB of one letter in 40 KB."""
    path = tmp_path / "page.parquet"
    table = pyarrow.table({"text": ["a" * 1_000_000_000]})
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 100_000 and "it takes too much memory" in sentence(path)


def test_a_parquet_file_of_one_long_text_many_times(tmp_path, little):
    """500 GB in 4 KB, by a dictionary of one value."""
    path = tmp_path / "repeated.parquet"
    values = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 5000, pyarrow.int32()), pyarrow.array(["a" * 100 * MB]))
    pyarrow.parquet.write_table(pyarrow.table({"text": values}), path, compression="zstd")
    assert path.stat().st_size < 100_000 and "it takes too much memory" in sentence(path)


def test_a_parquet_file_of_a_text_many_times(tmp_path, little):
    path = tmp_path / "many.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a" * 1000] * 100_000}), path)
    assert "more than 200 times its size" in sentence(path)


def test_a_parquet_file_of_nothing_many_times(tmp_path, little):
    path = tmp_path / "nulls.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.nulls(3_000_000, pyarrow.string())}), path)
    assert "more than 200 times its size" in sentence(path)


def test_a_reader_that_dies_is_damage(tmp_path, monkeypatch):
    """As a crash of the library, of which nothing is heard."""
    (tmp_path / "worker.py").write_text("import os; print('{}', flush=True); os.abort()")
    monkeypatch.setattr(column_files, "_WORKER", tmp_path / "worker.py")
    path = tmp_path / "a.parquet"
    path.write_bytes(FILES["zstd.parquet"])
    assert "row 2, cannot be read: it is damaged, or takes too much memory" in sentence(path)


def damaged(content: bytes, seed: int) -> Iterator[bytes]:
    """A file cut short, and with bytes overwritten, a few ways."""
    chance = random.Random(seed)
    yield content[: chance.randrange(len(content))]
    for _ in range(3):
        broken = bytearray(content)
        for at in (chance.randrange(4, len(content)) for _ in range(4)):
            broken[at] = chance.randrange(256)
        yield bytes(broken)


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith((".parquet", ".arrow"))])
def test_a_damaged_file_of_every_kind(tmp_path, name):
    answered(tmp_path / name, [one for seed in range(25) for one in damaged(FILES[name], seed)])


@pytest.mark.parametrize("name", ["zstd.parquet", "stream.arrow", "file.arrow"])
@pytest.mark.thorough
def test_damaged_columns(tmp_path, name):
    answered(tmp_path / name, [one for seed in range(8) for one in damaged(FILES[name], seed)])


def test_columns_cut_short(tmp_path):
    for name in ("zstd.parquet", "stream.arrow", "file.arrow"):
        answered(tmp_path / name, [FILES[name][:-20]])


def answered(path: Path, contents: list[bytes]) -> None:
    """Each is read, or ends in one line."""
    for content in contents:
        path.write_bytes(content)
        try:
            read_corpus([SourceConfig(path=str(path), domain="d")])
        except UserError as error:
            assert str(error).isprintable() and path.name in str(error), str(error)


def test_a_conversation_nested_without_end(tmp_path):
    deep = "[" * 50_000
    for record in ({"messages": deep}, {"conversations": [{"from": "function_call", "value": deep}], "tools": deep}):
        path = tmp_path / "a.jsonl"
        path.write_text(json.dumps(record))
        answered(path, [path.read_bytes()])
