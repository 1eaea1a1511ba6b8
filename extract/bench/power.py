"""What share of planted changes is claimed, by how often a feature fires: rows of the bench."""

import numpy as np

from extract.bench.page import Row

FIRINGS = {"50 to 99": (50, 100), "100 to 199": (100, 200), "200 to 499": (200, 500), "500 or more": (500, np.inf)}
"""Classes of features: name -> from so many firings on, and below so many."""


def class_of(firings: np.ndarray) -> np.ndarray:
    """The name of each feature's class, '' below all of them."""
    bounds = [low for low, _ in FIRINGS.values()]
    return np.array(["", *FIRINGS])[np.searchsorted(bounds, firings, side="right")]


def power_row(name: str, claimed: np.ndarray, target: float | None = None) -> Row:
    """The share that is claimed, of so many; judged where there is a target."""
    share = float(np.mean(claimed)) if len(claimed) else float("nan")
    met = None if target is None else bool(share >= target)
    return Row(f"{name} (of {len(claimed):,})", share, "" if target is None else f"at least {target:g}", met)
