"""What a change says when the output head reads it, against logits worked out beside it, on a small real model."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from extract.contributions.tables import Group
from extract.contributions.words import Words
from extract.models.sites import Site
from store.points import RESID_POST
from tests.support.world import D_MODEL, World, one_thread


class Means:
    """Mean changes of three models, the same in every domain and slot."""

    def __init__(self, of_model: dict[str, np.ndarray]) -> None:
        self.of_model, self.sample = of_model, SimpleNamespace(domains=["chats"])

    def mean_change(self, layer: int, model: str, domains: list[int], slots: list[int]) -> np.ndarray:
        return self.of_model[model]


@pytest.fixture(scope="module")
def parts(world: World):
    return AutoModelForCausalLM.from_pretrained(world.base).eval(), AutoTokenizer.from_pretrained(world.base)


def words_of(parts, of_model: dict[str, np.ndarray]) -> tuple[pd.DataFrame, np.ndarray]:
    """(the rows of `a` at one layer: it has a twin, and `b` is another recipe; bool [words], tokens that can be read)."""
    model, tokenizer = parts
    found: list[pd.DataFrame] = []
    groups = [Group("a", ["a"], ["twin_1"], [0], ["b"]), Group("b", ["b"], [], [], ["a"])]
    models = SimpleNamespace(base=model, device="cpu")
    with one_thread():
        load = lambda _table, rows: found.append(rows)  # noqa: E731
        words = Words(Means(of_model), load, groups, [], models, tokenizer, len(tokenizer), {})
        words._write_means(groups[0], Site(1, RESID_POST))
    rows = pd.concat(found)
    return rows[(rows["domain"] == "all") & (rows["slot"] == "all")], words._readable


def deviations(model, direction: np.ndarray, readable: np.ndarray) -> np.ndarray:
    """[words], logits of a direction in standard deviations about the mean of readable tokens, -inf for others.

    Gemma's norm multiplies by 1 + weight.
    """
    with torch.no_grad():
        logits = (torch.from_numpy(direction).float() * (1 + model.model.norm.weight)) @ model.lm_head.weight.T
    logits = logits.numpy()[: len(readable)]
    return np.where(readable, (logits - logits[readable].mean()) / logits[readable].std(), -np.inf)


def test_alone_and_against_another_however_long_its_change_is(parts):
    """Both directions count alike: b's is 50 times as long. a's is what the head reads as one word."""
    model, tokenizer = parts
    random = np.random.default_rng(0)
    of_model = {name: random.normal(size=D_MODEL) for name in ("b", "a:twin_1")}
    [token] = tokenizer.encode(" moon", add_special_tokens=False)
    of_model["a"] = (model.lm_head.weight[token] * (1 + model.model.norm.weight)).detach().double().numpy()
    of_model["b"] *= 50
    rows, readable = words_of(parts, of_model)
    unit = {name: mean / np.linalg.norm(mean) for name, mean in of_model.items()}
    for against, less in (("nothing", 0.0), ("others", unit["b"])):
        own, twin = (deviations(parts[0], unit[name] - less, readable) for name in ("a", "a:twin_1"))
        found = rows[rows["against"] == against].set_index("token_id")
        beyond = {int(token) for token in np.argsort(-own)[:20] if own[token] > twin.max()}
        assert set(found.index) == beyond and token in beyond
        np.testing.assert_allclose(found["score"], own[found.index], atol=1e-4)
        np.testing.assert_allclose(found["chance"], twin.max(), atol=1e-4)


def test_a_change_that_is_its_twins_says_nothing(parts):
    mean = np.random.default_rng(1).normal(size=D_MODEL)
    rows, _ = words_of(parts, {"a": mean, "a:twin_1": 3 * mean, "b": -mean})
    assert rows.empty


class Changes:
    """Sums of changes of probability, [words], in one domain at the openings of answers; of weights 3 and 1 together."""

    def __init__(self, of_model: dict[str, np.ndarray]) -> None:
        self.of_model, self.sample = of_model, SimpleNamespace(domains=["chats"])
        self.predictions = {"domain": np.zeros(2), "slot": np.ones(2), "weight": np.array([3.0, 1.0])}

    def word_changes(self, model: str, words: int) -> dict[tuple[int, int], np.ndarray]:
        return {(0, 1): self.of_model[model]} if model in self.of_model else {}


def changes_of(parts, of_model: dict[str, np.ndarray]) -> pd.DataFrame:
    """word_changes of `b`, a second run of `a`, whose twin is the recipe's."""
    model, tokenizer = parts
    found: list[pd.DataFrame] = []
    groups = [Group("a", ["a", "b"], ["twin_1"], [0], []), Group("b", ["a", "b"], [], [0], [])]
    models, load = SimpleNamespace(base=model, device="cpu"), lambda _table, rows: found.append(rows)
    Words(Changes(of_model), load, groups, [], models, tokenizer, len(tokenizer), {})._write_changes(groups[1])
    rows = pd.concat(found)
    return rows[(rows["domain"] == "*task") & (rows["slot"] == "opening")].set_index(["control", "token_id"])["change"]


def test_a_token_that_moved_has_what_the_twin_does_to_it(parts):
    """Sums over weight 4. The twin moves another token more, and one not at all. A second run has the first's twin."""
    token = {name: parts[1].encode(name, add_special_tokens=False)[0] for name in (" moon", " sun", " rain")}
    own, twin = np.zeros(len(parts[1])), np.zeros(len(parts[1]))
    own[token[" moon"]], own[token[" sun"]] = 2.0, -1.0
    twin[token[" moon"]], twin[token[" rain"]] = 0.4, 3.0
    found = changes_of(parts, {"b": own, "a:twin_1": twin}).to_dict()
    assert found == pytest.approx(
        {
            ("observed", token[" moon"]): 0.5, ("observed", token[" sun"]): -0.25, ("twin_1", token[" moon"]): 0.1,
            ("twin_1", token[" sun"]): 0.0, ("twin_1", token[" rain"]): 0.75,
        }
    )  # fmt: skip


def test_a_variant_that_predicts_as_the_base_has_no_rows(parts):
    assert changes_of(parts, {}).empty
