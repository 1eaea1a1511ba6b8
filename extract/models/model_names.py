"""What models are called in sentences."""

from extract.config_sections import display_name
from store.names import BASE


def in_words(name: str, spec: str) -> str:
    """A model in words, to begin a sentence with; notes of it reach the manifest, so no place on this machine's disk."""
    return f"The base '{display_name(spec)}'" if name == BASE else f"The variant '{name}' ({display_name(spec)})"
