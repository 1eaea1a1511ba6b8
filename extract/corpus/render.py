"""From a record to text with marks: which characters are template, prompt, response, or plain text."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from extract.config import TEMPLATE_DATE
from extract.corpus.chat_template import ChatTemplate, choose
from extract.corpus.chat_turns import SPEAKERS
from extract.corpus.record_formats import JUDGED_BAD
from extract.corpus.records import FORMS, Record
from extract.corpus.turns import find_turns
from store.errors import UserError, first_line

SEGMENTS = ("text", "template", "prompt", "response")
BOS_TAKEN = "BOS tokens that texts begin with were taken off, as one is put before each context window"
DROPPED = "messages are left out by the chat template"
SHORTENED = "messages are left out in part by the chat template"
PARTS = "parts of messages that are no text (images, audio and others) were left out"
NO_TOOLS = "a call of a tool that the chat template cannot write"
BAD_ANSWER = "an answer that was judged bad"
"""Why a document is skipped."""
UNPLACED = "messages cannot be told from the chat template's own text and count as template"
_ROLE_SEGMENT = dict.fromkeys(SPEAKERS.values(), "prompt") | {"assistant": "response", "model": "response"}


@dataclass(frozen=True)
class Rendered:
    """A document's text and its marked spans.

    Attributes:
        text: what is tokenised.
        spans: (first character, end, segment); what lies outside every span is template.
        changes: what happened to what the record says, as the manifest counts it -> how often.
        form: 'text', 'template' where a chat template wrote it, 'plain' where a prompt and a response had none; 'null',
            'judged bad' and 'no tools' where there is nothing to read, or nothing that the template can write.
    """

    text: str
    spans: tuple[tuple[int, int, str], ...]
    changes: Mapping[str, int] = field(default_factory=Counter)
    form: str = "text"

    def segments_at(self, characters: np.ndarray) -> np.ndarray:
        """int8 [n]: index into :data:`SEGMENTS` of the span that each character position lies in."""
        out = np.full(len(characters), SEGMENTS.index("template"), dtype=np.int8)
        for start, end, segment in self.spans:
            out[(characters >= start) & (characters < end)] = SEGMENTS.index(segment)
        return out

    def without_bos(self, bos: str) -> "Rendered":
        """The same without the BOS that it begins with, however many; one that a template writes is as it should be."""
        count = 0
        while bos and self.text.startswith(bos, count * len(bos)):
            count += 1
        if not count:
            return self
        cut = count * len(bos)
        spans = tuple((max(0, start - cut), end - cut, segment) for start, end, segment in self.spans if end > cut)
        written = count - (self.form == "template")
        changes = Counter(self.changes) + Counter({BOS_TAKEN: written})
        return replace(self, text=self.text[cut:], spans=spans, changes=changes)


class Renderer:
    """Renders records; conversations through a chat template.

    Args:
        template: a Hugging Face chat template, or its Jinja source, or None where there is none.
        tokenizer: the base's; with it, a BOS that a document begins with is taken off, wherever it comes from.
        keep_bos: leave it: none is put before the context windows.
        notes: about the choice of the template.

    Raises:
        UserError: the template is not valid.
    """

    def __init__(
        self,
        template: ChatTemplate | str | None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        keep_bos: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        if isinstance(template, str):
            template = ChatTemplate(template, "base", tokenizer.special_tokens_map)
        self.template = template
        self.bos = "" if keep_bos or tokenizer is None else tokenizer.bos_token or ""
        self._literals = template.literals() if template is not None else []
        self._notes = notes
        self.forms: Counter[str] = Counter()

    @classmethod
    def for_run(
        cls,
        path: str | None,
        tokenizers: Mapping[str, PreTrainedTokenizerBase],
        on: date = TEMPLATE_DATE,
        keep_bos: bool = False,
    ) -> "Renderer":
        """The renderer of a run: see :func:`extract.corpus.chat_template.choose`."""
        template, notes = choose(path, tokenizers, on)
        return cls(template, next(iter(tokenizers.values())), keep_bos, tuple(notes))

    def render(self, record: Record) -> Rendered:
        """Text and spans of one record.

        Raises:
            UserError: the record has none of the known forms, or a conversation and there is no template for it.
        """
        rendered = self._rendered(record).without_bos(self.bos)
        self.forms[rendered.form] += 1
        return rendered

    def describe(self) -> dict[str, str] | None:
        """Of the chat template used, for the manifest: see :class:`extract.corpus.documents.Corpus`."""
        if self.forms["template"]:
            return self.template.describe()
        return None if self.forms["plain"] else {}

    def notes(self) -> list[str]:
        """What was done in rendering that the user should know, a sentence each."""
        notes = []
        if self.forms["template"]:
            notes += self._notes
            if "date" in self.template.asked:
                notes.append(
                    f"The chat template asks for today's date and was told {self.template.date} (template_date): the same run "
                    "reads the same tokens on any day."
                )
        if self.forms["plain"]:
            notes.append(
                f"No model has a chat template: prompt and response of {self.forms['plain']:,} documents were joined by a line "
                "break, without any."
            )
        return notes

    def _rendered(self, record: Record) -> Rendered:
        fields = record.fields
        if isinstance(fields.get("messages"), list):
            return self._conversation(fields["messages"], record.where, fields.get("tools"))
        if isinstance(fields.get("prompt"), str) and isinstance(fields.get("response"), str):
            messages = [
                {"role": "user", "content": fields["prompt"]},
                {"role": "assistant", "content": fields["response"]},
            ]
            return self._conversation(messages, record.where) if self.template else _plain_pair(fields)
        if isinstance(fields.get("text"), str):
            return Rendered(fields["text"], ((0, len(fields["text"]), "text"),))
        if any(name in fields and _is_null(fields[name]) for name in FORMS):
            return Rendered("", (), form="judged bad" if fields == JUDGED_BAD else "null")
        kinds = {name: "" if isinstance(value, str) else f", a {type(value).__name__}" for name, value in fields.items()}
        held = [f"{name!r}{kind}" for name, kind in kinds.items()]
        raise UserError(
            f"The document at {record.where} has none of: text; prompt and response, as text; messages, as a list (it has "
            f"{'; '.join(sorted(held)[:10]) or 'no fields'})."
        )

    def _conversation(self, messages: list[Any], where: str, tools: list[Any] | None = None) -> Rendered:
        if self.template is None:
            raise UserError(
                f"The document at {where} is a conversation, but neither base nor variants carry a chat template; "
                "give one with 'chat_template: FILE'."
            )
        for message in messages:
            _check_message(message, where)
        if not messages:
            return Rendered("", (), form="template")
        if any(_is_null(message.get("content")) and not message.get("tool_calls") for message in messages):
            return Rendered("", (), form="null")
        n_parts, messages = _as_texts(messages)
        render = functools.partial(self.template.render, tools=tools)
        (text,) = render([messages])
        if isinstance(text, Exception) and any(m.get("tool_calls") or m["role"] == "tool" for m in messages):
            return Rendered("", (), form="no tools")
        if isinstance(text, Exception):
            raise UserError(f"The chat template cannot render the document at {where}: {first_line(text).rstrip('.')}.")
        turns = find_turns(messages, text, render, self._literals)
        spans = tuple((start, end, _ROLE_SEGMENT[messages[i]["role"]]) for start, end, i in turns.spans)
        changes = {DROPPED: turns.dropped, SHORTENED: turns.shortened, UNPLACED: turns.unplaced}
        return Rendered(text, spans, Counter({PARTS: n_parts, **{what: len(of) for what, of in changes.items()}}), "template")


def _is_null(value: Any) -> bool:
    """Whether a field is empty; what writes tables as JSON makes NaN of it."""
    return value is None or value != value


def is_chat(record: Record) -> bool:
    """Whether a record is a conversation, or a prompt with its response: what a chat template is for."""
    return any(isinstance(record.fields.get(name), str | list) for name in ("messages", "prompt"))


def _check_message(message: Any, where: str) -> None:
    """See that a message is of the kind that can be rendered: with text, parts of which some are text, or null.

    Raises:
        UserError: it is not.
    """
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise UserError(f"The document at {where} has a message without a text role and content.")
    if message["role"] not in _ROLE_SEGMENT:
        raise UserError(
            f"The document at {where} has a message of the role {message['role']!r:.60}, and it must be one of "
            f"{', '.join(_ROLE_SEGMENT)}."
        )
    content = message.get("content")
    if not _is_null(content) and not isinstance(content, str | list):
        raise UserError(
            f"The document at {where} has a message without a text role and content: its content is a "
            f"{type(content).__name__}; write it as text."
        )
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, str | dict):
            raise UserError(f"The document at {where} has a message with a part that is neither text nor an object.")


def _as_texts(messages: Sequence[Mapping[str, Any]]) -> tuple[int, list[dict[str, Any]]]:
    """How many parts are no text; and the messages with those of text put together, as templates that know parts do."""
    n_left, found = 0, []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            texts = [part if isinstance(part, str) else part.get("text") for part in content]
            texts = [text for text in texts if isinstance(text, str)]
            n_left += len(content) - len(texts)
            message = {**message, "content": "".join(texts)}
        found.append({**message, "content": message.get("content")})
    return n_left, found


def _plain_pair(fields: Any) -> Rendered:
    prompt, response = fields["prompt"], fields["response"]
    start = len(prompt) + 1
    spans = ((0, len(prompt), "prompt"), (start, start + len(response), "response"))
    return Rendered(f"{prompt}\n{response}", spans, form="plain")
