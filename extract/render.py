"""From a record to text with marks: which characters are template, prompt, response, or plain text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from transformers import PreTrainedTokenizerBase

from store.errors import UserError, first_line

if TYPE_CHECKING:
    from extract.records import Record

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
        tokenizer: renders it the way transformers does, in a sandbox, and knows the special tokens that it names; a BOS that
            the template writes first is taken off again, BOS being put before each context window.

    Raises:
        UserError: the template is not valid.
    """

    def __init__(self, template: str | None, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        self.template = template
        self.tokenizer = tokenizer
        if template is not None:
            try:
                self._text([{"role": "user", "content": "a"}])
            except jinja2.TemplateSyntaxError as error:
                raise UserError(f"The chat template is not valid Jinja: {first_line(error).rstrip('.')}.") from error
            except Exception:  # a sound template may refuse a conversation as short as this
                pass

    @classmethod
    def for_run(cls, path: str | None, tokenizers: Sequence[PreTrainedTokenizerBase]) -> "Renderer":
        """The template of a file, or else the first that a tokenizer (base first, then variants) carries.

        Raises:
            UserError: the file is missing or is not a template.
        """
        if path is not None:
            if not Path(path).is_file():
                raise UserError(f"There is no chat template at '{path}'; check chat_template in the configuration.")
            try:
                template = Path(path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"The chat template '{path}' cannot be read: {error}.") from error
            return cls(template, tokenizers[0])
        owner = next((t for t in tokenizers if isinstance(getattr(t, "chat_template", None), str)), None)
        return cls(owner.chat_template if owner else None, owner)

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
            return self._conversation(messages, record.where) if self.template else _plain_pair(fields)
        if isinstance(fields.get("text"), str):
            return Rendered(fields["text"], ((0, len(fields["text"]), "text"),))
        raise UserError(
            f"The document at {record.where} has none of: text; prompt and response; messages (it has "
            f"{', '.join(map(repr, sorted(fields)[:10])) or 'no fields'})."
        )

    def _conversation(self, messages: list[Any], where: str) -> Rendered:
        if self.template is None:
            raise UserError(
                f"The document at {where} is a conversation, but neither base nor variants carry a chat template; "
                "give one with 'chat_template: FILE'."
            )
        for message in messages:
            if not isinstance(message, dict) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
                raise UserError(f"The document at {where} has a message without a text role and content.")
        try:
            text = self._text(messages)
            marked = self._text([{**message, "content": _SLOT.format(i)} for i, message in enumerate(messages)])
        except Exception as error:  # the template's own refusals, and whatever its code runs into
            reason = first_line(error).rstrip(".")
            raise UserError(f"The chat template cannot render the document at {where}: {reason}.") from error
        return Rendered(text, tuple(_content_spans(text, marked, messages)))

    def _text(self, messages: list[dict[str, str]]) -> str:
        text = self.tokenizer.apply_chat_template(messages, chat_template=self.template, tokenize=False)
        bos = self.tokenizer.bos_token or ""
        return text[len(bos) :] if bos and text.startswith(bos) else text


_SLOT = "\ue000{}\ue001"  # private-use characters, which no template and hardly any text contains


def _content_spans(text: str, marked: str, messages: list[dict[str, str]]):
    """Where each message's content stands in the rendered text.

    ``marked`` is the same conversation with a slot for each content, which tells the template's own text between them, so
    that a one-letter message is not found inside a turn's header.
    """
    cursor, place = 0, 0
    for i, message in enumerate(messages):
        slot = _SLOT.format(i)
        start = marked.find(slot, place)
        if start < 0:
            continue  # the template leaves this message out
        header = marked[place:start]
        at = text.find(header, cursor)
        begin = (at if at >= 0 else cursor) + len(header)
        place = start + len(slot)
        content = message["content"] if text.startswith(message["content"], begin) else message["content"].strip()
        if text.startswith(content, begin):
            cursor = begin + len(content)
            if content:
                yield begin, cursor, _ROLE_SEGMENT.get(message["role"], "prompt")
        else:
            cursor = begin


def _plain_pair(fields: Any) -> Rendered:
    prompt, response = fields["prompt"], fields["response"]
    start = len(prompt) + 1
    return Rendered(
        f"{prompt}\n{response}", ((0, len(prompt), "prompt"), (start, start + len(response), "response"))
    )

