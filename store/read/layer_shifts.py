"""The numbers of two variants at a layer, from every feature's shift and change."""

import math
from typing import Any

import numpy as np
import pandas as pd

from store.metrics.ranks import positions, rank_correlation

TOP = 50
"""Features compared as 'the most moved' of two variants."""


class LayerShifts:
    """Every variant's shifts and changes at one layer and domain as dense arrays [variants, features]."""

    COLUMNS = (
        "n", "spearman", "spearman_std", "n_seen", "correlation", "top_k", "top_shared", "top_expected", "called_a", "called_b",
        "called_same", "called_opposite", "called_either", "signs_agree",
    )  # fmt: skip

    def __init__(self, rows: pd.DataFrame, changed: pd.DataFrame, n_variants: int) -> None:
        """rows: variant (its number), feature, shift, std_shift, change, seen; changed: variant and feature that changed."""
        at = (rows["variant"].to_numpy(), rows["feature"].to_numpy())
        shape = (n_variants, int(rows["feature"].max()) + 1 if len(rows) else 0)
        self.fires = np.zeros(shape, dtype=bool)
        self.fires[at] = True
        self.seen = np.zeros(shape, dtype=bool)
        self.seen[at] = rows["seen"].to_numpy(dtype=bool)
        dense = {name: np.zeros(shape) for name in ("shift", "std_shift", "change")}
        for name, values in dense.items():
            values[at] = rows[name].to_numpy(dtype=float, na_value=np.nan)
        self.shift, self.change = dense["shift"], dense.pop("change")
        self.defined = {name: np.isfinite(values) for name, values in dense.items()}
        self.positions = {name: [positions(of_variant) for of_variant in values] for name, values in dense.items()}
        self.called = np.zeros(shape, dtype=bool)
        self.called[changed["variant"].to_numpy(), changed["feature"].to_numpy()] = True

    def pair(self, a: int, b: int, k: int) -> dict[str, Any]:
        """The numbers COLUMNS of two variants."""
        either = self.fires[a] | self.fires[b]
        n = int(either.sum())
        top_a, top_b = self._top(a, k), self._top(b, k)
        both, any_called = self.called[a] & self.called[b], self.called[a] | self.called[b]
        seen = self.seen[a] & self.seen[b]
        same_sign = self.shift[a] * self.shift[b] > 0
        numbers = (
            n,
            self._rank_correlation("shift", a, b, either),
            self._rank_correlation("std_shift", a, b, either),
            int(seen.sum()),
            _correlation(self.change[a][seen], self.change[b][seen]),
            min(len(top_a), len(top_b)),
            len(np.intersect1d(top_a, top_b)),
            len(top_a) * len(top_b) / n if n else math.nan,
            int(self.called[a].sum()),
            int(self.called[b].sum()),
            int((both & same_sign).sum()),
            int((both & ~same_sign).sum()),
            int(any_called.sum()),
            int((any_called & same_sign).sum()),
        )
        return dict(zip(self.COLUMNS, numbers, strict=True))

    def _rank_correlation(self, name: str, a: int, b: int, features: np.ndarray) -> float:
        chosen = features & self.defined[name][a] & self.defined[name][b]
        return rank_correlation(self.positions[name][a][chosen], self.positions[name][b][chosen])

    def _top(self, variant: int, k: int) -> np.ndarray:
        """The k features with the largest |shift| but 0; the lower number first where two are equal."""
        size = np.abs(self.shift[variant])
        return np.argsort(-size, kind="stable")[: min(k, int((size > 0).sum()))]


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's, of two arrays [n]; NaN below three values, or where one of them is constant."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])
