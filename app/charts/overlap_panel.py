"""Cosine against overlap over depth, one small chart a recipe, beside random changes of the weights; no Streamlit in here."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.charts import axes
from app.words import meanings, metrics, palette
from store.names import OBSERVED, TWIN

METRICS = ("cosine", "overlap")
FLOOR = "isotropic"
"""The control whose overlap is what the size of the change alone gives."""


def panel(rows: pd.DataFrame, first: str, title: str, colour: str, lowest: float = 0.0) -> alt.LayerChart:
    """A recipe's cosine and overlap by layer, from `lowest` to 1, the same in every panel. Click selects 'point'.

    Behind each line of the first run the band of its twins, from the lowest to the highest, and of overlap the line of FLOOR;
    the recipe's other runs are thin lines.

    Args:
        rows: of METRICS and the recipe's runs alone: variant, layer, metric, control, value, low, high, n_tokens.
        first: the recipe's first run.
        colour: of the recipe.
    """
    rows = rows.dropna(subset="value").assign(called=rows["metric"].map(lambda name: metrics.metric(name).label))
    rows = rows.assign(is_first=rows["variant"] == first)
    observed = rows[rows["control"] == OBSERVED]
    is_twin, is_floor = rows["control"].str.startswith(TWIN), (rows["control"] == FLOOR) & (rows["metric"] == "overlap")
    beside = rows[rows["is_first"] & (is_twin | is_floor)]
    x = alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0, grid=False))
    scale = alt.Scale(domain=[min(0.0, lowest), 1], nice=False)
    y = {"title": None, "scale": scale, "axis": alt.Axis(format=".1f", **axes.UPRIGHT | {"tickCount": 5})}
    lines = alt.Chart(observed).encode(x=x, y=alt.Y("value:Q", **y), detail=["variant:N", "metric:N"], color=alt.value(colour))
    thick = lines.transform_filter("datum.is_first").mark_line(strokeWidth=3)
    thin = lines.transform_filter("!datum.is_first").mark_line(strokeWidth=1, strokeDash=[2, 3])
    points = lines.mark_point(filled=True, opacity=1, cursor="pointer").encode(
        size=alt.condition("datum.is_first", alt.value(50), alt.value(20)),
        tooltip=[
            alt.Tooltip("variant:N"),
            alt.Tooltip("layer:O"),
            alt.Tooltip("called:N", title="what"),
            alt.Tooltip("value:Q", format=".3f"),
            alt.Tooltip("low:Q", title="95 % from", format=".3f"),
            alt.Tooltip("high:Q", title="to", format=".3f"),
            alt.Tooltip("n_tokens:Q", title="tokens", format=","),
        ],
    )
    points = points.add_params(alt.selection_point(name="point", fields=["layer", "variant"], on="click"))
    marks = [*_beside(beside, x, y), thin, thick, points, *_names(pd.concat([observed, beside]), x, y)]
    return alt.layer(*marks).properties(height=300, title=alt.TitleParams(axes.printed(title), anchor="start", fontSize=14))


def _beside(rows: pd.DataFrame, x: alt.X, y: dict) -> list[alt.Chart]:
    """The bands of twins, and the floor of overlap, in grey; without rows nothing."""
    twins = rows[rows["control"].str.startswith(TWIN)]
    floor = rows[rows["control"] == FLOOR]
    marks = []
    if len(twins):
        values = twins.groupby(["metric", "called", "layer"])["value"]
        spans = pd.DataFrame({"low": values.min(), "high": values.max()}).reset_index()
        band = alt.Chart(spans)
        look = {"color": palette.CONTROL_COLOUR, "stroke": palette.CONTROL_COLOUR, "strokeWidth": 1, "opacity": 0.5}
        band = band.mark_bar(size=16, **look) if spans["layer"].nunique() == 1 else band.mark_area(**look)
        marks.append(
            band.encode(
                x=x, y=alt.Y("low:Q", **y), y2="high:Q", detail="metric:N",
                tooltip=[
                    alt.Tooltip("called:N", title=meanings.CONTROL_NAMES[meanings.TWINS]), alt.Tooltip("layer:O"),
                    alt.Tooltip("low:Q", title="from", format=".3f"), alt.Tooltip("high:Q", title="to", format=".3f"),
                ],
            )
        )  # fmt: skip
    if len(floor):
        grey = {"color": palette.CONTROL_COLOUR, "point": {"size": 14, "color": palette.CONTROL_COLOUR}}
        line = alt.Chart(floor).mark_line(strokeWidth=2, strokeDash=[5, 4], **grey)
        number = alt.Tooltip("value:Q", title=f"overlap, {meanings.CONTROL_NAMES[FLOOR]}", format=".3f")
        marks.append(line.encode(x=x, y=alt.Y("value:Q", **y), tooltip=[alt.Tooltip("layer:O"), number]))
    return marks


def _names(rows: pd.DataFrame, x: alt.X, y: dict) -> list[alt.Chart]:
    """The name and the value of each line at its last layer: cosine's above, overlap's below all that is drawn of it."""
    observed = rows[(rows["control"] == OBSERVED) & rows["is_first"]]
    marks = []
    for metric, dy in (("cosine", -13), ("overlap", 17)):
        line = observed[observed["metric"] == metric]
        last = line[line["layer"] == line["layer"].max()]
        drawn = rows[(rows["metric"] == metric) & rows["layer"].isin(last["layer"])]["value"]
        place = last.assign(at=drawn.max() if dy < 0 else drawn.min(), text=[f"{metric} {v:.2f}" for v in last["value"]])
        look = {"align": "right", "dx": 22, "fontSize": 12, "fontWeight": "bold", "color": palette.QUIET_COLOUR}
        marks.append(alt.Chart(place).mark_text(dy=dy, **look).encode(x=x, y=alt.Y("at:Q", **y), text="text:N"))
    return marks
