"""The text of tokens, as a store writes it and as it reads in a sentence. Pure.

A token may hold only a part of a character, or one beside whole characters: byte-level BPE (GPT-2, Llama 3, Qwen) and the byte
tokens of SentencePiece cut where they like. In ``vocabulary.token`` every byte that belongs to no whole character of its token
is a *byte mark*, ``<0xE9>``; such a byte is never below 0x80. Where a token's own text looks like a mark, the ``<`` of it is
written ``<0x3C>``: text and bytes cannot be taken for each other.
"""

import codecs
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

NEIGHBOURS = 3
"""Tokens on either side of a piece of text that can hold the rest of a character: UTF-8 has at most four bytes for one."""

MARK = "<0x(?:3C|[89A-F][0-9A-F])>"
"""A byte mark, as a regular expression."""

_MARK = re.compile(MARK)
_LOOKS_LIKE_A_MARK = re.compile(f"<(?={MARK[1:]})".encode())


def _marks(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are no UTF-8, as marks."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("bytemarks", _marks)


def written(raw: bytes) -> str:
    """The bytes of one token as ``vocabulary.token`` has them."""
    return _LOOKS_LIKE_A_MARK.sub(b"<0x3C>", raw).decode("utf-8", "bytemarks")


def raw_bytes(token: str) -> bytes:
    """The bytes that a token of ``vocabulary.token`` stands for: the inverse of :func:`written`."""
    if "<0x" not in token:
        return token.encode()
    pieces, end = [], 0
    for mark in _MARK.finditer(token):
        pieces += [token[end : mark.start()].encode(), bytes([int(mark[0][3:5], 16)])]
        end = mark.end()
    return b"".join([*pieces, token[end:].encode()])


def running(raw: bytes) -> str:
    """The bytes of tokens that follow each other, as text; bytes that are no character as marks."""
    return raw.decode("utf-8", "bytemarks")


def in_place(tokens: Sequence[str], first: int = 0, last: int | None = None) -> list[str]:
    """The text of each of tokens[first:last] where it stands: joined, they read as their text does.

    A character of several tokens stands whole at the first of them within the piece; one that only goes on with it has the
    text ''. Bytes that are no character, whatever is beside them, stay marks.

    Args:
        tokens: as ``vocabulary.token`` has them, in order, with up to NEIGHBOURS more on either side of the piece, so that a
            character across its ends is known.
    """
    last = len(tokens) if last is None else last
    if not any("<0x" in token for token in tokens):
        return list(tokens[first:last])
    raws = [raw_bytes(token) for token in tokens]
    ends = list(accumulate(map(len, raws)))
    texts, at = [""] * len(tokens), 0
    for character in b"".join(raws).decode("utf-8", "surrogateescape"):
        is_byte = "\udc80" <= character <= "\udcff"
        begins = bisect_right(ends, at)
        at += 1 if is_byte else len(character.encode())
        ends_in = bisect_right(ends, at - 1)
        texts[first if begins < first <= ends_in else begins] += f"<0x{ord(character) - 0xDC00:02X}>" if is_byte else character
    return texts[first:last]


def cut(texts: Sequence[str], first: int, last: int | None) -> list[str]:
    """texts[first:last] of an answer of :func:`in_place`; a character that the cut parts stands at the first token kept."""
    piece = list(texts[first:last])
    if piece and not piece[0]:
        before = next((text for text in reversed(texts[:first]) if text), "")
        piece[0] = before[-1:]
    return piece


def folded(text: str) -> str:
    """Text for comparing: the same for upper and lower case, and for a letter whose accent is a character of its own."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def spellings(text: str) -> tuple[str, str]:
    """The two ways in which a text's accents may be written: as part of their letters, and as characters of their own."""
    return unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
