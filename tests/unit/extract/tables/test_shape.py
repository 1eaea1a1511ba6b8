"""The spectrum of changes whose shape is known: one direction, several of known sizes, none at all."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from extract.measure.sum_tables import OUTER, SPECTRUM_SHARDS
from extract.tables import spectrum as shape

WIDTH = 6


class FakeMerger:
    """Shards' sums of one variant's change at one layer, and what is written of them.

    Args:
        shards: delta of each shard, float64 [tokens, WIDTH], on a base that is far from 0.
    """

    def __init__(self, shards: list[np.ndarray], spectrum: int = 4) -> None:
        self.context = SimpleNamespace(config=SimpleNamespace(spectrum=spectrum), pilots={2: SimpleNamespace(chance=0.25)})
        self.shards, self.sums, self.writer = range(len(shards)), self, self
        self.of_shard = [
            {
                "counts": np.array([len(delta), 0]),
                "base_totals": np.vstack([np.full(WIDTH, 8.0), np.ones(WIDTH)]),
                "totals": np.vstack([8.0 + delta.sum(0), np.ones(WIDTH)]),
                "outer": delta.T @ delta,
            }
            for delta in shards
        ]
        self.rows = pd.DataFrame()

    def columns(self, table, *place: object):
        """As ``ShardSums.columns``; only the shards that take part have an outer product."""
        for number, columns in enumerate(self.of_shard):
            if table is OUTER and number >= SPECTRUM_SHARDS:
                raise KeyError(place)
            yield columns

    def load(self, table: str, rows) -> None:
        """As ``StoreWriter.load``."""
        assert table == "spectrum"
        self.rows = rows.to_pandas()


DECODER = torch.tensor(np.vstack([np.eye(WIDTH) * 3, [[1.0, -1, 0, 0, 0, 0]]]))
"""Rows along the axes, of norm 3, and one between the first two."""


def spectrum_of(*shards: np.ndarray, **options) -> tuple[dict[str, float], pd.DataFrame]:
    """(metrics, rows of the table)."""
    merged = FakeMerger(list(shards), **options)
    dictionary = SimpleNamespace(layer=2, unit_decoder=torch.nn.functional.normalize(DECODER, dim=1))
    metrics = shape.write_spectrum(merged, dictionary, "maths")
    return metrics, merged.rows


def pairs(size: float, axis: int) -> np.ndarray:
    """Two changes of opposite sign along an axis."""
    out = np.zeros((2, WIDTH))
    out[:, axis] = size, -size
    return out


def test_three_directions_by_hand() -> None:
    """Scatter 2 * 9, 2 * 4, 2 * 1 along axes 3, 0, 5: shares 9/14, 4/14, 1/14, no mean, and the rank is exp(entropy).

    entropy = -(9/14 ln 9/14 + 4/14 ln 4/14 + 1/14 ln 1/14) = 0.28403 + 0.35793 + 0.18850 = 0.83047, exp 2.2944.
    """
    metrics, rows = spectrum_of(np.vstack([pairs(3, 3), pairs(2, 0)]), pairs(1, 5))
    assert rows["component"].tolist() == [1, 2, 3]
    assert rows["share"].tolist() == pytest.approx([9 / 14, 4 / 14, 1 / 14])
    for direction, axis in zip(rows["direction"], (3, 0, 5), strict=True):
        assert direction == pytest.approx(np.eye(WIDTH)[axis])
    assert rows["features"][1][:2].tolist() == [0, 6]
    assert rows["cosines"][1][:2] == pytest.approx([1, 0.5**0.5])
    assert [len(features) for features in rows["features"]] == [5, 5, 5]
    assert (rows["chance"] == 0.25).all() and (rows["layer"] == 2).all() and (rows["variant"] == "maths").all()
    assert metrics["effective_rank"] == pytest.approx(2.2944, abs=1e-4)
    assert metrics["mean_share"] == pytest.approx(0, abs=1e-30)


def test_a_mean_and_a_direction() -> None:
    """Every token by -2 along axis 1, and by 1 or -1 along axis 4: 4/5 is the mean, whose sign is kept, 1/5 the rest."""
    delta = pairs(1, 4)
    delta[:, 1] = -2
    metrics, rows = spectrum_of(delta, delta)
    assert rows["component"].tolist() == [0, 1]
    assert rows["share"].tolist() == pytest.approx([0.8, 0.2])
    assert rows["direction"][0] == pytest.approx(-np.eye(WIDTH)[1])
    assert rows["cosines"][0][0] == pytest.approx(-1)
    assert metrics == {"effective_rank": pytest.approx(1), "mean_share": pytest.approx(0.8)}


def test_a_constant_change_has_no_rank() -> None:
    """Rounding about the mean has no direction: one row, the mean, and effective_rank is undefined."""
    rng = np.random.default_rng(0)
    delta = np.tile(rng.normal(size=WIDTH), (500, 1)) * (1 + 1e-9 * rng.normal(size=(500, 1)))
    metrics, rows = spectrum_of(delta)
    assert rows["component"].tolist() == [0]
    assert metrics["mean_share"] == pytest.approx(1) and np.isnan(metrics["effective_rank"])


def test_no_change_has_no_spectrum() -> None:
    """No row, nothing to say."""
    metrics, rows = spectrum_of(np.zeros((5, WIDTH)))
    assert rows.empty and np.isnan(list(metrics.values())).all() and set(metrics) == {"effective_rank", "mean_share"}


def test_a_run_without_spectrum_says_nothing() -> None:
    metrics, rows = spectrum_of(pairs(1, 1), spectrum=0)
    assert metrics == {} and rows.empty


def test_as_many_components_as_asked_for() -> None:
    """The largest two and the mean; the rank is of all of them."""
    rng = np.random.default_rng(1)
    delta = rng.normal(size=(400, WIDTH)) * np.arange(1, WIDTH + 1)
    metrics, rows = spectrum_of(delta, spectrum=2)
    assert rows["component"].tolist() == [0, 1, 2]
    centred = delta - delta.mean(0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    assert rows["share"][1:].tolist() == pytest.approx((values[:2] / (delta**2).sum()).tolist())
    p = values / values.sum()
    assert metrics["effective_rank"] == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    for direction in rows["direction"]:
        assert np.linalg.norm(direction) == pytest.approx(1)
    assert all(direction[np.abs(direction).argmax()] > 0 for direction in rows["direction"][1:])


def test_the_first_shards_only() -> None:
    """Later ones have no outer product, and their mean does not count either."""
    first = [pairs(1, 0)] * SPECTRUM_SHARDS
    late = np.full((50, WIDTH), 7.0)
    metrics, rows = spectrum_of(*first, late)
    assert rows["component"].tolist() == [1] and rows["direction"][0] == pytest.approx(np.eye(WIDTH)[0])
    assert metrics["mean_share"] == pytest.approx(0, abs=1e-30)
