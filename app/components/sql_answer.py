"""What the Query page offers: examples, and of any answer a chart, files, and the same in a notebook."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import pandas as pd
import pyarrow.parquet as parquet

from app.charts import features as charts
from app.components import tables
from app.words import metrics as words
from store.metrics.thresholds import DENSE
from store.sandbox.run import Answer

MOST_CHARACTERS = 4000
"""Longer queries do not go into a link."""

MOST_CATEGORIES = 30
"""More different words than this are not told apart by a colour, nor are more bars readable."""

MARKS = ("points", "line", "bars")


@dataclass(frozen=True)
class Example:
    """A question that a store answers.

    Attributes:
        needs: 'verdict' (a store with a noise floor), a table that has to have rows, or ''.
        chart: (x, y, colour, mark) where the answer is best seen; None where it is a table.
    """

    title: str
    sql: str
    needs: str = ""
    chart: tuple[str, str, str, str] | None = None


EXAMPLES = (
    Example(
        "Overlap below its noise floor, by layer",
        """-- How much lower the overlap of active features is than under a random change of the same size
SELECT c.variant, c.layer, o.value AS overlap, c.value AS isotropic, c.excess, c.excess_low, c.excess_high
FROM layer_metrics c
JOIN layer_metrics o USING (variant, layer, domain, segment, metric)
WHERE metric = 'overlap' AND c.control = 'isotropic' AND o.control = 'observed'
  AND domain = 'all' AND segment = 'all'
ORDER BY ALL""",
        "verdict",
        ("layer", "excess", "variant", "line"),
    ),
    Example(
        "Suppressed in every variant",
        """-- Features that fell beyond noise in all the variants
SELECT s.layer, s.feature, f.label, min(s.shift) AS largest_fall, max(s.q) AS largest_q
FROM feature_stats s JOIN features f USING (layer, feature)
WHERE s.domain = 'all' AND s.verdict = 'suppressed'
GROUP BY ALL
HAVING count(*) = (SELECT count(DISTINCT variant) FROM fit)
ORDER BY largest_fall, layer, feature""",
        "verdict",
    ),
    Example(
        "Effect against evidence",
        """-- Each tested feature of every layer and variant: how far it moved, and how surely
SELECT s.variant, s.layer, s.feature, f.label, s.shift, s.z, s.q, s.verdict
FROM feature_stats s JOIN features f USING (layer, feature)
WHERE s.domain = 'all' AND s.verdict <> 'untestable'
ORDER BY abs(s.z) DESC NULLS LAST, s.variant, s.layer, s.feature
LIMIT 2000""",
        "verdict",
        ("shift", "z", "verdict", "points"),
    ),
    Example(
        "Nearest neighbour moved the other way",
        """-- Features that fell while the one with the most similar decoder direction rose
SELECT s.variant, s.layer, s.feature, f.label, s.shift,
       n.feature AS neighbour, g.label AS neighbour_label, n.shift AS neighbour_shift, f.neighbour_cosines[1] AS cosine
FROM feature_stats s
JOIN features f USING (layer, feature)
JOIN feature_stats n ON n.variant = s.variant AND n.layer = s.layer AND n.domain = s.domain AND n.feature = f.neighbours[1]
JOIN features g ON g.layer = n.layer AND g.feature = n.feature
WHERE s.domain = 'all' AND s.shift < 0 AND n.shift > 0 AND cosine > 0.5
ORDER BY least(-s.shift, n.shift) DESC, s.variant, s.layer, s.feature
LIMIT 200""",
    ),
    Example(
        "Documents that changed most",
        """-- By the overlap of active features over the document's tokens, averaged over the layers
SELECT s.variant, d.document, d.domain, d.source, any_value(d.n_tokens) AS tokens,
       sum(s.overlap) / sum(s.n_tokens) AS overlap,
       sqrt(sum(s.delta_norm2) / nullif(sum(s.base_norm2), 0)) AS relative_shift
FROM document_sums s JOIN documents d USING (document)
GROUP BY ALL
ORDER BY overlap, variant, document
LIMIT 500""",
        "",
        ("relative_shift", "overlap", "domain", "points"),
    ),
    Example(
        "Tokens where the prediction changed most",
        """-- KL of the next token's distribution after this token, in nats
SELECT k.variant, k.kl, v.token, t.segment, d.domain, d.source, k.position, k.base_logprob, k.variant_logprob
FROM token_kl k
JOIN tokens t USING (document, position)
JOIN vocabulary v USING (token_id)
JOIN documents d USING (document)
ORDER BY k.kl DESC, k.variant, k.document, k.position
LIMIT 200""",
        "token_kl",
    ),
    Example(
        "Features counted by kind of change",
        """-- Over all domains together
SELECT variant, layer, kind, count(*) AS features
FROM feature_stats
WHERE domain = 'all'
GROUP BY ALL
ORDER BY ALL""",
        "",
        ("kind", "features", "variant", "bars"),
    ),
    Example(
        "Dead and dense features",
        f"""-- Shares of each dictionary that never fire in the base here, or on more than a tenth of the tokens
SELECT layer, count(*) AS features, avg((density = 0)::INT) AS dead, avg((density > {DENSE})::INT) AS dense,
       median(density) AS median_density
FROM features
GROUP BY layer
ORDER BY layer""",
    ),
)


def python_lines(path: Path, sql: str) -> str:
    """The lines that give the same frame in a notebook started in this folder."""
    here, store = Path.cwd(), path.resolve()
    place = str(store.relative_to(here)) if store.is_relative_to(here) else str(store)
    plain = "\\" not in sql and '"""' not in sql
    text = f'"""\n{sql.strip()}\n"""' if plain else repr(sql)
    return f"from store import open_store\n\ns = open_store({place!r})\nframe = s.sql({text})"


def column_kind(values: pd.Series) -> str | None:
    """How a column is drawn: 'quantitative', 'ordinal', 'nominal' or 'temporal'; None where it cannot be (lists)."""
    if pd.api.types.is_bool_dtype(values):
        return "nominal"
    if pd.api.types.is_integer_dtype(values):
        return "ordinal" if values.nunique() <= MOST_CATEGORIES else "quantitative"
    if pd.api.types.is_numeric_dtype(values):
        return "quantitative"
    if pd.api.types.is_datetime64_any_dtype(values):
        return "temporal"
    known = values.dropna()
    return "nominal" if len(known) == 0 or known.map(lambda value: isinstance(value, str)).all() else None


def default_axes(frame: pd.DataFrame) -> tuple[str, str, str | None]:
    """Columns for x, y and colour that make a first chart: y a number, x what comes before it, colour a few words."""
    kinds = {name: kind for name in frame if (kind := column_kind(frame[name]))}
    numbers = [name for name in kinds if pd.api.types.is_numeric_dtype(frame[name])]
    y = next((name for name in numbers if kinds[name] == "quantitative"), (numbers or list(kinds))[-1])
    x = next((name for name in kinds if name != y and kinds[name] != "nominal"), next((n for n in kinds if n != y), y))
    colour = next((n for n in kinds if n not in (x, y) and kinds[n] == "nominal" and frame[n].nunique() <= 8), None)
    return x, y, colour


def default_mark(frame: pd.DataFrame, x: str, y: str) -> str:
    """Bars over words, a line over ordered whole numbers, points for all else."""
    kinds = column_kind(frame[x]), pd.api.types.is_numeric_dtype(frame[y])
    return {("nominal", True): "bars", ("ordinal", True): "line", ("temporal", True): "line"}.get(kinds, "points")


def chart(frame: pd.DataFrame, x: str, y: str, colour: str | None, mark: str) -> alt.Chart:
    """Two columns of an answer against each other, one more as colour; at most charts.MOST_POINTS rows are drawn.

    The columns go in under names of our own: theirs may be anything. So may the words in them: long ones are cut.
    """
    roles = {"x": x, "y": y} | ({"colour": colour} if colour is not None else {})
    data = pd.DataFrame({role: frame[name] for role, name in roles.items()}).head(charts.MOST_POINTS)
    for role in roles:
        if column_kind(data[role]) == "nominal" and not pd.api.types.is_bool_dtype(data[role]):
            data[role] = data[role].map(charts.printed, na_action="ignore")
    kinds = {role: column_kind(data[role]) or "nominal" for role in roles}
    if pd.api.types.is_numeric_dtype(data["y"]) and not pd.api.types.is_bool_dtype(data["y"]):
        kinds["y"] = "quantitative"
    axis = alt.Axis(labelAngle=0, labelLimit=140) if kinds["x"] in ("ordinal", "nominal") else alt.Axis(labelLimit=140)
    scale = alt.Scale(zero=mark == "bars") if kinds["y"] == "quantitative" else alt.Undefined
    channels = {
        "x": alt.X("x", type=kinds["x"], title=charts.printed(x), axis=axis),
        "y": alt.Y("y", type=kinds["y"], title=charts.printed(y), scale=scale),
        "tooltip": [
            alt.Tooltip(role, type=kinds[role], title=charts.line_name(name, before=role)) for role, name in roles.items()
        ],
    }  # fmt: skip
    if colour is not None:
        channels["color"] = _colour(data["colour"], kinds["colour"], charts.printed(colour))
        if mark == "bars" and kinds["colour"] != "quantitative":
            channels["xOffset"] = alt.XOffset("colour", type=kinds["colour"])
    base = alt.Chart(data).encode(**channels)
    drawn = {
        "points": lambda: base.mark_point(filled=True, size=45, opacity=0.75),
        "line": lambda: base.mark_line(point=True),
        "bars": lambda: base.mark_bar(),
    }[mark]()
    return drawn.properties(height=420)


def _colour(values: pd.Series, kind: str, title: str) -> alt.Color:
    if kind in ("nominal", "ordinal"):
        order = sorted(values.dropna().unique().tolist())[:MOST_CATEGORIES]
        scale = alt.Scale(domain=order, range=[charts.series_colour(i) for i in range(len(order))])
        return alt.Color("colour", type="nominal", title=title, scale=scale)
    return alt.Color("colour", type=kind, title=title, scale=alt.Scale(scheme="viridis"))


def few_enough(values: pd.Series) -> bool:
    """Whether a column can be a colour: numbers always, words where there are not too many different ones."""
    kind = column_kind(values)
    return kind == "quantitative" or (kind is not None and values.nunique() <= MOST_CATEGORIES)


def shown_rows(number: int, cut: str | None) -> str:
    """How many rows an answer has, and whether and why it was cut."""
    rows = words.counted(number, "row")
    return {None: rows, "rows": f"Cut at {rows}", "bytes": f"Cut at {rows}, which fill the space there is"}[cut]


def to_csv(frame: pd.DataFrame) -> str:
    """An answer as CSV: lists as JSON, and nothing that a spreadsheet would run, in a heading neither."""
    flat = frame.copy()
    for name in [name for name in flat if flat[name].dtype == object]:
        flat[name] = flat[name].map(_flat)
    flat.columns = [f"'{name}" if name.startswith(tables.FORMULA_STARTS) else name for name in flat.columns]
    return tables.csv(flat)


def to_parquet(answer: Answer) -> bytes:
    """An answer as a Parquet file, with DuckDB's types."""
    file = io.BytesIO()
    parquet.write_table(answer.table, file)
    return file.getvalue()


def _flat(value: object) -> object:
    plain = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(plain, list | dict | tuple):
        return plain
    try:
        return json.dumps(plain, default=_flat_inside, ensure_ascii=False)
    except TypeError:  # a map's keys may be anything
        return str(plain)


def _flat_inside(value: object) -> object:
    return value.tolist() if hasattr(value, "tolist") else str(value)
