"""The turns of a conversation as trainers write them, made messages with role and content as chat templates read them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from extract.corpus.left_unread import has_text

SPEAKERS = {
    "human": "user", "user": "user", "prompter": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
    "model": "assistant", "bot": "assistant", "chatbot": "assistant", "ai": "assistant", "bing": "assistant",
    "bard": "assistant", "system": "system", "developer": "system", "tool": "tool", "function": "tool", "ipython": "tool",
    "observation": "tool", "function_response": "tool", "tool_response": "tool",
}  # fmt: skip
"""Who a turn is from, in small letters -> role."""
CALLS = ("function_call", "tool_call")
"""What a turn is from that calls a tool, as JSON."""
WHO, SAID = ("role", "from", "speaker"), ("content", "value", "text", "message")
"""Fields of a turn that hold who speaks, and what."""
PROMPTS = ("prompt", "instruction", "question", "query", "problem", "input")
ANSWERS = ("response", "completion", "output", "solution", "answer")
"""Fields that hold a prompt and its answer, of a record or of a turn; a solution is what an answer alone sums up."""
ASKS, TELLS = (*PROMPTS, "human", "user"), (*ANSWERS, "assistant", "gpt", "bot")
"""Fields of a turn that is a prompt with its answer."""
_MARK = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant): ?")
_MARKED = re.compile(r"\s*Human:")


def is_null(value: Any) -> bool:
    """Whether a field is empty; what writes tables as JSON makes NaN of it."""
    return value is None or value != value


def is_filled(value: Any) -> bool:
    """Whether a field holds anything: no null, no white space, no empty list."""
    return not is_null(value) and bool(value.strip() not in ("", "[]") if isinstance(value, str) else value)


def is_list(value: Any) -> bool:
    """Whether it is a list, or one written as JSON text, as in a cell of a table."""
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))


def is_share_gpt(turns: list[Any] | str) -> bool:
    """Whether the first of some turns says who speaks as ``from``."""
    try:
        first = next(iter(as_list(turns, "")), None)
    except ValueError:
        return False
    return isinstance(first, dict) and is_null(first.get("role")) and "from" in first


def as_list(value: list[Any] | str, field: str) -> list[Any]:
    """A list, whether it is one or is written as JSON text.

    Raises:
        ValueError: the text is no such thing.
    """
    if isinstance(value, list):
        return value
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise ValueError(f"has in the field '{field}' what is no list, nor one written in JSON")
    return found


def as_turns(turns: Sequence[Any]) -> list[dict[str, Any]]:
    """Messages with role and content; a system message that is null is none.

    Raises:
        ValueError: a turn is no such thing, or is from a speaker that is nobody's.
    """
    messages = [message for turn in turns for message in _messages(turn)]
    return [message for message in messages if message["role"] != "system" or not is_null(message["content"])]


def as_tools(tools: Any) -> list[Any]:
    """The tools that a conversation may call, where a field of that name holds a list of them, or its JSON.

    Raises:
        ValueError: it begins as a list and is none.
    """
    found = as_list(tools, "tools") if is_list(tools) else []
    return found if all(isinstance(tool, dict) for tool in found) else []


def is_marked(text: str) -> bool:
    """Whether a text is a conversation with the marks of HH-RLHF: it begins with ``Human:``."""
    return _MARKED.match(text) is not None and len(_MARK.findall(text)) > 1


def marked_turns(text: str) -> list[dict[str, Any]]:
    """The turns of such a text; where one speaker is marked twice in a row, it is one turn of two paragraphs."""
    _before, *pieces = _MARK.split(text)
    turns: list[dict[str, Any]] = []
    for speaker, piece in zip(pieces[::2], pieces[1::2], strict=True):
        role, said = SPEAKERS[speaker.lower()], piece.strip()
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] = f"{turns[-1]['content']}\n\n{said}".strip()
        else:
            turns.append({"role": role, "content": said})
    return turns


# ---- one turn ----


def _messages(turn: Any) -> list[dict[str, Any]]:
    if not isinstance(turn, Mapping):
        raise ValueError(f"has a turn that is a {type(turn).__name__}, and no object with role and content")
    who = next((name for name in WHO if not is_null(turn.get(name))), None)
    if who is not None:
        return [_message(turn, who)]
    found = [(role, name) for role, names in (("user", ASKS), ("assistant", TELLS)) for name in names if name in turn]
    both = [(role, turn[name]) for role in ("user", "assistant") for name in [n for r, n in found if r == role][:1]]
    if not both:
        raise ValueError(f"has a turn that does not say who speaks (it has {_names(turn)}); give it a role and content")
    return [{"role": role, "content": _content(said)} for role, said in both]


def _message(turn: Mapping[str, Any], who: str) -> dict[str, Any]:
    speaker = turn[who]
    what = next((name for name in SAID if is_filled(turn.get(name))), None)
    what = what or next((name for name in SAID if not is_null(turn.get(name))), "content")
    value = turn.get(what)
    if speaker in CALLS:
        calls = _calls(value)
        return {"role": "assistant", "content": "" if calls else _content(value), **({"tool_calls": calls} if calls else {})}
    role = SPEAKERS.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        raise ValueError(f"has a turn from {speaker!r:.60}, and it must be from one of {', '.join((*SPEAKERS, *CALLS))}")
    calls = turn.get("tool_calls") or _calls(turn.get("function_call"))
    rest = {name: given for name, given in turn.items() if name not in (*WHO, what) and (name != "function_call" or not calls)}
    if is_null(value) and not calls and has_text(rest):
        raise ValueError(f"has a turn of which nothing can be read (it has {_names(turn)}); give it a role and content")
    kept = rest if who == "role" else {}
    return {**kept, "role": role, "content": _content(value), **({"tool_calls": calls} if calls else {})}


def _content(value: Any) -> Any:
    """What a turn says: text, null, or parts of which each is text or an object.

    Raises:
        ValueError: it is something else.
    """
    if not is_null(value) and not isinstance(value, str | list):
        raise ValueError(f"has a turn whose content is a {type(value).__name__}; write it as text")
    for part in value if isinstance(value, list) else ():
        if not isinstance(part, str | dict):
            raise ValueError(f"has a turn with a part that is a {type(part).__name__}, neither text nor an object")
    return value


def _names(turn: Mapping[str, Any]) -> str:
    return ", ".join(f"{name!r:.60}" for name in list(turn)[:10]) or "nothing"


def _calls(value: Any) -> list[dict[str, Any]]:
    """Calls of tools, perhaps written as JSON: one, or a list; none where it is something else."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return []
    calls = found if isinstance(found, list) else [found]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        return []
    return [{"type": "function", "function": call} for call in calls]
