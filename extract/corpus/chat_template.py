"""Which chat template a run uses, and rendering with it, within bounds of time and memory."""

import atexit
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from extract.config import TEMPLATE_DATE
from store.errors import UserError

SECONDS, CHARACTERS_A_SECOND = 20.0, 1_000_000
"""What one conversation may take, and what more a long one; a sound template needs milliseconds."""
BYTES = 4_000_000_000
SPARE_CHARACTERS, TIMES_LONGER = 1_000_000, 16
"""A rendered conversation may be so much longer than what it was rendered from."""

_WORKER = Path(__file__).with_name("template_worker.py")
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")  # neither time zone, locale nor any secret


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template, ready to render.

    Attributes:
        source: Jinja.
        origin: 'base', a variant's name, or the name of a file.
        special_tokens: what it may name: bos_token and its like.
        date: what it is told when it asks what day it is.
        asked: what it has asked for in rendering that is not in its messages: 'date'.
    """

    source: str
    origin: str
    special_tokens: Mapping[str, str]
    date: date = TEMPLATE_DATE
    asked: set[str] = field(default_factory=set)

    def describe(self) -> dict[str, str]:
        """For the manifest: where it is from, and its hash."""
        return {"from": self.origin, "sha256": hashlib.sha256(self.source.encode()).hexdigest()}

    def literals(self) -> list[str]:
        """The strings that the template itself holds; with that, it is known to be sound Jinja.

        Raises:
            UserError: it is not, or took too long.
        """
        return self._ask([])["literals"]

    def render(
        self, conversations: Sequence[Sequence[Mapping[str, Any]]], tools: Sequence[Any] | None = None
    ) -> list[str | Exception]:
        """The text of each conversation as transformers renders it, or why the template cannot.

        Args:
            tools: that the conversations may call, where the template writes them.

        Raises:
            UserError: it took more time or memory than any conversation needs.
        """
        answer = self._ask(conversations, tools)
        self.asked.update(answer["asked"])
        return [found["text"] if "text" in found else ValueError(found["error"]) for found in answer["rendered"]]

    def _ask(
        self, conversations: Sequence[Sequence[Mapping[str, Any]]], tools: Sequence[Any] | None = None
    ) -> dict[str, Any]:
        size = sum(len(_as_json(messages)) for messages in (*conversations, tools))
        task = {
            "template": self.source,
            "special_tokens": dict(self.special_tokens),
            "date": self.date.isoformat(),
            "conversations": conversations,
            "tools": tools,
            "seconds": SECONDS + size / CHARACTERS_A_SECOND,
            "bytes": BYTES,
            "characters": SPARE_CHARACTERS + TIMES_LONGER * size,
        }
        answer = _ask(task)
        if answer is None:
            raise UserError(
                f"The chat template {self.named} was stopped: it took more than {SECONDS:g} seconds or {BYTES / 1e9:g} GB of "
                "memory for one conversation; give a sound one with 'chat_template: FILE'."
            )
        if "invalid" in answer:
            reason = " ".join(answer["invalid"].split()).rstrip(".")
            raise UserError(f"The chat template {self.named} is not valid Jinja: {reason}.")
        return answer

    @property
    def named(self) -> str:
        """What it is called in a sentence, after 'The chat template'."""
        return f"of '{self.origin}'"


def choose(
    path: str | None, tokenizers: Mapping[str, PreTrainedTokenizerBase], on: date = TEMPLATE_DATE
) -> tuple[ChatTemplate | None, list[str]]:
    """The template of a file, else the base's, else that of the first variant that has one; and notes about the choice.

    Args:
        tokenizers: 'base' first, then those of the variants that have one of their own.
        on: see ``template_date``.

    Raises:
        UserError: the file is missing or is not text; or a tokenizer has several templates and none is the default.
    """
    if path is not None:
        base = next(iter(tokenizers.values()))
        return ChatTemplate(_read(Path(path)), Path(path).name, base.special_tokens_map, on), []
    own = {name: template for name, tokenizer in tokenizers.items() if (template := _own(name, tokenizer)) is not None}
    if not own:
        return None, []
    origin, source = next(iter(own.items()))
    return ChatTemplate(source, origin, tokenizers[origin].special_tokens_map, on), _notes(origin, own, tokenizers)


def _notes(origin: str, own: Mapping[str, str], tokenizers: Mapping[str, Any]) -> list[str]:
    first = next(iter(tokenizers))
    others = sorted(name for name, template in own.items() if template != own[origin])
    why = "" if origin == first else f", as the {first} has none"
    also = ""
    if others:
        have = "has another" if len(others) == 1 else "have others"
        also = f"; {', '.join(map(repr, others))} {have}, which no model sees here"
    return [f"Conversations are rendered with the chat template of '{origin}'{why}{also}."] if why or also else []


def _own(name: str, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """A tokenizer's template: of several with names the one that transformers takes, ``default``."""
    found = getattr(tokenizer, "chat_template", None)
    if not isinstance(found, Mapping):
        return found if isinstance(found, str) else None
    if "default" not in found:
        raise UserError(
            f"The tokenizer of '{name}' has the chat templates {', '.join(map(repr, sorted(found)))}, of which none is the "
            "default; write the one you want to a file and give it as 'chat_template: FILE'."
        )
    return found["default"]


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            raise UserError(f"There is no chat template at '{path}'; check chat_template in the configuration.")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The chat template '{path}' cannot be read: {error}.") from error


def _as_json(value: Any) -> str:
    """JSON, with what a dataset may hold beside it as transformers shows it to templates."""
    return json.dumps(value, ensure_ascii=False, default=lambda other: f"<{type(other).__name__}>")


class _Worker:
    """The process that renders, of this process; started when it is first needed, and again after it had to be killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._of: int | None = None

    def ask(self, task: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer to a task; None where it ran out of time or memory."""
        with self._lock:
            process = self._running()
            late = threading.Timer(task["seconds"], process.kill)
            late.start()
            line = b""
            try:
                process.stdin.write(_as_json(task).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except OSError:
                pass
            finally:
                late.cancel()
                if not line.endswith(b"\n"):  # interrupted, it would give the next one this one's answer
                    self.close()
            return json.loads(line) if line.endswith(b"\n") else None

    def close(self) -> None:
        """End it."""
        if self._process is not None and self._of == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _running(self) -> subprocess.Popen:
        if self._process is None or self._of != os.getpid() or self._process.poll() is not None:
            environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=environment,
            )  # fmt: skip
            self._of = os.getpid()
            self._process.stdout.readline()
        return self._process


_worker = _Worker()
_ask = _worker.ask
atexit.register(_worker.close)
