"""How many features carry what was learned: real patching of the first k, by contribution, by size and at random."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from extract import resumable
from extract.contributions import sums
from extract.contributions.measure import Contributions
from extract.contributions.merged import MergedFiles
from extract.contributions.patching import Patching
from extract.contributions.tables import Group
from extract.contributions.windows import Windows, in_groups
from extract.hashed_random import text_key
from extract.progress import progress_bar
from extract.saes.dictionary import Dictionary
from store.metrics.contributions import carried
from store.names import ALL, CHOSEN_BY, TASK

STEPS = (1, 2, 5, 10, 20, 50, 100, 200)
MOST_PASSAGES = 64
CONTRIBUTION, SIZE, RANDOM, SAME_NORM, LAYER = CHOSEN_BY


@dataclass(frozen=True)
class Fold:
    """Passages, and the order of features that other clusters of documents than theirs give.

    Attributes:
        chosen: numbers of the passages.
        ranked: from :func:`rankings`.
    """

    chosen: list[int]
    ranked: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Told:
    """What a curve is of.

    Attributes:
        domain: what the column ``domain`` says.
        folds: two, by clusters, each with the order that the other gives: on the passages that chose them the first few
            features look better than on others. One of all passages where there is one cluster.
    """

    variant: str
    dictionary: Dictionary
    domain: str
    folds: list[Fold]

    @property
    def chosen(self) -> list[int]:
        """Numbers of all passages."""
        return [number for fold in self.folds for number in fold.chosen]

    def seal(self, of_batches: str) -> str:
        """What the curve is made from; its file carries it."""
        orders = [[fold.chosen, {name: order.tolist() for name, order in fold.ranked.items()}] for fold in self.folds]
        content = json.dumps([of_batches, self.variant, self.dictionary.layer, self.domain, orders])
        return hashlib.sha256(content.encode()).hexdigest()


def curves(
    shared: Contributions, merged: MergedFiles, groups: Sequence[Group], batch_tokens: int, work: Path, seal: str
) -> pd.DataFrame:
    """The table ``curves``: of each recipe's first run, at the layer whose features make most, on its task or on all text.

    Args:
        work: where what is done is kept; seal: of the batches.

    Raises:
        OSError: the disk is full.
    """
    told = [_told(shared, merged, group) for group in groups if group.variant == group.runs[0]]
    found = []
    with progress_bar(sum(len(of.chosen) for of in told), "curves", "passage") as bar:
        for of in told:
            path, own = work / f"curve-{of.variant}.npz", of.seal(seal)
            if resumable.read_stamp(path) == own:
                bar.update(len(of.chosen))
            else:
                rows = curve(shared, of, batch_tokens, bar.update)
                resumable.save(path, {name: rows[name].to_numpy() for name in rows}, own)
            with np.load(path) as arrays:
                rows = {name: arrays[name] for name in ("chosen_by", "k", "gain", "kl")}
            found.append(
                pd.DataFrame({"variant": of.variant, "layer": of.dictionary.layer, "domain": of.domain, **rows}).assign(
                    chosen_by=[CHOSEN_BY[number] for number in rows["chosen_by"]]
                )
            )
    return pd.concat(found)


def _told(shared: Contributions, merged: MergedFiles, group: Group) -> Told:
    of = np.isin(merged.domain, group.task)
    domain, of = (TASK, of) if of.any() else (ALL, np.ones_like(of))
    through = {dictionary: merged.table(sums.THROUGH, dictionary.layer, group.variant) for dictionary in shared.dictionaries}

    def carries(dictionary: Dictionary) -> float:
        found = through[dictionary]
        return carried(*(float(found[name][of[found["passage"]]].sum()) for name in ("gain", "features_gain")))

    dictionary = max(through, key=carries)
    features = merged.table(sums.FEATURES, dictionary.layer, group.variant)
    chosen = np.flatnonzero(of)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), MOST_PASSAGES)).astype(int)]  # of every length
    known = np.unique(features["feature"][of[features["passage"]]])
    sign = 1.0 if features["gain"][of[features["passage"]]].sum() >= 0 else -1.0
    folds = [
        Fold(here.tolist(), rankings(known, sign, *_sums(features, others, dictionary.d_sae)))
        for here, others in halves(chosen, merged.domain, merged.cluster)
    ]
    return Told(group.variant, dictionary, domain, folds)


def halves(chosen: np.ndarray, domain: np.ndarray, cluster: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(passages, those of the other clusters), for either half of each domain's clusters; where there is one, all and all.

    Args:
        chosen: int [n], numbers of passages; domain, cluster: of every passage of the sample.
    """
    odd = np.zeros(len(chosen), dtype=bool)
    for number in np.unique(domain[chosen]):
        here = domain[chosen] == number
        odd[here] = np.unique(cluster[chosen][here], return_inverse=True)[1] % 2 == 1
    return [(chosen[half], chosen[~half]) for half in (~odd, odd)] if odd.any() else [(chosen, chosen)]


def _sums(features: Mapping[str, np.ndarray], passages: np.ndarray, d_sae: int) -> tuple[np.ndarray, np.ndarray]:
    """(gain, size), float64 [d_sae], of some passages."""
    inside = np.isin(features["passage"], passages)
    feature = features["feature"][inside]
    gain, size = (np.bincount(feature, features[name][inside], minlength=d_sae) for name in ("gain", "size"))
    return gain, size


def rankings(known: np.ndarray, sign: float, gain: np.ndarray, size: np.ndarray) -> dict[str, np.ndarray]:
    """By what features are chosen -> features, the first first.

    Args:
        known: the features that are ordered.
        sign: 1 where those that add to the likelihood come first, -1 where those that take from it.
        gain, size: float64 [d_sae], by which they are.
    """
    drawn = np.array([text_key("curve", str(feature)) for feature in known.tolist()])
    return {
        CONTRIBUTION: known[np.argsort(-sign * gain[known], kind="stable")],
        SIZE: known[np.argsort(-size[known], kind="stable")],
        RANDOM: known[np.argsort(drawn, kind="stable")],
    }


def curve(shared: Contributions, told: Told, batch_tokens: int, progress: Callable[[int], None]) -> pd.DataFrame:
    """The rows of one curve: chosen_by (place in CHOSEN_BY), k, gain, kl.

    Args:
        progress: called with the number of passages done.
    """
    totals: dict[tuple[str, int], torch.Tensor] = {}
    for fold in told.folds:
        passages = [shared.sample.passages[number] for number in fold.chosen]
        for group in in_groups(passages, batch_tokens, shared.words):
            windows = shared.windows([fold.chosen[place] for place in group])
            for key, found in _patched(shared, told, fold, windows):
                totals[key] = totals.get(key, 0.0) + found
            progress(len(group))
    weight = sum(shared.sample.passages[number].weights.sum() for number in told.chosen)
    rows = [(CHOSEN_BY.index(by), k, *(total / weight).tolist()) for (by, k), total in totals.items()]
    return pd.DataFrame(rows, columns=["chosen_by", "k", "gain", "kl"])


def _patched(
    shared: Contributions, told: Told, fold: Fold, windows: Windows
) -> Iterator[tuple[tuple[str, int], torch.Tensor]]:
    """(chosen_by, k) -> float64 [2], what goes of log-likelihood and of KL, summed over the batch's predictions."""
    patching = Patching(shared, told.dictionary, told.variant, windows)

    def gone(moved: torch.Tensor) -> torch.Tensor:
        return (patching.gone(moved) * windows.weights).sum(1).cpu()

    yield (LAYER, told.dictionary.d_sae), gone(patching.delta)
    for by, order in fold.ranked.items():
        for k in dict.fromkeys([*(k for k in STEPS if k < len(order)), len(order)]):
            written = patching.written(order[:k])
            yield (by, k), gone(written)
            if by == CONTRIBUTION:
                yield (SAME_NORM, k), gone(patching.towards_base(written))
