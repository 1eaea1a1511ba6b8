"""What a change says when the output head reads it, against logits worked out beside it, on a small real model."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from extract.contributions.tables import Group
from extract.contributions.words import Words
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
    groups = [Group("a", ["a"], ["twin_1"], [0]), Group("b", ["b"], [], [])]
    models = SimpleNamespace(base=model, device="cpu")
    with one_thread():
        words = Words(Means(of_model), lambda _table, rows: found.append(rows), groups, [], models, tokenizer, len(tokenizer))
        words._write_means(groups[0], 1)
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
