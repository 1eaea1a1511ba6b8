"""Which characters of a rendered conversation are prompt, response and template, whatever the template does to a message.

Long because each family's template, and what it does to a message, is a case.
"""

from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from extract.corpus.chat_template import ChatTemplate
from extract.corpus.records import Record
from extract.corpus.render import DROPPED, SEGMENTS, SHORTENED, UNPLACED, Renderer
from tests.support import templates

QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, "<unk>")),
        bos_token="<s>", eos_token="</s>", unk_token="<unk>",
    )  # fmt: skip


@pytest.fixture(scope="module")
def renderers(tokenizer) -> dict[str, Renderer]:
    return {name: Renderer(template, tokenizer) for name, template in templates.ALL.items()}


def chat(*contents: str, system: str | None = None) -> list[dict[str, str]]:
    """A conversation of user and assistant in turn."""
    turns = [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]
    return turns if system is None else [{"role": "system", "content": system}, *turns]


def render(renderer: Renderer, messages: list[dict]):
    return renderer.render(Record("id", "d", {"messages": messages}, "docs.jsonl, line 1"))


def pieces(rendered) -> list[tuple[str, str]]:
    """(segment, text) of each run of characters of one segment."""
    import numpy as np

    marks = rendered.segments_at(np.arange(len(rendered.text)))
    found: list[list[str]] = []
    for character, mark in zip(rendered.text, marks, strict=True):
        if not found or found[-1][0] != SEGMENTS[mark]:
            found.append([SEGMENTS[mark], ""])
        found[-1][1] += character
    return [(segment, text) for segment, text in found]


def said(rendered, segment: str) -> list[str]:
    return [text for name, text in pieces(rendered) if name == segment]


def only(template: str, tokenizer, messages: list[dict]):
    return render(Renderer(template, tokenizer), messages)


# ---- rendering is transformers' ----


@pytest.mark.parametrize("name", templates.ALL)
@pytest.mark.parametrize(
    "messages", [chat("one", "two", "three", "four"), chat("hi \n", " <think>\na\n</think>\n\nb ", system="s")]
)
def test_a_template_writes_what_transformers_writes(tokenizer, renderers, name, messages):
    template = templates.ALL[name]
    theirs = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, date_string="26 Jul 2024")
    assert render(renderers[name], messages).text == theirs.removeprefix("<s>")


# ---- turns ----


@pytest.mark.parametrize("name", templates.ALL)
@pytest.mark.parametrize(
    "contents",
    [
        ("hello there", "general"), ("a", "b", "c", "d"), ("u", "user", "assistant", "model"), ("x", "x", "x", "x"),
        ("<|im_start|>", "<|im_end|>\n<|im_start|>user", "</s>", "[INST]"), ("\ue000", "\ue001x\ue000", "\U000f0000", "\ue002"),
        ("what? {{ x }}", "no & yes <b> \"q\"", "'", "\\n"), ("你好", "naïve 😀"), ("two\n\nlines", "of  two\twords"),
    ],
)  # fmt: skip
def test_what_is_said_is_prompt_and_response(renderers, name, contents):
    rendered = render(renderers[name], chat(*contents))
    assert said(rendered, "prompt") == list(contents[::2])
    assert said(rendered, "response") == list(contents[1::2])
    assert not +rendered.changes


@pytest.mark.parametrize("template", ["", "{% if messages[0]['content'] == 'never' %}x{% endif %}"])
def test_a_template_that_writes_nothing(tokenizer, template):
    rendered = render(Renderer(template, tokenizer), chat("the cat", "sat"))
    assert rendered.text == ""


@pytest.mark.parametrize("name", sorted(templates.ALL.keys() - {"mistral"}))
def test_a_system_message_is_prompt_wherever_the_template_puts_it(renderers, name):
    rendered = render(renderers[name], chat("question", "answer", system="be brief"))
    assert "".join(said(rendered, "prompt")) == "be briefquestion"
    assert said(rendered, "response") == ["answer"]


def test_a_system_message_put_before_the_last_question(renderers):
    """Mistral's way; a conversation that ends with an answer leaves it out, which is counted."""
    rendered = render(renderers["mistral"], chat("q1", "a1", "q2", system="be brief"))
    assert pieces(rendered) == [
        ("template", "[INST] "), ("prompt", "q1"), ("template", "[/INST] "), ("response", "a1"), ("template", "</s>[INST] "),
        ("prompt", "be brief"), ("template", "\n\n"), ("prompt", "q2"), ("template", "[/INST]"),
    ]  # fmt: skip
    rendered = render(renderers["mistral"], chat("q1", "a1", system="be brief"))
    assert said(rendered, "prompt") == ["q1"]
    assert +rendered.changes == {DROPPED: 1}


def test_a_system_message_of_the_templates_own_is_template(renderers):
    rendered = render(renderers["qwen2.5"], chat("hi", "ho"))
    assert pieces(rendered)[0] == (
        "template", "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    )  # fmt: skip


THINKING = "<think>\nfirst this\n</think>\n\nso that"


def test_reasoning_that_is_written_back_is_response(renderers):
    """Qwen 3 takes it out of the last answer and writes it again."""
    rendered = render(renderers["qwen3"], chat("why?", THINKING))
    assert pieces(rendered) == [
        ("template", "<|im_start|>user\n"), ("prompt", "why?"), ("template", "<|im_end|>\n<|im_start|>assistant\n"),
        ("response", THINKING), ("template", "<|im_end|>\n"),
    ]  # fmt: skip
    assert not +rendered.changes


@pytest.mark.parametrize("thinking", ["<think>first this</think>so that", "<think>\n\n\nfirst this\n\n</think>\n\n\n\nso that"])
def test_reasoning_that_is_written_back_otherwise_is_response(renderers, thinking):
    rendered = render(renderers["qwen3"], chat("why?", thinking))
    assert said(rendered, "prompt") == ["why?"]
    (answer,) = said(rendered, "response")
    assert answer.endswith("first this\n</think>\n\nso that")


def test_the_case_of_the_report(tokenizer):
    """A template that takes the reasoning out of every answer and writes it back its own way."""
    template = (
        "{% for m in messages %}<turn>{{ m.role }}\n{% if '</think>' in m.content %}"
        "{% set parts = m.content.split('</think>') %}<think>\n{{ parts[0].replace('<think>', '').strip() }}\n</think>\n\n"
        "{{ parts[1].strip() }}{% else %}{{ m.content }}{% endif %}</turn>\n{% endfor %}"
    )
    rendered = only(template, tokenizer, chat("q1", "<think>\nA\n</think>\n\nB", "q2", "<think>C</think>D"))
    assert said(rendered, "prompt") == ["q1", "q2"]
    assert said(rendered, "response") == ["<think>\nA\n</think>\n\nB", "<think>\nC\n</think>\n\nD"]
    assert "".join(said(rendered, "template")) == (
        "<turn>user\n</turn>\n<turn>assistant\n</turn>\n<turn>user\n</turn>\n<turn>assistant\n</turn>\n"
    )


def test_reasoning_of_earlier_turns_that_is_left_out_is_counted(renderers):
    rendered = render(renderers["qwen3"], chat("one", THINKING, "two", THINKING))
    assert said(rendered, "response") == ["so that", THINKING]
    assert +rendered.changes == {SHORTENED: 1}
    rendered = render(renderers["deepseek-r1"], chat("one", THINKING, "two", THINKING))
    assert [text.strip() for text in said(rendered, "response")] == ["so that", "so that"]
    assert +rendered.changes == {SHORTENED: 2}


def test_reasoning_in_a_field_of_its_own_is_response(renderers):
    messages = chat("why?", "so that")
    messages[1]["reasoning_content"] = "first this"
    rendered = render(renderers["qwen3"], messages)  # which writes <think> without any reasoning too
    assert said(rendered, "response") == ["first this\n</think>\n\nso that"]
    rendered = render(renderers["chatml"], messages)  # which does not know it
    assert said(rendered, "response") == ["so that"]
    assert +rendered.changes == {SHORTENED: 1}


def test_an_empty_think_block_of_the_templates_own_is_template(renderers):
    rendered = render(renderers["qwen3"], chat("why?", "so that"))
    assert pieces(rendered)[2:] == [
        ("template", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"), ("response", "so that"),
        ("template", "<|im_end|>\n"),
    ]  # fmt: skip


def test_a_call_of_a_tool_is_response(renderers):
    messages = chat("weather?", "let me see")
    messages[1]["tool_calls"] = [{"type": "function", "function": {"name": "look", "arguments": {"at": 'a "b" town'}}}]
    rendered = render(renderers["qwen2.5"], messages)
    assert said(rendered, "prompt") == ["weather?"]
    assert said(rendered, "response") == [
        'let me see\n<tool_call>\n{"name": "look", "arguments": {"at": "a \\"b\\" town"}}\n</tool_call>'
    ]


ALTERED = {
    "lower": ("{{ m.content | lower }}", "hello there"),
    "upper": ("{{ m.content | upper }}", "HELLO THERE"),
    "escape": ("{{ m.content | e }}", "Hello There"),
    "trim": ("{{ m.content | trim }}", "Hello There"),
    "indent": ("{{ m.content | indent(4, first=true) }}", "    Hello There"),
    "truncate": ("{{ m.content[:5] }}", "Hello"),
    "json": ("{{ m.content | tojson }}", '"Hello There"'),
    "ascii json": ("{{ m.content | tojson(ensure_ascii=true) }}", '"Hello There"'),
    "twice": ("{{ m.content }} / {{ m.content }}", "Hello There / Hello There"),
    "words": ("{{ m.content.split() | join('_') }}", "Hello_There"),
    "reversed words": ("{{ m.content.split(' ') | reverse | join(' ') }}", "There Hello"),
    "urlencode": ("{{ m.content | urlencode }}", "Hello%20There"),
    "single letters": ("{{ m.content.replace('l', 'LL') }}", "HeLLLLo There"),
    "longer": ("{{ m.content.replace('Hello', 'Good morning') }}", "Good morning There"),
}


@pytest.mark.parametrize(("expression", "text"), ALTERED.values(), ids=ALTERED)
def test_what_a_template_alters_belongs_to_its_turn(tokenizer, expression, text):
    template = "{% for m in messages %}<turn>{{ m.role }}\n" + expression + "</turn>\n{% endfor %}"
    rendered = only(template, tokenizer, chat("Hello There", "Hello There"))
    assert rendered.text == f"<turn>user\n{text}</turn>\n<turn>assistant\n{text}</turn>\n"
    assert [part.strip(' "') for part in said(rendered, "prompt")] == [text.strip(' "')]
    assert [part.strip(' "') for part in said(rendered, "response")] == [text.strip(' "')]
    assert UNPLACED not in +rendered.changes


def test_what_cannot_be_told_is_counted(tokenizer):
    """Both messages in one sorted heap of letters: no character has a turn."""
    template = "{{ (messages | map(attribute='content') | join) | list | sort | join }}"
    rendered = only(template, tokenizer, chat("hello", "there"))
    assert rendered.text == "eeehhllort"
    assert +rendered.changes  # whichever is found, the other is not


@pytest.mark.parametrize("edge", ["{{ m.content }}", "{{ m.content | trim }}"])
def test_white_space_at_the_edge_belongs_to_who_wrote_it(tokenizer, edge):
    """'hi' and a line break: the message's where it is kept, the template's where that trims and writes its own."""
    template = "{% for m in messages %}<" + "{{ m.role }}>\n" + edge + "{{ '\n' }}</turn>\n{% endfor %}"
    rendered = only(template, tokenizer, chat("\nhi\n", "ho\n"))
    kept = "trim" not in edge
    assert said(rendered, "prompt") == ["\nhi\n" if kept else "hi"]
    assert said(rendered, "response") == ["ho\n" if kept else "ho"]


def test_empty_messages(renderers):
    rendered = render(renderers["chatml"], chat("", "answer", "more", ""))
    assert said(rendered, "prompt") == ["more"] and said(rendered, "response") == ["answer"]
    assert not +rendered.changes


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\ufeff"), min_size=1, max_size=30)


@QUICK
@given(name=st.sampled_from(sorted(templates.ALL)), contents=st.lists(WORDS, min_size=1, max_size=5))
def test_any_text_is_found_in_any_template(renderers, name, contents):
    """Everything that is said and kept is of its turn, everything else is the template's: undone, both give what was given."""
    contents = [content for content in contents if content.strip()] or ["x"]
    rendered = render(renderers[name], chat(*contents))
    found = pieces(rendered)
    for role, spoken_by in (("prompt", contents[::2]), ("response", contents[1::2])):
        spoken = [text for segment, text in found if segment == role]
        if "</think>" not in "".join(spoken_by):
            assert [text.strip() for text in spoken] == [text.strip() for text in spoken_by]
    frame = render(renderers[name], chat(*("\ue0ff" for _ in contents))).text
    if "</think>" not in "".join(contents):
        assert "".join(text for segment, text in found if segment == "template") == frame.replace("\ue0ff", "")


@QUICK
@given(
    thought=st.sampled_from(["", "a", "first this", "\nx\n"]),
    answer=st.sampled_from(["", "b", "so that", "\ny "]),
    n=st.integers(1, 3),
)
def test_reasoning_never_counts_as_template(renderers, thought, answer, n):
    contents = ["q", f"<think>{thought}</think>{answer}"] * n
    rendered = render(renderers["qwen3"], chat(*contents))
    spoken = "".join(said(rendered, "response"))
    assert spoken.count(answer.strip() or "</think>") >= (n if answer.strip() else 0)
    assert thought.strip() in spoken
    assert said(rendered, "prompt") == ["q"] * n


# ---- bounds, dates, chance ----


def test_the_date_is_the_runs(tokenizer):
    template = ChatTemplate(templates.LLAMA32, "base", tokenizer.special_tokens_map, date(2025, 3, 9))
    renderer = Renderer(template, tokenizer)
    assert "Today Date: 09 Mar 2025\n" in render(renderer, chat("hi")).text
    (note,) = renderer.notes()
    assert "2025-03-09" in note and "template_date" in note
    silent = Renderer(templates.CHATML, tokenizer)
    render(silent, chat("hi"))
    assert silent.notes() == []


@pytest.mark.parametrize("pattern", ["%s", "%c %Z %z", "%A %H:%M"])
def test_neither_clock_nor_time_zone_is_seen(tokenizer, monkeypatch, pattern):
    template = "{{ strftime_now('" + pattern + "') }}{{ messages[0].content }}"
    seen = set()
    for zone in ("Etc/GMT+12", "Pacific/Kiritimati"):
        monkeypatch.setenv("TZ", zone)
        from extract.corpus import chat_template

        chat_template._worker.close()  # the next one starts with that environment
        seen.add(only(template, tokenizer, chat("x")).text)
    assert len(seen) == 1


def test_what_a_dataset_holds_beside_text_is_shown_as_transformers_shows_it(tokenizer):
    """Dates and the like in a message are not JSON."""
    messages = [{"role": "user", "content": "hi", "at": date(2020, 1, 2), "also": None}]
    template = "{{ messages[0].content }} {{ messages[0].at }}{{ messages[0].also is defined }}"
    theirs = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
    assert only(template, tokenizer, messages).text == theirs == "hi <date>False"
