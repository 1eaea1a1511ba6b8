"""Text of every kind through whole runs: what the store, its manifest and the terminal say of it."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from extract.__main__ import main
from extract.config import load_config
from extract.corpus.records import first_records, read_records
from extract.corpus.render import BOS_TAKEN, SHORTENED
from extract.pilot import layer_pilot
from extract.run.inputs import Inputs, read_text
from store import open_store
from store.errors import UserError
from store.format.manifest import read_manifest
from tests.support.templates import QWEN3
from tests.support.world import TEMPLATE, sentences, write_jsonl

DATED = "{{ bos_token }}<turn>{{ strftime_now('%d %B %Y, %H:%M') }}</turn>\n" + QWEN3


def with_template(world, folder, template):
    """The base with another chat template."""
    shutil.copytree(world.base, folder)
    for file in folder.glob("chat_template*"):
        file.unlink()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return str(folder)


def corpus(folder) -> list[dict]:
    """Two files of one name: texts that begin with BOS, and chats whose answers reason, of two turns."""
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    texts = [{"text": f"<bos>{text}"} for text in [*sentences(5, seed=3), " ".join(sentences(40, seed=8))]] + [{"text": None}]
    turns = zip(*(sentences(6, seed) for seed in (4, 5, 6, 7)), strict=True)
    chats = [
        {
            "messages": [
                {"role": "user", "content": first},
                {"role": "assistant", "content": f"<think>\n{thought}\n</think>\n\nthe cat"},
                {"role": "user", "content": second},
                {"role": "assistant", "content": f"<think>\n{again}\n</think>\n\na dog"},
            ]
        }
        for first, thought, second, again in turns
    ]
    return [
        {"path": str(write_jsonl(folder / "a" / "train.jsonl", texts)), "domain": "General Knowledge"},
        {"path": str(write_jsonl(folder / "b" / "train.jsonl", chats)), "domain": "数学 (R1)"},
    ]


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """A store of such text, with the base's several templates."""
    folder = tmp_path_factory.mktemp("text")
    base = with_template(world, folder / "base", {"default": DATED, "tool_use": "{{ 'TOOLS' }}"})
    config = world.config(
        folder, base=base, corpus=corpus(folder), tokens=4000, document_tokens=700, shard_tokens=4000,
        saes=[{"path": str(world.saes[2])}], controls=["isotropic"], promoted_tokens=0, neighbours=0, spectrum=0,
        variants={"tuned": {"adapter": str(world.adapter), "task": ["数学 (R1)"]}}, neutral_domains=["General Knowledge"],
    )  # fmt: skip
    assert main(["run", str(config), "--out", str(folder / "store")]) == 0
    return folder


def test_the_manifest_says_what_became_of_the_text(run, capsys):
    manifest = read_manifest(run / "store")
    left_out = manifest.counts["left_out"]
    assert manifest.counts["skipped"] == {"null instead of text": 1}
    assert left_out[BOS_TAKEN] == 6 and left_out[SHORTENED] == 6  # Qwen 3 drops the reasoning of the first answer
    assert left_out["documents cut at document_tokens"] == 1 and left_out["characters beyond the cut"] > 0
    assert manifest.corpus["chat_template"]["from"] == "base"
    assert [source["file"] for source in manifest.corpus["sources"]] == ["a/train.jsonl", "b/train.jsonl"]
    assert any("2024-07-26 (template_date)" in note for note in manifest.notes)
    assert manifest.settings["template_date"] == "2024-07-26"
    assert main(["info", str(run / "store")]) == 0
    said = capsys.readouterr().out
    assert f"left out  6 {BOS_TAKEN}" in said and "template  of base (" in said


def test_the_segments_are_those_of_the_turns(run):
    """Of each answer what is read is response, no BOS is among the tokens, the date is the template's."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(run / "base")
    with open_store(run / "store") as store:
        rows = store.sql("SELECT t.*, d.domain FROM tokens t JOIN documents d USING (document) ORDER BY document, position")
        assert store.sql("SELECT count(*) AS n FROM feature_stats WHERE did_shift IS NOT NULL")["n"][0] > 0
    assert tokenizer.bos_token_id not in set(rows["token_id"])
    chats = rows[rows["domain"] == "数学 (R1)"]
    for _, document in chats.groupby("document"):
        said = {name: tokenizer.decode(part["token_id"].tolist()) for name, part in document.groupby("segment")}
        assert said["template"].startswith("<turn>26 July 2024, 00:00</turn>")
        assert said["response"].startswith("the cat<think>\n") and said["response"].endswith("\n</think>\n\na dog")
        assert "think" not in said["template"]
    assert set(rows[rows["domain"] == "General Knowledge"]["segment"]) == {"text"}


def test_the_tokens_are_the_same_on_any_day(run, monkeypatch):
    """The digest that an interrupted run is resumed by, by a clock of another time zone: to the template another day."""
    from extract.corpus import chat_template

    config = load_config(run / "run.yaml")
    digests = set()
    for zone in ("Etc/GMT+12", "Pacific/Kiritimati"):
        monkeypatch.setenv("TZ", zone)
        chat_template._worker.close()
        digests.add(read_text(config, read_records(config.corpus), bos=True, quiet=True).corpus.digest())
    assert digests == {read_manifest(run / "store").corpus["sha256"]}


def test_text_is_read_as_it_is_where_no_bos_is_put(run):
    config = load_config(run / "run.yaml")
    text = read_text(config, read_records(config.corpus), bos=False, quiet=True)
    assert all(document.token_ids[0] == text.tokenizer.bos_token_id for document in text.corpus.documents)
    assert BOS_TAKEN not in text.corpus.left_out


@pytest.mark.parametrize(
    ("template", "said"),
    [({"rag": TEMPLATE, "tool_use": TEMPLATE}, "'rag', 'tool_use'"), ("{% for m in %}", "not valid Jinja")],
)
def test_templates_that_cannot_be_used(world, run, tmp_path, capsys, template, said):
    config = world.config(tmp_path, base=with_template(world, tmp_path / "base", template), corpus=corpus(tmp_path / "corpus"))
    assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "store").exists()


@pytest.mark.parametrize(("text", "said"), [("cat", "The corpus has 1 token"), ("the cat sat", None)])
def test_a_corpus_of_a_few_words_does_not_blame_the_dictionary(world, tmp_path, capsys, text, said):
    path = write_jsonl(tmp_path / "docs.jsonl", [{"text": text}])
    saes = [{"path": str(world.saes[2])}]
    config = world.config(tmp_path, saes=saes, promoted_tokens=0, corpus=[{"path": str(path), "domain": "d"}])
    code = main(["run", str(config), "--out", str(tmp_path / "store")])
    error = capsys.readouterr().err
    assert code == (2 if said else 0) and (said or "") in error and "does not describe" not in error


@pytest.mark.parametrize(("tokens", "said"), [(63, "only 63 tokens that count, too few"), (64, "does not describe")])
def test_a_self_test_that_fails_on_a_few_tokens_says_that_they_are_few(monkeypatch, tokens, said):
    """It may be the words; on many it is the dictionary."""

    def fails(_dictionary, _residuals, _seen):
        raise UserError("It does not describe the base.")

    monkeypatch.setattr(layer_pilot, "self_test", fails)
    dictionary = SimpleNamespace(name="sae", layer=3)
    with pytest.raises(UserError, match=said):
        ones = torch.ones(tokens, 4)
        layer_pilot.fix_layer(dictionary, ones, ones, SimpleNamespace(count_sinks=True, sink_factor=4.0))


@pytest.mark.parametrize(("pad", "used"), [(None, 0), (7, 7), (400, 0)])
def test_padding_is_a_token_that_the_models_know(pad, used):
    """One that SFT added without resizing the models is not; it is masked, so that any other will do."""
    models = SimpleNamespace(embedding_rows={"base": 400, "tuned": 464})
    inputs = Inputs(models, SimpleNamespace(pad_token_id=pad), [], [], None, None, {}, [])
    assert inputs.pad == used


def test_a_look_at_the_first_records_refuses_nothing_that_the_whole_has(run):
    """``check`` reads a few of each source by the same code: a domain that stands further down is no reason to refuse."""
    config = load_config(run / "run.yaml")
    records = first_records(read_records(config.corpus), 1)
    assert [record.where for record in records] == ["a/train.jsonl, line 1", "b/train.jsonl, line 1"]
    assert len(read_text(config, records[:1], bos=True, quiet=True).corpus.documents) == 1
