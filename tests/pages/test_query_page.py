"""The Query page through AppTest, its charts, its lines for a notebook, and the schema that it shows."""

import ast
import io
import json
import re
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from app import data
from app.charts import answer_chart
from app.components import sql_answer
from store import open_store
from store.format import tables, trust
from store.format.manifest import DATABASE_FILE
from store.reports import glossary
from store.sandbox import run as sandbox
from store.sandbox.run import Answer
from tests.support import ROOT, pages
from tests.support.tiny_store import HOSTILE


@pytest.fixture
def query_page(monkeypatch, tiny_store):
    """query_page(sql='SELECT 1') -> the page that this link shows once its query was run; ask=False: as it is opened."""

    def opened(store=tiny_store, ask=True, **params):
        monkeypatch.setenv(data.VARIABLE, str(store))
        app = pages.open_page("query", **params)
        if ask and "sql" in params:
            press_run(app)
        assert not app.exception
        return app

    return opened


def press_run(app):
    next(button for button in app.button if button.label == "Run").click().run()


def answer(app):
    """The table below the columns of the table that is browsed."""
    return app.dataframe[1].value


def test_without_a_query_the_page_answers_its_first_example(query_page):
    app = query_page(show="Table")
    assert not app.error and not app.warning
    assert app.text_area(key="sql_text").value == sql_answer.EXAMPLES[0].sql
    rows = answer(app).set_index(["variant", "layer"])
    assert rows.loc[("maths", 12), ["overlap", "lowest_twin", "highest_twin"]].tolist() == [0.45, 0.4, 0.42]


def test_a_links_query_runs_at_a_click_and_not_before(query_page, monkeypatch):
    ran = []
    asked = sandbox.run
    monkeypatch.setattr(sandbox, "run", lambda store, sql, **more: ran.append((sql, more)) or asked(store, sql, **more))
    query = "SELECT 41 + 1 AS n"
    app = query_page(ask=False, sql=query, show="Chart")
    assert not ran and len(app.dataframe) == 1 and "has not been run" in app.info[0].value
    assert app.text_area(key="sql_text").value == query
    press_run(app)
    assert [sql for sql, _ in ran] == [query] and not app.info
    assert app.query_params["sql"] == query and app.query_params["show"] == "Chart"
    app.segmented_control(key="pick_show").set_value("Table").run()
    assert answer(app)["n"].tolist() == [42]  # asked once, it stays
    assert query_page(ask=False, sql=query).info  # of this visitor only
    assert ran[0][1]["who"]


def test_an_example_in_a_link_runs(query_page):
    """Its text is ours: nothing that a stranger wrote."""
    app = query_page(ask=False, sql=sql_answer.EXAMPLES[1].sql, show="Table")
    assert len(app.dataframe) == 2 and not app.info


def test_a_full_house_is_told_while_one_waits():
    namespace = {"sandbox": sandbox, "LIMITS": sandbox.Limits()}
    page = (ROOT / "app/views/query.py").read_text(encoding="utf-8")
    function = next(node for node in ast.parse(page).body if getattr(node, "name", "") == "waiting")
    exec(ast.unparse(function), namespace)
    assert namespace["waiting"](1) == "Asking the store"
    said = "Waiting for one of 2 places: 3 other queries are before this one, and each is stopped after 10 seconds"
    assert namespace["waiting"](3) == said


def test_what_came_as_text_is_said(query_page):
    app = query_page(sql="SELECT 'infinity'::DATE AS \"[day]\", 1 AS n", show="Table")
    assert not app.error and answer(app)["[day]"].tolist() == ["infinity"]
    assert any("As text" in caption.value and caption.value.endswith(r"\[day\].") for caption in app.caption)


def test_a_query_that_is_run_becomes_the_link(query_page):
    app = query_page(sql="SELECT 1 AS one", show="Chart", x="one")
    app.text_area(key="sql_text").set_value("SELECT layer FROM layers ORDER BY layer")
    press_run(app)
    assert app.query_params["sql"] == "SELECT layer FROM layers ORDER BY layer"
    assert "show" not in app.query_params and "x" not in app.query_params
    assert answer(app)["layer"].tolist() == [5, 12]
    assert "**2 rows**" in [m.value for m in app.markdown]


def test_an_example_is_a_click(query_page):
    app = query_page(sql="SELECT 1 AS one")
    app.button(key="example_Tokens where the prediction changed most").click().run()
    assert answer(app)["kl"].tolist() == pytest.approx([0.2] * 3 + [0.1] * 3 + [0.0] * 3)
    assert answer(app)["token"].tolist()[:4] == [" two", " two", " two", " plus"]


def test_an_error_is_a_sentence_and_a_position_and_the_editor_stays(query_page):
    app = query_page(sql="SELECT 1 AS a\nFROM layerz")
    assert [e.value.replace("\\", "") for e in app.error] == ["Catalog Error: Table with name layerz does not exist!"]
    assert "LINE 2: FROM layerz" in app.code[0].value
    assert app.text_area(key="sql_text").value == "SELECT 1 AS a\nFROM layerz"
    assert len(app.dataframe) == 1


def test_a_write_is_refused_on_the_page(query_page):
    app = query_page(sql="COPY layers TO 'stolen.csv'")
    assert "statement of kind COPY" in app.error[0].value


def test_a_cut_answer_says_so(query_page):
    app = query_page(sql="SELECT range AS n FROM range(1000000000)")
    assert "**Cut at 10,000 rows**" in [m.value for m in app.markdown]
    assert len(answer(app)) == 10_000


def test_an_empty_answer_has_a_table_and_no_chart(query_page):
    query = "SELECT * FROM layers WHERE layer = 99"
    assert len(answer(query_page(sql=query))) == 0
    assert "Nothing here can be drawn" in query_page(sql=query, show="Chart").info[0].value


def test_a_link_too_long_is_said(query_page):
    app = query_page(ask=False, sql="SELECT 1 " + "-" * 4000)
    assert "longer than 4,000 characters" in app.warning[0].value
    assert app.text_area(key="sql_text").value == sql_answer.EXAMPLES[0].sql


def test_a_store_without_twins_offers_what_it_can_answer(query_page, bare_store):
    app = query_page(store=bare_store)
    offered = {button.label for button in app.button}
    assert not app.error
    assert {"Documents that changed most", "Nearest neighbour changed the other way"} <= offered
    assert not {"Suppressed in several variants", "Verdicts counted", "Tokens where the prediction changed most"} & offered


def test_hostile_text_in_the_answer_stays_text(query_page):
    app = query_page(sql=f"SELECT token AS \"{HOSTILE}\" FROM vocabulary WHERE token LIKE '%script%'")
    assert answer(app).iloc[0, 0] == HOSTILE
    assert not [m for m in app.markdown if "<script" in m.value]


@pytest.mark.parametrize("example", sql_answer.EXAMPLES, ids=lambda example: example.title)
def test_the_lines_for_python_give_the_pages_frame(query_page, contributing_store, example):
    app = query_page(store=contributing_store, sql=example.sql, show="Table")
    lines = next(code.value for code in app.code if "open_store" in code.value)
    names = {}
    exec(lines, names)  # our own page
    names["s"].close()
    pd.testing.assert_frame_equal(names["frame"], answer(app), check_dtype=False)


@pytest.mark.parametrize("query", ["SELECT 'a\\b' AS t", 'SELECT \'"""\' AS t', 'SELECT 1 AS "t"'])
def test_the_lines_for_python_survive_quotes(tiny_store, query):
    names = {}
    exec(sql_answer.python_lines(tiny_store, query), names)
    with open_store(tiny_store) as store:
        pd.testing.assert_frame_equal(names["frame"], store.sql(query))
    names["s"].close()


def test_what_the_examples_say_of_the_tiny_store(tiny_store):
    asked = {example.title: example.sql for example in sql_answer.EXAMPLES}
    with open_store(tiny_store) as store:
        several = store.sql(asked["Suppressed in several variants"])
        counted = store.sql(asked["Verdicts counted"]).set_index(["variant", "layer", "verdict"])["features"]
        moved = store.sql(asked["Nearest neighbour changed the other way"].replace("cosine > 0.5", "cosine > 0.15"))
        dead = store.sql(asked["Dead and dense features"]).set_index("layer")
    assert several[["layer", "feature"]].values.tolist() == [[5, 1], [12, 1], [12, 4]]
    assert several["variants"].map(list).tolist() == [["maths", "maths-seed2"]] * 3
    assert counted["maths", 12].to_dict() == {"amplified": 1, "could not be seen": 2, "suppressed": 2}
    pairs = set(zip(moved["variant"], moved["layer"], moved["feature"], moved["neighbour"], strict=True))
    assert pairs == {(variant, layer, 4, 0) for variant in ("maths", "maths-seed2") for layer in (5, 12)}  # cosine 0.2
    assert dead.loc[12, ["dead", "dense"]].tolist() == pytest.approx([2 / 6, 1 / 6])


def spec(chart):
    drawn = json.loads(chart.to_json())
    return drawn["encoding"], drawn["mark"], next(iter(drawn["datasets"].values()))


def test_a_chart_infers_types_and_takes_any_column_name():
    frame = pd.DataFrame({"a.b[0]:Q": [5, 12, 5], "y'": [0.1, 0.2, 0.3], "who": ["m", "m", "s"], "list": [[1], [2], [3]]})
    assert answer_chart.default_axes(frame) == ("a.b[0]:Q", "y'", "who")
    assert [answer_chart.column_kind(frame[name]) for name in frame] == ["ordinal", "quantitative", "nominal", None]
    encoding, mark, rows = spec(answer_chart.chart(frame, "a.b[0]:Q", "y'", "who", "line"))
    assert (encoding["x"]["type"], encoding["y"]["type"], encoding["color"]["type"]) == ("ordinal", "quantitative", "nominal")
    assert (encoding["x"]["title"], encoding["y"]["title"], mark["type"]) == ("a.b[0]:Q", "y'", "line")
    assert rows == [{"x": 5, "y": 0.1, "colour": "m"}, {"x": 12, "y": 0.2, "colour": "m"}, {"x": 5, "y": 0.3, "colour": "s"}]


@pytest.mark.parametrize(
    "name", ["image", "title", "url", "__proto__", "a\nb", 'a"b', "a\\", "a.b[0]", "\u202ex", "", "constructor", "x" * 5000]
)
def test_no_column_is_a_word_of_a_tooltips(name):
    """Vega's tooltips show a line `image` as a picture from that address, and end at a quote or a line's end."""
    frame = pd.DataFrame({name: ["http://evil.example/i.png", "b"], "n": [0.5, 1.5]})
    drawn = json.loads(answer_chart.chart(frame, name, "n", name, "points").to_json())
    titles = [line["title"] for line in drawn["encoding"]["tooltip"]]
    assert [title.split(" ")[0] for title in titles] == ["x", "y", "colour"]
    assert not any(set(title) & set('"\\\n\u202e') or len(title) > 100 for title in titles)
    assert all("\n" not in str(drawn["encoding"][channel]["title"]) for channel in ("x", "y", "color"))


def test_long_words_are_cut_in_a_chart():
    frame = pd.DataFrame({"w": ["x" * 100_000, None], "n": [0.5, 1.5]})
    assert len(answer_chart.chart(frame, "w", "n", "w", "bars").to_json()) < 5000


def test_the_first_guess_of_a_mark():
    frame = pd.DataFrame({"word": ["a", "b"], "layer": [1, 2], "value": [0.5, 1.5], "other": [1.5, 0.5]})
    marks = [answer_chart.default_mark(frame, x, "value") for x in ("word", "layer", "other")]
    assert marks == ["bars", "line", "points"]
    many = pd.Series([f"w{i}" for i in range(answer_chart.MOST_CATEGORIES + 1)])
    assert not answer_chart.few_enough(many)
    assert answer_chart.few_enough(many.head(3)) and answer_chart.few_enough(pd.Series(range(1000)))


def test_downloads_hold_the_answer_and_nothing_that_a_spreadsheet_would_run():
    answered = Answer(pa.table({"=cmd()": [1], "text": ["=1+1"], "list": [[1, 2]]}), None)
    assert sql_answer.to_csv(answered.frame()).splitlines() == ["'=cmd(),text,list", '1,\'=1+1,"[1, 2]"']
    frame = pd.read_parquet(io.BytesIO(sql_answer.to_parquet(answered)))
    assert (frame["=cmd()"][0], frame["text"][0], frame["list"][0].tolist()) == (1, "=1+1", [1, 2])


def test_the_schema_shown_is_the_database_s():
    described = glossary.schema()
    assert list(described) == re.findall(r"CREATE TABLE (\w+)", tables.STORE.sql)
    for name, table in described.items():
        assert {column.name: column.type for column in table.columns} == tables.STORE.columns(name)
        keys = [column.name for column in table.columns if column.key]
        assert keys == [n for n in tables.STORE.columns(name) if n in table.key]


def test_comments_are_those_of_the_schema():
    described = glossary.schema()
    assert described["feature_stats"].comment.startswith("A row only where the feature fired")
    columns = {column.name: column for column in described["feature_stats"].columns}
    assert columns["mean_base"].comment == "mean scaled activation over the N tokens"
    assert columns["suppression"].comment == "null where the base never fires"
    assert columns["std_shift"].comment.endswith("(null but for domain 'all')")
    assert columns["mean_variant"].comment == "mean of b"


def test_a_store_carries_the_comments_and_is_the_same_without(tiny_store, tmp_path):
    """As the shipped store is, which was written before there were any."""
    copy = Path(shutil.copy(tiny_store / DATABASE_FILE, tmp_path))
    with open_store(tiny_store) as store, duckdb.connect(str(copy)) as database:
        carried = "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal AND comment IS NOT NULL"
        found = database.execute(carried).fetchall()
        described = glossary.schema().values()
        assert set(found) == {(t.name, c.name, c.comment) for t in described for c in t.columns if c.comment}
        digest = tables.STORE.digest(database)
        for table, column, _ in found:
            database.execute(f"COMMENT ON COLUMN {table}.{column} IS NULL")
        for table in tables.STORE.keys:
            database.execute(f"COMMENT ON TABLE {table} IS NULL")
        assert not database.execute(carried).fetchall()
        assert tables.STORE.digest(database) == digest
        assert trust.first_fault(database, store.manifest, copy.stat().st_size) is None


def test_the_page_shows_a_tables_columns(query_page):
    app = query_page()
    app.selectbox(key="schema_table").set_value("layers").run()
    shown = app.dataframe[0].value.set_index("column")
    assert shown.loc["d_sae"].tolist() == ["INTEGER", False, "number of features"]
    assert bool(shown.loc["layer", "key"])
