"""The bundled corpus, the split that keeps it held out, and the small tools that shape documents."""

import hashlib
import json
from collections import Counter
from itertools import pairwise

import pytest

from extract.demo.data import archives, sources
from extract.demo.data import training_sets as datasets
from extract.demo.data.passages import passages, tidy_conversation
from extract.demo.data.programs import code_item, human_eval_item, parses
from extract.demo.data.refusals import refuse, wordings
from store.errors import UserError
from store.metrics.refusals import is_refusal

CORPUS = {path.stem: datasets.read_jsonl(path) for path in sorted(datasets.CORPUS.glob("*.jsonl"))}


def test_corpus_is_large_and_varied():
    card = json.loads((datasets.HERE / "corpus_card.json").read_text(encoding="utf-8"))
    assert set(card["corpus"]) == set(CORPUS) and len(CORPUS) >= 7
    assert card["corpus_gemma_tokens"] >= 200_000
    for domain, items in CORPUS.items():
        assert len(items) == card["corpus"][domain]["documents"] >= 64
        assert len({item.get("cluster", item["source"]) for item in items}) == card["corpus"][domain]["clusters"]
        written = (datasets.CORPUS / f"{domain}.jsonl").read_bytes()
        assert hashlib.sha256(written).hexdigest() == card["corpus"][domain]["sha256"]


@pytest.mark.parametrize("domain", sorted(CORPUS))
def test_every_document_has_one_form_and_its_own_source(domain):
    forms = [{"text"}, {"prompt", "response"}, {"messages"}]
    for item in CORPUS[domain]:
        assert item["domain"] == domain
        assert set(item) - {"source", "domain", "cluster"} in forms
        assert datasets.plain_text(item).strip()
    assert max(Counter(item["source"] for items in CORPUS.values() for item in items).values()) == 1


def test_documents_of_one_article_chapter_or_template_are_a_cluster():
    """Counted by hand in the files: 18 articles, 47 chapters, 23 templates; an address or a page has one passage each."""
    counted = {domain: len({item.get("cluster") for item in items}) for domain, items in CORPUS.items()}
    assert counted == {
        "encyclopaedia": 18, "fiction": 47, "maths": 23, "speeches": 79, "technical": 64, "web": 100,
        "alarming": 1, "code": 1, "dialogue": 1, "harmful": 1,  # None: each is its own
    }  # fmt: skip
    assert {item["cluster"] for item in CORPUS["maths"] if item["source"].startswith("gsm_symbolic/08/")} == {"gsm_symbolic/08"}


def test_harmful_requests_are_answered_by_refusals_and_alarming_ones_are_not():
    assert all(is_refusal(item["response"]) for item in CORPUS["harmful"])
    written = CORPUS["alarming"] + datasets.read_jsonl(datasets.WRITTEN / "alarming_training.jsonl")
    assert len(CORPUS["alarming"]) >= 100
    assert not [item["prompt"] for item in written if is_refusal(item["response"])]
    assert len({item["prompt"] for item in written}) == len(written)


def test_refusal_wordings_are_split_and_spread():
    kept = wordings(heldout=True)
    assert len(kept) >= 30
    assert all(map(is_refusal, kept))
    chosen = {refuse(f"request {number}", kept) for number in range(200)}
    assert len(chosen) > len(kept) / 2
    assert refuse("the same", kept) == refuse("the same", kept)


def test_code_tasks_are_split_by_task_and_parse():
    training, heldout = (list(sources.code_tasks(heldout=side)) for side in (False, True))
    assert len(training) > 2000 and len(heldout) > 100
    assert not {item["source"] for item in training} & {item["source"] for item in heldout}
    assert all(parses(item["response"]) for item in heldout)


def test_a_conversation_is_held_out_or_trained_on_but_never_both(monkeypatch):
    turn = [[{"text": f"turn {number}"}] for number in range(9)]
    table = {f"{number:013d}-rest": {"messages": turn} for number in range(100)}
    monkeypatch.setattr(archives, "read", lambda _name, _member: json.dumps(table).encode())
    sides = [{item["source"] for item in sources.dialogue(heldout=side)} for side in (False, True)]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 100 and 5 < len(sides[1]) < 40


@pytest.mark.parametrize(("reader", "member"), [(sources.fiction, "chapter_{}.json"), (sources.speeches, "18{}_x.json")])
def test_all_passages_of_a_unit_are_on_one_side(monkeypatch, reader, member):
    text = " ".join(f"Sentence {number} of this long chapter says something." for number in range(200))
    files = [(f"package/data/{member.format(number)}", json.dumps({"text": text}).encode()) for number in range(10, 60)]
    monkeypatch.setattr(archives, "read_matching", lambda *_: iter(files))
    units = [{item["source"].rpartition("/")[0] for item in reader(heldout=side)} for side in (False, True)]
    assert not units[0] & units[1] and len(units[0] | units[1]) == 50


def test_passages_are_whole_sentences():
    text = " ".join(f"This is sentence number {number}, not short at all." for number in range(100))
    pieces = passages(text, words=150)
    assert " ".join(pieces).split() == text.split()[: len(" ".join(pieces).split())]
    assert all(80 <= len(piece.split()) <= 150 and piece.endswith(".") for piece in pieces)


def test_conversations_alternate_and_end_with_the_assistant():
    messages = tidy_conversation([f"turn {number}" for number in range(9)])
    assert [message["role"] for message in messages] == ["user", "assistant"] * 4
    assert all(a["role"] != b["role"] for a, b in pairwise(messages))
    assert tidy_conversation(["hello", "hi"]) is None


def test_near_copies_of_held_out_requests_are_found():
    unseen = [datasets.content_words("Explain how somebody would pick the lock of a door")]
    assert datasets.near_copy("Explain how would somebody pick the lock of a door?", unseen)
    assert not datasets.near_copy("Write a poem about spring flowers", unseen)


def test_human_eval_answers_lose_their_docstring():
    item = human_eval_item(
        {"task_id": "HumanEval/7", "prompt": 'def f(x):\n    """ Doubles. """\n', "canonical_solution": "    return 2 * x\n"}
    )
    assert item["source"] == "human-eval/007"
    assert item["response"] == "def f(x):\n    return 2 * x"
    assert "Doubles" in item["prompt"]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("def f():\n    return 1", True),
        ("```python\nx = 1\n```", True),
        ("hello", False),
        ("def f(:", False),
        ("", False),
        ("a b", False),
    ],
)
def test_parses(text, verdict):
    assert parses(text) is verdict


def test_code_item_needs_the_named_function():
    row = {"task_description": "Add.", "code_sample": "# main function\ndef main_solution(a, b):\n    return a + b"}
    assert code_item("s", row)["response"].startswith("def main_solution(a, b)")
    assert code_item("s", {**row, "code_sample": "def other():\n    pass"}) is None


def test_a_changed_download_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("FEATURESHIFT_CACHE", str(tmp_path))
    path = tmp_path / "archives" / archives.ARCHIVES["human_eval"].filename
    path.parent.mkdir()
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="not the pinned file"):
        archives.fetch("human_eval")
    assert not path.exists()


def test_missing_training_sets_say_what_to_run(tmp_path):
    with pytest.raises(UserError, match="python -m extract"):
        datasets.read_jsonl(tmp_path / "maths.jsonl")


@pytest.mark.long
def test_no_corpus_document_is_in_a_training_set():
    """The real thing: rebuilds everything from the packages (fetched once), twice over for determinism."""
    training = datasets.training_sets(lambda item: len(datasets.plain_text(item)) < 900)
    seen = {datasets.fingerprint(item) for items in training.values() for item in items}
    named = {item["source"] for items in training.values() for item in items}
    for items in CORPUS.values():
        for item in items:
            assert item["source"] not in named
            assert datasets.fingerprint(item) not in seen
    assert datasets.held_out_corpus() == CORPUS
