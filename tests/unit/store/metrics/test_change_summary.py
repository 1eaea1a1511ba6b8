"""The sentences about a change: each decision from rows by hand, and no word for training that a null would get too."""

import pandas as pd
import pytest

from store.metrics.change_summary import over_layers, summarise
from store.names import VERDICTS

QUIET = {"steady": 900, "as in a random change": 80, "could not be seen": 44}
"""Verdicts of 1,024 features where nothing is claimed."""
NUMBERS = {
    "relative_shift": {"observed": (0.18, 0.17, 0.19), "rerun": (1e-7, None, None), "twin_1": (0.18, None, None)},
    "overlap": {"observed": (0.45, 0.44, 0.46), "isotropic": (0.47, None, None), "twin_1": (0.41, None, None),
                "twin_2": (0.44, None, None)},
    "n_halved": {"observed": (46, None, None), "twin_1": (51, None, None), "twin_2": (157, None, None)},
    "n_doubled": {"observed": (120, None, None), "twin_1": (107, None, None), "twin_2": (77, None, None)},
}  # fmt: skip


def rows(n_clusters: int = 300, **changed: dict) -> pd.DataFrame:
    return pd.DataFrame(
        {"metric": metric, "control": control, "value": value, "low": low, "high": high, "n_clusters": n_clusters}
        for metric, controls in (NUMBERS | changed).items()
        for control, (value, low, high) in controls.items()
    )


def test_a_change_that_is_like_a_random_one() -> None:
    told = summarise(rows(), QUIET, runs=2)
    assert told.headline == "nothing claimed"
    assert told.size.text == "Moderate change: relative shift 18 % of the base's norm [17 % to 19 %]."
    assert told.overlap.text == (
        "Overlap is explained by the size of the change: overlap 0.45 [0.44 to 0.46]; a random shift of that size gives 0.47, "
        "random changes of the weights of that size 0.41 to 0.44."
    )
    assert told.features.text == (
        "No change of a feature is told from random changes of the weights of that size: No feature is claimed, of 980 that "
        "could have been seen; of 44 a change could not have been seen. 46 lost half or more (51 to 157 under random changes "
        "of "
        "the weights of that size), 120 doubled or more (77 to 107 under random changes of the weights of that size)."
    )
    assert not told.few_clusters


def test_what_every_run_shows_is_claimed_with_how_many_could_have_been_seen() -> None:
    told = summarise(rows(), QUIET | {"suppressed": 17, "amplified": 52}, runs=3)
    assert told.headline == "in every run"
    assert told.features.numbers.startswith(
        "17 features suppressed and 52 amplified in all 3 runs, of 1,049 that could have been seen; of 44 a change could not"
    )
    assert "in both runs" in summarise(rows(), {"suppressed": 1}, runs=2).features.numbers


@pytest.mark.parametrize(("runs", "why"), [(1, "the store has no second run of the recipe"), (2, "not in every run")])
def test_one_run_alone_is_no_claim_and_says_why(runs: int, why: str) -> None:
    told = summarise(rows(), QUIET | {"this run only": 12}, runs)
    assert told.headline == "in this run only"
    assert f"12 features changed beyond random changes of the weights of that size, but {why}, of 992" in told.features.numbers


def test_where_nothing_could_be_seen_nothing_is_found() -> None:
    told = summarise(rows(), {"could not be seen": 44, "does not fit": 3})
    assert told.headline == "could not be seen"
    assert "of 0 that could have been seen; of 44 a change could not have been seen, of 3 the dictionary does not fit." in (
        told.features.text
    )


def test_a_change_of_norm_is_told_as_one() -> None:
    assert "980 that could have been seen" in summarise(rows(), QUIET).features.text
    told = summarise(rows(), QUIET | {"change of norm": 166})
    assert "166 features changed with the norm alone." in told.features.text
    assert told.headline == "nothing claimed"


def test_a_low_overlap_is_never_evidence() -> None:
    """Lower than under the isotropic shift and both twins: it is said, and nothing is claimed for it."""
    told = summarise(rows(overlap=NUMBERS["overlap"] | {"observed": (0.30, 0.29, 0.31)}), QUIET)
    assert told.overlap.level == "lower"
    assert told.headline == "nothing claimed"


@pytest.mark.parametrize("word", ["systematic", "beyond noise", "significant"])
def test_no_word_for_training_stands_where_nothing_is_claimed(word: str) -> None:
    told = summarise(rows(), QUIET)
    sentences = [told.size.text, told.overlap.text, told.features.text, over_layers({5: told}, {5: QUIET}, 1)]
    said = " ".join([told.headline, *sentences])
    assert word not in said
    assert "by the training" not in said


@pytest.mark.parametrize(
    ("shift", "again", "level"),
    [
        (9e-6, None, "none"),
        (2e-5, None, "small"),
        (0.001, 0.0006, "none"),
        (0.0013, 0.0006, "small"),
        (0.05, None, "moderate"),
        (0.2, None, "large"),
    ],
)
def test_the_size_is_named_by_its_bounds_and_the_rerun(shift: float, again: float | None, level: str) -> None:
    shifts = {"observed": (shift, None, None)} | ({} if again is None else {"rerun": (again, None, None)})
    told = summarise(rows(relative_shift=shifts), QUIET)
    assert told.size.level == level
    assert (told.headline == "no change") == (level == "none")


def test_without_twins_nothing_is_said_of_features() -> None:
    bare = {metric: {"observed": controls["observed"]} for metric, controls in NUMBERS.items() if metric != "n_halved"}
    told = summarise(rows(**bare, n_halved={}), None)
    assert told.headline == "no twins"
    assert told.overlap.level == "alone"
    assert over_layers({5: told}, None, 1).endswith("Without twins nothing is said of features.")


def test_no_row_at_all_is_unknown_and_no_error() -> None:
    told = summarise(rows().iloc[:0], None)
    assert told.headline == "unknown"
    assert told.few_clusters


def test_few_clusters_are_marked() -> None:
    assert summarise(rows(n_clusters=19), QUIET).few_clusters
    assert not summarise(rows(n_clusters=20), QUIET).few_clusters


def test_a_variant_over_its_layers() -> None:
    """Sizes layer by layer, at how many the overlap is explained, claims added up."""
    lower = summarise(rows(overlap=NUMBERS["overlap"] | {"observed": (0.30, 0.29, 0.31)}), QUIET)
    claims = {5: QUIET | {"suppressed": 1}, 9: QUIET | {"amplified": 30}}
    said = over_layers({5: summarise(rows(), claims[5], 2), 9: lower}, claims, 2)
    assert said == (
        "The residual stream moves by 18 % of its norm at L5 and 18 % at L9. The overlap of features is explained by that "
        "size at "
        "1 of 2 layers. 1 feature suppressed and 30 amplified in both runs, of 1,991 that could have been seen over all "
        "layers; "
        "of 88 a change could not have been seen."
    )


def test_the_verdicts_counted_are_those_there_are() -> None:
    assert set(QUIET) < set(VERDICTS)
