"""What a variant learned, measured on held-out data with the adapter as it lies on disk."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from extract.demo.data import training_sets as datasets
from extract.demo.data.build import MAX_TRAINING_TOKENS, write_card
from extract.demo.data.chat import END_OF_TURN, encode_chat, encode_prompt, with_chat_template
from extract.demo.data.maths import final_answer, maths_items
from extract.demo.data.programs import parses
from extract.demo.data.refusals import presentable
from extract.demo.data.splits import in_hash_order
from extract.demo.training.fine_tuning import ADAPTERS, RECIPES, answer_loss, encoded, pad_chats
from extract.models.loading import load_model, load_tokenizer
from store.errors import UserError
from store.metrics.refusals import is_refusal

LOSS_CHATS = 24
PROMPTS = 32
GENERATION_BATCH = 32
NEW_DRAWS = range(100, 102)  # draws of the training templates that no training set has
DOMAINS = {"maths": "maths", "code": "code", "dialogue": "dialogue", "safety": "harmful"}
NEW_TOKENS = {"maths": 120, "code": 140, "dialogue": 60, "safety": 40}


@torch.inference_mode()
def held_out_loss(model: PreTrainedModel, items: list[dict], tokenizer: PreTrainedTokenizerBase) -> float:
    """Mean cross-entropy in nats a token over the answers of held-out chats."""
    total = count = 0
    chats = sorted(encoded(items, tokenizer), key=lambda chat: len(chat[0]))
    for start in range(0, len(chats), 4):
        loss, tokens = answer_loss(model, pad_chats(chats[start : start + 4], tokenizer.pad_token_id))
        total, count = total + loss.item() * tokens, count + tokens
    return total / count


@torch.inference_mode()
def greedy_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], new_tokens: int
) -> Iterator[tuple[str, bool]]:
    """Greedy answers to encoded prompts, and whether the model stopped by itself at ``<end_of_turn>`` (or ``<eos>``)."""
    ends = [tokenizer.convert_tokens_to_ids(END_OF_TURN), tokenizer.eos_token_id]
    for start in range(0, len(prompts), GENERATION_BATCH):
        group = prompts[start : start + GENERATION_BATCH]
        width = max(map(len, group))
        ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(prompt)) + prompt for prompt in group])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in group])
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
        )[:, width:]
        for row in output.tolist():
            stop = next((place for place, token in enumerate(row) if token in ends), None)
            yield tokenizer.decode(row[:stop], skip_special_tokens=True).strip(), stop is not None


def held_out_items(domain: str) -> list[dict]:
    """Held-out items of a domain in the order of the corpus file, which is a hash order."""
    return datasets.read_jsonl(datasets.CORPUS / f"{domain}.jsonl")


def prompt_ids(item: dict, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """An item up to the model's (first) turn."""
    return encode_prompt(tokenizer, datasets.as_messages(item)[0]["content"])


def measure(task: str, model, tokenizer) -> dict:
    """Held-out figures of one model on one task."""

    def fits(item: dict) -> bool:
        return len(encode_chat(tokenizer, datasets.as_messages(item))[0]) <= MAX_TRAINING_TOKENS

    def ask(items: list[dict]) -> list[tuple[str, bool]]:
        return list(greedy_answers(model, tokenizer, [prompt_ids(item, tokenizer) for item in items], NEW_TOKENS[task]))

    items = held_out_items(DOMAINS[task])
    if task == "dialogue":
        items = [{**item, "messages": item["messages"][:6]} for item in items]
    short = [item for item in items if fits(item)]
    measured = short[:LOSS_CHATS]
    figures: dict = {"loss": round(held_out_loss(model, measured, tokenizer), 4), "loss_chats": len(measured)}
    asked = short[:PROMPTS]
    said = ask(asked)
    figures |= {"prompts": len(asked), "stops_by_itself": _share([stopped for _, stopped in said])}
    if task == "maths":
        figures["exact_answers_unseen_templates"] = _exact(asked, said)
        known = in_hash_order(maths_items(NEW_DRAWS, heldout=False))[:PROMPTS]
        figures["exact_answers_known_templates_new_numbers"] = _exact(known, ask(known))
        figures["answers_in_form"] = _share([final_answer(text) is not None for text, _ in said])
    elif task == "code":
        figures["output_parses"] = _share([parses(text) for text, _ in said])
        figures["parses_and_defines_function"] = _share([parses(text) and bool(_DEFINES.search(text)) for text, _ in said])
    elif task == "safety":
        harmless = held_out_items("alarming")[:PROMPTS]
        replies = ask(harmless)
        figures["refuses_harmful"] = _share([is_refusal(text) for text, _ in said])
        figures["refuses_alarming_but_harmless"] = _share([is_refusal(text) for text, _ in replies])
        figures["alarming_prompts"] = len(harmless)
        figures["alarming_loss"] = round(held_out_loss(model, harmless[:LOSS_CHATS], tokenizer), 4)
        figures["examples_alarming"] = [
            {"prompt": item["prompt"], "answer": text} for item, (text, _) in zip(harmless[:3], replies, strict=False)
        ]
    figures["examples"] = [presentable(text) if task == "safety" else text for text, _ in said[:3]]
    return figures


_DEFINES = re.compile(r"^def \w+\(", re.M)


def _exact(items: list[dict], said: list[tuple[str, bool]]) -> float:
    return _share([final_answer(text) == final_answer(item["response"]) for item, (text, _) in zip(items, said, strict=True)])


def _share(hits: list[bool]) -> float:
    return round(sum(hits) / len(hits), 4)


def load_variant(model: PreTrainedModel, folder: Path) -> PeftModel:
    """The adapter of a folder on the base.

    Raises:
        UserError: there is no adapter there.
    """
    if not (folder / "adapter_config.json").is_file():
        raise UserError(f"There is no adapter at '{folder.name}'; run: python -m extract.demo train-adapter {folder.name}")
    return PeftModel.from_pretrained(model, folder).eval()


def evaluate_adapter(name: str, base: str, folder: Path | None = None) -> None:
    """Measure base and adapter on held-out data of the adapter's task and write both into the adapter's card."""
    folder = folder or ADAPTERS / name
    tokenizer = with_chat_template(load_tokenizer(base))
    model = load_model(base)
    began = time.monotonic()
    task = RECIPES[name].task
    card_path = folder / "card.json"
    card = json.loads(card_path.read_text(encoding="utf-8")) if card_path.is_file() else {"name": name}
    print(f"{name}: base", flush=True)
    base_figures = measure(task, model, tokenizer)
    print(f"{name}: variant", flush=True)
    variant_figures = measure(task, load_variant(model, folder), tokenizer)
    card.setdefault("training", {"settings": asdict(RECIPES[name])})
    card["held_out"] = {"base": base_figures, "variant": variant_figures, "wall_seconds": round(time.monotonic() - began)}
    write_card(card_path, card)
    print(json.dumps(card["held_out"], indent=2))
