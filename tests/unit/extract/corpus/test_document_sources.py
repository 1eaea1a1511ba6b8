"""Folders, patterns and saved datasets: which files they stand for, what these are called, what the manifest says."""

import hashlib
import json
import shutil

import datasets
import pytest

from extract.config_sections import SourceConfig
from extract.corpus import document_sources
from extract.corpus.document_sources import find_sources
from extract.corpus.records import read_corpus
from store.errors import UserError
from tests.support.data_formats import FILES, write_all
from tests.support.world import write_jsonl


def source(place, **settings) -> SourceConfig:
    return SourceConfig(path=str(place), **{"domain": "d", **settings})


def refused(place, said, **settings):
    with pytest.raises(UserError) as found:
        read_corpus([source(place, **settings)])
    assert said in str(found.value) and str(found.value).isprintable(), found.value


@pytest.fixture
def folder(tmp_path):
    """Two files of records, in two folders; three texts; what is no data."""
    place = tmp_path / "mine"
    for inner in ("b/part", ".git", "__pycache__"):
        (place / inner).mkdir(parents=True)
    write_jsonl(place / "b" / "train.jsonl", [{"text": "one"}])
    write_jsonl(place / "b" / "part" / "train.jsonl", [{"text": "two"}])
    for name in ("a.txt", "b/c.md", "b/part/a.txt"):
        (place / name).write_text(f"The text of {name}.")
    for name in ("README.md", "LICENSE.txt", "picture.png", "dataset_info.json", ".hidden.jsonl", ".git/x.json"):
        (place / name).write_text("{}")
    return place


def test_a_folder_is_its_files_each_a_source_and_its_texts_one(folder):
    corpus = read_corpus([source(folder)])
    assert [reading.name for reading in corpus.readings] == ["part/train.jsonl", "b/train.jsonl", "mine"]
    assert [(record.source, record.fields["text"]) for record in corpus.records] == [
        ("part/train.jsonl:1", "two"), ("b/train.jsonl:1", "one"), ("mine/a.txt", "The text of a.txt."),
        ("c.md", "The text of b/c.md."), ("part/a.txt", "The text of b/part/a.txt."),
    ]  # fmt: skip
    assert corpus.notes == [
        "Of 'mine' 4 files are not read: 'LICENSE.txt', 'README.md', 'dataset_info.json', 'picture.png'."
    ]
    assert corpus.readings[2].line() == "mine: read as text, 3 documents (each a file; 'paragraphs: true' would split it)"
    assert [record.file for record in corpus.records] == ["part/train.jsonl", "b/train.jsonl", *["mine"] * 3]


def test_the_manifest_has_the_hash_of_each_file_and_of_texts_that_of_their_list(folder):
    """As `sha256sum` prints it."""
    described = [reading.describe() for reading in read_corpus([source(folder, licence="CC0 1.0")]).readings]
    one = hashlib.sha256((folder / "b" / "train.jsonl").read_bytes()).hexdigest()
    assert described[1] == {
        "file": "b/train.jsonl", "sha256": one, "limit": None, "domain": "d", "text_field": "text", "licence": "CC0 1.0",
        "format": "text",
    }  # fmt: skip
    files = {"mine/a.txt": "a.txt", "c.md": "b/c.md", "part/a.txt": "b/part/a.txt"}
    listed = "".join(f"{hashlib.sha256((folder / file).read_bytes()).hexdigest()}  {name}\n" for name, file in files.items())
    assert described[2]["sha256"] == hashlib.sha256(listed.encode()).hexdigest() and described[2]["files"] == 3


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("mine/*/train.jsonl", ["train.jsonl"]), ("mine/**/train.jsonl", ["part/train.jsonl", "b/train.jsonl"]),
        ("mine/**/*.txt", ["*.txt"]), ("mi[nm]e/b/*", ["train.jsonl", "*"]),
    ],
)  # fmt: skip
def test_a_pattern_stands_for_the_files_that_it_fits(folder, pattern, names):
    assert [found.name for found in find_sources([source(folder.parent / pattern)])] == names


def test_a_file_whose_name_is_a_pattern_is_a_file(tmp_path):
    write_jsonl(tmp_path / "[a].jsonl", [{"text": "x"}])
    assert [found.name for found in find_sources([source(tmp_path / "[a].jsonl")])] == ["[a].jsonl"]


def test_a_limit_is_of_each_file_and_of_the_texts_together(folder):
    write_jsonl(folder / "b" / "train.jsonl", [{"text": str(i)} for i in range(5)])
    readings = read_corpus([source(folder, limit=2)]).readings
    assert [sum(reading.formats.values()) for reading in readings] == [1, 2, 2]


def test_folders_with_a_file_of_one_name(tmp_path):
    for name in ("maths", "code"):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "train.jsonl", [{"text": name}])
    found = read_corpus([source(tmp_path / "maths"), source(tmp_path / "code" / "train.jsonl")])
    assert [record.source for record in found.records] == ["maths/train.jsonl:1", "code/train.jsonl:1"]


def test_a_folder_of_every_kind_of_file(tmp_path):
    write_all(tmp_path / "all")
    corpus = read_corpus([source(tmp_path / "all")])
    assert len(corpus.readings) == len(FILES) and {reading.format for reading in corpus.readings} == {"Alpaca"}


def test_what_is_not_there(folder, tmp_path, monkeypatch):
    refused(tmp_path / "none.jsonl", "There is no corpus file at")
    refused(tmp_path / "*.jsonl", "There is no corpus file like")
    refused(tmp_path / "**x" / "a.jsonl", "is no pattern")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no file that can be read (.jsonl, .ndjson, .json, .csv")
    monkeypatch.setattr(document_sources, "MOST_FILES", 1)
    refused(folder, "has 2 files of records and 3 texts, and at most 1 and")
    refused("x" * 5000, "cannot be read")


@pytest.mark.parametrize("link", ["train.jsonl", "inner/train.jsonl"])
def test_a_link_out_of_a_folder_is_refused(tmp_path, link):
    write_jsonl(tmp_path / "secret.jsonl", [{"text": "secret"}])
    place = tmp_path / "set" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "secret.jsonl")
    refused(tmp_path / "set", "leads out of")
    place.unlink()
    write_jsonl(tmp_path / "set" / "own.jsonl", [{"text": "own"}])
    place.symlink_to(tmp_path / "set" / "own.jsonl")
    assert len(read_corpus([source(tmp_path / "set")]).records) == 2


# ---- what save_to_disk wrote ----


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A dataset of one split, in two files; and one of two splits."""
    place = tmp_path_factory.mktemp("saved")
    train = datasets.Dataset.from_list([{"question": f"q{i}", "answer": f"a{i}", "domain": "x"} for i in range(5)])
    train.save_to_disk(place / "one", num_shards=2)
    test = datasets.Dataset.from_list([{"question": "q", "answer": "b"}])
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(place / "two")
    return place


@pytest.mark.parametrize("field", ["path", "dataset"])
def test_a_saved_dataset_is_read(saved, field):
    one, test = (
        read_corpus([SourceConfig(**{field: str(saved / name)}, domain="d", **settings)])
        for name, settings in (("one", {"limit": 4}), ("two", {"split": "test"}))
    )
    assert [record.fields["response"] for record in one.records] == ["a0", "a1", "a2", "a3"]
    assert [record.source for record in one.records] == [f"one:train:{i}" for i in range(4)]
    assert one.readings[0].line() == "one: read as question and answer, 4 conversations"
    assert [(record.source, record.fields["response"]) for record in test.records] == [("two:test:0", "b")]
    described = test.readings[0].describe()
    (file,) = (saved / "two" / "test").glob("*.arrow")
    assert described["file" if field == "path" else "dataset"] == "two" and described["split"] == "test"
    assert described["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert one.readings[0].describe()["files"] == 2


def test_a_saved_dataset_is_its_own_files(saved, tmp_path):
    refused(saved / "two", "has no split 'validation'; choose from 'train', 'test'", split="validation")
    copy = tmp_path / "copy"
    shutil.copytree(saved / "one", copy)
    state = json.loads((copy / "state.json").read_text())
    for name in ("../secret.arrow", "/etc/passwd", "..", "", 5, "a\\b", None):
        (copy / "state.json").write_text(json.dumps({**state, "_data_files": [{"filename": name}]}))
        refused(copy, "may only hold files of its own")
    (copy / "state.json").write_text(json.dumps({**state, "_data_files": [{"filename": "gone.arrow"}]}))
    refused(copy, "has no file 'gone.arrow'")
    for content, said in (("[", "damaged"), ("[]", "damaged"), ("{}", "names no files"), ("[" * 100_000, "damaged")):
        (copy / "state.json").write_text(content)
        refused(copy, said)
    (copy / "link.arrow").symlink_to(next((saved / "one").glob("*.arrow")))
    (copy / "state.json").write_text(json.dumps({**state, "_data_files": [{"filename": "link.arrow"}]}))
    refused(copy, "may only hold files of its own")
