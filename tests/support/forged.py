"""A store's manifest rewritten as a forger, or a later version, would: sound by its own measure."""

import json
from pathlib import Path
from typing import Any

from store.manifest import MANIFEST_FILE, file_hash


def rewrite_manifest(store: Path, **changes: Any) -> None:
    """Replace fields; hashes and sizes as the files are, and no checksum."""
    file = store / MANIFEST_FILE
    content = json.loads(file.read_text(encoding="utf-8"))
    for name, facts in content["files"].items():
        facts.update(sha256=file_hash(store / name), bytes=(store / name).stat().st_size)
    file.write_text(json.dumps({**content, "checksum": "", **changes}), encoding="utf-8")
