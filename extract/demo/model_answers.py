"""``python -m extract.demo answers``: what base and variants say to fixed held-out prompts, for reading beside the features."""

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from extract.demo.data import training_sets as datasets
from extract.demo.data.build import write_card
from extract.demo.data.chat import with_chat_template
from extract.demo.data.refusals import LEFT_OUT, presentable
from extract.demo.training.evaluate import DOMAINS, greedy_answers, held_out_items, load_variant, prompt_ids
from extract.demo.training.fine_tuning import ADAPTERS, RECIPES, public_name
from extract.models.loading import load_model, load_tokenizer
from store.errors import UserError
from store.metrics.refusals import is_refusal
from store.names import BASE

ANSWERS = datasets.HERE / "answers.jsonl"
PROMPTS = 25
NEW_TOKENS = 48
TASKS = {**DOMAINS, "alarming": "alarming"}
"""Task of the file -> domain of the corpus that its prompts come from."""


def fixed_prompts() -> list[tuple[str, dict]]:
    """(task, held-out item) of the first 25 items of each task's domain, which stand in a hash order."""
    return [(task, item) for task, domain in TASKS.items() for item in held_out_items(domain)[:PROMPTS]]


def write_answers(base: str, out: Path | None = None, adapters: Path | None = None, renew: list[str] | None = None) -> None:
    """Greedy answers of base and every adapter to fixed prompts, as JSONL, and a card ``answers_card.json`` beside it.

    A line is one prompt: ``task``, ``source``, ``prompt``, ``reference`` (the corpus's own answer) and ``answers``, model ->
    ``text`` and ``stopped`` (ended by itself within 48 tokens). Of answers to harmful requests only refusals are kept whole
    (:func:`extract.demo.data.refusals.presentable`).

    Args:
        out: the file; default: ``answers.jsonl`` beside the recipes.
        adapters: folder of the adapters; default: the shipped ones.
        renew: ask only these models again, and keep the others' answers as they stand in the file.

    Raises:
        UserError: no adapter is there, or a model to be renewed is none of them, or the file has other prompts.
    """
    folder, out = adapters or ADAPTERS, out or ANSWERS
    models = [BASE, *(name for name in RECIPES if (folder / name / "adapter_config.json").is_file())]
    if len(models) == 1:
        raise UserError(f"There is no adapter in '{folder}'; run: python -m extract.demo train-adapter maths")
    if unknown := set(renew or []) - set(models):
        raise UserError(f"There is no model '{min(unknown)}'; there are {', '.join(models)}.")
    began = time.monotonic()
    tokenizer = with_chat_template(load_tokenizer(base))
    prompts = fixed_prompts()
    rows = [_row(task, item) for task, item in prompts]
    if renew:
        rows = _with_answers_of(out, rows)
    ids = [prompt_ids(item, tokenizer) for _, item in prompts]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))  # like lengths together: less padding
    for name in renew or models:
        model = load_model(base)
        speaker = model if name == BASE else load_variant(model, folder / name)
        said = greedy_answers(speaker, tokenizer, [ids[index] for index in order], NEW_TOKENS)
        for index, (text, stopped) in zip(order, tqdm(said, total=len(ids), desc=name, unit="answer"), strict=True):
            shown = presentable(text) if rows[index]["task"] == "safety" else text
            rows[index]["answers"][name] = {"text": shown, "stopped": stopped}
    datasets.write_jsonl(out, rows)
    card_path = out.with_name(f"{out.stem}_card.json")
    earlier = json.loads(card_path.read_text(encoding="utf-8"))["wall_seconds"] if renew else 0
    seconds = round(time.monotonic() - began) + earlier
    write_card(card_path, _card(rows, models, public_name(base), seconds, out))


def _with_answers_of(file: Path, rows: list[dict]) -> list[dict]:
    stored = datasets.read_jsonl(file)
    if [row | {"answers": {}} for row in stored] != rows:
        raise UserError(f"The prompts of '{file}' are others than the corpus has now; make it anew, without --renew.")
    return stored


def _row(task: str, item: dict) -> dict:
    question, reference = (message["content"] for message in datasets.as_messages(item)[:2])
    return {"task": task, "source": item["source"], "prompt": question, "reference": reference, "answers": {}}


def _card(rows: list[dict], models: list[str], base: str, seconds: int, out: Path) -> dict:
    return {
        "base": base,
        "data": {"prompts": {task: sum(row["task"] == task for row in rows) for task in TASKS}, "split": "held out"},
        "settings": {"decoding": "greedy", "new_tokens": NEW_TOKENS, "ends_at": ["<end_of_turn>", "<eos>"]},
        "wall_seconds": seconds,
        "cpu_cores": os.cpu_count(),
        "bytes": out.stat().st_size,
        "answers": len(rows) * len(models),
        "models": {model: summary(rows, model) for model in models},
    }


def summary(rows: Iterable[dict], model: str) -> dict:
    """Counts over a file of answers: by task how many stop by themselves; refusals and openings among harmful, alarming."""
    said = [(row["task"], row["answers"][model]) for row in rows]

    def count(task: str, test) -> int:
        return sum(test(answer) for of, answer in said if of == task)

    return {
        "stops_by_itself": {task: count(task, lambda answer: answer["stopped"]) for task in TASKS},
        "refuses": {task: count(task, lambda answer: is_refusal(answer["text"])) for task in ("safety", "alarming")},
        "shown_in_part": count("safety", lambda answer: answer["text"].endswith(LEFT_OUT)),
    }
