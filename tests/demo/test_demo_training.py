"""Fine-tuning and dictionary training in miniature: a random Gemma 3, two steps, a tiny dictionary."""

import json
from random import Random

import numpy as np
import pytest
import torch
import yaml
from sae_lens import SAE
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from extract.config import load_config, series
from extract.demo.__main__ import main
from extract.demo.data import training_sets as datasets
from extract.demo.data.chat import encode_chat, encode_prompt, with_chat_template
from extract.demo.training import evaluate, harvest
from extract.demo.training import fine_tuning as adapters
from extract.demo.training import sae_training as saes
from extract.models.sites import Site
from tests.support.demo_base import make_demo_base, write_training_sets
from tests.support.world import sentences

MESSAGES = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat on the mat"}]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A random Gemma 3 of 17 layers with Gemma's turn marks."""
    return make_demo_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def training(tmp_path, monkeypatch):
    """A cache with small training sets."""
    monkeypatch.setenv("FEATURESHIFT_CACHE", str(tmp_path / "cache"))
    write_training_sets()
    return tmp_path


def test_chat_tokens_equal_the_template_and_answers_are_marked(base):
    tokenizer = with_chat_template(evaluate.load_tokenizer(str(base)))
    ids, answer = encode_chat(tokenizer, MESSAGES)
    assert tokenizer.decode(ids) == tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    assert tokenizer.decode([token for token, wanted in zip(ids, answer, strict=True) if wanted]) == (
        "sat on the mat<end_of_turn>"
    )
    prompt = encode_prompt(tokenizer, "the cat")
    assert ids[: len(prompt)] == prompt


def test_a_recipe_may_take_the_beginning_of_a_chat(base):
    tokenizer = with_chat_template(evaluate.load_tokenizer(str(base)))
    longer = [{"messages": [*MESSAGES, {"role": "user", "content": "a dog"}, {"role": "assistant", "content": "ran"}]}]
    assert adapters.encoded(longer, tokenizer, 2) == [encode_chat(tokenizer, MESSAGES)]
    assert len(adapters.encoded(longer, tokenizer)[0][0]) > len(adapters.encoded(longer, tokenizer, 2)[0][0])


def test_batches_cover_every_chat_before_any_comes_again():
    chats = [([0] * (n + 1), [True] * (n + 1)) for n in range(16)]
    made = list(adapters.batches(chats, 4, 6, Random(0)))
    assert len(made) == 6
    assert sorted(len(ids) for group in made[:4] for ids, _ in group) == list(range(1, 17))


def test_answer_loss_equals_the_full_logits(base):
    model = AutoModelForCausalLM.from_pretrained(base)
    chats = adapters.pad_chats([([2, 9, 10, 11], [False, False, True, True]), ([2, 12], [False, True])], 0)
    loss, count = adapters.answer_loss(model, chats)
    logits = model(chats.ids, attention_mask=chats.mask).logits.log_softmax(-1)
    by_hand = -(logits[0, 1, 10] + logits[0, 2, 11] + logits[1, 0, 12]) / 3
    assert count == 3
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert adapters.answer_loss(model, chats, most=2, always=10)[1] == 2


def test_an_adapter_is_trained_saved_and_measured(base, training, monkeypatch, capsys):
    out = training / "adapter"
    command = ["--base", str(base), "train-adapter", "maths", "--steps", "2", "--out"]
    assert main([*command, str(out)]) == 0
    assert main([*command, str(training / "again")]) == 0
    weights = load_file(out / "adapter_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    assert any(value.abs().sum() > 0 for name, value in weights.items() if "lora_B" in name)
    again = load_file(training / "again" / "adapter_model.safetensors")
    assert all(torch.equal(value, again[name]) for name, value in weights.items())  # seeded
    assert str(training) not in "".join(path.read_text() for path in out.glob("*.json"))
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == adapters.DEMO_BASE
    monkeypatch.setattr(evaluate, "NEW_TOKENS", {"maths": 4})
    monkeypatch.setattr(evaluate, "MAX_TRAINING_TOKENS", 700)
    monkeypatch.setattr(evaluate, "PROMPTS", 3)
    monkeypatch.setattr(evaluate, "LOSS_CHATS", 3)
    assert main(["--base", str(base), "evaluate", "maths", "--folder", str(out)]) == 0
    card = json.loads((out / "card.json").read_text())
    assert card["training"]["settings"]["steps"] == 2
    assert card["held_out"]["variant"]["loss"] != card["held_out"]["base"]["loss"]
    assert card["held_out"]["variant"]["prompts"] == 3


def test_checkpoints_are_kept_on_the_way_and_change_nothing(base, training, monkeypatch):
    """And a glob makes a series of them, with the finished adapter as its last step."""
    command = ["--base", str(base), "train-adapter", "maths", "--steps", "3", "--out"]
    for name, kept in (("plain", ()), ("kept", (0, 2, 60))):
        monkeypatch.setattr(adapters, "CHECKPOINTS", {"maths": kept})
        assert main([*command, str(training / name)]) == 0
    steps = {path.name: load_file(path / "adapter_model.safetensors") for path in (training / "kept").glob("checkpoint-*")}
    assert sorted(steps) == ["checkpoint-0", "checkpoint-2"]
    written = {name: sum(value.abs().sum() for key, value in of.items() if "lora_B" in key) for name, of in steps.items()}
    assert written["checkpoint-0"] == 0 < written["checkpoint-2"]
    plain, last = (load_file(training / name / "adapter_model.safetensors") for name in ("plain", "kept"))
    assert all(torch.equal(value, plain[key]) for key, value in last.items())
    assert any(not torch.equal(value, last[key]) for key, value in steps["checkpoint-2"].items())
    assert json.loads((training / "kept" / "card.json").read_text())["training"]["checkpoints"] == [0, 2]
    assert "checkpoints" not in json.loads((training / "plain" / "card.json").read_text())["training"]
    rest = {"base": str(base), "saes": [{"release": "r", "id": "i"}], "corpus": [{"path": "c.jsonl"}]}
    variants = {"maths-*": {"adapter": "kept/checkpoint-*"}, "maths": {"adapter": "./kept", "series": "maths", "step": 3}}
    (training / "run.yaml").write_text(yaml.safe_dump(rest | {"variants": variants}))
    assert series(load_config(training / "run.yaml").variants) == {"maths": ["maths-0", "maths-2", "maths"]}


@pytest.mark.thorough
def test_bad_requests_are_one_sentence(base, training, capsys):
    command = ["--base", str(base), "train-adapter", "maths", "--out", str(training / "x"), "--steps"]
    assert main([*command, "0"]) == 2
    assert main(["--base", str(base), "evaluate", "maths", "--folder", str(training / "none")]) == 2
    assert main(["--base", str(base), "train-saes", "--tokens", "10", "--out", str(training / "x")]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in errors if line.startswith("error: ")]) == 3


@pytest.mark.thorough
def test_folded_dictionary_reads_raw_residuals(tmp_path):
    rows = np.random.default_rng(0).normal(40, 2, (4096, 16)) @ np.diag(np.linspace(1, 3, 16))
    stored = (rows * harvest.STORED_SCALE).astype(np.float16)
    size = saes.Settings(d_sae=64, k=6, tokens=4096, epochs=30, batch=512, learning_rate=3e-3)
    trained = saes.train_sae(stored, 12, size, "google/gemma-3-270m")
    saes.save_sae(trained, tmp_path)
    weights = load_file(tmp_path / "sae_weights.safetensors")
    assert weights["W_dec"].dtype == weights["W_enc"].dtype == torch.float16
    assert weights["b_dec"].dtype == torch.float32
    sae = SAE.load_from_disk(str(tmp_path), dtype="float32")
    hooks = sae.cfg.metadata.hook_name, sae.cfg.metadata.hf_hook_name
    assert [Site.of_hook(hook).layer for hook in hooks] == [12, 12]
    assert sae.cfg.architecture() == "jumprelu"
    raw = torch.from_numpy(rows[:512]).float()
    codes = sae.encode(raw)
    residue = (raw - sae.decode(codes)).pow(2).sum() / (raw - raw.mean(0)).pow(2).sum()
    assert residue < 0.6
    assert (codes > 0).float().sum(-1).mean().item() == pytest.approx(6, abs=1)
    assert torch.allclose(sae.W_dec.norm(dim=-1), torch.ones(64), atol=1e-2)


def test_dictionaries_are_trained_measured_and_kept(base, training, monkeypatch):
    monkeypatch.setattr(saes, "SETTINGS", saes.Settings(d_sae=32, k=4, tokens=4096, epochs=2, batch=256))
    monkeypatch.setattr(saes, "LAYERS", (5, 15))
    monkeypatch.setattr("extract.demo.training.sae_quality.TOKENS_PER_DOMAIN", 200)
    out = training / "saes"
    command = ["--base", str(base), "train-saes", "--out", str(out)]
    assert main(command) == 0
    card = json.loads((out / "card.json").read_text())
    assert set(card["held_out"]) == {"layer_05", "layer_15"}
    assert set(card["held_out"]["layer_05"]["domains"]) == {path.stem for path in datasets.CORPUS.glob("*.jsonl")}
    before = (out / "layer_05" / "sae_weights.safetensors").stat().st_mtime_ns
    assert main(command) == 0  # a finished layer is kept
    assert (out / "layer_05" / "sae_weights.safetensors").stat().st_mtime_ns == before


def test_a_harvest_resumes_and_extends(base, tmp_path):
    model = evaluate.load_model(str(base))
    tokenizer = evaluate.load_tokenizer(str(base))
    items = [{"text": " ".join(sentences(4, n))} for n in range(40)]
    groups = [list(harvest.contexts(items[n : n + 8], tokenizer, 32)) for n in range(0, 40, 8)]
    whole = harvest.harvest(model, groups, (2, 5), 0, tmp_path / "whole")
    harvest.harvest(model, groups[:2], (2, 5), 0, tmp_path / "parts")
    parts = harvest.harvest(model, groups, (2, 5), 0, tmp_path / "parts")
    assert whole.rows == parts.rows
    assert np.array_equal(whole.residuals(5), parts.residuals(5))
    assert harvest.Harvest.load(tmp_path / "whole", 2).rows < whole.rows
    assert all(context[0] == tokenizer.bos_token_id and len(context) <= 32 for group in groups for context in group)
