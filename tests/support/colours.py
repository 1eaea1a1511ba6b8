"""Colours as people see them: WCAG's contrast, OKLab, and the common deficiencies of colour vision."""

import numpy as np

DEFICIENCIES = {
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Machado, Oliveira and Fernandes 2009, at full severity, in linear RGB."""

TO_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
TO_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip
"""Ottosson 2020: linear RGB to OKLab, by way of the cube root of the cones' answers."""


def linear(colour: str) -> np.ndarray:
    """'#rrggbb' as linear RGB from 0 to 1."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours, from 1 to 21."""
    lights = [luminance(colour) + 0.05 for colour in (one, other)]
    return max(lights) / min(lights)


def seen(colour: str, reader: str) -> np.ndarray:
    """Linear RGB as a reader with one of DEFICIENCIES sees it, or as 'everyone' else does."""
    return np.clip(np.array(DEFICIENCIES.get(reader, np.eye(3))) @ linear(colour), 0, 1)


def oklab(rgb: np.ndarray) -> np.ndarray:
    return TO_LAB @ np.cbrt(TO_LMS @ rgb)
