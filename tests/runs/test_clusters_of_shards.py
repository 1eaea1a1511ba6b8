"""A run whose shards cut its clusters into pieces says the same of features as a run of one shard."""

import json
from pathlib import Path

import numpy as np
import pytest

from store import open_store
from store.format.codes import part_file
from store.format.part_reading import read_codes
from tests.support import runs
from tests.support.world import World, write_jsonl

OF_CLUSTERS = ["n_clusters", "change_low", "change_high", "twin_low", "twin_high", "change_rescaled"]


@pytest.fixture(scope="module")
def stores(world: World, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of one shard, and of shards of 200 tokens; seven records of a source are a cluster."""
    folder = tmp_path_factory.mktemp("clusters")
    corpus = []
    for source in world.corpus:
        records = [json.loads(line) for line in Path(source["path"]).read_text(encoding="utf-8").splitlines()]
        named = [{**record, "cluster": f"{number // 7}"} for number, record in enumerate(records)]
        corpus.append({**source, "path": str(write_jsonl(folder / Path(source["path"]).name, named))})
    for shard_tokens in (4000, 200):
        config = world.config(folder, corpus=corpus, shard_tokens=shard_tokens, twins=1)
        runs.finish("run", config, "--out", folder / f"of-{shard_tokens}", log=folder / "log")
    return [folder / "of-4000", folder / "of-200"]


def features(folder: Path):
    with open_store(folder) as store:
        return store.sql("SELECT * FROM feature_stats WHERE domain = 'all' ORDER BY variant, layer, feature")


def test_shards_do_not_matter(stores):
    """Counts are equal, the others but for rounding to float32."""
    whole, cut = map(features, stores)
    with open_store(stores[1]) as store:
        split = store.sql("SELECT domain, cluster FROM documents GROUP BY ALL HAVING count(DISTINCT part) > 1")
    assert len(split) > 1 and len(whole) > 100
    np.testing.assert_allclose(cut[OF_CLUSTERS].to_numpy(float), whole[OF_CLUSTERS].to_numpy(float), atol=1e-6)
    assert (whole["n_clusters"] < whole["n_documents"]).any() and whole["twin_low"].notna().any()


def test_clusters_are_those_of_the_codes(stores):
    """The number of clusters in which a feature fires, counted in what the parts keep."""
    with open_store(stores[1]) as store:
        documents = store.sql("SELECT part, n_tokens, domain || '/' || cluster AS cluster FROM documents ORDER BY document")
    layer, found = 2, features(stores[1]).query("layer == 2").set_index("feature")["n_clusters"]
    fired = {feature: set() for feature in found.index}
    for part, rows in documents.groupby("part"):
        cluster = rows["cluster"].repeat(rows["n_tokens"]).to_numpy()
        for model in ("base", "tuned"):
            codes = read_codes(stores[1] / part_file(part), layer, model)
            for row, feature in zip(codes.rows.tolist(), codes.index.tolist(), strict=True):
                fired[feature].add(cluster[row])
    assert found.to_dict() == {feature: len(clusters) for feature, clusters in fired.items()}
