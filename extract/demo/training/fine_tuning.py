"""Fine-tuning one variant: LoRA on every linear layer of the base, loss on answer tokens only.

The vocabulary has 262,144 words, so logits cost more than the transformer: they are computed for at most
``loss_tokens`` answer tokens a step, drawn anew each step, and always for the marks that end an answer.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import get_args

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from extract.demo import Adapter, task_of
from extract.demo.data import training_sets as datasets
from extract.demo.data.build import write_card
from extract.demo.data.chat import END_OF_TURN, encode_chat, with_chat_template
from extract.models.loading import load_model, load_tokenizer, resolve_device
from store.errors import UserError

ADAPTERS = datasets.HERE / "adapters"
DEMO_BASE = "google/gemma-3-270m"
LINEAR_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Recipe:
    """Settings of one fine-tuning run."""

    task: str
    """Name of the training set."""
    steps: int
    """Optimizer steps."""
    seed: int = 1
    """Seed of the LoRA weights, of the order of examples and of the loss tokens."""
    rank: int = 6
    alpha: int = 12
    learning_rate: float = 3e-4
    warmup: int = 5
    batch: int = 8
    """Chats a step, of similar length."""
    loss_tokens: int = 512
    """Answer tokens a step whose loss is computed, at most."""
    messages: int | None = None
    """Messages of a chat, at most; None takes all."""


_FIRST = {
    "maths": Recipe("maths", steps=120),
    "code": Recipe("code", steps=60, loss_tokens=320),
    "dialogue": Recipe("dialogue", steps=120, learning_rate=5e-4, loss_tokens=320, messages=4),
    "safety": Recipe("safety", steps=100, learning_rate=5e-4, loss_tokens=320),
}
RECIPES = {name: replace(_FIRST[task_of(name)], seed=int(name.partition("-seed")[2] or 1)) for name in get_args(Adapter)}
"""Adapter -> its recipe; those of one task differ in the seed alone."""

CHECKPOINTS = {"maths": (0, 15, 30, 60)}
"""Task -> optimizer steps after which the adapter is kept too, beside the finished one; 0: before the first. They change
nothing of the training. With the last they are a series: ``maths-*: {adapter: maths/checkpoint-*}``."""


@dataclass(frozen=True)
class Chats:
    """A padded batch: ``ids`` and ``mask`` are [batch, position]; ``targets`` marks the answer tokens to be predicted."""

    ids: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor


def pad_chats(chats: list[tuple[list[int], list[bool]]], pad_id: int) -> Chats:
    """Pad encoded chats on the right."""
    width = max(len(ids) for ids, _ in chats)
    ids = torch.full((len(chats), width), pad_id)
    mask = torch.zeros(len(chats), width, dtype=torch.long)
    targets = torch.zeros(len(chats), width, dtype=torch.bool)
    for row, (tokens, answer) in enumerate(chats):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
        targets[row, : len(tokens)] = torch.tensor(answer)
    return Chats(ids, mask, targets)


def batches(
    chats: list[tuple[list[int], list[bool]]], size: int, steps: int, random: Random
) -> Iterator[list[tuple[list[int], list[bool]]]]:
    """``steps`` batches of similar length, shuffled, over as many passes as that takes."""
    made = 0
    while made < steps:
        order = sorted(random.sample(range(len(chats)), len(chats)), key=lambda index: len(chats[index][0]))
        groups = [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
        random.shuffle(groups)
        for group in groups[: steps - made]:
            yield [chats[index] for index in group]
            made += 1


def answer_loss(
    model: PreTrainedModel | PeftModel, chats: Chats, most: int | None = None, always: int | None = None
) -> tuple[torch.Tensor, int]:
    """Mean cross-entropy in nats over answer tokens, and their number.

    Args:
        most: draw at most this many answer tokens at random; None takes all.
        always: a token id whose places are never dropped by the draw.
    """
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    device = causal.device
    ids, mask = chats.ids.to(device), chats.mask.to(device)
    hidden = causal.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    rows, columns = chats.targets[:, 1:].nonzero(as_tuple=True)
    wanted = chats.ids[rows, columns + 1]
    if most is not None and len(wanted) > most:
        priority = torch.rand(len(wanted)) + (wanted == always)
        kept = priority.topk(most).indices
        rows, columns, wanted = rows[kept], columns[kept], wanted[kept]
    logits = causal.lm_head(hidden[rows, columns])
    return cross_entropy(logits.float(), wanted.to(device)), len(wanted)


def fine_tune(
    model: PreTrainedModel,
    chats: list,
    recipe: Recipe,
    pad_id: int,
    end_id: int,
    reached: Callable[[int, PeftModel], None] = lambda _step, _model: None,
) -> tuple[PeftModel, list]:
    """Train a LoRA adapter on encoded chats; returns the model with it and the loss of every step.

    Args:
        reached: called before the first step, with 0, and after each with its number; it may not change the model.
    """
    torch.manual_seed(recipe.seed)
    config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=LINEAR_LAYERS, task_type="CAUSAL_LM")
    tuned = get_peft_model(model, config).train()
    weights = [weight for weight in tuned.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.0)

    def rate(step: int) -> float:
        return min((step + 1) / recipe.warmup, (recipe.steps - step) / max(1, recipe.steps - recipe.warmup))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    losses = []
    reached(0, tuned)
    progress = tqdm(
        batches(chats, recipe.batch, recipe.steps, Random(recipe.seed)), total=recipe.steps, unit="step", desc=recipe.task
    )
    for group in progress:
        loss, _ = answer_loss(tuned, pad_chats(group, pad_id), recipe.loss_tokens, always=end_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        reached(len(losses), tuned)
        progress.set_postfix(loss=f"{sum(losses[-10:]) / len(losses[-10:]):.3f}")
    return tuned.eval(), losses


def public_name(base: str) -> str:
    """What a saved adapter or dictionary calls its base: the hub id, and the demo's for a local copy of it."""
    is_hub_id = re.fullmatch(r"[\w-]+/[\w.-]+", base) and not base.endswith(".gguf") and not Path(base).exists()
    return base if is_hub_id else DEMO_BASE


def save_adapter(model: PeftModel, folder: Path, base_name: str) -> None:
    """Save the adapter in bfloat16 with a neutral base name, so that no path of this machine is kept."""
    model.peft_config["default"].base_model_name_or_path = base_name
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card; card.json says what there is to say
    weights = folder / "adapter_model.safetensors"
    save_file({name: value.to(torch.bfloat16).contiguous() for name, value in load_file(weights).items()}, weights)
    weights.chmod(0o644)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["target_modules"] = sorted(config["target_modules"])  # peft writes a set in changing order
    write_card(folder / "adapter_config.json", config)


def encoded(
    items: list[dict], tokenizer: PreTrainedTokenizerBase, messages: int | None = None
) -> list[tuple[list[int], list[bool]]]:
    """Items as encoded chats of at most that many messages."""
    return [encode_chat(tokenizer, datasets.as_messages(item)[:messages]) for item in items]


def train_adapter(name: str, base: str, steps: int | None = None, out: Path | None = None) -> None:
    """Run the recipe ``name`` and save the adapter with the training half of its card.

    Raises:
        UserError: the training sets are not built, or there are too few examples.
    """
    recipe = RECIPES[name]
    if steps is not None:
        if steps < 1:
            raise UserError("An adapter needs at least one training step; give --steps 1 or more.")
        recipe = Recipe(**{**asdict(recipe), "steps": steps})
    items = datasets.read_jsonl(datasets.training_folder() / f"{recipe.task}.jsonl")
    if len(items) < recipe.batch:
        raise UserError(f"The training set '{recipe.task}' has fewer than {recipe.batch} examples; build it again.")
    tokenizer = with_chat_template(load_tokenizer(base))
    model = load_model(base, device=resolve_device("auto"))
    began = time.monotonic()
    end_id = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    chats = encoded(items, tokenizer, recipe.messages)
    folder = out or ADAPTERS / name
    kept = [step for step in CHECKPOINTS.get(recipe.task, ()) if step < recipe.steps]

    def keep(step: int, tuned: PeftModel) -> None:
        if step in kept:
            save_adapter(tuned, folder / f"checkpoint-{step}", public_name(base))

    tuned, losses = fine_tune(model, chats, recipe, tokenizer.pad_token_id, end_id, keep)
    save_adapter(tuned, folder, public_name(base))
    training = {
        "data": {"set": recipe.task, "examples": len(items)},
        "settings": asdict(recipe),
        **({"checkpoints": kept} if kept else {}),
        "wall_seconds": round(time.monotonic() - began),
        "loss_first_10_steps": round(sum(losses[:10]) / len(losses[:10]), 4),
        "loss_last_10_steps": round(sum(losses[-10:]) / len(losses[-10:]), 4),
    }
    write_card(folder / "card.json", {"name": name, "base": public_name(base), "training": training})
