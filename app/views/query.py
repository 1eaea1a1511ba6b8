"""Query: the store in SQL. Read-only, limited, and every answer a link, a chart, a file and lines for a notebook."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import data, link, words
from app.charts import answer_chart, axes
from app.components import badges, pickers, runs, sql_answer
from app.words import palette
from store.names import BASE
from store.read.store import Store
from store.reports import glossary
from store.sandbox import run as sandbox

TITLE = "Query"
ICON = ":material/database:"
GROUP = "Data"
ORDER = 110

CHOICES = ("show", "x", "y", "colour", "mark")
SHOWN = ("Table", "Chart")
NONE = "none"
ASKED = "_sql_asked"  # the queries that this visitor asked: with a click here, not by following a link
LIMITS = sandbox.Limits()


def available(store: Store) -> list[sql_answer.Example]:
    """The examples that this store has something to answer to."""
    has = {"": True, "verdict": badges.has_twins(store), "contributions": store.has_contributions}
    has |= {table: n_rows > 0 for table, n_rows in store.manifest.rows.items()}
    return [example for example in sql_answer.EXAMPLES if has.get(example.needs or "", False)]


def wanted(default: str) -> str:
    """The query of the link; the default where there is none, or one too long to be ours."""
    text = link.read_text("sql")
    if len(text) > sql_answer.MOST_CHARACTERS:
        link.note(
            f"The link's query is longer than {sql_answer.MOST_CHARACTERS:,} characters; this page shows the first example."
        )
        return default
    return text.strip() or default


def ask_for(text: str | None) -> None:
    """Run a query, and put it into the URL; how another one was drawn is forgotten."""
    st.session_state.setdefault(ASKED, set()).add(text)
    if text != link.read_text("sql").strip():
        link.write(sql=text, **dict.fromkeys(CHOICES))


def may_run(text: str) -> bool:
    """Whether a query may run: one of ours, or one that this visitor asked. A link's waits for a click."""
    return text in st.session_state.get(ASKED, ()) or any(example.sql == text for example in sql_answer.EXAMPLES)


def typed() -> None:
    """What was written in the editor."""
    ask_for(st.session_state["sql_text"].strip() or None)


def editor(text: str) -> None:
    """The query, shown as the link has it; edits that were not run survive another widget's click."""
    if "sql_text" not in st.session_state or st.session_state.get("_sql_shown") != text:
        st.session_state["sql_text"] = st.session_state["_sql_shown"] = text
    with st.form("query", border=False):
        st.text_area(
            "SQL, one query that reads", key="sql_text", height=290, max_chars=sql_answer.MOST_CHARACTERS,
            help="DuckDB's SQL: SELECT, WITH, FROM, PIVOT, DESCRIBE, SUMMARIZE or SHOW.",
        )  # fmt: skip
        with st.container(**pickers.ROW):
            st.form_submit_button("Run", on_click=typed, type="primary", icon=":material/play_arrow:", help="Ctrl + Enter")
            st.caption(
                f"Stops after {LIMITS.seconds:g} s, {words.count(LIMITS.memory)} MB of memory or "
                f"{words.count(LIMITS.rows)} rows. Nothing can be changed from here."
            )


def examples(store: Store) -> None:
    """The saved questions; a click asks one."""
    place = st.container(gap=None)
    for example in available(store):
        icon = ":material/table_rows:" if example.chart is None else ":material/bar_chart:"
        place.button(
            example.title, key=f"example_{example.title}", on_click=ask_for, args=(example.sql,), type="tertiary", icon=icon
        )  # fmt: skip


def schema(store: Store) -> None:
    """Every table with its columns, types and comments, as schema.sql has them, and contributions.sql where they are there."""
    described = glossary.schema() | (glossary.contributions_schema() if store.has_contributions else {})
    rows = store.manifest.rows

    def called(table: str) -> str:
        return f"{table} · {words.count(rows[table])} rows" if table in rows else table

    name = st.selectbox("Table", list(described), key="schema_table", format_func=called)
    table = described[name]
    st.caption(" ".join(filter(None, [words.plain(table.comment), f"A row is one ({words.plain(', '.join(table.key))})."])))
    columns = pd.DataFrame([{"column": c.name, "type": c.type, "key": c.key, "meaning": c.comment} for c in table.columns])
    st.dataframe(
        columns, hide_index=True, height=236, row_height=30, key="schema_columns",
        column_config={
            "column": st.column_config.TextColumn(width=118), "type": st.column_config.TextColumn(width=76),
            "key": st.column_config.CheckboxColumn(width=40), "meaning": st.column_config.TextColumn(width=500),
        },
    )  # fmt: skip


def failure(error: sandbox.QueryError) -> None:
    """What DuckDB says at the head of its error, and where in the query; or which limit it met."""
    st.error(words.plain(str(error)), icon=":material/error:")
    if error.where:
        st.code(words.short(error.where, 1000), language=None)


def as_chart(frame: pd.DataFrame, saved: tuple[str, str, str, str] | None) -> None:
    """Pickers of columns, and the chart that they make; `saved`: how an example is drawn."""
    drawable = [name for name in frame if answer_chart.column_kind(frame[name])]
    if frame.empty or not drawable:
        st.info("Nothing here can be drawn: a chart needs rows, and a column of numbers, words or times.")
        return
    x, y, colour, mark = saved or (*answer_chart.default_axes(frame), None)
    with st.container(**pickers.ROW):
        x = pickers.pick("x", "x", drawable, x, few=0)
        y = pickers.pick("y", "y", drawable, y, few=0)
        colours = [NONE, *(name for name in drawable if answer_chart.few_enough(frame[name]))]
        colour = pickers.pick("Colour", "colour", colours, colour if colour in colours else NONE, few=0)
        mark = pickers.pick("Drawn as", "mark", answer_chart.MARKS, mark or answer_chart.default_mark(frame, x, y))
    known = {BASE: axes.Look(palette.BASE_COLOUR)} | runs.looks(data.current())
    drawn = answer_chart.chart(frame, x, y, None if colour == NONE else colour, mark, known)
    st.altair_chart(drawn, key="query_chart", alt=f"{axes.printed(y)} against {axes.printed(x)}")
    if len(frame) > axes.MOST_POINTS:
        st.caption(f"Drawn from the first {words.count(axes.MOST_POINTS)} rows.")


def waiting(others: int) -> str:
    """What is said while a query runs, or has to wait for the others' end."""
    if others < sandbox.AT_ONCE:
        return "Asking the store"
    return (
        f"Waiting for one of {sandbox.AT_ONCE} places: {others} other queries are before this one, and each is stopped after "
        f"{LIMITS.seconds:g} seconds"
    )


def result(store: Store, text: str) -> None:
    """The answer as table, chart, files and lines; or what was wrong with the query."""
    try:
        with st.spinner(waiting(sandbox.others())):
            answer = data.query(store, text)
        frame = answer.frame()
    except sandbox.QueryError as error:
        failure(error)
        return
    saved = next((example.chart for example in sql_answer.EXAMPLES if example.sql == text), None)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        show = pickers.pick("Answer", "show", SHOWN, SHOWN[saved is not None])
        st.markdown(f"**{sql_answer.shown_rows(len(frame), answer.cut)}**")
        options = {"on_click": "ignore", "icon": ":material/download:"}
        st.download_button("CSV", lambda: sql_answer.to_csv(frame), "query.csv", "text/csv", **options)
        st.download_button(
            "Parquet", lambda: sql_answer.to_parquet(answer), "query.parquet", "application/vnd.apache.parquet", **options
        )
    if answer.as_text:
        named = words.listing([words.plain(words.short(name, 40)) for name in answer.as_text[:5]])
        more = f" and {len(answer.as_text) - 5:,} more" if len(answer.as_text) > 5 else ""
        st.caption(f"As text, because tables and files have no such type or value: {named}{more}.")
    if show == "Chart":
        as_chart(frame, saved)
    else:
        st.dataframe(frame, hide_index=True, height="auto" if len(frame) < 12 else 460, key="answer")
    with st.expander("Open in Python", icon=":material/code:"):
        whole = " Every row: the limits above are this page's." if answer.cut else ""
        st.caption(f"The same frame in a notebook, started in the folder of this repository.{whole}")
        st.code(sql_answer.python_lines(store.path, text), language=None)


store = data.current()
st.html("<style>.st-key-sql_text textarea { font-family: monospace; font-size: 0.86rem; }</style>")
st.markdown(f"## {TITLE}")
st.caption("Whatever the other pages do not show: ask the store's tables in SQL. The link of this page is the query.")
text = wanted(available(store)[0].sql)
left, right = st.columns([1.45, 1], gap="medium")
with left:
    editor(text)
with right:
    saved, browsed = st.tabs(["Examples", "Tables and columns"])
    with saved:
        examples(store)
    with browsed:
        schema(store)
if may_run(text):
    result(store, text)
else:
    st.info("This query came with the link and has not been run. Read it, then press Run.", icon=":material/link:")
