"""What a base is called: in an adapter's settings, on a page, and whether two names may mean one model."""

import json
import re
from pathlib import Path

from extract.config_sections import display_name
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


def known_names(spec: str, folder: str, loaded_as: str) -> set[str]:
    """What a base is known by: how it is given, where it stands, and what its config.json says that it was saved from.

    Args:
        folder: what ``from_pretrained`` was given for it.
        loaded_as: what transformers calls it.
    """
    names = {spec, display_name(spec), folder}
    file = Path(folder) / "config.json"
    if file.is_file():
        said = json.loads(file.read_text(encoding="utf-8")).get("_name_or_path")
        names |= {said} if isinstance(said, str) and said else set()
    return names | ({loaded_as} if loaded_as else set())
