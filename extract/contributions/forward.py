"""One batch of passages read forwards: likelihoods, words and mean changes of every model."""

from collections.abc import Callable

import numpy as np
import torch

from extract.contributions import sums
from extract.contributions.measure import Contributions, counting, likelihoods, read_base
from extract.contributions.path import Reading, Targets
from extract.contributions.windows import Windows
from extract.saes.dictionary_set import sites_of
from store.names import SLOTS


def read(shared: Contributions, numbers: list[int], progress: Callable[[int], None]) -> dict[str, np.ndarray]:
    """The arrays of a batch's file that only forward passes fill.

    Args:
        numbers: of the passages in the sample.
        progress: called with the number of predictions after each model.

    Raises:
        UserError: a prediction is not finite.
    """
    windows, sites = shared.windows(numbers), sites_of(shared.dictionaries)
    base, targets, arrays = read_base(shared, windows, sites)
    counts = {
        dictionary.site: counting(shared, dictionary, windows, dictionary.prepare(base.at[dictionary.site].float()))
        for dictionary in shared.dictionaries
    }
    for name in shared.names:
        model = Reading(shared.models, name, windows, sites, shared.words)
        predicted = model.log_probabilities()
        arrays |= likelihoods(targets.measure(predicted, slice(None)).double(), name)
        arrays |= sums.WORDS.arrays(_word_changes(windows, targets, predicted), name)
        for site, of_layer in counts.items():
            delta = model.at[site].float() - base.at[site].float()
            arrays |= sums.MEANS.arrays(_means(windows, of_layer, delta), site.layer, name)
        del predicted
        progress(len(windows.following))
    return arrays


def _word_changes(windows: Windows, targets: Targets, predicted: torch.Tensor) -> dict[str, np.ndarray]:
    """How far the probability of each token of the vocabulary moved, by domain and slot: those that moved at all."""
    domain = windows.domain[windows.passage[windows.predicting]]
    group = domain * len(SLOTS) + windows.slots[windows.predicting]
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("domain", "slot", "token_id", "change")}
    for number in group.unique().tolist():
        here = group == number
        change = windows.weights[here] @ (predicted[here].exp() - targets.base[here]).double()
        moved = (change.abs() >= sums.WORDS_LEAST).nonzero()[:, 0]
        found["token_id"].append(moved.cpu().numpy())
        found["change"].append(change[moved].cpu().numpy())
        for name, value in zip(("domain", "slot"), divmod(number, len(SLOTS)), strict=True):
            found[name].append(np.full(len(moved), value))
    return {name: np.concatenate(values) for name, values in found.items()}


def _means(windows: Windows, counts: torch.Tensor, delta: torch.Tensor) -> dict[str, np.ndarray]:
    """Sums of the change itself, by domain and slot.

    Args:
        counts: bool [batch, position]; delta: float32 [batch, position, d_model].
    """
    asked = counts & (windows.slots >= 0)
    group = windows.domain[windows.passage[asked]] * len(SLOTS) + windows.slots[asked]
    keys, place, count = group.unique(return_inverse=True, return_counts=True)
    total = torch.zeros(len(keys), delta.shape[2], dtype=torch.float64, device=group.device)
    total.index_add_(0, place, delta[asked].double())
    found = {"domain": keys // len(SLOTS), "slot": keys % len(SLOTS), "count": count, "delta": total}
    return {name: values.cpu().numpy() for name, values in found.items()}
