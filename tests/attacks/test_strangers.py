"""A store from a stranger: whatever it says of itself, it is looked at before it is read, and no page asks without bound.

Long because each way to forge a store is a few lines of its own.
"""

import contextlib
import json
import shutil
import time
from pathlib import Path

import duckdb
import h5py
import numpy as np
import pytest

from app import data
from extract.__main__ import main
from store import open_store, verify
from store.errors import UserError
from store.format import part_reading, trust
from store.format.codes import part_file
from store.format.manifest import DATABASE_FILE, MANIFEST_FILE
from store.format.part_reading import part_digest, read_feature
from store.read import bounded
from store.read.contents import remarks
from tests.support import ROOT, pages
from tests.support.forged import forge_part, forge_tables, rewrite_manifest

DEMO = ROOT / "store" / "demo"


@pytest.fixture
def own(tiny_store, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path / "store"))


def refused(store: Path, match: str) -> None:
    """At opening, in one sentence."""
    with pytest.raises(UserError, match=match) as error:
        open_store(store)
    assert "do not trust this copy" in str(error.value) and "\n" not in str(error.value)


# ---- the database ----


@pytest.mark.parametrize(
    ("statements", "match"),
    [
        (["CREATE SCHEMA more"], "holds a schema 'more'"),
        (["CREATE TABLE more (x INTEGER)"], "holds a table 'more'"),
        (["CREATE SEQUENCE more"], "holds a sequence 'more'"),
        (["CREATE TYPE more AS ENUM ('a')"], "holds a type 'more'"),
        (["CREATE MACRO more() AS 1"], "holds a function 'more'"),
        (["CREATE MACRO more() AS TABLE SELECT 1"], "holds a function 'more'"),
        (["CREATE VIEW more AS SELECT 1"], "holds a view 'more'"),
        (["CREATE INDEX more ON layers (layer)"], "holds a index 'more'"),
        (["ALTER TABLE features ADD COLUMN more INTEGER"], "'features' with other columns"),
        (["ALTER TABLE answers ALTER answer DROP NOT NULL"], "'answers' with other columns"),
        (["ALTER TABLE answers ALTER answer SET DEFAULT repeat('x', 1000)"], "'answers' with other columns"),
        (["ALTER TABLE contexts ALTER n_window TYPE BIGINT"], "'contexts' with other columns"),
        (["ALTER TABLE fit RENAME COLUMN gate TO door"], "'fit' with other columns"),
        (["DROP TABLE fit",
          "CREATE TABLE fit (variant VARCHAR NOT NULL, layer INTEGER NOT NULL, domain VARCHAR NOT NULL, fvu_base DOUBLE, "
          "fvu_variant DOUBLE, gate VARCHAR GENERATED ALWAYS AS (repeat('x', 1500000000)))"], "'fit' with other columns"),
        (["UPDATE contexts SET n_window = 2147483647"], "'n_window'.*2,147,483,647"),
        (["UPDATE contexts SET peak = -1"], "'peak'.*value -1"),
        (["UPDATE layers SET d_sae = 2147483647"], "'d_sae'.*2,147,483,647"),
        (["UPDATE layers SET d_model = 2000000000"], "'d_model'"),
        (["UPDATE documents SET n_tokens = 2000000000"], "n_tokens|tokens"),
        (["UPDATE feature_stats SET n11 = -5"], "'n11'.*value -5"),
        (["UPDATE tokens SET token_id = -1"], "'token_id'.*value -1"),
        (["UPDATE tokens SET document = 3"], "'document'.*value 3"),
        (["UPDATE features SET label = repeat('x', 60000)"], "'label'.*10,000 bytes"),
        (["UPDATE vocabulary SET token = repeat('x', 60000)"], "'token'"),
        (["UPDATE documents SET source = repeat('x', 60000)"], "'source'"),
        (["UPDATE documents SET domain = repeat('x', 60000)"], "'domain'"),
        (["UPDATE layers SET architecture = repeat('x', 60000)"], "'architecture'"),
        (["UPDATE fit SET gate = repeat('x', 60000)"], "'gate'"),
        (["UPDATE answers SET answer = repeat('x', 2000000)"], "'answer'"),
        (["UPDATE features SET promoted = range(1000000)"], "'promoted' .* 1,000,000 entries"),
        (["UPDATE contexts SET base_activations = range(1000000)"], "'base_activations' .* 1,000,000 entries"),
        (["UPDATE feature_stats SET verdict = 'guilty'"], "'verdict'.*'guilty'"),
        (["UPDATE feature_stats SET kind = 'odd'"], "'kind'.*'odd'"),
        (["UPDATE fit SET gate = 'ajar'"], "'gate'.*'ajar'"),
        (["UPDATE feature_stats SET shift = 'nan'"], "'shift'.*no number"),
        (["UPDATE feature_stats SET mean_base = 'inf'"], "'mean_base'.*no number"),
        (["UPDATE spectrum SET direction = ['nan'::FLOAT]"], "'direction.*no number"),
        (["DELETE FROM layers"], "'layers' is empty"),
        (["INSERT INTO layers SELECT l.* REPLACE (range AS layer) FROM layers l, range(20, 3000) WHERE l.layer = 5"],
         "'layers' has 2,982 rows"),
        (["INSERT INTO fit SELECT f.* FROM fit f, range(1000)"], "'fit' has .* more than there are keys"),
        (["INSERT INTO tokens SELECT t.* FROM tokens t, range(200000)"], "'tokens' has .* more than there are keys"),
        (["INSERT INTO vocabulary SELECT 5, 'x' FROM range(9000000)"], "rows in .* bytes"),
    ],
)  # fmt: skip
def test_a_forged_database_is_refused_at_opening(own, statements, match):
    """Its manifest vouches for it; nothing in it is read."""
    forge_tables(own, *statements)
    refused(own, match)


def test_rows_that_the_manifest_does_not_count(own):
    with duckdb.connect(str(own / DATABASE_FILE)) as connection:
        connection.execute("DELETE FROM fit")
    rewrite_manifest(own)
    refused(own, "'fit' has 0 rows, the manifest says")


def test_verify_finds_keys_that_repeat(own):
    """As many rows as keys, but one twice: opening does not look at each, verify does."""
    forge_tables(own, "UPDATE vocabulary SET token_id = 4 WHERE token_id = 5")
    open_store(own).close()
    assert any("vocabulary has 1 repeated keys" in problem for problem in verify(own))


@pytest.mark.parametrize("column", ["label", "neuronpedia"])
def test_a_column_without_any_text_is_sound(own, column):
    forge_tables(own, f"UPDATE {'features' if column == 'label' else 'layers'} SET {column} = NULL")
    open_store(own).close()


def test_the_app_says_so_in_place_of_every_page(own, monkeypatch):
    forge_tables(own, "UPDATE contexts SET n_window = 2147483647")
    monkeypatch.setenv(data.VARIABLE, str(own))
    app = pages.open_page("feature")
    assert not app.exception and len(app.error) == 1 and "do not trust this copy" in app.error[0].value


def test_the_shipped_store_is_sound_and_looked_at_fast():
    """A tenth of a second on a quiet machine, whatever the rows: nothing is scanned but a few short columns."""
    with open_store(DEMO) as store:
        began = time.perf_counter()
        facts = store.manifest.files[DATABASE_FILE]
        assert trust.first_fault(store.connection, store.manifest, facts["bytes"]) is None
        assert time.perf_counter() - began < 3
        limit, folder = store.sql("SELECT current_setting('memory_limit') AS m, current_setting('temp_directory') AS t").iloc[0]
        assert limit != duckdb.sql("SELECT current_setting('memory_limit')").fetchall()[0][0] and str(DEMO) not in folder


# ---- answers ----


def test_an_answer_that_multiplies_is_stopped(own, monkeypatch):
    monkeypatch.setattr(bounded, "MOST_ROWS", 500_000)
    with open_store(own) as store:
        assert len(store.sql("SELECT * FROM range(400000)")) == 400_000
        with pytest.raises(UserError, match="ask for less"):
            store.sql("SELECT a.range FROM range(100000) a, range(100000) b")


def test_a_question_that_goes_on_is_given_up(own):
    with open_store(own) as store:
        store.seconds = 0.5
        with pytest.raises(UserError, match=r"more than 0\.5 seconds"):
            store.sql("SELECT count(*) FROM range(100000000) a, range(1000000) b WHERE a.range % 7 = b.range % 11")
        assert store.sql("SELECT 1 AS x")["x"].tolist() == [1]


def test_an_answer_of_several_pieces_is_as_duckdb_gives_it(own):
    query = "SELECT range AS x, CASE WHEN range % 3 > 0 THEN range END AS y, range::VARCHAR AS z FROM range(600000)"
    with open_store(own) as store:
        assert store.sql(query).equals(store.cursor().execute(query).df())


# ---- parts ----

INDEX = "layer_12/codes/maths/by_token/index"
PACKED = {"compression": "gzip", "shuffle": True}


def replaced(name: str, **made) -> object:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **made)

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (replaced(INDEX, shape=(2**29,), dtype="u2", chunks=(2**29,), **PACKED), "pieces of 536,870,912"),
        (replaced(INDEX, data=np.zeros(4, "f8")), "not what it should be"),
        (replaced(INDEX, data=np.zeros((2, 2), "u2")), "there are no values"),
        (replaced(INDEX, data=["a", "b", "c", "d"]), "not what it should be"),
        (replaced(INDEX, data=np.zeros(4, "u2"), chunks=(4,), compression="lzf"), "packed in a way"),
        (replaced(INDEX, data=np.zeros(4, "u2"), chunks=(4,), compression="gzip", scaleoffset=0), "packed in a way"),
        (replaced(INDEX.replace("index", "value"), data=np.ones(2**22, "f2"), chunks=(2**14,), **PACKED), "claims more values"),
        (lambda file: file["layer_12"].attrs.__setitem__("d_sae", 2**40), "d_sae"),
        (lambda file: file["layer_12"].attrs.__setitem__("d_sae", [4] * 1000), "not one number"),
    ],
)  # fmt: skip
def test_a_forged_part_is_not_unpacked(own, change, match):
    forge_part(own, change)
    with open_store(own) as store, pytest.raises(UserError, match=match):
        store.codes(0, 12, "maths")
    with contextlib.suppress(UserError):
        assert verify(own)


@pytest.mark.parametrize(
    "change",
    [lambda file: file.create_group("more"), lambda file: file["layer_12"].create_dataset("more", data=[1]),
     lambda file: file["layer_12/codes/maths"].__setitem__("more", h5py.SoftLink("/layer_12")),
     lambda file: file["layer_12/codes"].__setitem__("circle", file["layer_12"]),
     lambda file: file.attrs.__setitem__("more", 1), lambda file: file.__delitem__("layer_12/counted")],
)  # fmt: skip
def test_a_part_holds_nothing_else(own, change):
    forge_part(own, change)
    with pytest.raises(UserError, match=r"part-00000\.h5"):
        part_digest(own / part_file(0))


def test_a_feature_fires_once_on_a_token(own):
    """Else the two sides of a feature's page, joined by token, are as many as one times the other."""

    def change(file: h5py.File) -> None:
        file["layer_12/codes/base/by_feature/row"][:4] = 2

    forge_part(own, change)
    with open_store(own) as store, pytest.raises(UserError, match="twice on a token"):
        store.activations(12, 0)


def test_more_codes_than_one_question_reads(own, monkeypatch):
    monkeypatch.setattr(part_reading, "MOST_CODES", 2)
    with open_store(own) as store:
        with pytest.raises(UserError, match=r"has 3 codes .* at most 2"):
            store.codes(0, 12, "maths")
        assert len(store.codes(1, 12, "maths")) == 0


def test_looking_through_a_part_in_pieces_finds_the_same(own, monkeypatch):
    """Without the feature-major index, as in a copy to share: rows 0, 2, 4 and 10 with codes 3, 1, 4, 1 (tiny_store.py)."""
    forge_part(own, lambda file: file.__delitem__("layer_12/codes/maths/by_feature"))
    for at_once in (1, 2, 3, 100):
        monkeypatch.setattr(part_reading, "AT_ONCE", at_once)
        row, value = read_feature(own / part_file(0), 12, "maths", 0)
        assert row.tolist() == [0, 2, 4, 10] and value.tolist() == [3.0, 1.0, 4.0, 1.0]


# ---- the folder ----


@pytest.mark.parametrize("name", ["wal", "wal.checkpoint", "tmp", "WAL"])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
def test_what_duckdb_would_take_for_its_own_is_refused(own, name, kind):
    path = own / f"{DATABASE_FILE}.{name}"
    {"file": path.touch, "folder": path.mkdir, "dangling": lambda: path.symlink_to("nowhere")}[kind]()
    refused(own, "no finished store has")


@pytest.mark.parametrize("name", ["x.h5", "latents/part-00007.h5", "statistics.db", "evil.so", "latents/more/x", "m.bak"])
@pytest.mark.parametrize("link", [False, True])
def test_verify_tells_what_the_manifest_does_not_name(own, name, link):
    (own / name).parent.mkdir(exist_ok=True)
    (own / name).symlink_to("/etc/passwd") if link else (own / name).touch()
    open_store(own).close()
    (problem,) = verify(own)
    assert name.removesuffix("/x") in problem


@pytest.mark.parametrize("name", ["README.md", ".DS_Store", "LICENSE", ".gitattributes", "._x", "latents/.DS_Store"])
def test_harmless_files_are_told_and_no_fault(own, capsys, name):
    (own / name).touch()
    assert verify(own) == [] and len(remarks(own)) == 1
    assert main(["verify", str(own)]) == 0
    assert name in capsys.readouterr().out


def test_a_link_by_a_harmless_name_is_no_harmless_file(own):
    (own / "README.md").symlink_to("/etc/passwd")
    assert "README.md" in verify(own)[0] and remarks(own) == []


# ---- the manifest ----


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": {"tokens": 10**400, "documents": 3}}, {"counts": {"tokens": -1, "documents": 3}},
        {"counts": {"tokens": 14, "documents": 3, "skipped": {"why": -1}}},
        {"counts": {"tokens": 14, "documents": 3, "bos": "no"}},
        {"pilot": {"5": {"median_norm": float("nan")}}}, {"pilot": {"5": {"median_norm": 1e400}}}, {"saes": {"five": {}}},
        {"settings": {"tokens": 10**400}}, {"settings": {"tasks": {"maths": 5}}}, {"settings": {"tasks": ["x"]}},
        {"notes": ["x" * 200_000]}, {"corpus": {"domains": {"maths": 5}}}, {"corpus": {"domains": {"maths": {"tokens": -1}}}},
        {"corpus": {"sources": [{"name": json.loads("[" * 40 + "]" * 40)}]}},
    ],
)  # fmt: skip
def test_odd_values_in_a_manifest(own, capsys, changes):
    rewrite_manifest(own, **changes)
    for command in ("info", "verify", "findings"):
        assert main([command, str(own)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: The manifest of") and len(line) < 400


def test_a_manifest_without_end(own):
    with (own / MANIFEST_FILE).open("a") as file:
        file.truncate(100_000_000)
    with pytest.raises(UserError, match="more than 64,000,000 bytes"):
        open_store(own)


@pytest.mark.parametrize(("name", "wrong"), [("files", {}), ("packages", 1)])
def test_a_manifest_of_endless_mistakes(own, name, wrong):
    """pydantic tells of each that it finds, in seconds and gigabytes where there are millions."""
    rewrite_manifest(own, **{name: {str(i): wrong for i in range(300_000)}})
    with pytest.raises(UserError, match="more values than any run writes"):
        open_store(own)


def test_a_source_that_no_file_can_be_called(own, monkeypatch):
    rewrite_manifest(own, corpus={"sources": ["x" * 5000, "a\0b"], "domains": {}})
    monkeypatch.setenv(data.VARIABLE, str(own))
    app = pages.open_page("about")
    assert not app.exception and not app.error
