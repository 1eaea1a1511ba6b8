"""Why a feature's verdict is what it is, in sentences with the numbers that decided (store/metrics/evidence.py)."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from store.metrics.thresholds import POWER, TESTABLE_DOCUMENTS, TESTABLE_FIRINGS, Q


def reason(row: Mapping[str, Any] | None) -> str:
    """Why a feature's verdict is what it is, in plain sentences with the numbers that decided.

    Args:
        row: its row of feature_stats, domain 'all' (a mapping or a pandas Series); None where it has none, because it
            never fired.
    """
    if row is None:
        return "Could not have been seen here: on this corpus it fires neither in the base nor in the variant."
    verdict = row["verdict"]
    if pd.isna(verdict):
        return "No verdict: there is no isotropic control to compare with."
    if verdict == "untestable":
        firings = 2 * row["n11"] + row["n10"] + row["n01"]
        return (
            f"Could not have been seen here: base and variant together fire {firings:,} times, in {row['n_documents']:,} "
            f"documents. A test needs {TESTABLE_FIRINGS} firings in {TESTABLE_DOCUMENTS} documents."
        )
    if verdict == "within noise":
        return f"Tested, and no change found: {_why_noise(row)} {_sensitivity(row)}"
    beyond_floor = f"The shift of {row['shift']:+.3g} is beyond the floor of {row['floor']:.3g}"
    change = f"{beyond_floor} and holds over documents ({_test(row)})"
    if verdict == "near threshold":
        return (
            f"{change}, but {row['near_threshold']:.0%} of the tokens where it starts or stops firing are within 5 % of its "
            "threshold: a small change of any kind would look the same."
        )
    if verdict == "moved":
        direction = "rose" if row["shift"] < 0 else "fell"
        return f"{change}, while feature {int(row['moved_to'])}, with a similar decoder direction, {direction} in its place."
    if verdict == "does not fit":
        return f"{change}, but at this layer the dictionary does not reconstruct the variant: features there prove nothing."
    return f"{change}."


def _why_noise(row: Mapping[str, Any]) -> str:
    """Which condition of :func:`store.metrics.evidence.beyond` failed, the first in its order."""
    if abs(row["shift"]) <= row["floor"]:
        return (
            f"its shift of {row['shift']:+.3g} is within the floor of {row['floor']:.3g}, what a random change of the same "
            "size does to features of like frequency."
        )
    if pd.isna(row["z"]):
        return f"its shift of {row['shift']:+.3g} is the same as under a random change, document by document."
    if row["q"] >= Q:
        return f"its shift of {row['shift']:+.3g} does not differ from a random change's over documents ({_test(row)})."
    return (
        f"its shift of {row['shift']:+.3g} is on the same side as a random change's of that size "
        f"({row['shift_isotropic']:+.3g}), and smaller."
    )


def _sensitivity(row: Mapping[str, Any]) -> str:
    """From where on a change would have been found; a complete loss is a shift of -mean_base."""
    least, mean = row["minimum_detectable"], row["mean_base"]
    found = f"A shift of {least:.3g} or more would have been found {POWER:.0%} of the time"
    if least > mean:
        return f"{found}; its mean in the base is {mean:.3g}, so that even a complete loss may not have been seen."
    return f"{found}: a loss of {least / mean:.0%} of its mean in the base."


def _test(row: Mapping[str, Any]) -> str:
    q = "q < 0.0001" if row["q"] < 1e-4 else f"q = {row['q']:.2g}"
    return f"z = {row['z']:.1f}, {q}"

