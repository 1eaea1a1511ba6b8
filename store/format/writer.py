"""Writing a store: into ``NAME.partial``, manifest last, then renamed. What has no manifest is not a store."""

import dataclasses
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from store import files
from store.errors import UserError, reason
from store.format import manifest as manifests
from store.format import tables, trust
from store.format.codes import LayerCodes, part_file
from store.format.manifest import Manifest
from store.format.part_reading import part_digest
from store.format.part_writing import write_part

WORK_FOLDER = "work"
PILOT_FILE = "pilot.npz"
_OWN = re.compile(rf"{WORK_FOLDER}|latents|({re.escape(PILOT_FILE)}|manifest\.json|statistics\.duckdb)(\..+)?|\..+")
"""What a run leaves in the folder of an unfinished store when it is killed, and what file managers hide there."""


class StoreWriter:
    """One store in the making.

    Args:
        folder: where the finished store will stand.

    Raises:
        UserError: something stands there already.
    """

    def __init__(self, folder: Path) -> None:
        check_free(folder)
        self.folder = folder
        self.partial = files.partial_of(folder)
        self.work = self.partial / WORK_FOLDER
        make_folder(self.work)
        self._connection: duckdb.DuckDBPyConnection | None = None

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The staging database being filled; a leftover of an interrupted run is started afresh."""
        if self._connection is None:
            for leftover in self.work.glob("staging.duckdb*"):
                leftover.unlink()
            self._connection = tables.STORE.create(self.work / "staging.duckdb")
        return self._connection

    def part_path(self, part: int) -> Path:
        """Where a part is, or will be."""
        return self.partial / part_file(part)

    def write_part(self, part: int, layers: Mapping[int, LayerCodes], feature_index: bool = True) -> None:
        """Write the codes of one group of documents; see :func:`store.format.part_writing.write_part`."""
        write_part(self.part_path(part), part, layers, feature_index)

    def load(self, table: str, rows: pd.DataFrame | pa.Table) -> None:
        """Append rows to a table of schema.sql."""
        tables.STORE.load(self.connection, table, rows)

    def finish(self, manifest: Manifest) -> Manifest:
        """Check, digest and hash everything, write the manifest, and put the store in its place.

        Returns:
            The manifest as written, with digest, file hashes and row counts filled in.
        """
        self.drop_manifest()
        database = self.partial / manifests.DATABASE_FILE
        for leftover in self.partial.glob(f"{manifests.DATABASE_FILE}*"):
            leftover.unlink()
        finished = tables.STORE.copy_sorted(self.connection, database)
        tables.STORE.check_keys(finished)
        rows = tables.STORE.row_counts(finished)
        self._check_content(finished, dataclasses.replace(manifest, rows=rows))
        part_files = sorted((self.partial / "latents").glob("part-*.h5"))
        digest = content_digest(tables.STORE.digest(finished), [part_digest(path) for path in part_files])
        finished.execute("CHECKPOINT")
        finished.close()
        files.sync(database)
        self.close()
        written = {
            str(path.relative_to(self.partial)): {"sha256": manifests.file_hash(path), "bytes": path.stat().st_size}
            for path in [database, *self.partial.glob(PILOT_FILE), *part_files]
        }
        complete = dataclasses.replace(manifest, digest=digest, files=written, rows=rows)
        manifests.check_writable(complete)
        complete = manifests.write_manifest(self.partial, complete)
        self.put_in_place()
        return complete

    def _check_content(self, finished: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
        """Refuse to finish a store that nobody could open.

        Raises:
            UserError: its tables hold what no reader takes.
        """
        finished.execute("CHECKPOINT")
        size = (self.partial / manifests.DATABASE_FILE).stat().st_size
        if (fault := trust.first_fault(finished, manifest, size)) is not None:
            raise UserError(f"{fault}, more than a store may hold; shorten that in the run's input, and run it again.")

    def put_in_place(self) -> None:
        """Give a store its name once its manifest is written. A run that is ended in here has lost nothing."""
        shutil.rmtree(self.work, ignore_errors=True)
        files.put_in_place(self.partial, self.folder)

    def has_manifest(self) -> bool:
        """Whether everything was written and only :meth:`put_in_place` is left."""
        return (self.partial / manifests.MANIFEST_FILE).exists()

    def drop_manifest(self) -> None:
        """What is there is not finished after all."""
        (self.partial / manifests.MANIFEST_FILE).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the database file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def check_free(folder: Path) -> None:
    """Refuse to write where something stands already, or where this user may not write.

    Raises:
        UserError: so it is.
    """
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in str(folder)):  # which no database's path may hold
        raise UserError(f"The output {str(folder)!a} holds bytes that are no text; choose another --out.")
    if os.path.lexists(folder):  # a link to nothing too
        raise UserError(f"The output '{folder}' exists already; choose another --out, or remove it first.")
    files.check_writable(folder)
    partial = files.partial_of(folder)
    if os.path.lexists(partial) and not (partial.is_dir() and os.access(partial, os.W_OK)):
        raise UserError(f"'{partial}', where the store is while it is made, is not a folder that can be written; move it away.")
    if strange := sorted(path.name for path in partial.glob("*") if not _OWN.fullmatch(path.name)):
        raise UserError(f"'{partial / strange[0]}' is no file of an unfinished store; move it away, or remove '{partial}'.")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        UserError: that is not possible here.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder '{folder}' cannot be made: {reason(error)}.") from error


def content_digest(tables_digest: str, part_digests: list[str]) -> str:
    """One digest for the content of a store: the tables' and each part's, in order."""
    return hashlib.sha256("\n".join([tables_digest, *part_digests]).encode()).hexdigest()
