"""A reader's SQL: real attacks are refused or cut off, nothing is written, and the store answers as before."""

import hashlib
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from store import open_store
from store.sandbox import run as sandbox
from store.sandbox.run import Limits, QueryError, run
from store.sidecar.entries import Label, write_labels

SHORT = Limits(seconds=3, memory=300)

REFUSED = [  # (query, kind, words of the message)
    ("COPY layers TO 'stolen.csv'", "refused", "COPY"),
    ("COPY (SELECT 1) TO '/tmp/stolen.parquet'", "refused", "COPY"),
    ("EXPORT DATABASE 'stolen'", "refused", "EXPORT"),
    ("SELECT * FROM read_csv('/etc/passwd')", "wrong", "disabled by configuration"),
    ("SELECT * FROM read_text('/etc/passwd')", "wrong", "disabled by configuration"),
    ("SELECT * FROM read_blob('manifest.json')", "wrong", "disabled by configuration"),
    ("SELECT * FROM read_json('manifest.json')", "wrong", "disabled by configuration"),
    ("SELECT * FROM read_parquet('https://example.org/a.parquet')", "wrong", "disabled by configuration"),
    ("SELECT * FROM sniff_csv('/etc/passwd')", "wrong", "disabled by configuration"),
    ("SELECT * FROM glob('/*')", "wrong", "disabled by configuration"),
    ("SELECT * FROM '/etc/passwd'", "wrong", "does not exist"),
    ("DESCRIBE (SELECT * FROM read_csv('/etc/passwd'))", "wrong", "disabled by configuration"),
    ("WITH a AS MATERIALIZED (FROM read_text('/etc/passwd')) FROM a", "wrong", "disabled by configuration"),
    ("FROM query('COPY layers TO ''x.csv''')", "wrong", "single SELECT"),
    ("ATTACH '/tmp/other.duckdb' AS other", "refused", "ATTACH"),
    ("INSTALL httpfs", "refused", "LOAD"),
    ("LOAD httpfs", "refused", "LOAD"),
    ("SET enable_external_access = true", "refused", "SET"),
    ("RESET lock_configuration", "refused", "SET"),
    ("PRAGMA database_list", "refused", "PRAGMA"),
    ("CALL enable_logging('QueryLog', storage = 'file')", "refused", "CALL"),
    ("FROM enable_profiling(save_location = 'profile.json')", "wrong", "locked"),
    ("FROM enable_logging('QueryLog', storage = 'file')", "wrong", "locked"),
    ("SELECT getenv('HOME')", "wrong", "getenv"),
    ("CREATE TEMP TABLE bomb AS SELECT * FROM range(10000000000)", "refused", "CREATE"),
    ("INSERT INTO layers SELECT * FROM layers", "refused", "INSERT"),
    ("UPDATE features SET label = 'mine'", "refused", "UPDATE"),
    ("DROP TABLE features", "refused", "DROP"),
    ("SELECT 1; SELECT 2", "refused", "2 statements"),
    ("SELECT 1; COPY layers TO 'stolen.csv'", "refused", "2 statements"),
    ("EXPLAIN ANALYZE SELECT 1", "refused", "EXPLAIN"),
    ("-- nothing", "refused", "no query"),
    ("SELECT * FROM local_secret", "wrong", "does not exist"),
    ("UPDATE EXTENSIONS", "refused", "reads"),
    ("SELECT 1::BIGNUM AS n", "refused", "'n' is of a type"),
    ("SELECT [1::BIGNUM] AS n", "refused", "BIGNUM[]"),
]

BOMBS = [
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
    "SELECT count(*) FROM range(10000000000) a, range(10000000000) b WHERE hash(a.range) = hash(b.range + 1)",
    "SELECT levenshtein(repeat('a', 300000), repeat('b', 300000))",
    "SELECT repeat('x', 3000000000)",
    "SELECT range(2000000000)",
    "SELECT list(range) FROM range(100000000000)",
    "SELECT string_agg(repeat('y', 100000), '') FROM range(100000)",
]


@pytest.fixture(scope="module")
def store(tiny_store):
    with open_store(tiny_store) as opened:
        yield opened


def contents(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def unharmed(store, tmp_path, monkeypatch):
    """Afterwards no file is new or other, here or in the store, and both ways of asking answer as before."""
    monkeypatch.chdir(tmp_path)
    before = contents(store.path)
    yield
    assert contents(store.path) == before
    assert not list(tmp_path.iterdir())
    assert store.sql("SELECT count(*) AS n FROM layers")["n"].tolist() == [2]


@pytest.mark.parametrize(("query", "kind", "said"), REFUSED)
def test_what_does_not_only_read_the_store_is_refused(store, unharmed, query, kind, said):
    local_secret = pd.DataFrame({"a": [1]})  # DuckDB can read variables of Python by name
    with pytest.raises(QueryError) as refused:
        run(store, query)
    assert (refused.value.kind, said.lower() in str(refused.value).lower()) == (kind, True), str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(local_secret) == 1


@pytest.mark.parametrize("query", BOMBS)
def test_what_wants_too_much_is_cut_off(store, unharmed, query):
    started = time.monotonic()
    with pytest.raises(QueryError) as stopped:
        run(store, query, SHORT)
    assert stopped.value.kind in ("time", "memory", "broken")
    assert time.monotonic() - started < SHORT.seconds + 25  # of which starting the process is most on a busy machine
    assert run(store, "SELECT count(*) AS n FROM layers").frame()["n"].tolist() == [2]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_worker_has_none_of_the_servers_secrets(monkeypatch):
    monkeypatch.setenv("A_SECRET", "1")
    process = sandbox._start()
    process.stdout.read(1)  # it has begun: just after the fork there is no environment to see
    environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    process.kill()
    process.communicate()
    assert b"PATH=" in environment
    assert b"A_SECRET" not in environment


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT layer FROM layers ORDER BY layer", [5, 12]),
        ("WITH a AS (FROM layers) SELECT max(layer) AS layer FROM a", [12]),
        ("FROM layers SELECT layer ORDER BY layer DESC", [12, 5]),
        ("SELECT length('é;') AS layer;; -- a ; comment", [2]),
    ],
)
def test_queries_that_read_run(store, query, rows):
    assert run(store, query).frame()["layer"].tolist() == rows


@pytest.mark.parametrize(
    ("query", "first"),
    [("DESCRIBE layers", "layer"), ("SUMMARIZE layers", "layer"), ("SHOW TABLES", "answers"), ("VALUES ('a'), ('b')", "a")],
)
def test_statements_about_the_tables_run(store, query, first):
    assert run(store, query).frame().iloc[0, 0] == first


def test_an_answer_is_cut_at_its_limits_and_says_so(store):
    assert run(store, "FROM range(5)", Limits(rows=5)).cut is None
    cut = run(store, "FROM range(1000000000000)", Limits(rows=5))
    assert (cut.table.num_rows, cut.cut) == (5, "rows")
    large = run(store, "SELECT repeat('x', 1000) FROM range(9000)", Limits(bytes=5_000_000))
    assert large.cut == "bytes"
    assert 4000 < large.table.num_rows < 5000
    with pytest.raises(QueryError, match="first rows alone are larger than 5 MB") as refused:
        run(store, "SELECT repeat('x', 6000000)", Limits(bytes=5_000_000))
    assert refused.value.kind == "size"


@pytest.mark.parametrize(
    ("query", "first", "where"),
    [
        ("SELEC 1", 'Parser Error: syntax error at or near "SELEC"', "LINE 1: SELEC 1\n        ^^^^^"),
        (
            "SELECT *\nFROM layerz",
            "Catalog Error: Table with name layerz does not exist!",
            'Did you mean "layers"?\n\nLINE 2: FROM layerz\n             ^^^^^^',
        ),
    ],
)
def test_an_error_is_duckdbs_first_line_and_its_position(store, query, first, where):
    with pytest.raises(QueryError) as wrong:
        run(store, query)
    assert str(wrong.value) == first
    assert wrong.value.where == where


def test_types_and_repeated_names_are_those_of_store_sql(store):
    query = (
        "SELECT 1 AS a, 2 AS a, sum(layer) AS s, 1.5 AS d, [1, 2] AS l, NULL::INT AS n, true AS b, "
        "TIMESTAMP '2026-01-01' AS t, 'x' AS w FROM layers"
    )
    frame = run(store, query).frame()
    assert list(frame)[:2] == ["a", "a_1"]
    pd.testing.assert_frame_equal(frame, store.sql(query))


def test_imported_labels_are_what_the_query_sees(own):
    with open_store(own) as before:
        write_labels(own, before.manifest.digest, [Label(12, 1, "my 'own' label", "a file")])
    query = "SELECT layer, feature, label, label_source FROM features ORDER BY ALL"
    with open_store(own) as store:
        frame = run(store, query).frame()
        pd.testing.assert_frame_equal(frame, store.sql(query))
    assert frame.set_index(["layer", "feature"]).loc[(12, 1)].tolist() == ["my 'own' label", "a file"]
    assert frame.set_index(["layer", "feature"]).loc[(5, 1), "label"] == "small words"


def test_a_full_house_says_so(store):
    with sandbox._turns.turn("Ada", 0), sandbox._turns.turn("Bob", 0):
        assert sandbox.others() == 2
        with pytest.raises(QueryError, match="busy with 2 other queries: try again"):
            run(store, "SELECT 1", Limits(seconds=0.1), "Cleo")
    assert sandbox.others() == 0
    assert run(store, "SELECT 1 AS a").frame()["a"].tolist() == [1]
