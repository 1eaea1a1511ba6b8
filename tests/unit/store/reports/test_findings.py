"""The generated page of findings, on the tiny store whose numbers stand in tests/support/tiny_store.py."""

import shutil

import pytest

from extract.__main__ import main
from store import open_store
from store.format.manifest import read_manifest
from store.reports.findings import _context, escaped, findings
from store.sidecar import entries as sidecar
from store.sidecar.steering import Steering


@pytest.fixture(scope="module")
def page(tiny_store):
    with open_store(tiny_store) as store:
        return findings(store)


@pytest.fixture(scope="module")
def bare_page(bare_store):
    with open_store(bare_store) as store:
        return findings(store)


def test_table_holds_the_stores_numbers(page):
    """Cosine is 0.97 - layer / 1000; layer 12 of safety has fvu 0.3 and 0.95, which does not fit."""
    assert (
        "| safety | 12 | 0.100 | 0.958 | – | 0.450 | 0.452 | +0.002 [-0.008, +0.012] | 0.800 | 2.000 | 2.500 | 1.250 | "
        "1.240 | 1 | 0.020 | 0.300 | 0.950 | does not fit |"
    ) in page


def test_table_of_a_store_without_controls_has_no_columns_of_theirs(bare_page):
    row = "| safety | 12 | 0.100 | 0.958 | – | 0.450 | 0.800 | 2.000 | 2.500 | 1.250 | 0.300 | 0.950 | does not fit |"
    assert row in bare_page
    assert "excess" not in bare_page


def test_three_sentences_a_variant_and_a_word_a_domain(page):
    assert "**maths**, layer 12, all text: systematic." in page
    assert "**safety**, layer 12, all text: no more than noise." in page
    assert "- Fewer features changed than noise of that size changes: overlap 0.45" in page
    assert "| maths | 5 | systematic | too few documents | systematic |" in page
    assert "*too few documents*: no statement is possible on so few documents" in page
    assert "*no change*" not in page
    assert "°" not in page


def test_a_claim_that_rests_on_few_documents_is_marked(tiny_store, monkeypatch):
    """Were 1 feature beyond noise enough, the 3 documents of harmful would be called systematic."""
    monkeypatch.setattr("store.metrics.change_summary.MIN_BEYOND_NOISE", 1)
    with open_store(tiny_store) as store:
        page = findings(store)
    assert "| maths | 5 | systematic | systematic ° | systematic |" in page
    assert "° rests on fewer than 50 documents, and may not hold beyond them." in page


def test_what_does_not_reproduce_is_said_plainly(page):
    """No excess above 0 in any of 2 x 2; all four have 1 or 2 features beyond noise; one place does not fit."""
    assert "at 4 of 4 variants and layers no more features changed than a random change of the same size changes." in page
    assert "occurs at 0 of 4 variants and layers." in page  # overlap 0.45 is not below 0.45
    assert "at 4 of 4 variants and layers there are fewer than 10, which chance alone may give." in page
    assert "does not fit: safety at layer 12." in page


def test_features_are_chosen_among_claimed_changes(tiny_store, monkeypatch):
    """Of maths the suppressed L5:1 and L12:1; L12:0, amplified, has no context of a rise; the rest claims nothing."""
    monkeypatch.setattr("store.reports.findings.MAX_DENSITY", 1.0)
    with open_store(tiny_store) as store:
        page = findings(store)
    assert [line.split("**")[1] for line in page.splitlines() if line.startswith("- **L")] == ["L5:1", "L12:1"]
    assert "**L5:1** small words: suppressed, fires on 71.43% of tokens in the base, 7.14% in the variant " in page
    assert "(shift -1.36, 13.6 times its floor; z = -9.0, q < 0.0001)" in page


def test_what_reproduces_is_said_by_the_numbers(page):
    """Cosine 0.965 and 0.958 against 0.96: one layer of two. Latent cosine 0.8 at both; overlap 0.45 is not below 0.45."""
    assert "**maths**: cosine is above 0.96 at 1 of 2 layers; latent cosine does not fall from 0.80 (layer 5) to 0.80" in page
    assert "does not reproduce the paper's depth of fall; overlap is below 0.45 at 0 of 2 layers (lowest 0.45)" in page


def test_the_missing_noise_floor_is_said(bare_page, page):
    assert "holds no noise floor" in bare_page
    assert "holds no noise floor" not in page


def test_no_feature_is_shown_on_three_documents(bare_page):
    assert bare_page.count("No feature meets these conditions") == 2


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
    with open_store(store) as opened:
        page = findings(opened)
    assert "| maths | L12:1 small words | restore | 0.500 | 0.250 | -0.250 [-0.300, -0.200] | 2 of 3 |" in page
    assert "| safety | L5:1 small words | ablate | 0.500 | 0.750 | +0.250 (too few contexts) | 2 of 2 |" in page


def test_a_store_without_causal_checks_has_no_such_table(page):
    assert "Causal checks" not in page


def test_the_command_writes_a_file(tiny_store, tmp_path):
    assert main(["findings", str(tiny_store), "--out", str(tmp_path / "FINDINGS.md")]) == 0
    assert (tmp_path / "FINDINGS.md").read_text().startswith("# What the store shows")
