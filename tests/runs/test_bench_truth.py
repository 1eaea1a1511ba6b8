"""The bench of known truth: its data are what it says, its rows judge rightly, and the page is written between the markers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from extract.__main__ import main
from extract.bench import discoveries, null_models, nulls, planted_losses, planted_truth, truth
from extract.bench import page as bench_page
from extract.bench.null_models import NullModels, rounded
from extract.bench.page import BEGIN, END, Row
from extract.bench.planted_losses import Chosen, choose
from extract.bench.planted_truth import KINDS, Found, Trial, planted_rows
from extract.config import RunConfig, load_config
from extract.config_sections import PlantedEdit, SaeConfig
from extract.pilot.planted import noise_keys
from store.errors import UserError
from tests.support.demo_base import make_demo_base
from tests.support.world import World, make_adapter, one_thread

RESULTS = {"A section": [Row("a", 0.5, "at most 1", True), Row("b", 2.0, "at most 1", False), Row("c", "words", "", None)]}


# ---- nulls ----


def test_rounding_by_hand() -> None:
    """3 bits: from -3 to 3, a third of the largest apart; in groups of two each with its own."""
    weight = torch.tensor([[3.0, -1.4, 0.3, 0.1]])
    assert rounded(weight, 3).tolist() == [[3.0, -1.0, 0.0, 0.0]]
    torch.testing.assert_close(rounded(weight, 3, 2), torch.tensor([[3.0, -1.0, 0.3, 0.1]]))


@pytest.fixture(scope="module")
def of_world(world: World, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """The small world with one dictionary."""
    config = load_config(world.config(tmp_path_factory.mktemp("nulls"), tokens=1500, twins=2))
    return config.model_copy(update={"saes": [SaeConfig(path=str(world.saes[2]))]})


def test_null_variants_are_what_they_are_called(world: World, of_world: RunConfig, tmp_path: Path) -> None:
    """Each against the base's weights and the fine-tune's; and the base is afterwards what it was."""
    with one_thread():
        models = NullModels(of_world, str(world.adapter), tmp_path)
        models.write_adapters(["fresh"], "minus")
        places = {name: models.write_checkpoint(name) for name in ("noise", "int8", "bf16", "gain")}
    own, fresh, minus = (_products(folder) for folder in (world.adapter, tmp_path / "fresh", tmp_path / "minus"))
    base, noise, int8, bf16, gain = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (world.base, *places.values())
    )
    for name, weight in models.model.state_dict().items():
        assert torch.equal(weight, base[name])
    scale, shares = 4 / 2, []  # lora_alpha over r
    for name, product in own.items():
        torch.testing.assert_close(minus[name], -product)
        factors = torch.linalg.svdvals(fresh[name])[:2] / torch.linalg.svdvals(product)[:2]
        torch.testing.assert_close(factors, torch.full((2,), models.sizes["fresh"].factor), rtol=1e-3, atol=1e-4)
        assert float((fresh[name] * product).sum().abs() / (fresh[name].norm() * product.norm())) < 0.5
        before = base[f"{name}.weight"]
        shares.append(float((noise[f"{name}.weight"] - before).norm() / (scale * product).norm()))
        torch.testing.assert_close(int8[f"{name}.weight"], rounded(before, 8))
        assert torch.equal(bf16[f"{name}.weight"], before.bfloat16().float())
        assert torch.equal(gain[f"{name}.weight"], before)
    np.testing.assert_allclose(shares, models.sizes["noise"].factor, rtol=1e-3)
    assert all(size.is_near_enough for size in models.sizes.values())
    norm = "model.layers.1.input_layernorm.weight"
    torch.testing.assert_close(1 + gain[norm], 1.1 * (1 + base[norm]))
    models.remove("gain")
    assert not (tmp_path / "gain").exists()


def _products(folder: Path) -> dict[str, torch.Tensor]:
    """Module -> B A of an adapter."""
    tensors = load_file(folder / "adapter_model.safetensors")
    return {
        name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): tensors[name.replace("lora_A", "lora_B")] @ a
        for name, a in tensors.items()
        if "lora_A" in name
    }


def test_nulls_of_a_small_base(world: World, of_world: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole section, but for what is trained: random adapters are the real pair, so that nothing is claimed."""
    monkeypatch.setattr(nulls, "CHECKPOINT_PAIRS", (("int8", "times-0-95"),))
    monkeypatch.setattr(nulls, "NO_CLAIM", nulls.CHECKPOINT_PAIRS)
    real = {"one": str(world.adapter), "two": str(make_adapter(tmp_path / "two", world.base, seed=8))}
    with one_thread():
        small = of_world.model_copy(update={"tokens": 800})
        rows = {row.name: row for row in nulls.null_rows(small, real, layer=2, trains=False)}
    assert all(row.met is not False for row in rows.values())
    for pair in ("one + two", "fresh-twin + fresh-twin-2", "int8 + times-0-95"):
        assert rows[f"L2: features claimed of {pair}"].value == 0
    assert rows["features claimed of the 3 that have no second run"].value == 0
    assert rows["times-1-05, L2"].value.startswith("shift 5.0 %; of ")
    assert "No feature is claimed" in rows["int8, in words"].value


@pytest.mark.thorough
def test_what_is_trained_learns_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps on a tiny base with Gemma's marks: two adapters, whose B matrices left zero each its own way."""
    monkeypatch.setattr(null_models, "STEPS", 2)
    monkeypatch.setattr(null_models, "MOST_TOKENS", 1024)  # the tiny tokenizer writes nearly every letter as a token
    with one_thread():
        places = null_models.train_adapters(str(make_demo_base(tmp_path / "base")), tmp_path)
    assert list(places) == ["dealt-answers", "read-on"]
    dealt, read_on = (_products(Path(folder)) for folder in places.values())
    assert all(product.any() for product in dealt.values())
    assert not any(torch.equal(product, read_on[name]) for name, product in dealt.items())


def found(claims: int, n_runs: int = 2, first: str = "x") -> nulls.Found:
    counts = {9: {"n_seen": [70, 70, 70], "n_halved": [5, 1, 2], "n_doubled": [3, 0, 0]}}
    return nulls.Found(first, n_runs, {9: 0.25}, counts, {9: {"suppressed": claims, "steady": 9, "this run only": 4}}, "Said.")


def test_what_is_asked_of_nulls() -> None:
    """4 claims of a pair beside 40 real ones are a tenth, 5 are more; of int8, and of one run alone, none is allowed."""
    real = {"a": found(40, first="a"), "b": found(40, first="a")}
    pair = {"noise": found(4, first="noise"), "int4": found(4, first="noise")}
    rows = {row.name: row for row in nulls.judged_rows(real | pair | {"alone": found(0, 1, "alone")}, ("a", "b"))}
    assert rows["L9: features claimed of a + b"].value == 40
    assert rows["L9: features claimed of noise + int4"].met is None
    assert rows["L9: features claimed of all 1 pairs of nulls"].met is True
    assert rows["features claimed of the 1 that have no second run"].met is True
    many = {"noise": found(5, first="noise"), "int4": found(5, first="noise"), "int8": found(1, first="int8")}
    rows = {row.name: row for row in nulls.judged_rows(real | many | {"alone": found(1, 1, "alone")}, ("a", "b"))}
    assert rows["L9: features claimed of all 2 pairs of nulls"].met is False
    assert rows["L9: features claimed of int8"].met is False
    assert rows["features claimed of the 1 that have no second run"].met is False


def test_what_is_told_of_one() -> None:
    (numbers, words) = nulls.told_rows("n", found(2))
    assert numbers.name == "n, L9"
    assert numbers.value == (
        "shift 25 %; of 70 features halved 5 (twins 1, 2), doubled 3 (twins 0, 0); 4 'this run only', 2 claimed"
    )
    assert (words.name, words.value) == ("n, in words", "Said.")


# ---- planted ----


def test_features_are_chosen_from_every_class() -> None:
    """Of 100 features those with 50 firings or more in 20 clusters, not dense: two of each class, and others for each run."""
    n11 = np.repeat([40, 60, 150, 300, 600, 5000], [5, 20, 20, 20, 20, 15])
    base = pd.DataFrame({"feature": np.arange(100), "n11": n11, "n_clusters": 30, "n_tokens": 10_000, "mean_base": n11 / 1e4})
    base.loc[5:9, "n_clusters"] = 19
    chosen = choose(base, n_shared=8, n_own=10, random=np.random.default_rng(0))
    assert sorted(chosen.firing_class) == ["100 to 199"] * 2 + ["200 to 499"] * 2 + ["50 to 99"] * 2 + ["500 or more"] * 2
    every = np.concatenate([chosen.shared, *chosen.own])
    assert len(set(every)) == len(every) == 28
    assert every.min() >= 10 and every.max() < 85
    many = choose(base, n_shared=66, n_own=4, random=np.random.default_rng(0))  # the rarest class has 15
    assert sorted(pd.Series(many.firing_class).value_counts()) == [15, 17, 17, 17]


def test_power_of_planted_losses() -> None:
    """Two shared features, of which one is claimed; one of the first run's own is claimed, as it must not be."""
    own = (np.array([3]), np.array([4]))
    chosen = Chosen(np.array([1, 2]), own, np.array(["50 to 99", "500 or more"]), np.array([False, True]))
    verdicts = ["suppressed", "steady", "suppressed"]
    first = pd.DataFrame({"feature": [1, 2, 3], "change": [-1.0, -0.5, -1.0], "verdict": verdicts})
    of = {"taken-100": first.set_index("feature"), "taken-100-2": first[:2].set_index("feature")}
    rows = {row.name: row for row in planted_losses.power_rows({"taken-100": 1.0}, of, chosen)}
    what = "100% of what it writes taken"
    assert rows[f"{what}: median change"].value == -0.75
    judged = rows[f"{what}, at least 50 firings: suppressed (of 2)"]
    assert (judged.value, judged.met) == (0.5, False)
    seen = rows[f"{what}, of those that could have been seen: suppressed (of 2)"]
    assert (seen.value, seen.met) == (0.5, False)
    assert rows[f"{what}, 50 to 99 firings: suppressed (of 1)"].value == 1
    assert rows[f"{what}, strong: suppressed (of 1)"].value == 0
    assert rows["changed in one run only, 2 in all: claimed"].met is False


@pytest.mark.thorough
def test_planted_losses_of_a_small_base(of_world: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole section on the tiny world, whose features fire often."""
    monkeypatch.setattr(planted_losses, "DENSE", 1.0)
    monkeypatch.setattr(planted_losses, "TAKEN", (0.3, 1.0))
    monkeypatch.setattr(planted_losses, "ADDED", ())
    with one_thread():
        rows = planted_losses.loss_rows(of_world.model_copy(update={"tokens": 3000}), 2, n_shared=12, n_own=4)
    judged = [row for row in rows if row.met is not None]
    assert len(judged) == 3 and all(row.met for row in judged)
    assert not any(row.value for row in rows if row.name.startswith("30%") and "suppressed" in row.name)


@pytest.mark.thorough
def test_planted_variants_on_a_small_base(of_world: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole section on the tiny world, whose features fire often: 16 + 24 documents, two strengths of noise."""
    monkeypatch.setattr(planted_truth, "NOISE_STRENGTHS", (0.1, 0.3))
    monkeypatch.setattr(planted_truth, "NOT_OFTEN", 1.0)
    with one_thread():
        rows = {row.name: row for row in planted_rows(of_world, {2: of_world.saes[0]}, each=1)}
    judged = sum(kind.judged for kind in KINDS)
    assert rows["the base as its own variant: features with any shift"].met
    assert rows["the base run again in other batches: overlap"].met
    assert rows["isotropic noise, 2 pairs of draws: features claimed"].met
    first = rows[f"planted features that come first by size of shift, of {judged}"]
    assert (first.value, first.met) == (judged, True)
    assert rows["… rose or fell, as they must"].met


def test_what_is_asked_of_planted_features() -> None:
    """57 of 60: 19 of 20 are enough, 18 are not; kinds that are not judged count nowhere."""
    up, aside = KINDS[0], next(kind for kind in KINDS if not kind.judged)
    trials = [Trial(up, 1, True)] * 19 + [Trial(up, 3, False), Trial(aside, 50, False)]
    rows = planted_truth._rows_of_trials(trials)
    assert [(row.value, row.met) for row in rows[:3]] == [(19, True), (20, None), (19, False)]
    assert [row.value for row in rows[3:]] == [19, 0]
    assert planted_truth._rows_of_trials(trials[1:20] + trials[19:])[0].met is False


def test_no_claim_under_noise_is_allowed() -> None:
    assert [planted_truth._rows_of_nothing(Found(claims=[0, n]))[2].met for n in (0, 1)] == [True, False]


def test_planted_noise_knows_neither_the_batch_nor_a_common_beginning():
    """Windows 2 5 6 and 2 5 7, one with padding (0): no key in common, and the padding changes none."""
    edit = PlantedEdit(layer=1, feature=0, isotropic=True)
    alone, padded, other = (
        noise_keys(torch.tensor([ids]), edit, pad=0)[0].tolist() for ids in ([2, 5, 6], [2, 5, 6, 0, 0], [2, 5, 7])
    )
    assert padded[:3] == alone
    assert len({*alone, *other}) == 6
    assert noise_keys(torch.tensor([[2, 5, 6]]), PlantedEdit(layer=1, feature=1, isotropic=True), pad=0)[0].tolist() != alone


# ---- the page and the command ----


def test_tables():
    assert bench_page.markdown(RESULTS).splitlines() == [
        "### A section", "", "| what | value | target | met |", "|---|---|---|---|",
        "| a | 0.5 | at most 1 | yes |", "| b | 2 | at most 1 | **no** |", "| c | words |  |  |",
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


def test_one_section_leaves_the_others_as_they_are(monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n\nA note.\n\n### A\n\nold\n\n### B\n\nkept\n\n{END}\nafter\n", encoding="utf-8")
    row = [Row("new", 1.0, "", None)]
    monkeypatch.setattr(truth, "SECTIONS", {"A": lambda _: row, "B": lambda _: 1 / 0, "C of a": lambda _: row})
    assert main(["bench-truth", "--section", "a", "--page", str(page)]) == 0
    table = "| what | value | target | met |\n|---|---|---|---|\n| new | 1 |  |  |"
    between = f"A note.\n\n### A\n\n{table}\n\n### B\n\nkept\n\n### C of a\n\n{table}"
    assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\n\n{between}\n\n{END}\nafter\n"
    assert main(["bench-truth", "--section", "D", "--page", str(page)]) == 2


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
@pytest.mark.parametrize("section", [discoveries.false_claims, discoveries.power])
def test_targets_of_the_synthetic_stores(section) -> None:
    for row in section(quick=False):
        assert row.met is not False, row
