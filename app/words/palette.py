"""The colours, shapes and lines of everything that is drawn."""

from __future__ import annotations

BASE_COLOUR = "#1f83c6"
VARIANT_COLOUR = "#dd6b10"
DECREASE_COLOUR = "#8e4fa8"
INCREASE_COLOUR = "#2a9d4e"

SERIES_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7a00", "#7a7a7a")
"""Okabe and Ito's palette, which stays apart under the common kinds of colour blindness."""

COUNT_COLOURS = ("#c7e3b5", "#41b6c4", "#225ea8")
"""Few to many: each apart from a white and from a black page."""

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
CONTROL_COLOUR = "#808080"

CHANCE_COLOUR = "#6b6b6b"
"""Of what chance alone would give, on coloured bars."""

CONTROL_LINES = {
    "isotropic": ("dashed", 2), "rescaled": ("dotted", 3), "rerun": ("dotted", 1), "shuffled": ("dotted", 2),
    "mean_shift": ("dashed", 1),
}  # fmt: skip
"""How a control's line is drawn: style and width in pixels. Twins are a band, from the lowest to the highest of them."""
