"""A prompt and its answer with what stands around them (a system prompt, a context, earlier turns); and chosen answers.

What is read here may raise ValueError; its message goes on after 'The document at …'.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from extract.corpus.chat_turns import PROMPTS, as_list, as_tools, as_turns, is_filled, is_list, is_marked, marked_turns
from extract.corpus.left_unread import Taken

CHATS = ("conversations", "conversation", "dialogue", "dialog")
"""Fields other than ``messages`` that hold a list of turns."""
SYSTEMS = ("system", "system_prompt")
ABOUT = ("input", "context", "passage", "article", "document")
"""Fields that hold what a prompt is about: Alpaca's ``input``, Dolly's and SQuAD's ``context``."""
AROUND = (*PROMPTS, *SYSTEMS, *ABOUT, "history", "tools", "functions")
"""What says nothing where there is no answer."""


def is_answer(value: Any) -> bool:
    """Whether a value can be a prompt or an answer: a text, or a list of turns."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(turn, dict) for turn in value))


def is_chosen(value: Any) -> bool:
    """Whether it can be the chosen answer of a preference: the same, or one turn."""
    return isinstance(value, dict) or is_answer(value)


def awaits_chosen(fields: Mapping[str, Any]) -> bool:
    """Whether messages end before the assistant speaks, and the chosen answer stands beside them."""
    if not is_filled(fields.get("chosen")) or not is_chosen(fields["chosen"]):
        return False
    turns = as_turns(as_list(fields["messages"], "messages"))
    return bool(turns) and turns[-1]["role"] != "assistant"


def chat_of(field: str) -> Callable[[Taken], dict[str, Any]]:
    """Reader of the turns of a field."""
    return lambda fields: _conversation(fields, _with_system(fields, as_turns(as_list(fields[field], field))))


def pair_of(prompt: str, answer: str) -> Callable[[Taken], dict[str, Any]]:
    """Reader of two fields, a prompt and an answer, each a text or turns."""
    return lambda fields: _exchange(fields, _with_about(fields, prompt, answer), fields[answer])


def chosen_of(fields: Taken) -> dict[str, Any]:
    """Of a preference the chosen answer: a text or turns, with the prompt beside it, in it, or nowhere."""
    chosen = [fields["chosen"]] if isinstance(fields["chosen"], dict) else fields["chosen"]
    asked = _asked(fields)
    if isinstance(chosen, str):
        if asked is not None:
            return _exchange(fields, asked, chosen.removeprefix(asked) if isinstance(asked, str) else chosen)
        return _conversation(fields, marked_turns(chosen)) if is_marked(chosen) else {"text": chosen}
    turns = as_turns(chosen)
    before = [] if asked is None else _said_by("user", asked)
    if turns[: len(before)] == before or (isinstance(asked, str) and any(turn["role"] == "user" for turn in turns)):
        before = []  # it is the whole conversation
    return _conversation(fields, _with_system(fields, [*_history(fields), *before, *turns]))


# ---- pieces ----


def _asked(fields: Taken) -> Any:
    """What a preference answers: a prompt with what it is about, or turns; None where it stands in the answer."""
    for name in (*PROMPTS, "messages", *CHATS):
        value = fields.look(name)
        if not is_filled(value):
            continue
        if name not in PROMPTS and is_list(value):
            return as_turns(as_list(fields[name], name))
        if name in PROMPTS and is_answer(value):
            return _with_about(fields, name, "chosen")
    return None


def _with_about(fields: Taken, prompt: str, answer: str) -> Any:
    """A prompt, and in paragraphs of their own what it is about, where it does not hold that already."""
    asked = fields[prompt]
    if not isinstance(asked, str) or is_marked(asked):
        return asked
    paragraphs = [asked]
    for name in ABOUT:
        value = fields.look(name)
        texts = value if isinstance(value, list) else [value]
        if name in (prompt, answer) or not all(isinstance(text, str) and is_filled(text) for text in texts):
            continue
        fields.names.add(name)
        paragraphs += [text for text in texts if text not in asked]
    return "\n\n".join(paragraphs)


def _exchange(fields: Taken, asked: Any, answered: Any) -> dict[str, Any]:
    """A prompt and its answer, which may repeat the prompt; as a conversation where it is more than two texts."""
    before = [*_system(fields), *_history(fields)]
    if isinstance(asked, str) and isinstance(answered, str):
        whole = answered if is_marked(answered) else asked + answered
        if is_marked(whole):
            return _conversation(fields, [*before, *marked_turns(whole)])
        if not before and not _tools(fields):
            return {"prompt": asked, "response": answered}
    return _conversation(fields, [*before, *_said_by("user", asked), *_said_by("assistant", answered)])


def _conversation(fields: Taken, turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    tools = _tools(fields)
    return {"messages": list(turns), **({"tools": tools} if tools else {})}


def _tools(fields: Taken) -> list[Any]:
    """The tools on offer, also as OpenAI's older ``functions``."""
    functions = [{"type": "function", "function": function} for function in as_tools(fields.get("functions"))]
    return as_tools(fields.get("tools")) or functions


def _with_system(fields: Taken, turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turns after the system prompt that stands beside them, where they have none of their own."""
    return list(turns) if any(turn["role"] == "system" for turn in turns) else [*_system(fields), *turns]


def _system(fields: Taken) -> list[dict[str, Any]]:
    name = next((name for name in SYSTEMS if is_filled(fields.look(name)) and isinstance(fields.look(name), str)), None)
    return [] if name is None else [{"role": "system", "content": fields[name]}]


def _history(fields: Taken) -> list[dict[str, Any]]:
    """Earlier turns: a list of pairs, prompt and answer, or of turns."""
    if not is_filled(fields.look("history")):
        return []
    turns = as_list(fields["history"], "history")
    if all(isinstance(turn, dict) for turn in turns):
        return as_turns(turns)
    if any(not isinstance(turn, list) or len(turn) != 2 for turn in turns):
        raise ValueError("has a 'history' that is no list of pairs, prompt and answer, nor one of turns")
    pairs = ({"prompt": asked, "response": answered} for asked, answered in turns)
    return list(chain.from_iterable(as_turns([pair]) for pair in pairs))


def _said_by(role: str, said: Any) -> list[dict[str, Any]]:
    return [{"role": role, "content": said}] if isinstance(said, str) else as_turns(said)
