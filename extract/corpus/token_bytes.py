"""Which bytes a token id stands for, whatever the family of the tokenizer.

Byte-level BPE (GPT-2, Pythia, Llama 3, Qwen) writes each byte as a letter of an alphabet of its own: ``Ã¯`` is ``ï``, and ``é``
the byte 0xE9. Its tokens are read by that alphabet. SentencePiece's byte tokens are named ``<0xE9>``; others decode to text.
"""

import re
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

_ALPHABET = {letter: byte for byte, letter in bytes_to_unicode().items()}
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_NOT_TEXT = "\ufffd"
_IDEOGRAPHS = re.compile(r" [\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]")


class TokenBytes:
    """Token id -> bytes, as the token stands in a sentence: with the space before it, special tokens by name."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        backend = tokenizer.backend_tokenizer
        states = [_state(part) for part in (backend.normalizer, backend.pre_tokenizer, backend.decoder)]
        self._is_byte_level = any('"ByteLevel"' in state for state in states)
        self._parts_ideographs = '"handle_chinese_chars":true' in states[0]
        self._word_end = getattr(backend.model, "end_of_word_suffix", None) or ""
        # A token alone decodes without the space before it in some tokenizers, hence the anchor in front.
        self._anchor = tokenizer.encode("a", add_special_tokens=False)
        self._lead = len(tokenizer.decode(self._anchor, clean_up_tokenization_spaces=False))
        self._added = {
            token_id
            for token_id, added in tokenizer.added_tokens_decoder.items()
            if backend.model.token_to_id(added.content) != token_id  # else it is also one of the model's own
        }

    def get(self, token_id: int) -> bytes | None:
        """None: the tokenizer has no such id."""
        name = self._tokenizer.convert_ids_to_tokens(token_id)
        if name is None:
            return None
        if not (self._is_byte_level or self._word_end):
            return self._decoded(token_id, name)
        if token_id in self._added:
            return name.encode()
        bare = name.removesuffix(self._word_end)
        return self._spelled(bare) + (b" " if bare != name else b"")

    def _spelled(self, name: str) -> bytes:
        """By the alphabet of bytes, where the tokenizer has one; a name with other letters stands for itself."""
        if self._is_byte_level and all(letter in _ALPHABET for letter in name):
            return bytes(_ALPHABET[letter] for letter in name)
        return name.encode()

    def _decoded(self, token_id: int, name: str) -> bytes:
        """By the tokenizer itself; a token that it has no text for, by its name."""
        text = self._tokenizer.decode([*self._anchor, token_id], clean_up_tokenization_spaces=False)[self._lead :]
        if text and _NOT_TEXT not in text:
            # Of words that are single ideographs only because the tokenizer parts them, the space was never there.
            return text[self._parts_ideographs and _IDEOGRAPHS.fullmatch(text) is not None :].encode()
        byte = None if token_id in self._added else _BYTE_TOKEN.fullmatch(name)
        return bytes([int(byte[1], 16)]) if byte else name.encode()


def _state(component: Any) -> str:
    """A part of a tokenizer as JSON; empty where there is none, or it is Python code."""
    try:
        return "" if component is None else component.__getstate__().decode()
    except Exception:  # the library has no narrower one for a part that cannot be written down
        return ""
