"""What the Query page offers: examples, and of any answer a chart, files, and the same in a notebook."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as parquet

from app import words
from app.components import tables
from store.metrics.thresholds import DENSE
from store.sandbox.run import Answer

MOST_CHARACTERS = 4000
"""Longer queries do not go into a link."""


@dataclass(frozen=True)
class Example:
    """A question that a store answers.

    Attributes:
        needs: 'verdict' (a store with twins), 'contributions' (one that has them), a table that has to have rows, or ''.
        chart: (x, y, colour, mark) where the answer is best seen; None where it is a table.
    """

    title: str
    sql: str
    needs: str = ""
    chart: tuple[str, str, str, str] | None = None


EXAMPLES = (
    Example(
        "Overlap beside random changes of the weights, by layer",
        """-- The overlap of active features, and the lowest and highest of the variant's twins
SELECT variant, layer, any_value(value) FILTER (control = 'observed') AS overlap,
       min(value) FILTER (starts_with(control, 'twin_')) AS lowest_twin,
       max(value) FILTER (starts_with(control, 'twin_')) AS highest_twin
FROM layer_metrics
WHERE metric = 'overlap' AND domain = 'all' AND segment = 'all'
GROUP BY ALL
ORDER BY ALL""",
        "verdict",
        ("layer", "overlap", "variant", "line"),
    ),
    Example(
        "Suppressed in several variants",
        """-- Features that are claimed to be suppressed in more than one variant
SELECT s.layer, s.feature, f.label, list(s.variant ORDER BY s.variant) AS variants, min(s.change) AS largest_loss
FROM feature_stats s JOIN features f USING (layer, feature)
WHERE s.domain = 'all' AND s.verdict = 'suppressed'
GROUP BY ALL
HAVING count(*) > 1
ORDER BY len(variants) DESC, largest_loss, layer, feature""",
        "verdict",
    ),
    Example(
        "Change of each feature, and why its verdict",
        """-- Share lost (below 0) or new; its range over the runs of the recipe and under random changes of the weights
SELECT s.variant, s.layer, s.feature, f.label, s.change, s.change_low, s.change_high, s.replicate_low, s.replicate_high,
       s.twin_low, s.twin_high, greatest(s.freq_base, s.freq_variant) AS fires_on, s.verdict, s.reason
FROM feature_stats s JOIN features f USING (layer, feature)
WHERE s.domain = 'all' AND s.verdict <> 'could not be seen'
ORDER BY abs(s.change) DESC NULLS LAST, s.variant, s.layer, s.feature
LIMIT 2000""",
        "verdict",
        ("fires_on", "change", "verdict", "points"),
    ),
    Example(
        "Verdicts counted",
        """-- How many features of each layer have which verdict; those that never fire have none
SELECT variant, layer, verdict, count(*) AS features
FROM feature_stats
WHERE domain = 'all' AND verdict IS NOT NULL
GROUP BY ALL
ORDER BY ALL""",
        "verdict",
        ("verdict", "features", "variant", "bars"),
    ),
    Example(
        "Learned and cost, beside random changes of the weights",
        """-- Nats a predicted token: on the variant's own task, and on text that no variant was trained for
SELECT variant, domain, any_value(gain) FILTER (control = 'observed') AS gain,
       any_value(low) FILTER (control = 'observed') AS low, any_value(high) FILTER (control = 'observed') AS high,
       max(gain) FILTER (starts_with(control, 'twin_')) AS highest_twin
FROM contributions.learned
WHERE slot = 'all' AND domain IN ('*task', '*neutral')
GROUP BY ALL
ORDER BY ALL""",
        "contributions",
        ("variant", "gain", "domain", "bars"),
    ),
    Example(
        "Features through which the task was learned, beyond any of a random change",
        """-- Of each recipe's first run, which has twins: beyond any feature of theirs; of several runs with one sign in all
-- of them. q: the share of false claims; a small sample leaves few below 0.05
WITH floors AS (
    SELECT variant, layer, max(largest) AS highest_twin, min(smallest) AS lowest_twin
    FROM contributions.layers WHERE domain = '*task' AND control <> 'observed' GROUP BY ALL
)
SELECT c.variant, c.layer, c.feature, f.label, c.gain, c.low, c.high, c.q, c.replicate_low, c.replicate_high,
       t.lowest_twin, t.highest_twin
FROM contributions.features c JOIN features f USING (layer, feature) JOIN floors t USING (variant, layer)
WHERE c.domain = '*task' AND c.gain NOT BETWEEN t.lowest_twin AND t.highest_twin
  AND coalesce(sign(c.replicate_low) = sign(c.replicate_high), true)
ORDER BY c.variant, abs(c.gain) DESC, c.layer, c.feature
LIMIT 500""",
        "contributions",
    ),
    Example(
        "Nearest neighbour changed the other way",
        """-- Features that lost activation while the one with the most similar decoder direction gained
SELECT s.variant, s.layer, s.feature, f.label, s.change,
       n.feature AS neighbour, g.label AS neighbour_label, n.change AS neighbour_change, f.neighbour_cosines[1] AS cosine
FROM feature_stats s
JOIN features f USING (layer, feature)
JOIN feature_stats n ON n.variant = s.variant AND n.layer = s.layer AND n.domain = s.domain AND n.feature = f.neighbours[1]
JOIN features g ON g.layer = n.layer AND g.feature = n.feature
WHERE s.domain = 'all' AND s.change < 0 AND n.change > 0 AND cosine > 0.5
ORDER BY least(-s.change, n.change) DESC, s.variant, s.layer, s.feature
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
