"""When over the steps of a training a change begins, and which changes do not last. Pure numpy.

A way is what is claimed of a feature at one step: -1 it fell, 1 it rose, 0 nothing. Each step is judged by itself, so that a
change which is claimed at a step by chance (one in twenty claims, store.metrics.thresholds.Q) is seldom claimed at the next: an
onset rests on every step from there to the last, and what came and went may rest on one.
"""

import numpy as np

FELL, NOTHING, ROSE = -1, 0, 1
NEVER = -1
"""In place of a step's number: there is none."""


def onsets(ways: np.ndarray) -> np.ndarray:
    """The first step from which on a change is claimed at every later step, the same way as at the last.

    Args:
        ways: int [n, steps], in order of steps.

    Returns:
        int [n]: the number of that step, counted from 0; NEVER where nothing is claimed at the last.
    """
    if ways.shape[1] == 0:
        return np.full(len(ways), NEVER)
    last = ways[:, -1]
    lasting = np.logical_and.accumulate(ways[:, ::-1] == last[:, None], axis=1).sum(axis=1)
    return np.where(last == NOTHING, NEVER, ways.shape[1] - lasting)


def first_claims(ways: np.ndarray) -> np.ndarray:
    """The first step at which a change is claimed, either way; int [n] as of :func:`onsets`, before it where one flickers."""
    claimed = ways != NOTHING
    return np.where(claimed.any(axis=1), claimed.argmax(axis=1) if ways.shape[1] else NEVER, NEVER)


def came_and_went(ways: np.ndarray) -> np.ndarray:
    """bool [n]: whether a change is claimed at some step, and none, either way, at the last."""
    return (ways != NOTHING).any(axis=1) & ~_last(ways).any(axis=1)


def turned(ways: np.ndarray) -> np.ndarray:
    """bool [n]: whether a change is claimed at the last step, and at some step before it the other way."""
    return ((ways == -_last(ways)) & (ways != NOTHING)).any(axis=1)


def _last(ways: np.ndarray) -> np.ndarray:
    """int [n, 1], or [n, 0] of no steps."""
    return ways[:, -1:]
