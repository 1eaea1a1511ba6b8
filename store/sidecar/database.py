"""The sidecar's file: how it is opened, what is believed of it, and how its rows are kept from silent damage.

It may come from a stranger, lie beside the store by mistake, or have been damaged since. So before anything is asked of it: it
is a file of its own, not a link; it holds exactly the tables that this program, or one before it, makes, without views,
triggers or generated columns; and every row since version 4 carries a checksum of itself. Reviews are numbered without a gap,
so that a row that is gone is noticed too. Version 1 held labels only, version 2 causal checks too, version 3 reviews: they
are read as they are, their rows without checksums, and the first write brings them up to date.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import quote

from store.errors import Unavailable, UserError, first_line, is_known, unavailable

VERSION = 4
CHECKSUMS_SINCE = 4
TIMEOUT = 30
"""Seconds that a reader or writer waits for others."""
SECONDS = 20
"""What one question may take: far beyond what MOST_BYTES need."""
MOST_BYTES = 500_000_000
LONGEST_ROW = 1_000_000
LONGEST_WORD = 10_000
"""Bytes of a file, of a row, and characters of a text that is not a set of numbers."""
REMEDY = "move it away to have the store without imported labels, causal checks and reviews"

TABLES = {
    "labels": """
CREATE TABLE labels (
    store TEXT NOT NULL,         -- digest of the store's manifest
    layer INTEGER NOT NULL,
    feature INTEGER NOT NULL,
    label TEXT NOT NULL,         -- untrusted text
    label_source TEXT NOT NULL,  -- where it was imported from
    imported TEXT NOT NULL,      -- ISO 8601 time, UTC
    checksum TEXT,               -- SHA-256 of the other columns; null: written before version 4
    PRIMARY KEY (store, layer, feature)
) WITHOUT ROWID;
""",
    "steering": """
CREATE TABLE steering (
    store TEXT NOT NULL,         -- digest of the store's manifest
    layer INTEGER NOT NULL,
    feature INTEGER NOT NULL,
    variant TEXT NOT NULL,
    mode TEXT NOT NULL,          -- 'restore' or 'ablate'
    n_contexts INTEGER NOT NULL,
    n_positions INTEGER NOT NULL,
    kl_before REAL NOT NULL,     -- nats, mean over contexts
    kl_after REAL NOT NULL,
    low REAL,                    -- 95 % interval of kl_after - kl_before over contexts; null: too few contexts
    high REAL,
    controls TEXT NOT NULL,      -- JSON object: feature -> kl_after along its direction instead
    seed INTEGER NOT NULL,
    made TEXT NOT NULL,          -- ISO 8601 time, UTC
    checksum TEXT,               -- as above
    PRIMARY KEY (store, layer, feature, variant)
) WITHOUT ROWID;
""",
    "reviews": """
CREATE TABLE reviews (           -- every judgement ever given: rows are added, never changed
    id INTEGER PRIMARY KEY,      -- in the order of writing, from 1 without a gap
    store TEXT NOT NULL,         -- digest of the store's manifest
    variant TEXT NOT NULL,
    layer INTEGER NOT NULL,
    feature INTEGER NOT NULL,
    reviewer TEXT NOT NULL,      -- untrusted text
    verdict TEXT NOT NULL,       -- 'concern', 'benign' or 'unclear'
    severity TEXT,               -- 'low', 'medium', 'high'; null: not said, or no concern
    note TEXT NOT NULL,          -- untrusted text
    made TEXT NOT NULL,          -- ISO 8601 time, UTC
    checksum TEXT                -- as above
);
CREATE INDEX reviews_of_a_variant ON reviews (store, variant);
""",
}
SINCE = {"labels": 1, "steering": 2, "reviews": 3}
"""Table -> the version that first had it."""
_REALS = ("kl_before", "kl_after", "low", "high")

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_FORBIDDEN = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH)
_COMPANIONS = ("", "-wal", "-shm", "-journal")
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""The last bytes of a journal that names another file, which SQLite would open and may delete."""


def write(path: Path, table: str, rows: Sequence[Sequence]) -> None:
    """Put rows into a table, all or none; the file is made or brought up to date first.

    Args:
        rows: values of all columns but the checksum, and of reviews but the id.

    Raises:
        UserError: it cannot be written, is not a sidecar, or is of a later version; nothing was kept.
    """
    before = _identity(path, to_write=True)
    with _open(path, path, isolation_level=None) as connection:
        _same(path, before)
        if _version(connection) < VERSION:
            _use_wal(connection)
        with _transaction(connection):
            _bring_up_to_date(connection, path)
            names = [name for name in _columns(table) if name != "checksum"]
            first = 1 + (connection.execute("SELECT coalesce(max(id), 0) FROM reviews").fetchone()[0])
            for number, row in enumerate(rows):
                values = [first + number, *row] if table == "reviews" else list(row)
                values = [float(value) if name in _REALS and value is not None else value
                          for name, value in zip(names, values, strict=True)]  # fmt: skip
                how = "INSERT" if table == "reviews" else "INSERT OR REPLACE"
                places = ", ".join("?" * (len(values) + 1))
                connection.execute(f"{how} INTO {table} VALUES ({places})", [*values, checksum(table, values)])
            _same(path, before)
        with contextlib.suppress(sqlite3.Error):  # the rows are kept; this only tidies, as far as it goes without waiting
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def read(path: Path, table: str, digest: str | None) -> list[dict]:
    """The rows of a table that are about one store, or about any; none where there is no sidecar or no such table yet.

    Every row is looked at, whichever store it is about: one that is damaged need not say the right store any more.

    Raises:
        UserError: it cannot be read, is not a sidecar, is of a later version, or a row is damaged.
    """

    def ask(connection: sqlite3.Connection, version: int) -> list[dict]:
        if version < SINCE[table]:
            return []
        for (fault,) in connection.execute(f"PRAGMA quick_check('{table}')"):
            if fault != "ok":
                raise damaged(path, "table", fault)
        order = "id" if table == "reviews" else "store, layer, feature"
        found = connection.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY {order}")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found]
        _check_rows(path, table, rows)
        return [row for row in rows if digest is None or row["store"] == digest]

    return asked(path, ask) or []


def count_without_checksum(path: Path) -> int:
    """Rows that an earlier program wrote: whether they are damaged cannot be known."""
    return sum(row.get("checksum") is None for table in TABLES for row in read(path, table, None))


def asked(path: Path, ask):
    """What a function of (connection, version) answers about a sidecar, opened read-only; None where there is none."""
    before = _identity(path)
    if before is None:
        return None

    def answer(address: str):
        with _open(path, address, uri=True) as connection:
            connection.execute("PRAGMA query_only = ON")
            _same(path, before)
            return ask(connection, _version(connection))

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


def checksum(table: str, values: Sequence) -> str:
    """Of a row: SHA-256 over its table's name and its values, in the order of the columns, as JSON."""
    return hashlib.sha256(json.dumps([table, *values], allow_nan=False, separators=(",", ":")).encode()).hexdigest()


def damaged(path: Path, what: str, why: str) -> UserError:
    """What is said of a row, or a table, that is not as it was written."""
    return UserError(f"The sidecar '{path}' holds a damaged {what} ({why}); {REMEDY}.")


def _check_rows(path: Path, table: str, rows: Sequence[dict]) -> None:
    for row in rows:
        *values, written = row.values() if "checksum" in row else (*row.values(), None)
        try:
            sound = written is None or written == checksum(table, values)
        except (TypeError, ValueError):  # bytes, or no number
            sound = False
        if not sound:
            raise damaged(path, f"row of {table}", "its checksum does not match")
    if table == "reviews" and [row["id"] for row in rows] != list(range(1, len(rows) + 1)):
        raise damaged(path, "history of reviews", "a row is missing")


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
    try:
        with contextlib.closing(sqlite3.connect(address, timeout=TIMEOUT, **options)) as connection:
            _restrict(connection)
            version = _version(connection)
            if version > VERSION:
                raise UserError(f"The sidecar '{path}' has version {version}, but this program reads version {VERSION}.")
            _check_schema(path, connection, version)
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


def _check_schema(path: Path, connection: sqlite3.Connection, version: int) -> None:
    """Exactly what a program of that version made.

    Raises:
        UserError: it is not.
    """
    found = connection.execute("SELECT type, name, sql FROM sqlite_master LIMIT 20").fetchall()
    expected = _schema(version)
    made = {(str(kind), str(name)): _plain(str(sql or "")) for kind, name, sql in found}  # damaged ones may be bytes
    if made != expected:
        odd = sorted(key for key in made.keys() | expected.keys() if made.get(key) != expected.get(key))
        kind, name = odd[0]
        raise UserError(
            f"The sidecar '{path}' is not one that this program wrote (its {kind} {name[:80]!r} is missing or another); "
            f"{REMEDY}."
        )


@cache
def _schema(version: int) -> dict[tuple[str, str], str]:
    """What a version's file holds: (kind, name) -> the statement that makes it."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for table, since in SINCE.items():
            if since <= version:
                connection.executescript(_without_checksum(TABLES[table]) if version < CHECKSUMS_SINCE else TABLES[table])
        found = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    return {(kind, name): _plain(sql or "") for kind, name, sql in found}


def _without_checksum(sql: str) -> str:
    """As versions before 4 made the table."""
    return re.sub(r",(\s*--[^\n]*)?\s*\)", r"\1\n)", re.sub(r"\n *checksum TEXT.*", "", sql))


def _plain(sql: str) -> str:
    """A statement without comments and blanks that mean nothing."""
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(re.sub(r"--[^\n]*", "", sql).split()))


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Inside a transaction: make what is missing, and make anew what has no checksums; rows stay as they are."""
    version = _version(connection)
    if version == VERSION:
        return
    _check_schema(path, connection, version)  # somebody else may have done it while this one waited
    connection.execute("DROP INDEX IF EXISTS reviews_of_a_variant")
    for table, since in SINCE.items():
        older = since <= version
        if older:
            connection.execute(f"ALTER TABLE {table} RENAME TO older_{table}")
        for statement in TABLES[table].strip().split(";\n"):
            connection.execute(statement)
        if older:
            connection.execute(f"INSERT INTO {table} SELECT *, NULL FROM older_{table}")
            connection.execute(f"DROP TABLE older_{table}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


@cache
def _columns(table: str) -> tuple[str, ...]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(TABLES[table])
        return tuple(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))


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


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


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
