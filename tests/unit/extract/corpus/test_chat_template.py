"""Which chat template is used, what is said about it, and that none can stop a run or make two of one."""

import hashlib
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from extract.corpus import chat_template
from extract.corpus.chat_template import ChatTemplate, choose
from extract.corpus.documents import tokenize
from extract.corpus.records import Record
from extract.corpus.render import Renderer
from store.errors import UserError
from tests.support.templates import CHATML, COMMAND_R, LLAMA32

MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]


def tokenizer(template=None) -> PreTrainedTokenizerFast:
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "hi": 3, "ho": 4}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, "<unk>")), bos_token="<s>", eos_token="</s>",
        chat_template=template,
    )  # fmt: skip


def record(i: int = 0, **fields) -> Record:
    return Record(str(i), "d", fields, f"docs.jsonl, line {i + 1}")


def rendered(template: str, messages=MESSAGES) -> str:
    return Renderer(template, tokenizer()).render(record(messages=messages)).text


# ---- which one ----


@pytest.mark.parametrize("form", [list, dict])
def test_of_several_templates_the_default_is_used_as_transformers_does(form, tmp_path):
    """Command-R, Hermes 3: a list of named templates; saved and loaded, as its owner's folder has it."""
    named = {"default": COMMAND_R, "tool_use": "{{ 'TOOLS' }}"}
    given = [{"name": name, "template": source} for name, source in named.items()] if form is list else named
    tokenizer(given).save_pretrained(tmp_path)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    template, notes = choose(None, {"base": loaded})
    assert template.source == loaded.get_chat_template() == COMMAND_R and notes == []
    ours = Renderer(template, loaded).render(record(prompt="hi", response="ho"))
    assert ours.text == loaded.apply_chat_template(MESSAGES, tokenize=False).removeprefix("<s>")


def test_several_templates_without_a_default_are_named(tmp_path):
    with pytest.raises(UserError, match="'base' has the chat templates 'rag', 'tool_use', of which none is the default"):
        choose(None, {"base": tokenizer({"tool_use": "x", "rag": "y"})})


@pytest.mark.parametrize(
    ("templates", "origin", "said"),
    [
        ({"base": CHATML}, "base", None),
        ({"base": CHATML, "a": CHATML}, "base", None),
        ({"base": CHATML, "a": None}, "base", None),
        ({"base": CHATML, "a": COMMAND_R}, "base", "template of 'base'; 'a' has another, which no model sees here."),
        ({"base": CHATML, "b": COMMAND_R, "a": "x"}, "base", "template of 'base'; 'a', 'b' have others, which no"),
        ({"base": None, "a": COMMAND_R}, "a", "template of 'a', as the base has none."),
        ({"base": None, "b": COMMAND_R, "a": CHATML}, "b", "template of 'b', as the base has none; 'a' has another"),
        ({"base": None, "b": CHATML, "a": CHATML}, "b", "template of 'b', as the base has none."),
    ],
)
def test_whose_template_it_is_is_told_where_that_could_be_another(templates, origin, said):
    template, notes = choose(None, {name: tokenizer(source) for name, source in templates.items()})
    assert template.describe() == {"from": origin, "sha256": hashlib.sha256(template.source.encode()).hexdigest()}
    assert template.source == templates[origin]
    assert len(notes) == (said is not None) and all(said in note for note in notes)


def test_a_file_goes_first(tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text(CHATML, encoding="utf-8-sig")
    template, notes = choose(str(file), {"base": tokenizer(COMMAND_R)})
    assert (template.source, template.origin, notes) == (CHATML, "mine.jinja", [])


def corpus(renderer: Renderer, *records: Record):
    return tokenize(records, renderer_tokenizer, renderer, 1000, 100)


renderer_tokenizer = tokenizer()


def test_prompts_and_responses_without_a_template_are_told():
    found = corpus(Renderer.for_run(None, {"base": tokenizer()}), record(prompt="hi", response="ho"))
    assert found.chat_template is None
    assert found.notes == [
        "No model has a chat template: prompt and response of 1 documents were joined by a line break, without any."
    ]


def test_a_template_that_nothing_needs_is_not_told():
    both = {"base": tokenizer(CHATML), "a": tokenizer(COMMAND_R)}
    found = corpus(Renderer.for_run(None, both), record(text="hi"))
    assert (found.chat_template, found.notes) == ({}, [])
    found = corpus(Renderer.for_run(None, both), record(messages=MESSAGES))
    assert found.chat_template["from"] == "base" and len(found.notes) == 1


# ---- bounds ----

ENDLESS = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a number": "{{ (messages | length) ** (9 ** 10) }}",
    "a constant": "{{ 9 ** (9 ** 9) }}",
    "a number for one message only": "{% if 'hi' in messages[0].content %}{{ (messages | length) ** (9 ** 10) }}{% endif %}",
}  # fmt: skip
HUGE = {
    "a long string": "{{ 'x' * 99999999999 }}",
    "doubling": "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "padding": "{{ messages[0].content.ljust(99999999999) }}",
    "much output": "{% for i in range(3000) %}{{ 'x' * 1000 }}{% endfor %}",
    "recursion": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
}


@pytest.fixture
def tight(monkeypatch):
    """Less of everything, and a process of its own: what was allowed before stays."""
    monkeypatch.setattr(chat_template, "SECONDS", 1.0)
    monkeypatch.setattr(chat_template, "BYTES", 500_000_000)
    yield
    chat_template._worker.close()


@pytest.mark.parametrize("source", [*ENDLESS.values(), *HUGE.values()], ids=[*ENDLESS, *HUGE])
def test_a_template_that_would_never_end_is_one_sentence(tight, source):
    with pytest.raises(UserError) as refused:
        rendered(source)
    assert str(refused.value).startswith("The chat template") and "\n" not in str(refused.value)
    assert rendered(CHATML) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>\n"  # and others go on


@pytest.mark.parametrize("source", ["{{ ['a', 'b'] | random }}", "{{ lipsum() }}"])
def test_what_is_drawn_at_random_is_refused(source):
    with pytest.raises(UserError, match="it draws at random"):
        rendered(source + "{{ messages[0].content }}")


def test_the_worker_sees_nothing_of_the_environment(monkeypatch):
    """Jinja's sandbox hides it too; should that have a hole, there is nothing to find."""
    monkeypatch.setenv("HF_TOKEN", "secret")
    seen = {}

    def popen(*arguments, **named):
        seen.update(named["env"])
        return real(*arguments, **named)

    real = chat_template.subprocess.Popen
    chat_template._worker.close()
    monkeypatch.setattr(chat_template, "subprocess", SimpleNamespace(Popen=popen, PIPE=-1, DEVNULL=-3))
    assert rendered(CHATML)
    assert set(seen) <= {"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT"}


@pytest.mark.parametrize(
    ("content", "said"),
    [(5, "its content is a int"), ({"text": "x"}, "its content is a dict"), ([5], "neither text nor an object")],
)
def test_a_message_whose_content_is_neither_text_nor_parts_is_named(content, said):
    with pytest.raises(UserError, match=f"line 1 has a message .*{said}"):
        rendered(CHATML, [{"role": "user", "content": content}])


def test_the_same_tokens_on_any_day():
    """The date is the run's: by itself one day for all runs, else what the configuration says."""
    from datetime import date

    texts = [
        Renderer(ChatTemplate(LLAMA32, "base", {}, day), tokenizer()).render(record(messages=MESSAGES)).text
        for day in (chat_template.TEMPLATE_DATE, date(2031, 1, 2))
    ]
    assert "Today Date: 26 Jul 2024\n" in texts[0] and "Today Date: 02 Jan 2031\n" in texts[1]
