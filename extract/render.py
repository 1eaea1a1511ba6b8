"""From a record to text with marks: which characters are template, prompt, response, or plain text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers import PreTrainedTokenizerBase

from store.errors import UserError

if TYPE_CHECKING:
    from extract.corpus import Record

SEGMENTS = ("text", "template", "prompt", "response")
_ROLE_SEGMENT = {"assistant": "response", "model": "response"}


@dataclass(frozen=True)
class Rendered:
    """A document's text and its marked spans.

    Attributes:
        text: what is tokenised.
        spans: (first character, end, segment); what lies outside every span is template.
    """

    text: str
    spans: tuple[tuple[int, int, str], ...]

    def segments_at(self, characters: np.ndarray) -> np.ndarray:
        """int8 [n]: index into :data:`SEGMENTS` of the span that each character position lies in."""
        out = np.full(len(characters), SEGMENTS.index("template"), dtype=np.int8)
        for start, end, segment in self.spans:
            out[(characters >= start) & (characters < end)] = SEGMENTS.index(segment)
        return out


class Renderer:
    """Renders records; conversations through a chat template.

    Args:
        template: Jinja source of a Hugging Face chat template, or None where there is none.
        bos_token: what the template may write first; it is taken off again, BOS being put before each context window.
    """

    def __init__(self, template: str | None, bos_token: str | None = None) -> None:
        self.template = template
        self.bos_token = bos_token or ""
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _raise
        try:
            self._compiled = environment.from_string(template) if template else None
        except jinja2.TemplateError as error:
            raise UserError(f"The chat template is not valid Jinja: {error}.") from error

    @classmethod
    def for_run(cls, path: str | None, tokenizers: Sequence[PreTrainedTokenizerBase]) -> "Renderer":
        """The template of a file, or else the first that a tokenizer (base first, then variants) carries.

        Raises:
            UserError: the file is missing or is not a template.
        """
        bos_token = tokenizers[0].bos_token
        if path is not None:
            if not Path(path).is_file():
                raise UserError(f"There is no chat template at '{path}'; check chat_template in the configuration.")
            return cls(Path(path).read_text(encoding="utf-8"), bos_token)
        own = [t.chat_template for t in tokenizers if isinstance(getattr(t, "chat_template", None), str)]
        return cls(own[0] if own else None, bos_token)

    def render(self, record: "Record") -> Rendered:
        """Text and spans of one record.

        Raises:
            UserError: the record has none of the known forms, or a conversation and there is no template for it.
        """
        fields = record.fields
        if isinstance(fields.get("messages"), list):
            return self._conversation(fields["messages"], record.where)
        if isinstance(fields.get("prompt"), str) and isinstance(fields.get("response"), str):
            messages = [
                {"role": "user", "content": fields["prompt"]},
                {"role": "assistant", "content": fields["response"]},
            ]
            return self._conversation(messages, record.where) if self._compiled else _plain_pair(fields)
        if isinstance(fields.get("text"), str):
            return Rendered(fields["text"], ((0, len(fields["text"]), "text"),))
        raise UserError(
            f"The document at {record.where} has none of: text; prompt and response; messages (it has "
            f"{', '.join(sorted(fields)) or 'no fields'})."
        )

    def _conversation(self, messages: list[Any], where: str) -> Rendered:
        if self._compiled is None:
            raise UserError(
                f"The document at {where} is a conversation, but neither base nor variants carry a chat template; "
                "give one with 'chat_template: FILE'."
            )
        for message in messages:
            if not isinstance(message, dict) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
                raise UserError(f"The document at {where} has a message without a text role and content.")
        try:
            text = self._compiled.render(messages=messages, bos_token=self.bos_token, add_generation_prompt=False)
        except jinja2.TemplateError as error:
            raise UserError(f"The chat template cannot render the document at {where}: {error}.") from error
        if self.bos_token and text.startswith(self.bos_token):
            text = text[len(self.bos_token) :]
        return Rendered(text, tuple(_content_spans(text, messages)))


def _content_spans(text: str, messages: list[dict[str, str]]):
    """Where each message's content stands in the rendered text; templates may strip it, so that is how it is sought."""
    cursor = 0
    for message in messages:
        content = message["content"].strip()
        start = text.find(content, cursor)
        if content and start >= 0:
            cursor = start + len(content)
            yield start, cursor, _ROLE_SEGMENT.get(message["role"], "prompt")


def _plain_pair(fields: Any) -> Rendered:
    prompt, response = fields["prompt"], fields["response"]
    start = len(prompt) + 1
    return Rendered(
        f"{prompt}\n{response}", ((0, len(prompt), "prompt"), (start, start + len(response), "response"))
    )


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
