"""The causal check of a set of features: their changes are taken back in the variant itself, on sampled passages."""

import numpy as np
import torch

from extract.config import RunConfig
from extract.contributions.batch_files import GRAPH
from extract.contributions.measure import Contributions, check_finite
from extract.contributions.patching import Patching
from extract.contributions.quadrature import POINTS
from extract.contributions.windows import in_groups
from extract.progress import progress_bar
from extract.steering.check_models import load_for_check
from extract.steering.set_plan import SetPlan
from store.metrics.contributions import ClusterSums, Ratios
from store.names import SLOTS
from store.read.store import Store
from store.sidecar.sets import Gone, SetSteering

OPENING = SLOTS.index("opening")
WAYS = 4
"""Rows of what is measured before the controls: what there is, what the set takes, the whole layer, as far towards the base."""


def steer_set(store: Store, config: RunConfig, plan: SetPlan) -> SetSteering:
    """Make the causal check of a set.

    Args:
        config: the configuration that made the store.
        plan: from :func:`extract.steering.set_plan.make_set_plan`.

    Raises:
        UserError: a model or dictionary is missing or is not the one that the store was made with; a prediction is not finite.
    """
    loaded = load_for_check(store, config, plan.variant, plan.layer)
    dictionary = loaded.dictionary(plan.layer)
    shared = Contributions(
        loaded.models, [plan.variant], [dictionary], loaded.sinks, plan.sample, loaded.bos, loaded.pad, points=POINTS[0]
    )
    measured, clusters, openings, weights = [], [], [], []
    with progress_bar(len(plan.sample.passages), "steering", "passage") as bar:
        for group in in_groups(plan.sample.passages, config.batch_tokens // GRAPH, shared.words):
            windows = shared.windows(group)
            measured.append(_measure(Patching(shared, dictionary, plan.variant, windows), plan))
            of_passage = np.array([plan.sample.passages[number].cluster for number in group])
            clusters.append(of_passage[windows.passage[windows.predicting].cpu().numpy()])
            openings.append((windows.slots[windows.predicting] == OPENING).cpu().numpy())
            weights.append(windows.weights.cpu().numpy())
            bar.update(len(group))
    return summary(plan, np.concatenate(measured, axis=2), *(np.concatenate(of) for of in (clusters, openings, weights)))


def _measure(patching: Patching, plan: SetPlan) -> np.ndarray:
    """float64 [WAYS + controls, 2, n]: of the log-likelihood and the KL of a batch's predictions what there is, what goes."""
    written = patching.written(plan.features)
    moved = [written, patching.delta, patching.towards_base(written)]
    moved += [patching.written(plan.features, control) for control in plan.controls]
    return torch.stack([patching.whole, *(patching.gone(way) for way in moved)]).cpu().numpy()


def summary(
    plan: SetPlan, measured: np.ndarray, clusters: np.ndarray, openings: np.ndarray, weights: np.ndarray
) -> SetSteering:
    """Weighted means over predictions, with intervals over clusters.

    Args:
        measured: float64 [WAYS + controls, 2, n], as :func:`_measure` gives it.
        clusters: int [n]; openings: bool [n], the first tokens of answers; weights: float64 [n].

    Raises:
        UserError: a likelihood or a divergence is NaN or infinite.
    """
    check_finite(torch.from_numpy(measured), plan.variant)
    gain, kl = (_gone(of, clusters, weights) for of in measured.transpose(1, 0, 2))
    of_openings = (measured[:, 0, openings], clusters[openings], weights[openings])
    opening = _gone(*of_openings) if openings.any() else None
    n_clusters = len(np.unique(clusters))
    return SetSteering(
        plan.variant, plan.layer, plan.domain, plan.chosen_by, plan.features, len(clusters), n_clusters, plan.seed, gain, kl,
        opening,
    )  # fmt: skip


def _gone(values: np.ndarray, clusters: np.ndarray, weights: np.ndarray) -> Gone:
    """Of values [WAYS + controls, n] of one quantity."""
    whole, gone, layer, towards_base, *controls = np.average(values, axis=1, weights=weights).tolist()
    names, place = np.unique(clusters, return_inverse=True)
    beyond = values[1] - values[WAYS:].mean(axis=0)
    x = np.stack([np.bincount(place, weights * of, minlength=len(names)) for of in (values[1], beyond)], axis=1)
    found = Ratios.of(ClusterSums.of(x, np.bincount(place, weights)))
    bounds = [None if np.isnan(bound) else float(bound) for bound in (*found.low, *found.high)]
    return Gone(
        whole, gone, bounds[0], bounds[2], float(found.value[1]), bounds[1], bounds[3], layer, towards_base, tuple(controls)
    )
