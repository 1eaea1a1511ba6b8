"""Rank correlation (Spearman's)."""

import math

import numpy as np
from scipy.stats import rankdata


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Rank correlation of two arrays [n], tied values at their mean rank.

    NaN below three values, or where one of the arrays is constant.
    """
    if len(x) < 3 or x.min() == x.max() or y.min() == y.max():
        return math.nan
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])
