"""Where a store's texts come from, and under which licence, as far as that is known."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from app import data
from store.format.manifest import Manifest, file_hash

NOTICE = data.ROOT / "NOTICE"
BUNDLED = data.ROOT / "extract" / "demo" / "corpus"
UNKNOWN = "not recorded in the store"


def sources(manifest: Manifest) -> list[dict[str, str]]:
    """What the corpus was read from: source, domain, licence, SHA-256.

    The licence is that of NOTICE where the file is, by its hash, one of those bundled with this repository.
    """
    known = in_notice(NOTICE.read_text(encoding="utf-8")) if NOTICE.is_file() else {}
    rows = []
    for source in manifest.corpus.get("sources", []):
        named = source if isinstance(source, dict) else {"name": source}
        name, hashed = name_of(named, "file", "dataset", "name", "path"), name_of(named, "sha256")
        own = BUNDLED / Path(name).name
        licence = known.get(own.stem, UNKNOWN) if _is_bundled(own) and _hash(own) == hashed else UNKNOWN
        rows.append({"source": name, "domain": name_of(named, "domain"), "licence": licence, "SHA-256": hashed})
    return rows


def in_notice(notice: str) -> dict[str, str]:
    """Name -> what NOTICE says of each bundled text: a name, two spaces or more, and text whose next lines are indented."""
    section = notice.partition("Text bundled in extract/demo/corpus")[2].partition("\nText used for training only")[0]
    entries = re.findall(r"^(\w+)  +(\S.*(?:\n {10,}\S.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def name_of(entry: dict, *fields: str) -> str:
    """The first of some fields that an entry of the manifest has; '–' where it has none."""
    return next((str(entry[field]) for field in fields if entry.get(field)), "–")


def _is_bundled(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # no file has such a name
        return False


@cache
def _hash(bundled: Path) -> str:
    return file_hash(bundled)
