"""Curves of contributions: how much goes where the first k features are taken back, in halves that do not choose their own."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from extract.contributions.curves import Fold, Told, halves, rankings
from extract.hashed_random import text_key
from store import open_store
from tests.support.contributed import Reference, table
from tests.support.world import World, one_thread


@pytest.fixture(scope="module")
def store(contributed: tuple[Path, Path]) -> Path:
    return contributed[1]


@pytest.fixture(scope="module")
def curve(store: Path) -> pd.DataFrame:
    return table(store, "curves").set_index(["chosen_by", "k"])


def test_curves_begin_at_single_features_and_end_at_all(curve: pd.DataFrame, store: Path):
    """All features by contribution, by size and at random are the same ones; the layer's whole is layers.gain of the task."""
    ends = [curve.loc[by].iloc[-1] for by in ("contribution", "size", "random")]
    for name in ("gain", "kl"):
        np.testing.assert_allclose([end[name] for end in ends], ends[0][name], atol=1e-6)
    layers = table(store, "layers")
    layer = layers[
        (layers["layer"] == curve["layer"].iloc[0]) & (layers["domain"] == "*task") & (layers["control"] == "observed")
    ]
    assert curve.loc["layer"]["gain"].iloc[0] == pytest.approx(layer["gain"].iloc[0], abs=1e-5)
    assert curve.loc["layer"]["kl"].iloc[0] == pytest.approx(layer["kl"].iloc[0], abs=1e-5)
    assert (curve["domain"] == "*task").all()


def test_one_patched_feature_by_the_reference(curve: pd.DataFrame, store: Path, world: World):
    """What the foremost feature takes away, by patching it alone in each passage of the task: in those of every other cluster
    the one that the other clusters' passages put first."""
    layer = int(curve["layer"].iloc[0])
    predictions = table(store, "taken_apart").sort_values(["document", "position"])
    chats = set(predictions.query("slot == 'opening'")["document"])
    with one_thread():
        reference = Reference(world, store)
        of_task = [
            (rows, reference.passage(rows, layer))
            for document, rows in predictions.groupby("document")
            if document in chats
        ]
    with open_store(store) as opened:
        clusters = opened.sql("SELECT document, cluster FROM documents").set_index("document")["cluster"]
    by_cluster: dict[str, list] = {}
    for rows, found in of_task:
        by_cluster.setdefault(clusters[rows["document"].iloc[0]], []).append((rows, found["by_feature"]["gain"]))
    assert len(by_cluster) == len(of_task) > 3  # so that a half is every other passage in the order in which they were chosen
    order = [clusters[document] for document in in_order_of_choice(store, chats)]
    halves = [[pair for cluster in order[start::2] for pair in by_cluster[cluster]] for start in (0, 1)]
    gone, sign = 0.0, np.sign(sum(found["by_feature"]["gain"].sum() for _, found in of_task))
    with one_thread():
        for own, others in (halves, halves[::-1]):
            gain = sum(of for _, of in others)
            foremost = int(np.argmax(gain * sign))
            gone += sum(reference.without(rows, layer, foremost) for rows, _ in own)
    weight = sum(rows["weight"].sum() for rows, _ in of_task)
    assert curve.loc[("contribution", 1), "gain"] == pytest.approx(gone / weight, abs=1e-5)


def in_order_of_choice(store: Path, documents: set[int]) -> list[int]:
    """Documents of different clusters by the hash of their cluster."""
    with open_store(store) as opened:
        found = opened.sql("SELECT document, cluster FROM documents").query("document in @documents")
    keys = [text_key("contributions", cluster) for cluster in found["cluster"]]
    return found.assign(key=keys).sort_values("key")["document"].tolist()


def test_halves_are_of_whole_clusters():
    """Clusters 4, 4, 7, 9 of the passages 0, 2, 3, 5: the first and the third against the second."""
    cluster, one = np.array([4, 0, 4, 7, 0, 9]), np.zeros(6, dtype=int)
    [first, second] = halves(np.array([0, 2, 3, 5]), one, cluster)
    assert [part.tolist() for part in first] == [[0, 2, 5], [3]] and [part.tolist() for part in second] == [[3], [0, 2, 5]]
    [only] = halves(np.array([0, 2]), one, cluster)
    assert [part.tolist() for part in only] == [[0, 2], [0, 2]]


def test_either_half_has_some_of_each_domain():
    """Clusters are numbered as they are drawn, a domain after the other in turn."""
    domain, cluster = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 2, 4, 1, 3, 5])
    [(first, others), _] = halves(np.arange(6), domain, cluster)
    assert first.tolist() == [0, 2, 3, 5] and others.tolist() == [1, 4]


def test_features_that_pull_the_other_way_come_last():
    orders = rankings(np.array([1, 2, 4]), -1.0, np.array([9.0, 0.1, -0.3, 9, 0.2]), np.array([9.0, 2, 3, 9, 1]))
    assert orders["contribution"].tolist() == [2, 1, 4] and orders["size"].tolist() == [2, 1, 4]


def test_a_curve_of_another_task_is_another():
    """So that what was kept of the one is not read as the other's."""
    orders = {name: np.array([3, 1]) for name in ("contribution", "size", "random")}
    told = Told("tuned", SimpleNamespace(layer=1), "*task", [Fold([0], orders), Fold([2], orders)])
    others = [{"domain": "all"}, {"folds": told.folds[::-1]}, {"dictionary": SimpleNamespace(layer=2)}]
    others = [replace(told, **changes) for changes in others]
    assert len({of.seal("x") for of in [told, *others]} | {told.seal("y")}) == 5 and told.seal("x") == replace(told).seal("x")
