"""What variants amount to on the store of tests/support/tiny_store.py, in sentences and for the terminal."""

import shutil

import pytest

from store import open_store
from store.reports import terminal
from store.reports.findings import findings
from store.reports.summaries import sentences, summaries, verdicts_by_layer
from tests.support.forged import forge_without_twins


@pytest.fixture(scope="module")
def store(tiny_store):
    with open_store(tiny_store) as opened:
        yield opened


@pytest.fixture(scope="module")
def bare(bare_store):
    with open_store(bare_store) as opened:
        yield opened


def test_verdicts_are_counted_by_layer(store, bare):
    counted = verdicts_by_layer(store)
    assert counted["maths"][12] == {"suppressed": 2, "amplified": 1, "could not be seen": 2}
    assert counted["safety"][12] == {"does not fit": 1, "steady": 2, "could not be seen": 2}
    assert verdicts_by_layer(bare) == {}


def test_each_layer_has_its_summary(store, bare):
    """maths is claimed in both runs; safety changed at layer 5 in its one run, at 12 nothing is told from a random change."""
    told = summaries(store)
    assert [(variant, list(of_layer)) for variant, of_layer in told.items()] == [(name, [5, 12]) for name in store.variants]
    assert [told["maths"][layer].headline for layer in (5, 12)] == ["in every run", "in every run"]
    assert [told["safety"][layer].headline for layer in (5, 12)] == ["in this run only", "nothing claimed"]
    assert {summary.headline for of_layer in summaries(bare).values() for summary in of_layer.values()} == {"no twins"}
    assert summaries(store, "harmful")["maths"][5].few_clusters  # 2 clusters


def test_a_variant_is_told_over_its_layers(store, bare):
    assert sentences(store)["maths"].endswith(
        "3 features suppressed and 1 amplified in both runs, of 7 that could have been seen over all layers; of 3 a change "
        "could not have been seen. Its answers are not told from the base's."
    )
    safety = sentences(store)["safety"]
    beyond = "1 feature changed beyond random changes of the weights of that size"
    assert f"{beyond}, but the store has no second run of the recipe" in safety
    assert sentences(bare)["maths"].endswith("Without twins nothing is said of features.")


def test_the_terminal_tells_runs_and_what_they_amount_to(store, bare):
    shown = terminal.describe(store)
    assert "variant   maths-seed2: adapter maths-seed2-lora (another run of maths)" in shown
    assert terminal.amounts(store) in shown
    assert terminal.amounts(store).splitlines()[2].startswith("safety: The residual stream moves by 10 % of its norm at L5")
    assert "n_suppressed" in shown and "n_suppressed" not in terminal.describe(bare)


def test_the_terminal_counts_beside_what_the_twins_have(store):
    """Of safety at layer 12: 2 halved beside 1 and 2 in its twins, 0 doubled beside 0 and 1, 2 that could not be seen."""
    titles, *rows = terminal.describe(store).split("\n\n")[-1].splitlines()
    shown = dict(zip(titles.split(), rows[-1].split(), strict=False))
    names = ("n_halved", "n_halved_twin_low", "n_halved_twin_high", "n_doubled_twin_high", "not_seen", "overlap_twin_low")
    assert [shown[name] for name in names] == ["2", "1", "2", "1", "2", "0.460"]


def test_a_variant_without_twins_is_told_without_verdicts_where_another_has_them(tiny_store, tmp_path):
    folder = tmp_path / "store"
    shutil.copytree(tiny_store, folder)
    forge_without_twins(folder, "safety")
    with open_store(folder) as mixed:
        assert [mixed.has_verdicts(variant) for variant in (None, "maths", "safety")] == [True, True, False]
        assert list(verdicts_by_layer(mixed)) == ["maths", "maths-seed2"]
        assert " Without twins nothing is said of features. Its answers" in sentences(mixed)["safety"]
        assert {summary.headline for summary in summaries(mixed)["safety"].values()} == {"no twins"}
        assert mixed.suppressed_features("safety")["kind"].isin(["vanished", "weakened"]).all()
        page = findings(mixed)
    assert "None: it has no twins, random changes of the weights, or another run of its recipe has none." in page
    assert "one run of the recipe only" not in page
