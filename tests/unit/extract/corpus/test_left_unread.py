"""What of a source is not read is said: fields with text, bad answers, records of which nothing is read."""

import pytest

from extract.corpus.left_unread import has_text
from extract.corpus.render import BAD_ANSWER, Renderer
from store.errors import UserError
from tests.support.data_formats import ASK, TELL, chat
from tests.support.world import write_jsonl
from tests.unit.extract.corpus.test_record_formats import read


@pytest.mark.parametrize("value", ["a cat", "x, y", "你好", ["a", {"b": "a cat"}], {"a": {"b": ["two words"]}}])
def test_what_is_text(value):
    assert has_text(value)


@pytest.mark.parametrize("value", ["", "word", "https://a.b/c", "2024-01-02 10:00", "São", 5, None, ["a", "b"], {}])
def test_what_is_a_label_a_name_or_a_number(value):
    assert not has_text(value)


def test_a_value_however_deep_it_nests():
    value = "a cat"
    for _ in range(50_000):
        value = [value]
    assert has_text(value)


def notes(tmp_path, *records, **settings):
    (reading,) = read(write_jsonl(tmp_path / "a.jsonl", list(records)), **settings).readings
    return reading.notes


def test_fields_with_text_that_are_left_unread_are_named(tmp_path):
    asked = {"question": ASK, "answer": TELL}
    assert notes(tmp_path, {**asked, "choices": ["It is 4.", TELL]}, {**asked, "title": "Sums of numbers"}) == [
        "Fields of a.jsonl with text that are left unread: choices, title."
    ]
    assert notes(tmp_path, {"messages": chat(ASK, TELL), "context": "A cat sat.", "system": "Be brief."}) == [
        "Fields of a.jsonl with text that are left unread: context."
    ]


@pytest.mark.parametrize(
    "aside",
    [
        {"category": "closed_qa", "n": 5}, {"rejected": "It is 4, I think."}, {"domain": "hard sums"},
        {"source": "Book of sums"}, {"cluster": "Book of sums"}, {"prompt_text": ASK},
        {"copy": [{"role": "user", "content": ASK}, TELL]},
        {"context": "What is 1"}, {"system": "Be brief."}, {"history": [["One more?", "Yes, two."]]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_text_or_read_elsewhere_is_not_named(tmp_path, aside):
    assert notes(tmp_path, {"question": ASK, "answer": TELL, **aside}) == []


def test_text_is_not_unread_where_its_field_was_named(tmp_path):
    assert notes(tmp_path, {"text": "A cat.", "title": "On cats and dogs"}, text_field="text") == []


def test_many_names_and_strange_ones_are_shortened(tmp_path):
    record = {"text": "A cat.", **{f"f{n:02}": "A dog and a cow." for n in range(12)}, "a\nb": "A dog and a cow."}
    names = ", ".join(["'a\\nb'", *(f"f{n:02}" for n in range(9))])
    assert notes(tmp_path, record) == [f"Fields of a.jsonl with text that are left unread: {names}, …."]


# ---- records of which nothing is read ----


def test_a_source_of_which_nothing_is_read_is_refused_with_its_names(tmp_path):
    records = [{"text": None, "body": "A black cat."}, {"text": "", "about": "A brown dog."}]
    with pytest.raises(UserError) as refused:
        read(write_jsonl(tmp_path / "a.jsonl", records))
    assert str(refused.value) == (
        "Of the corpus source 'a.jsonl' nothing can be read: its records hold text in about, body alone; give the field that "
        "holds it as text_field."
    )


def test_beside_others_its_fields_are_named_and_half_a_pair_is_nothing(tmp_path):
    records = [{"text": "A cat."}, {"text": None, "body": "A black cat."}, {"instruction": "Add these.", "output": None}]
    (reading,) = read(write_jsonl(tmp_path / "a.jsonl", records)).readings
    assert reading.line() == "a.jsonl: read as text, 1 document, 2 records without text skipped"
    assert reading.notes == ["Fields of a.jsonl with text that are left unread: body."]


# ---- bad answers ----


@pytest.mark.parametrize("judged", [False, "false", "False"])
@pytest.mark.parametrize("name", ["label", "kto_tag"])
@pytest.mark.parametrize("record", [{"prompt": ASK, "completion": TELL}, {"messages": chat(ASK, TELL)}], ids=["pair", "chat"])
def test_an_answer_that_was_judged_bad_is_skipped_and_counted(tmp_path, world, name, judged, record):
    from extract.corpus.documents import tokenize
    from extract.models.loading import load_tokenizer

    good = {"prompt": "the cat", "completion": "sat", "label": True}
    corpus = read(write_jsonl(tmp_path / "a.jsonl", [good, {**record, name: judged}, {**record, name: judged}]))
    assert corpus.readings[0].line() == (
        "a.jsonl: read as prompt and completion, 1 conversation, 2 answers that were judged bad skipped"
    )
    tokens = load_tokenizer(str(world.base))
    read_in = tokenize(corpus.records, tokens, Renderer(None, tokens), 1000, 1000)
    assert len(read_in.documents) == 1 and read_in.skipped == {BAD_ANSWER: 2}


def test_one_bad_answer_alone(tmp_path):
    (reading,) = read(write_jsonl(tmp_path / "a.jsonl", [{"prompt": ASK, "completion": TELL, "label": False}])).readings
    assert reading.line() == "a.jsonl: read as prompt and completion, 0 conversations, 1 answer that was judged bad skipped"


@pytest.mark.parametrize("record", [{"text": "A cat.", "label": False}, {"prompt": ASK, "answer": TELL, "label": 0}], ids=str)
def test_a_class_is_no_judgement(tmp_path, record):
    (reading,) = read(write_jsonl(tmp_path / "a.jsonl", [record])).readings
    assert reading.formats.total() == 1 and not reading.bad
