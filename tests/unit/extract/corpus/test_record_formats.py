"""Formats of records: what each says, which comes first, and what is told of a source."""

import json

import pytest

from extract.config_sections import SourceConfig
from extract.corpus.record_formats import FORMATS as KNOWN
from extract.corpus.record_formats import recognise
from extract.corpus.records import read_corpus
from extract.corpus.render import Renderer
from store.errors import UserError
from tests.support.data_formats import ASK, FORMATS, QA, TELL, chat, share
from tests.support.templates import QWEN25
from tests.support.world import write_jsonl

TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] or '' }}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
    "{% endfor %}{% endfor %}"
)


def read(path, **settings):
    return read_corpus([SourceConfig(path=str(path), **{"domain": "d", **settings})])


def said(fields) -> tuple[tuple[str, object], ...]:
    """(role, content) of what a record became, whichever form that has."""
    if "text" in fields:
        return (("text", fields["text"]),)
    if "messages" not in fields:
        return (("user", fields["prompt"]), ("assistant", fields["response"]))
    return tuple((message["role"], text_of(message["content"])) for message in fields["messages"])


def text_of(content):
    return "".join(part["text"] for part in content) if isinstance(content, list) else content


@pytest.mark.parametrize("case", FORMATS, ids=lambda case: case.name)
def test_a_format_says_what_its_trainers_read(tmp_path, case):
    path = tmp_path / "train.jsonl"
    path.write_text(case.line + "\n", encoding="utf-8")
    corpus = read(path)
    (record,) = corpus.records
    assert said(record.fields) == case.said
    calls = [call["function"]["name"] for m in record.fields.get("messages", []) for call in m.get("tool_calls") or []]
    assert tuple(calls) == case.calls and len(record.fields.get("tools", [])) == case.tools
    assert corpus.readings[0].format == case.told
    remark = " (the chosen answer of each)" if case.told == "preference" else ""
    unit = "document" if case.told == "text" else "conversation"
    assert corpus.readings[0].line() == f"train.jsonl: read as {case.told}{remark}, 1 {unit}"


@pytest.mark.parametrize("case", [case for case in FORMATS if case.said[0][0] != "text"], ids=lambda case: case.name)
def test_a_format_is_rendered_and_marked(tmp_path, case):
    """What the user and others say is prompt, what the assistant says and calls is response."""
    (record,) = read(write_jsonl(tmp_path / "train.jsonl", [case.record])).records
    rendered = Renderer(TEMPLATE, tokenizer()).render(record)
    calls = iter(case.calls)
    texts = [(role, text or next(calls)) for role, text in case.said]
    assert rendered.text == "".join(f"[{role}]{text}" for role, text in texts)
    marked = [(rendered.text[start:end], segment) for start, end, segment in rendered.spans]
    assert marked == [(text, "response" if role == "assistant" else "prompt") for role, text in texts]


def tokenizer():
    from tests.unit.extract.corpus.test_chat_template import tokenizer

    return tokenizer()


# ---- which comes first ----


def test_what_was_read_before_comes_before_what_is_new():
    """So that no file is read otherwise than it was: a question beside a text, UltraFeedback's messages."""
    assert recognise({"question": "a", "answer": "b", "text": "c"}).format.name == "text"
    assert recognise({"prompt": "a", "response": "b", "text": "c", "chosen": "d"}).format.name == "prompt and response"
    feedback = {"messages": chat("a", "b"), "chosen": chat("a", "c"), "prompt": "a"}
    assert recognise(feedback).fields == {"messages": chat("a", "b")}


def test_messages_that_await_the_chosen_are_a_preference_but_where_messages_are_asked_for():
    fields = {"messages": chat("a"), "chosen": "b"}
    assert recognise(fields).fields == {"messages": chat("a", "b")}
    assert recognise(fields, "messages").fields == {"messages": chat("a")}
    assert recognise({"messages": chat("a"), "chosen": None}).fields == {"messages": chat("a")}


@pytest.mark.parametrize("output", ["", None])
def test_the_text_beside_an_instruction_is_its_rendering_though_the_answer_is_empty(output):
    """A few of tatsu-lab's are; read as text they would be the only ones."""
    found = recognise({"instruction": "a", "input": "", "output": output, "text": "Instruction: a Response:"})
    assert found.format.name == "Alpaca"
    assert found.fields == ({"text": None} if output is None else {"prompt": "a", "response": ""})


def test_a_format_that_is_named_is_what_is_read(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"instruction": "a", "output": "b", "text": "c"}])
    assert read(path, format="text").records[0].fields == {"text": "c"}
    assert read(path).records[0].fields == read(path, format="alpaca").records[0].fields == {"prompt": "a", "response": "b"}
    with pytest.raises(UserError, match="there is no format 'alpacca'; choose from 'messages', 'ShareGPT'"):
        read(path, format="alpacca")
    with pytest.raises(UserError, match="line 1 is not of the format 'ShareGPT', whose fields are 'messages'"):
        read(path, format="ShareGPT")


def test_a_text_field_that_is_named_wins_over_every_format(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"instruction": "a", "output": "b", "text": "c", "messages": chat("x", "y")}])
    assert read(path).records[0].fields == {"messages": chat("x", "y")}
    assert read(path, text_field="text").records[0].fields == {"text": "c"}
    assert read(path, text_field="output").records[0].fields == {"text": "b"}
    assert read(path, text_field="output").readings[0].line() == "a.jsonl: read as text, 1 document"


def test_names_of_formats_are_those_that_a_configuration_may_give(tmp_path):
    assert {case.told for case in FORMATS} <= {known.name for known in KNOWN}


# ---- what is told ----


def test_a_mixed_source_is_told_with_counts(tmp_path):
    records = [{"conversations": share(("human", ASK), ("gpt", str(i)))} for i in range(1200)]
    records += [{"instruction": ASK, "output": str(i)} for i in range(2)] + [{"instruction": ASK, "output": None}]
    reading = read(write_jsonl(tmp_path / "mixed.jsonl", records)).readings[0]
    assert reading.line() == (
        "mixed.jsonl: read as 2 formats: ShareGPT, 1,200 conversations; Alpaca, 2 conversations, 1 record without text skipped"
    )
    assert reading.describe()["format"] == "ShareGPT (1,200), Alpaca (2)"


NULLS = [
    {"text": None}, {"text": float("nan")}, {"text": " "}, {"prompt": "a", "response": None}, {"prompt": None},
    {"messages": None}, {"messages": [{"role": "user", "content": None}]}, {"conversations": None},
    {"conversations": [{"from": "human", "value": None}, {"from": "gpt", "value": "x"}]},
    {"instruction": "a", "input": "b", "output": None}, {"prompt": "a", "chosen": None}, {"question": None, "answer": None},
    {"messages": [{"role": "assistant", "content": None, "tool_calls": None}]},
]  # fmt: skip


@pytest.mark.parametrize("record", NULLS, ids=json.dumps)
def test_a_record_without_text_is_skipped_and_counted(tmp_path, record):
    corpus = read(write_jsonl(tmp_path / "a.jsonl", [record, {"text": "a cat"}]))
    assert corpus.readings[0].line() == "a.jsonl: read as text, 1 document, 1 record without text skipped"
    assert not Renderer(TEMPLATE, tokenizer()).render(corpus.records[0]).text.strip()


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"body": "x", "n": 5}, "has none of: text; prompt and response (or completion, and other names of the two)"),
        ({"text": 5}, "it has 'text', a int"), ({"question": "a", "choices": ["b"], "answer": 0}, "'answer', a int"),
        ({"conversations": [{"from": "narrator", "value": "x"}]}, "a turn from 'narrator', and it must be from one of human"),
        ({"instruction": "a", "output": "b", "history": "c"}, "'history' what is no list"),
        ({"instruction": "a", "output": "b", "history": [["c"]]}, "no list of pairs, prompt and answer"),
        ({"messages": "[not JSON"}, "in the field 'messages' what is no list, nor one written in JSON"),
        ({"messages": chat("a"), "tools": "[not JSON"}, "in the field 'tools' what is no list"),
    ],
)  # fmt: skip
def test_what_is_of_no_format_is_named_with_its_line(tmp_path, record, said):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}, record])
    with pytest.raises(UserError) as refused:
        read(path)
    assert str(refused.value).startswith("The document at a.jsonl, line 2 ") and said in str(refused.value)
    assert str(refused.value).isprintable()


# ---- parts and tools ----


def test_parts_that_are_no_text_are_left_out_and_counted(tmp_path):
    from extract.corpus.render import PARTS

    parts = [{"type": "image"}, {"type": "text", "text": "What is "}, "this?", {"type": "image_url", "image_url": {"url": "x"}}]
    (record,) = read(
        write_jsonl(tmp_path / "a.jsonl", [{"messages": [{"role": "user", "content": parts}, *chat("", "A cat.")[1:]]}])
    ).records
    rendered = Renderer(TEMPLATE, tokenizer()).render(record)
    assert rendered.text == "[user]What is this?[assistant]A cat." and rendered.changes[PARTS] == 2


def test_calls_and_tools_are_written_by_a_template_that_knows_them(tmp_path):
    case = next(case for case in FORMATS if case.name == "calls of tools (OpenAI)")
    template = "{%- if tools %}<tools>{{ tools | length }}</tools>{%- endif %}" + QWEN25
    (record,) = read(write_jsonl(tmp_path / "a.jsonl", [case.record])).records
    rendered = Renderer(template, tokenizer()).render(record)
    marked = [(rendered.text[start:end], segment) for start, end, segment in rendered.spans]
    assert "<tools>1</tools>" in rendered.text
    assert marked[0] == (ASK, "prompt")
    assert marked[1][1] == "response" and '{"name": "add", "arguments": {"a": 1, "b": 2}}' in marked[1][0]


def test_calls_that_a_template_cannot_write_are_skipped_and_told(tmp_path, world):
    from extract.corpus.documents import tokenize
    from extract.corpus.render import NO_TOOLS
    from extract.models.loading import load_tokenizer

    case = next(case for case in FORMATS if case.name == "calls of tools (OpenAI)")
    strict = "{% for m in messages %}{{ raise_exception('none') if m.role == 'tool' }}[{{ m.role }}]{{ m.content }}{% endfor %}"
    records = read(write_jsonl(tmp_path / "a.jsonl", [case.record, {"prompt": "the cat", "response": "sat"}])).records
    tokens = load_tokenizer(str(world.base))
    corpus = tokenize(records, tokens, Renderer(strict, tokens), 1000, 1000)
    assert corpus.skipped == {NO_TOOLS: 1} and len(corpus.documents) == 1
    assert f"1 documents were left out, as each holds {NO_TOOLS}." in corpus.notes


def test_question_and_answer_without_a_template_are_two_lines(tmp_path):
    (record,) = read(write_jsonl(tmp_path / "a.jsonl", [{"question": ASK, "answer": TELL}])).records
    rendered = Renderer(None).render(record)
    assert rendered.text == f"{ASK}\n{TELL}" and QA == (("user", ASK), ("assistant", TELL))
