"""A dictionary trained on a model with center_writing_weights (the GPT-2 releases): residuals are read less their mean over
d_model, in pilot, shards, controls, replicas, planted changes and steering alike. Against TransformerLens' own processing of
the weights, and against the dense reference of tests/support/reference.py."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sae_lens import SAE
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import AutoModelForCausalLM, GPT2LMHeadModel, PreTrainedTokenizerFast

from extract.__main__ import main
from extract.config import load_config
from extract.config_sections import SaeConfig
from extract.corpus.token_index import TokenIndex
from extract.models.loading import model_config, tokenizer_digest
from extract.pilot.controls import Place, controlled
from extract.run.inputs import load_inputs
from extract.run.of_store import check_same
from extract.saes.conventions import NO_EFFECT
from extract.saes.dictionary_set import load_dictionaries
from extract.steering.intervention import Intervention
from extract.steering.plan import Passage, Plan
from store import open_store
from store.errors import UserError
from store.format.codes import part_file
from store.format.part_reading import read_codes, read_counted
from store.names import CONTROLS
from store.read.store import Store
from store.sidecar.steering import RESTORE
from tests.runs.test_reference import assert_same
from tests.support.reference import Reference, recording
from tests.support.world import make_checkpoint, make_gpt2, make_sae, one_thread, sentences

CENTRED = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
LAYER = 1


@dataclass(frozen=True)
class Run:
    """The store, what it should hold, and where its models are."""

    store: Store
    truth: Reference
    config: Path
    base: Path


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """A centred dictionary of layer 1 with a replica that is not, a plain one of layer 2 with a replica that is centred."""
    folder = tmp_path_factory.mktemp("centred")

    def fine_tune(model: torch.nn.Module) -> None:
        torch.manual_seed(5)
        for parameter in model.parameters():
            parameter += 0.1 * parameter.std() * torch.randn_like(parameter)
        model.transformer.wpe.weight += 0.4 * torch.randn(256, 1)  # a change that no LayerNorm lets through

    with one_thread():
        base = make_gpt2(folder / "base")
        saes = [make_sae(folder / "sae_1", base, 1, metadata=CENTRED), make_sae(folder / "sae_2", base, 2)]
        replicas = [make_sae(folder / "again_1", base, 1, 8), make_sae(folder / "again_2", base, 2, 9, metadata=CENTRED)]
        config = world.config(
            folder,
            base=str(base),
            variants={
                "sft": {"model": str(make_checkpoint(folder / "sft", base, fine_tune))},
                "pushed": {"planted": {"layer": 1, "feature": 9, "strength": 0.3}},
                "without": {"planted": {"layer": 1, "feature": 9, "project_out": True}},
                "ablated": {"planted": {"layer": 1, "feature": 9, "ablate": True}},
                "noisy": {"planted": {"layer": 1, "feature": 9, "isotropic": True, "strength": 0.3}},
            },
            saes=[{"path": str(path)} for path in saes],
            replicas=[{"path": str(path)} for path in replicas],
            controls=list(CONTROLS),
            twins=1,
            tokens=4000,  # all of it
            neutral_domains=["stories"],
            promoted_tokens=0,
            sink_factor=1.15,
            spectrum=0,
            neighbours=0,
            pilot_documents=12,
        )
        with recording() as record:
            assert main(["run", str(config), "--out", str(folder / "store")]) == 0
    truth = Reference(yaml.safe_load(config.read_text()), record)
    with open_store(folder / "store") as store:
        yield Run(store, truth, config, base)


def less_mean(residuals):
    return residuals - residuals.mean(-1, keepdims=True)


def transformer_lens(model: GPT2LMHeadModel, **processing: bool) -> HookedTransformer:
    """The model as TransformerLens makes it of Hugging Face's weights."""
    config = model.config
    cfg = HookedTransformerConfig(
        n_layers=config.n_layer, d_model=config.n_embd, d_head=config.n_embd // config.n_head, n_heads=config.n_head,
        d_mlp=4 * config.n_embd, d_vocab=config.vocab_size, n_ctx=config.n_positions, act_fn="gelu_new",
        normalization_type="LN", eps=config.layer_norm_epsilon,
    )  # fmt: skip
    hooked = HookedTransformer(cfg)
    off = dict.fromkeys(("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"), False)
    hooked.load_and_process_state_dict(convert_gpt2_weights(model, cfg), **{**off, **processing})
    return hooked.eval()


@pytest.fixture(scope="module")
def tiny(world, tmp_path_factory):
    folder = make_gpt2(tmp_path_factory.mktemp("gpt2"))
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(sentences(1, seed=6)[0], add_special_tokens=False)]])
    with torch.inference_mode():
        return folder, model, ids, model(ids, output_hidden_states=True).hidden_states


# ---- what TransformerLens makes of the residual stream ----


@pytest.mark.parametrize("processing", ["fold_ln", "fold_value_biases", "center_unembed", "refactor_factored_attn_matrices"])
def test_what_has_no_effect_has_none(tiny, processing):
    assert processing in NO_EFFECT
    _, model, ids, hidden = tiny
    with torch.inference_mode():
        cache = transformer_lens(model, **{processing: True}).run_with_cache(ids)[1]
    for layer in range(3):
        torch.testing.assert_close(cache[f"blocks.{layer}.hook_resid_post"], hidden[layer + 1], rtol=1e-4, atol=1e-4)


def test_a_centred_dictionary_reads_what_transformer_lens_gives_it(tiny, tmp_path):
    """The codes are those of sae-lens on TransformerLens' model with that setting, and not those of the raw residual."""
    folder, model, ids, hidden = tiny
    path = make_sae(tmp_path / "sae", folder, LAYER, metadata=CENTRED)
    (dictionary,) = load_dictionaries([SaeConfig(path=str(path))], model_config(str(folder)))
    with torch.inference_mode():
        cache = transformer_lens(model, center_writing_weights=True, fold_ln=True).run_with_cache(ids)[1]
        expected = SAE.load_from_disk(path).encode(cache[f"blocks.{LAYER}.hook_resid_post"][0])
    raw = hidden[LAYER + 1][0]
    codes, _ = dictionary.encode(dictionary.prepare(raw))
    found = torch.zeros_like(expected)
    found[codes.row, codes.feature] = codes.value
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(SAE.load_from_disk(path).encode(raw), expected, atol=0.1)
    assert "center_writing_weights" in dictionary.notes[0] and "relative_shift" in dictionary.notes[0]


# ---- the store ----


@pytest.mark.thorough
def test_it_is_said(run):
    facts = run.store.manifest.saes
    assert [facts[layer]["centred"] for layer in ("1", "2")] == [True, False]
    first, second = [note for note in run.store.manifest.notes if "less their mean over d_model" in note]
    assert "relative_shift" in first and first.endswith("'sae_1'.")
    assert "their own codes alone" in second and second.endswith("'again_2'.")


@pytest.mark.thorough
def test_the_residuals_have_a_mean_to_lose(run):
    """Else the comparisons below would prove nothing."""
    _, residuals = run.truth.record.shards[0][0]
    for model in run.truth.models:
        means = residuals[model][LAYER].mean(1)
        assert np.abs(means).mean() > 0.2, model
    for layer in run.truth.layers.values():
        assert (~layer.counted).any()


def stored(run, table, columns):
    return run.store.sql(f"SELECT {', '.join(columns)} FROM {table}")


@pytest.mark.thorough
def test_layer_metrics(run):
    expected = run.truth.table("layer_metrics")
    expected = expected[expected["control"] != "rerun"]
    found = stored(run, "layer_metrics", expected.columns)
    key = ["variant", "layer", "domain", "segment", "metric", "control"]
    found = found[(found["control"] != "rerun") & found["metric"].isin(set(expected["metric"]))]
    # Of a planted change that is the same at every token, some metrics are ratios of rounding errors.
    assert_same(found, expected, key, {"value": 1e-6, "excess": 1e-6}, zero=1e-8)


@pytest.mark.thorough
@pytest.mark.parametrize(("table", "key"), [
    ("document_sums", ["variant", "layer", "document", "segment"]),
    ("replicas", ["variant", "layer", "feature"]),
    ("layers", ["layer"]),
])  # fmt: skip
def test_tables(run, table, key):
    """Replicas too, of which one is centred beside a dictionary that is not, and one the other way round."""
    expected = run.truth.table(table)
    assert_same(stored(run, table, expected.columns), expected, key, 1e-6, zero=1e-9)


@pytest.mark.thorough
def test_feature_shifts(run):
    expected = run.truth.table("feature_stats")
    key = ["variant", "layer", "domain", "feature"]
    columns = [*key, "shift", "n10", "n01", "n11"]
    assert_same(stored(run, "feature_stats", columns), expected[columns], key, 1e-6, zero=1e-8)


@pytest.mark.thorough
def test_codes_are_those_of_the_centred_residual(run):
    """Worked out from the raw residuals that the models gave, in float64, by the formula of a JumpReLU."""
    sae = SAE.load_from_disk(run.config.parent / "sae_1").double()
    part = run.store.path / part_file(0)
    counted = read_counted(part, LAYER)
    for name in ("base", "sft"):
        codes = read_codes(part, LAYER, name)
        dense = np.zeros((len(counted), sae.cfg.d_sae))
        dense[codes.rows, codes.index] = codes.value
        for rows, residuals in run.truth.record.shards[0]:
            h = less_mean(torch.from_numpy(residuals[name][LAYER]).double())
            before = (h - sae.b_dec) @ sae.W_enc + sae.b_enc
            expected = torch.where(before > sae.threshold, before, 0.0).detach().numpy() * counted[rows][:, None]
            np.testing.assert_allclose(dense[rows], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.thorough
def test_sizes_are_of_what_the_dictionary_reads(run):
    """A variant's change along (1, ..., 1), which no LayerNorm lets through, is none; noise is of the size of what is left."""
    layer = run.truth.layers[LAYER]
    whole = [(residuals["sft"][LAYER] - residuals["base"][LAYER]) for _, residuals in run.truth.record.shards[0]]
    raw, read = (np.linalg.norm(np.concatenate(list(pieces)), axis=1).mean() for pieces in (whole, map(less_mean, whole)))
    assert raw > 1.2 * read
    base = layer.h["base"][layer.counted]
    size = np.linalg.norm(layer.h["sft"][layer.counted] - base, axis=1)
    for control in (*CONTROLS[1:], "twin_1"):
        moved = layer.h["sft", control][layer.counted] - base
        assert np.abs(moved.mean(1)).max() < 1e-4 * size.max(), control  # donors' directions are float16
        if control in ("isotropic", "shuffled"):
            np.testing.assert_allclose(np.linalg.norm(moved, axis=1), size, rtol=1e-3)


def test_noise_is_drawn_less_its_mean():
    base = less_mean(torch.randn(6, 8, generator=torch.Generator().manual_seed(1)))
    delta = less_mean(torch.randn(6, 8, generator=torch.Generator().manual_seed(2)))
    zeros = torch.zeros(6, dtype=torch.int64)
    token_index = TokenIndex(**{name: zeros + torch.arange(6) for name in TokenIndex.__dataclass_fields__})
    moved = controlled("isotropic", base, delta, Place(token_index, 1, "x", centred=True)) - base
    torch.testing.assert_close(moved.mean(1), torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(moved.norm(dim=1), delta.norm(dim=1))


@pytest.mark.thorough
def test_planted_changes_are_exact_in_what_is_read(run):
    """The direction of a feature is its row of W_dec less its mean; each kind of change moves along it by what it says."""
    sae, layer = SAE.load_from_disk(run.config.parent / "sae_1"), run.truth.layers[LAYER]
    row = less_mean(sae.W_dec[9].detach().double().numpy())
    unit, counted = row / np.linalg.norm(row), layer.counted
    base = layer.h["base"][counted]

    def moved(variant):
        return layer.h[variant][counted] - base

    near = {"atol": 2e-4, "rtol": 0}
    np.testing.assert_allclose(moved("pushed"), np.tile(0.3 * layer.median_norm * unit, (len(base), 1)), **near)
    np.testing.assert_allclose(moved("without"), -((base - layer.mean) @ unit)[:, None] * unit, **near)
    codes = layer.raw["base"][counted][:, 9].astype(np.float64)
    assert (codes > 0).any()
    np.testing.assert_allclose(moved("ablated"), -codes[:, None] * row, **near)
    np.testing.assert_allclose(np.linalg.norm(moved("noisy"), axis=1), 0.3 * layer.median_norm, rtol=1e-4)


@pytest.mark.thorough
def test_steering_reads_the_same(run):
    """The amounts of a causal check are those of the codes of centred residuals, and sinks are told by centred norms."""
    config = load_config(run.config)
    inputs = load_inputs(config.model_copy(update={"variants": {"sft": config.variants["sft"]}}), lambda _text: None)
    assert {key for key in inputs.digests if "residual" in key} == {"residual read by 'sae_1'", "residual read by 'again_2'"}
    dictionary, layer = inputs.dictionaries[0], run.truth.layers[LAYER]
    window = np.flatnonzero(run.truth.document == 0)[:20]
    intervention = Intervention(inputs.models, dictionary, inputs.bos, config.sink_factor * layer.median_norm)
    shift = np.abs(layer.scaled["sft"][window] - layer.scaled["base"][window]).sum(0)
    plan = Plan(LAYER, int(shift.argmax()), "sft", RESTORE, (), (), 0)
    passage = Passage(0, run.truth.token_id[window], 0)
    ids = torch.tensor([[inputs.bos, *passage.token_ids.tolist()]])
    by = intervention._amounts(ids, plan)[1:].numpy()
    scaled = {name: layer.scaled[name][window, plan.feature] for name in ("base", "sft")}
    expected = np.where(layer.counted[window], np.maximum(scaled["base"] - scaled["sft"], 0), 0)
    np.testing.assert_allclose(by, expected, rtol=1e-3, atol=1e-3)
    assert expected.any() or np.maximum(scaled["sft"] - scaled["base"], 0).any()
    same, tokenizer = run.store.manifest, tokenizer_digest(inputs.tokenizer)
    check_same(same, inputs.models, {LAYER: dictionary}, tokenizer)
    before = replace(same, saes={at: {k: v for k, v in sae.items() if k != "centred"} for at, sae in same.saes.items()})
    with pytest.raises(UserError, match="extract it again"):
        check_same(before, inputs.models, {LAYER: dictionary}, tokenizer)
    check_same(before, inputs.models, {2: inputs.dictionaries[1]}, tokenizer)
