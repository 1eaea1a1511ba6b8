"""The contributions beside the store that ships: small, complete, and what they say of twins, of other runs, and in words."""

import numpy as np
import pandas as pd
import pytest

from extract.config import load_config
from store import open_store
from store.format.additions import addition_path
from store.names import ALL, OBSERVED, TASK
from store.read.store import Store
from tests.demo.test_shipped_store import SHIPPED, WORLD

LIMIT = 6e6  # bytes
MISSED = 0.02
RECIPES = {"maths": "maths", "code": "code", "dialogue": "dialogue", "safety": "harmful"}
"""First run -> the domain that it was trained for."""


@pytest.fixture(scope="module")
def shipped() -> Store:
    """The store in the repository."""
    with open_store(SHIPPED) as store:
        yield store


def test_they_are_small() -> None:
    assert addition_path(SHIPPED).stat().st_size <= LIMIT


def test_of_every_variant_and_layer(shipped: Store) -> None:
    layers = shipped.layer_gains()
    assert set(layers["variant"]) == set(load_config(WORLD).variants)
    assert set(layers["layer"]) == set(shipped.layers)


def test_the_gradients_miss_little_of_what_passes_through(shipped: Store) -> None:
    """At most 2 % of the changes of log-likelihood and of KL, of every model and layer."""
    pooled = shipped.layer_gains(domain=ALL)
    assert pooled["completeness"].max() <= MISSED
    assert pooled["completeness_kl"].max() <= MISSED


def test_a_random_change_of_the_weights_learns_nothing(shipped: Store) -> None:
    learned = shipped.learned()
    tasks = learned[(learned["domain"] == TASK) & (learned["slot"] == ALL)]
    twins = tasks[tasks["control"] != OBSERVED]
    assert len(twins) == len(RECIPES) and (twins["gain"] <= 0).all()
    observed = tasks[tasks["control"] == OBSERVED].set_index("variant")
    assert (observed.loc[list(RECIPES), "low"] > 0).all()


def test_runs_of_safety_work_through_the_same_features_and_twins_do_not(shipped: Store) -> None:
    found = shipped.agreement("safety", TASK)
    runs = found[found["other"].isin(shipped.variants)].groupby("other")["correlation"].mean()
    twins = found[~found["other"].isin(shipped.variants)].groupby("other")["correlation"].mean()
    assert (runs >= 0.7).all() and len(runs) == 2
    assert (twins.abs() <= 0.2).all() and len(twins)


def test_the_words_of_a_variant_are_those_of_its_task(shipped: Store) -> None:
    """What each change says against the other fine-tunes, held to the answers of each task by TF-IDF over all domains.

    Of held-out text of the kind that it was trained on, a variant's words say more than any other's.
    """
    tf_idf = _tf_idf(shipped)
    scores = {}
    for variant in RECIPES:
        said = shipped.change_words(variant)
        said = said[(said["component"] == 0) & (said["against"] == "others") & (said["domain"] == TASK)]
        words = said["token"].map(_plain).drop_duplicates()
        scores[variant] = tf_idf.reindex(words).fillna(0.0)[list(RECIPES.values())].mean()
    table = pd.DataFrame(scores)  # domain x variant
    print(table)
    assert (table.idxmax(axis=1) == list(RECIPES)).sum() >= 4


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
