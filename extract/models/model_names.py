"""What models are called, in sentences and by themselves."""

import json
from pathlib import Path

from transformers import PreTrainedModel

from extract.config_sections import display_name
from extract.models.loading import local_folder
from store.names import BASE


def in_words(name: str, spec: str) -> str:
    """A model in words, to begin a sentence with; notes of it reach the manifest, so no place on this machine's disk."""
    return f"The base '{display_name(spec)}'" if name == BASE else f"The variant '{name}' ({display_name(spec)})"


def base_names(spec: str, base: PreTrainedModel) -> set[str]:
    """What a base is known by: how it is given, where it stands, and what its config.json says that it was saved from."""
    names = {spec, display_name(spec), local_folder(spec)}
    file = Path(local_folder(spec)) / "config.json"
    if file.is_file():
        said = json.loads(file.read_text(encoding="utf-8")).get("_name_or_path")
        names |= {said} if isinstance(said, str) and said else set()
    return names | ({base.config.name_or_path} if base.config.name_or_path else set())
