"""The bench of known truth: its data are what it says, its rows judge rightly, and the page is written between the markers."""

import json

import numpy as np
import pytest
import torch

from extract.__main__ import main
from extract.bench import discoveries, planted_truth, truth
from extract.bench import page as bench_page
from extract.bench.discoveries import SMALL_SIZES, synthetic_stores
from extract.bench.page import BEGIN, END, Row
from extract.bench.planted_truth import KINDS, Found, Trial, planted_rows
from extract.config import PlantedEdit, SaeConfig, load_config
from extract.pilot.planted import noise_keys
from store.errors import UserError
from tests.support.world import one_thread

RESULTS = {"A section": [Row("a", 0.5, "at most 1", True), Row("b", 2.0, "at most 1", False), Row("c", 3.0, "", None)]}


def test_unshifted_features_are_exchangeable_with_their_control():
    """Over 40 stores the mean of (sum of b - c) / its own spread is 0 for them, and far from it for many of the others."""
    stores = list(synthetic_stores(SMALL_SIZES, 40, share_shifted=0.2, seed=7, d_sae=100))
    totals = np.array([store.change.total.sum(axis=0) for store in stores])
    t = totals.mean(axis=0) / (totals.std(axis=0, ddof=1) / 40**0.5)
    shifted = stores[0].shifted
    assert shifted.sum() == 20
    assert np.mean(np.abs(t[~shifted]) > 2.02) < 0.15  # 5 % by chance
    assert np.mean(np.abs(t[shifted]) > 2.02) > 0.6


def test_a_synthetic_stores_sums_agree():
    """Counts, totals and shifts are of the same tokens."""
    change = next(synthetic_stores(SMALL_SIZES, 1, share_shifted=0.2, seed=8, d_sae=50)).change
    assert change.n_documents.tolist() == list(SMALL_SIZES)
    assert change.total.sum(axis=0) / change.n_tokens == pytest.approx(change.shift - change.shift_isotropic)
    assert (change.square >= change.total**2 / change.n_documents[:, None] - 1e-9).all()
    assert (change.sums["n_documents"] <= sum(SMALL_SIZES)).all()


def test_no_more_false_discoveries_than_asked_for():
    """30 small stores: hardly any of what is found is false, and what should be found mostly is."""
    judged = [discoveries.judge(store) for store in synthetic_stores(SMALL_SIZES, 30, 0.1, seed=1)]
    assert np.mean([one.false_share(one.significant) for one in judged]) <= 0.05
    of_all, beyond = discoveries.power_rows("63 documents", judged)
    assert of_all.met is None
    assert beyond.value > 0.7


def test_false_share():
    """Of three found one is false; of none found none is."""
    some = np.array([True, True, True, False])
    judged = discoveries.Judged(np.array([True, True, False, False]), some, some, some, np.zeros(4), np.zeros(4))
    assert judged.false_share(some) == pytest.approx(1 / 3)
    assert judged.false_share(np.zeros(4, bool)) == 0.0


def test_the_bound_of_a_mean_share():
    """0 and 0.2, half each of 100: mean 0.1, standard error 0.0100504, one-sided bound 0.1 + 1.644854 x that."""
    row = discoveries.fdr_row("x", [0.0, 0.2] * 50)
    assert row.value == pytest.approx(0.1 + 1.644854 * 0.01005038, rel=1e-5)
    assert row.met is False
    assert discoveries.fdr_row("x", [0.0] * 50).met is True


@pytest.mark.thorough
def test_planted_variants_on_a_small_base(world, tmp_path, monkeypatch):
    """The whole section on the tiny world, whose features fire often: 16 + 24 documents, two strengths of noise."""
    monkeypatch.setattr(planted_truth, "NOISE_STRENGTHS", (0.1, 0.3))
    monkeypatch.setattr(planted_truth, "NOT_OFTEN", 1.0)
    sae = SaeConfig(path=str(world.saes[2]))
    config = load_config(world.config(tmp_path, tokens=4000))
    with one_thread():
        rows = {row.name: row for row in planted_rows(config, {2: sae}, each=1)}
    judged = sum(kind.judged for kind in KINDS)
    assert rows["the base as its own variant: features with any shift"].met
    assert rows["the base run again in other batches: overlap"].met
    assert rows["isotropic variants: most features that any of 2 claims"].met
    first = rows[f"planted features that come first by size of shift, of {judged}"]
    assert (first.value, first.met) == (judged, True)
    assert rows["… called amplified or suppressed, as they must be"].value == judged


def test_what_is_asked_of_planted_features():
    """57 of 60: 19 of 20 are enough, 18 are not; kinds that are not judged count nowhere."""
    up, aside = KINDS[0], next(kind for kind in KINDS if not kind.judged)
    trials = [Trial(up, 1, 2, True)] * 19 + [Trial(up, 3, 11, False), Trial(aside, 50, 50, False)]
    rows = planted_truth._rows_of_trials(trials)
    assert [(row.value, row.met) for row in rows[:4]] == [(19, True), (20, None), (0, None), (19, None)]
    assert [row.value for row in rows[4:]] == [19, 0]
    assert planted_truth._rows_of_trials(trials[1:20] + trials[19:])[0].met is False


def test_one_claim_under_noise_is_allowed_and_two_are_not():
    assert [planted_truth._rows_of_nothing(Found(claims=[0, n]))[3].met for n in (1, 2)] == [True, False]


def test_planted_noise_knows_neither_the_batch_nor_a_common_beginning():
    """Windows 2 5 6 and 2 5 7, one with padding (0): no key in common, and the padding changes none."""
    edit = PlantedEdit(layer=1, feature=0, isotropic=True)
    alone, padded, other = (
        noise_keys(torch.tensor([ids]), edit, pad=0)[0].tolist() for ids in ([2, 5, 6], [2, 5, 6, 0, 0], [2, 5, 7])
    )
    assert padded[:3] == alone
    assert len({*alone, *other}) == 6
    assert noise_keys(torch.tensor([[2, 5, 6]]), PlantedEdit(layer=1, feature=1, isotropic=True), pad=0)[0].tolist() != alone


def test_tables():
    assert bench_page.markdown(RESULTS).splitlines() == [
        "### A section", "", "| what | value | target | met |", "|---|---|---|---|",
        "| a | 0.5 | at most 1 | yes |", "| b | 2 | at most 1 | **no** |", "| c | 3 |  |  |",
    ]  # fmt: skip


def test_the_page_keeps_what_stands_around_the_table(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for _ in range(2):  # the second time changes nothing
        bench_page.write_page(RESULTS, page)
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"before\n{BEGIN}\n\n### A section")
        assert text.endswith(f"|  |  |\n\n{END}\nafter\n")
        assert "old" not in text


@pytest.mark.parametrize("content", ["", "no markers", END + BEGIN])
def test_a_page_without_markers_is_refused_before_anything_is_drawn(tmp_path, capsys, content):
    page = tmp_path / "page.md"
    page.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="must hold the lines"):
        bench_page.check_page(page)
    assert main(["bench-truth", "--page", str(page)]) == 2
    assert "must hold the lines" in capsys.readouterr().err


@pytest.mark.parametrize(("met", "code"), [(True, 0), (None, 0), (False, 1)])
def test_the_command(monkeypatch, tmp_path, capsys, met, code):
    """Prints, writes JSON where asked, and fails on a missed target."""
    monkeypatch.setattr(truth, "SECTIONS", {"S": lambda quick: [Row("quick" if quick else "full", 1.0, "1", met)]})
    assert main(["bench-truth", "--quick", "--json", str(tmp_path / "out.json")]) == code
    assert "| quick | 1 | 1 |" in capsys.readouterr().out
    content = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert content == {"S": [{"name": "quick", "value": 1.0, "target": "1", "met": met}]}


@pytest.mark.long
def test_false_discoveries_of_400_stores():
    for row in discoveries.false_discoveries(quick=False):
        assert row.met is not False, row
