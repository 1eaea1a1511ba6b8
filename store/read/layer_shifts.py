"""The numbers of two variants at a layer, from every feature's shifts."""

import math
from typing import Any

import numpy as np
import pandas as pd

from store.metrics.ranks import positions, rank_correlation

TOP = 50
"""Features compared as 'the most moved' of two variants."""


class LayerShifts:
    """Every variant's shifts at one layer and domain as dense arrays [variants, features]."""

    COLUMNS = (
        "n", "spearman", "spearman_std", "spearman_noise", "top_k", "top_shared", "top_expected", "called_a", "called_b",
        "called_same", "called_opposite", "called_either", "signs_agree",
    )  # fmt: skip

    def __init__(self, rows: pd.DataFrame, changed: pd.DataFrame, n_variants: int) -> None:
        """rows: variant (its number), feature, shift, std_shift, shift_isotropic; changed: variant and feature that changed."""
        at = (rows["variant"].to_numpy(), rows["feature"].to_numpy())
        shape = (n_variants, int(rows["feature"].max()) + 1 if len(rows) else 0)
        self.fires = np.zeros(shape, dtype=bool)
        self.fires[at] = True
        dense = {name: np.zeros(shape) for name in ("shift", "std_shift", "shift_isotropic")}
        for name, values in dense.items():
            values[at] = rows[name].to_numpy(dtype=float, na_value=np.nan)
        self.shift = dense["shift"]
        self.has_noise = bool(rows["shift_isotropic"].notna().any())
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
        same_sign = self.shift[a] * self.shift[b] > 0
        numbers = (
            n,
            self._correlation("shift", a, b, either),
            self._correlation("std_shift", a, b, either),
            self._correlation("shift_isotropic", a, b, either) if self.has_noise else math.nan,
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

    def _correlation(self, name: str, a: int, b: int, features: np.ndarray) -> float:
        chosen = features & self.defined[name][a] & self.defined[name][b]
        return rank_correlation(self.positions[name][a][chosen], self.positions[name][b][chosen])

    def _top(self, variant: int, k: int) -> np.ndarray:
        """The k features with the largest |shift| but 0; the lower number first where two are equal."""
        size = np.abs(self.shift[variant])
        return np.argsort(-size, kind="stable")[: min(k, int((size > 0).sum()))]
