"""Data as its users have it through a whole run: a file of every kind, what the store and the terminal say of it."""

import contextlib
import io

import datasets
import pytest
from transformers import PreTrainedTokenizerFast

from extract.__main__ import main
from extract.corpus.render import PARTS
from store import open_store
from store.format.manifest import read_manifest
from tests.support.data_formats import KINDS
from tests.support.world import sentences, write_jsonl

N = len(KINDS)


@pytest.fixture(scope="module")
def files(world, tmp_path_factory):
    """A folder with a file of each kind, each of a record of its own; a saved dataset; texts; chats with parts; a category."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "all" / "texts").mkdir(parents=True)
    asked, answered = sentences(N, seed=11), sentences(N, seed=12)
    for name, question, answer in zip(KINDS, asked, answered, strict=True):
        row = {"instruction": question, "output": answer, "domain": "asked"}
        (folder / "all" / name).write_bytes(KINDS[name]([row]))
    for i, text in enumerate(sentences(3, seed=13)):
        (folder / "all" / "texts" / f"{i}.txt").write_text(text)
    (folder / "all" / "picture.png").write_bytes(b"\x89PNG")
    saved = [{"question": a, "answer": b} for a, b in zip(sentences(3, seed=14), sentences(3, seed=15), strict=True)]
    datasets.Dataset.from_list(saved).save_to_disk(folder / "saved")
    parts = [{"type": "image"}, {"type": "text", "text": sentences(1, seed=16)[0]}]
    chats = [{"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "the cat"}], "source": "web"}]
    chats += [{"prompt": text, "chosen": "the dog", "rejected": "a dog", "source": "web"} for text in sentences(2, seed=17)]
    write_jsonl(folder / "chats.jsonl", [*chats, {"messages": None, "source": "web"}])
    corpus = [{"path": str(folder / name), "domain": "rest"} for name in ("all", "saved", "chats.json*")]
    config = world.config(
        folder, corpus=corpus, tokens=9000, document_tokens=400, saes=[{"path": str(world.saes[2])}], promoted_tokens=0,
        neighbours=0, spectrum=0,
    )  # fmt: skip
    return folder, config, str(world.base), dict(zip(KINDS, zip(asked, answered, strict=True), strict=True))


@pytest.fixture(scope="module")
def told(files):
    """What a run says, and its store."""
    folder, config, *_rest = files
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["run", str(config), "--out", str(folder / "store")]) == 0
    return out.getvalue(), folder / "store"


LINES = (
    "plain.jsonl: read as Alpaca, 1 conversation",
    "saved: read as question and answer, 3 conversations",
    "all: read as text, 3 documents (each a file; 'paragraphs: true' would split it)",
    "chats.jsonl: read as 2 formats: preference (the chosen answer of each), 2 conversations; messages, 1 conversation, "
    "1 record without text skipped",
)
NOTES = (
    "Of 'all' 1 file is not read: 'picture.png'.",
    "The field 'source' of chats.jsonl is a category and no id (1 values in 4 records): its documents are numbered instead.",
    f"Of the texts: 1 {PARTS}.",
)


def test_each_source_is_told_in_a_line_by_check_and_by_run(files, told, capsys):
    assert main(["check", str(files[1])]) == 0
    checked = capsys.readouterr().out
    for line in LINES:
        assert f"source    {line}\n" in checked and f"  {line}\n" in told[0]
    for note in NOTES:
        assert f"note: {note}\n" in checked and f"Note: {note}\n" in told[0]
    assert checked.count("source    ") == N + 3


def test_the_documents_of_the_store_are_those_of_the_files(files, told):
    """Prompt and response of each file, of every kind; texts whole."""
    *_places, base, said = files
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)

    def as_read(text):
        return tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)).strip()

    with open_store(told[1]) as store:
        rows = store.sql(
            "SELECT d.source, d.domain, t.segment, t.token_id FROM tokens t JOIN documents d USING (document) "
            "ORDER BY document, position"
        )
    segments = rows.groupby(["source", "segment"])
    found = {key: tokenizer.decode(part["token_id"].tolist()).strip() for key, part in segments}
    first = {name: next(s for s, _ in found if s.startswith(f"{name}:")) for name in KINDS}
    for name, (asked, answered) in said.items():
        assert (found[first[name], "prompt"], found[first[name], "response"]) == (as_read(asked), as_read(answered))
    assert [found[f"{i}.txt", "text"] for i in range(3)] == [as_read(text) for text in sentences(3, seed=13)]
    assert {source for source, _ in found if source.startswith("saved:")} == {f"saved:train:{i}" for i in range(3)}
    assert [found[f"chats.jsonl:{i}", "response"] for i in (1, 2, 3)] == ["the cat", "the dog", "the dog"]
    assert set(rows[rows["source"].isin(first.values())]["domain"]) == {"asked"}


def test_the_manifest_keeps_formats_and_hashes(told):
    manifest = read_manifest(told[1])
    sources = {source.get("file"): source for source in manifest.corpus["sources"]}
    assert len(sources) == N + 3 and all(len(source["sha256"]) == 64 for source in sources.values())
    assert sources["zstd.parquet"]["format"] == "Alpaca" and sources["saved"]["format"] == "question and answer"
    assert sources["chats.jsonl"]["format"] == "preference (2), messages (1)" and sources["all"]["files"] == 3
    assert manifest.counts["skipped"]["null instead of text"] == 1 and manifest.counts["left_out"][PARTS] == 1
    assert set(NOTES) <= set(manifest.notes)
