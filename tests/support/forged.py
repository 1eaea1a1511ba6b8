"""Stores rewritten as a forger, or a later version, would: sound by their own measure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import h5py

from store.format import tables
from store.format.codes import part_file
from store.format.manifest import DATABASE_FILE, MANIFEST_FILE, file_hash
from store.format.part_writing import LIBVER


def rewrite_manifest(store: Path, **changes: Any) -> None:
    """Replace fields; hashes and sizes as the files are, and no checksum."""
    file = store / MANIFEST_FILE
    content = json.loads(file.read_text(encoding="utf-8"))
    for name, facts in content["files"].items():
        facts.update(sha256=file_hash(store / name), bytes=(store / name).stat().st_size)
    file.write_text(json.dumps({**content, "checksum": "", **changes}), encoding="utf-8")


def forge_tables(store: Path, *statements: str) -> None:
    """Change the database, and let the manifest say that it was always so."""
    with duckdb.connect(str(store / DATABASE_FILE)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("CHECKPOINT")
        rows = {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            if table in tables.STORE.keys
        }
    rewrite_manifest(store, rows=rows)


def forge_without_twins(store: Path, variant: str) -> None:
    """Let a variant have no twins, as one has whose adapter is of another kind."""
    evidence = ("verdict", "reason", "twin_low", "twin_high", "q_twin", "detectable_loss")
    nothing = ", ".join(f"{name} = NULL" for name in evidence)
    forge_tables(
        store,
        f"DELETE FROM layer_metrics WHERE variant = '{variant}' AND starts_with(control, 'twin_')",
        f"UPDATE feature_stats SET {nothing} WHERE variant = '{variant}'",
    )


def forge_statistics_only(store: Path, variant: str) -> None:
    """Let a copy keep statistics only of a replicate."""
    forge_tables(store, *(f"DELETE FROM {table} WHERE variant = '{variant}'" for table in ("contexts", "token_metrics")))
    made = json.loads((store / MANIFEST_FILE).read_text(encoding="utf-8"))["variants"]
    rewrite_manifest(store, variants=made | {variant: made[variant] | {"statistics_only": True}})


def forge_part(store: Path, change: Callable[[h5py.File], None]) -> None:
    """The same with the first part."""
    with h5py.File(store / part_file(0), "a", libver=LIBVER) as file:
        change(file)
    rewrite_manifest(store)
