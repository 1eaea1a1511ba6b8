"""Documents to tokens, segments, windows, shards and batches.

Long because each rule of what is read, cut and marked is a case.
"""

import json

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from extract.config_sections import SourceConfig
from extract.corpus.batches import Shard, make_batches, make_shards
from extract.corpus.documents import CUT_CHARACTERS, CUT_DOCUMENTS, Document, check_ids, first_tokens, tokenize
from extract.corpus.records import Record, read_records
from extract.corpus.render import BOS_TAKEN, SEGMENTS, Renderer
from extract.models.loading import load_tokenizer
from store.errors import UserError
from tests.support.world import TEMPLATE, write_jsonl


@pytest.fixture(scope="module")
def tokenizer(world):
    return load_tokenizer(str(world.base))


def record(**fields) -> Record:
    return Record("id", "domain", fields, "docs.jsonl, line 1")


def document(n_tokens: int, source: str = "s") -> Document:
    return Document(source, "d", np.arange(10, 10 + n_tokens, dtype=np.int32), np.zeros(n_tokens, dtype=np.int8))


def segments_of(text: str, rendered) -> dict[str, str]:
    """Segment -> the characters that carry it."""
    marks = rendered.segments_at(np.arange(len(text)))
    return {segment: "".join(c for c, m in zip(text, marks, strict=True) if m == i) for i, segment in enumerate(SEGMENTS)}


def test_plain_text_is_one_segment():
    rendered = Renderer(None).render(record(text="a cat"))
    assert segments_of(rendered.text, rendered) == {"text": "a cat", "template": "", "prompt": "", "response": ""}


def test_conversation_marks_template_prompt_and_response(tokenizer):
    messages = [
        {"role": "user", "content": " hi model "},
        {"role": "assistant", "content": "hi user"},
        {"role": "user", "content": "model?"},
    ]
    rendered = Renderer("{{ bos_token }}" + TEMPLATE, tokenizer).render(record(messages=messages))
    assert rendered.text == "<turn>user\nhi model</turn>\n<turn>model\nhi user</turn>\n<turn>user\nmodel?</turn>\n"
    found = segments_of(rendered.text, rendered)
    assert found["prompt"] == "hi modelmodel?"
    assert found["response"] == "hi user"
    assert found["template"] == "<turn>user\n</turn>\n<turn>model\n</turn>\n<turn>user\n</turn>\n"


def test_prompt_and_response_without_a_template_are_two_lines():
    rendered = Renderer(None).render(record(prompt="1+1?", response="2"))
    assert rendered.text == "1+1?\n2"
    assert segments_of(rendered.text, rendered) == {"text": "", "template": "\n", "prompt": "1+1?", "response": "2"}


@pytest.mark.parametrize("content", ["u", "model", "<turn>", "a", "user", "\n"])
def test_short_messages_are_not_found_inside_the_template(tokenizer, content):
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": content}]
    rendered = Renderer(TEMPLATE, tokenizer).render(record(messages=messages))
    shown = content.strip()
    found = segments_of(rendered.text, rendered)
    assert (found["prompt"], found["response"]) == (shown, shown)
    assert found["template"] == "<turn>user\n</turn>\n<turn>model\n</turn>\n"


def test_template_knows_special_tokens_and_what_transformers_offers(tokenizer):
    """Zephyr's way of ending turns, and a loop control that needs an extension."""
    template = "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m['content'] + eos_token }}{% endfor %}"
    messages = [{"role": "user", "content": text} for text in ("one", "two", "three")]
    rendered = Renderer(template, tokenizer).render(record(messages=messages))
    assert rendered.text == "one<eos>two<eos>"
    assert segments_of(rendered.text, rendered)["prompt"] == "onetwo"


def test_template_that_is_not_jinja(tokenizer):
    with pytest.raises(UserError, match="not valid Jinja"):
        Renderer("{% for m in %}", tokenizer)


def test_template_cannot_reach_outside(tokenizer):
    """Chat templates are untrusted: they run in Jinja's sandbox."""
    renderer = Renderer("{{ messages.__class__.__mro__[1].__subclasses__() }}", tokenizer)
    with pytest.raises(UserError, match="cannot render"):
        renderer.render(record(messages=[{"role": "user", "content": "x"}]))


def test_tokens_carry_the_segment_of_their_text(tokenizer):
    records = [record(prompt="the cat sat", response="on the mat")]
    corpus = tokenize(records, tokenizer, Renderer(TEMPLATE, tokenizer), 1000, 1000)
    (only,) = corpus.documents
    by_segment = {segment: tokenizer.decode(only.token_ids[only.segments == i]) for i, segment in enumerate(SEGMENTS)}
    assert by_segment["prompt"].strip() == "the cat sat"
    assert by_segment["response"].strip() == "on the mat"
    assert by_segment["template"].startswith("<turn>user")
    assert tokenizer.decode(only.token_ids) == "<turn>user\nthe cat sat</turn>\n<turn>model\non the mat</turn>\n"


def test_tokens_are_divided_evenly_and_what_is_missing_goes_to_the_others(tokenizer):
    """Budget 300 over three domains; 'small' has only one short document, so the two others fill what it cannot."""
    text = "the cat sat on the mat "
    records = [Record(f"big{d}-{i}", f"big{d}", {"text": text * 3 + str(i)}, "") for d in (1, 2) for i in range(40)]
    records.append(Record("small-0", "small", {"text": "a dog"}, ""))
    corpus = tokenize(records, tokenizer, Renderer(None), 300, 1000)
    tokens = {domain: sum(len(d) for d in corpus.documents if d.domain == domain) for domain in corpus.domains}
    longest = max(map(len, corpus.documents))
    half = (300 - tokens["small"]) / 2
    assert half <= tokens["big1"] < half + longest
    assert half <= tokens["big2"] < half + longest


def test_repeated_and_empty_texts_are_left_out_and_counted(tokenizer):
    records = [Record(str(i), "d", {"text": text}, "") for i, text in enumerate(["a cat", "a cat", " ", "a dog"])]
    corpus = tokenize(records, tokenizer, Renderer(None), 1000, 1000)
    assert len(corpus.documents) == 2
    assert corpus.skipped == {"text seen before": 1, "empty text": 1}


def test_documents_are_cut_at_document_tokens(tokenizer):
    corpus = tokenize([record(text="the cat sat on the mat " * 20)], tokenizer, Renderer(None), 1000, 17)
    assert [len(d) for d in corpus.documents] == [17]


def test_what_is_cut_is_counted(tokenizer):
    """Of 'a b c', cut after two tokens, two characters are beyond; what ends just there is not cut."""
    records = [Record(str(i), "d", {"text": text}, "") for i, text in enumerate(["the cat sat", "the cat", "a dog ran on"])]
    corpus = tokenize(records, tokenizer, Renderer(None), 1000, 2)
    assert [len(d) for d in corpus.documents] == [2, 2, 2]
    assert corpus.left_out == {CUT_DOCUMENTS: 2, CUT_CHARACTERS: len(" sat") + len(" ran on")}
    assert corpus.notes == []


def long_texts() -> dict[str, str]:
    some = ["the", "cat", "naïve", "你好", "😀", "x" * 50, "\n\n", "  ", "1234567", "."]
    words = np.random.default_rng(0).choice(some, 20_000)
    return {"words": " ".join(words), "one letter": "a" * 100_001, "no space": "ab" * 50_000, "spaces": " " * 99_999 + "end"}


KINDS = {
    "byte-level BPE": lambda: bpe(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "BPE over everything": lambda: bpe(None, normalizers.Replace(" ", "▁")),
    "Unigram": lambda: unigram(),
}


def bpe(pre, normalizer=None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    tokenizer.pre_tokenizer, tokenizer.normalizer = pre, normalizer
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator([text[:3000] for text in long_texts().values()], trainer)
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.normalizer = pre_tokenizers.Metaspace(), normalizers.NFKC()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([text[:3000] for text in long_texts().values()], trainer)
    return tokenizer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", long_texts())
@pytest.mark.parametrize("count", [60, 1024])
def test_the_first_tokens_are_those_of_the_whole_text(kinds, kind, text, count):
    """Without tokenising all of it, where that is long: the reference does."""
    fast, words, text = kinds[kind], text == "words", long_texts()[text]
    seen = []

    def listening(given, **settings):
        seen.append(len(given))
        return fast(given, **settings)

    ids, ends, whole = first_tokens(listening, text, count)
    expected = fast(text, add_special_tokens=False, return_offsets_mapping=True)
    assert ids.tolist() == expected["input_ids"][:count]
    assert ends.tolist() == [end for _, end in expected["offset_mapping"][:count]]
    assert whole == (len(expected["input_ids"]) <= count)
    assert max(seen) < len(text) / 2 or not words


@pytest.fixture(scope="module")
def kinds() -> dict[str, PreTrainedTokenizerFast]:
    return {kind: PreTrainedTokenizerFast(tokenizer_object=make(), unk_token="<unk>") for kind, make in KINDS.items()}


# ---- BOS ----


@pytest.mark.parametrize("fields", [
    {"text": "<bos>the cat"}, {"text": "<bos><bos>the cat"}, {"prompt": "<bos>the", "response": "cat"},
])  # fmt: skip
def test_bos_that_a_text_begins_with_is_taken_off_and_told(tokenizer, fields):
    """One is put before each window; where none is, what is written is what is read."""
    bos = tokenizer.bos_token_id
    corpus = tokenize([record(**fields)], tokenizer, Renderer(None, tokenizer), 100, 100)
    assert bos not in corpus.documents[0].token_ids
    assert corpus.left_out == {BOS_TAKEN: "".join(fields.values()).count("<bos>")}
    assert any(BOS_TAKEN in note for note in corpus.notes)
    plain = {name: text.replace("<bos>", "") for name, text in fields.items()}
    same = tokenize([record(**plain)], tokenizer, Renderer(None, tokenizer), 100, 100)
    assert corpus.digest() == same.digest() and not same.left_out
    kept = tokenize([record(**fields)], tokenizer, Renderer(None, tokenizer, keep_bos=True), 100, 100)
    assert kept.documents[0].token_ids[0] == bos and not kept.left_out


def test_bos_that_a_template_writes_is_taken_off(tokenizer):
    """Once without a word; a second one, of a text that was rendered before, is told."""
    renderer = Renderer("{{ bos_token }}{{ messages[0].content }}", tokenizer)
    for content, count in (("the cat", 0), ("<bos>the cat", 1)):
        corpus = tokenize([record(messages=[{"role": "user", "content": content}])], tokenizer, renderer, 100, 100)
        assert tokenizer.decode(corpus.documents[0].token_ids) == "the cat"
        assert corpus.left_out == ({BOS_TAKEN: count} if count else {})
        assert set(corpus.documents[0].segments) == {SEGMENTS.index("prompt")}


def test_bos_inside_a_text_stays_and_is_told(tokenizer):
    corpus = tokenize([record(text="the cat<bos>a dog")], tokenizer, Renderer(None, tokenizer), 100, 100)
    assert (corpus.documents[0].token_ids == tokenizer.bos_token_id).sum() == 1
    assert set(corpus.documents[0].segments) == {SEGMENTS.index("text")}
    assert ["BOS stands inside 1 documents" in note for note in corpus.notes] == [True]


def test_a_document_that_is_only_bos_is_empty(tokenizer):
    records = [record(text="<bos>"), Record("2", "d", {"text": "the cat"}, "")]
    assert tokenize(records, tokenizer, Renderer(None, tokenizer), 100, 100).skipped == {"empty text": 1}


# ---- what is missing ----


def test_null_instead_of_text_is_left_out_and_counted(tokenizer):
    nulls = [{"text": None}, {"text": float("nan")}, {"messages": None}, {"prompt": "x", "response": None}, {"messages": []}]
    records = [Record(str(i), "d", fields, "") for i, fields in enumerate([*nulls, {"text": "the cat", "prompt": None}])]
    corpus = tokenize(records, tokenizer, Renderer(TEMPLATE, tokenizer), 100, 100)
    assert [document.source for document in corpus.documents] == ["5"]
    assert corpus.skipped == {"null instead of text": 4, "empty text": 1}
    with pytest.raises(UserError, match="empty text: 1, null instead of text: 4"):
        tokenize(records[:5], tokenizer, Renderer(TEMPLATE, tokenizer), 100, 100)
    with pytest.raises(UserError, match="has none of"):
        Renderer(None).render(record(text=5))


def test_a_document_without_a_token_is_left_out(kinds):
    """A normaliser may leave nothing of a text: here only letters."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "cat": 1}, "<unk>"))
    tokenizer.normalizer = normalizers.Replace(Regex("[^a-z]+"), "")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    records = [Record("a", "marks", {"text": "!?"}, ""), Record("b", "words", {"text": "cat"}, "")]
    corpus = tokenize(records, fast, Renderer(None), 100, 100)
    assert [document.source for document in corpus.documents] == ["b"] and corpus.skipped == {"no token": 1}
    assert corpus.notes == ["Of the domain 'marks' nothing was read: all its documents were left out."]


def test_token_ids_beyond_the_embedding(tokenizer):
    corpus = tokenize([record(text="the cat"), Record("2", "d", {"text": "a dog"}, "")], tokenizer, Renderer(None), 100, 100)
    most = max(int(document.token_ids.max()) for document in corpus.documents)
    check_ids(corpus, most + 1)
    check_ids(corpus, most + 1, bos=most)
    with pytest.raises(UserError, match=rf"document '(id|2)' holds the token id {most}, .* 'tuned' has only {most} rows"):
        check_ids(corpus, most, "tuned")
    with pytest.raises(UserError, match=f"BOS has the token id {most + 1}"):
        check_ids(corpus, most + 1, bos=most + 1)


def test_order_does_not_depend_on_the_files_order(tokenizer):
    records = [Record(f"s{i}", "d", {"text": f"the cat {i}"}, "") for i in range(10)]
    forward = tokenize(records, tokenizer, Renderer(None), 1000, 1000)
    backward = tokenize(records[::-1], tokenizer, Renderer(None), 1000, 1000)
    assert forward.digest() == backward.digest()


def test_shards_hold_whole_documents_up_to_their_size():
    documents = [document(n) for n in (5, 4, 3, 9, 1)]
    shards = make_shards(documents, 9)
    assert [[len(d) for d in shard.documents] for shard in shards] == [[5, 4], [3], [9], [1]]
    assert [shard.first_document for shard in shards] == [0, 2, 3, 4]


def test_batches_hold_every_token_once_in_its_context_window():
    """Context length 4 with BOS: windows of 3. Rows 0-4 are document one, 5-6 two; padded to the longest of a batch."""
    shard = Shard(0, 0, (document(5), document(2)))
    batches = list(make_batches(shard, context_length=4, batch_tokens=8, bos=2, pad=0))
    assert [batch.input_ids.tolist() for batch in batches] == [
        [[2, 10, 11, 12], [2, 13, 14, 0]],
        [[2, 10, 11]],
    ]
    assert [batch.rows.tolist() for batch in batches] == [[[-1, 0, 1, 2], [-1, 3, 4, -1]], [[-1, 5, 6]]]
    assert [batch.attention_mask.tolist() for batch in batches] == [[[1, 1, 1, 1], [1, 1, 1, 0]], [[1, 1, 1]]]


def test_a_window_much_shorter_than_the_first_begins_another_batch():
    """Of 100 tokens the next may have 70: so 72 goes with it, and 69 with 50."""
    shard = Shard(0, 0, tuple(document(n) for n in (50, 100, 69, 72)))
    batches = make_batches(shard, context_length=128, batch_tokens=10_000, bos=None, pad=0)
    assert [batch.attention_mask.sum(axis=1).tolist() for batch in batches] == [[100, 72], [69, 50]]


def test_little_of_all_batches_is_padding():
    """Less than a twentieth in shards of the usual size, with documents of any length up to twice a window's."""
    documents = [document(int(n)) for n in np.random.default_rng(0).integers(5, 256, size=400)]
    masks = [
        batch.attention_mask
        for shard in make_shards(documents, 16_384)
        for batch in make_batches(shard, context_length=128, batch_tokens=2048, bos=2, pad=0)
    ]
    assert all(mask.size <= 2048 for mask in masks)
    assert sum((mask == 0).sum() for mask in masks) < 0.05 * sum(mask.size for mask in masks)


def test_batches_without_bos_use_the_whole_window():
    (batch,) = make_batches(Shard(0, 0, (document(4),)), context_length=4, batch_tokens=8, bos=None, pad=0)
    assert batch.input_ids.tolist() == [[10, 11, 12, 13]]
    assert batch.rows.tolist() == [[0, 1, 2, 3]]


def test_jsonl_may_be_gzipped(tmp_path):
    import gzip

    path = tmp_path / "docs.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write('{"text": "a"}\n{"text": "b", "domain": "other", "source": "mine"}\n')
    records = read_records([SourceConfig(path=str(path), domain="d")])
    assert [(r.source, r.domain) for r in records] == [("docs.jsonl.gz:1", "d"), ("mine", "other")]


def test_limit_and_text_field(tmp_path):
    path = write_jsonl(tmp_path / "docs.jsonl", [{"body": f"text {i}"} for i in range(5)])
    records = read_records([SourceConfig(path=str(path), domain="d", limit=2, text_field="body")])
    assert [r.fields["text"] for r in records] == ["text 0", "text 1"]


def test_hugging_face_dataset_from_a_folder(tmp_path):
    """The real `datasets` library over a local folder: the same code path as a hub id."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(3)))
    records = read_records([SourceConfig(dataset=str(folder), split="train", limit=2, domain="web")])
    assert [r.fields["text"] for r in records] == ["row 0", "row 1"]
    assert [r.source for r in records] == ["dataset:train:0", "dataset:train:1"]


def test_dataset_that_is_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="could not be read"):
        read_records([SourceConfig(dataset=str(tmp_path / "empty"), domain="web")])
