"""What must not depend on anything: base against itself shows no change, and the same run gives the same store."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import extract.measure.shard
import extract.run.pipeline
from extract.__main__ import main
from store import open_store, verify
from store.format.manifest import read_manifest
from store.names import CONTROLS
from store.read.store import Store
from tests.support.world import World, make_checkpoint, one_thread

COPIES = ("copy", "idle")
UNCHANGED = {
    "cosine": 1.0,
    "centred_cosine": 1.0,
    "relative_shift": 0.0,
    "overlap": 1.0,
    "weighted_overlap": 1.0,
    "latent_cosine": 1.0,
    "l1_divergence": 0.0,
    "l0_inflation": 1.0,
}
"""Layer metric -> its value where nothing changed: exactly, not nearly."""
TWINS = ("twin_1", "twin_2")
UNSEEN = ("few_firings", "few_clusters", "undetectable")


def extract_store(config: Path, out: Path) -> Path:
    """Run the command line; the store it made."""
    with one_thread():
        assert main(["run", str(config), "--out", str(out)]) == 0
    return out


# ---- base against itself ----


@pytest.fixture(scope="module")
def itself(world: World, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The base against a copy of its checkpoint and against an adapter that adds nothing."""
    folder = tmp_path_factory.mktemp("itself")
    config = world.config(
        folder,
        variants={
            "copy": {"model": str(make_checkpoint(folder / "copy", world.base, lambda _model: None))},
            "idle": {"adapter": str(make_idle_adapter(folder / "idle", world.base))},
            "tuned": {"adapter": str(world.adapter)},  # a real change beside them, so that the silence below means something
        },
        controls=list(CONTROLS),
        twins=2,
    )
    with open_store(extract_store(config, folder / "store")) as store:
        yield store


def make_idle_adapter(folder: Path, base: Path) -> Path:
    """A LoRA adapter as training starts it: A random, B zero."""
    torch.manual_seed(3)
    peft = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules="all-linear"))
    weights = {name: p for name, p in peft.named_parameters() if "lora_" in name}
    assert all((p == 0).all() == ("lora_B" in name) for name, p in weights.items())
    peft.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("variant", COPIES)
def test_layer_metrics_show_no_change(itself: Store, variant: str) -> None:
    """Every domain, segment and layer: cosine and overlaps exactly 1, divergences exactly 0.

    So do the controls, which add nothing to the base where the variant did not, and the twins, which permute a change of
    nothing; but not the rerun, which is other arithmetic.
    """
    for control in ("observed", *TWINS, *CONTROLS[1:]):
        groups = itself.layer_metrics(variant=variant, control=control).groupby("metric")["value"]
        for metric, value in UNCHANGED.items():
            assert len(groups.get_group(metric)) >= 3 * 7
            assert (groups.get_group(metric) == value).all(), metric
        for metric in ("l0", "fvu"):
            np.testing.assert_array_equal(groups.get_group(f"{metric}_base"), groups.get_group(f"{metric}_variant"))
        assert groups.get_group("delta_coverage").isna().all()  # of a change that is not there
        if control == "observed":
            assert (groups.get_group("n_seen") > 50).all()
        if control in ("observed", *TWINS):
            assert not groups.get_group("n_halved").any() and not groups.get_group("n_doubled").any()
    assert (itself.fit(variant=variant)["gate"] != "does not fit").all()
    assert itself.sql("SELECT * FROM spectrum WHERE variant = ?", [variant]).empty


def test_the_base_run_again_differs_by_rounding_only(itself: Store) -> None:
    """The control 'rerun', which is the same for every variant."""
    rows = itself.layer_metrics(control="rerun").set_index("metric")["value"]
    for metric, value in UNCHANGED.items():
        assert len(rows[metric]) >= 3 * 3 * 4
        np.testing.assert_allclose(rows[metric], value, atol=1e-4, err_msg=metric)
    of_variants = itself.layer_metrics(control="rerun").pivot(
        index=["layer", "domain", "segment", "metric"], columns="variant", values="value"
    )
    assert of_variants["copy"].equals(of_variants["tuned"])


@pytest.mark.parametrize("variant", COPIES)
def test_no_feature_changed(itself: Store, variant: str) -> None:
    """No shift, no lost or new firing, kind 'steady' everywhere, none in twins; nothing is claimed, or listed as suppressed."""
    rows = itself.sql("SELECT * FROM feature_stats WHERE variant = ?", [variant])
    assert len(rows) > 300
    assert not rows[["n10", "n01", "shift", "log_ratio"]].any(axis=None)
    assert (rows["kind"] == "steady").all()
    assert not rows[["std_shift", "suppression", "emergence"]].fillna(0).any(axis=None)
    assert (rows.loc[rows["domain"] == "all", "magnitude_ratio"] == 1).all()
    np.testing.assert_array_equal(rows["mean_base"], rows["mean_variant"])
    assert itself.suppressed_features(variant=variant).empty
    assert set(itself.shifted_features(variant=variant, dense=True, limit=None)["kind"]) == {"steady"}
    pooled = rows[rows["domain"] == "all"]
    assert set(pooled["verdict"]) <= {"steady", "could not be seen"} and set(pooled["reason"]) <= {"steady", *UNSEEN}
    assert (pooled["verdict"] == "steady").mean() > 0.5
    assert (pooled[["change", "twin_low", "twin_high"]] == 0).all(axis=None)
    assert (pooled["change_rescaled"].abs() < 1e-12).all()  # summed up in another order
    assert pooled[["q_twin", "q_replicates", "moved_to"]].isna().all(axis=None)
    several = pooled["n_clusters"] > 2
    assert (pooled.loc[several, ["change_low", "change_high"]] == 0).all(axis=None)


@pytest.mark.parametrize("variant", COPIES)
def test_no_token_changed(itself: Store, variant: str) -> None:
    """Token by token and document by document."""
    tokens = itself.sql("SELECT * FROM token_metrics WHERE variant = ?", [variant])
    assert (tokens[["cosine", "overlap"]] == 1).all(axis=None) and (tokens["l1_divergence"] == 0).all()
    documents = itself.sql("SELECT * FROM document_sums WHERE variant = ?", [variant])
    assert not documents[["delta_norm2", "delta_error2", "l1_divergence"]].any(axis=None)
    np.testing.assert_array_equal(documents["minimum"], documents["maximum"])
    np.testing.assert_array_equal(documents["cosine"], documents["n_tokens"])


@pytest.mark.parametrize("variant", COPIES)
def test_no_contexts_of_change(itself: Store, variant: str) -> None:
    """Nothing rose or fell, so only the sample and the rankings by base and by variant have contexts; the two are the same."""
    rows = itself.sql("SELECT * EXCLUDE variant FROM contexts WHERE variant = ? ORDER BY ALL", [variant])
    assert set(rows["ranking"]) == {"base", "variant", "spread"}
    base, changed = (rows[rows["ranking"] == r].drop(columns="ranking").reset_index(drop=True) for r in ("base", "variant"))
    for column in base.columns:
        assert all(np.array_equal(*pair) for pair in zip(base[column], changed[column], strict=True)), column
    for row in rows.itertuples():
        np.testing.assert_array_equal(row.base_at, row.variant_at)
        np.testing.assert_array_equal(row.base_activations, row.variant_activations)


@pytest.mark.parametrize("variant", COPIES)
def test_histograms_and_codes_are_the_bases(itself: Store, variant: str) -> None:
    """The stored codes agree bit for bit."""
    query = "SELECT layer, feature, bin, count FROM histograms WHERE model = ? ORDER BY ALL"
    assert itself.sql(query, [variant]).equals(itself.sql(query, ["base"]))
    for layer in itself.layers:
        for document in (0, 5):
            assert itself.codes(document, layer, variant).equals(itself.codes(document, layer, "base"))


def test_a_real_change_does_show(itself: Store) -> None:
    """The adapter beside them changes every layer, in the very same run."""
    rows = itself.overview().set_index("variant").loc["tuned"]
    assert (rows["relative_shift"] > 0.01).all() and (rows["overlap"] < 1).all()
    stats = itself.sql("SELECT * FROM feature_stats WHERE variant = 'tuned' AND domain = 'all'")
    assert (stats["shift"] != 0).mean() > 0.9 and (stats["twin_low"] < stats["twin_high"]).mean() > 0.9
    assert stats["kind"].nunique() > 1 and stats["verdict"].notna().all()


# ---- the same run, the same store ----


def digest(store: Path) -> str:
    """Content digest, after checking that the store is sound."""
    assert verify(store) == []
    return read_manifest(store).digest


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a run that was not interrupted, with a twin, whose size the pilot finds."""
    folder = tmp_path_factory.mktemp("whole")
    return extract_store(world.config(folder, twins=1), folder / "store")


def test_same_configuration_same_digest(world: World, whole: Path, tmp_path: Path) -> None:
    """A second run elsewhere gives the same content, though DuckDB's file bytes may differ."""
    again = extract_store(world.config(tmp_path, twins=1), tmp_path / "again")
    assert digest(again) == digest(whole)


def test_other_twins_another_digest(whole: Path, extracted: Path) -> None:
    """The digest does depend on the content: the same run without a twin has another."""
    assert digest(whole) != digest(extracted)


class _PowerCutError(BaseException):
    """Stands for whatever ends a run in the middle."""


def interrupt_after(patch: pytest.MonkeyPatch, shards: int) -> list[int]:
    """Let a run die when it comes to its next shard; the list fills with the shards that were computed."""
    done, real = [], extract.measure.shard.read_shard

    def read(context, shard, *rest):
        if len(done) == shards:
            raise _PowerCutError
        done.append(shard.index)
        return real(context, shard, *rest)

    patch.setattr(extract.measure.shard, "read_shard", read)
    return done


@pytest.fixture(scope="module")
def broken_off(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that died after its first shard."""
    folder = tmp_path_factory.mktemp("broken_off")
    with pytest.MonkeyPatch.context() as patch:
        done = interrupt_after(patch, shards=1)
        with pytest.raises(_PowerCutError), one_thread():
            main(["run", str(world.config(folder, twins=1)), "--out", str(folder / "store")])
        assert done == [0]
    return folder


@pytest.fixture
def interrupted(broken_off: Path, tmp_path: Path) -> Path:
    """Where its store would stand, in a folder of the test's own."""
    return shutil.copytree(broken_off, tmp_path / "run") / "store"


def test_an_interrupted_run_leaves_nothing_that_looks_finished(interrupted: Path) -> None:
    """No folder of the store's name, no manifest, and neither place opens as a store."""
    from store.errors import UserError

    assert not interrupted.exists()
    assert list(interrupted.parent.glob("**/manifest.json")) == []
    for place in (interrupted, interrupted.with_name("store.partial")):
        with pytest.raises(UserError):
            open_store(place)


def test_an_interrupted_run_goes_on(interrupted: Path, whole: Path) -> None:
    """The same command finishes with the same digest, and does not compute the first shard again."""
    part = interrupted.with_name("store.partial") / "latents" / "part-00000.h5"
    before = (part.stat().st_ino, part.stat().st_mtime_ns)
    with pytest.MonkeyPatch.context() as patch:
        done = interrupt_after(patch, shards=100)
        store = extract_store(interrupted.parent / "run.yaml", interrupted)
    shards = len(list((store / "latents").glob("part-*.h5")))
    assert shards >= 3 and done == list(range(1, shards))
    first = (store / "latents" / "part-00000.h5").stat()
    assert (first.st_ino, first.st_mtime_ns) == before
    assert digest(store) == digest(whole)
    assert not interrupted.with_name("store.partial").exists()


@pytest.mark.long
def test_a_run_that_dies_while_merging_goes_on(
    world: World, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that were half loaded are loaded afresh."""
    out = tmp_path / "store"
    with pytest.MonkeyPatch.context() as patch:
        calls = []

        def write_contexts(*_arguments) -> None:
            calls.append(1)
            raise _PowerCutError

        patch.setattr(extract.run.pipeline, "write_contexts", write_contexts)
        with pytest.raises(_PowerCutError), one_thread():
            main(["run", str(world.config(tmp_path, twins=1)), "--out", str(out)])
        assert calls and not out.exists()
    done = interrupt_after(monkeypatch, shards=0)
    extract_store(tmp_path / "run.yaml", out)
    assert done == [] and digest(out) == digest(whole)


def test_going_on_with_another_configuration_is_refused(world: World, interrupted: Path, capsys: pytest.CaptureFixture) -> None:
    """Half of one run and half of another would make a store of neither."""
    config = world.config(interrupted.parent, context_length=16)
    assert main(["run", str(config), "--out", str(interrupted)]) == 2
    assert "settings" in capsys.readouterr().err
    assert not interrupted.exists()
