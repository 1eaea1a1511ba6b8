"""The causal check of a feature as a chart."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app import words
from app.charts import axes
from app.words import palette
from store.sidecar.steering import ABLATE, RESTORE, Steering


def strip(result: Steering) -> alt.LayerChart:
    """KL of the next token on one axis: as it is, moved along the feature (with its interval), and along random features.

    The axis is around what there is: it begins at 0 only where that lies near.
    """
    done = {RESTORE: "feature restored", ABLATE: "feature ablated"}[result.mode]
    rows = ["as it is", done, "random directions"]
    data = pd.DataFrame(
        [
            {"what": rows[0], "name": rows[0], "kl": result.kl_before},
            {"what": rows[1], "name": words.feature_name(result.layer, result.feature), "kl": result.kl_after},
            *(
                {"what": rows[2], "name": words.feature_name(result.layer, feature), "kl": kl}
                for feature, kl in result.controls.items()
            ),
        ]
    )
    ends = pd.DataFrame(columns=["what", "low", "high"])
    if result.low is not None and result.high is not None:
        ends = pd.DataFrame([{"what": rows[1], "low": result.kl_before + result.low, "high": result.kl_before + result.high}])
    drawn = pd.concat([data["kl"], ends["low"], ends["high"]]).astype(float)
    axis = alt.Axis(labelFontSize=13, labelLimit=160, labelOverlap=False, grid=False, ticks=False, domain=False)
    base = alt.Chart(data).encode(
        x=alt.X(
            "kl:Q",
            title="KL(base ‖ variant) of the next token, nats",
            scale=alt.Scale(zero=axes.reaches_zero(drawn), padding=10),
            axis=axes.across(),
        ),
        y=alt.Y("what:N", title=None, sort=rows, axis=axis),
        tooltip=[alt.Tooltip("name:N", title="moved along"), alt.Tooltip("kl:Q", title="KL, nats", format=".3~g")],
    )
    layers = [
        alt.Chart(data.head(1)).mark_rule(color=axes.GUIDE_COLOUR, strokeDash=[4, 4]).encode(x="kl:Q"),
        base.transform_filter(alt.datum.what == rows[2]).mark_tick(color=palette.CONTROL_COLOUR, thickness=2, size=16),
        base.transform_filter(alt.datum.what != rows[2]).mark_point(
            color=palette.NEUTRAL_COLOUR, filled=True, size=90, opacity=1
        ),
    ]
    if len(ends):
        interval = (
            alt.Chart(ends)
            .mark_rule(color=palette.NEUTRAL_COLOUR, strokeWidth=2)
            .encode(
                x="low:Q",
                x2="high:Q",
                y=alt.Y("what:N", sort=rows),
                tooltip=[
                    alt.Tooltip("low:Q", title="95 % interval of the change from as it is: from", format=".3~g"),
                    alt.Tooltip("high:Q", title="to", format=".3~g"),
                ],
            )
        )
        layers.insert(1, interval)
    return alt.layer(*layers).properties(height=30 * len(rows) + axes.AXIS_HEIGHT)
