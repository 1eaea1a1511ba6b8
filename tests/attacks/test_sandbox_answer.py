"""What a query's answer may cost its caller: bounded by the worker, and again by the server, whatever the worker is.

Long because each type and each size that an answer may have is a case.
"""

import io
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from app.charts import answer_chart
from app.components import sql_answer
from store import open_store
from store.sandbox import arrow_size
from store.sandbox import run as sandbox
from store.sandbox.answer import MOST_HEADER, most_bytes, read
from store.sandbox.fair_turns import Busy, Turns
from store.sandbox.run import Limits, QueryError, run


@pytest.fixture(scope="module")
def store(tiny_store):
    with open_store(tiny_store) as opened:
        yield opened


# ---- what the worker gives ----


@pytest.mark.parametrize(
    ("query", "kind", "longest"),
    [
        ("SELECT repeat(chr(1), 300000)::INT", "wrong", 1000),
        ("SELECT error(repeat('x\n', 300000))", "wrong", 1000),
        (f"SELECT * FROM {'t' * 200_000}", "wrong", 1000),
        (f'SELECT "{"c" * 100_000}"' + "\n" * 20_000 + ", 1 + ", "wrong", 1000),
        ("SELECT [{'a': NULL} FOR i IN range(300000)]", "size", 200),
        ("SELECT [NULL FOR i IN range(1500000)]", "size", 200),
        ("SELECT list(MAP {1: 2}) FROM range(300000)", "size", 200),
        ("SELECT [[] FOR i IN range(400000)] AS nested", "size", 200),
        ("SELECT unnest({" + ", ".join(f"'c{i}': 1" for i in range(1001)) + "})", "size", 200),
    ],
)
def test_what_is_too_large_is_a_short_sentence(store, query, kind, longest):
    with pytest.raises(QueryError) as refused:
        run(store, query)
    assert refused.value.kind == kind
    assert 10 < len(str(refused.value)) <= longest and len(refused.value.where) <= 2000


def test_an_answer_is_cut_by_what_it_is_unpacked(store):
    """Of each row 10,000 nulls in a list: hardly a byte for Arrow, 320 kB and a list as values, so that 124 rows fit 40 MB."""
    cut = run(store, "SELECT [NULL FOR i IN range(10000)] AS a FROM range(5000)")
    row = arrow_size.LIST + 10_000 * arrow_size.VALUE
    assert (cut.table.num_rows, cut.cut) == (Limits().unpacked // row, "bytes") == (124, "bytes")
    assert len(sql_answer.to_csv(cut.frame())) < Limits().unpacked


def test_names_in_every_row_count_in_every_row(store):
    """A struct's names stand in each row of a CSV: 1,000 characters in 10,000 rows are 10 MB of names alone."""
    query = f"SELECT {{'{'n' * 1000}': 1}} AS a FROM range(10000)"
    whole = run(store, query)
    least = 10_000 * 1000
    assert least < len(sql_answer.to_csv(whole.frame())) < arrow_size.unpacked(whole.table)
    cut = run(store, query, Limits(unpacked=least))
    assert cut.cut == "bytes" and 5000 < cut.table.num_rows < 10_000


def test_a_word_that_stands_in_every_row_counts_in_every_row(store):
    """An ENUM is a dictionary: one word of 3,000 characters and 10,000 small numbers."""
    word = "w" * 3000
    answer = run(store, f"SELECT '{word}'::ENUM('{word}') AS a FROM range(10000)")
    assert (answer.cut, answer.as_text) == ("bytes", ("a",))
    assert answer.table.nbytes <= Limits().bytes and len(sql_answer.to_csv(answer.frame())) < 2 * Limits().bytes


def test_long_names_are_cut(store):
    answer = run(store, f'SELECT 1 AS "{"n" * 500}", 2 AS "{"n" * 501}", 3 AS short')
    assert answer.table.column_names == ["n" * 199 + "…", "n" * 199 + "…_1", "short"]
    assert answer.frame().iloc[0].tolist() == [1, 2, 3]


def test_names_that_values_make_are_cut(store):
    query = "PIVOT (SELECT repeat('n', 1000) || range AS n, 1 AS v FROM range(50)) ON n USING sum(v)"
    answer = run(store, query)
    assert answer.table.num_columns == 50 and max(map(len, answer.table.column_names)) <= arrow_size.MOST_NAME + 3


ATTACKS = """
import resource, sys
from store import open_store
from store.sandbox import run as sandbox
from app.components import sql_answer

with open_store(sys.argv[1]) as store:
    sql_answer.to_csv(sandbox.run(store, "SELECT 1 AS a").frame())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for query in (
        "SELECT repeat(chr(1), 4000000)::INT",
        "SELECT [{} FOR i IN range(600000)]",
        "SELECT [NULL FOR i IN range(1500000)]",
    ):
        try:
            answer = sandbox.run(store, query)
            sql_answer.to_csv(answer.frame())
        except sandbox.QueryError:
            pass
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts KiB, as Linux does")
def test_the_server_hardly_grows(tiny_store):
    """At the start of this test's history by 70, 60 and 80 MB."""
    command = [sys.executable, "-c", ATTACKS, str(tiny_store)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert said.returncode == 0, said.stderr
    assert int(said.stdout) < 30


# ---- what the server believes ----


def stream(table: pa.Table, **options) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_table(table, max_chunksize=1 << 60)  # one piece, however many rows
    return sink.getvalue().to_pybytes()


def answered(table: pa.Table, header: str = '{"cut": null, "as_text": []}', **options) -> bytes:
    return header.encode() + b"\n" + stream(table, **options)


GOOD = pa.table({"a": [1, 2], "b": ["x", None], "c": [[1], []]})


def test_a_sound_answer_is_taken():
    answer = read(answered(GOOD, '{"cut": "rows", "as_text": [1]}'), Limits())
    assert answer.table.equals(GOOD) and (answer.cut, answer.as_text) == ("rows", ("b",))


def broken_offsets() -> bytes:
    """A text that would reach far beyond its bytes."""
    ends = [np.array([0, 1234, end], dtype=np.int32).tobytes() for end in (5678, 1_000_000)]
    sound = answered(pa.table({"a": ["x" * 1234, "y" * 4444]}))
    assert sound.count(ends[0]) == 1
    return sound.replace(*ends)


LIARS = {
    "nothing": b"",
    "no header": b"\xff\n",
    "a list": b"[]\n",
    "a number": b"1\n",
    "an unknown error": b'{"error": "time", "message": ""}\n',
    "an unknown cut": answered(GOOD, '{"cut": "much", "as_text": []}'),
    "no word on text": answered(GOOD, '{"cut": null}'),
    "columns beyond": answered(GOOD, '{"cut": null, "as_text": [7]}'),
    "a long header": b'{"error": "wrong", "message": "' + b"x" * MOST_HEADER + b'"}\n',
    "nested too deep for JSON": b"[" * MOST_HEADER + b"\n",
    "half a stream": answered(GOOD)[:-40],
    "no stream": b'{"cut": null, "as_text": []}\n',
    "compressed": answered(pa.table({"a": [0] * 5000}), compression="zstd"),
    "compressed with lz4": answered(pa.table({"a": [0] * 5000}), compression="lz4"),
    "a dictionary": answered(pa.table({"a": pa.array(["x"] * 3).dictionary_encode()})),
    "runs": answered(pa.table({"a": pa.RunEndEncodedArray.from_arrays(pa.array([10_000], pa.int32()), pa.array(["x"]))})),
    "views": answered(pa.table({"a": pa.array(["x"], pa.string_view())})),
    "a union": answered(pa.table({"a": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])})),
    "an interval": answered(pa.table({"a": pa.array([None], pa.month_day_nano_interval())})),
    "many rows": answered(pa.table({"a": pa.nulls(10_001)})),
    "very many rows of nothing": answered(pa.table({"a": pa.Array.from_buffers(pa.null(), (1 << 31) - 1, [None])})),
    "many columns": answered(pa.table({f"c{i}": [1] for i in range(1001)})),
    "many bytes": answered(pa.table({"a": ["x" * 9_000_000]})),
    "small until unpacked": answered(pa.table({"a": pa.array([[None] * 2_000_000])})),
    "empty structs": answered(pa.table({"a": pa.array([[{}] * 10], pa.list_(pa.struct([])))})),
    "offsets beyond their bytes": broken_offsets(),
}


@pytest.mark.parametrize("lie", LIARS, ids=str)
def test_what_a_worker_of_ours_would_not_say_is_not_taken(lie):
    with pytest.raises(QueryError) as broken:
        read(LIARS[lie], Limits())
    assert broken.value.kind == "broken" and str(broken.value).count("\n") == 0


@pytest.mark.parametrize("said", ["while True: os.write(1, b'x' * 65536)", "os.write(1, b'.'); os.close(0)", "time.sleep(60)"])
def test_a_worker_that_is_not_ours_costs_bytes_and_seconds_that_are_fixed(store, tmp_path, monkeypatch, said):
    """It writes without end, does not listen, or does nothing at all."""
    worker = tmp_path / "worker.py"
    worker.write_text(f"import os, time\nos.write(1, b'.')\n{said}\n")
    monkeypatch.setattr(sandbox, "_WORKER", worker)
    monkeypatch.setattr(sandbox, "_spare", sandbox._Spare())
    taken = []
    monkeypatch.setattr(sandbox, "read", lambda output, limits: taken.append(len(output)) or read(output, limits))
    started = time.monotonic()
    with pytest.raises(QueryError) as stopped:
        run(store, "SELECT 1", Limits(seconds=2, bytes=1000))
    assert stopped.value.kind in ("broken", "time") and time.monotonic() - started < 20
    assert all(size <= most_bytes(Limits(bytes=1000)) + 1 for size in taken)
    sandbox._spare.take().kill()


# ---- odd types ----


ODD = [  # SQL, the cell of the table, whether it came as text
    ("INTERVAL 1 DAY", "1 day", True),
    ("INTERVAL 300000 YEAR", "300000 years", True),
    ("[INTERVAL 1 MONTH]", "[1 month]", True),
    ("'infinity'::DATE", "infinity", True),
    ("'-infinity'::TIMESTAMP", "-infinity", True),
    ("'infinity'::TIMESTAMPTZ", "infinity", True),
    ("'infinity'::TIMESTAMP_NS", "infinity", True),
    ("'infinity'::TIMESTAMP_S", "infinity", True),
    ("['infinity'::DATE, DATE '2026-01-02']", "[infinity, 2026-01-02]", True),
    ("{'a': 'infinity'::TIMESTAMP}", "{'a': infinity}", True),
    ("DATE '5877642-06-24'", "5877642-06-24", True),
    ("DATE '0044-03-15 (BC)'", "0044-03-15 (BC)", True),
    ("TIMESTAMP '290000-01-01'", "290000-01-01 00:00:00", True),
    ("union_value(a := 1)", "1", True),
    ("'101'::BIT", "101", True),
    ("TIMETZ '10:00:00+02'", "10:00:00+02", True),
    ("340282366920938463463374607431768211455::UHUGEINT", "340282366920938463463374607431768211455", True),
    ("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727", True),
    ("'a'::ENUM('a', 'b')", "a", True),
    ("1::VARIANT", "1", True),
    ("'POINT(1 2)'::GEOMETRY", "POINT (1 2)", True),
    ("{}", "{}", True),
    ("DATE '2026-01-02'", pd.Timestamp("2026-01-02"), False),
    ("DATE '0001-01-01'", pd.Timestamp("0001-01-01"), False),
    ("DATE '9999-12-31'", pd.Timestamp("9999-12-31"), False),
    ("TIMESTAMPTZ '2026-01-02 00:00:00+00'", pd.Timestamp("2026-01-02", tz="UTC"), False),
    ("42::HUGEINT", 42.0, False),
    ("1.5::DECIMAL(38, 2)", 1.5, False),
    ("MAP {'a': 1}", {"a": 1}, False),
    ("{'a': [1, 2]}", {"a": [1, 2]}, False),
    ("[[NULL]]", [[None]], False),
    ("NULL", None, False),
    ("'ab'::BLOB", b"ab", False),
    ("TIME '24:00:00'", "24:00:00", True),
    ("TIME '10:00:00'", "10:00:00", False),
    ("[" * 20 + "1" + "]" * 20, "[" * 20 + "1" + "]" * 20, True),
    ("(1, 'a')", {"element1": 1, "element2": "a"}, False),
    ("MAP {[1]: 2}", {"key": [[1]], "value": [2]}, False),
]


@pytest.fixture(scope="module")
def odd(store):
    """One answer with a column for each of ODD."""
    columns = ", ".join(f"{written} AS c{i}" for i, (written, *_) in enumerate(ODD))
    answer = run(store, f"SELECT {columns}, 1 AS n")
    return answer, answer.frame()


@pytest.mark.parametrize("number", range(len(ODD)), ids=[odd[0] for odd in ODD])
def test_values_of_every_type_have_a_table_a_csv_and_a_chart(odd, number):
    (answer, frame), name, (_, cell, as_text) = odd, f"c{number}", ODD[number]
    assert (name in answer.as_text) == as_text
    found = frame[name][0]
    if cell is None:
        assert pd.isna(found)
    elif isinstance(cell, str):
        assert str(found) == cell
    else:
        assert found == cell or json.dumps(cell) == json.dumps(found, default=lambda array: array.tolist())
    heading, row = sql_answer.to_csv(frame[[name, "n"]]).splitlines()
    assert heading == f"{name},n" and row.endswith(",1")
    if answer_chart.column_kind(frame[name]):
        assert json.loads(answer_chart.chart(frame, name, "n", None, "points").to_json())["encoding"]["x"]["title"] == name


def test_values_of_every_type_have_a_parquet_file(odd):
    file = parquet.read_table(io.BytesIO(sql_answer.to_parquet(odd[0])))
    assert file.num_rows == 1 and file.column_names == odd[0].table.column_names
    assert file["c1"].to_pylist() == ["300000 years"]


def test_a_type_that_only_some_rows_make_odd(store):
    answer = run(store, "SELECT unnest(['2026-01-02'::DATE, 'infinity'::DATE, NULL]) AS c, 1 AS d")
    assert answer.frame()["c"].tolist()[:2] == ["2026-01-02", "infinity"] and answer.frame()["c"].isna().tolist()[2]


def test_repeated_and_odd_names_survive_being_written_as_text(store):
    frame = run(store, """SELECT 1 AS "a""b", INTERVAL 1 DAY AS "a""b", '1'::BIT AS "#1", 3 AS "x y\n" """).frame()
    assert list(frame) == ['a"b', 'a"b_1', "#1", "x y\n"]
    assert frame.iloc[0].tolist() == [1, "1 day", "1", 3]


# ---- PIVOT ----


@pytest.mark.parametrize(
    "query",
    [
        "PIVOT layer_metrics ON variant USING count(*) GROUP BY layer ORDER BY layer;",
        "FROM (PIVOT layer_metrics ON variant USING count(*) GROUP BY layer) ORDER BY layer -- a comment",
        "WITH wide AS (PIVOT layer_metrics ON variant USING count(*) GROUP BY layer) FROM wide ORDER BY layer",
    ],
)
def test_a_pivot_runs(store, query):
    frame = run(store, query).frame()
    assert list(frame) == ["layer", "maths", "maths-seed2", "safety"] and frame["layer"].tolist() == [5, 12]
    expected = store.sql("SELECT count(*) AS n FROM layer_metrics WHERE variant = 'maths' GROUP BY layer ORDER BY layer")
    assert frame["maths"].tolist() == expected["n"].tolist()


@pytest.mark.parametrize(
    "query",
    [
        "COPY (PIVOT layers ON sae USING count(*)) TO 'stolen.csv'",
        "CREATE TEMP TABLE t AS PIVOT layers ON sae USING count(*)",
        "WITH wide AS (PIVOT layers ON sae USING count(*)) INSERT INTO layers FROM wide",
        "PIVOT layers ON sae USING count(*)) ; COPY layers TO 'x' ; FROM (SELECT 1",
        "PIVOT read_csv('/etc/passwd') ON column0 USING count(*)",
        "CREATE VIEW v AS PIVOT layers ON sae USING count(*)",
    ],
)
def test_a_pivot_is_no_way_out(store, query, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QueryError) as refused:
        run(store, query)
    assert refused.value.kind in ("refused", "wrong") and not list(tmp_path.iterdir())


# ---- ending with the server ----


SERVER = """
import sys, threading, time
from store import open_store
from store.sandbox import run as sandbox

started, begin = [], sandbox._start
sandbox._start = lambda: started.append(begin()) or started[-1]
asked = (open_store(sys.argv[1]), "SELECT sleep_ms(60000)", sandbox.Limits(seconds=50))
threading.Thread(target=sandbox.run, args=asked, daemon=True).start()
time.sleep(3)
print(started[0].pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_ends_with_a_server_that_is_killed(tiny_store):
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(tiny_store)], stdout=subprocess.PIPE, text=True)
    worker = int(server.stdout.readline())
    assert alive(worker)
    server.send_signal(signal.SIGKILL)
    server.wait()
    server.stdout.close()
    until = time.monotonic() + 5
    while alive(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(worker)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer here")
def test_a_worker_that_nobody_ends_ends_itself(store):
    worker = sandbox._start()
    worker.stdout.read(1)
    worker.stdin.write(sandbox._task(store, "SELECT sleep_ms(60000)", Limits(seconds=-3)))
    assert worker.wait(timeout=20) == -signal.SIGALRM  # after 5 - 3 seconds
    worker.stdin.close()
    worker.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_queries_leave_no_descriptors(store):
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    run(store, "SELECT 1")
    before = count()
    for query in ("SELECT 1", "SELECT 'a'::INT", "SELECT 2"):
        try:
            run(store, query).frame()
        except QueryError:
            continue
    assert count() <= before


# ---- turns ----


def test_a_place_is_for_those_who_used_little(monkeypatch):
    """Two who used much share one place: the other is free for a third, at once."""
    turns = Turns(2)
    turns._used = [(time.monotonic(), "greedy", 9.0), (time.monotonic(), "greedier", 12.0)]
    with turns.turn("greedy", 0):
        with pytest.raises(Busy) as busy, turns.turn("greedier", 0):
            pass
        assert busy.value.others == 1
        with turns.turn("modest", 0):
            assert turns.others() == 2
    with turns.turn("greedier", 0):
        assert turns.others() == 1
    assert turns.others() == 0


def test_nobody_has_both_places():
    turns = Turns(2)
    with turns.turn("Ada", 0), pytest.raises(Busy), turns.turn("Ada", 0):
        pass


def test_who_used_less_goes_first():
    turns, order = Turns(1), []
    turns._used = [(time.monotonic(), "much", 4.0), (time.monotonic(), "some", 1.0)]

    def ask(who: str) -> None:
        with turns.turn(who, 20):
            order.append(who)

    with turns.turn("first", 0):
        threads = [threading.Thread(target=ask, args=(who,)) for who in ("much", "some", "none")]
        for waiting, thread in enumerate(threads, start=2):
            thread.start()
            while turns.others() < waiting:
                time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert order == ["none", "some", "much"]


def test_what_was_used_long_ago_is_forgotten():
    turns = Turns(2)
    turns._used = [(time.monotonic() - 61, "greedy", 60.0)]
    with turns.turn("modest", 0), turns.turn("greedy", 0):
        assert turns.others() == 2


def test_the_walk_of_arrow_s_types_counts_only_a_slices_own_rows():
    whole = duckdb.sql("SELECT range AS n, MAP {range: [range]} AS m, {'a': 'é'} AS s FROM range(100)").to_arrow_table()
    parts = [arrow_size.unpacked(whole.slice(start, 25)) for start in range(0, 100, 25)]
    assert sum(parts) == arrow_size.unpacked(whole) and len(set(parts)) == 1
    value, a_list, struct, field = arrow_size.VALUE, arrow_size.LIST, arrow_size.STRUCT, arrow_size.FIELD
    a_map = a_list + struct + 2 * field + len("key" + "value") + value + a_list + value
    assert parts[0] == 25 * (value + a_map + struct + field + len("a") + value + 2)
