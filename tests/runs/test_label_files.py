"""Label files as people have them: what a file is, its content says; what is wrong with it, one sentence."""

import codecs
import errno
import gzip
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from extract.__main__ import main
from store.exchange import label_files
from store.sidecar.entries import sidecar_path

CSV = "layer,feature,label\n5,1,größe\n12,0,adding up\n"
ONE = {
    "modelId": "gpt2-small", "layer": "12-tiny-res-4", "index": "2", "description": "refusals", "authorId": "a",
    "typeName": "oai_token-act-pair", "explanationModelName": "gpt-4o-mini", "embedding": [0.5, 0.25], "scores": [],
}  # fmt: skip
OTHER = {**ONE, "index": 3, "description": "rain"}
BY = "imported from Neuronpedia, by gpt-4o-mini"
BOTH = [(12, 2, "refusals", BY), (12, 3, "rain", BY)]
FEATURE = {
    "modelId": "gpt2-small", "layer": "12-tiny-res-4", "index": "2", "activations": [{"tokens": ["a"], "values": [1.0]}],
    "explanations": [{"description": "refusals", "explanationModelName": "gpt-4o-mini"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tiny_store, tmp_path_factory):
    return shutil.copytree(tiny_store, tmp_path_factory.mktemp("labelled") / "tiny")


@pytest.fixture(autouse=True)
def no_sidecar(store):
    sidecar_path(store).unlink(missing_ok=True)


def given(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def imported(store):
    connection = sqlite3.connect(sidecar_path(store))
    rows = connection.execute("SELECT layer, feature, label, label_source FROM labels ORDER BY layer, feature").fetchall()
    connection.close()
    return rows


NEURONPEDIA = {
    "the API's array": ("gpt2.json", json.dumps([ONE, OTHER])),
    "over many lines": ("gpt2.json", json.dumps([ONE, OTHER], indent=2)),
    "gzipped": ("gpt2.json.gz", gzip.compress(json.dumps([ONE, OTHER]).encode())),
    "gzipped under another name": ("gpt2.json", gzip.compress(json.dumps([ONE, OTHER]).encode())),
    "not gzipped, though named so": ("batch-0.jsonl.gz", f"{json.dumps(ONE)}\n{json.dumps(OTHER)}\n"),
    "an object that holds them": ("gpt2.json", json.dumps({"explanations": [ONE, OTHER]})),
    "the same over many lines": ("gpt2.json", json.dumps({"explanations": [ONE, OTHER]}, indent=1)),
    "a search's results": ("found.json", json.dumps({"request": {"query": "x"}, "results": [ONE, OTHER]})),
    "lines, named .json": ("gpt2.json", f"\n{json.dumps(ONE)}\n\n{json.dumps(OTHER)}\n"),
    "an array, named .jsonl": ("gpt2.jsonl", json.dumps([ONE, OTHER])),
    "named .csv": ("gpt2.csv", json.dumps([ONE, OTHER])),
    "a byte-order mark": ("gpt2.json", codecs.BOM_UTF8 + json.dumps([ONE, OTHER]).encode()),
    "features and their explanations": ("gpt2.json", json.dumps([FEATURE, {**FEATURE, "index": 1, "explanations": []}, OTHER])),
}


@pytest.mark.parametrize("case", NEURONPEDIA)
def test_neuronpedias_explanations_however_they_were_saved(case, store, tmp_path):
    assert main(["labels", str(store), str(given(tmp_path, *NEURONPEDIA[case]))]) == 0
    assert imported(store) == BOTH


TABLES = {
    "a byte-order mark": codecs.BOM_UTF8 + CSV.encode(),
    "semicolons": CSV.replace(",", ";"),
    "tabs": CSV.replace(",", "\t"),
    "UTF-16, as Excel's Unicode text": CSV.replace(",", "\t").encode("utf-16"),
    "UTF-16, the other way round": codecs.BOM_UTF16_BE + CSV.encode("utf-16-be"),
    "Windows' line ends": CSV.replace("\n", "\r\n"),
    "its separator named": "sep=;\r\n" + CSV.replace(",", ";"),
    "capitals and spaces in the header": CSV.replace("layer,feature,label", " Layer , Feature,LABEL"),
    "lines before it": "\n\n" + CSV,
    "gzipped": gzip.compress(CSV.encode()),
    "other columns": "note;layer;label;feature\nx;5;größe;1\n;12;adding up;0\n",
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_however_they_were_saved(case, store, tmp_path):
    assert main(["labels", str(store), str(given(tmp_path, "mine.csv", TABLES[case]))]) == 0
    assert imported(store) == [(5, 1, "größe", "imported from mine.csv"), (12, 0, "adding up", "imported from mine.csv")]


def test_a_comma_within_a_label_is_not_a_separator(store, tmp_path):
    main(["labels", str(store), str(given(tmp_path, "mine.csv", "layer;feature;label\n5;1;one, two\n"))])
    assert [row[2] for row in imported(store)] == ["one, two"]


BAD = {
    "UTF-16 without its mark": ("x.csv", CSV.encode("utf-16-le"), "line 1", "NUL bytes", "save the file as UTF-8"),
    "half a character of UTF-16": ("x.csv", CSV.encode("utf-16")[:-1], "not UTF-16-LE text"),
    "UTF-32": ("x.csv", CSV.encode("utf-32"), "NUL characters", "save the file as UTF-8"),
    "a NUL": ("x.csv", CSV.replace("up", "u\0p"), "line 3", "NUL bytes"),
    "Latin-1": ("x.csv", CSV.encode("latin-1"), "line 2", "not UTF-8 text"),
    "a picture": ("x.csv", b"\x89PNG\r\n\x1a\n\0\0", "not UTF-8 text"),
    "a huge field": ("x.csv", f"layer,feature,label\n5,1,{'x' * 200_000}\n", "line 2", "not CSV"),
    "a column twice": ("x.csv", "layer,feature,label,layer\n5,1,x,5\n", "layer is there twice"),
    "no such layer": ("x.csv", CSV + "7,0,x\n", "line 4", "no layer 7"),
    "no such layer after empty lines": ("x.csv", "\n\n" + CSV + "7,0,x\n", "line 6", "no layer 7"),
    "no such layer in an array": ("x.json", json.dumps([ONE, {**ONE, "layer": "7-res"}]), "line 1, entry 2", "no layer 7"),
    "no such feature in a long array": ("x.json", json.dumps([ONE, {**ONE, "index": 6}], indent=1), "entry 2", "no feature 6"),
    "the same row twice": ("x.csv", CSV + "5,1,größe\n", "line 4", "a second time"),
    "an array of text": ("x.json", '["a"]', "entry 1", "expected an object"),
    "arrays in an array": ("x.json", "[[1]]", "entry 1", "expected an object"),
    "a number": ("x.json", "5", "neither CSV nor JSON"),
    "not JSON further down": ("x.json", '[{"layer": "12-x",\n"index": 2,,}]', "line 2", "not JSON"),
    "no text": ("x.json", json.dumps([{**ONE, "description": {"a": 1}}]), "entry 1", "description must be text"),
    "of an object's": ("x.json", json.dumps({"results": [ONE, {**ONE, "index": None}]}), "explanation 2", "'index' is missing"),
    "none": ("x.json", "[]", "holds no labels"),
    "none in an object": ("x.json", '{"explanations": []}', "holds no labels"),
    "nothing": ("x.csv", " \n \n", "holds no labels"),
    "half an archive": ("x.json.gz", gzip.compress(json.dumps([ONE] * 99).encode())[:-20], "cannot be read"),
    "an archive whose bytes were changed": ("x.json.gz", b"\x1f\x8b\x08" + b"\xff" * 50, "cannot be read"),
    "another kind of file": ("x.txt", CSV, "neither .csv nor .jsonl nor .json"),
}


def refused(store, file, capsys, *expected):
    capsys.readouterr()
    assert main(["labels", str(store), str(file)]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(said) == 1
    for piece in (file.name, *expected):
        assert piece in said[0]
    assert not sidecar_path(store).exists()


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_file_is_one_sentence(case, store, tmp_path, capsys):
    name, content, *expected = BAD[case]
    refused(store, given(tmp_path, name, content), capsys, *expected)


def test_paths_that_hold_no_file(store, tmp_path, capsys):
    (tmp_path / "folder.csv").mkdir()
    refused(store, tmp_path / "folder.csv", capsys, "Is a directory")
    file = given(tmp_path, "file.csv", CSV)
    refused(store, file / "within.csv", capsys, "cannot be read")
    refused(store, tmp_path / f"{'x' * 300}.csv", capsys, "cannot be read")


def test_a_file_that_may_not_be_read(store, tmp_path, capsys, monkeypatch):
    """The system's own answer, for any user (root may read anything)."""
    file, opened = given(tmp_path, "mine.csv", CSV), Path.open

    def denied(path, *arguments, **options):
        if path == file:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", denied)
    refused(store, file, capsys, "Permission denied")


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.csv", CSV + "x" * 300), ("x.json", json.dumps([ONE] * 20, indent=1)), ("x.csv", CSV.encode("utf-16") * 9)],
)
def test_what_would_not_fit_into_memory_is_refused(name, content, store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(label_files, "MAX_AT_ONCE", 200)
    refused(store, given(tmp_path, name, content), capsys, "more than 200")
