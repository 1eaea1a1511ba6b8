"""Raw documents: what files and datasets may be, what they are called, and what is refused in a sentence.

Long because each kind of file that people bring is a few lines of its own.
"""

import gzip
import json
import re
import zipfile
from pathlib import Path

import pytest

from extract.config import RunConfig
from extract.config_sections import SourceConfig
from extract.corpus import unpacking
from extract.corpus.answers import read_answers
from extract.corpus.document_sources import find_sources
from extract.corpus.records import check_domains, first_records, read_corpus, read_records
from store.errors import UserError
from tests.support.world import write_jsonl


def read(path: Path, **settings):
    return read_records([SourceConfig(path=str(path), **{"domain": "d", **settings})])


def source_names(sources) -> list[str]:
    return [source.name for source in find_sources(sources)]


def describe_sources(sources) -> list[dict]:
    return [source.describe() for source in find_sources(sources)]


def refused(step, *pieces: str) -> None:
    """It ends in one sentence that holds every piece."""
    with pytest.raises(UserError) as found:
        step()
    sentence = str(found.value)
    assert sentence.isprintable() and sentence.endswith(".")
    for piece in pieces:
        assert piece in sentence, sentence


# ---- what a file may be ----

LINES = b'{"text": "one"}\n{"text": "two", "n": NaN}\n'


@pytest.mark.parametrize(
    "content",
    [LINES, b"\xef\xbb\xbf" + LINES, LINES.replace(b"\n", b"\r\n"), b"\n \n" + LINES + b"\n\n", LINES.rstrip(b"\n")],
    ids=["plain", "byte-order mark", "CRLF", "blank lines", "no last line end"],
)
def test_jsonl_as_it_is_written_anywhere(tmp_path, content):
    path = tmp_path / "docs.jsonl"
    path.write_bytes(content)
    assert [record.fields["text"] for record in read(path)] == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "one"}'.encode("utf-16-le"), "UTF-16 or UTF-32 text without a byte-order mark"),
        ('{"text": ""}'.encode("utf-16-be"), "UTF-16 or UTF-32"), ('{"text": "one"}'.encode("utf-32-le"), "UTF-16 or UTF-32"),
        ('{"text": "é"}'.encode("latin-1"), "line 1"), ('{"text": "one"}'.encode("utf-32-be"), "UTF-16 or UTF-32"),
        (b"%PDF-1.7", "a PDF; save it as text"), (b'{\n "text": "one"\n}', "write one JSON object a line"),
        (b"\x28\xb5\x2f\xfd\x04", "line 1"), (gzip.compress(LINES, mtime=0)[:-9], "line"),
        (b"PK\x03\x04", "a zip archive"),
        (b'{"text": "one", "text": "two"}', "the name 'text' is given twice"), (b'"one"', "not a JSON object"),
        (b"text,domain\none,x\n", "write one JSON object a line"), (b"BZh91AY&SY", "line 1"), (b"\xfd7zXZ\0", "line 1"),
        (b'{"text": "\\ud83d"}', "line 1"), (b'{"n": 1' + b"0" * 5000 + b"}", "line 1"), (b'{"a":' * 20000, "line 1"),
    ],
)  # fmt: skip
def test_what_is_not_jsonl_is_named(tmp_path, content, said):
    path = tmp_path / "docs.jsonl"
    path.write_bytes(content)
    refused(lambda: read(path), said, "docs.jsonl", "line")


def test_a_file_of_answers_is_read_the_same_way(tmp_path):
    path = tmp_path / "answers.jsonl"
    line = json.dumps({"task": "t", "prompt": "p", "answers": {"base": {"text": "x"}}}).encode()
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n")
    assert read_answers(path, ["base"])["answer"].tolist() == ["x"]
    path.write_bytes(b"[" + line + b"]")
    refused(lambda: read_answers(path, ["base"]), "file of answers", "JSON array")


def test_a_file_that_unpacks_to_very_much(tmp_path, monkeypatch):
    """As one line, as many, as blank ones; what merely repeats itself is read."""
    monkeypatch.setattr(unpacking, "MAX_LINE_BYTES", 10_000)
    monkeypatch.setattr(unpacking, "BELIEVED_BYTES", 100_000)
    path = tmp_path / "docs.jsonl.gz"
    for content, said in (
        (b'{"text": "' + b"a" * 20_000 + b'"}', "line 1, cannot be read: it is longer than"),
        (b'{"text": "a"}\n' * 400_000, "more than 200 times its size"), (b"\n" * 4_000_000, "more than 200 times its size"),
    ):  # fmt: skip
        path.write_bytes(gzip.compress(content))
        refused(lambda: read(path), said, "docs.jsonl.gz")
    path.write_bytes(gzip.compress(b'{"text": "a"}\n' * 5_000))
    assert len(read(path)) == 5_000


# ---- ids ----


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    paths = [tmp_path / folder / "train.jsonl" for folder in ("maths/a", "code/a", "code")] + [tmp_path / "other.jsonl"]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(path, [{"text": str(path)}])
    sources = [SourceConfig(path=str(path), domain="d") for path in paths]
    assert source_names(sources) == ["maths/a/train.jsonl", "code/a/train.jsonl", "code/train.jsonl", "other.jsonl"]
    assert [record.source for record in read_records(sources)] == [f"{name}:1" for name in source_names(sources)]
    assert [found["file"] for found in describe_sources(sources)] == source_names(sources)
    assert [record.source for record in read_records(sources[:1])] == ["train.jsonl:1"]  # alone it is called as ever


def test_a_licence_is_carried_into_the_manifest_where_one_is_given(tmp_path):
    path = write_jsonl(tmp_path / "docs.jsonl", [{"text": "a"}])
    sources = [SourceConfig(path=str(path), domain="d", licence=licence) for licence in ("CC0 1.0", None)]
    named, unnamed = describe_sources(sources)
    assert named == unnamed | {"licence": "CC0 1.0"} and "licence" not in unnamed


def test_folders_of_one_name_are_told_apart(tmp_path):
    for parent in ("a", "b"):
        (tmp_path / parent / "chats").mkdir(parents=True)
        write_jsonl(tmp_path / parent / "chats" / "train.jsonl", [{"text": parent}])
    sources = [SourceConfig(dataset=str(tmp_path / parent / "chats"), domain="d") for parent in ("a", "b")]
    assert [record.source for record in read_records(sources)] == ["a/chats:train:0", "b/chats:train:0"]


def test_a_source_that_is_a_category(tmp_path):
    """Obviously no id: numbered, and said; where the field was named by hand it is refused, with the remedy."""
    path = write_jsonl(tmp_path / "docs.jsonl", [{"text": f"text {i}", "source": "wikipedia", "id": f"w{i}"} for i in range(3)])
    corpus = read_corpus([SourceConfig(path=str(path), domain="d")])
    assert [record.source for record in corpus.records] == [f"docs.jsonl:{i}" for i in (1, 2, 3)]
    assert corpus.readings[0].notes == [
        "The field 'source' of docs.jsonl is a category and no id (1 values in 3 records): its documents are numbered instead."
    ]
    refused(lambda: read(path, source_field="source"), "source id 'wikipedia'", "line 1", "line 2", "source_field")
    assert [record.source for record in read(path, source_field=None)] == [f"docs.jsonl:{i}" for i in (1, 2, 3)]
    assert [record.source for record in read(path, source_field="id")] == ["w0", "w1", "w2"]


def test_an_id_that_is_given_twice_by_mistake_is_refused(tmp_path):
    """Three ids in four records are ids."""
    path = write_jsonl(tmp_path / "docs.jsonl", [{"text": f"text {i}", "source": name} for i, name in enumerate("abca")])
    refused(lambda: read(path), "source id 'a'", "line 1", "line 4")


def test_the_same_file_twice(tmp_path):
    path = write_jsonl(tmp_path / "docs.jsonl", [{"text": "x"}])
    twice = [SourceConfig(path=str(path), domain=domain) for domain in ("a", "b")]
    refused(lambda: read_records(twice), "source id 'docs.jsonl:1'")


def test_the_first_records_of_each_source(tmp_path):
    sources = [
        SourceConfig(path=str(write_jsonl(tmp_path / f"{name}.jsonl", [{"text": f"{name}{i}"} for i in range(5)])), domain="d")
        for name in "ab"
    ]
    assert [record.fields["text"] for record in first_records(read_records(sources), 2)] == ["a0", "a1", "b0", "b1"]


# ---- fields ----


def test_a_named_text_field_is_what_is_read(tmp_path):
    path = write_jsonl(tmp_path / "docs.jsonl", [{"body": "this", "text": "not this", "prompt": "nor", "response": "that"}])
    (record,) = read(path, text_field="body")
    assert record.fields == {"text": "this"}
    refused(lambda: read(path, text_field="boddy"), "no field 'boddy' (text_field), but one called 'text'")


# ---- domains ----


def config(**changes) -> RunConfig:
    given = {"base": "b", "variants": {"v": {"adapter": "a", "task": changes.pop("task", [])}}, "saes": [{"path": "s"}]}
    return RunConfig.model_validate({**given, "corpus": [{"path": "p", "domain": "d"}], **changes})


@pytest.mark.parametrize("domain", ["General Knowledge", "Mathé matique", "数学", "A/B: 'c' \"d\"", "-", "ALL", "base"])
def test_a_domain_that_a_record_may_carry_may_be_named(tmp_path, domain):
    path = write_jsonl(tmp_path / "docs.jsonl", [{"text": "x", "domain": domain}])
    records = read_records([SourceConfig(path=str(path))])
    assert [record.domain for record in records] == [domain]
    assert [record.domain for record in read(write_jsonl(path, [{"text": "x"}]), domain=domain)] == [domain]
    check_domains(config(neutral_domains=[domain], task=[domain]), records)


@pytest.mark.parametrize("domain", ["", " ", "a\nb", "\u200b", "all", "x" * 101, ["a"], {"a": 1}])
def test_what_is_no_domain(tmp_path, domain):
    path = write_jsonl(tmp_path / "docs.jsonl", [{"text": "x", "domain": domain}])
    refused(lambda: read_records([SourceConfig(path=str(path))]), "line 1", "domain")
    with pytest.raises(ValueError, match=r"domain|string"):
        config(neutral_domains=[domain])


def test_a_domain_that_is_a_number_from_0(tmp_path):
    path = write_jsonl(tmp_path / "c.jsonl", [{"text": f"t{n}", "domain": domain} for n, domain in enumerate((0, 1, None, ""))])
    assert [record.domain for record in read(path)] == ["0", "1", "d", "d"]


@pytest.mark.parametrize("pair", [("maths", "maths "), ("caf\u00e9", "cafe\u0301"), ("a b", "a  b")])
def test_domains_that_look_the_same(tmp_path, pair):
    path = write_jsonl(tmp_path / "docs.jsonl", [{"text": domain, "domain": domain} for domain in pair])
    refused(lambda: read_records([SourceConfig(path=str(path))]), "look the same", *(ascii(domain) for domain in pair))


def test_a_domain_that_no_document_has_is_shown_as_it_is_written(tmp_path):
    path = write_jsonl(tmp_path / "docs.jsonl", [{"text": "x", "domain": "maths "}])
    records = read_records([SourceConfig(path=str(path))])
    refused(lambda: check_domains(config(task=["maths"]), records), "'maths', which", "choose from 'maths '")


# ---- datasets ----


def dataset(folder: Path, readme: str = "", **files: str) -> Path:
    """A dataset folder: its description, and files by name without '.jsonl', each of one text."""
    folder.mkdir(parents=True, exist_ok=True)
    if readme:
        (folder / "README.md").write_text(f"---\n{readme}---\n# A dataset\n", encoding="utf-8")
    for name, text in files.items():
        write_jsonl(folder / f"{name}.jsonl", [{"text": text}])
    return folder


TWO = "configs:\n- {config_name: main, data_files: main.jsonl}\n- {config_name: socratic, data_files: socratic.jsonl}\n"


def rows(folder: Path, **settings):
    return read_records([SourceConfig(dataset=str(folder), **{"domain": "d", **settings})])


def test_a_dataset_with_several_configurations(tmp_path):
    folder = dataset(tmp_path / "gsm8k", TWO, main="one", socratic="two")
    refused(lambda: rows(folder), "'main', 'socratic'", "'config'")
    refused(lambda: rows(folder, config="other"), "main", "socratic")
    (record,) = rows(folder, config="socratic")
    assert (record.fields["text"], record.source) == ("two", "gsm8k/socratic:train:0")
    both = [SourceConfig(dataset=str(folder), config=name, domain="d") for name in ("main", "socratic")]
    assert [record.source for record in read_records(both)] == ["gsm8k/main:train:0", "gsm8k/socratic:train:0"]


def test_a_split_that_is_not_there(tmp_path):
    refused(lambda: rows(dataset(tmp_path / "set", train="x"), split="test"), "test", "train")


ELSEWHERE = ("{outside}/secret.jsonl", "../outside/secret.jsonl", "data/../../outside/*.jsonl", "~/secret.jsonl",
             "file://{outside}/secret.jsonl", "http://127.0.0.1:9/x.jsonl", "zip://x.jsonl::{outside}/x.zip",
             "C:/secret.jsonl", "..\\outside\\secret.jsonl")  # fmt: skip


@pytest.mark.parametrize("place", ELSEWHERE)
@pytest.mark.parametrize(
    "form", ["data_files: '{}'", "data_files: ['*.jsonl', '{}']", "data_files: [{{split: train, path: ['{}']}}]"]
)
def test_a_dataset_folder_stays_inside_itself(tmp_path, place, form):
    """Whatever its description names: an address, an absolute path, one that climbs out."""
    dataset(tmp_path / "outside", secret="secret")
    place = place.format(outside=tmp_path / "outside")
    folder = dataset(tmp_path / "set", f"configs:\n- {{config_name: default, {form.format(place)}}}\n", own="own")
    refused(lambda: rows(folder), "README.md", "only hold files of its own")
    (folder / "README.md").rename(folder / ".huggingface.yaml")
    text = (folder / ".huggingface.yaml").read_text().split("---\n")[1]
    (folder / ".huggingface.yaml").write_text(text)
    refused(lambda: rows(folder), ".huggingface.yaml", "only hold files of its own")


@pytest.mark.parametrize("link", ["train.jsonl", "data/train.jsonl", "data"])
def test_links_out_of_a_dataset_folder(tmp_path, link):
    outside = dataset(tmp_path / "outside", train="secret")
    place = dataset(tmp_path / "set") / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(outside if link == "data" else outside / "train.jsonl")
    refused(lambda: rows(tmp_path / "set"))


def test_files_and_links_inside_a_dataset_folder_are_read(tmp_path):
    """Also a snapshot of the hub's cache, whose files are links to what lies beside it."""
    folder = dataset(tmp_path / "set", "configs:\n- {config_name: default, data_files: 'data/*.jsonl'}\n")
    dataset(folder / "data", a="one")
    (folder / "data" / "b.jsonl").symlink_to("a.jsonl")
    assert [record.fields["text"] for record in rows(folder)] == ["one", "one"]
    snapshot = dataset(tmp_path / "hub" / "datasets--x--y" / "snapshots" / "0123")
    blobs = dataset(tmp_path / "hub" / "datasets--x--y" / "blobs", abc="two")
    (snapshot / "train.jsonl").symlink_to("../../blobs/abc.jsonl")
    assert [record.fields["text"] for record in rows(snapshot)] == ["two"]
    assert blobs.is_dir()


def test_a_script_and_other_kinds_of_files_are_refused(tmp_path):
    folder = dataset(tmp_path / "scripted")
    (folder / "scripted.py").write_text("print('run')")
    refused(lambda: rows(folder), "scripts are no longer supported")
    folder = dataset(tmp_path / "hdf")
    (folder / "train.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    refused(lambda: rows(folder), "'hdf5'", "json")
    folder = dataset(tmp_path / "broken", "configs: [")
    refused(lambda: rows(folder), "could not be read")


def test_a_compressed_file_of_a_dataset_that_unpacks_to_very_much(tmp_path, monkeypatch):
    from extract.corpus import dataset_rows

    monkeypatch.setattr(dataset_rows, "BELIEVED_BYTES", 100_000)
    folder = dataset(tmp_path / "set")
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(b'{"text": "' + b"a" * 4_000_000 + b'"}\n'))
    refused(lambda: rows(folder), "train.jsonl.gz", "more than 200 times its size")
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n'))
    assert len(rows(folder)) == 1
    (folder / "train.jsonl.gz").unlink()
    with zipfile.ZipFile(folder / "train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.jsonl", b'{"text": "' + b"a" * 4_000_000 + b'"}\n')
    refused(lambda: rows(folder), "train.zip")


def test_config_belongs_to_a_dataset():
    with pytest.raises(ValueError, match=re.escape("config belongs to a dataset")):
        SourceConfig(path="x.jsonl", config="main")


def test_a_source_id_that_no_store_keeps(tmp_path):
    """Long ones would be refused when the finished store is opened."""
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "source": "s" * 1_000}])
    assert len(read_records([SourceConfig(path=str(path), domain="x")])) == 1
    write_jsonl(path, [{"text": "x", "source": "s" * 1_001}])
    with pytest.raises(UserError, match=r"line 1 has a source id of 1,001 characters.*source_field"):
        read_records([SourceConfig(path=str(path), domain="x")])


# ---- clusters ----


@pytest.mark.parametrize(
    ("fields", "settings", "cluster"),
    [
        ({"cluster": "work"}, {}, "work"), ({"cluster": 0}, {}, "0"), ({}, {}, "a/b/3"), ({"cluster": None}, {}, "a/b/3"),
        ({"cluster": ""}, {"cluster_by_source": True}, "a/b"), ({"cluster": "work"}, {"cluster_by_source": True}, "work"),
        ({"cluster": "work"}, {"cluster_field": None}, "a/b/3"), ({"book": "work"}, {"cluster_field": "book"}, "work"),
        ({"source": "alone"}, {"cluster_by_source": True}, "alone"), ({"source": "/1"}, {"cluster_by_source": True}, "/1"),
        ({"body": "x", "cluster": "work"}, {"text_field": "body"}, "work"),
    ],
)  # fmt: skip
def test_what_a_record_was_made_from(tmp_path, fields, settings, cluster):
    """What it names, else its id up to the last '/' where the source says so, else its id."""
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "source": "a/b/3"} | fields])
    (record,) = read(path, **settings)
    assert record.cluster == cluster


@pytest.mark.parametrize("cluster", [["a"], {"a": 1}, [], "c" * 1_001])
def test_what_is_no_cluster(tmp_path, cluster):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "cluster": cluster}])
    refused(lambda: read(path), "line 1 has in the field 'cluster' no name of a cluster", "as cluster_field")
    assert len(read(path, cluster_field=None)) == 1


def test_the_manifest_names_where_clusters_come_from_where_that_is_not_the_default(tmp_path):
    path = str(write_jsonl(tmp_path / "docs.jsonl", [{"text": "a"}]))
    plain, named = describe_sources(
        [SourceConfig(path=path, domain="d"), SourceConfig(path=path, domain="d", cluster_field="book", cluster_by_source=True)]
    )
    assert named == plain | {"cluster_field": "book", "cluster_by_source": True}
    assert not {"cluster_field", "cluster_by_source"} & set(plain)
