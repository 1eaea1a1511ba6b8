"""The bench that patches features one at a time beside their contributions: what it chooses and how it judges."""

from pathlib import Path

import numpy as np
import pytest

from extract.bench import contribution_truth
from extract.config import load_config
from tests.support.world import World, make_adapter, one_thread


@pytest.mark.thorough
def test_contributions_beside_patching_on_a_small_base(world: World, tmp_path: Path) -> None:
    """Two layers of the tiny world, ten features each, under a change so small that its gain is all but linear."""
    saes = [{"path": str(world.saes[layer])} for layer in (1, 2)]
    with one_thread():
        variants = {"tuned": {"adapter": str(make_adapter(tmp_path / "adapter", world.base, seed=5, scale=0.02))}}
        config = load_config(world.config(tmp_path, saes=saes, variants=variants))
        rows = {row.name: row for row in contribution_truth.patching_rows(config, each=10, predictions=60)}
    gains = [row for name, row in rows.items() if "gain" in name]
    assert len(rows) == 6 and len(gains) == 3 and all(row.met for row in gains)
    assert "all: gain, Spearman with patching one at a time (of 20)" in rows


def test_features_evenly_over_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four that contribute the first, the second (1.5 rounded down) and the last, where three are asked for."""
    gain = np.array([0.0, -3.0, 1.0, 0.0, 4.0, -2.0])
    assert contribution_truth.evenly(gain, 9).tolist() == [4, 1, 5, 2]
    assert contribution_truth.evenly(gain, 3).tolist() == [4, 1, 2]
    monkeypatch.setattr(contribution_truth, "AMONG", 2)
    assert contribution_truth.evenly(gain, 3).tolist() == [4, 1]


def test_how_patching_is_judged() -> None:
    """Gain in the same order, 1; KL in the opposite, -1."""
    both = np.array([[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], [[1.0, 4.0, 9.0], [3.0, 2.0, 1.0]]])
    assert [(row.value, row.met) for row in contribution_truth._rows("x", both)] == [(1.0, True), (-1.0, False)]
