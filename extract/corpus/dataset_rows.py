"""Reading Hugging Face datasets: from the hub, or from a folder, which may come from anybody and stays inside itself."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from extract.corpus.document_sources import roots
from extract.corpus.unpacking import BELIEVED_BYTES, MAX_TIMES_PACKED
from store.errors import UserError, first_line

MAX_ROWS = 1_000_000
FORMATS = ("arrow", "csv", "json", "parquet", "text")
"""What `datasets` may read: formats that hold their data themselves, where others (HDF5, say) can point to any local file."""


def read_rows(dataset: str, config: str | None, split: str, limited: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 0, fields) of each row.

    Args:
        dataset: hub id or folder.
        limited: the caller stops by itself; else there may be MAX_ROWS.

    Raises:
        UserError: it cannot be read, or would read files that do not belong to it.
    """
    import datasets  # slow to import, and most runs read files

    try:
        _check_card(Path(dataset))
        builder = datasets.load_dataset_builder(dataset, name=config)
        # 'cache': what this user's own run has fetched from the hub before, read without a network
        kind = type(builder).__module__.split(".")[-1]
        if kind not in FORMATS and (kind != "cache" or Path(dataset).is_dir()):
            raise ValueError(f"its files are of the kind '{kind}'; give {', '.join(FORMATS[:-1])} or {FORMATS[-1]} files")
        _check_files(dataset, builder.config.data_files or {})
        for number, fields in enumerate(builder.as_streaming_dataset(split=split)):
            if number >= MAX_ROWS and not limited:
                raise UserError(f"The dataset '{dataset}' has more than {MAX_ROWS:,} records; give it a limit.")
            yield number, fields
    except UserError:
        raise
    except Exception as error:  # what a damaged or foreign folder makes the library run into
        lines = first_line(error, lines=2).rstrip(".")
        remedy = "; name one as 'config'" if "Config name is missing" in lines else ""
        raise UserError(f"The dataset '{dataset}' could not be read: {lines}{remedy}.") from error


def _check_card(folder: Path) -> None:
    """Refuse a folder whose description names files elsewhere, before anything is looked up.

    Raises:
        UserError: names the place.
    """
    for name in ("README.md", ".huggingface.yaml"):
        if not (folder / name).is_file():
            continue
        text = (folder / name).read_text(encoding="utf-8", errors="replace")
        if name.endswith(".md"):
            text = text.split("\n---", 1)[0].removeprefix("---") if text.startswith("---") else ""
        described = yaml.safe_load(text)
        configs = described.get("configs") if isinstance(described, dict) else None
        for value in _strings(configs):
            if _leads_elsewhere(value):
                raise UserError(
                    f"The dataset folder '{folder}' names '{value}' in its {name}, which is not a file of that folder; a local "
                    "dataset may only hold files of its own."
                )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _leads_elsewhere(pattern: str) -> bool:
    """Whether a path or pattern is an address, absolute, or climbs out of its folder."""
    plain = pattern.replace("\\", "/")
    return "://" in plain or "::" in plain or plain.startswith(("/", "~")) or plain[1:3] == ":/" or ".." in plain.split("/")


def _check_files(dataset: str, files: dict[str, list[str]]) -> None:
    """Refuse a dataset that would read files which are not its own: of a folder others than in it, of the hub local ones.

    Raises:
        UserError: names the file.
    """
    folder = Path(dataset)
    inside = roots(folder) if folder.is_dir() else []
    for file in (str(file) for listed in files.values() for file in listed):
        real = os.path.realpath(file)
        own = any(real.startswith(root + os.sep) for root in inside) if inside else file.startswith("hf://")
        if not own:
            raise UserError(
                f"The dataset '{dataset}' would read '{file}', which does not belong to it (it leads to '{real}'); a dataset "
                "may only hold files of its own."
            )
        if inside:
            _check_packed(real)


def _check_packed(file: str) -> None:
    """Refuse a compressed file that unpacks to more than anybody's text.

    Raises:
        UserError: names it.
    """
    import fsspec

    if fsspec.utils.infer_compression(file) is None:
        return
    most = max(BELIEVED_BYTES, MAX_TIMES_PACKED * Path(file).stat().st_size)
    with fsspec.open(file, compression="infer") as unpacked:
        while piece := unpacked.read(2**20):
            most -= len(piece)
            if most < 0:
                raise UserError(
                    f"The dataset's file '{file}' unpacks to more than {MAX_TIMES_PACKED} times its size; unpack it yourself."
                )
