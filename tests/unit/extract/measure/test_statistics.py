"""Hashes of contexts and the choice of the best, against naive versions; files of sums; flips near the threshold."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from extract.measure import sum_tables
from extract.measure import sums_file as sums
from extract.measure.paired_codes import near_flips, scaled_union
from extract.measure.sum_tables import Column, SumTable
from extract.measure.top_contexts import text_hashes, top_contexts
from extract.saes.dictionary import SparseCodes
from store.errors import UserError
from store.metrics.feature_numbers import FEATURE_SUMS


def window_text(token_ids, window_of_row, row, before, after):
    """What a context shows around a row, as (offset, token) pairs."""
    return tuple(
        (offset, int(token_ids[row + offset]))
        for offset in range(-before, after + 1)
        if 0 <= row + offset < len(token_ids) and window_of_row[row + offset] == window_of_row[row]
    )


@pytest.mark.parametrize("n_rows", range(1, 41))
def test_equal_hash_is_equal_text(n_rows):
    """Two token ids and windows of 5 make many equal and many unequal texts; defaults show 20 before and 12 after."""
    rng = np.random.default_rng(n_rows)
    token_ids = rng.integers(0, 2, size=n_rows).astype(np.int32)
    window_of_row = np.arange(n_rows) // 5
    hashes = text_hashes(token_ids, window_of_row, before=20, after=12)
    texts = [window_text(token_ids, window_of_row, row, 20, 12) for row in range(n_rows)]
    for i in range(n_rows):
        for j in range(i):
            assert (hashes[i] == hashes[j]) == (texts[i] == texts[j])


def naive_top(contexts, k):
    """(feature, place) of the k best of each feature, each text once, by sorting everything."""
    order = sorted(range(len(contexts["place"])), key=lambda i: (-contexts["score"][i], contexts["place"][i]))
    out = []
    for feature in sorted(set(contexts["feature"].tolist())):
        seen, kept = set(), []
        for i in order:
            if contexts["feature"][i] == feature and contexts["text"][i] not in seen and len(kept) < k:
                seen.add(contexts["text"][i])
                kept.append((feature, int(contexts["place"][i])))
        out += kept
    return out


def random_contexts(rng, n, n_texts, places):
    return {
        "feature": rng.integers(0, 3, size=n).astype(np.int32),
        "score": rng.choice(np.array([0.5, 1.0, 2.0, 3.5], dtype=np.float32), size=n),
        "place": places,
        "text": rng.integers(-n_texts, n_texts, size=n),
    }


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n_texts", [1, 3, 1000])
def test_top_contexts(seed, n_texts):
    """Few texts force the search deep into a feature's list."""
    rng = np.random.default_rng(seed)
    contexts = random_contexts(rng, 300, n_texts, rng.permutation(300))
    top = top_contexts(contexts, 3)
    assert list(zip(top["feature"].tolist(), top["place"].tolist(), strict=True)) == naive_top(contexts, 3)


@pytest.mark.parametrize("seed", range(8))
def test_top_contexts_merge_exactly(seed):
    """The best of the parts' best are the best of all."""
    rng = np.random.default_rng(seed)
    contexts = random_contexts(rng, 200, 12, np.arange(200))
    halves = [
        top_contexts({name: values[part] for name, values in contexts.items()}, 3) for part in (slice(0, 90), slice(90, None))
    ]
    merged = top_contexts({name: np.concatenate([half[name] for half in halves]) for name in contexts}, 3)
    whole = top_contexts(contexts, 3)
    for name in contexts:
        np.testing.assert_array_equal(merged[name], whole[name])


def test_no_contexts():
    empty = {"feature": np.zeros(0, np.int32), "score": np.zeros(0, np.float32), "place": np.zeros(0, np.int64)}
    top = top_contexts({**empty, "text": np.zeros(0, np.int64)}, 3)
    assert len(top["place"]) == 0


COUNTS = SumTable("", (Column("n", "int64", "counts of something"),))


def shards_on_disk(folder, arrays_of):
    """(writer, five shards) whose files hold ``arrays_of(number)``."""
    writer = SimpleNamespace(work=folder, part_path=lambda part: folder / f"part-{part}")
    shards = [SimpleNamespace(index=i) for i in range(5)]
    for shard in shards:
        writer.part_path(shard.index).write_bytes(b"codes")
        sums.save(writer, shard, "run", arrays_of(shard.index))
    return writer, shards


def test_sums_are_read_with_few_open_files(tmp_path, monkeypatch):
    """Five shards, two files open at most: every shard is still read, in order, time and again."""
    monkeypatch.setattr(sums, "MAX_OPEN", 2)
    writer, shards = shards_on_disk(tmp_path, lambda i: COUNTS.arrays({"n": np.array([i, 10])}, 12, "maths"))
    found = sums.ShardSums(writer, shards, lambda _: {"12|maths|n"})
    for _ in range(2):
        assert [columns["n"].tolist() for columns in found.columns(COUNTS, 12, "maths")] == [[i, 10] for i in range(5)]
        assert len(found._open) == 2
    found.close()
    assert not found._open


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "'12|maths|n' is missing or unknown"),
        ({"12|maths|n": np.array([1]), "12|maths|m": np.array([1])}, "'12|maths|m' is missing or unknown"),
        ({"12|maths|n": np.array([1.0])}, "column 'n' is float64 with 1 axes, not int64 with 1"),
        ({"12|maths|n": np.array(1)}, "column 'n' is int64 with 0 axes, not int64 with 1"),
    ],
)
def test_a_file_of_sums_that_holds_others(tmp_path, arrays, said):
    writer, shards = shards_on_disk(tmp_path, lambda _: arrays)
    found = sums.ShardSums(writer, shards, lambda _: {"12|maths|n"})
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        list(found.columns(COUNTS, 12, "maths"))
    assert "sums-00000.npz" in str(refused.value) and "remove that file" in str(refused.value)


@pytest.mark.parametrize("values", [{}, {"n": np.array([1]), "m": np.array([1])}, {"n": np.array([1.0])}])
def test_sums_that_are_not_declared_are_not_written(values):
    with pytest.raises(ValueError, match="table ''"):
        COUNTS.arrays(values, 12)


def test_the_feature_sums_are_those_of_the_store():
    names = [column.name for column in sum_tables.FEATURES.columns]
    assert names == ["group", "feature", *FEATURE_SUMS] and set(sum_tables.FEATURE_COUNTS) < set(FEATURE_SUMS)
    assert set(sum_tables.OVER_TOKENS) | set(sum_tables.OVER_CLUSTERS) | {"n_documents", "near"} == set(FEATURE_SUMS)


def codes(dense):
    """SparseCodes of a list of rows."""
    dense = torch.tensor(dense, dtype=torch.float32)
    row, feature = dense.nonzero(as_tuple=True)
    return SparseCodes(row, feature, dense[row, feature], len(dense))


def near(base, variant, norm, flips_at):
    """{(row, feature)} of the flips that are near the threshold."""
    base, variant, norm = codes(base), codes(variant), torch.tensor(norm, dtype=torch.float64)
    union = scaled_union(base, variant, norm)
    found = near_flips(union, base, variant, norm, flips_at)
    return set(zip(union.row[found].tolist(), union.feature[found].tolist(), strict=True))


def test_near_flips_of_a_threshold_by_hand():
    """Thresholds 1 and 4: 1.04 and 4.1 are near, 1.06 and 4.3 are not; a firing on both sides is no flip."""
    base = [[1.04, 4.1], [1.06, 0], [0, 0], [1.01, 4.01]]
    variant = [[0, 0], [0, 4.3], [1.02, 4.19], [9, 4.02]]
    thresholds = torch.tensor([1.0, 4.0], dtype=torch.float64)
    for norm in ([1, 1], [0.02, 30]):  # the scale of the decoder does not matter
        assert near(base, variant, norm, thresholds) == {(0, 0), (0, 1), (2, 0), (2, 1)}
    assert near(base, variant, [1, 1], None) == set()


def test_near_flips_of_the_kept_by_hand():
    """The smallest kept of a token in the model where it fires: base 2, so that 2.09 is near and 3 is not; variant 5."""
    base = [[2, 2.09, 3, 0], [0, 0, 0, 0]]
    variant = [[0, 0, 5, 5.2], [0, 7, 7.4, 0]]
    assert near(base, variant, [1, 2, 3, 4], "kept") == {(0, 0), (0, 1), (0, 3), (1, 1)}
