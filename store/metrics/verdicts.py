"""What can be said of a feature's change, and why: a verdict and a reason, each a value. Pure numpy.

Sentences are made of them in store/metrics/reasons.py. Definitions: docs/metrics.md, "Evidence about a feature".
"""

from dataclasses import dataclass

import numpy as np

from store.metrics.thresholds import SEEN_CLUSTERS, SEEN_FIRINGS, Q
from store.names import VERDICTS

SUPPRESSED, AMPLIFIED, THIS_RUN_ONLY, AS_RANDOM, OF_NORM, DOES_NOT_FIT, STEADY, NOT_SEEN = VERDICTS

REASONS = {
    "few_firings": NOT_SEEN,
    "few_clusters": NOT_SEEN,
    "misfit": DOES_NOT_FIT,
    "run_misfit": DOES_NOT_FIT,
    "undetectable": NOT_SEEN,
    "uneven": NOT_SEEN,
    "steady": STEADY,
    "norm": OF_NORM,
    "too_few": NOT_SEEN,
    "like_twins": AS_RANDOM,
    "no_replicate": THIS_RUN_ONLY,
    "replicate_unseen": THIS_RUN_ONLY,
    "recurs_by_chance": THIS_RUN_ONLY,
    "not_replicated": THIS_RUN_ONLY,
    "fell": SUPPRESSED,
    "rose": AMPLIFIED,
}
"""Why -> the verdict that follows; the column ``reason``."""


@dataclass(frozen=True)
class Findings:
    """What is known of each feature of a layer in one variant; arrays [d_sae].

    Attributes:
        change: (sum b - sum a) / the larger.
        is_sure: whether its interval leaves out no change.
        firings, clusters: of base or variant, whichever has more activation.
        detectable: whether a complete loss would have been claimed.
        material: share from which a change is material.
        rescaled: change against the base at the variant's norm.
        fits, all_fit: whether the dictionary still describes the variant at the layer; and every run of the recipe.
        q_twin, q_replicates: NaN where not in question.
        beyond_all: whether it is more than any feature does under the random changes that were drawn, in every run.
        others_counted: whether it fires often and widely enough in every run.
        replicates: how many other runs of the recipe there are.
    """

    change: np.ndarray
    is_sure: np.ndarray
    firings: np.ndarray
    clusters: np.ndarray
    detectable: np.ndarray
    material: float
    rescaled: np.ndarray
    fits: bool
    all_fit: bool
    q_twin: np.ndarray
    q_replicates: np.ndarray
    beyond_all: np.ndarray
    others_counted: np.ndarray
    replicates: int


def is_counted(firings: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """bool [d_sae]: fires often and widely enough that a material change could be told from chance."""
    return (firings >= SEEN_FIRINGS) & (clusters >= SEEN_CLUSTERS)


def is_material(change: np.ndarray, rescaled: np.ndarray, material: float) -> np.ndarray:
    """bool [d_sae]: the change is material, and would be, the same way, beside a base of the variant's norm."""
    return (np.abs(change) >= material) & of_more_than_norm(change, rescaled, material)


def of_more_than_norm(change: np.ndarray, rescaled: np.ndarray, material: float) -> np.ndarray:
    """bool [d_sae]: what a change of norm alone does not give."""
    return np.sign(change) * rescaled >= material


def reasons(findings: Findings) -> np.ndarray:
    """Why what can be said can be said, [d_sae] of REASONS: the first that holds, from few_firings to like_twins."""
    material = np.abs(findings.change) >= findings.material
    claimed = findings.q_replicates <= Q
    beyond = findings.q_twin <= Q
    found = [
        (findings.firings < SEEN_FIRINGS, "few_firings"),
        (findings.clusters < SEEN_CLUSTERS, "few_clusters"),
        (np.full(len(material), not findings.fits), "misfit"),
        (np.full(len(material), not findings.all_fit), "run_misfit"),
        (~material & ~findings.detectable, "undetectable"),
        (~material, "steady"),
        (~findings.is_sure, "uneven"),
        (~of_more_than_norm(findings.change, findings.rescaled, findings.material), "norm"),
        (claimed & (findings.change < 0), "fell"),
        (claimed, "rose"),
        (beyond & (findings.replicates == 0), "no_replicate"),
        (findings.beyond_all, "too_few"),
        (beyond & ~findings.others_counted, "replicate_unseen"),
        (beyond & ~np.isnan(findings.q_replicates), "recurs_by_chance"),
        (beyond, "not_replicated"),
    ]
    conditions, names = zip(*found, strict=True)
    return np.select(conditions, names, "like_twins")


def verdicts(reason: np.ndarray) -> np.ndarray:
    """The verdict of each reason, [d_sae]."""
    names, place = np.unique(reason, return_inverse=True)
    return np.array([REASONS[name] for name in names])[place]
