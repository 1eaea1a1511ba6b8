"""`python -m extract contributions`: what is kept beside a store, against a dense second implementation."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sae_lens import SAE

from extract.__main__ import main
from extract.contributions import batch_files, sums, tables
from extract.exits import INTERRUPTED
from store import open_store
from store.format.additions import addition_path
from tests.support import runs
from tests.support.contributed import ASKED, Reference, table
from tests.support.world import World, one_thread


@pytest.fixture(scope="module")
def config(contributed: tuple[Path, Path]) -> Path:
    return contributed[0]


@pytest.fixture(scope="module")
def store(contributed: tuple[Path, Path]) -> Path:
    return contributed[1]


@pytest.fixture(scope="module")
def expected(world: World, store: Path) -> dict[int, list[tuple[pd.DataFrame, dict]]]:
    """Layer -> of every passage that was taken apart its predictions and what the reference finds."""
    predictions = table(store, "taken_apart").sort_values(["document", "position"])
    with one_thread():
        reference = Reference(world, store)
        return {
            layer: [(rows, reference.passage(rows, layer)) for _, rows in predictions.groupby("document")]
            for layer in world.saes
        }


@pytest.fixture(scope="module")
def predictions(store: Path) -> pd.DataFrame:
    return table(store, "predictions").sort_values(["document", "position"], ignore_index=True)


@pytest.fixture(scope="module")
def likelihoods(world: World, store: Path, predictions: pd.DataFrame) -> pd.DataFrame:
    """Of every prediction, by the reference."""
    with one_thread():
        reference = Reference(world, store)
        return pd.concat([reference.likelihoods(rows) for _, rows in predictions.groupby("document")])


def test_predictions(predictions: pd.DataFrame, likelihoods: pd.DataFrame):
    for name in likelihoods:
        np.testing.assert_allclose(predictions[name], likelihoods[name], atol=2e-5)


def test_more_predictions_are_read_than_taken_apart(store: Path, predictions: pd.DataFrame):
    """Eight times as many were asked for, as far as the store has them; every document that is taken apart is read."""
    apart = table(store, "taken_apart")
    assert len(predictions) > 3 * len(apart)
    assert set(apart["document"]) <= set(predictions["document"])


def test_what_was_learned_is_their_weighted_mean(store: Path, predictions: pd.DataFrame, likelihoods: pd.DataFrame):
    learned = table(store, "learned").set_index(["control", "domain", "slot"])
    gains, weights = likelihoods["variant_logprob"] - likelihoods["base_logprob"], predictions["weight"]
    whole = learned.loc[("observed", "all", "all")]
    assert whole["gain"] == pytest.approx(np.average(gains, weights=weights), abs=1e-5)
    assert whole["kl"] == pytest.approx(np.average(likelihoods["kl"], weights=weights), abs=1e-5)
    assert whole["n_predictions"] == len(gains)
    rest = predictions["slot"] == "rest"
    of_rest = learned.loc[("observed", "all", "rest"), "gain"]
    assert of_rest == pytest.approx(np.average(gains[rest], weights=weights[rest]), abs=1e-5)
    task = learned.loc[("observed", "*task", "all")]
    assert task["gain"] == learned.loc[("observed", "chats", "all"), "gain"]


@pytest.mark.parametrize("name", ["predictions", "taken_apart"])
def test_domains_and_the_slots_of_a_window_weigh_as_much_as_they_have_tokens_to_predict(store: Path, name: str):
    """Counted token by token: a domain's weights as its tokens in all of the store, a slot's as those in the windows."""
    with open_store(store) as opened:
        tokens = opened.sql("SELECT t.*, domain FROM tokens t JOIN documents USING (document) ORDER BY document, position")
    answers = (tokens["segment"] == "response").groupby(tokens["document"]).transform("any")
    follows = tokens.groupby(["document", "context"]).cumcount() > 0
    asked = tokens[follows & (~answers | (tokens["segment"] == "response"))]
    found = table(store, name).merge(tokens[["document", "position", "domain", "context"]])
    assert found["weight"].mean() == pytest.approx(1)
    by_domain = found.groupby("domain")["weight"].sum()
    counts = asked["domain"].value_counts()[by_domain.index]
    np.testing.assert_allclose(by_domain / by_domain.sum(), counts / counts.sum())
    stories = found[found["domain"] == "stories"]
    sampled = asked.merge(stories[["document", "context"]].drop_duplicates())
    early = (sampled["position"] < 8).mean()
    assert stories.loc[stories["slot"] == "first", "weight"].sum() / stories["weight"].sum() == pytest.approx(early)


def test_more_is_asked_about_the_task(store: Path):
    with open_store(store) as opened:
        counts = opened.taken_apart()["domain"].value_counts()
    assert counts["chats"] > 1.5 * counts["stories"]


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_what_passes_through_a_layer(store: Path, expected, layer: int):
    rows = table(store, "layers")
    row = rows[(rows["layer"] == layer) & (rows["control"] == "observed") & (rows["domain"] == "all")].iloc[0]
    n = sum(len(predictions) for predictions, _ in expected[layer])
    whole = sum(float(rows["weight"] @ (found["variant"] - found["base"]).numpy()) for rows, found in expected[layer])
    assert row["whole"] == pytest.approx(whole / n, abs=1e-5)
    for name in ("gain", "kl"):
        assert row[name] == pytest.approx(sum(found[name] for _, found in expected[layer]) / n, abs=1e-5)
    features = sum(found["by_feature"]["gain"].sum() for _, found in expected[layer]) / n
    assert row["features"] == pytest.approx(features, abs=2e-5)  # from 5 points, the reference's from 8
    assert row["features"] + row["rest"] == pytest.approx(row["gain"], abs=0.02 * abs(row["kl"]))
    assert row["completeness"] < 0.02 and row["completeness_kl"] < 0.02


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_contributions_of_features(store: Path, expected, layer: int):
    rows = table(store, "features")
    rows = rows[(rows["layer"] == layer) & (rows["domain"] == "all")].set_index("feature")
    n = sum(len(predictions) for predictions, _ in expected[layer])
    for name in ("gain", "kl"):
        dense = sum(found["by_feature"][name] for _, found in expected[layer]) / n
        np.testing.assert_allclose(rows[name], dense[rows.index], atol=1e-5)
        assert np.abs(np.delete(dense, rows.index)).max(initial=0) < 1e-7  # the dictionary is small: every feature is kept
    assert (rows["gain"].rank(ascending=False) == rows["rank"]).all()


def test_where_a_feature_acts_adds_up_to_its_contribution(
    store: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where every token is kept."""
    monkeypatch.setattr(sums, "ACTS_A_PASSAGE", 10**6)
    monkeypatch.setattr(tables, "ACTS_A_FEATURE", 10**6)
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    with one_thread():
        assert main(["contributions", str(copy), str(config), *ASKED]) == 0
    acts, features, n = table(copy, "acts"), table(copy, "features"), len(table(copy, "taken_apart"))
    pooled = features[features["domain"] == "all"].set_index(["layer", "feature"])["gain"]
    found = acts.groupby(["layer", "feature"])["gain"].sum() / n
    assert len(found) > 100
    np.testing.assert_allclose(found, pooled[found.index], atol=1e-6)


def test_agreement_is_of_every_feature_of_a_layer(
    store: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What is correlated is what the other tables say of the variant and of its twin."""
    compared = []
    monkeypatch.setattr(tables, "correlation", lambda own, other: compared.append((own, other)) or len(compared))
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    with one_thread():
        assert main(["contributions", str(copy), str(config), *ASKED]) == 0
    agreement, layers, features = (table(copy, name) for name in ("agreement", "layers", "features"))
    assert set(agreement["other"]) == {"twin_1"} and set(agreement["domain"]) >= {"all", "*task", "chats"}
    assert len(agreement) == len(compared)
    for row in agreement.itertuples():
        own, twin = compared[round(row.correlation) - 1]
        mine = features[(features["layer"] == row.layer) & (features["domain"] == row.domain)].set_index("feature")["gain"]
        np.testing.assert_allclose(own[mine.index], mine, atol=1e-6)
        here = (layers["layer"] == row.layer) & (layers["domain"] == row.domain) & (layers["control"] == "twin_1")
        np.testing.assert_allclose([twin.max(), twin.min()], layers.loc[here, ["largest", "smallest"]].iloc[0])


def test_twins_stand_beside(store: Path):
    assert set(table(store, "learned")["control"]) == set(table(store, "layers")["control"]) == {"observed", "twin_1"}
    assert set(table(store, "features")["variant"]) == {"tuned"}


def test_words_are_those_that_rose_and_fell(store: Path, expected):
    """The tokens with the largest mean change of probability over all predictions, by the reference."""
    changes = table(store, "word_changes")
    changes = changes[(changes["control"] == "observed") & (changes["domain"] == "all") & (changes["slot"] == "all")]
    assert (changes["change"] > 0).any() and (changes["change"] < 0).any() and len(changes) == 40
    assert set(changes["token_id"]) <= set(table(store, "vocabulary")["token_id"])


def end_in_the_second_batch(monkeypatch: pytest.MonkeyPatch, again: Path) -> list[tuple]:
    """The batches that are measured from now on; the second is interrupted until a file is there."""
    measured, real = [], batch_files.take_apart

    def measure(shared, batch, progress):
        if len(measured) == 1 and not again.exists():
            raise KeyboardInterrupt
        measured.append(tuple(batch))
        return real(shared, batch, progress)

    monkeypatch.setitem(batch_files._WAYS, batch_files.APART, (measure, batch_files.PROBABILITIES))
    return measured


def test_an_interrupted_pass_goes_on(store: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ended in the second batch; the second start measures what is missing, and no batch twice."""
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    command = ["contributions", str(copy), str(config), *ASKED]
    measured = end_in_the_second_batch(monkeypatch, tmp_path / "again")
    with one_thread():
        assert main(command) != 0
        assert not addition_path(copy).exists()
        (tmp_path / "again").touch()
        assert main(command) == 0
    assert len(measured) == len(set(measured)) > 1
    digests = [table(of, "about").set_index("name")["value"]["digest"] for of in (store, copy)]
    assert digests[0] == digests[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "store", "store.contributions.duckdb"]


def test_a_run_measures_them_last_and_goes_on_with_them(
    store: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """Ended in their second batch: the store is finished, and the same command measures what is missing and no more."""
    variants = {"tuned": {"adapter": str(world.adapter), "task": ["chats"]}}
    config = world.config(tmp_path, twins=2, variants=variants, contributions=60)
    command, out = ["run", str(config), "--out", str(tmp_path / "made")], tmp_path / "made"
    measured = end_in_the_second_batch(monkeypatch, tmp_path / "again")
    with one_thread():
        assert main(command) == INTERRUPTED
        finished = (out / "manifest.json").stat().st_mtime_ns
        (tmp_path / "again").touch()
        assert main(command) == 0
    assert len(measured) == len(set(measured)) > 1
    assert (out / "manifest.json").stat().st_mtime_ns == finished
    assert table(out, "about").set_index("name")["value"]["read"] == str(len(table(store, "predictions")))
    assert "Contributions written to made.contributions.duckdb" in capsys.readouterr().out
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_run_that_can_have_none_says_why(world: World, tmp_path: Path, capsys: pytest.CaptureFixture):
    """Dictionaries that measure each token in its own norm: the store is made all the same, unless a number is asked for."""
    sae = SAE.load_from_disk(world.saes[1])
    sae.cfg.normalize_activations = "layer_norm"
    sae.save_model(tmp_path / "normed")
    changes = {"saes": [{"path": str(tmp_path / "normed")}], "tokens": 600}
    with one_thread():
        command = ["run", str(world.config(tmp_path, **changes, contributions=None)), "--out", str(tmp_path / "made")]
        assert main(command) == 0
        said = capsys.readouterr().out
        assert "note: no contributions: The dictionary" in said and "without such a normalisation" in said
        command = ["run", str(world.config(tmp_path, **changes, contributions=60)), "--out", str(tmp_path / "other")]
        assert main(command) == 2
    assert "without such a normalisation" in capsys.readouterr().err
    for name in ("made", "other"):
        assert (tmp_path / name / "manifest.json").is_file() and not list(tmp_path.glob(f"{name}.*"))


def test_two_workers_give_the_same_content(store: Path, config: Path, tmp_path: Path):
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    runs.finish("contributions", copy, config, *ASKED, "--workers", 2, log=tmp_path / "log")
    digests = [table(of, "about").set_index("name")["value"]["digest"] for of in (store, copy)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--points", "3"], "--points is 3; give one of 2, 5, 12"),
        (["--predictions", "0"], "--predictions is 0; give 1 or more"),
        (["--passage", "0"], "--passage is 0; give 1 or more"),
        (["--workers", "0"], "--workers is 0; give 1 or more"),
        (["--twins", "-1"], "--twins is -1; give 0 or more"),
        ([], "exists already; remove it to measure again"),
    ],
)
def test_refusals(store: Path, config: Path, capsys: pytest.CaptureFixture, more: list[str], said: str):
    assert main(["contributions", str(store), str(config), *more]) == 2
    assert said in capsys.readouterr().err


def test_another_configuration_is_refused(store: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture):
    other = world.config(tmp_path, variants={"another": {"adapter": str(world.adapter)}})
    assert main(["contributions", str(store), str(other)]) == 2
    assert "has no variant 'tuned' (its variants: another)" in capsys.readouterr().err
