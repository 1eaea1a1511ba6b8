"""How many features carry what was learned: real patching of the first k, by contribution, by size and at random."""

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
from store.names import ALL, CHOSEN_BY, TASK

STEPS = (1, 2, 5, 10, 20, 50, 100, 200)
MOST_PASSAGES = 64
CONTRIBUTION, SIZE, RANDOM, SAME_NORM, LAYER = CHOSEN_BY


@dataclass(frozen=True)
class Told:
    """What a curve is of.

    Attributes:
        domain: what the column ``domain`` says; chosen: numbers of its passages.
        ranked: from :func:`rankings`.
    """

    variant: str
    dictionary: Dictionary
    domain: str
    chosen: list[int]
    ranked: Mapping[str, np.ndarray]


def curves(
    shared: Contributions, merged: MergedFiles, groups: Sequence[Group], batch_tokens: int, work: Path, seal: str
) -> pd.DataFrame:
    """The table ``curves``: of each recipe's first run, at the layer whose features carry most, on its task or on all text.

    Args:
        work: where what is done is kept; seal: of the batches.

    Raises:
        OSError: the disk is full.
    """
    told = [_told(shared, merged, group) for group in groups if group.variant == group.runs[0]]
    found = []
    with progress_bar(sum(len(of.chosen) for of in told), "curves", "passage") as bar:
        for of in told:
            path = work / f"curve-{of.variant}.npz"
            if resumable.read_stamp(path) == seal:
                bar.update(len(of.chosen))
            else:
                rows = curve(shared, of, batch_tokens, bar.update)
                resumable.save(path, {name: rows[name].to_numpy() for name in rows}, seal)
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
    carried = {dictionary: abs(found["features_gain"][of[found["passage"]]].sum()) for dictionary, found in through.items()}
    dictionary = max(carried, key=carried.__getitem__)
    features = merged.table(sums.FEATURES, dictionary.layer, group.variant)
    inside = of[features["passage"]]
    gain, size = (
        np.bincount(features["feature"][inside], features[name][inside], minlength=dictionary.d_sae)
        for name in ("gain", "size")
    )
    chosen = np.flatnonzero(of)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), MOST_PASSAGES)).astype(int)]  # of every length
    return Told(group.variant, dictionary, domain, chosen.tolist(), rankings(gain, size))


def rankings(gain: np.ndarray, size: np.ndarray) -> dict[str, np.ndarray]:
    """By what features are chosen -> features, the first first; those that contribute nothing are in none.

    Args:
        gain, size: float64 [d_sae], of the domain that is told.
    """
    known = np.flatnonzero(gain)
    sign = 1.0 if gain.sum() >= 0 else -1.0
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
    passages = [shared.sample.passages[number] for number in told.chosen]
    n = sum(passage.weights.sum() for passage in passages)
    for group in in_groups(passages, batch_tokens, shared.words):
        windows = shared.windows([told.chosen[place] for place in group])
        for key, found in _patched(shared, told, windows):
            totals[key] = totals.get(key, 0.0) + found
        progress(len(group))
    rows = [(CHOSEN_BY.index(by), k, *(total / n).tolist()) for (by, k), total in totals.items()]
    return pd.DataFrame(rows, columns=["chosen_by", "k", "gain", "kl"])


def _patched(shared: Contributions, told: Told, windows: Windows) -> Iterator[tuple[tuple[str, int], torch.Tensor]]:
    """(chosen_by, k) -> float64 [2], what goes of log-likelihood and of KL, summed over the batch's predictions."""
    patching = Patching(shared, told.dictionary, told.variant, windows)

    def gone(moved: torch.Tensor) -> torch.Tensor:
        return (patching.gone(moved) * windows.weights).sum(1).cpu()

    yield (LAYER, told.dictionary.d_sae), gone(patching.delta)
    for by, order in told.ranked.items():
        for k in dict.fromkeys([*(k for k in STEPS if k < len(order)), len(order)]):
            written = patching.written(order[:k])
            yield (by, k), gone(written)
            if by == CONTRIBUTION:
                yield (SAME_NORM, k), gone(patching.towards_base(written))
