"""What holds for any codes: the sparse format gives back what was put in, sums merge exactly, metrics keep to their ranges.

Long because each property needs its own generator.
"""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from extract.measure import feature_sums, paired_codes, top_contexts
from extract.measure.sum_tables import OVER_TOKENS
from extract.saes.dictionary import SparseCodes
from store.format.codes import Codes, LayerCodes
from store.format.document_sums import DOCUMENT_SUMS
from store.format.part_reading import n_tokens, read_codes, read_counted, read_feature
from store.format.part_writing import write_part
from store.metrics import feature_numbers as metrics
from store.metrics.layer_metrics import layer_values
from store.metrics.thresholds import MATERIAL
from tests.support import EXAMPLES

pytestmark = pytest.mark.fuzz
ANY = settings(
    deadline=None, max_examples=EXAMPLES, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip
SUM = st.just(0.0) | st.floats(1e-9, 1e12)
ACTIVATION = st.floats(2.0**-10, 2.0**10, width=32)


@st.composite
def dense_codes(draw, n_rows: int, d_sae: int) -> np.ndarray:
    """float32 [n_rows, d_sae], mostly zero; whole rows may be empty."""
    return draw(arrays.arrays(np.float32, (n_rows, d_sae), elements=st.just(0.0) | ACTIVATION, fill=st.just(0.0)))


@st.composite
def pairs(draw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base and variant codes on the same tokens, and the decoder's norms."""
    n_rows, d_sae = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    norms = draw(arrays.arrays(np.float64, d_sae, elements=st.floats(0.125, 8)))
    return draw(dense_codes(n_rows, d_sae)), draw(dense_codes(n_rows, d_sae)), norms


def sparse(dense: np.ndarray) -> SparseCodes:
    row, feature = (torch.from_numpy(index) for index in dense.nonzero())
    return SparseCodes(row, feature, torch.from_numpy(dense)[row, feature], len(dense))


def union_of(base: np.ndarray, variant: np.ndarray, norms: np.ndarray) -> paired_codes.Union:
    return paired_codes.scaled_union(sparse(base), sparse(variant), torch.from_numpy(norms))


# ---- the sparse format ----


@ANY
@given(data=st.data(), scale=st.sampled_from([0.25, 1.0, 64.0]), by_feature=st.booleans(), far=st.booleans())
def test_a_part_gives_back_what_was_put_in(tmp_path, data, scale, by_feature, far):
    """By token and by feature; float16 of value / scale; no active feature is lost; features beyond 65,536 too."""
    dense = data.draw(dense_codes(data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))))
    row, column = dense.nonzero()
    d_sae = 70_000 if far else dense.shape[1]
    feature = column + (d_sae - dense.shape[1])
    value = dense[row, column]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(dense)))]).astype(np.int64)
    counted = data.draw(arrays.arrays(bool, len(dense)))
    path = tmp_path / "part.h5"
    write_part(path, 3, {7: LayerCodes(d_sae, scale, counted, {"base": Codes(indptr, feature, value)})}, by_feature)
    stored = np.maximum((value / scale).astype(np.float16), np.float16(2.0**-24)).astype(np.float32) * np.float32(scale)
    assert (stored > 0).all()
    found = read_codes(path, 7, "base")
    assert np.array_equal(found.indptr, indptr) and np.array_equal(found.index, feature)
    assert np.array_equal(found.value, stored) and np.array_equal(found.rows, row)
    for wanted in {0, d_sae - 1, *feature.tolist()}:
        rows, values = read_feature(path, 7, "base", wanted)
        assert np.array_equal(rows, row[feature == wanted]) and np.array_equal(values, stored[feature == wanted])
    first = data.draw(st.integers(0, len(dense) - 1))
    some = read_codes(path, 7, "base", first, len(dense) - first)
    assert np.array_equal(some.index, feature[row >= first]) and np.array_equal(some.rows, row[row >= first] - first)
    assert n_tokens(path) == len(dense) and np.array_equal(read_counted(path, 7), counted)


@ANY
@given(arrays.arrays(np.float32, st.integers(1, 8), elements=st.floats(2.0**-100, 60_000, width=32)), st.integers(-8, 8))
def test_no_active_feature_is_lost(tmp_path, value, exponent):
    """However weak: half the smallest float16 and less becomes that, not zero; all else is off by half a step at most."""
    scale = 2.0**exponent
    value = np.minimum(value, np.float32(60_000 * scale))
    indptr = np.array([0, len(value)])
    kept = LayerCodes(len(value), scale, np.ones(1, bool), {"base": Codes(indptr, np.arange(len(value)), value)})
    write_part(tmp_path / "part.h5", 0, {0: kept})
    found = read_codes(tmp_path / "part.h5", 0, "base").value
    assert (found > 0).all()
    assert (np.abs(found - value) <= np.maximum(value * 2.0**-11, scale * 2.0**-24)).all()


@pytest.mark.parametrize("by_feature", [True, False])
def test_a_part_without_any_code(tmp_path, by_feature):
    nothing = Codes(np.zeros(4, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    write_part(tmp_path / "part.h5", 0, {0: LayerCodes(70_000, 1.0, np.zeros(3, bool), {"base": nothing})}, by_feature)
    found = read_codes(tmp_path / "part.h5", 0, "base")
    assert found.indptr.tolist() == [0, 0, 0, 0] and not len(found.index) and not len(found.value)
    assert [len(values) for values in read_feature(tmp_path / "part.h5", 0, "base", 69_999)] == [0, 0]


# ---- sums merge ----


def added(columns: dict[str, np.ndarray], keys: tuple[str, str]) -> dict[tuple[int, int], tuple]:
    """(group, feature) -> its sums."""
    rest = [name for name in columns if name not in keys]
    cells = zip(*(columns[name].tolist() for name in keys), strict=True)
    return dict(zip(cells, zip(*(columns[name].tolist() for name in rest), strict=True), strict=True))


def total(*parts_of: dict[tuple[int, int], tuple]) -> dict[tuple[int, int], tuple]:
    everything: dict[tuple[int, int], tuple] = {}
    for part in parts_of:
        for cell, sums in part.items():
            before = everything.get(cell, (0,) * len(sums))
            everything[cell] = tuple(a + b for a, b in zip(before, sums, strict=True))
    return everything


def same(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(
        found[cell] == pytest.approx(expected[cell], rel=1e-12, abs=1e-12) for cell in expected
    )


@ANY
@given(pairs(), st.data())
def test_feature_sums_merge_over_whole_documents(pair, data):
    """Two shards cut between documents give what one gives, and all of them the dense sums."""
    base, variant, norms = pair
    n = len(base)
    document = np.sort(data.draw(arrays.arrays(np.int64, n, elements=st.integers(0, 3))))
    group = data.draw(arrays.arrays(np.int64, 4, elements=st.integers(0, 1)))[document]
    cut = int(np.searchsorted(document, data.draw(st.integers(0, 4))))

    def sums(rows: slice) -> dict:
        if rows.stop <= rows.start:
            return {}
        union = union_of(base[rows], variant[rows], norms)
        one = feature_sums.FeatureSums(union, group[rows])
        of_documents = {"n_documents": one.n_documents(document[rows])}
        return added({**one.cells, **one.over_tokens(*OVER_TOKENS), **of_documents}, ("group", "feature"))

    whole = sums(slice(0, n))
    assert same(total(sums(slice(0, cut)), sums(slice(cut, n))), whole)
    a, b = base * norms, variant * norms
    for g in (0, 1):
        for j in range(base.shape[1]):
            here = group == g
            x, y = a[here, j], b[here, j]
            both = (x > 0) & (y > 0)
            expected = (
                both.sum(), ((x > 0) & (y == 0)).sum(), ((x == 0) & (y > 0)).sum(), x.sum(), y.sum(),
                (x**2).sum(), (y**2).sum(), x[both].sum(), y[both].sum(), len(set(document[here][(x > 0) | (y > 0)])),
            )  # fmt: skip
            if expected[-1]:
                assert whole[g, j] == pytest.approx(expected)
            else:
                assert (g, j) not in whole


@ANY
@given(pairs(), st.data())
def test_sums_over_clusters_are_those_of_whole_ones(pair, data):
    """Whichever clusters go on elsewhere: their parts stand by themselves, the squares of the others are summed."""
    base, variant, norms = pair
    cluster = np.sort(data.draw(arrays.arrays(np.int64, len(base), elements=st.integers(0, 3))))
    group = data.draw(arrays.arrays(np.int64, 4, elements=st.integers(0, 1)))[cluster]
    shared = np.array(sorted(data.draw(st.sets(st.integers(0, 3)))), dtype=np.int64)
    sums = feature_sums.FeatureSums(union_of(base, variant, norms), group)
    over_clusters, parts = sums.over_clusters(cluster, shared)
    found = added({**sums.cells, **over_clusters}, ("group", "feature"))
    of_parts = added(parts, ("cluster", "feature"))
    a, b = base * norms, variant * norms
    for j in range(base.shape[1]):
        squares = np.zeros((2, 4))
        for c in range(4):
            x, y = a[cluster == c, j].sum(), b[cluster == c, j].sum()
            g = int(group[cluster == c][0]) if (cluster == c).any() else 0
            if x + y > 0 and c in shared:
                assert of_parts.pop((c, j)) == pytest.approx((g, x, y))
            elif x + y > 0:
                squares[g] += (1, x * x, y * y, x * y)
        for g in (0, 1):
            assert found.get((g, j), (0,) * 4) == pytest.approx(tuple(squares[g]))
    assert not of_parts


@ANY
@given(pairs(), st.data())
def test_every_other_sum_merges_over_whole_documents(pair, data):
    """Histograms, token sums and counts: of two shards together, of one, and worked out densely."""
    base, _, norms = pair
    n, d_sae = base.shape
    document = np.sort(data.draw(arrays.arrays(np.int64, n, elements=st.integers(0, 3))))
    token_ids = data.draw(arrays.arrays(np.int64, n, elements=st.integers(0, 4)))
    counted = data.draw(arrays.arrays(bool, n))
    edges = metrics.histogram_edges(2.0)
    cut = int(np.searchsorted(document, data.draw(st.integers(0, 4))))

    def sums(rows: slice) -> list[dict]:
        if rows.stop <= rows.start:
            return [{}] * 3
        codes, scales = sparse(base[rows]), torch.from_numpy(norms)
        ids = feature_sums.token_counts(token_ids[rows], counted[rows])
        return [
            added(feature_sums.histogram(codes, scales, edges), ("feature", "bin")),
            added(feature_sums.token_sums(codes, scales, token_ids[rows]), ("feature", "token_id")),
            added({**ids, "nothing": np.zeros(len(ids["count"]))}, ("token_id", "nothing")),
        ]

    whole = sums(slice(0, n))
    for of_all, *of_parts in zip(whole, sums(slice(0, cut)), sums(slice(cut, n)), strict=True):
        assert same(total(*of_parts), of_all)
    a = base * norms
    row, feature = base.nonzero()
    for j in range(d_sae):
        here = a[row[feature == j], j]
        expected = np.histogram(here, np.r_[-np.inf, edges[1:-1], np.inf])[0]  # a value on an edge: in the bin above
        assert [whole[0].get((j, k), (0,))[0] for k in range(len(expected))] == expected.tolist()
        for token in range(5):
            fired = a[(token_ids == token) & (base[:, j] > 0), j]
            assert whole[1].get((j, token), (0, 0.0)) == pytest.approx((len(fired), fired.sum()))
    for token in range(5):
        assert whole[2].get((token, 0.0), (0,))[0] == (token_ids[counted] == token).sum()


@ANY
@given(st.data(), st.integers(1, 4), st.integers(0, 30))
def test_top_contexts_of_two_shards_are_those_of_both(data, k, cut):
    """The best of two shards' best are the best of all; each text once; nothing else is better."""
    n = data.draw(st.integers(1, 30))
    draws = {
        "feature": arrays.arrays(np.int32, n, elements=st.integers(0, 2)),
        "score": arrays.arrays(np.float32, n, elements=st.sampled_from([0.25, 0.5, 1.0, 1.5])),
        "text": arrays.arrays(np.int64, n, elements=st.integers(0, 5)),
    }
    contexts = {name: data.draw(strategy) for name, strategy in draws.items()} | {"place": np.arange(n)}
    halves = [{name: values[rows] for name, values in contexts.items()} for rows in (slice(0, cut), slice(cut, None))]
    best = [top_contexts.top_contexts(half, k) for half in halves]
    joined = {name: np.concatenate([half[name] for half in best]) for name in contexts}
    found, expected = top_contexts.top_contexts(joined, k), top_contexts.top_contexts(contexts, k)
    assert all(np.array_equal(found[name], expected[name]) for name in contexts)
    for feature in range(3):
        ranked = sorted((-contexts["score"][i], i, contexts["text"][i]) for i in range(n) if contexts["feature"][i] == feature)
        first, seen = [], set()
        for _, place, text in ranked:
            if text not in seen:
                seen.add(text)
                first.append(place)
        assert expected["place"][expected["feature"] == feature].tolist() == first[:k]


# ---- ranges ----


@ANY
@given(pairs())
def test_token_metrics_by_their_definitions(pair):
    """Against docs/metrics.md, densely: ranges, symmetry, and exactly 1 and 0 where nothing changed."""
    base, variant, norms = pair
    a, b = base * norms, variant * norms
    found = {name: values.numpy() for name, values in paired_codes.token_code_metrics(union_of(base, variant, norms)).items()}
    either, both = ((a > 0) | (b > 0)).sum(1), ((a > 0) & (b > 0)).sum(1)
    np.testing.assert_allclose(found["overlap"], np.where(either, both / np.maximum(either, 1), 1.0))
    np.testing.assert_allclose(found["l1_divergence"], np.abs(b - a).sum(1))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.divide((a * b).sum(1), lengths, out=np.zeros(len(a)), where=lengths > 0)
    np.testing.assert_allclose(found["latent_cosine"], cosine, atol=1e-9)
    assert ((found["latent_cosine"] >= 0) & (found["latent_cosine"] <= 1)).all()
    assert ((found["overlap"] >= 0) & (found["overlap"] <= 1)).all() and (found["minimum"] <= found["maximum"]).all()
    other = paired_codes.token_code_metrics(union_of(variant, base, norms))
    for name in ("overlap", "minimum", "maximum", "latent_cosine", "l1_divergence"):
        np.testing.assert_allclose(other[name].numpy(), found[name], rtol=1e-12)
    unchanged = paired_codes.token_code_metrics(union_of(base, base, norms))
    fires = (a > 0).any(1)
    assert (unchanged["overlap"] == 1).all() and (unchanged["latent_cosine"].numpy()[fires] == 1).all()
    assert (unchanged["l1_divergence"] == 0).all() and (unchanged["minimum"] == unchanged["maximum"]).all()


@ANY
@given(pairs())
def test_feature_metrics_keep_to_their_ranges(pair):
    """Shares within 0 and 1, a shift no larger than the means, and the kind's sign the shift's, which is material."""
    base, variant, norms = pair
    n = len(base)
    everything = np.zeros(n, dtype=np.int64)
    found = feature_sums.FeatureSums(union_of(base, variant, norms), everything)
    sums = found.over_tokens(*OVER_TOKENS) | {"n_documents": found.n_documents(everything)}
    values = metrics.feature_values(sums, n) | metrics.firing_rates(sums, n)
    for name in ("freq_base", "freq_variant", "suppression", "emergence"):
        known = values[name][~np.isnan(values[name])]
        assert ((known >= 0) & (known <= 1)).all(), name
    assert (np.abs(values["shift"]) <= np.maximum(values["mean_base"], sums["b"] / n) + 1e-12).all()
    down, up = np.isin(values["kind"], ["vanished", "weakened"]), np.isin(values["kind"], ["appeared", "strengthened"])
    assert (values["shift"][down] < 0).all() and (values["shift"][up] > 0).all()
    larger = np.maximum(sums["a"], sums["b"])[~down & ~up]
    assert (np.abs(values["shift"][~down & ~up]) * n <= MATERIAL * larger + 1e-9).all()


@ANY
@given(st.dictionaries(st.sampled_from(DOCUMENT_SUMS), SUM), SUM, SUM)
def test_layer_metrics_of_any_sums_are_numbers_or_undefined(sums, total_a, total_b):
    """Never infinite, never an error, whatever is zero."""
    found = layer_values({name: sums.get(name, 0.0) for name in DOCUMENT_SUMS}, total_a, total_b, 1.0)
    assert all(np.isfinite(value) or np.isnan(value) for value in found.values())
    assert metrics.fit_gate(found["fvu_base"], found["fvu_variant"]) in ("fits", "strained", "does not fit")
