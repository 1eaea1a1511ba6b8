"""The sidecar's file: how it is opened, and what is believed of it.

It may come from a stranger, lie beside the store by mistake, or have been damaged since. So before anything is asked of it: it
is a file of its own, not a link; and it holds exactly the tables that this program, or one before it, makes, without views,
triggers or generated columns (:mod:`store.sidecar.schema`).
"""

import contextlib
import errno
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from store.errors import Unavailable, UserError, first_line, is_known, unavailable
from store.sidecar import schema as sidecar_schema
from store.sidecar.schema import REMEDY, VERSION, version_of

TIMEOUT = 30
"""Seconds that a reader or writer waits for others."""
SECONDS = 20
"""What one question may take: far beyond what MOST_BYTES need."""
MOST_BYTES = 500_000_000
LONGEST_ROW = 1_000_000
"""Bytes of a file, and of a row."""

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_FORBIDDEN = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH)
_COMPANIONS = ("", "-wal", "-shm", "-journal")
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""The last bytes of a journal that names another file, which SQLite would open and may delete."""

Answer = TypeVar("Answer")


@contextlib.contextmanager
def to_write(path: Path) -> Iterator[sqlite3.Connection]:
    """A sidecar in a transaction of its own; it is made or brought up to date first.

    Raises:
        UserError: it cannot be written, is not a sidecar, or is of a later version; nothing was kept.
    """
    before = _identity(path, to_write=True)
    with _open(path, path, isolation_level=None) as connection:
        connection.execute("ROLLBACK")  # what was looked at was one moment; what is written is another
        _same(path, before)
        if version_of(connection) < VERSION:
            _use_wal(connection)
        with _transaction(connection):
            sidecar_schema.bring_up_to_date(connection, path)
            yield connection
            _same(path, before)
        with contextlib.suppress(sqlite3.Error):  # the rows are kept; this only tidies, as far as it goes without waiting
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def asked(path: Path, ask: Callable[[sqlite3.Connection, int], Answer]) -> Answer | None:
    """What a function of (connection, version) answers about a sidecar, opened read-only; None where there is none."""
    before = _identity(path)
    if before is None:
        return None

    def answer(address: str) -> Answer:
        with _open(path, address, uri=True) as connection:
            connection.execute("PRAGMA query_only = ON")
            _same(path, before)
            return ask(connection, version_of(connection))

    address = f"file:{quote(str(path))}?mode=ro"
    try:
        return answer(address)
    except UserError:
        # In a folder that cannot be written SQLite has no place for its lock file; nobody else can be writing there either.
        if may(path.parent, os.W_OK):
            raise
        journal = path.with_name(f"{path.name}-wal")
        if journal.exists() and journal.stat().st_size:
            raise UserError(
                f"The sidecar '{path}' has changes in '{journal.name}' that cannot be read in a folder that is read-only; copy "
                "both to where you may write."
            ) from None
        return answer(f"{address}&immutable=1")


def _identity(path: Path, to_write: bool = False) -> tuple[int, int] | None:
    """Which file it is; None where there is none. Links are never followed: behind one is another program's file.

    Only asked by its name: closing a file that SQLite has open too would let go of its locks.

    Raises:
        UserError: it, or what SQLite keeps beside it, is a link or no file, or the folder cannot be looked into.
    """
    found = None
    for companion in _COMPANIONS:
        file = path.with_name(path.name + companion)
        try:
            facts = os.lstat(file)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise unavailable(f"The sidecar '{path}'", error) from error
        if not stat.S_ISREG(facts.st_mode):
            kind = "a link to another place" if stat.S_ISLNK(facts.st_mode) else "no file"
            raise UserError(f"The sidecar's '{file}' is {kind}, which is not followed; put the file itself there, or {REMEDY}.")
        if to_write and facts.st_nlink > 1:
            raise UserError(
                f"The sidecar's '{file}' has a second name elsewhere, where it would change too; put a copy in its place."
            )
        if companion == "":
            found = facts.st_dev, facts.st_ino
            if facts.st_size > MOST_BYTES:
                raise UserError(f"The sidecar '{path}' is larger than {MOST_BYTES / 1e6:,.0f} MB; {REMEDY}.")
        if companion == "-journal" and _names_another_file(file):
            raise UserError(f"The sidecar's '{file}' names another file, which no program of ours does; {REMEDY}.")
    return found


def _same(path: Path, before: tuple[int, int] | None) -> None:
    """Refuse a file that took another's place since; one that was made since may be our own."""
    if _identity(path) != before and before is not None:
        raise UserError(f"The sidecar '{path}' was replaced while it was open; nothing was kept, do it again.")


def _names_another_file(journal: Path) -> bool:
    try:
        with journal.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(_SUPER_JOURNAL)))
            return file.read() == _SUPER_JOURNAL
    except OSError:
        return False


@contextlib.contextmanager
def _open(path: Path, address: str | Path, **options) -> Iterator[sqlite3.Connection]:
    """A sidecar that was looked at, in the transaction in which it was: version, tables and rows are of one moment.

    Others may bring it up to date meanwhile.
    """
    try:
        with contextlib.closing(sqlite3.connect(address, timeout=TIMEOUT, **options)) as connection:
            _restrict(connection)
            connection.execute("BEGIN")
            version = version_of(connection)
            if version > VERSION:
                raise UserError(f"The sidecar '{path}' has version {version}, but this program reads version {VERSION}.")
            sidecar_schema.check_schema(path, connection, version)
            yield connection
    except UnicodeEncodeError as error:
        raise UserError(f"'{ascii(error.object)[:80]}' is no text that can be kept; nothing was kept.") from error
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _failure(path, error, writing=not options.get("uri")) from error


def _restrict(connection: sqlite3.Connection) -> None:
    """Nothing that a file says is run, no row is larger than any of ours, and no question goes on for ever."""
    for setting in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {setting}")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_ROW)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    until = time.monotonic() + SECONDS + TIMEOUT
    connection.set_progress_handler(lambda: time.monotonic() > until, 100_000)


def _failure(path: Path, error: Exception, writing: bool) -> UserError:
    """What went wrong and what to do about that, by SQLite's own code and what the operating system has against the file."""
    said = first_line(error)[:200]
    code = getattr(error, "sqlite_errorcode", 0)
    kind = code & 0xFF  # the low byte is the primary code
    if kind in _BUSY:
        return Unavailable(f"The sidecar '{path}' is kept busy by another program; try again when that is done.")
    if (cause := _cause(path, kind, writing)) is not None:
        return unavailable(f"The sidecar '{path}'", cause, "written" if writing else "read")
    if kind == sqlite3.SQLITE_IOERR:
        return Unavailable(
            f"The sidecar '{path}' could not be read or written ({said}); nothing was kept: see that its disk is there and "
            "has room, and do it again."
        )
    if kind in _FORBIDDEN:
        return Unavailable(
            f"The sidecar '{path}' may not be opened or written here ({said}); ask for the right to it, or copy store and "
            "sidecar to a place of your own."
        )
    if kind == sqlite3.SQLITE_INTERRUPT:
        return UserError(f"The sidecar '{path}' takes more than {SECONDS} seconds to read; {REMEDY}.")
    return UserError(f"The sidecar '{path}' cannot be used ({said}); {REMEDY}.")


def _cause(path: Path, kind: int, writing: bool) -> OSError | None:
    """What the operating system has against a sidecar; SQLite says only "unable to open". The file itself is not opened."""
    if kind == sqlite3.SQLITE_FULL:
        return _os_error(errno.ENOSPC)
    if kind not in (*_FORBIDDEN, sqlite3.SQLITE_IOERR):
        return None
    try:
        if path.exists() and not may(path, os.R_OK):
            return _os_error(errno.EACCES)
        if writing:  # its journal stands beside it
            if path.exists() and not may(path, os.W_OK):
                return _os_error(errno.EACCES)
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as found:
        return found if is_known(found) else None
    return None


def _os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def may(path: Path, what: int) -> bool:
    """Whether this user may read (``os.R_OK``) or write (``os.W_OK``) there."""
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode. SQLite does not wait when two do so at once, so this does."""
    until = time.monotonic() + TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY or time.monotonic() > until:
                raise
        time.sleep(0.02)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # after a full disk SQLite has rolled back itself
            connection.execute("ROLLBACK")
        raise
