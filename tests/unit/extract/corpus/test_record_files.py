"""Kinds of files: each gives the same records, and each says where it is broken."""

import csv
import gzip
import io
import json

import pyarrow
import pyarrow.parquet
import pytest

from extract.config_sections import SourceConfig
from extract.corpus import unpacking
from extract.corpus.records import read_corpus
from store.errors import UserError
from tests.support.data_formats import FILES, ROWS


def read(path, **settings):
    return read_corpus([SourceConfig(path=str(path), **{"domain": "d", **settings})])


def texts(corpus) -> list[str]:
    return [record.fields["text"] for record in corpus.records]


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_every_kind_holds_the_same(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FILES[name])
    corpus = read(path)
    assert [record.fields for record in corpus.records] == [{"prompt": r["instruction"], "response": r["output"]} for r in ROWS]
    assert [record.domain for record in corpus.records] == ["sums", "x"]
    assert corpus.readings[0].line() == f"{name}: read as Alpaca, 2 conversations"
    assert len({record.source for record in corpus.records}) == 2
    assert all(record.source.startswith(f"{name}:") for record in corpus.records)


@pytest.mark.parametrize(
    ("name", "content", "place", "said"),
    [
        ("a.csv", b"text,domain\na,x\n\nb\n", "line 4", "the row has 1 cells, and the header 2"),
        ("a.csv", b'text\n"a\nb"\n"c\n', "line 4", "unexpected end of data"),
        ("a.csv", b"text,text\na,b\n", "line 1", "the column 'text' is given twice"),
        ("a.csv", "text\né\n".encode("latin-1"), "line 2", "codec"), ("a.csv", b't\0e\0x\0t\0', "line 1", "UTF-16"),
        ("a.tsv", b"text\tdomain\na\tx\ty\n", "line 2", "3 cells, and the header 2"),
        ("a.json", b'[\n{"text": "a"},\n{"text" "b"}]', "line 3", "Expecting ':' delimiter"),
        ("a.json", b'[\n{"text": "a"},\n5]', "line 3", "not a JSON object"), ("a.json", b'[{"text": "a"}\n', "line", "it ends"),
        ("a.json", b'[{"text": "a"}]\n[{"text": "b"}]', "line 2", "stands behind the list"),
        ("a.jsonl", b'[{"role": "user"}]\n[{"role": "user"}]', "line 2", "it is one list a line, or"),
        ("a.jsonl", b'["a", "b"]\n["c", "d"]', "line 1", "the record is a str, not a JSON object; write one object a line"),
        ("a.json", b'{"data": [{"text": "a"}]}\n{"data": []}', "line 1", "it has 'data', a list"),
        ("a.json", b'[{"text": "\\ud83d"}]', "line 1", "surrogates"),
        ("a.json", b'[{"a": 1, "a": 2}]', "line 1", "given twice"), ("a.json", b'[{"a":' * 20_000, "line 1", "recursion"),
        ("a.json", b'[{"n": 1' + b"0" * 5000 + b"}]", "line 1", "4300 digits"),
        ("a.json", b'{"a": 1,\n"b": [2]}', "line 1", "write one JSON object a line"),
        ("a.parquet", b"PAR1 and no more", "row 1", "Parquet"), ("a.arrow", b"nothing", "row 1", "cannot be read"),
        ("a.txt", "é".encode("latin-1"), "line 1", "codec"), ("a.jsonl", b'{"text": "a"}\n\n[1]\n', "line 3", "JSON array"),
    ],
)  # fmt: skip
def test_where_a_file_is_broken(tmp_path, name, content, place, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        read(path)
    assert name in str(refused.value) and f", {place}" in str(refused.value) and said in str(refused.value), refused.value
    assert str(refused.value).isprintable()


def test_cells_are_text_and_empty_ones_nothing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\n,text,domain,source\n0,007,x,1e3\n1,,y,b\n2,nan,,c\n")  # as pandas writes its index
    corpus = read(path)
    found = [(record.fields["text"], record.domain, record.source) for record in corpus.records]
    assert found == [("007", "x", "1e3"), (None, "y", "b"), ("nan", "d", "c")]
    assert corpus.readings[0].line() == "a.csv: read as text, 2 documents, 1 record without text skipped"


def test_rows_of_cells_are_known_by_the_line_they_begin_on(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'text\n"a\nb\nc"\n\nd\n')
    assert [record.where for record in read(path).records] == ["a.csv, line 2", "a.csv, line 6"]


def test_conversations_in_cells_are_JSON(tmp_path):
    messages = [{"role": "user", "content": 'a "b"'}, {"role": "assistant", "content": "c\nd"}]
    text = io.StringIO()
    csv.writer(text).writerows([["messages"], [json.dumps(messages)]])
    (tmp_path / "a.csv").write_text(text.getvalue(), newline="")
    assert read(tmp_path / "a.csv").records[0].fields == {"messages": messages}


def test_columns_of_pictures_are_left_out_and_others_are_read_as_they_are(tmp_path):
    messages = [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "a"}]}]
    rows = [
        {"messages": messages, "image": {"bytes": b"\x89PNG", "path": None}, "domain": 3},
        {"messages": None, "image": None, "domain": 4},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    corpus = read(tmp_path / "a.parquet")
    assert corpus.records[0].fields == {"messages": messages} and [r.domain for r in corpus.records] == ["3", "4"]
    assert corpus.readings[0].line() == "a.parquet: read as messages, 1 conversation, 1 record without text skipped"
    assert [record.where for record in corpus.records] == ["a.parquet, row 1", "a.parquet, row 2"]


def test_a_limit_stops_early(tmp_path):
    """Of an array, cells and columns: what is broken behind it is never seen."""
    (tmp_path / "a.json").write_bytes(b'[{"text": "a"}, {"text": "b"}, {"broken')
    (tmp_path / "a.csv").write_bytes(b"text\na\nb\nc,d\n")
    pyarrow.parquet.write_table(pyarrow.table({"text": [str(i) for i in range(10_000)]}), tmp_path / "a.parquet")
    found = [texts(read(tmp_path / name, limit=2)) for name in ("a.json", "a.csv", "a.parquet")]
    assert found == [["a", "b"], ["a", "b"], ["0", "1"]]


# ---- plain text ----


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.TXT", "a.txt.gz"])
def test_a_text_file_is_a_document(tmp_path, name):
    content = "\ufeffOne.\n\nTwo,\nof two lines.\n\n\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    corpus = read(tmp_path / name)
    assert texts(corpus) == ["One.\n\nTwo,\nof two lines.\n\n\n"] and corpus.records[0].source == name
    assert corpus.readings[0].line() == f"{name}: read as text, 1 document (each a file; 'paragraphs: true' would split it)"


def test_paragraphs_are_documents_where_that_is_asked(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\n\nOne.\r\n \r\nTwo,\nof two lines.\n\n\nThree")
    corpus = read(tmp_path / "a.txt", paragraphs=True)
    assert texts(corpus) == ["One.", "Two,\nof two lines.", "Three"]
    assert [record.source for record in corpus.records] == ["a.txt:3", "a.txt:5", "a.txt:9"]
    assert corpus.readings[0].line() == "a.txt: read as text, 3 documents (each block between blank lines)"
    assert corpus.readings[0].describe()["paragraphs"] is True


def test_an_array_is_read_in_pieces(tmp_path, monkeypatch):
    """Records that lie across the pieces, and one that is longer than they are."""
    from extract.corpus import json_values

    monkeypatch.setattr(json_values, "_PIECE", 7)
    records = [{"text": "x" * n, "n": 12345} for n in range(1, 40)]
    (tmp_path / "a.json").write_text(json.dumps(records, indent=1))
    assert [len(text) for text in texts(read(tmp_path / "a.json"))] == list(range(1, 40))
    monkeypatch.setattr(unpacking, "MAX_LINE_BYTES", 100)
    (tmp_path / "a.json").write_text(json.dumps([{"text": "a"}, {"text": "x" * 500}], indent=1))
    with pytest.raises(UserError, match="line 5, cannot be read: the record is longer"):
        read(tmp_path / "a.json")


def test_a_table_leaves_the_process_as_it_was(tmp_path):
    """How long a cell may be is a setting of Python's csv, by which other files are read too, while a table is."""
    usual, file = csv.field_size_limit(), tmp_path / "a.csv"
    file.write_text(f"text,domain\n{'x' * (usual + 1)},a\ny,a\n", encoding="utf-8")
    records = iter(read_corpus([SourceConfig(path=str(file))]).records)
    assert len(next(records).fields["text"]) == usual + 1
    assert csv.field_size_limit() == usual
