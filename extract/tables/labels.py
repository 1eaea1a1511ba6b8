"""A readable name for every feature from its own evidence, without a language model. Pure numpy.

``“number”, “figure” → “ of”``: the tokens that the feature fires on in the base, more than their share of the corpus
explains, then the output tokens that its decoder direction promotes, where they stand out.

How a token is scored, for a feature that fires on ``n`` tokens with activations that sum to ``A``: a token group g (texts
that differ only in case and surrounding spaces) with activation sum ``A_g`` has the weighted count ``y_g = n A_g / A``. Its
share is shrunk towards its background rate ``q_g`` (its share of all tokens that count) by ``PRIOR`` pseudo-firings, and

    score_g = y_g ln(p_g / q_g),    p_g = (y_g + PRIOR q_g) / (n + PRIOR)

is its term of the log-likelihood ratio G2 / 2 of Dunning (1993, "Accurate Methods for the Statistics of Surprise and
Coincidence", Computational Linguistics 19:1), with the informative prior of Monroe, Colaresi and Quinn (2008, "Fightin'
Words", Political Analysis 16:4). A group counts from ``MIN_FIRINGS`` firings on, so that a word seen once never wins; from
``MIN_SCORE`` on, G2's bound for p < 0.001; and from a lift p / q of ``MIN_LIFT`` on, since much text makes any excess certain.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from store.metrics.thresholds import DENSE
from store.token_text import MARK

SOURCE = "automatic"
PRIOR = 5.0
MIN_FIRINGS = 3
MIN_SCORE = 10.83 / 2
MIN_LIFT = 1.5
MAX_TOKENS = 3
WORTH = 0.25  # a second or third token needs this share of the first one's score
RARE = 10  # firings below which a feature without a telling token is said to fire so often
MOSTLY = 0.5  # share of tokens
STANDS_OUT = 6.0  # standard deviations over the vocabulary
MAX_PROMOTED = 2
MAX_TEXT = 24  # characters of one token
_PLACEHOLDER = re.compile(r"<unused\d+>|<0x[0-9A-F]{2}>|<\|?reserved_\w+\|?>|⟨\d+⟩")

_MARKS = {
    "start of the text": ("<bos>", "<s>", "<|begin_of_text|>", "<|startoftext|>"),
    "end of the text": ("<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>"),
    "start of a turn": ("<start_of_turn>", "<turn>", "<|im_start|>", "<|start_header_id|>"),
    "end of a turn": ("<end_of_turn>", "</turn>", "<|im_end|>", "<|eot_id|>", "<|end|>"),
}
_NAME_OF_MARK = {mark: name for name, marks in _MARKS.items() for mark in marks}
_ROLES = {"“model”": "the model's", "“assistant”": "the assistant's", "“user”": "the user's", "“system”": "the system's"}


@dataclass(frozen=True)
class Evidence:
    """What one layer's labels are made from.

    Attributes:
        feature, token_id: int64 [cells], each pair that fired in the base, ascending.
        count: int64 [cells], tokens; activation: float64 [cells], sum of scaled activation.
        background: token id -> tokens that count at the layer.
        density: float64 [d_sae], share of the counted tokens where each feature fires in the base.
    """

    feature: np.ndarray
    token_id: np.ndarray
    count: np.ndarray
    activation: np.ndarray
    background: Mapping[int, int]
    density: np.ndarray


@dataclass(frozen=True)
class Promoted:
    """Output tokens that decoder directions promote, strongest first.

    Attributes:
        token_ids: int [d_sae, k]; logits: float [d_sae, k]; spread: float [d_sae], standard deviation of each direction's
            effect over the whole vocabulary.
    """

    token_ids: np.ndarray
    logits: np.ndarray
    spread: np.ndarray


def automatic_labels(evidence: Evidence, texts: Mapping[int, str], promoted: Promoted | None) -> list[str]:
    """The label of every feature of a layer.

    Args:
        texts: token id -> text, for every id of the evidence and of ``promoted``.
        promoted: None where promoted tokens were not asked for.
    """
    ids = np.array(sorted(evidence.background), dtype=np.int64)
    names, group_of_id = np.unique([token_name(texts[token]) for token in ids.tolist()], return_inverse=True)
    background = np.bincount(group_of_id, weights=[evidence.background[token] for token in ids.tolist()])
    group = group_of_id[np.searchsorted(ids, evidence.token_id)]
    d_sae = len(evidence.density)
    cells = _merge(evidence, group, len(names))
    firings = np.bincount(cells["feature"], weights=cells["count"], minlength=d_sae).astype(np.int64)
    rate = background[cells["group"]] / background.sum()
    scores, lift = group_scores(cells["feature"], cells["count"], cells["activation"], rate)
    counts = (cells["count"] >= MIN_FIRINGS) & (scores >= MIN_SCORE) & (lift >= MIN_LIFT)
    telling = _best(cells, np.where(counts, scores, 0.0), WORTH)
    strongest = _best(cells, cells["activation"], 0.0)
    labels = []
    for feature in range(d_sae):
        first = [str(names[g]) for g in telling.get(feature, ())]
        any_token = [str(names[g]) for g in strongest.get(feature, ())]
        after = _promoted_names(promoted, feature, texts)
        labels.append(phrase(first, any_token, int(firings[feature]), float(evidence.density[feature]), after))
    return labels


def group_scores(
    feature: np.ndarray, count: np.ndarray, activation: np.ndarray, rate: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The score of every (feature, token group) cell, and its lift p / q: see the head of this file.

    Args:
        feature: int [cells]; count: firings; activation: sum of scaled activation, above 0.
        rate: float [cells], the group's share of all tokens that count.

    Returns:
        (score, lift), float64 [cells] each; the score is negative where the feature fires on the group less than its rate
        explains.
    """
    firings = np.bincount(feature, weights=count)[feature]
    weighted = firings * activation / np.bincount(feature, weights=activation)[feature]
    lift = (weighted + PRIOR * rate) / (firings + PRIOR) / rate
    return weighted * np.log(lift), lift


def phrase(telling: Sequence[str], strongest: Sequence[str], firings: int, density: float, promoted: Sequence[str]) -> str:
    """Put a label together from names of tokens.

    Args:
        telling: what the feature fires on beyond chance, best first; strongest: what it fires on at all.
        firings: tokens where it fires in the base; density: their share.
        promoted: output tokens that stand out.
    """
    telling = _turns(list(telling))
    if firings == 0:
        text = "silent in the base"
    elif density > DENSE:
        share = f"fires on {'most' if density > MOSTLY else 'many'} tokens, {density:.0%}"
        text = f"{', '.join(telling)} ({share})" if telling else share
    elif telling:
        text = ", ".join(telling)
    elif firings < RARE:
        text = f"fires {'once' if firings == 1 else f'{firings} times'}, on {', '.join(strongest)}"
    else:
        text = "fires on many different tokens"
    return f"{text} → {', '.join(promoted)}" if promoted else text


def token_name(text: str, fold: bool = True) -> str:
    """How a token is written in a label: quoted, or described where it is a mark or white space.

    Tokens with the same name are counted as one; ``fold`` merges case and surrounding spaces. Bytes that are no character stay
    marked as such, ``“<0xe9>”``.
    """
    bare = text.strip()
    if not bare:
        if "\n" in text:
            return "a blank line" if text.count("\n") > 1 else "a line's end"
        return "a tab" if "\t" in text else "spaces"
    if bare in _NAME_OF_MARK:
        return _NAME_OF_MARK[bare]
    shown = bare.casefold() if fold else text
    shown = "".join(letter if letter.isprintable() else "·" for letter in shown)
    return f"“{shown if len(shown) <= MAX_TEXT else shown[: MAX_TEXT - 1] + '…'}”"


def _merge(evidence: Evidence, group: np.ndarray, n_groups: int) -> dict[str, np.ndarray]:
    """The evidence by (feature, group), ascending."""
    key, place = np.unique(evidence.feature * n_groups + group, return_inverse=True)
    return {
        "feature": key // n_groups,
        "group": key % n_groups,
        "count": np.bincount(place, weights=evidence.count, minlength=len(key)).astype(np.int64),
        "activation": np.bincount(place, weights=evidence.activation, minlength=len(key)),
    }


def _best(cells: Mapping[str, np.ndarray], score: np.ndarray, worth: float) -> dict[int, list[int]]:
    """Feature -> its best groups, at most MAX_TOKENS, of those that score above 0 and at least ``worth`` times the best."""
    order = np.lexsort((cells["group"], -score, cells["feature"]))
    order = order[score[order] > 0]
    best: dict[int, list[int]] = {}
    limit = 0.0
    for feature, group, value in zip(*(a[order].tolist() for a in (cells["feature"], cells["group"], score)), strict=True):
        if feature not in best:
            best[feature], limit = [group], worth * value
        elif len(best[feature]) < MAX_TOKENS and value >= limit:
            best[feature].append(group)
    return best


def _promoted_names(promoted: Promoted | None, feature: int, texts: Mapping[int, str]) -> list[str]:
    """Up to MAX_PROMOTED readable output tokens whose effect stands out from the vocabulary's."""
    if promoted is None:
        return []
    names: dict[str, str] = {}
    for token, logit in zip(promoted.token_ids[feature].tolist(), promoted.logits[feature].tolist(), strict=True):
        if len(names) == MAX_PROMOTED or logit < STANDS_OUT * promoted.spread[feature] or logit <= 0:
            break
        text = texts[token]
        if _PLACEHOLDER.fullmatch(text.strip()):
            continue
        if any(letter.isalnum() for letter in re.sub(MARK, "", text)) or text.strip() in _NAME_OF_MARK:
            names.setdefault(token_name(text), token_name(text, fold=False))
    return list(names.values())


def _turns(names: list[str]) -> list[str]:
    """'start of a turn' beside a role becomes the start of that role's turn."""
    start = "start of a turn"
    roles = [name for name in names if name in _ROLES]
    if start not in names or not roles:
        return names
    named = f"start of {_ROLES[roles[0]]} turn"
    return [named if name == start else name for name in names if name != roles[0]]
