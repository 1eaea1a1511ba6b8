"""The turns of a conversation as trainers write them, made messages with role and content as chat templates read them."""

import json
from collections.abc import Sequence
from typing import Any

SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant", "model": "assistant",
    "bot": "assistant", "system": "system", "tool": "tool", "observation": "tool", "function_response": "tool",
}  # fmt: skip
"""Who ShareGPT's ``from`` names -> role."""
CALLS = ("function_call", "tool_call")
"""What ``from`` says of a turn that calls a tool, as JSON."""


def is_null(value: Any) -> bool:
    """Whether a field is empty; what writes tables as JSON makes NaN of it."""
    return value is None or value != value


def is_list(value: Any) -> bool:
    """Whether it is a list, or one written as JSON text, as in a cell of a table."""
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))


def is_share_gpt(turns: list[Any] | str) -> bool:
    """Whether the first of some turns says who speaks as ``from``, and what as ``value``."""
    try:
        first = next(iter(as_list(turns, "")), None)
    except ValueError:
        return False
    return isinstance(first, dict) and "role" not in first and "from" in first and "value" in first


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


def as_turns(turns: Sequence[Any]) -> list[Any]:
    """Messages with role and content; what has a role already stays as it is.

    Raises:
        ValueError: ``from`` names a speaker that is nobody's.
    """
    return [_as_message(turn) if isinstance(turn, dict) and "role" not in turn and "from" in turn else turn for turn in turns]


def as_tools(tools: Any) -> list[Any]:
    """The tools that a conversation may call, where a field of that name holds a list of them, or its JSON.

    Raises:
        ValueError: it begins as a list and is none.
    """
    found = as_list(tools, "tools") if is_list(tools) else []
    return found if all(isinstance(tool, dict) for tool in found) else []


def _as_message(turn: dict[str, Any]) -> dict[str, Any]:
    speaker, value = turn["from"], turn.get("value")
    if speaker in CALLS:
        calls = _calls(value)
        return {"role": "assistant", "content": "", "tool_calls": calls} if calls else {"role": "assistant", "content": value}
    role = SPEAKERS.get(speaker.lower()) if isinstance(speaker, str) else None
    if role is None:
        raise ValueError(f"has a turn from {speaker!r:.60}, and it must be from one of {', '.join((*SPEAKERS, *CALLS))}")
    return {"role": role, "content": value}


def _calls(value: Any) -> list[dict[str, Any]]:
    """Calls of tools written as JSON: one, or a list; none where it is something else."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return []
    calls = found if isinstance(found, list) else [found]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        return []
    return [{"type": "function", "function": call} for call in calls]
