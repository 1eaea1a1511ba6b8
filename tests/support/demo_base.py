"""A random Gemma 3 deep enough for the demo's recipes, with Gemma's turn marks; and chats to train it on."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig

from extract.demo.data import training_sets as datasets
from tests.support.world import make_tokenizer, sentences


def make_demo_base(folder: Path) -> Path:
    """17 layers, so that layers 5 to 15 exist."""
    tokenizer = make_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=17,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def write_training_sets() -> None:
    """Small training sets in the cache: 40 chats for every task, 120 texts for the dictionaries."""
    items = [{"source": f"s{n}", "prompt": text, "response": text[::-1][:20]} for n, text in enumerate(sentences(40, 5))]
    texts = [{"source": f"t{n}", "text": " ".join(sentences(6, n))} for n in range(120)]
    for task in datasets.TASKS:
        datasets.write_jsonl(datasets.training_folder() / f"{task}.jsonl", items)
    datasets.write_jsonl(datasets.training_folder() / "general.jsonl", texts)
