"""A store of 26 layers x 65,536 features x 4 variants: every question of the app is answered in time."""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app import data
from store import open_store, verify
from store.read.store import Store
from tests.support import pages
from tests.support.big_store import LONG_D_SAE, LONG_DOCUMENT, LONG_L0, PART_TOKENS, make_big_store, make_long_store
from tests.support.pace import agreed_seconds

FEATURE_SECONDS, DOCUMENT_SECONDS = 0.2, 0.02
LIST_SECONDS, ANSWER_SECONDS, OPEN_SECONDS, PAGE_SECONDS = 0.15, 1.0, 2.0, 1.0
VARIANT, OTHER = "variant-1", "variant-2"
CLAIMED = ("suppressed", "amplified")

LISTS: dict[str, Callable[[Store], object]] = {
    "shifted, one layer": lambda s: s.shifted_features(VARIANT, layer=12),
    "shifted, all layers": lambda s: s.shifted_features(VARIANT),
    "the tenth page of it": lambda s: s.shifted_features(VARIANT, offset=450),
    "suppressed, all layers": lambda s: s.suppressed_features(VARIANT),
    "claimed, by evidence": lambda s: s.shifted_features(VARIANT, verdicts=CLAIMED, sort="evidence"),
    "in one domain": lambda s: s.shifted_features(VARIANT, layer=12, domain="code"),
    "a search in one layer": lambda s: s.shifted_features(VARIANT, layer=12, search="refusal"),
    "count by kind": lambda s: s.count_features(VARIANT),
    "count by verdict": lambda s: s.count_verdicts(VARIANT),
}
OTHERS: dict[str, Callable[[Store], object]] = {
    "overview": lambda s: s.overview(),
    "layer metrics": lambda s: s.layer_metrics(domain="all", segment="all"),
    "verdict counts": lambda s: s.verdict_counts(),
    "one feature": lambda s: s.feature(12, 5000),
    "its numbers": lambda s: s.feature_stats(12, 5000, VARIANT),
    "its contexts": lambda s: s.contexts(12, 5000, VARIANT, "increase"),
    "its neighbours": lambda s: s.decoder_neighbours(12, 5000, VARIANT),
    "its place in the list": lambda s: s.neighbours(12, 5000, VARIANT, sort="evidence"),
    "its activations": lambda s: s.activations(12, 5000),
    "striking": lambda s: s.shifted_features(VARIANT, verdicts=CLAIMED, sort="striking", limit=3),
    "sets of tasks": lambda s: s.change_sets(),
    "two side by side": lambda s: s.side_by_side(VARIANT, OTHER, layer=12),
    "pairs in one layer": lambda s: s.variant_pairs(layer=12),
    "codes of a document": lambda s: s.codes(3, 12),
}


def seconds(ask: Callable[[Store], object], store: Store, times: int) -> list[float]:
    return sorted(agreed_seconds(lambda: ask(store)) for _ in range(times))


def test_a_small_one_is_sound_and_answers(tmp_path):
    """The same writer and the same questions, at a size for every day."""
    folder = make_big_store(tmp_path / "store", layers=2, d_sae=2000, variants=3)
    assert verify(folder) == []
    with open_store(folder) as store:
        assert store.manifest.rows["feature_stats"] == 2 * 3 * (2000 + 100)
        for name, ask in LISTS.items():
            assert ask(store) is not None, name
        assert len(store.shifted_features(VARIANT)) == 50
        assert len(store.contexts(1, 1000, VARIANT, "increase")) == 5
        assert len(store.codes(3, 1)) == 64 * 20


@pytest.fixture(scope="module")
def big(tmp_path_factory) -> Path:
    """Given by FEATURESHIFT_BIG_STORE, or made anew, which takes minutes."""
    given = os.environ.get("FEATURESHIFT_BIG_STORE")
    return Path(given) if given else make_big_store(tmp_path_factory.mktemp("big") / "store", 26, 65_536, 4)


@pytest.mark.long
def test_every_question_is_answered_in_time(big):
    start = time.perf_counter()
    with open_store(big) as store:
        store.overview()
        opened = time.perf_counter() - start
        assert store.manifest.rows["feature_stats"] >= 26 * 65_536 * 4
        late = []
        for questions, limit in ((LISTS, LIST_SECONDS), (OTHERS, ANSWER_SECONDS)):
            for name, ask in questions.items():
                taken = seconds(ask, store, 20)
                p95 = taken[math.ceil(0.95 * len(taken)) - 1]
                print(f"{name:28s} median {taken[10]:.3f} p95 {p95:.3f}")
                late += [(name, p95)] if p95 > limit else []
    print(f"{'opened':28s} {opened:.3f}")
    assert late == [] and opened < OPEN_SECONDS


@pytest.mark.long
def test_ten_million_tokens_are_read_in_time(tmp_path):
    """153 full parts: a feature's every activation, and a document's codes, once the system has the files in memory."""
    store = open_store(make_long_store(tmp_path / "store", 153))
    found = store.activations(0, 77)
    assert len(found) % 153 == 0 and 0.9 < len(found) / (153 * PART_TOKENS * LONG_L0 / LONG_D_SAE) < 1.1
    assert found["document"].is_monotonic_increasing and found["document"].max() > 152 * 256
    assert len(store.codes(20_000, 0)) == LONG_DOCUMENT * LONG_L0
    for name, ask, limit in (
        ("a feature's activations", lambda s: s.activations(0, 5003), FEATURE_SECONDS),
        ("a document's codes", lambda s: s.codes(30_001, 0), DOCUMENT_SECONDS),
    ):
        taken = seconds(ask, store, 20)
        print(f"{name:28s} median {taken[10]:.4f} p95 {taken[18]:.4f}")
        assert taken[10] <= limit


@pytest.mark.long
@pytest.mark.parametrize("view", ["overview", "layers", "features", "suppressed", "feature", "compare", "review"])
def test_every_page_is_drawn_in_time(big, monkeypatch, view):
    """Once it was drawn before."""
    monkeypatch.setenv(data.VARIABLE, str(big))
    app = pages.open_page(view, **({"layer": "12", "feature": "5000"} if view == "feature" else {}))
    assert not app.exception and not app.error
    start = time.perf_counter()
    app.run()
    taken = time.perf_counter() - start
    print(f"{view:12s} {taken:.3f}")
    assert taken < PAGE_SECONDS
