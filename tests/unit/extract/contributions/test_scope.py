"""How many predictions are sampled where no number is given."""

from extract.config import A_PREDICTION, LEAST_PREDICTIONS, RunConfig

CONFIG = {
    "base": "base", "saes": [{"path": "sae"}], "corpus": [{"path": "texts.jsonl"}],
    "variants": {
        "a": {"adapter": "a"}, "a2": {"adapter": "a2", "replicate_of": "a"},
        "b": {"adapter": "b"}, "b2": {"adapter": "b2", "replicate_of": "b"},
    },
}  # fmt: skip


def predictions(n_tokens: int, **changes: object) -> int:
    return RunConfig.model_validate(CONFIG | changes).predictions(n_tokens)


def test_they_take_as_long_as_the_shards():
    """With two twins each 13 models were read, and 6 are measured; with none 5 and 4."""
    assert predictions(600 * A_PREDICTION) == 600 * 13 // 6
    assert predictions(600 * A_PREDICTION, twins=0) == 600 * 5 // 4


def test_a_number_that_is_given_counts_and_a_few_there_always_are():
    assert predictions(10**6, contributions=70) == 70
    assert predictions(100) == LEAST_PREDICTIONS
