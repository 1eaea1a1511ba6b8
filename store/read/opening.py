"""Opening the files of a store so that what is read is one store, never a mix of one that was replaced and its successor.

DuckDB shares one instance of a database file among everybody in a process who connects to its path, even after another file
took that path. So each store gets an instance of its own, in memory, with the file attached to it; and how the files lay when
they were opened is compared whenever something is asked.
"""

import functools
import hashlib
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import duckdb

from store.errors import Replaced, Unavailable, UserError, first_line, system_error, unavailable
from store.files import Identity, identity, identity_of
from store.format.manifest import DATABASE_FILE, MANIFEST_FILE, Manifest, as_manifest, file_hash, read_bytes
from store.format.trust import LIMITS

try:
    import fcntl
except ImportError:  # Windows has none: there an open file cannot be replaced either
    fcntl = None

READ_ONLY = {"enable_external_access": "false", "autoinstall_known_extensions": "false", "lock_configuration": "true"}
"""DuckDB's configuration for reading: no file but the database itself, no extension, and none of this can be changed."""

CATALOG = Path(DATABASE_FILE).stem
"""What the database is called in SQL, as if it were opened by itself."""
CONTRIBUTIONS = "contributions"
"""What the database beside it is called, where there is one."""

HASHED = 256 * 2**20
"""Bytes up to which a database is hashed when it is opened, a quarter of a second at most; larger ones only by verify."""


@dataclass
class Snapshot:
    """How the files of a store lay when it was opened.

    Attributes:
        folder: the store's.
        files: name -> identity; the manifest's too.
        hashes: name -> SHA-256 of what was read.
    """

    folder: Path
    files: dict[str, Identity | None]
    hashes: dict[str, str] = field(repr=False)

    def name(self) -> str:
        """Names the very files, for caches of what was read from them."""
        return hashlib.sha256(repr(sorted(self.files.items())).encode()).hexdigest()

    def changed(self, names: Iterable[str] | None = None) -> list[str]:
        """Those of the names, or of all files, that lie otherwise now."""
        return [name for name in (self.files if names is None else names) if identity(self.folder / name) != self.files[name]]

    def check(self, names: Iterable[str] | None = None) -> None:
        """Nothing was replaced or written to since; a new time or place of the same bytes does no harm.

        Raises:
            Replaced: something was.
        """
        for name in self.changed(names):
            now = identity(self.folder / name)
            if now is None or not self._is_as_read(name):
                raise Replaced(
                    f"The store '{self.folder}' was changed or replaced after it was opened ('{name}'): open it again, and "
                    "trust nothing that was being read meanwhile."
                )
            self.files[name] = now

    def _is_as_read(self, name: str) -> bool:
        try:
            return file_hash(self.folder / name) == self.hashes.get(name)
        except OSError:
            return False


def read_manifest(folder: Path) -> tuple[Manifest, Snapshot]:
    """The manifest of a store, and how its file lay before it was read; :func:`look` adds the others.

    Raises:
        UserError: as :func:`store.format.manifest.read_manifest`.
    """
    before = identity(folder / MANIFEST_FILE)
    content = read_bytes(folder)
    manifest = as_manifest(folder, content)
    hashes = {name: expected["sha256"] for name, expected in manifest.files.items()}
    return manifest, Snapshot(
        folder.absolute(), {MANIFEST_FILE: before}, hashes | {MANIFEST_FILE: hashlib.sha256(content).hexdigest()}
    )


def look(folder: Path, manifest: Manifest, found: Snapshot) -> None:
    """Take down how every file lies that the manifest names.

    Raises:
        UserError: one is missing, cannot be read, or has another size than the manifest says.
    """
    for name, expected in manifest.files.items():
        found.files[name] = _look(folder, name, expected["bytes"])


def _look(folder: Path, name: str, expected: int) -> Identity | None:
    file = folder / name
    try:
        found = file.stat()
    except FileNotFoundError as error:
        raise _incomplete(folder, f"'{name}' is missing") from error
    except OSError as error:
        raise unavailable(f"'{name}' of the store '{folder}'", error) from error
    if not stat.S_ISREG(found.st_mode):
        raise _incomplete(folder, f"'{name}' is missing")
    if found.st_size != expected:
        raise _incomplete(folder, f"'{name}' has {found.st_size:,} bytes instead of {expected:,}")
    return identity_of(found)


def _incomplete(folder: Path, what: str) -> UserError:
    return UserError(
        f"The store '{folder}' is damaged, or not wholly copied yet: {what}; if it is being copied, open it again when that is "
        "done, else copy or extract it again."
    )


def refuse_if_written(folder: Path) -> None:
    """A database that a program has open to write is told as that, before anything that program left beside it is.

    Raises:
        Unavailable: one has, or the file may not be read.
    """
    file = folder / DATABASE_FILE
    try:
        if fcntl is None or not stat.S_ISREG(file.stat().st_mode):
            return
        with file.open("rb") as handle:
            if _is_locked(handle):
                raise _held(file)
    except FileNotFoundError:
        return
    except OSError as error:
        raise unavailable(f"The database '{file}'", error) from error


def _is_locked(handle: BinaryIO) -> bool:
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # systems differ in which
        return True
    except OSError:  # a disk that locks nothing
        return False
    return False


def connect(folder: Path, expected: str, size: int, beside: Path | None = None) -> duckdb.DuckDBPyConnection:
    """The database of a store, read-only, in an instance of its own; every cursor needs :func:`use`.

    Args:
        expected: SHA-256 of the file.
        size: its bytes.
        beside: a database of contributions, to be attached too.

    Raises:
        UserError: one of them cannot be read, is open to write elsewhere, or is damaged.
    """
    file = folder / DATABASE_FILE
    whole = size <= HASHED
    try:
        if whole and _hash(str(file), identity(file)) != expected:
            raise _incomplete(folder, f"'{file.name}' is not what was written")
        with file.open("rb"):
            pass
    except OSError as error:
        raise unavailable(f"The database '{file}'", error) from error
    connection = None
    try:
        connection = duckdb.connect(":memory:")
        _attach(connection, file, CATALOG)
        if beside is not None:
            file = beside
            _attach(connection, beside, CONTRIBUTIONS)
        for name, value in (LIMITS | READ_ONLY).items():
            connection.execute(f"SET {name} = '{value}'")
        return use(connection)
    except duckdb.Error as error:
        if connection is not None:
            connection.close()
        raise _refused(file, error) from error


def _attach(connection: duckdb.DuckDBPyConnection, file: Path, name: str) -> None:
    address = str(file.absolute()).replace("'", "''")
    connection.execute(f"ATTACH '{address}' AS {name} (READ_ONLY, TYPE duckdb)")


def use(connection: duckdb.DuckDBPyConnection, catalog: str = CATALOG) -> duckdb.DuckDBPyConnection:
    """Let unqualified names mean the store's tables, or those beside it: a cursor does not inherit that."""
    connection.execute(f"USE {catalog}")
    return connection


def database_error(folder: Path, error: duckdb.Error) -> UserError:
    """The sentence for what DuckDB says when it reads a store's tables."""
    return _refused(folder / DATABASE_FILE, error)


@functools.lru_cache(maxsize=64)
def _hash(path: str, _identity: Identity | None) -> str:
    """Of a file that was hashed before and not touched since, without reading it again."""
    return file_hash(Path(path))


def _refused(file: Path, error: duckdb.Error) -> UserError:
    said = first_line(error)
    if "Conflicting lock" in said:
        return _held(file)
    known = system_error(said)
    if known is not None:
        return unavailable(f"The database '{file}'", known)
    if isinstance(error, duckdb.IOException) and "version" in said:
        return UserError(
            f"The database '{file}' is of a DuckDB that {duckdb.__version__} does not read ({said}); install the one of "
            "requirements-app.txt."
        )
    if file.name != DATABASE_FILE:
        return UserError(f"The contributions '{file}' are damaged ({said}); copy them again, or take them away.")
    return UserError(f"The database '{file.name}' of the store '{file.parent}' is damaged ({said}); copy or extract it again.")


def _held(file: Path) -> Unavailable:
    return Unavailable(
        f"The database '{file}' is open in another program, which may write to it; close it there, or open it there only to "
        "read ('duckdb -readonly')."
    )
