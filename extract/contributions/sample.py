"""Which predictions are asked about: a few of one context window, of as many clusters of documents as there are.

The sample is chosen from a finished store by hashes of its documents, so that neither batches nor workers matter. Beginnings of
answers are rare and are drawn more often than the rest, and so are the domains that a variant was trained for: each prediction
has a weight, so that means over the sample are those over the text that could be predicted, a cluster of documents once.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from extract.config import TASK_SHARE
from extract.hashed_random import text_key
from store.names import SLOTS
from store.read.store import Store

FIRST_TOKENS = 8
"""So many tokens of a document that answers nothing are the slot ``first``."""
ANSWER_TOKENS = 4
"""So many of an answer are its beginning: the slot ``opening``, and after that ``answer``."""
RESPONSE = "response"
_SLOT = {name: number for number, name in enumerate(SLOTS)}
_ASKED = """
    WITH placed AS (
        SELECT document, segment, context, bool_or(segment = $response) OVER (PARTITION BY document) AS answers,
            lag(context) OVER (PARTITION BY document ORDER BY position) AS before
        FROM tokens
    )
    SELECT domain, count(*) AS n FROM placed JOIN documents USING (document)
    WHERE context = before AND (segment = $response OR NOT answers) GROUP BY domain
"""
"""How many tokens of each domain could be predicted, as :func:`slots_of` has it."""


@dataclass(frozen=True)
class Passage:
    """One context window of a document, as the models saw it in the run.

    Attributes:
        document: number in the run.
        domain: number in the sample's domains.
        cluster: number in the sample.
        token_ids: int64 [n], the window's document tokens, without BOS, up to the last that is predicted.
        first: position in the document of the first of them.
        slots: int8 [n], place in SLOTS of the token that each predicts; -1 where none that is asked about.
        predicting: int64 [predictions], indices, ascending, of the tokens after which is predicted.
        weights: float64 [predictions], by how many predictions of the text each stands for; over a sample their mean is 1.
    """

    document: int
    domain: int
    cluster: int
    token_ids: np.ndarray
    first: int
    slots: np.ndarray
    predicting: np.ndarray
    weights: np.ndarray

    @property
    def following(self) -> np.ndarray:
        """int64 [predictions]: the tokens that follow, whose likelihood is measured."""
        return self.token_ids[self.predicting + 1]


@dataclass(frozen=True)
class Sample:
    """What is asked about.

    Attributes:
        domains: sorted labels; a passage's domain is its place here.
        passages: by domain, so that a batch is of few, and in each the shortest first, so that little of it is padding.
    """

    domains: list[str]
    passages: list[Passage]

    @property
    def n_predictions(self) -> int:
        """Predicted tokens of all passages."""
        return sum(len(passage.predicting) for passage in self.passages)


def choose(
    store: Store,
    n_predictions: int,
    a_passage: int,
    domains: Sequence[str] | None = None,
    tasks: Collection[str] = (),
    without: Collection[int] = (),
) -> Sample:
    """Passages with about ``n_predictions`` predicted tokens together, evenly over the domains but for the tasks.

    Always the domain with the fewest so far gives its next document: one of each of its clusters, in the order of a hash of the
    cluster, before a second of any. A document gives its first window in which an answer begins; one without answers its first.

    Args:
        a_passage: predicted tokens of one window at most.
        domains: of the store, to be sampled; None for all.
        tasks: domains that count TASK_SHARE times.
        without: documents whose clusters are left out.
    """
    documents = store.sql("SELECT document, source, domain, cluster FROM documents ORDER BY document")
    seen = documents.loc[documents["document"].isin(without), ["domain", "cluster"]].drop_duplicates()
    documents = documents.merge(seen, on=["domain", "cluster"], how="left", indicator="seen").query("seen == 'left_only'")
    by_domain = {name: of for name, of in documents.groupby("domain") if domains is None or name in domains}
    queues = {name: list(_in_turn(of)) for name, of in by_domain.items()}
    share = {name: TASK_SHARE if name in tasks else 1 for name in queues}
    domains = sorted(queues)
    filled = dict.fromkeys(domains, 0)
    clusters: dict[tuple[str, str], int] = {}
    chosen: list[Passage] = []
    while queues and sum(filled.values()) < n_predictions:
        domain = min(queues, key=lambda name: (filled[name] / share[name], name))
        if not queues[domain]:
            del queues[domain]
            continue
        document = queues[domain].pop(0)
        cluster = clusters.setdefault((domain, document.cluster), len(clusters))
        passage = _passage(_tokens(store, document.document), document, domains.index(domain), cluster, a_passage)
        if passage is not None:
            chosen.append(passage)
            filled[domain] += len(passage.predicting)
    chosen.sort(key=lambda passage: (passage.domain, len(passage.token_ids)))
    asked = _asked(store)
    return Sample(domains, _weighted(chosen, [asked.get(name, 0) for name in domains]))


def _asked(store: Store) -> Mapping[str, int]:
    """Domain -> how many tokens of it could be predicted."""
    return store.sql(_ASKED, {"response": RESPONSE}).set_index("domain")["n"].to_dict()


def _weighted(passages: Sequence[Passage], asked: Sequence[int]) -> list[Passage]:
    """The same, of weights that make each domain count as much as it has tokens that could be predicted.

    Args:
        asked: those, by domain of the sample.
    """
    here = np.array([passage.weights.sum() for passage in passages])
    domain = np.array([passage.domain for passage in passages], dtype=np.int64)
    factor = np.array(asked, dtype=float)[domain] / np.bincount(domain, here)[domain] if len(passages) else here
    n_predictions = sum(len(passage.predicting) for passage in passages)
    factor = factor * n_predictions / max(float(factor @ here), np.finfo(float).tiny)
    return [
        replace(passage, weights=passage.weights * of_passage)
        for passage, of_passage in zip(passages, factor, strict=True)
    ]


def _in_turn(documents: pd.DataFrame) -> Iterator:
    """Documents of one domain: the first of each cluster, then the second of each, by hashes."""
    order = documents["source"].map(lambda source: text_key("contributions", source))
    documents = documents.assign(order=order, of=documents["cluster"].map(lambda cluster: text_key("contributions", cluster)))
    documents = documents.sort_values("order")
    turn = documents.groupby("cluster").cumcount()
    yield from documents.assign(turn=turn).sort_values(["turn", "of", "order"]).itertuples()


def _tokens(store: Store, document: int) -> pd.DataFrame:
    query = "SELECT position, context, token_id, segment FROM tokens WHERE document = ? ORDER BY position"
    return store.sql(query, [int(document)])


def _passage(tokens: pd.DataFrame, document: object, domain: int, cluster: int, a_passage: int) -> Passage | None:
    """A document's passage; None where no token of it can be predicted."""
    slots = slots_of(tokens["segment"].to_numpy(), tokens["context"].to_numpy())
    context = tokens["context"].to_numpy()
    wanted = np.flatnonzero(slots >= 0)
    if not len(wanted):
        return None
    begins = np.flatnonzero(np.isin(slots, (_SLOT["opening"], _SLOT["answer"])))
    here = np.flatnonzero(context == context[begins[0] if len(begins) else wanted[0]])
    inside = slots[here]
    asked = np.flatnonzero(inside >= 0)
    drawn = np.array([text_key("prediction", document.source, str(here[0] + index)) for index in asked])
    taken = np.sort(some(inside[asked], drawn, a_passage))
    weights = weights_of(inside[asked], taken)
    predicting = asked[taken]
    end = predicting[-1] + 2
    ids = tokens["token_id"].to_numpy(np.int64)[here[:end]]
    return Passage(int(document.document), domain, cluster, ids, int(here[0]), inside[:end], predicting, weights)


def some(slots: np.ndarray, drawn: np.ndarray, count: int) -> np.ndarray:
    """Indices of ``count`` of the predictions [n]: a quarter early ones, the first of an answer before those that follow it.

    Where the others are fewer than three quarters, early ones fill up, and the other way round.

    Args:
        slots: places in SLOTS.
        drawn: [n], of each slot the lowest are taken.
    """
    early = max(1, count // 4)
    answers = _SLOT["opening"] in slots or _SLOT["answer"] in slots
    wanted = {"first": early, "opening": 1 if answers else 0, "answer": max(1, early - 1), "rest": max(1, count - early)}
    order = np.argsort(drawn)
    turn = np.empty(len(order))
    for name, of_slot in wanted.items():
        here = slots[order] == _SLOT[name]
        turn[here] = np.arange(here.sum()) / max(1, of_slot)
    return order[np.argsort(turn, kind="stable")][:count]


def weights_of(slots: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """float64 [taken]: for how many predictions of its window each stands, those of its slot; together for all of them.

    Args:
        slots: [n], places in SLOTS of all predictions of a window.
        taken: indices of those in the sample; a slot of which there is none is stood for by the others.
    """
    all_, some_ = (np.bincount(of, minlength=len(SLOTS)) for of in (slots, slots[taken]))
    weights = (all_ / np.maximum(some_, 1))[slots[taken]]
    return weights * len(slots) / weights.sum()


def slots_of(segments: Sequence[str], contexts: np.ndarray) -> np.ndarray:
    """int8 [n]: place in SLOTS of what each token of a document predicts, -1 where that is not asked about.

    Of a document with answers their tokens are, of another all; the last token of a window predicts none.

    Args:
        segments: of the n tokens.
        contexts: int [n], the window that each is in.
    """
    segments = np.asarray(segments, dtype=object)
    n = len(segments)
    answers = segments == RESPONSE
    asked = answers if answers.any() else np.ones(n, dtype=bool)
    begins = np.flatnonzero(asked & ~np.concatenate([[False], asked[:-1]]))
    place = np.arange(n)
    since = place - begins[np.clip(np.searchsorted(begins, place, side="right") - 1, 0, None)] if len(begins) else place
    early = since < (ANSWER_TOKENS if answers.any() else FIRST_TOKENS)
    of_token = np.where(early, _SLOT["answer" if answers.any() else "first"], _SLOT["rest"])
    of_token[answers & (since == 0)] = _SLOT["opening"]
    slots = np.full(n, -1, dtype=np.int8)
    follows = asked[1:] & (contexts[1:] == contexts[:-1])
    slots[:-1][follows] = of_token[1:][follows]
    return slots


def numbered(sample: Sample, numbers: Sequence[int]) -> Mapping[str, np.ndarray]:
    """Of the predictions of some passages, in order: int64 document, position, domain, cluster, token_id; int8 slot; float64
    weight."""
    passages = [sample.passages[number] for number in numbers]
    lengths = [len(passage.predicting) for passage in passages]
    columns = {name: np.repeat([getattr(p, name) for p in passages], lengths) for name in ("document", "domain", "cluster")}
    return columns | {
        "position": np.concatenate([passage.first + passage.predicting for passage in passages]),
        "slot": np.concatenate([passage.slots[passage.predicting] for passage in passages]),
        "token_id": np.concatenate([passage.following for passage in passages]),
        "weight": np.concatenate([passage.weights for passage in passages]),
    }
