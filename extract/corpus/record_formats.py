"""The formats of fine-tuning data: which fields of a record hold what it says, in the order in which they are recognised.

A record is recognised by the fields that it fills, and becomes one of three: ``text``; ``prompt`` and ``response``; or
``messages`` (role and content), perhaps with ``tools``. Where it fits several formats, the first of FORMATS is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from extract.corpus.chat_turns import as_list, as_tools, as_turns, is_list, is_null, is_share_gpt

Fields = Mapping[str, Any]

PROMPTS = ("prompt", "instruction", "question", "query", "problem", "input")
ANSWERS = ("response", "completion", "output", "answer", "solution")
CHATS = ("conversations", "conversation", "dialogue", "dialog")
"""Fields other than ``messages`` that hold a list of turns."""
SYSTEMS = ("system", "system_prompt")
HALVES = ("prompt", "response")
"""Where one is null, a record says nothing, whatever else there is."""
WITHOUT_TEXT = {"text": None}
"""What a record becomes that holds null instead of what it should say."""


@dataclass(frozen=True)
class Format:
    """One way to write a record.

    Attributes:
        name: what people call it.
        fields: that a record must fill.
        read: the record's fields -> what it becomes; ValueError where one of them cannot be read.
        accepts: whether a value can be what is looked for.
        unit: what its records are called in a count.
        remark: what is said of it beside its name.
    """

    name: str
    fields: tuple[str, ...]
    read: Callable[[Fields], Fields]
    accepts: Callable[[Any], bool]
    unit: str = "conversations"
    remark: str = ""

    def fits(self, fields: Fields, with_null: bool = False) -> bool:
        """Whether a record has what this format needs.

        Args:
            with_null: a field that is there and null will do.
        """
        return all(
            name in fields and (self.accepts(fields[name]) or (with_null and is_null(fields[name]))) for name in self.fields
        )


@dataclass(frozen=True)
class Recognised:
    """A record and the format that it was read by.

    Attributes:
        fields: text; prompt and response; or messages.
        without_text: it holds null instead of what it should say.
    """

    format: Format
    fields: Fields

    @property
    def without_text(self) -> bool:
        return self.fields is WITHOUT_TEXT


def recognise(fields: Fields, wanted: str | None = None) -> Recognised:
    """Read a record by the first format that it fits.

    Args:
        wanted: name of the only format that it may have.

    Raises:
        ValueError: it fits none, or a field of it cannot be read; the message goes on after 'The document at …'.
    """
    formats = [known for known in FORMATS if wanted is None or known.name == wanted]
    for known in formats:
        if known.fits(fields):
            return Recognised(known, _without_null(known.read(fields)))
    for known in formats:
        if known.fits(fields, with_null=True):
            return Recognised(known, WITHOUT_TEXT)
    if wanted is None and any(is_null(fields.get(name)) for name in HALVES if name in fields):
        return Recognised(_TEXT, WITHOUT_TEXT)
    kinds = {name: "" if isinstance(value, str) else f", a {type(value).__name__}" for name, value in fields.items()}
    held = "; ".join(sorted(f"{name!r}{kind}" for name, kind in kinds.items())[:10]) or "no fields"
    if wanted is not None:
        needed = next(iter(formats)).fields
        raise ValueError(f"is not of the format '{wanted}', whose fields are {', '.join(map(repr, needed))} (it has {held})")
    raise ValueError(
        f"has none of: {COMMON} (it has {held}); give the field that holds the text as text_field, or write the records in one "
        "of these formats"
    )


def says_nothing(fields: Fields) -> bool:
    """Whether what a record became is null, or only white space."""
    said = [fields.get(name) for name in ("text", *HALVES)] if "messages" not in fields else []
    said += [turn.get("content") or turn.get("tool_calls") for turn in fields.get("messages", ()) if isinstance(turn, dict)]
    return not any(one.strip() if isinstance(one, str) else one for one in said)


def named_format(name: str) -> str:
    """A format's name as it is written here, whatever its case.

    Raises:
        ValueError: there is none of that name.
    """
    for known in FORMATS:
        if known.name.casefold() == name.casefold():
            return known.name
    raise ValueError(f"there is no format {name!r}; choose from {', '.join(repr(known.name) for known in FORMATS)}")


# ---- reading ----


def _without_null(fields: Fields) -> Fields:
    """The fields, or WITHOUT_TEXT where a message says nothing at all: null, and no call of a tool."""
    for message in fields.get("messages", ()):
        if isinstance(message, dict) and is_null(message.get("content")) and not message.get("tool_calls"):
            return WITHOUT_TEXT
    return fields


def _text(fields: Fields) -> Fields:
    return {"text": fields["text"]}


def _messages(field: str) -> Callable[[Fields], Fields]:
    return lambda fields: _conversation(fields, _with_system(fields, as_turns(as_list(fields[field], field))))


def _pair(prompt: str, answer: str) -> Callable[[Fields], Fields]:
    """Of a prompt and an answer, each a text or a list of messages; a system prompt, an input and a history where there are."""

    def read(fields: Fields) -> Fields:
        if prompt != "instruction":
            return _exchange(fields, fields[prompt], fields[answer])
        return _exchange(fields, _with_input(fields), fields[answer], _history(fields.get("history")))

    return read


def _with_input(fields: Fields) -> Any:
    """An instruction, and on lines of its own what it is about: Alpaca's ``input``, Dolly's ``context``."""
    about = next((fields[name] for name in ("input", "context") if _is_said(fields.get(name))), None)
    if about is None or not isinstance(fields["instruction"], str):
        return fields["instruction"]
    return f"{fields['instruction']}\n\n{about}"


def _exchange(fields: Fields, asked: Any, answered: Any, history: Sequence[Any] = ()) -> Fields:
    """A prompt and its answer; as a conversation where it is more than two texts."""
    before = [*_system(fields), *history]
    if not before and isinstance(asked, str) and isinstance(answered, str) and not as_tools(fields.get("tools")):
        return {"prompt": asked, "response": answered}
    return _conversation(fields, [*before, *_said_by("user", asked), *_said_by("assistant", answered)])


def _conversation(fields: Fields, turns: Sequence[Any]) -> Fields:
    tools = as_tools(fields.get("tools"))
    return {"messages": list(turns), **({"tools": tools} if tools else {})}


def _with_system(fields: Fields, turns: Sequence[Any]) -> Sequence[Any]:
    """Turns after the system prompt that stands beside them, where they have none of their own."""
    has_one = any(isinstance(turn, dict) and turn.get("role") == "system" for turn in turns)
    return turns if has_one else [*_system(fields), *turns]


def _system(fields: Fields) -> list[dict[str, Any]]:
    return [{"role": "system", "content": fields[name]} for name in SYSTEMS if _is_said(fields.get(name))][:1]


def _history(history: Any) -> list[dict[str, Any]]:
    """Alpaca's earlier turns: a list of pairs, prompt and answer."""
    if not _is_said(history):
        return []
    turns = as_list(history, "history")
    if any(not isinstance(turn, list) or len(turn) != 2 for turn in turns):
        raise ValueError("has a 'history' that is no list of pairs, prompt and answer")
    return [{"role": role, "content": said} for turn in turns for role, said in zip(("user", "assistant"), turn, strict=True)]


def _said_by(role: str, said: Any) -> list[Any]:
    return [{"role": role, "content": said}] if isinstance(said, str) else as_turns(said)


def _chosen(fields: Fields) -> Fields:
    """Of a preference the chosen answer: a text or messages, with the prompt beside it, in it, or nowhere."""
    chosen = [fields["chosen"]] if isinstance(fields["chosen"], dict) else fields["chosen"]
    name = next((name for name in (*PROMPTS, *CHATS) if _is_said(fields.get(name)) and _is_answer(fields[name])), None)
    asked = None if name is None else _with_input(fields) if name == "instruction" else fields[name]
    if isinstance(chosen, str):
        if asked is None:
            return {"text": chosen}
        return _exchange(fields, asked, chosen.removeprefix(asked) if isinstance(asked, str) else chosen)
    turns = as_turns(chosen)
    before = [] if asked is None else _said_by("user", asked)
    if turns[: len(before)] == before or (isinstance(asked, str) and any(turn.get("role") == "user" for turn in turns)):
        before = []  # it is the whole conversation
    return _conversation(fields, _with_system(fields, [*before, *turns]))


def _is_said(value: Any) -> bool:
    return not is_null(value) and bool(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_answer(value: Any) -> bool:
    return isinstance(value, str) or _is_turns(value)


def _is_turns(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(turn, dict) for turn in value)


def _is_chosen(value: Any) -> bool:
    return isinstance(value, dict) or _is_answer(value)


def _chat(name: str, field: str, share_gpt: bool) -> Format:
    def accepts(value: Any) -> bool:
        return is_list(value) and is_share_gpt(value) == share_gpt

    return Format(name, (field,), _messages(field), accepts)


def _of_pair(prompt: str, answer: str) -> Format:
    name = "Alpaca" if (prompt, answer) == ("instruction", "output") else f"{prompt} and {answer}"
    return Format(name, (prompt, answer), _pair(prompt, answer), _is_answer)


_TEXT = Format("text", ("text",), _text, _is_text, unit="documents")
_FIRST = _of_pair("prompt", "response")
FORMATS = (
    _chat("messages", "messages", share_gpt=False),
    _chat("ShareGPT", "messages", share_gpt=True),
    _FIRST,
    _TEXT,
    Format("preference", ("chosen",), _chosen, _is_chosen, remark="the chosen answer of each"),
    *(_chat("ShareGPT", field, share_gpt=True) for field in CHATS),
    *(_chat("messages", field, share_gpt=False) for field in CHATS),
    *(pair for names in product(PROMPTS, ANSWERS) if (pair := _of_pair(*names)).name != _FIRST.name),
)
"""Those of before the others came first, so that no file is read otherwise than it was."""
COMMON = (
    "text; prompt and response (or completion, and other names of the two); messages; conversations (ShareGPT); instruction, "
    "input and output (Alpaca); question and answer; prompt and chosen"
)
