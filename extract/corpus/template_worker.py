"""Renders chat templates in a process of its own: started by extract/corpus/chat_template.py as a script, never imported.

Chat templates come from strangers, and Jinja's sandbox bounds neither time nor memory. So they run where the operating system
does, and where a process can be killed whatever it is doing. The environment is the one that transformers makes for them
(``transformers.utils.chat_template_utils``), but for what would differ from one day or run to the next: the date is given, and
drawing at random is refused. Only Jinja is loaded, so that it starts fast.

Each line of stdin is a task (template, special tokens, date, conversations) in JSON, each line of stdout its answer: the texts,
or, where there are no conversations, the strings that the template itself holds.
"""

import functools
import json
import re
import sys
from datetime import UTC, datetime
from typing import Any

import jinja2
import jinja2.nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

try:
    import resource
except ImportError:  # Windows has none: there only the time-out holds
    resource = None

_REASONING = ("reasoning_content", "thinking", "reasoning")
_asked: set[str] = set()
"""What templates have asked for since the task began."""


class Generation(Extension):
    """``{% generation %}``, which marks what the assistant says for training: here only its body."""

    tags = frozenset({"generation"})

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: jinja2.runtime.Macro) -> str:
        return caller()


class Namespace(jinja2.utils.Namespace):
    """Jinja's, without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # so that namespace(self=...) works
        self, *rest = args
        given = dict(*rest, **kwargs)
        for name in given:
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


class Dictionary:
    """What templates may do with ``dict``."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict:
        return dict.fromkeys(*args, **kwargs)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace may not hold {name!r}")


def _raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _to_json(x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _at_random(*_args: Any, **_kwargs: Any) -> None:
    raise jinja2.exceptions.TemplateError("it draws at random, so that no two runs would read the same text")


@functools.lru_cache
def _compile(source: str, date: str) -> jinja2.Template:
    today = datetime.fromisoformat(date)
    seconds = str(int(today.replace(tzinfo=UTC).timestamp()))

    def strftime_now(pattern: str) -> str:
        _asked.add("date")
        # %s is seconds since 1970 by this machine's clock setting
        return today.strftime(re.sub("%(.)", lambda found: seconds if found[1] == "s" else found[0], pattern))

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters |= {"tojson": _to_json, "random": _at_random}
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": strftime_now,
        "dict": Dictionary(),
        "namespace": Namespace,
        "lipsum": _at_random,
    }
    return environment.from_string(source)


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """A message without empty fields, its reasoning under every name that templates read it by."""
    message = {name: value for name, value in message.items() if value is not None}
    reasoning = next((message[name] for name in _REASONING if name in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _render(template: jinja2.Template, task: dict[str, Any], messages: list[dict[str, Any]]) -> dict[str, str]:
    try:
        text = template.render(
            messages=[_with_reasoning(message) for message in messages],
            tools=task["tools"], documents=None, add_generation_prompt=False, **task["special_tokens"],
        )  # fmt: skip
    except MemoryError:
        return {"error": f"it wants more than {task['bytes'] / 1e9:g} GB of memory"}
    except Exception as error:  # the template's own refusals, and whatever its code runs into
        return {"error": (str(error).strip().splitlines() or [type(error).__name__])[0]}
    if len(text) > task["characters"]:
        return {"error": f"it writes {len(text):,} characters"}
    return {"text": text}


def _answer(task: dict[str, Any]) -> dict[str, Any]:
    _asked.clear()
    try:
        template = _compile(task["template"], task["date"])
    except jinja2.TemplateSyntaxError as error:
        return {"invalid": str(error)}
    except Exception as error:  # constants are worked out while it is compiled
        return {"invalid": str(error) or type(error).__name__}
    if not task["conversations"]:
        tree = template.environment.parse(task["template"])
        return {"literals": sorted({node.value for node in tree.find_all(jinja2.nodes.Const) if isinstance(node.value, str)})}
    return {"rendered": [_render(template, task, messages) for messages in task["conversations"]], "asked": sorted(_asked)}


def _limit(task: dict[str, Any]) -> None:
    """The operating system's limits, for this task: a parent that was killed kills nobody."""
    if resource is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + task["seconds"]) + 2
    for name, most in (("RLIMIT_DATA", task["bytes"]), ("RLIMIT_CPU", seconds), ("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0)):
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main() -> None:
    """Answer tasks until there are no more."""
    output = sys.stdout.buffer
    output.write(b".\n")  # ready: from now on its time counts
    output.flush()
    for line in sys.stdin.buffer:
        task = json.loads(line)
        _limit(task)
        try:
            answer = json.dumps(_answer(task), ensure_ascii=False).encode()
        except MemoryError:
            answer = json.dumps({"invalid": f"it wants more than {task['bytes'] / 1e9:g} GB of memory"}).encode()
        output.write(answer + b"\n")
        output.flush()


main()
