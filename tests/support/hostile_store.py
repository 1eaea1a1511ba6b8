"""The tiny store with every text in it turned against its reader: names, sources, tokens, labels, notes.

Names of variants are as they were: store/format/manifest.py takes no others.
"""

from pathlib import Path

import duckdb

from store.format import trust
from store.format.manifest import DATABASE_FILE, read_manifest
from store.names import ALL, BASE
from store.sidecar.entries import Label, write_labels
from tests.support.forged import rewrite_manifest
from tests.support.tiny_store import DOCUMENTS, make_tiny_store

HOST = "evil.example"
ATTACK = (
    f" ![i](http:{HOST}) [l](http:{HOST}) <img src=x onerror=alert(1)> :red[r] $x^2$ `c` **b** www.{HOST} a@{HOST} \"q\" 's' "
    f"\\ | # \u202eR\u202c -> &lt;b&gt; http://{HOST}/i.png :material/home: :streamlit: xmpp:a@{HOST}/x <svg/onload=alert(1)>"
)
"""What every name gets behind it."""

LINES = "\n\n# h\n- l"
"""What other texts get besides."""

BRIEF = (
    f" [l](http:{HOST}) <img src=x onerror=alert(1)> :red[r] $x^2$ `c` **b** www.{HOST} a@{HOST} -> http://{HOST}/i.png "
    f":material/home:{LINES}"
)
"""What the texts get that store/format/trust.py lets be no longer than a word."""

NAMED = {"domain": tuple({domain for _, domain, *_ in DOCUMENTS})}
"""Columns of names that several tables and the manifest share -> the names."""

TEXTS = {
    "documents": ("source", "cluster"), "vocabulary": ("token",), "features": ("label", "label_source"),
    "layers": ("hook_name", "sae", "architecture"), "answers": ("task", "text", "answer"),
}  # fmt: skip


def hostile(name: str) -> str:
    """The name that stands in place of one of the tiny store's."""
    return name if name in (ALL, BASE) else name + ATTACK


def make_hostile_store(folder: Path) -> Path:
    """Write it; returns its folder. Sound by its own measure: hashes are those of what it holds."""
    make_tiny_store(folder)
    with duckdb.connect(str(folder / DATABASE_FILE)) as connection:
        columns = connection.execute("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal").fetchall()
        for table, column in columns:
            for name in NAMED.get(column, ()):
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", [hostile(name), name])
            if column in TEXTS.get(table, ()):
                text = ATTACK + LINES if column in trust.LONGEST else BRIEF
                connection.execute(f"UPDATE {table} SET {column} = {column} || ?", [text])
    text = ATTACK + LINES
    known = read_manifest(folder)
    rewrite_manifest(
        folder,
        base={"name": f"base{text}", "sha256": text},
        variants={name: made | {"kind": text, "name": text, "sha256": text} for name, made in known.variants.items()},
        saes={layer: {"name": text, "hook_name": text, "sha256": text} for layer in known.saes},
        tokenizer={"name": text, "vocab_size": 10, "sha256": text},
        corpus={
            "sources": [{"file": text, "sha256": text, "licence": text}],
            "domains": {hostile(name): {"documents": 1, "tokens": 1} for name in NAMED["domain"]},
        },
        settings={f"set{text}": text},
        packages={f"package{text}": text},
        notes=[text],
        created=text[:30],
    )
    return folder


def add_labels(folder: Path, digest: str) -> None:
    """Imported labels too, whose source is a file's name."""
    write_labels(folder, digest, [Label(12, 1, f"mine{ATTACK}{LINES}", f"file{ATTACK}{LINES}")])
