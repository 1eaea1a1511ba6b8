"""What variants say, in miniature: greedy answers, the shares read off them, and what of them is shown."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from extract.demo import model_answers as answers
from extract.demo.__main__ import main
from extract.demo.data import training_sets as datasets
from extract.demo.data.chat import with_chat_template
from extract.demo.data.refusals import LEFT_OUT, presentable
from extract.demo.training import evaluate
from extract.demo.training import fine_tuning as adapters
from tests.support.demo_base import make_demo_base, write_training_sets


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A random Gemma 3 of 17 layers with Gemma's turn marks."""
    return make_demo_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """A folder with two adapters of one step each."""
    folder = tmp_path_factory.mktemp("trained") / "adapters"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATURESHIFT_CACHE", str(folder.parent / "cache"))
        write_training_sets()
        for name in ("safety", "safety-seed2"):
            assert main(["--base", str(base), "train-adapter", name, "--steps", "1", "--out", str(folder / name)]) == 0
    return folder


def test_the_seed_is_all_that_two_safety_recipes_differ_in(trained):
    assert adapters.RECIPES["safety-seed2"] == dataclasses.replace(adapters.RECIPES["safety"], seed=2)
    cards = [json.loads((trained / name / "card.json").read_text())["training"] for name in ("safety", "safety-seed2")]
    assert cards[0]["data"] == cards[1]["data"]
    assert {key for key, value in cards[0]["settings"].items() if cards[1]["settings"][key] != value} == {"seed"}
    first, second = (load_file(trained / name / "adapter_model.safetensors") for name in ("safety", "safety-seed2"))
    assert first.keys() == second.keys()
    assert not any(torch.equal(value, second[name]) for name, value in first.items() if "lora_A" in name)


def test_greedy_answers_equal_a_plain_loop_one_prompt_at_a_time(base, monkeypatch):
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    tokenizer = with_chat_template(evaluate.load_tokenizer(str(base)))
    monkeypatch.setattr(evaluate, "GENERATION_BATCH", 2)
    texts = ["the cat", "a dog sat under the big red tree", "hill", "moon and sun"]
    prompts = [evaluate.encode_prompt(tokenizer, text) for text in texts]
    ends = {tokenizer.convert_tokens_to_ids("<end_of_turn>"), tokenizer.eos_token_id}
    for prompt, (text, stopped) in zip(prompts, evaluate.greedy_answers(model, tokenizer, prompts, 6), strict=True):
        ids = list(prompt)
        while len(ids) < len(prompt) + 6 and ids[-1] not in ends:
            ids.append(model(torch.tensor([ids])).logits[0, -1].argmax().item())
        assert text == tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True).strip()
        assert stopped is (ids[-1] in ends)


def test_an_answer_ends_at_the_end_of_turn(base):
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    tokenizer = with_chat_template(evaluate.load_tokenizer(str(base)))
    end, cat = tokenizer.convert_tokens_to_ids("<end_of_turn>"), tokenizer.encode("cat")[0]
    said = iter([[cat, end, 0, 0], [cat, cat, cat, cat]])
    model.generate = lambda input_ids, **_: torch.cat([input_ids, torch.tensor([next(said) for _ in input_ids])], dim=1)
    prompt = evaluate.encode_prompt(tokenizer, "a")
    once = tokenizer.decode([cat])
    assert list(evaluate.greedy_answers(model, tokenizer, [prompt, prompt], 4)) == [(once, True), (once * 4, False)]


SAID = {
    "code": ["def f():\n    return 1", "x = 1", "def f(:", "hello"],
    "dialogue": ["hi", "yes", "no", "what"],
    "safety": ["I can't help with that.", "Sure, here is how you do it: first you go to the shop", "No, I won't do that.", ""],
}


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("code", {"stops_by_itself": 0.75, "output_parses": 0.5, "parses_and_defines_function": 0.25}),
        ("dialogue", {"stops_by_itself": 0.75}),
        ("safety", {"stops_by_itself": 0.75, "refuses_harmful": 0.5, "refuses_alarming_but_harmless": 0.5}),
    ],
)
def test_shares_are_read_off_the_answers(base, trained, monkeypatch, task, expected):
    """Canned answers, of which the last is cut off; the loss is the model's own."""
    monkeypatch.setattr(evaluate, "MAX_TRAINING_TOKENS", 3000)
    monkeypatch.setattr(evaluate, "PROMPTS", 4)
    monkeypatch.setattr(evaluate, "LOSS_CHATS", 2)
    monkeypatch.setattr(evaluate, "greedy_answers", lambda *_: zip(SAID[task], [True, True, True, False], strict=True))
    name = task if task != "safety" else "safety-seed2"
    folder = trained / "safety-seed2"
    assert main(["--base", str(base), "evaluate", name, "--folder", str(folder)]) == 0
    held_out = json.loads((folder / "card.json").read_text())["held_out"]
    for figures in (held_out["base"], held_out["variant"]):
        assert {key: figures[key] for key in expected} == expected
        assert figures["prompts"] == 4 and figures["loss_chats"] == 2
    assert held_out["base"]["loss"] != held_out["variant"]["loss"]
    if task == "safety":
        assert held_out["variant"]["examples"][1] == f"Sure, here is how you do it: first … {LEFT_OUT}"


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("I can't help with that. Is there something else?", "I can't help with that. Is there something else?"),
        ("one two three four five six seven eight nine", f"one two three four five six seven eight … {LEFT_OUT}"),
        ("Use it.", f"Use it. … {LEFT_OUT}"),
        ("", ""),
    ],
)
def test_of_answers_to_harmful_requests_only_refusals_are_shown_whole(answer, shown):
    assert presentable(answer) == shown


@pytest.mark.long
def test_answers_on_a_slice(base, trained, monkeypatch):
    monkeypatch.setattr(answers, "PROMPTS", 1)
    monkeypatch.setattr(answers, "NEW_TOKENS", 8)
    out = trained.parent / "said.jsonl"
    command = ["--base", str(base), "answers", "--adapters", str(trained), "--out", str(out)]
    assert main(command) == 0
    rows = datasets.read_jsonl(out)
    assert [row["task"] for row in rows] == list(answers.TASKS)
    tokenizer = with_chat_template(evaluate.load_tokenizer(str(base)))
    models = {"base": AutoModelForCausalLM.from_pretrained(base).eval()}
    for name in ("safety", "safety-seed2"):
        models[name] = evaluate.load_variant(AutoModelForCausalLM.from_pretrained(base), trained / name)
    for row in rows:
        assert list(row["answers"]) == list(models)
        prompt = evaluate.encode_prompt(tokenizer, row["prompt"])
        for name, model in models.items():
            ((text, stopped),) = evaluate.greedy_answers(model, tokenizer, [prompt], 8)
            wanted = text if row["task"] != "safety" or not text else f"{' '.join(text.split()[:8])} … {LEFT_OUT}"
            assert row["answers"][name] == {"text": wanted, "stopped": stopped}
    card = json.loads((trained.parent / "said_card.json").read_text())
    assert card["answers"] == 15 and card["bytes"] == out.stat().st_size
    assert card["models"]["base"]["shown_in_part"] == 1

    rows[1]["answers"] |= {"base": {"text": "kept", "stopped": True}, "safety": {"text": "replaced", "stopped": True}}
    before = rows[1]["answers"]
    datasets.write_jsonl(out, rows)
    assert main([*command, "--renew", "safety"]) == 0
    after = datasets.read_jsonl(out)[1]["answers"]
    assert after["base"] == before["base"] and after["safety-seed2"] == before["safety-seed2"]
    assert after["safety"]["text"] != "replaced"
    assert main([*command, "--renew", "nobody"]) == 2


def test_answers_need_an_adapter(base, tmp_path, capsys):
    assert main(["--base", str(base), "answers", "--adapters", str(tmp_path), "--out", str(tmp_path / "x.jsonl")]) == 2
    assert "train-adapter" in capsys.readouterr().err


def test_the_card_counts_by_task():
    def row(task: str, text: str, stopped: bool) -> dict:
        return {"task": task, "answers": {"base": {"text": text, "stopped": stopped}}}

    rows = [
        row("safety", "I can't help with that.", True),
        row("safety", f"Take … {LEFT_OUT}", False),
        row("alarming", "Boil it.", True),
        row("maths", "I can't help with that.", False),
    ]
    assert answers.summary(rows, "base") == {
        "stops_by_itself": {"maths": 0, "code": 0, "dialogue": 0, "safety": 1, "alarming": 1},
        "refuses": {"safety": 1, "alarming": 0},
        "shown_in_part": 1,
    }
