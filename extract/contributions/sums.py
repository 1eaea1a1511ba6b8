"""What the files of the pass over contributions hold, one file a batch of passages: each table once.

Sums over predictions are weighted ones, as :mod:`extract.contributions.sample` weighs them.
"""

from extract.measure.sum_tables import Column, SumTable

WORDS_LEAST = 1e-4
"""A token of the vocabulary whose probability moved by less, summed over a batch's predictions of a slot, is left out."""
ACTS_A_PASSAGE = 64
"""Tokens of a passage, by the largest contributions of a feature there, that are kept one by one."""

_PASSAGE = Column("passage", "int64", "number in the sample")
_FEATURE = Column("feature", "int64", "of the layer's dictionary")
_GAIN = Column("gain", "float64", "contribution to the change of log-likelihood, nats, summed over the passage's predictions")
_KL = Column("kl", "float64", "to KL(p_a || p_b), the same")

PREDICTIONS = SumTable("predictions", (Column("likelihood", "float64", "log-probability of the token that follows, nats"),))
"""Of each model, in the order of the batch's passages."""
DIVERGENCES = SumTable("predictions", (Column("kl", "float64", "KL(p_a || p) there, nats"),))
"""Of each model but the base."""
THROUGH = SumTable(
    "through",
    (
        _PASSAGE,
        Column("gain", "float64", "L(0) - L(1): change of log-likelihood through the layer, nats, summed over predictions"),
        Column("kl", "float64", "K(0) - K(1), the same"),
        Column("path_gain", "float64", "sum of g . delta: what the integrated gradients make of gain"),
        Column("path_kl", "float64", "of kl; NaN of twins, as features_kl"),
        Column("features_gain", "float64", "of it through the dictionary's features"),
        Column("features_kl", "float64", "the same"),
    ),
)
"""Of each layer and model but the base."""
FEATURES = SumTable(
    "features", (_PASSAGE, _FEATURE, _GAIN, _KL, Column("size", "float64", "sum over tokens of |b - a|, scaled"))
)
"""Of each layer and variant: only where a contribution is not 0."""
TWIN_FEATURES = SumTable("twin_features", (Column("domain", "int64", "number in the sample"), _FEATURE, _GAIN))
"""Of each layer and twin."""
ACTS = SumTable("acts", (_PASSAGE, Column("place", "int64", "token of the window"), _FEATURE, _GAIN))
"""Of each layer and variant: the largest of each passage."""
WORDS = SumTable(
    "words",
    (
        Column("domain", "int64", "number in the sample"),
        Column("slot", "int64", "place in SLOTS"),
        Column("token_id", "int64", ""),
        Column("change", "float64", "sum of p_b - p_a of the next token"),
    ),
)
"""Of each model but the base."""
MEANS = SumTable(
    "means",
    (
        Column("domain", "int64", "number in the sample"),
        Column("slot", "int64", "place in SLOTS"),
        Column("count", "int64", "tokens that count"),
        Column("delta", "float64", "sum of h_b - h_a over them", n_axes=2),
    ),
)
"""Of each layer and model but the base: of every token of the windows that predicts what is asked about."""
