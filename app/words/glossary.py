"""The terms that a newcomer meets on the pages, each in one plain sentence; how numbers are made is said in docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping

from app.words.meanings import VERDICTS
from store.metrics.thresholds import DENSE, MIN_CLUSTERS
from store.numbers import percent

TERMS: Mapping[str, str] = {
    "activation": "How strongly a feature is on at a token: 0 where it is off.",
    "amplified": f"Of a feature: {VERDICTS['amplified'].meaning}.",
    "change": "The share of a feature's activation that is lost (down to -100 %) or new (up to +100 %) in the variant.",
    "claimed": "Suppressed or amplified: the two verdicts that lay a change to this training.",
    "cluster": f"Texts of one template, article or work, which count as one; below {MIN_CLUSTERS} there are no intervals.",
    "context": "The tokens around one place where a feature fires.",
    "contribution": "How much likelier a feature's change makes the text to the variant, in nats a token; below 0 less likely.",
    "cosine": "How alike two lists of numbers point, whatever their size: 1 is the same direction, 0 none in common.",
    "dense": f"Of a feature: firing on more than {percent(DENSE)} of all tokens, so that it hardly stands for one thing.",
    "dictionary": "A sparse autoencoder (SAE), which writes what a layer has at a point as a sum of few features.",
    "feature": "A direction in what a layer has at a point, which a dictionary learnt; many stand for something one can name.",
    "fit": "Whether the dictionary, learnt on the base, still describes the variant; where not, features say little.",
    "fires": "Of a feature: its activation at a token is above 0.",
    "KL": "How far the variant's prediction of the next token is from the base's, in nats: 0 where they agree.",
    "layer": "One step of the model, counted from 0: each adds to the residual stream that the next one reads.",
    "nats": "The unit of log-likelihood: 0.69 more is twice as likely, 0.1 more a tenth likelier.",
    "overlap": "The share of the features on in base or variant that are on in both: 1 is the same set.",
    "point": "Where in a layer is read: the residual stream after it, or what its MLP or its attention adds, say.",
    "random change": "Of the weights: the variant's own, shuffled until it means nothing and made as large (a twin).",
    "recipe": "One way of fine-tuning the base; its runs differ only in their seed.",
    "replicate": "Another run of the same recipe, with another seed.",
    "residual stream": "The list of numbers that the model keeps for each token, and that every layer reads and adds to.",
    "run": "One training of a recipe: a fine-tuned model.",
    "suppressed": f"Of a feature: {VERDICTS['suppressed'].meaning}.",
    "token": "A piece of text, a word or part of one, which the model reads and predicts one at a time.",
    "transcoder": "A dictionary that tells what an MLP gives from what it is given, as a sum of a few features.",
    "twin": "The variant's change of the weights, shuffled until it means nothing and made as large: a random change.",
    "variant": "A fine-tuned model, read beside the base it was made from.",
}  # fmt: skip
"""Term -> what it means, as text of ours: it holds no mark of Markdown or HTML."""
