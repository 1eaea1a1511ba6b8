"""What sources are called, and what the manifest says of them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from extract.config_sections import SourceConfig
from store.errors import UserError, first_line

NAMED_IF_SET = ("cluster_field", "cluster_by_source", "licence")
"""Settings of a source that the manifest names where they are not the default."""


def source_names(sources: Sequence[SourceConfig]) -> list[str]:
    """What each source is called: a file or local folder by its name, and by as much of its path as tells it from others."""
    whole = [_path_pieces(source) for source in sources]
    names = []
    for source, pieces in zip(sources, whole, strict=True):
        others = {other for other in whole if other[-1] == pieces[-1]} - {pieces}
        length = 1
        while any(other[-length:] == pieces[-length:] for other in others):
            length += 1
        name = "/".join(pieces[-length:])
        names.append(name if source.config is None else f"{name}/{source.config}")
    return names


def describe_sources(sources: Sequence[SourceConfig]) -> list[dict[str, Any]]:
    """What the manifest says of sources: a file by name and hash, a dataset by id; and which part of it was read."""
    return [_describe(source, name) for source, name in zip(sources, source_names(sources), strict=True)]


def _path_pieces(source: SourceConfig) -> tuple[str, ...]:
    """A local path in its pieces; a hub id whole."""
    if source.dataset is not None and not _is_there(source.dataset):
        return (source.dataset,)
    return Path(source.path or source.dataset).absolute().parts[1:]


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # too long a name, a folder that may not be read: it will be asked for as it is
        return False


def _describe(source: SourceConfig, name: str) -> dict[str, Any]:
    if source.path:
        try:
            with Path(source.path).open("rb") as file:
                origin = {"file": name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        except OSError as error:
            raise UserError(
                f"The corpus file '{source.path}' can no longer be read ({first_line(error)}); put it back and run the same "
                "command again: nothing that was finished is lost."
            ) from error
    else:
        origin = {"dataset": name, "split": source.split}
    optional = {name: getattr(source, name) for name in NAMED_IF_SET if getattr(source, name) != _default(name)}
    return {**origin, "limit": source.limit, "domain": source.domain, "text_field": source.text_field, **optional}


def _default(name: str) -> Any:
    return SourceConfig.model_fields[name].default
