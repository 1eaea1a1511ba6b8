"""Imported labels: from a file into the sidecar, where they stand in place of automatic ones."""

import gzip
import json
import shutil
import sqlite3
import unicodedata

import pytest

from extract.__main__ import main
from store import UserError, open_store, verify
from store.sidecar.entries import Label, read_labels, sidecar_path, write_labels
from tests.support.tiny_store import HOSTILE

CSV = "layer,feature,label\n5,1,little words\n12,0,adding up\n"


def imported(own, tmp_path, text, name="labels.csv"):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return main(["labels", str(own), str(file)])


def names(store, layer):
    return store.sql("SELECT label, label_source FROM features WHERE layer = ? ORDER BY feature", [layer]).values.tolist()


def test_imported_labels_stand_in_place_of_automatic_ones(own, tmp_path, capsys):
    before = (own / "statistics.duckdb").read_bytes()
    assert imported(own, tmp_path, CSV) == 0
    assert "2 labels of 'labels.csv' imported into tiny.sidecar.sqlite" in capsys.readouterr().out
    with open_store(own) as store:
        assert names(store, 5)[:2] == [["sums", "automatic"], ["little words", "imported from labels.csv"]]
        assert names(store, 12)[0] == ["adding up", "imported from labels.csv"]
        assert store.shifted_features("maths", layer=5)["label"].tolist()[0] == "little words"
        assert store.shifted_features("maths", search="LITTLE")[["layer", "feature"]].values.tolist() == [[5, 1]]
        assert store.count_features("maths", search="small words")["count"].sum() == 1  # layer 12 has its own still
        assert store.shifted_features("maths", sort="label", descending=False)["label"].tolist()[0] == f"{HOSTILE} label"
        assert store.neighbours(5, 1, "maths", search="little")["total"].tolist() == [1]
        row = store.feature(5, 1).iloc[0]
        assert (row["label"], row["label_source"]) == ("little words", "imported from labels.csv")
        assert row["promoted_tokens"].tolist() and store.n_labels == 2
        assert len(store.sql("SELECT * FROM features")) == 12
    assert (own / "statistics.duckdb").read_bytes() == before
    assert verify(own) == []
    assert main(["info", str(own)]) == 0
    assert "2 imported" in capsys.readouterr().out


def test_a_label_is_found_however_its_accents_are_written(own, tmp_path):
    """Composed or apart, in the label and in the search; every other character stands for itself."""
    apart = unicodedata.normalize("NFD", "naïve")
    imported(own, tmp_path, f"layer,feature,label\n5,1,naïve %\n12,0,{apart} _\n")
    with open_store(own) as store:
        for search in ("naïve", apart, "NAÏVE"):
            assert store.count_features("maths", search=search)["count"].sum() == 2
        assert store.count_features("maths", search="naive")["count"].sum() == 0
        assert store.count_features("maths", search="%")["count"].sum() == 1


def test_every_thread_sees_them(own, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    imported(own, tmp_path, CSV)
    with open_store(own) as store, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _i: names(store, 12)[0][0], range(64)))
    assert set(found) == {"adding up"}


def test_a_later_import_replaces_only_what_it_names(own, tmp_path):
    imported(own, tmp_path, CSV)
    with open_store(own) as store:
        first = store.content
    assert imported(own, tmp_path, "feature,label,layer,note\n1,tiny words,5,x\n", "second.csv") == 0
    with open_store(own) as store:
        assert [names(store, 5)[1][0], names(store, 12)[0][0]] == ["tiny words", "adding up"]
        assert store.content != first != store.manifest.digest


def test_another_store_at_the_same_place_does_not_see_them(own, tmp_path):
    imported(own, tmp_path, CSV)
    assert len(read_labels(own, "another digest")) == 0


def test_publishing_takes_them_along(own, tmp_path):
    imported(own, tmp_path, CSV)
    assert main(["publish", str(own), "--out", str(tmp_path / "copy")]) == 0
    with open_store(tmp_path / "copy") as copy:
        assert names(copy, 12)[0] == ["adding up", "imported from labels.csv"]
        assert copy.n_labels == 0 and "Labels: 2 imported ones are part of this copy." in copy.manifest.notes
    assert verify(tmp_path / "copy") == []


def test_labels_are_kept_as_text_on_one_line(own, tmp_path):
    assert imported(own, tmp_path, f'layer,feature,label\n5,0,"{HOSTILE}\n\x1b[31mred"\n') == 0
    with open_store(own) as store:
        assert names(store, 5)[0][0] == f"{HOSTILE} [31mred"


def explanation(**changes):
    """A line of Neuronpedia's export."""
    entry = {"id": "c1", "modelId": "gemma-3-270m", "layer": "12-tiny-res-4", "index": "2", "description": "refusals",
             "authorId": "a", "typeName": "oai_token-act-pair", "explanationModelName": "gpt-4o-mini"}  # fmt: skip
    return json.dumps({**entry, **changes}) + "\n"


def test_neuronpedias_export(own, tmp_path, capsys):
    """Several explanations of one feature: the first is kept."""
    file = tmp_path / "batch-0.jsonl.gz"
    lines = explanation() + "\n" + explanation(description="saying no") + explanation(index=3, description="rain")
    file.write_bytes(gzip.compress(lines.encode()))
    assert main(["labels", str(own), str(file)]) == 0
    assert "1 further explanations of the same features were left out" in capsys.readouterr().out
    with open_store(own) as store:
        assert [row[0] for row in names(store, 12)[2:4]] == ["refusals", "rain"]
        assert names(store, 12)[2][1] == "imported from Neuronpedia, by gpt-4o-mini"


BAD = {
    "unknown layer": ("5,0,a\n7,0,x\n", "line 3", "no layer 7", "5, 12"),
    "unknown feature": ("5,6,x\n", "line 2", "no feature 6", "0 to 5"),
    "negative": ("5,-1,x\n", "line 2", "no feature -1"),
    "empty": ("5,0,a\n12,0,  \n", "line 3", "empty"),
    "only control characters": ("5,0,\x07\n", "line 2", "empty"),
    "no number": ("5,one,x\n", "line 2", "feature must be a whole number, not 'one'"),
    "too few fields": ("5,0\n", "line 2", "fewer fields"),
    "too many fields": ("5,0,a,b\n", "line 2", "more fields"),
    "an open quote": ('5,0,"a\n', "line 2", "not CSV"),
    "twice": ("5,0,a\n5,0,b\n", "line 3", "a second time"),
    "very long": (f"5,0,{'x' * 3000}\n", "line 2", "3,000 characters"),
}


def refused(arguments, capsys, *expected):
    capsys.readouterr()
    assert main(arguments) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(error) == 1
    for piece in expected:
        assert piece in error[0]


@pytest.mark.parametrize("case", BAD)
def test_bad_lines_are_named_and_nothing_is_imported(case, tiny_store, tmp_path, capsys):
    lines, *expected = BAD[case]
    file = tmp_path / "bad.csv"
    file.write_text(f"layer,feature,label\n{lines}", encoding="utf-8")
    refused(["labels", str(tiny_store), str(file)], capsys, "bad.csv", *expected)
    assert not sidecar_path(tiny_store).exists()


BAD_JSON = {
    "no JSON": (explanation() + "{broken\n", "line 2", "not JSON"),
    "no object": ("[1]\n", "line 1", "expected an object"),
    "no description": (explanation(description=None), "line 1", "'description' is missing"),
    "empty": (explanation(description=" "), "line 1", "empty"),
    "unknown layer": (explanation(layer="3-tiny"), "line 1", "no layer 3"),
    "no layer": (explanation(layer="blocks"), "line 1", "layer must be a whole number"),
    "unknown feature": (explanation(index="99"), "line 1", "no feature 99"),
    "a truth": (explanation(index=True), "line 1", "index must be a whole number"),
    "too deep": ("[" * 100_000 + "\n", "line 1", "not JSON"),
    "nothing": ("", "holds no labels"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_exports_are_refused(case, tiny_store, tmp_path, capsys):
    lines, *expected = BAD_JSON[case]
    (tmp_path / "bad.jsonl").write_text(lines, encoding="utf-8")
    refused(["labels", str(tiny_store), str(tmp_path / "bad.jsonl")], capsys, "bad.jsonl", *expected)
    assert not sidecar_path(tiny_store).exists()


def test_labels_of_another_dictionary_are_refused(own, tmp_path, capsys, monkeypatch):
    """Where the store knows its dictionary's name on Neuronpedia, the file's must be the same."""
    from store.read.store import Store

    real = Store.dictionaries
    monkeypatch.setattr(Store, "dictionaries", lambda self: real(self).assign(neuronpedia="gemma-3-270m/12-other"))
    (tmp_path / "other.jsonl").write_text(explanation())
    refused(["labels", str(own), str(tmp_path / "other.jsonl")], capsys, "12-tiny-res-4", "gemma-3-270m/12-other")


def test_files_that_cannot_be_read(tiny_store, tmp_path, capsys):
    refused(["labels", str(tiny_store), str(tmp_path / "none.csv")], capsys, "none.csv", "there is no such file")
    (tmp_path / "labels.txt").write_text(CSV)
    refused(["labels", str(tiny_store), str(tmp_path / "labels.txt")], capsys, "neither .csv nor .jsonl")
    (tmp_path / "latin.csv").write_bytes("layer,feature,label\n5,0,Größe\n".encode("latin-1"))
    refused(["labels", str(tiny_store), str(tmp_path / "latin.csv")], capsys, "line 2", "not UTF-8")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(explanation().encode() * 50)[:-20])
    refused(["labels", str(tiny_store), str(tmp_path / "cut.jsonl.gz")], capsys, "cut.jsonl.gz", "cannot be read")
    (tmp_path / "columns.csv").write_text("layer,label\n5,x\n")
    refused(["labels", str(tiny_store), str(tmp_path / "columns.csv")], capsys, "feature is missing")
    refused(["labels", str(tmp_path / "nowhere"), str(tmp_path / "columns.csv")], capsys, "There is no store")
    assert not sidecar_path(tiny_store).exists()


# ---- the sidecar ----


def test_the_sidecar_is_in_wal_mode_and_leaves_no_files_about(own, tmp_path):
    path = write_labels(own, "d", [Label(1, 2, "x", "y")])
    assert path == tmp_path / "tiny.sidecar.sqlite"
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny", "tiny.sidecar.sqlite"]


def test_all_labels_or_none(own):
    write_labels(own, "d", [Label(1, 2, "x", "y")])
    with pytest.raises(UserError, match="NOT NULL"):
        write_labels(own, "d", [Label(1, 2, "changed", "y"), Label(1, 3, None, "y")])
    assert read_labels(own, "d").values.tolist() == [[1, 2, "x", "y"]]


def test_labels_can_be_read_while_others_are_written(own):
    path = write_labels(own, "d", [Label(1, 2, "x", "y")])
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE labels SET label = 'half done'")
    assert read_labels(own, "d")["label"].tolist() == ["x"]
    connection.execute("ROLLBACK")
    connection.close()


def test_labels_in_a_folder_that_cannot_be_written(own, monkeypatch):
    """SQLite's own answer there, whoever runs the test (root may write anywhere)."""
    write_labels(own, "d", [Label(1, 2, "x", "y")])
    real = sqlite3.connect

    def read_only(database, *arguments, **options):
        return real(f"{sidecar_path(own).resolve().as_uri()}?mode=ro", **{**options, "uri": True})

    monkeypatch.setattr(sqlite3, "connect", read_only)
    assert len(read_labels(own, "d")) == 1


def test_a_damaged_sidecar_is_said_in_a_sentence(own, capsys):
    sidecar_path(own).write_bytes(b"no database" * 1000)
    refused(["info", str(own)], capsys, "tiny.sidecar.sqlite", "not a database", "move it away")
    (problem,) = verify(own)
    assert "tiny.sidecar.sqlite" in problem


def test_a_sidecar_of_a_later_version_is_refused(own):
    path = write_labels(own, "d", [])
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(UserError, match="has version 9"):
        read_labels(own, "d")


def test_a_store_that_was_moved_with_its_sidecar(own, tmp_path):
    imported(own, tmp_path, CSV)
    (tmp_path / "there").mkdir()
    for path in (own, sidecar_path(own)):
        shutil.move(path, tmp_path / "there" / path.name)
    with open_store(tmp_path / "there" / "tiny") as store:
        assert store.n_labels == 2
