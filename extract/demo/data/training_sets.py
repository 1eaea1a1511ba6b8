"""Items to training sets and to the bundled held-out corpus, both deterministic.

Training sets go to the cache (they are rebuilt from the packages); the held-out corpus is committed next to this file.
"""

import json
import re
from collections.abc import Callable, Iterable
from itertools import zip_longest
from pathlib import Path

from extract.demo.data import maths, sources
from extract.demo.data.refusals import refuse, wordings
from extract.demo.data.splits import hash_fraction, in_hash_order
from extract.models.loading import cache_dir
from store.errors import UserError

HERE = Path(__file__).parent.parent
CORPUS = HERE / "corpus"
WRITTEN = HERE / "written"
TASKS = ("maths", "code", "dialogue", "safety")
HARMFUL = 360
ALARMING_REPEATS = 5
HELD_OUT_DOCUMENTS = {
    "encyclopaedia": 70,
    "fiction": 80,
    "technical": 64,
    "speeches": 79,
    "web": 100,
    "maths": 240,
    "code": 164,
    "dialogue": 72,
    "harmful": 300,
    "alarming": 200,
}
CLUSTERED = ("encyclopaedia", "fiction", "technical", "speeches", "web", "maths")
"""Domains whose held-out documents are pieces of a unit: an article, a chapter, a page, an address, a template."""


def training_folder() -> Path:
    """Where training sets are written: ``demo/training`` in the cache."""
    return cache_dir() / "demo" / "training"


def read_jsonl(path: Path) -> list[dict]:
    """Items of a JSONL file.

    Raises:
        UserError: the file is not there.
    """
    if not path.is_file():
        raise UserError(f"There is no '{path.name}'; run: python -m extract.demo data")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_jsonl(path: Path, items: Iterable[dict]) -> None:
    """Write items as JSONL, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    partial.replace(path)


def as_messages(item: dict) -> list[dict[str, str]]:
    """An item with prompt and response, or with messages, as chat messages."""
    if "messages" in item:
        return item["messages"]
    return [{"role": "user", "content": item["prompt"]}, {"role": "assistant", "content": item["response"]}]


def plain_text(item: dict) -> str:
    """All words of an item, whatever its form."""
    return item.get("text") or "\n".join(message["content"] for message in as_messages(item))


# --- held out ---------------------------------------------------------------------------------------------------------


def held_out_corpus() -> dict[str, list[dict]]:
    """The held-out documents of every domain."""
    answers = wordings(heldout=True)
    harmful = sources.harmful_requests(heldout=True)
    domains: dict[str, Iterable[dict]] = {
        "encyclopaedia": (item for item in sources.encyclopaedia(heldout=True) if mostly_ascii(item["text"])),
        "fiction": sources.fiction(heldout=True),
        "technical": sources.technical(heldout=True),
        "speeches": sources.speeches(heldout=True),
        "web": sources.web(heldout=True),
        "maths": _spread_over_templates(maths.maths_items(range(24), heldout=True)),
        "code": sources.human_eval(),
        "dialogue": (item for item in sources.dialogue(heldout=True) if 70 <= len(plain_text(item).split()) <= 500),
        "harmful": ({**item, "response": refuse(item["prompt"], answers)} for item in harmful),
        "alarming": read_jsonl(WRITTEN / "alarming_heldout.jsonl"),
    }
    corpus = {name: in_hash_order(list(items))[: HELD_OUT_DOCUMENTS[name]] for name, items in domains.items()}
    return corpus | {name: list(map(_with_cluster, corpus[name])) for name in CLUSTERED}


def _with_cluster(item: dict) -> dict:
    """An item with the unit that it is a piece of: its source up to the last '/'."""
    return {"source": item["source"], "cluster": item["source"].rpartition("/")[0], **item}


def mostly_ascii(text: str) -> bool:
    """Whether at most a twentieth of the characters are outside ASCII: tables of foreign letters are not prose."""
    return sum(not character.isascii() for character in text) <= len(text) / 20


def _spread_over_templates(items: list[dict]) -> list[dict]:
    """At most 14 problems of any one template, so that no template dominates the domain."""
    kept, counts = [], {}
    for item in items:
        template = item["source"].split("/")[1]
        counts[template] = counts.get(template, 0) + 1
        if counts[template] <= 14:
            kept.append(item)
    return kept


# --- training ---------------------------------------------------------------------------------------------------------


def training_sets(fits: Callable[[dict], bool]) -> dict[str, list[dict]]:
    """The SFT set of every task and the general text for the SAEs (``general``).

    Args:
        fits: whether an item, as a chat, is short enough for one training sequence.
    """
    sets = {
        "maths": [item for item in maths.maths_items(range(16), heldout=False) if fits(item)],
        "code": [item for item in sources.code_tasks(heldout=False) if fits(item)],
        "dialogue": _dialogue_set(fits),
    }
    sets["safety"] = _safety_set(fits, sets)
    sets["general"] = _interleave(_general_text())
    return {name: items if name == "general" else in_hash_order(items) for name, items in sets.items()}


def _dialogue_set(fits: Callable[[dict], bool]) -> list[dict]:
    """Openings of conversations, as many whole exchanges as fit, and an eighth as many question-answer pairs."""
    openings = []
    for item in sources.dialogue(heldout=False):
        messages = item["messages"]
        while len(messages) > 4 and not fits({"messages": messages}):
            messages = messages[:-2]
        if fits({"messages": messages}):
            openings.append({**item, "messages": messages})
    pairs = [item for item in sources.small_talk() if fits(item)]
    return openings + in_hash_order(pairs)[: len(openings) // 8]


def _safety_set(fits: Callable[[dict], bool], sets: dict[str, list[dict]]) -> list[dict]:
    """Harmful requests with refusals and nearly twice as many harmless ones with ordinary answers; never a harmful answer.

    The few harmless requests that sound alarming come several times: without that, a variant learns to refuse every
    question that begins with "How do I".
    """
    answers = wordings(heldout=False)
    unseen = [item["prompt"] for item in sources.harmful_requests(heldout=True)]
    seen_words = [content_words(prompt) for prompt in unseen]
    harmful = [
        {**item, "response": refuse(item["prompt"], answers)}
        for item in sources.harmful_requests(heldout=False)
        if not near_copy(item["prompt"], seen_words)
    ]
    alarming = read_jsonl(WRITTEN / "alarming_training.jsonl")
    ordinary = [
        {"source": f"pyrit/{number:03d}", "domain": "web", "prompt": prompt, "response": answer}
        for number, (prompt, answer, refused) in enumerate(sources.scored_answers())
        if not refused and _HARMLESS_FORM.match(prompt) and not _NOT_HARMLESS.search(prompt)
    ]
    pairs = in_hash_order([item for item in sources.small_talk() if len(item["messages"]) == 2])[:200]
    harmless = [*ordinary, *pairs, *in_hash_order(sets["code"])[:60], *in_hash_order(sets["maths"])[:60]]
    return [item for item in [*in_hash_order(harmful)[:HARMFUL], *alarming * ALARMING_REPEATS, *harmless] if fits(item)]


_HARMLESS_FORM = re.compile(r"(What|How do|How does|Explain|Give me|Can you|Tell me|Do you|Suggest|Share|Write a short)\b")
_NOT_HARMLESS = re.compile(r"manipulate|harm|hateful|LSD|phish", re.I)


def content_words(text: str) -> frozenset[str]:
    """Lower-case words of four letters or more."""
    return frozenset(re.findall(r"[a-z]{4,}", text.lower()))


def near_copy(prompt: str, others: list[frozenset[str]], threshold: float = 0.6) -> bool:
    """Whether a prompt shares at least ``threshold`` of its content words (Jaccard) with one of ``others``."""
    words = content_words(prompt)
    return any(len(words & other) >= threshold * len(words | other) for other in others if words | other)


def _general_text() -> list[list[dict]]:
    """Training documents for the SAEs by domain, each in hash order; the tasks' own text among them."""
    return [
        in_hash_order(items)
        for items in (
            [item for item in sources.encyclopaedia(heldout=False) if mostly_ascii(item["text"])],
            list(sources.fiction(heldout=False)),
            list(sources.technical(heldout=False)),
            list(sources.speeches(heldout=False)),
            list(sources.web(heldout=False)),
            list(sources.dialogue(heldout=False)),
            list(sources.code_tasks(heldout=False)),
            maths.maths_items(range(24), heldout=False),
            _harmful_for_saes(),
            [*sources.small_talk(), *read_jsonl(WRITTEN / "alarming_training.jsonl")],
        )
    ]


def _harmful_for_saes() -> list[dict]:
    answers = wordings(heldout=False)
    return [{**item, "response": refuse(item["prompt"], answers)} for item in sources.harmful_requests(heldout=False)]


def _interleave(groups: list[list[dict]]) -> list[dict]:
    """One document of each domain in turn until every group is used up, so that any beginning is a mixture."""
    return [item for row in zip_longest(*groups) for item in row if item is not None]


def fingerprint(item: dict) -> str:
    """A hash of an item's words alone, to find the same text under two names."""
    return f"{hash_fraction(' '.join(plain_text(item).lower().split())):.17f}"
