"""Turns by any of their names: whose each is, what it says, and what is refused in a sentence."""

import json

import pytest

from extract.corpus.chat_turns import CALLS, SPEAKERS, as_turns, is_marked, marked_turns
from extract.corpus.records import Record
from extract.corpus.render import Renderer
from store.errors import UserError
from tests.support.data_formats import chat
from tests.unit.extract.corpus.test_chat_template import tokenizer

USERS, ASSISTANTS = ("user", "human", "Human", "USER", "prompter"), (
    "assistant", "Assistant", "gpt", "GPT", "ai", "AI", "bot", "chatbot", "ChatGPT", "model", " assistant ",
)  # fmt: skip


@pytest.mark.parametrize("who", ["role", "from", "speaker"])
@pytest.mark.parametrize("what", ["content", "value", "text", "message"])
def test_who_speaks_and_what_by_every_name(who, what):
    for role, names in {"user": USERS, "assistant": ASSISTANTS, "system": ("system", "developer"), "tool": ("tool",)}.items():
        for name in names:
            assert as_turns([{who: name, what: "A cat."}]) == [{"role": role, "content": "A cat."}]


def test_a_column_of_a_table_that_is_null_is_not_there():
    """Tables give every turn every field that any of them has."""
    turn = {"role": None, "from": "gpt", "content": None, "value": "A cat.", "tool_calls": None}
    assert as_turns([turn]) == [{"role": "assistant", "content": "A cat."}]
    assert as_turns([{"role": "ai", "content": "", "text": "A cat.", "name": "x"}]) == [
        {"role": "assistant", "content": "A cat.", "name": "x"}
    ]


@pytest.mark.parametrize("role", ["narrator", "assistant2", "", 5, ["user"], {"a": 1}])
def test_a_role_that_is_nobodys_is_refused(role):
    with pytest.raises(ValueError, match=r"has a turn from .*, and it must be from one of human, user"):
        as_turns([{"role": role, "content": "x"}])


def test_a_renderer_takes_no_role_for_a_prompt_that_it_does_not_know():
    record = Record("s", "d", {"messages": [{"role": "narrator", "content": "x"}]}, "a.jsonl, line 1")
    with pytest.raises(UserError, match="line 1 has a message of the role 'narrator', and it must be one of user, assistant"):
        Renderer("{% for m in messages %}{{ m.content }}{% endfor %}", tokenizer()).render(record)


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ("a cat", "a turn that is a str"), (["a"], "a turn that is a list"), ({"content": "x"}, "(it has 'content')"),
        ({}, "(it has nothing)"), ({"role": "user", "words": "a black cat"}, "can be read (it has 'role', 'words')"),
        ({"role": "assistant", "content": None, "refusal": "I will not."}, "(it has 'role', 'content', 'refusal')"),
        ({"role": "assistant", "content": None, "function_call": "no call"}, "(it has 'role', 'content', 'function_call')"),
        ({"role": "user", "content": 5}, "content is a int"), ({"role": "user", "content": {"a": "b"}}, "content is a dict"),
        ({"role": "user", "content": [5]}, "a part that is a int"), ({"input": 5, "output": "x"}, "content is a int"),
    ],
    ids=str,
)  # fmt: skip
def test_a_turn_of_which_nothing_can_be_read_is_refused_with_its_names(turn, said):
    with pytest.raises(ValueError, match="has a turn") as refused:
        as_turns([turn])
    assert said in str(refused.value)


def test_a_turn_that_says_nothing_is_null_and_a_system_message_none():
    assert as_turns([{"role": "user", "content": None, "name": "x"}]) == [{"role": "user", "content": None, "name": "x"}]
    assert as_turns([{"role": "system", "content": None}, *chat("a")]) == chat("a")
    assert as_turns([{"from": "system", "value": float("nan")}, *chat("a")]) == chat("a")


@pytest.mark.parametrize("written", [lambda call: call, json.dumps], ids=["object", "JSON"])
@pytest.mark.parametrize("speaker", CALLS)
def test_calls_of_functions(written, speaker):
    call = {"name": "add", "arguments": {"a": 1}}
    called = [{"type": "function", "function": call}]
    for turn in (
        {"role": "assistant", "content": "", "function_call": written(call)}, {"from": speaker, "value": written(call)},
        {"role": speaker, "content": written(call)},
    ):  # fmt: skip
        assert as_turns([turn]) == [{"role": "assistant", "content": "", "tool_calls": called}]


def test_turns_of_prompt_and_answer():
    assert as_turns([{"input": "a", "output": "b"}, {"human": "c", "assistant": "d"}]) == chat("a", "b", "c", "d")
    assert as_turns([{"question": "a", "answer": "b", "id": 5}, {"user": "c"}]) == chat("a", "b", "c")


def test_what_was_made_messages_stays_as_it_is():
    turns = [{"role": "tool", "content": "3", "tool_call_id": "c1"}, *chat("a", "b")]
    assert as_turns(as_turns(turns)) == turns
    assert set(SPEAKERS.values()) == {"user", "assistant", "system", "tool"}


# ---- marks ----


def test_marks_part_a_text_into_turns():
    text = "\n\nHuman: One\n\ntwo: three\n\nAssistant: Four Human: five\n\nHuman:six\n\nAssistant:"
    assert is_marked(text)
    assert marked_turns(text) == chat("One\n\ntwo: three", "Four Human: five", "six", "")
    assert marked_turns("Human: a\n\nHuman: b\n\nAssistant: \n\nAssistant: c") == chat("a\n\nb", "c")


@pytest.mark.parametrize("text", ["", "Human: alone", "A cat.\n\nHuman: x\n\nAssistant: y", "\n\nAssistant: x\n\nHuman: y"])
def test_a_text_that_begins_otherwise_has_no_marks(text):
    assert not is_marked(text)
