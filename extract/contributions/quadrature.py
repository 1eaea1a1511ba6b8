"""Rules for the mean of a smooth function over the way from 0 to 1.

Gauss's of 2 points, exact for polynomials of degree 3; Kronrod's extension of it by 3, exact to degree 7 (Kronrod 1965; its
nodes and weights follow from that degree); Gauss's of 12, exact to degree 23, which shares no point with them.
"""

from math import sqrt

import numpy as np

_NESTED = {2: {sqrt(1 / 3): 1.0}, 5: {0.0: 28 / 45, sqrt(1 / 3): 27 / 55, sqrt(6 / 7): 98 / 495}}
"""Points -> distance from the middle of [-1, 1] -> weight there, to both sides."""

POINTS = (*_NESTED, 12)
"""How many points the rules have."""


def rule(points: int) -> dict[float, float]:
    """Point, ascending in (0, 1) -> weight; the weights add up to 1.

    Args:
        points: of POINTS.
    """
    if points in _NESTED:
        pairs = [(side * distance, weight) for distance, weight in _NESTED[points].items() for side in (-1, 1)]
    else:
        pairs = zip(*np.polynomial.legendre.leggauss(points), strict=True)
    return {(1 + float(node)) / 2: float(weight) / 2 for node, weight in sorted(pairs)}
