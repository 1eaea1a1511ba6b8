"""Verdicts and their reasons: every one of them, and which comes first where several hold."""

from dataclasses import replace

import numpy as np
import pytest

from store.metrics.reasons import _SENTENCES
from store.metrics.verdicts import REASONS, Findings, reasons, verdicts
from store.names import VERDICTS

CLAIM = {
    "change": -0.8, "is_sure": True, "firings": 200, "clusters": 40.0, "detectable": True, "rescaled": -0.7, "q_twin": 0.01,
    "q_replicates": 0.01, "beyond_all": False, "others_counted": True,
}  # fmt: skip
"""A feature that lost 80 %, in every run."""


def reason(fits: bool = True, all_fit: bool = True, replicates: int = 1, **changed: float) -> str:
    arrays = {name: np.array([value]) for name, value in (CLAIM | changed).items()}
    return reasons(Findings(**arrays, material=0.5, fits=fits, all_fit=all_fit, replicates=replicates))[0]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "fell"),
        ({"change": 0.8, "rescaled": 0.7}, "rose"),
        ({"q_replicates": 0.05}, "fell"),
        ({"firings": 49}, "few_firings"),
        ({"firings": 50}, "fell"),
        ({"clusters": 9.9}, "few_clusters"),
        ({"change": -0.49}, "steady"),
        ({"change": -0.49, "detectable": False}, "undetectable"),
        ({"change": -0.5}, "fell"),
        ({"is_sure": False}, "uneven"),
        ({"rescaled": -0.4}, "norm"),
        ({"rescaled": 0.9}, "norm"),
        ({"fits": False}, "misfit"),
        ({"fits": False, "change": 0.1, "detectable": False}, "misfit"),
        ({"all_fit": False}, "run_misfit"),
        ({"q_replicates": 0.2}, "recurs_by_chance"),
        ({"q_replicates": 0.2, "q_twin": 0.2}, "like_twins"),
        ({"q_replicates": 0.2, "beyond_all": True}, "too_few"),
        ({"q_replicates": 0.01, "beyond_all": True}, "fell"),
        ({"q_replicates": np.nan}, "not_replicated"),
        ({"q_replicates": np.nan, "others_counted": False}, "replicate_unseen"),
        ({"q_replicates": np.nan, "q_twin": 0.2, "replicates": 0, "beyond_all": True}, "too_few"),
        ({"q_replicates": np.nan, "replicates": 0, "beyond_all": True}, "no_replicate"),
        ({"q_replicates": np.nan, "q_twin": 0.2}, "like_twins"),
        ({"q_replicates": np.nan, "replicates": 0}, "no_replicate"),
        ({"q_replicates": np.nan, "q_twin": np.nan, "replicates": 0}, "like_twins"),
        ({"firings": 10, "change": 0.1, "fits": False, "is_sure": False}, "few_firings"),
    ],
)
def test_reason_is_the_first_that_holds(changed: dict, expected: str) -> None:
    assert reason(**changed) == expected


def test_every_reason_has_a_verdict_and_every_verdict_a_reason() -> None:
    assert set(REASONS.values()) == set(VERDICTS)
    assert set(_SENTENCES) == set(REASONS)


def test_nothing_is_claimed_of_one_run_alone() -> None:
    """However clear it is beside the twins."""
    found = reason(q_twin=1e-6, q_replicates=np.nan, replicates=0)
    assert REASONS[found] == "this run only"


def test_verdicts_follow_from_reasons() -> None:
    given = np.array(["fell", "few_firings", "uneven", "fell", "norm"])
    assert verdicts(given).tolist() == ["suppressed", "could not be seen", "could not be seen", "suppressed", "change of norm"]


def test_findings_of_many_features_are_judged_one_by_one() -> None:
    many = Findings(
        **{name: np.array([value, value]) for name, value in CLAIM.items()}, material=0.5, fits=True, all_fit=True, replicates=1
    )
    many = replace(many, firings=np.array([200, 3]))
    assert reasons(many).tolist() == ["fell", "few_firings"]
