"""What a base is called: in an adapter's settings, on a page, and whether two names may mean one model."""

import re

from store.text import on_one_line

MOST_NAME = 200
"""Characters that are kept of the name of a base."""


def display_base(named_base: object) -> str | None:
    """The base that an adapter's settings name: hub ids whole, of paths the last piece, of the hub's cache the id.

    None where they name none, or something that cannot be a name.
    """
    if not isinstance(named_base, str) or not (named_base := on_one_line(named_base.strip())[:MOST_NAME]):
        return None
    pieces = [piece for piece in named_base.replace("\\", "/").split("/") if piece]
    if cached := [piece for piece in pieces if piece.startswith("models--")]:
        return cached[-1].removeprefix("models--").replace("--", "/")
    local = named_base.startswith(("/", ".", "~")) or len(pieces) > 2 or "\\" in named_base
    return pieces[-1] if local and pieces else named_base


def plain_name(name: str) -> str:
    """The last piece of a model's name without case, separators and what only says how a file is written."""
    piece = name.replace("\\", "/").rstrip("/").split("/")[-1].lower()
    piece = re.sub(r"[-_.](gguf|hf)$", "", piece)
    piece = re.sub(r"[-_.](i?q\d[-_a-z0-9]*|b?f16|f32)$", "", piece)
    return "".join(letter for letter in piece if letter.isalnum())
