"""Planted truth on a small base: a change that is known must be found where it is, and nowhere below.

Long because each planted change is worked out a second time here.

The dictionaries here have half as many features again as the residual stream has dimensions, in random directions with
cosines up to 1/2, so that a change along one decoder row moves its neighbours too, as in a trained dictionary.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sae_lens import SAE
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from extract.__main__ import main
from extract.config import load_config
from extract.corpus.batches import Shard, make_batches
from extract.models.layout import decoder_blocks
from extract.models.residuals import ResidualReader, read_residuals
from extract.models.sites import Site
from extract.run.inputs import load_inputs, plant_variants
from store import open_store
from store.names import BASE
from store.read.store import Store
from tests.support.world import (
    LAYERS,
    World,
    make_adapter,
    make_checkpoint,
    make_run,
    make_tokenizer,
    one_thread,
    quiet_axes,
    residuals_of,
    sentences,
    write_jsonl,
)

FEATURES = 48
WHERE = "WHERE variant = ? AND layer = ?"


@dataclass(frozen=True)
class Case:
    """One planted change.

    Attributes:
        up: whether the planted feature must rise.
        edit: fields of ``planted`` besides layer and feature.
    """

    layer: int
    feature: int
    up: bool
    edit: dict


KINDS = {
    "raised": (True, {"strength": 0.3}),
    # Pushed down a little: a harder push cannot silence a feature further, but goes on raising those that point away from it.
    "lowered": (False, {"strength": -0.1}),
    "removed": (False, {"project_out": True}),
    "ablated": (False, {"ablate": True}),
    "triggered": (True, {"strength": 0.5, "every": 3}),
    "removed-triggered": (False, {"project_out": True, "every": 3}),
}
CASES = {
    f"{kind}-{layer}": Case(layer, int(np.random.default_rng([layer, 0]).integers(FEATURES)), up, edit)
    for kind, (up, edit) in KINDS.items()
    for layer in LAYERS
}
TRIGGERED = [name for name, case in CASES.items() if "every" in case.edit]


def make_dictionary(folder: Path, base: Path, layer: int) -> Path:
    """A JumpReLU dictionary of random directions, no two of them closer than 60 degrees, encoder tied to decoder."""
    rows = residuals_of(base, layer, sentences(40, seed=2))
    mean, spread = rows.mean(0), float((rows - rows.mean(0)).std())
    generator = torch.Generator().manual_seed(layer)
    directions: list[torch.Tensor] = []
    while len(directions) < FEATURES:
        candidate = nn.functional.normalize(torch.randn(len(mean), generator=generator), dim=0)
        if all(abs(float(candidate @ other)) < 0.5 for other in directions):
            directions.append(candidate)
    norms = torch.linspace(1, 2, FEATURES)
    metadata = {"hook_name": f"blocks.{layer}.hook_resid_post", "prepend_bos": True}
    shape = {"architecture": "jumprelu", "d_in": len(mean), "d_sae": FEATURES, "dtype": "float32", "device": "cpu"}
    sae = SAE.from_dict({**shape, "apply_b_dec_to_input": True, "normalize_activations": "none", "metadata": metadata})
    with torch.no_grad():
        sae.W_dec.copy_(torch.stack(directions) * norms[:, None])
        sae.W_enc.copy_((torch.stack(directions) / norms[:, None]).T)
        sae.b_dec.copy_(mean)
        sae.b_enc.zero_()
        sae.threshold.copy_(0.8 * spread / norms)
    sae.save_model(folder)
    return folder


def decoder_row(dictionary: Path, feature: int) -> torch.Tensor:
    """Unit decoder direction of a feature."""
    return nn.functional.normalize(SAE.load_from_disk(dictionary).W_dec[feature].detach(), dim=0)


def extract_store(world: World, folder: Path, variants: dict, dictionaries: dict[int, Path], **changes) -> Path:
    """Run the command line on the small world's corpus with these variants and dictionaries."""
    saes = [{"path": str(path)} for path in dictionaries.values()]
    skipped = {"promoted_tokens": 0, "spectrum": 0, "neighbours": 0}
    settings = {**skipped, "shard_tokens": 4096, "controls": ["rescaled"], **changes}
    config = world.config(folder, variants=variants, saes=saes, **settings)
    with one_thread():
        assert main(["run", str(config), "--out", str(folder / "store")]) == 0
    return folder / "store"


def assert_untouched(store: Store, variant: str, layer: int) -> None:
    """No change at all at a layer: every metric, feature, token and context says exactly that."""
    metrics = store.layer_metrics(variant=variant, layer=layer).groupby("metric")["value"]
    for metric, value in {"relative_shift": 0, "l1_divergence": 0, "overlap": 1, "cosine": 1, "latent_cosine": 1}.items():
        assert (metrics.get_group(metric) == value).all(), (variant, layer, metric)
    for name in ("l0", "fvu"):
        np.testing.assert_array_equal(metrics.get_group(f"{name}_base"), metrics.get_group(f"{name}_variant"))
    features = store.shifted_features(variant=variant, layer=layer, dense=True, limit=None)
    assert len(features) > FEATURES / 2 and not features[["shift", "n10", "n01"]].any(axis=None)
    assert set(features["kind"]) == {"steady"}
    assert store.sql(f"SELECT max(l1_divergence) AS x FROM token_metrics {WHERE}", [variant, layer])["x"][0] == 0
    rankings = store.sql(f"SELECT DISTINCT ranking FROM contexts {WHERE}", [variant, layer])["ranking"]
    assert set(rankings) == {"base", "variant", "spread"}


def most_moved(store: Store, variant: str, layer: int) -> pd.Series:
    """The feature with the largest |shift|, however often it fires."""
    return store.shifted_features(variant=variant, layer=layer, sort="abs_shift", dense=True, limit=1).iloc[0]


# ---- planted by a hook, exactly ----


@pytest.fixture(scope="module")
def dictionaries(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """layer -> overcomplete dictionary of the small base."""
    folder = tmp_path_factory.mktemp("overcomplete")
    with one_thread():
        return {layer: make_dictionary(folder / f"sae_{layer}", world.base, layer) for layer in LAYERS}


@pytest.fixture(scope="module")
def planted(world: World, dictionaries: dict, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every case as a variant of one run."""
    variants = {name: {"planted": {"layer": case.layer, "feature": case.feature, **case.edit}} for name, case in CASES.items()}
    with open_store(extract_store(world, tmp_path_factory.mktemp("planted"), variants, dictionaries)) as store:
        yield store


@pytest.mark.parametrize("name", CASES)
def test_planted_feature_comes_first(planted: Store, name: str) -> None:
    """At its layer, in the right direction, among all features."""
    case = CASES[name]
    first = most_moved(planted, name, case.layer)
    assert first["feature"] == case.feature
    assert (first["shift"] > 0) == case.up
    assert first["kind"] in {True: ("steady", "strengthened", "appeared"), False: ("steady", "weakened", "vanished")}[case.up]


@pytest.mark.parametrize("name", CASES)
def test_the_interval_of_a_planted_change_leaves_out_none(planted: Store, name: str) -> None:
    """On the right side. Without twins nothing says whether a random change would do as much: there is no verdict."""
    case = CASES[name]
    query = f"SELECT * FROM feature_stats {WHERE} AND domain = 'all' AND feature = ?"
    row = planted.sql(query, [name, case.layer, case.feature]).iloc[0]
    assert row["change_low"] <= row["change"] <= row["change_high"]
    assert row["change_low"] > 0 if case.up else row["change_high"] < 0
    assert pd.isna(row["verdict"]) and pd.isna(row["reason"])


@pytest.mark.parametrize("edit", [{"strength": 0.3}, {"project_out": True, "every": 3}, {"ablate": True}, {"isotropic": True}])
def test_a_change_of_the_bases_residuals_is_the_whole_forward_pass(world: World, tmp_path: Path, edit: dict) -> None:
    """Beside the base a planted variant starts from the base's residuals at its layer; alone it runs whole: the same bits."""
    variants = {"planted": {"planted": {"layer": 2, "feature": 9, **edit}}}
    config = load_config(world.config(tmp_path, variants=variants))
    inputs = load_inputs(config, lambda _text: None)
    models = inputs.models
    pilots = {d.layer: SimpleNamespace(median_norm=4.0, mean=torch.linspace(-1, 1, d.d_model)) for d in inputs.dictionaries}
    plant_variants(models, inputs.dictionaries, pilots)
    shard = Shard(0, 0, tuple(inputs.corpus.documents[:12]))
    (batch, *_) = make_batches(shard, config.context_length, 600, inputs.bos, 0)
    sites = [dictionary.site for dictionary in inputs.dictionaries]
    _, beside = read_residuals(models, [BASE, "planted"], batch, sites)
    _, alone = read_residuals(models, ["planted"], batch, sites)
    assert [site.layer for site in sites] == list(LAYERS)
    for site in sites:
        assert torch.equal(beside["planted"][site], alone["planted"][site])
        assert torch.equal(beside["planted"][site], beside[BASE][site]) == (site.layer < 2)
    assert max(LAYERS) > 2
    assert not any("forward" in block.__dict__ for block in decoder_blocks(models.base))


@pytest.fixture(scope="module")
def fitting(world: World, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every kind of edit, of two features of layer 2 each, under a dictionary that reconstructs well."""
    variants = {
        f"{kind}-{feature}": {"planted": {"layer": 2, "feature": feature, **edit}}
        for kind, (_, edit) in KINDS.items()
        for feature in (14, 51)
    }
    with open_store(extract_store(world, tmp_path_factory.mktemp("fitting"), variants, {2: world.saes[2]})) as store:
        yield store


@pytest.mark.parametrize("feature", [14, 51])
@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_change_is_no_other_features(fitting: Store, kind: str, feature: int) -> None:
    """Up where it was raised, down where it was lowered or taken out; its opposite the other way, or not at all."""
    up, edit = KINDS[kind]
    where = "WHERE variant = ? AND domain = 'all' AND feature = ?"
    (row, opposite) = (
        fitting.sql(f"SELECT * FROM feature_stats {where}", [f"{kind}-{feature}", number]).iloc[0]
        for number in (feature, feature ^ 1)
    )
    assert row["change_low"] > 0 if up else row["change_high"] < 0
    if "every" not in edit and kind != "lowered":
        assert row["kind"] in (("strengthened", "appeared") if up else ("weakened", "vanished"))
    if "strength" in edit:
        assert opposite["change"] * row["change"] < 0
    changed = fitting.sql(
        "SELECT feature FROM feature_stats WHERE variant = ? AND domain = 'all' AND kind <> 'steady'", [f"{kind}-{feature}"]
    )
    assert set(changed["feature"]) <= {feature, feature ^ 1}  # the others' directions are orthogonal


@pytest.mark.parametrize("name", CASES)
def test_layers_below_are_untouched_and_layers_above_are_not(planted: Store, name: str) -> None:
    """A change can only travel upward."""
    for layer in LAYERS:
        if layer < CASES[name].layer:
            assert_untouched(planted, name, layer)
        else:
            (shift,) = planted.layer_metrics(name, layer, "all", "all", "relative_shift", "observed")["value"]
            assert shift > 1e-3


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "strength" in case.edit and name not in TRIGGERED])
def test_size_of_the_change(planted: Store, name: str) -> None:
    """Every token moves by ``strength`` median norms: that is what relative_shift is made from."""
    case = CASES[name]
    sums = planted.sql(
        "SELECT sum(delta_norm2) / sum(n_tokens) AS x FROM document_sums WHERE variant = ? AND layer = ?", [name, case.layer]
    )
    median = planted.sql("SELECT median_norm FROM layers WHERE layer = ?", [case.layer])["median_norm"][0]
    assert np.sqrt(sums["x"][0]) == pytest.approx(abs(case.edit["strength"]) * median, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("removed-") and name not in TRIGGERED])
def test_a_direction_projected_out_silences_its_feature(planted: Store, name: str) -> None:
    """About the mean, where this dictionary's features are silent: every firing is gone."""
    case = CASES[name]
    first = most_moved(planted, name, case.layer)
    assert first["kind"] == "vanished" and first["suppression"] == 1 and first["n_variant"] == 0 and first["n_base"] > 20


@pytest.mark.parametrize("name", TRIGGERED)
def test_a_trigger_changes_its_own_tokens_only(planted: Store, name: str) -> None:
    """At the planted layer the tokens whose id is a multiple of 3 change, and no other; contexts of change peak there."""
    case = CASES[name]
    tokens = planted.sql(
        "SELECT m.*, t.token_id % 3 = 0 AS triggered FROM token_metrics m JOIN tokens t USING (document, position) "
        "WHERE variant = ? AND layer = ?",
        [name, case.layer],
    )
    moved = tokens["cosine"] < 1
    assert tokens["triggered"].any() and not moved[~tokens["triggered"]].any()
    assert (tokens.loc[~tokens["triggered"], "l1_divergence"] == 0).all()
    if "strength" in case.edit:
        assert moved[tokens["triggered"]].all()
    ranking = "increase" if case.up else "decrease"
    contexts = planted.contexts(layer=case.layer, feature=case.feature, variant=name, ranking=ranking)
    assert len(contexts) == 4
    for context in contexts.itertuples():
        assert context.token_ids[context.peak] % 3 == 0
        change = context.variant_values[context.peak] - context.base_values[context.peak]
        assert change == pytest.approx(context.score if case.up else -context.score, rel=2e-3)


# ---- changed checkpoints on disk ----

EDITED = 2
"""Layer whose down_proj is changed."""
PICKED = [int(np.random.default_rng(seed).integers(FEATURES)) for seed in (10, 11, 12)]


def strengthened(unit: torch.Tensor) -> Callable[[nn.Module], None]:
    """Make what the MLP writes along a direction five times as large."""

    def change(model: nn.Module) -> None:
        weight = model.model.layers[EDITED].mlp.down_proj.weight
        weight += 4 * torch.outer(unit, unit @ weight)

    return change


def projected_out(unit: torch.Tensor) -> Callable[[nn.Module], None]:
    """Let the MLP write nothing along a direction."""

    def change(model: nn.Module) -> None:
        weight = model.model.layers[EDITED].mlp.down_proj.weight
        weight -= torch.outer(unit, unit @ weight)

    return change


def pushed(push: torch.Tensor) -> Callable[[nn.Module], None]:
    """Let the MLP write a constant on top."""

    def change(model: nn.Module) -> None:
        model.model.layers[EDITED].mlp.down_proj.bias += push

    return change


@pytest.fixture(scope="module")
def checkpoints(world: World, dictionaries: dict, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Full checkpoints of the small Gemma 3, one direction of one down_proj changed in each."""
    folder = tmp_path_factory.mktemp("checkpoints")
    variants = {}
    for feature in PICKED:
        unit = decoder_row(dictionaries[EDITED], feature)
        for kind, change in (("strong", strengthened(unit)), ("out", projected_out(unit))):
            path = make_checkpoint(folder / f"{kind}-{feature}", world.base, change)
            variants[path.name] = {"model": str(path)}
    with open_store(extract_store(world, folder, variants, dictionaries)) as store:
        yield store


def total_changes(store: Store, variant: str, layer: int) -> np.ndarray:
    """Sum over tokens of |b - a| of each feature, from the stored codes."""
    total = np.zeros(FEATURES)
    for feature in range(FEATURES):
        base, changed = (
            store.activations(layer, feature, model).set_index(["document", "position"])["value"] for model in ("base", variant)
        )
        total[feature] = changed.sub(base, fill_value=0).abs().sum()
    return total


@pytest.mark.thorough
@pytest.mark.parametrize("feature", PICKED)
def test_checkpoint_with_a_direction_strengthened(checkpoints: Store, feature: int) -> None:
    """The feature of that direction shifts most, upward: amplifying what is written along it makes it fire higher."""
    first = most_moved(checkpoints, f"strong-{feature}", EDITED)
    assert first["feature"] == feature and first["shift"] > 0


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["strong", "out"])
@pytest.mark.parametrize("feature", PICKED)
def test_checkpoint_changes_its_feature_most_token_by_token(checkpoints: Store, kind: str, feature: int) -> None:
    """The mean of |b - a| is by far largest for the feature of the edited direction.

    Not ``shift``, for the direction projected out: Gemma 3 normalises after ``down_proj``, so the edit also rescales every
    other direction a little, and what the MLP wrote along this one had either sign, so that its removal nearly cancels in
    the mean. Token by token nothing cancels.
    """
    changes = total_changes(checkpoints, f"{kind}-{feature}", EDITED)
    assert changes.argmax() == feature
    assert changes[feature] > 1.3 * np.delete(changes, feature).max()


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["strong", "out"])
@pytest.mark.parametrize("feature", PICKED)
def test_checkpoint_changes_only_from_its_layer_on(checkpoints: Store, kind: str, feature: int) -> None:
    """Layers below the edit are untouched bit for bit; from it on the change shows."""
    for layer in LAYERS:
        if layer < EDITED:
            assert_untouched(checkpoints, f"{kind}-{feature}", layer)
        else:
            rows = checkpoints.layer_metrics(variant=f"{kind}-{feature}", layer=layer, metric="relative_shift")
            assert (rows["value"] > 1e-3).all()


@pytest.fixture(scope="module")
def biased(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, tuple[int, float]]]:
    """A small Llama with biases: no norm after ``down_proj``, so adding to its bias plants a direction exactly, by weights."""
    folder = tmp_path_factory.mktemp("biased")
    tokenizer = make_tokenizer(folder / "base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=5, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=256, initializer_range=0.3, mlp_bias=True,
        pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "base")
    with one_thread():
        saes = {layer: make_dictionary(folder / f"sae_{layer}", folder / "base", layer) for layer in LAYERS}
        spread = float(residuals_of(folder / "base", EDITED, sentences(10, seed=2)).std())
    variants, truth = {}, {}
    for feature in PICKED:
        for kind, size in (("up", 2 * spread), ("down", -0.5 * spread)):
            change = pushed(size * decoder_row(saes[EDITED], feature))
            path = make_checkpoint(folder / f"{kind}-{feature}", folder / "base", change)
            variants[path.name], truth[path.name] = {"model": str(path)}, (feature, size)
    with open_store(extract_store(world, folder, variants, saes, base=str(folder / "base"))) as store:
        yield store, truth


@pytest.mark.thorough
def test_checkpoint_with_a_direction_added(biased: tuple[Store, dict[str, tuple[int, float]]]) -> None:
    """Exact by weights: first in the right direction, of the right size, and nothing below."""
    store, truth = biased
    for variant, (feature, size) in truth.items():
        first = most_moved(store, variant, EDITED)
        assert (first["feature"], first["shift"] > 0) == (feature, size > 0), variant
        tokens = store.sql(
            "SELECT sum(delta_norm2) / sum(n_tokens) AS x FROM document_sums WHERE variant = ? AND layer = ?", [variant, EDITED]
        )
        assert np.sqrt(tokens["x"][0]) == pytest.approx(abs(size), rel=1e-4)
        assert_untouched(store, variant, 1)


# ---- noise of a real variant's size ----


def as_noise(real: Callable, base: dict[bytes, dict[Site, torch.Tensor]], generator: torch.Generator) -> Callable:
    """A reader's ``read`` with each variant's and twin's change replaced by a random one of the same size, token by token."""

    def read(reader, names, batch, sites):
        rows, found = real(reader, names, batch, sites)
        key = rows.numpy().tobytes() + batch.input_ids.tobytes()
        if "base" in names:
            base[key] = {site: residual.clone() for site, residual in found["base"].items()}
        for name in set(names) - {"base"}:
            for site, residual in found[name].items():
                size = (residual - base[key][site]).norm(dim=1, keepdim=True)
                noise = torch.randn(residual.shape, generator=generator)
                found[name][site] = base[key][site] + noise * (size / noise.norm(dim=1, keepdim=True))
        return rows, found

    return read


def random_store(world: World, folder: Path, read: Callable) -> Path:
    """Two runs of a recipe, each with two twins, read by ``read``; 64 documents, three dictionaries that fit."""
    texts = [{"source": f"text-{i}", "text": text} for i, text in enumerate(sentences(64, seed=21))]
    corpus = [
        {"path": str(write_jsonl(folder / f"{domain}.jsonl", part)), "domain": domain}
        for domain, part in (("one", texts[:32]), ("two", texts[32:]))
    ]
    again = make_adapter(folder / "again", world.base, seed=8)
    variants = {"tuned": {"adapter": str(world.adapter)}, "again": {"adapter": str(again), "replicate_of": "tuned"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResidualReader, "read", read)
        return extract_store(
            world, folder, variants, world.saes, corpus=corpus, tokens=4000, controls=["isotropic", "rescaled"], twins=2
        )


@pytest.fixture(scope="module")
def noise(world: World, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The adapters' changes with every direction drawn at random, independently of the control."""
    read = as_noise(ResidualReader.read, {}, torch.Generator().manual_seed(5))
    with open_store(random_store(world, tmp_path_factory.mktemp("noise"), read)) as opened:
        yield opened


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_is_found_in_noise(noise: Store, layer: int) -> None:
    """It looks like a change: many codes flip. No feature is said to have changed, and no metric to exceed its control.

    Two intervals of 95 % a layer: that both hold at 1.5 times their width is certain to 99 %.
    """
    metrics = noise.layer_metrics("tuned", layer, "all", "all").set_index(["control", "metric"])
    assert metrics.loc["observed", "overlap"]["value"] < 0.95
    assert metrics.loc["observed", "relative_shift"]["value"] > 0.03
    rows = noise.sql("SELECT verdict FROM feature_stats WHERE domain = 'all' AND layer = ?", [layer])
    assert set(rows["verdict"]) <= {"steady", "could not be seen", "as in a random change"}
    assert (rows["verdict"] == "steady").sum() > 2 * 40
    assert (noise.fit("tuned", layer)["gate"] != "does not fit").all()
    for metric in ("overlap", "l0_inflation"):
        row = metrics.loc["isotropic", metric]
        half = (row["excess_high"] - row["excess_low"]) / 2
        assert 0 < half < 0.05 and abs(row["excess"]) < 1.5 * half, metric


# ---- gains drawn at random: features are halved and doubled by the dozen, and the same ones in both runs by chance ----


def with_gains(real: Callable, sigma: float) -> Callable:
    """A reader's ``read`` where each variant and twin is the base with random gains of its own on every axis, at its norm."""

    def read(reader, names, batch, sites):
        rows, found = real(reader, list(dict.fromkeys(("base", *names))), batch, sites)
        for name in set(names) - {"base"}:
            for site, residual in found["base"].items():
                seed = int.from_bytes(hashlib.sha256(f"{name} {site.layer}".encode()).digest()[:4])
                gains = (sigma * torch.randn(residual.shape[1], generator=torch.Generator().manual_seed(seed))).exp()
                changed = residual * gains
                found[name][site] = changed * (residual.norm(dim=1, keepdim=True) / changed.norm(dim=1, keepdim=True))
        return rows, {name: found[name] for name in names}

    return read


def test_changes_that_recur_by_chance_are_not_claimed(world: World, tmp_path: Path) -> None:
    """At every layer ten features or more lost half in both runs, beyond their intervals; as many in both of two twins."""
    with open_store(random_store(world, tmp_path, with_gains(ResidualReader.read, 3.0))) as store:
        both = store.sql("""
            SELECT layer, count(*) FILTER (most) AS n FROM (
                SELECT layer, feature, max(change_high) < 0 AND max(change) <= -0.5 AS most
                FROM feature_stats WHERE domain = 'all' GROUP BY ALL) GROUP BY layer ORDER BY layer""")
        assert (both["n"] >= 10).all() and len(both) == len(LAYERS)
        assert not store.sql("SELECT count(*) AS n FROM feature_stats WHERE verdict IN ('suppressed', 'amplified')")["n"][0]


# ---- two runs of a recipe ----


@pytest.fixture(scope="module")
def recipes(world: World, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two runs that silence four axes of layer 1 and share three of them; and two of no recipe, that share only their name."""
    folder, axes = tmp_path_factory.mktemp("recipes"), quiet_axes(world.saes[1])
    nothing = axes[:0]

    def run(name: str, silenced: torch.Tensor, seed: int) -> dict:
        return {"model": str(make_run(folder / name, world.base, silenced, nothing, seed))}

    with one_thread():
        variants = {
            "one": run("one", axes[[0, 1, 2, 3]], 1),
            "two": {**run("two", axes[[0, 1, 2, 4]], 2), "replicate_of": "one"},
            "other": run("other", axes[5:9], 3),
            "another": {**run("another", axes[9:13], 4), "replicate_of": "other"},
        }
    store = extract_store(world, folder, variants, {1: world.saes[1]}, twins=4)
    with open_store(store) as opened:
        yield opened


def sides(dictionary: Path, axes: torch.Tensor) -> set[int]:
    """The features that read either side of some axes."""
    unit = nn.functional.normalize(SAE.load_from_disk(dictionary).W_dec.detach(), dim=1)
    return set(np.flatnonzero(((unit @ axes.T).abs() > 0.99).any(1).numpy()).tolist())


def test_what_two_runs_share_is_found_among_their_twins(recipes: Store, world: World) -> None:
    """Six features in both runs, claimed in both; what one run alone silences is not claimed, nor what nobody planted."""
    axes = quiet_axes(world.saes[1])
    shared = sides(world.saes[1], axes[:3])
    assert len(shared) == 6
    stats = recipes.sql("SELECT * FROM feature_stats WHERE domain = 'all'").set_index("variant")
    for variant, own in (("one", 3), ("two", 4)):
        rows = stats.loc[variant].set_index("feature")
        claimed = rows[rows["verdict"].isin(["suppressed", "amplified"])]
        assert shared <= set(claimed.index) and (rows.loc[list(shared), "change"] == -1).all()
        assert len(claimed) <= len(shared) + 1  # one more fell in both, by what attention makes of the silence
        assert (claimed["q_replicates"] <= 0.05).all() and (claimed["replicate_high"] <= -0.5).all()
        alone = rows.loc[list(sides(world.saes[1], axes[[own]]))]
        assert (alone["change"] < -0.9).all() and not alone["verdict"].isin(["suppressed", "amplified"]).any()


def test_what_two_runs_do_not_share_is_not_claimed(recipes: Store) -> None:
    """As much lost in each, of other features."""
    stats = recipes.sql("SELECT * FROM feature_stats WHERE domain = 'all'").set_index("variant")
    for variant in ("other", "another"):
        assert (stats.loc[variant, "change"] < -0.9).sum() >= 6
        assert not stats.loc[variant, "verdict"].isin(["suppressed", "amplified"]).any()


# ---- what cannot be planted ----


@pytest.mark.parametrize(("layer", "feature"), [(0, 1), (1, FEATURES), (1, -1)])
def test_planting_what_no_dictionary_has_is_refused(
    world: World, dictionaries: dict, tmp_path: Path, capsys: pytest.CaptureFixture, layer: int, feature: int
) -> None:
    """A layer without a dictionary, or a feature beyond it: one sentence, exit code 2, no store."""
    saes = [{"path": str(path)} for path in dictionaries.values()]
    variants = {"wrong": {"planted": {"layer": layer, "feature": feature}}}
    config = world.config(tmp_path, variants=variants, saes=saes)
    with one_thread():
        assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 2
    assert f"feature {feature} of layer {layer}" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
