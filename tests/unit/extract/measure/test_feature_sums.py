"""Sums of features, against loops over every token in plain Python; clusters over several shards like those in one."""

from collections import defaultdict
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from extract.measure import sum_tables, sums_file
from extract.measure.feature_sums import COUNTED, SUMMED, FeatureSums
from extract.measure.paired_codes import scaled_union, token_code_metrics
from extract.measure.shard_layer import CodePieces
from extract.saes.codes import SparseCodes
from extract.tables.merged_sums import MergedSums
from store.format.document_sums import DOCUMENT_SUMS
from store.metrics.feature_numbers import FEATURE_SUMS

N_ROWS, D_SAE, N_DOMAINS = 60, 5, 2


def codes(dense: np.ndarray) -> SparseCodes:
    dense = torch.from_numpy(np.asarray(dense, dtype=np.float32))
    row, feature = dense.nonzero(as_tuple=True)
    return SparseCodes(row, feature, dense[row, feature], len(dense))


class Text:
    """Random codes of some tokens: clusters of documents of one domain, which fire here and there."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.document = np.sort(rng.integers(0, 12, N_ROWS))
        self.cluster = self.document // 3
        self.domain = rng.integers(0, N_DOMAINS, 4)[self.cluster]
        self.segment = rng.integers(0, 4, N_ROWS)
        self.norm = rng.uniform(0.5, 2, D_SAE)
        shape = (N_ROWS, D_SAE)
        self.base, self.variant = (
            (rng.exponential(1, shape) * (rng.uniform(size=shape) < 0.25)).astype(np.float32) for _ in range(2)
        )

    @property
    def scaled(self) -> tuple[np.ndarray, np.ndarray]:
        return self.base * self.norm, self.variant * self.norm

    def sums(self, rows: slice, group: np.ndarray) -> FeatureSums:
        union = scaled_union(codes(self.base[rows]), codes(self.variant[rows]), torch.from_numpy(self.norm))
        return FeatureSums(union, group[rows])

    def expected(self, group: np.ndarray) -> dict[tuple[int, int], dict[str, float]]:
        """(group, feature) -> each of FEATURE_SUMS but ``near``, token by token."""
        a, b = self.scaled
        found = {}
        for cell in {(int(group[t]), j) for t in range(N_ROWS) for j in range(D_SAE) if a[t, j] > 0 or b[t, j] > 0}:
            sums: dict[str, float] = defaultdict(float)
            documents, clusters = set(), defaultdict(lambda: [0.0, 0.0])
            for t in range(N_ROWS):
                x, y = a[t, cell[1]], b[t, cell[1]]
                if group[t] != cell[0] or not (x > 0 or y > 0):
                    continue
                sums["n11" if x > 0 and y > 0 else "n10" if x > 0 else "n01"] += 1
                for name, value in {"a": x, "b": y, "a2": x**2, "b2": y**2}.items():
                    sums[name] += value
                sums["both_a"] += x if y > 0 else 0
                sums["both_b"] += y if x > 0 else 0
                documents.add(self.document[t])
                clusters[self.cluster[t]][0] += x
                clusters[self.cluster[t]][1] += y
            sums |= {"n_documents": len(documents), "n_clusters": len(clusters)}
            sums["cluster_a2"] = sum(of_a**2 for of_a, _ in clusters.values())
            sums["cluster_b2"] = sum(of_b**2 for _, of_b in clusters.values())
            sums["cluster_ab"] = sum(of_a * of_b for of_a, of_b in clusters.values())
            found[cell] = sums
        return found


def by_cell(columns: dict[str, np.ndarray]) -> dict[tuple[int, int], dict[str, float]]:
    cells = zip(columns["group"].tolist(), columns["feature"].tolist(), strict=True)
    return {cell: {name: values[i] for name, values in columns.items()} for i, cell in enumerate(cells)}


def assert_same(found: dict, expected: dict, names: tuple[str, ...]) -> None:
    assert found.keys() == expected.keys()
    for cell, sums in expected.items():
        assert {name: found[cell][name] for name in names} == pytest.approx({name: sums[name] for name in names}, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_every_sum_is_that_of_a_loop_over_tokens(seed):
    text = Text(seed)
    sums = text.sums(slice(None), text.domain)
    over_clusters, shared = sums.over_clusters(text.cluster, np.zeros(0, dtype=np.int64))
    columns = {**sums.cells, **sums.over_tokens(*COUNTED, *SUMMED), **over_clusters}
    columns["n_documents"] = sums.n_documents(text.document)
    assert_same(by_cell(columns), text.expected(text.domain), tuple(name for name in FEATURE_SUMS if name != "near"))
    assert not any(len(values) for values in shared.values())
    order = columns["group"] * D_SAE + columns["feature"]
    assert (np.diff(order) > 0).all()
    of_segments = text.sums(slice(None), text.segment)
    found = by_cell({**of_segments.cells, **of_segments.over_tokens(*sum_tables.OVER_TOKENS)})
    assert_same(found, text.expected(text.segment), sum_tables.OVER_TOKENS)


def test_clusters_by_hand():
    """Feature 0 fires in clusters 7 (1 and 2 against 4) and 9 (3 against nothing), feature 1 in 8 and 9 of the variant only."""
    base, variant = [[1, 0], [2, 0], [0, 0], [3, 0]], [[4, 0], [0, 0], [0, 5], [0, 6]]
    union = scaled_union(codes(base), codes(variant), torch.tensor([1.0, 2.0], dtype=torch.float64))
    sums = FeatureSums(union, np.zeros(4, dtype=np.int64))
    cluster = np.array([7, 7, 8, 9])
    over_clusters, shared = sums.over_clusters(cluster, np.array([9]))
    assert {name: values.tolist() for name, values in over_clusters.items()} == {
        "n_clusters": [1, 1], "cluster_a2": [9, 0], "cluster_b2": [16, 100], "cluster_ab": [12, 0],
    }  # fmt: skip
    assert {name: values.tolist() for name, values in shared.items()} == {
        "group": [0, 0], "feature": [0, 1], "cluster": [9, 9], "a": [3, 0], "b": [0, 12],
    }  # fmt: skip
    assert sums.number_of(np.array([True, False, True, False, True])).tolist() == [1, 2]
    assert sums.n_documents(np.array([0, 1, 1, 1])).tolist() == [2, 1]


def test_nothing_fires():
    nothing = codes(np.zeros((3, 2)))
    union = scaled_union(nothing, nothing, torch.ones(2, dtype=torch.float64))
    sums = FeatureSums(union, np.zeros(3, dtype=np.int64))
    over_clusters, shared = sums.over_clusters(np.arange(3), np.array([0]))
    found = {**sums.cells, **sums.over_tokens("n11", "n10", "n01", "a", "b"), **over_clusters}
    arrays = sum_tables.TWIN.arrays(found, 3, "maths", "twin_1") | sum_tables.OPEN.arrays(shared, 3, "maths", "twin_1")
    assert not any(len(values) for values in arrays.values())
    assert len(sums.n_documents(np.arange(3))) == 0
    assert token_code_metrics(union)["overlap"].tolist() == [1, 1, 1]


def test_a_feature_that_writes_nothing_is_left_out():
    union = scaled_union(codes([[1, 2]]), codes([[3, 0]]), torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert (union.row.tolist(), union.feature.tolist(), union.a.tolist(), union.b.tolist()) == ([0], [1], [2], [0])


@pytest.mark.parametrize("seed", range(3))
def test_codes_that_come_batch_by_batch(seed):
    """In any order of the rows, rows without codes among them: as if they had come at once."""
    rng = np.random.default_rng(seed)
    dense = Text(seed).base * (rng.uniform(size=(N_ROWS, 1)) < 0.7)
    pieces = CodePieces(N_ROWS)
    for rows in np.array_split(rng.permutation(N_ROWS), 4):
        pieces.add(torch.from_numpy(rows), codes(dense[rows]))
    found, expected = pieces.together(), codes(dense)
    for name in ("row", "feature", "value"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert len(CodePieces(3).together().row) == 0


CONTROLS = ["rerun", "isotropic", "rescaled"]
CONFIG = SimpleNamespace(variants={"maths": None, "code": None}, controls=CONTROLS, twins=2, spectrum=0)
TWINS = ["maths:twin_1", "maths:twin_2"]
"""The variant 'code' has none."""


def test_what_is_compared_with_the_base():
    pairs = list(sum_tables.counterparts_of(CONFIG, TWINS))
    assert sorted(pairs) == sorted(
        [(name, control) for name in CONFIG.variants for control in ("observed", "isotropic", "rescaled")]
        + [("maths", "twin_1"), ("maths", "twin_2"), ("base", "rerun")]
    )
    assert list(sum_tables.twins_of(CONFIG, TWINS)) == [("maths", "twin_1"), ("maths", "twin_2")]
    without = SimpleNamespace(**{**vars(CONFIG), "twins": 0})
    assert not list(sum_tables.twins_of(without, [])) and len(list(sum_tables.counterparts_of(without, []))) == 7


def test_a_twin_leaves_sums_only():
    names = sum_tables.names_in_file(CONFIG, [3], [], TWINS, 0)
    of_twin = {name.removeprefix("3|maths|twin_1|") for name in names if "twin_1" in name}
    sums = {f"twin|{name}" for name in ("group", "feature", "n11", "n10", "n01", "a", "b", *sum_tables.OVER_CLUSTERS)}
    open_ = {f"open|{name}" for name in ("group", "feature", "cluster", "a", "b")}
    documents = {f"documents|{name}" for name in ("document", "segment", *DOCUMENT_SUMS)}
    assert of_twin == {"totals", "base_totals"} | sums | open_ | documents
    assert {name for name in names if "rescaled|" in name and "documents" not in name} == {
        f"3|{variant}|rescaled|{column}" for variant in CONFIG.variants for column in ("feature", "total")
    } | {f"3|{variant}|rescaled|{column}" for variant in CONFIG.variants for column in ("totals", "base_totals")}
    assert not [name for name in names if name.startswith("3|code|twin")]


def in_shards(text: Text, cuts: list[int]) -> list[tuple[slice, SimpleNamespace]]:
    """Rows cut into shards between documents; each knows its clusters, and which it has a part of only."""
    edges = [0, *np.searchsorted(text.document, cuts).tolist(), N_ROWS]
    found = []
    for index, (start, stop) in enumerate(pairwise(edges)):
        here, elsewhere = text.cluster[start:stop], np.r_[text.cluster[:start], text.cluster[stop:]]
        found.append((slice(start, stop), SimpleNamespace(index=index, open=np.intersect1d(here, elsewhere))))
    return found


def merged(folder, text: Text, cuts: list[int]) -> MergedSums:
    """What shards leave of the variant, with domains as groups; of its twin, all together; and of the rescaled base."""
    writer = SimpleNamespace(work=folder, part_path=lambda part: folder / f"part-{part}")
    shards = in_shards(text, cuts)
    names: set[str] = set()
    for rows, shard in shards:
        writer.part_path(shard.index).write_bytes(b"codes")
        arrays = {}
        for table, group, place in (
            (sum_tables.FEATURES, text.domain, (3, "maths")),
            (sum_tables.TWIN, np.zeros(N_ROWS, dtype=np.int64), (3, "maths", "twin_1")),
        ):
            sums = text.sums(rows, group)
            over_clusters, open_ = sums.over_clusters(text.cluster[rows], shard.open)
            columns = {**sums.cells, **sums.over_tokens(*COUNTED, *SUMMED), **over_clusters}
            columns |= {"n_documents": sums.n_documents(text.document[rows]), "near": np.zeros_like(columns["n11"])}
            columns = {column.name: columns[column.name] for column in table.columns}
            arrays |= table.arrays(columns, *place) | sum_tables.OPEN.arrays(open_, *place)
        feature = np.arange(shard.index, D_SAE, dtype=np.int32)  # each shard fewer of them
        arrays |= sum_tables.RESCALED.arrays({"feature": feature, "total": 1.0 + feature}, 3, "maths")
        sums_file.save(writer, shard, "run", arrays)
        names = set(arrays)
    result = MergedSums(SimpleNamespace(), [shard for _, shard in shards], writer)
    result.__dict__["sums"] = sums_file.ShardSums(writer, result.shards, lambda _: names)
    return result


@pytest.mark.parametrize("cuts", [[], [1], [4], [3, 9], [2, 3], [1, 2, 5, 6, 7]], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_clusters_over_shards_are_those_in_one(tmp_path, cuts, seed):
    """Clusters are documents 0 to 2, 3 to 5, ...: cut at their edges, within one, and into three pieces."""
    text = Text(seed)
    found = merged(tmp_path, text, cuts)
    names = tuple(name for name in FEATURE_SUMS if name != "near")
    sums = found.feature_sums(3, "maths", sum_tables.FEATURES, N_DOMAINS, D_SAE)
    dense = {(g, j): {name: sums[name][g, j] for name in names} for g in range(N_DOMAINS) for j in range(D_SAE)}
    expected = text.expected(text.domain)
    assert_same({cell: of_cell for cell, of_cell in dense.items() if cell in expected}, expected, names)
    assert not any(value for cell, of_cell in dense.items() if cell not in expected for value in of_cell.values())
    twin = found.twin_sums(3, "maths", "twin_1", D_SAE)
    together = text.expected(np.zeros(N_ROWS, dtype=np.int64))
    assert twin.keys() == {column.name for column in sum_tables.TWIN.columns} - {"group", "feature"}
    assert_same({(0, j): {name: twin[name][j] for name in twin} for j in range(D_SAE)}, together, tuple(twin))
    shards = np.arange(len(cuts) + 1)
    rescaled = [(1.0 + j) * (shards <= j).sum() for j in range(D_SAE)]
    assert found.rescaled_total(3, "maths", D_SAE).tolist() == rescaled
    found.sums.close()


def test_clusters_of_a_run_by_document():
    shards = [SimpleNamespace(clusters=np.array([0, 0, 1])), SimpleNamespace(clusters=np.array([1, 2]))]
    found = MergedSums(SimpleNamespace(config=CONFIG, models=SimpleNamespace(twins=TWINS)), shards, None)
    assert found.cluster_of_document.tolist() == [0, 0, 1, 1, 2] and found.n_clusters == 3
    assert found.twins("maths") == ["twin_1", "twin_2"] and found.twins("code") == []
    assert ("maths", "twin_2") in found.counterparts
