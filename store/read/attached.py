"""The contributions beside a store: found, looked at before anything in them is read, and read as a part of it."""

from pathlib import Path

import duckdb

from store.errors import UserError
from store.files import identity
from store.format import trust
from store.format.additions import VERSION, addition_path, content_digest
from store.format.manifest import Manifest
from store.format.tables import CONTRIBUTIONS
from store.read import opening


def find(folder: Path, snapshot: opening.Snapshot) -> Path | None:
    """The file, where there is one; how it lies is taken down with the store's own.

    Raises:
        UserError: it is a link, or no file.
    """
    path = addition_path(folder)
    snapshot.files[f"../{path.name}"] = identity(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UserError(f"'{path}', where the store's contributions would be, is a link or no file; take it away.")
    return path if path.exists() else None


def belong(connection: duckdb.DuckDBPyConnection, path: Path, manifest: Manifest) -> bool:
    """Whether the attached contributions are this store's; those of another are let go of.

    Raises:
        UserError: they hold what no pass writes, or are of another version of the program.
    """
    try:
        with opening.use(connection.cursor()) as cursor:
            d_sae = cursor.execute("SELECT max(d_sae) FROM layers").fetchone()[0]
        with opening.use(connection.cursor(), opening.CONTRIBUTIONS) as cursor:
            _check_version(cursor, path)
            fault = trust.contributions_fault(cursor, d_sae, manifest.rows["documents"], path.stat().st_size)
            if fault is not None:
                raise UserError(f"Of the contributions '{path}': {fault}, which no pass writes; do not trust this copy.")
            is_own = _about(cursor, "store_digest") == manifest.digest
    except duckdb.Error as error:
        raise opening.database_error(path, error) from error
    if not is_own:
        connection.execute(f"DETACH {opening.CONTRIBUTIONS}")
    return is_own


def _check_version(cursor: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Refuse another version before anything else of it is looked at; what has none is told by its other faults."""
    known = "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() AND table_name = 'about'"
    version = _about(cursor, "version") if cursor.execute(known).fetchone()[0] else None
    if version is not None and version != VERSION:
        raise UserError(
            f"The contributions '{path}' are of version {version[:20]} of their format, this program reads {VERSION}; remove "
            "them and measure again (python -m extract contributions)."
        )


def _about(cursor: duckdb.DuckDBPyConnection, name: str) -> str | None:
    found = cursor.execute("SELECT value FROM about WHERE name = ?", [name]).fetchone()
    return None if found is None else str(found[0])


def faults(connection: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    """What ``verify`` finds wrong with contributions that belong to the store, a sentence each."""
    with opening.use(connection.cursor(), opening.CONTRIBUTIONS) as cursor:
        kept = _about(cursor, "digest")
        try:
            CONTRIBUTIONS.check_keys(cursor)
        except UserError as error:
            return [f"'{path.name}': {error}"]
    digest = content_digest(connection, opening.CONTRIBUTIONS)
    if kept != digest:
        return [f"The content of '{path.name}' does not match its digest: it is not what was measured."]
    return []
