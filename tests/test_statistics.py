"""Hashes of contexts and the choice of the best: against naive versions, on every small size."""

from types import SimpleNamespace

import numpy as np
import pytest

from extract import sums
from extract.statistics import text_hashes, top_contexts


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
        top_contexts({name: values[part] for name, values in contexts.items()}, 3)
        for part in (slice(0, 90), slice(90, None))
    ]
    merged = top_contexts({name: np.concatenate([half[name] for half in halves]) for name in contexts}, 3)
    whole = top_contexts(contexts, 3)
    for name in contexts:
        np.testing.assert_array_equal(merged[name], whole[name])


def test_no_contexts():
    empty = {"feature": np.zeros(0, np.int32), "score": np.zeros(0, np.float32), "place": np.zeros(0, np.int64)}
    top = top_contexts({**empty, "text": np.zeros(0, np.int64)}, 3)
    assert len(top["place"]) == 0


def test_sums_are_read_with_few_open_files(tmp_path, monkeypatch):
    """Five shards, two files open at most: every shard is still read, in order, time and again."""
    monkeypatch.setattr(sums, "MAX_OPEN", 2)
    writer = SimpleNamespace(work=tmp_path)
    shards = [SimpleNamespace(index=i) for i in range(5)]
    for shard in shards:
        sums.save(sums.path(writer, shard.index), {sums.key(12, "maths", "n"): np.array([shard.index, 10])})
    found = sums.ShardSums(writer, shards)
    for _ in range(2):
        assert [array.tolist() for array in found.arrays(12, "maths", "n")] == [[i, 10] for i in range(5)]
        assert [columns["n"][0] for columns in found.columns(["n"], 12, "maths")] == list(range(5))
        assert len(found._open) == 2
    found.close()
    assert not found._open
