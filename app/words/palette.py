"""The colours, shapes and lines of everything that is drawn. A colour has one meaning in the whole app:

- blue: the base; orange: the variant, where the two stand side by side;
- purple: fell, suppressed; green: rose, amplified;
- grey: random changes of the weights (twins), controls, chance;
- red: do not trust this, or a reviewer's concern.

Nothing else has these hues. A recipe has its colour of RECIPE_COLOURS on every page, which its runs share
(app/components/runs.py); what is neither model, direction nor recipe (domains, segments, groups, amounts) is neutral: told
apart by lightness, dashes and shapes. Amounts in maps take the ramp that ``theme.light`` and ``theme.dark`` of
.streamlit/config.toml name, darker for more on a light page, brighter on a dark one: RAMP.
"""

from __future__ import annotations

BASE_COLOUR = "#1f83c6"
VARIANT_COLOUR = "#dd6b10"
DECREASE_COLOUR = "#8e4fa8"
INCREASE_COLOUR = "#2a9d4e"
CONTROL_COLOUR = "#808080"
CHANCE_COLOUR = "#666666"
"""Of what chance alone would give, as ticks on coloured bars: darker than the controls' bands."""

RECIPE_COLOURS = ("#279ea2", "#bc3294", "#a88822", "#63691a", "#c4666a", "#875a64", "#d02b34", "#e961a0")
"""Teal, magenta, gold, olive, rose, mauve, crimson, pink: at least 3.1 to 1 on a white page and on Streamlit's dark one, and
0.06 apart in OKLab under deuteranopia, protanopia and tritanopia alike (Machado et al. 2009)."""

SERIES_COLOURS = ("#756653", "#8294a7", "#5a6b7d", "#9f907b")
"""Of domains, segments and groups: pale earth and slate, which no recipe has, at least 3.1 to 1 on both pages."""

NEUTRAL_COLOUR = SERIES_COLOURS[0]
"""Of marks that stand for no model, direction or recipe."""

AMOUNT_COLOUR = "#8a6c41"
"""Behind tokens: how much, whatever the direction. The ramp's hue."""

RAMP = "heatmap"
"""What Vega calls the range of colours that the theme gives."""

QUIET_COLOUR = "#767a8c"
"""Of small print in charts: at least 4.2 to 1 on a white page and on a black one."""

KIND_COLOURS = {
    "vanished": "#a05cbd",
    "weakened": "#bf9bd1",
    "steady": "#8c8c8c",
    "strengthened": "#86c98f",
    "appeared": "#2fa858",
}
KIND_SHAPES = {
    "vanished": "triangle-down",
    "weakened": "triangle-down",
    "steady": "circle",
    "strengthened": "triangle-up",
    "appeared": "triangle-up",
}

CONTROL_LINES = {
    "isotropic": ("dashed", 2), "rescaled": ("dotted", 3), "rerun": ("dotted", 1), "shuffled": ("dotted", 2),
    "mean_shift": ("dashed", 1),
}  # fmt: skip
"""How a control's line is drawn: style and width in pixels. Twins are a band, from the lowest to the highest of them."""
