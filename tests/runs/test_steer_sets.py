"""The causal check of a set: `python -m extract steer --features`, against a second implementation and by hand."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from extract.__main__ import main
from extract.config import A_PASSAGE, load_config
from extract.contributions.sample import Sample, choose
from extract.steering.control_features import Densities
from extract.steering.set_plan import Choice, SetPlan, make_set_plan
from extract.steering.sets import summary
from store import open_store
from store.errors import UserError
from store.exchange.publish import publish
from store.sidecar.entries import read_set_steering, sidecar_path
from store.sidecar.sets import SetSteering, in_words
from tests.support.contributed import Reference
from tests.support.world import World, one_thread

LAYER = 2
PREDICTIONS = 24
PLAN = SetPlan("tuned", LAYER, "*task", "listed", (1, 2), Sample([], []), ((3, 4), (5, 6)), 0)


@pytest.fixture(scope="module")
def store(contributed: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with its contributions, since a sidecar will stand beside it."""
    folder = tmp_path_factory.mktemp("sets")
    shutil.copy(contributed[1].with_name("store.contributions.duckdb"), folder)
    return Path(shutil.copytree(contributed[1], folder / "store"))


@pytest.fixture(scope="module")
def check(contributed: tuple[Path, Path], store: Path):
    """check('--top', 3) -> what was found, the newest of the sidecar."""

    def made(*more: object) -> SetSteering:
        words = ["steer", store, contributed[0], "--variant", "tuned", "--random", 3, *more]
        words += [] if "--predictions" in more else ["--predictions", PREDICTIONS]
        sidecar_path(store).unlink(missing_ok=True)
        with one_thread():
            assert main(list(map(str, words))) == 0
        with open_store(store) as opened:
            [found] = read_set_steering(store, opened.manifest.digest)
        return found

    return made


@pytest.fixture(scope="module")
def moved(store: Path) -> list[int]:
    """The features of the layer that contribute most on the task, whichever way."""
    with open_store(store) as opened:
        rows = opened.contributions("tuned", LAYER, "*task")
    return rows.sort_values("gain", key=abs, ascending=False)["feature"].tolist()


@pytest.mark.parametrize("verdicts", [{1: "suppressed", 3: "amplified", 4: "steady"}, {4: "this run only"}])
def test_every_claimed_feature(contributed: tuple[Path, Path], store: Path, monkeypatch: pytest.MonkeyPatch, verdicts: dict):
    """Of the layer and the variant, in all domains together: those that are called suppressed or amplified."""
    claimed = [feature for feature, verdict in verdicts.items() if verdict in ("suppressed", "amplified")]
    with open_store(store) as opened:
        real = opened.sql

        def sql(query: str, *more):
            found = real(query, *more)
            if "verdict" in query:
                assert {"feature", "verdict"} <= set(found) and len(found) > 10
                return found.assign(verdict=found["feature"].map(verdicts).fillna("steady"))
            return found

        monkeypatch.setattr(opened, "sql", sql)
        asked = (opened, load_config(contributed[0]), "tuned", LAYER, None, Choice(claimed=True), PREDICTIONS, 3, 0)
        if claimed:
            plan = make_set_plan(*asked)
            assert (plan.chosen_by, plan.features) == ("claimed", tuple(claimed))
        else:
            with pytest.raises(UserError, match="No feature of layer 2 is claimed"):
                make_set_plan(*asked)


def test_a_set_of_one_by_the_reference(world: World, store: Path, check, moved: list[int]):
    """What goes of the log-likelihood, over the same sampled predictions, by transformers, PEFT and sae-lens alone."""
    found = check("--layer", LAYER, "--features", moved[0])
    with open_store(store) as opened, one_thread():
        passages = choose(opened, PREDICTIONS, A_PASSAGE, ["chats"]).passages
        reference, gone, whole, n = Reference(world, store), 0.0, 0.0, 0
        for passage in passages:
            rows = pd.DataFrame({"position": passage.first + passage.predicting, "weight": passage.weights})
            rows = rows.assign(document=passage.document)
            gone += reference.without(rows, LAYER, moved[0])
            dense = reference.passage(rows, LAYER)
            whole += float(passage.weights @ (dense["variant"] - dense["base"]).detach().numpy())
            n += len(rows)  # as much as their weights together
    assert found.n_predictions == n >= PREDICTIONS and found.features == (moved[0],) and found.chosen_by == "listed"
    assert found.gain.gone == pytest.approx(gone / n, abs=1e-5) and found.gain.gone != 0
    assert found.gain.whole == pytest.approx(whole / n, abs=1e-5)
    assert len(found.gain.controls) == 3 and found.domain == "*task"


def test_the_foremost_are_checked_on_other_documents_than_chose_them(contributed: tuple[Path, Path], store: Path):
    """At the layer where the lesser of what passes through it and of what its features make is largest."""
    with open_store(store) as opened:
        plan = make_set_plan(opened, load_config(contributed[0]), "tuned", None, None, Choice(top=5), PREDICTIONS, 3, 0)
        layers = opened.layer_gains("tuned", "*task").query("control == 'observed' and gain * features > 0")
        rows = opened.contributions("tuned", plan.layer, "*task", plan_order(layers, plan.layer), 5)
        chose = set(opened.taken_apart()["document"])
        chats = set(opened.sql("SELECT document FROM documents WHERE domain = 'chats'")["document"])
    least = layers.set_index("layer")[["gain", "features"]].abs().min(axis=1)
    assert plan.layer == least.idxmax() and set(plan.features) == set(rows["feature"])
    asked = {passage.document for passage in plan.sample.passages}
    assert asked and not asked & chose and asked <= chats


def plan_order(layers: pd.DataFrame, layer: int) -> str:
    return "gain" if layers.set_index("layer").loc[layer, "features"] >= 0 else "loss"


def test_where_every_document_chose_them_none_is_left(
    contributed: tuple[Path, Path], store: Path, monkeypatch: pytest.MonkeyPatch
):
    with open_store(store) as opened:
        every = opened.sql("SELECT document FROM documents")
        monkeypatch.setattr(opened, "taken_apart", lambda: every)
        with pytest.raises(UserError, match="measured on every cluster of documents of that text"):
            make_set_plan(opened, load_config(contributed[0]), "tuned", None, None, Choice(top=5), PREDICTIONS, 3, 0)


def test_gain_and_loss_pull_apart(check):
    gain, loss = (check("--layer", LAYER, "--top", 5, "--by", by) for by in ("gain", "loss"))
    assert gain.gain.gone > loss.gain.gone and not set(gain.features) & set(loss.features)
    assert (gain.chosen_by, loss.chosen_by) == ("gain", "loss")


def test_a_copy_that_is_published_has_them(store: Path, check, tmp_path: Path):
    found = check("--layer", LAYER, "--top", 2)
    manifest = publish(store, tmp_path / "copy", 60)
    assert read_set_steering(tmp_path / "copy", manifest.digest) == [found]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--layer", 2], "Give exactly one of --feature, --features, --top and --claimed"),
        (["--layer", 2, "--features", "1,2", "--claimed"], "Give exactly one of"),
        (["--layer", 2, "--features", "1,b"], "--features is '1,b'; give whole numbers with commas between"),
        (["--layer", 2, "--features", "1,1"], "names a feature twice"),
        (["--layer", 2, "--features", "99999"], "Layer 2 has no feature 99999"),
        (["--layer", 2, "--features", "-1"], "Layer 2 has no feature -1"),
        (["--layer", 9, "--features", "1"], "The store has no layer 9"),
        (["--top", 0], "--top must be at least 1, not 0"),
        (["--top", 101], "--top is 101; a store keeps the 100 features that contribute most"),
        (["--top", 2, "--by", "size"], "--by is 'size'; give one of contribution, gain, loss"),
        (["--top", 2, "--domain", "poems"], "The store has no domain 'poems'"),
        (["--top", 2, "--random", 0], "--random must be at least 1, not 0"),
        (["--feature", 2], "--feature needs --layer"),
    ],
)
def test_refusals(contributed: tuple[Path, Path], store: Path, capsys: pytest.CaptureFixture, more: list, said: str):
    assert main(list(map(str, ["steer", store, contributed[0], "--variant", "tuned", *more]))) == 2
    assert said in capsys.readouterr().err


# ---- by hand ----

GAINS = [
    [1.0, 1.0, 2.0, 2.0],  # there is: two clusters of two predictions
    [0.4, 0.6, 1.0, 1.0],  # the set takes
    [0.8, 0.8, 1.0, 1.0],  # the whole layer
    [0.1, 0.1, 0.3, 0.3],  # as far towards the base
    [0.0, 0.0, 0.2, 0.2],  # two controls
    [0.0, 0.0, 0.0, 0.0],
]


def test_a_summary_by_hand():
    """Clusters' totals 1 and 2 of 2 predictions each: mean 0.75, error sqrt(2 (0.5^2 + 0.5^2)) / 4 = 0.25, t(1) = 12.706."""
    measured = np.stack([GAINS, np.array(GAINS) / 2], axis=1)
    found = summary(PLAN, measured, np.array([7, 7, 9, 9]), np.array([True, False, False, False]), np.ones(4))
    gain = found.gain
    assert (gain.whole, gain.gone, gain.layer, gain.towards_base) == pytest.approx((1.5, 0.75, 0.9, 0.2))
    assert (gain.low, gain.high) == pytest.approx((0.75 - 12.7062 * 0.25, 0.75 + 12.7062 * 0.25), abs=1e-4)
    assert gain.controls == pytest.approx((0.1, 0.0)) and gain.more == pytest.approx(0.7)
    assert gain.efficiency == pytest.approx(3.75) and found.kl.gone == pytest.approx(0.375)
    assert (found.opening.whole, found.opening.gone, found.opening.low) == (1.0, 0.4, None)
    assert (found.n_predictions, found.n_clusters) == (4, 2)
    said = in_words(found)
    assert said.startswith("In 4 predictions of its own task (2 clusters), the text is 1.5 nats a token likelier in tuned ")
    assert "change of 2 features at layer 2 that were named takes +0.75 of +1.5" in said
    assert "+0.2; the set does 3.75 times as much." in said
    assert said.endswith("At the first token of an answer it takes +0.4 of +1 nats.")
    with pytest.raises(UserError, match="NaN or infinite"):
        summary(PLAN, measured * np.nan, np.array([7, 7, 9, 9]), np.zeros(4, dtype=bool), np.ones(4))


def test_a_summary_weighs_predictions():
    """The second prediction of each cluster counts three times: of what the set takes (0.4 + 3 0.6 + 1 + 3 1) / 8."""
    measured = np.stack([GAINS, GAINS], axis=1)
    found = summary(PLAN, measured, np.array([7, 7, 9, 9]), np.array([True, False, False, False]), np.array([1.0, 3, 1, 3]))
    assert found.gain.gone == pytest.approx(0.775) and found.gain.towards_base == pytest.approx(0.2)
    assert found.opening.gone == pytest.approx(0.4)


def test_controls_fire_as_often_and_are_no_part_of_the_set():
    density = {feature: 0.5 if feature < 250 else 0.001 for feature in range(600)} | {599: 0.0}
    densities = Densities(density, 10_000)
    sets = densities.draw_sets((0, 1, 300, 301), 5, "0/2")
    assert len(set(sets)) == 5 and sets == densities.draw_sets((0, 1, 300, 301), 5, "0/2")
    for control in sets:
        assert len(set(control)) == 4 and not set(control) & {0, 1, 300, 301, 599}
        assert [density[feature] for feature in control] == [0.5, 0.5, 0.001, 0.001]
    with pytest.raises(UserError, match="Only 1 other features of the layer fire in the base, too few to compare 2 with"):
        Densities({0: 0.5, 1: 0.5, 2: 0.5}, 100).draw_sets((0, 1), 1, "")
