"""The store that ships: sound, small enough, and what the shipped weights give when its documents are read again."""

import numpy as np
import pandas as pd
import pytest
import torch

from extract.config import groups, load_config, twins
from extract.corpus.batches import Shard, make_batches
from extract.corpus.documents import Document
from extract.models.loading import load_tokenizer
from extract.models.model_set import ModelSet
from extract.models.residuals import read_residuals
from extract.saes.dictionary_set import load_dictionaries
from store import open_store, verify
from store.names import BASE, OBSERVED
from store.read.store import Store
from store.reports.findings import findings
from store.token_text import raw_bytes, written
from tests.support import ROOT

SHIPPED = ROOT / "store" / "demo"
WORLD = ROOT / "extract" / "demo" / "configs" / "world.yaml"
LIMIT = 48e6  # bytes
AGREEMENT = 0.999  # of active sets, on another machine or in other batches
PRECISION = 2.0**-9  # of values
VARIANT = "safety"


@pytest.fixture(scope="module")
def shipped() -> Store:
    """The store in the repository."""
    with open_store(SHIPPED) as store:
        yield store


def test_the_texts_of_its_tokens_are_written_as_they_would_be_today(shipped: Store) -> None:
    """Gemma's byte tokens are byte marks; no other token can be taken for one."""
    tokens = shipped.sql("SELECT token FROM vocabulary")["token"]
    assert [token for token in tokens if written(raw_bytes(token)) != token] == []
    marked = [token for token in tokens if raw_bytes(token) != token.encode()]
    assert len(marked) > 50 and all(len(raw_bytes(token)) == 1 for token in marked)


@pytest.fixture(scope="module")
def models() -> ModelSet:
    """The base and one adapter as they ship."""
    config = load_config(WORLD)
    return ModelSet(config.model_copy(update={"variants": {VARIANT: config.variants[VARIANT]}}), "cpu", torch.float32)


def test_it_is_whole_and_small() -> None:
    """Every byte, row and digest is what the manifest says, within the size that was promised."""
    assert verify(SHIPPED) == []
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) <= LIMIT


def test_it_holds_the_whole_world(shipped: Store) -> None:
    """All variants, layers and domains, controls and twins; claims of every recipe; answers of the base and the first runs."""
    config = load_config(WORLD)
    assert set(shipped.variants) == set(config.variants)
    assert len(shipped.layers) == len(config.saes)
    assert set(shipped.domains) == {source.domain for source in config.corpus}
    assert shipped.manifest.counts["tokens"] >= 0.99 * config.tokens
    assert set(shipped.controls()["control"]) == {OBSERVED, *config.controls, *twins(config)}
    called = shipped.sql("SELECT DISTINCT variant, verdict FROM feature_stats WHERE verdict IN ('suppressed', 'amplified')")
    assert len(called) == 2 * len(config.variants)
    firsts = set(groups(config))
    assert {name for name in config.variants if shipped.keeps_codes(name)} == firsts
    answered = shipped.sql("SELECT model, count(*) AS n FROM answers GROUP BY model")
    assert {BASE, *firsts} <= set(answered["model"]) <= {BASE, *config.variants}
    assert (answered["n"] >= 100).all()


def test_the_page_of_findings_is_the_stores(shipped: Store) -> None:
    """FINDINGS.md is what the command writes for this store today."""
    assert (ROOT / "FINDINGS.md").read_text() == findings(shipped)


@pytest.mark.thorough
def test_its_weights_are_the_ones_that_ship(shipped: Store) -> None:
    """The manifest's hashes of adapters and dictionaries are those of the files in the repository."""
    config = load_config(WORLD)
    models = ModelSet(config, "cpu", torch.float32)
    for name, about in shipped.manifest.variants.items():
        assert models.digests[name] == about["sha256"], name
    for dictionary in load_dictionaries(config.saes, models.shape):
        assert dictionary.digest() == shipped.manifest.saes[str(dictionary.layer)]["sha256"]


@pytest.mark.gemma
@pytest.mark.parametrize(
    "domain", ["harmful", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("fiction", "maths"))]
)
def test_a_document_read_again_gives_the_same_codes(shipped: Store, models: ModelSet, domain: str) -> None:
    """A short one, through base and one variant, at every layer."""
    config = load_config(WORLD)
    tokenizer = load_tokenizer(config.base)
    dictionaries = load_dictionaries(config.saes, models.shape)
    sites = [dictionary.site for dictionary in dictionaries]
    number, document = _shortest(shipped, domain)
    shard = Shard(0, 0, (document,))
    found: dict[tuple[int, str], list[pd.DataFrame]] = {}
    for batch in make_batches(shard, config.context_length, 2048, tokenizer.bos_token_id, tokenizer.pad_token_id):
        rows, residuals = read_residuals(models, [BASE, VARIANT], batch, sites)
        for dictionary in dictionaries:
            for model in (BASE, VARIANT):
                codes = dictionary.encode(residuals[model][dictionary.site])[0]
                scaled = codes.value.double() * dictionary.decoder_norm[codes.feature]
                found.setdefault((dictionary.layer, model), []).append(pd.DataFrame(
                    {"position": rows[codes.row].numpy(), "feature": codes.feature.numpy(), "again": scaled.numpy()}
                ))  # fmt: skip
    for (layer, model), again in found.items():
        _compare(shipped.codes(number, layer, model), pd.concat(again))


def _shortest(store: Store, domain: str) -> tuple[int, Document]:
    """The shortest document of a domain that kept its codes."""
    found = store.sql(
        "SELECT document, source FROM documents WHERE has_codes AND domain = ? ORDER BY n_tokens, document LIMIT 1", [domain]
    ).iloc[0]
    tokens = store.sql("SELECT token_id FROM tokens WHERE document = ? ORDER BY position", [int(found["document"])])
    ids = tokens["token_id"].to_numpy(dtype=np.int32)
    return int(found["document"]), Document(found["source"], domain, ids, np.zeros(len(ids), dtype=np.int8))


def _compare(stored: pd.DataFrame, again: pd.DataFrame) -> None:
    """Active sets agree, and so do the values where both fire; sinks have no codes in the store."""
    again = again[again["position"].isin(stored["position"])]
    both = stored.merge(again, on=["position", "feature"])
    assert len(stored) > 100
    assert len(both) >= AGREEMENT * max(len(stored), len(again))
    assert (np.abs(both["value"] - both["again"]) <= PRECISION * both["again"]).mean() >= AGREEMENT
