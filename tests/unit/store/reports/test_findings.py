"""The generated page of findings, on the tiny store whose numbers stand in tests/support/tiny_store.py."""

import shutil

import pandas as pd
import pytest

from extract.__main__ import main
from store import open_store
from store.format.manifest import read_manifest
from store.reports.findings import _beside_the_paper, _context, escaped, findings
from store.sidecar import entries as sidecar
from store.sidecar.steering import Steering


@pytest.fixture(scope="module")
def page(tiny_store):
    return page_of(tiny_store)


@pytest.fixture(scope="module")
def bare_page(bare_store):
    return page_of(bare_store)


def page_of(folder):
    with open_store(folder) as store:
        return findings(store)


def test_table_holds_the_stores_numbers_beside_their_twins(page):
    """Cosine is 0.97 - layer / 1000; of safety's 6 features 2 could not be seen at layer 12 and one never fires."""
    assert (
        "| safety | 12 | 0.100 | 0.958 | 0.450 | 0.452 | 0.460 to 0.470 | 0.800 | 2.000 | 2.500 | 1.250 | 1.240 | "
        "1.050 to 1.100 | 2 | 1 to 2 | 0 | 0 to 1 | 0 | 0 | 2 | 1 | 0.300 | 0.950 | does not fit |"
    ) in page


def test_table_of_a_store_without_twins_has_no_columns_of_theirs(bare_page):
    assert (
        "| safety | 12 | 0.100 | 0.958 | 0.450 | 0.800 | 2.000 | 2.500 | 1.250 | 2 | 0 | 0.300 | 0.950 | does not fit |"
        in bare_page
    )
    assert "random changes |" not in bare_page and "suppressed |" not in bare_page


def test_runs_of_a_recipe_come_first_with_all_their_layers(page):
    headings = [line for line in page.splitlines() if line.startswith(("### ", "**maths", "**safety", "- Layer"))]
    assert [line.split(":")[0].split(" (")[0] for line in headings][:12] == [
        "### maths", "**maths**", "- Layer 5", "- Layer 12", "**maths-seed2**", "- Layer 5", "- Layer 12",
        "### safety", "**safety**", "- Layer 5", "- Layer 12", "**maths**",
    ]  # fmt: skip
    assert "2 runs of one recipe: maths, maths-seed2." in page


def test_a_variant_is_said_over_all_its_layers_with_what_could_not_be_seen(page):
    """maths: 1 and 2 suppressed, 0 and 1 amplified; of 5 features that fire 1 and 2 could not be seen."""
    said = (
        "**maths**: The residual stream moves by 10 % of its norm at L5 and 10 % at L12. The overlap of features is explained "
        "by that size at every layer. 3 features suppressed and 1 amplified in both runs, of 7 that could have been seen over "
        "all layers; of 3 a change could not have been seen."
    )
    assert said in page
    assert "- Layer 5: Moderate change: relative shift 10 % of the base's norm" in page


def test_what_a_random_change_gives_too_is_not_sold_as_training(page, bare_page):
    for shown in (page, bare_page):
        assert "systematic" not in shown and "beyond noise" not in shown
    assert "Features changed by the training" not in bare_page
    safety = page[page.index("**safety**") : page.index("## The table")]
    assert "suppressed" not in safety and "changed by the training" not in safety


def test_what_does_not_follow_is_said_plainly(page):
    """Overlap is explained everywhere: safety's 0.45 is below its twins', but by less than 0.452 and 0.47 differ.

    Safety's halved features are no more than a twin's.
    """
    assert "at 6 of 6 variants and layers it is explained by the change's size." in page
    assert "at 2 and at 6 of 6 variants and layers a random change of the weights does it to as many." in page
    assert "occurs at 0 of 6 variants and layers." in page  # overlap 0.45 is not below 0.45
    assert "does not fit: safety at layer 12." in page


def test_claimed_features_come_with_their_reason_and_every_run(page):
    """Of maths L5:1, L12:1 and L12:0; L12:4 fires on more than a tenth of the tokens; of safety nothing is claimed."""
    assert [line.split("**")[1] for line in page.splitlines() if line.startswith("- **L")] == ["L5:1", "L12:1", "L12:0"]
    assert (
        "**L5:1** small words: suppressed. It lost 95 % of its activation [-100 % to -90 %], in every run (-95 % to -80 %), "
        "and beyond what recurs under random changes of the weights of that size (this one there: -20 % to +10 %)"
    ) in page
    assert "Runs: maths -95 % and maths-seed2 -80 %. It fires on 7.1 % of tokens in the base, 0.71 % in the variant." in page
    assert "Left out, as they fire on more than 10 % of the tokens: 1 claimed feature." in page
    assert "No feature is claimed: the store has one run of the recipe only." in page


def test_a_long_list_says_how_many_more(tiny_store, monkeypatch):
    monkeypatch.setattr("store.reports.findings.FEATURES_SHOWN", 1)
    page = page_of(tiny_store)
    assert [line.split("**")[1] for line in page.splitlines() if line.startswith("- **L")] == ["L5:1", "L12:0"]
    assert "And 1 more." in page


def test_few_clusters_are_said(tiny_store, monkeypatch):
    assert "few texts" not in page_of(tiny_store)
    monkeypatch.setattr("store.metrics.change_summary.MIN_CLUSTERS", 41)
    assert "- Layer 5 (few texts): Moderate change" in page_of(tiny_store)


def test_what_reproduces_is_said_by_the_numbers(page):
    """Cosine 0.965 and 0.958 against 0.96: one layer of two. Latent cosine 0.8 at both; overlap 0.45 is not below 0.45."""
    assert "**maths**: cosine is above 0.96 at 1 of 2 layers; latent cosine does not fall from 0.80 (layer 5) to 0.80" in page
    assert "does not reach the paper's depth; overlap is below 0.45 at 0 of 2 layers (lowest 0.45)" in page


def test_a_latent_cosine_stands_beside_what_random_changes_give():
    row = {"layer": 5, "cosine": 0.97, "overlap": 0.5, "latent_cosine": 0.5}
    twins = {"latent_cosine_twin_low": 0.41, "latent_cosine_twin_high": 0.5}
    assert _beside_the_paper("maths", pd.DataFrame([row | twins]))["of_twins"] == "0.41 to 0.50"
    assert _beside_the_paper("maths", pd.DataFrame([row | dict.fromkeys(twins)]))["of_twins"] == ""


def test_missing_twins_are_said(bare_page, page):
    assert "This store holds no twins" in bare_page
    assert "This store holds no twins" not in page
    assert "None: this store has no twins" in bare_page


def test_untrusted_text_is_only_text():
    assert escaped("<script>a|b*c\nd") == "&lt;script&gt;a\\|b\\*c ⏎ d"


def test_context_is_cut_around_its_peak():
    tokens = [f" w{i}" for i in range(30)]
    values = [0.0] * 20 + [4.0] + [0.0] * 9
    line = _context({"peak": 20, "tokens": tokens, "base_values": values, "variant_values": [0.0] * 30, "domain": "web"})
    assert line == "web: “w13 w14 w15 w16 w17 w18 w19 **w20** w21 w22 w23 w24 w25 w26” (4 → 0)"


def test_causal_checks_stand_in_a_table(tiny_store, tmp_path):
    """Of the sidecar, for this store only; the rank is the place among itself and the controls."""
    store = tmp_path / "own"
    shutil.copytree(tiny_store, store)
    digest = read_manifest(store).digest
    restored = Steering(12, 1, "maths", "restore", 9, 40, 0.5, 0.25, -0.3, -0.2, {0: 0.2, 2: 0.6}, 7)
    ablated = Steering(5, 1, "safety", "ablate", 4, 9, 0.5, 0.75, None, None, {0: 0.2}, 7)
    for check in (restored, ablated):
        sidecar.write_steering(store, digest, check)
    page = page_of(store)
    assert "| maths | L12:1 small words | restore | 0.500 | 0.250 | -0.250 [-0.300, -0.200] | 2 of 3 |" in page
    assert "| safety | L5:1 small words | ablate | 0.500 | 0.750 | +0.250 (too few contexts) | 2 of 2 |" in page


def test_a_store_without_causal_checks_has_no_such_table(page):
    assert "Causal checks" not in page


def test_the_command_writes_a_file(tiny_store, tmp_path):
    assert main(["findings", str(tiny_store), "--out", str(tmp_path / "FINDINGS.md")]) == 0
    assert (tmp_path / "FINDINGS.md").read_text().startswith("# What the store shows")
