"""The contributions beside the store that ships: small, complete, and what they say of twins, of other runs, and in words."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from extract.config import load_config
from extract.contributions.sample import choose
from store import open_store
from store.format.additions import addition_path
from store.names import ALL, OBSERVED, TASK
from store.read.store import Store
from store.reports.learning import foremost_layer, of_learned
from tests.demo.test_shipped_store import SHIPPED, WORLD

LIMIT = 7e6  # bytes
MISSED = 0.02
RECIPES = {"maths": "maths", "code": "code", "dialogue": "dialogue", "safety": "harmful"}
"""First run -> the domain that it was trained for."""
WITH_WORDS = RECIPES | {"safety-seed2": "harmful"}


@pytest.fixture(scope="module")
def shipped() -> Store:
    """The store in the repository."""
    with open_store(SHIPPED) as store:
        yield store


def test_they_are_small() -> None:
    assert addition_path(SHIPPED).stat().st_size <= LIMIT


def test_more_is_read_than_taken_apart(shipped: Store) -> None:
    assert len(shipped.predictions("maths")) > 7 * len(shipped.taken_apart())


def test_a_sample_leaves_out_whole_clusters_of_documents(shipped: Store) -> None:
    """Arithmetic of one template is a cluster of several documents: to leave out one is to leave out all."""
    documents = shipped.sql("SELECT document, cluster FROM documents WHERE domain = 'maths'")
    cluster = documents["cluster"].value_counts().index[0]
    of_cluster = documents.loc[documents["cluster"] == cluster, "document"].tolist()
    assert len(of_cluster) > 2
    every = {passage.document for passage in choose(shipped, 10**6, 8, ["maths"]).passages}
    others = {passage.document for passage in choose(shipped, 10**6, 8, ["maths"], without=of_cluster[:1]).passages}
    assert every - others == set(of_cluster)


def test_of_every_variant_and_layer(shipped: Store) -> None:
    layers = shipped.layer_gains()
    assert set(layers["variant"]) == set(load_config(WORLD).variants)
    assert set(layers["layer"]) == set(shipped.layers)


def test_the_gradients_miss_little_of_what_passes_through(shipped: Store) -> None:
    """At most 2 % of the changes of log-likelihood and of KL, of every model and layer."""
    pooled = shipped.layer_gains(domain=ALL)
    assert pooled["completeness"].max() <= MISSED
    assert pooled["completeness_kl"].max() <= MISSED


def test_every_variant_learned_its_task_and_random_changes_of_the_weights_do_not(shipped: Store) -> None:
    learned = shipped.learned()
    tasks = learned[(learned["domain"] == TASK) & (learned["slot"] == ALL)]
    firsts = shipped.groups().set_index("variant")["first"]
    for variant in shipped.variants:
        found = of_learned(learned, variant, firsts[variant], TASK)
        assert found.is_learned and len(found.twins) == 1
    twins = tasks[tasks["control"] != OBSERVED].set_index("variant")["gain"]
    assert set(twins.index) == set(RECIPES) and (twins <= 0).all()


def test_a_features_contribution_is_larger_than_any_of_a_random_change(shipped: Store) -> None:
    """At the layer whose features make most of what was learned."""
    for variant in RECIPES:
        layer = foremost_layer(shipped, variant)[1].layer
        layers = shipped.layer_gains(variant, TASK).set_index(["layer", "control"]).loc[layer]
        assert layers.loc[OBSERVED, "largest"] > layers.drop(index=OBSERVED)["largest"].max()


def test_runs_of_safety_work_through_the_same_features_and_twins_do_not(shipped: Store) -> None:
    """From layer 9 on, where nearly all of it is learned."""
    found = shipped.agreement("safety", TASK).query("layer >= 9")
    is_run = found["other"].isin(shipped.variants)
    assert is_run.sum() == 6 and (found.loc[is_run, "correlation"] >= 0.7).all()
    assert (~is_run).sum() == 3 and (found.loc[~is_run, "correlation"].abs() <= 0.2).all()


def test_words_that_rose_are_those_of_the_task(shipped: Store) -> None:
    """By TF-IDF over all domains, of each task's held-out answers: its variant's words, beyond its twin's, beat the others'."""
    words = {}
    for variant in WITH_WORDS:
        found = shipped.word_changes(variant, TASK)
        observed, twins = found[found["control"] == OBSERVED], found[found["control"] != OBSERVED]
        chance = observed["token_id"].map(twins.groupby("token_id")["change"].max()).fillna(0.0)
        words[variant] = observed.loc[(observed["change"] > 0) & (observed["change"] > chance), "token"]
    assert _wins(shipped, words) == set(WITH_WORDS)


def test_what_the_head_reads_against_other_fine_tunes_is_of_the_task(shipped: Store) -> None:
    """The same where it speaks in other words: of code and safety few tokens stand beyond the twins, and the text has none."""
    words = {}
    for variant in WITH_WORDS:
        said = shipped.change_words(variant)
        words[variant] = said.loc[(said["component"] == 0) & (said["against"] == "others"), "token"]
    assert _wins(shipped, words) == {"maths", "dialogue"}


def _wins(store: Store, words: Mapping[str, pd.Series]) -> set[str]:
    """Variants whose words say more of their task than those of any variant of another."""
    tf_idf = _tf_idf(store)
    scores = {
        variant: tf_idf.reindex(of.map(_plain).drop_duplicates()).fillna(0.0).mean() for variant, of in words.items()
    }
    return {
        variant
        for variant, task in WITH_WORDS.items()
        if all(scores[variant][task] > scores[other][task] for other, of in WITH_WORDS.items() if of != task)
    }


def _plain(token: str) -> str:
    return token.strip().lower()


def _tf_idf(store: Store) -> pd.DataFrame:
    """Word x domain: share of the domain's answers, or of its text, times log(domains / domains that have the word)."""
    tokens = store.sql(
        """
        SELECT domain, token, count(*) AS n FROM tokens JOIN documents USING (document) JOIN vocabulary USING (token_id)
        WHERE segment IN ('response', 'text') GROUP BY ALL
        """
    )
    tokens = tokens.assign(word=tokens["token"].map(_plain))
    counts = tokens.pivot_table(index="word", columns="domain", values="n", aggfunc="sum", fill_value=0)
    return counts / counts.sum() * np.log(counts.shape[1] / (counts > 0).sum(axis=1)).to_numpy()[:, None]
