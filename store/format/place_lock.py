"""One process at a time makes a store at a place: two that began at once would mix their files."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store.errors import UserError, reason
from store.format.writer import check_free, make_folder

_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What some network disks answer: there the user has to see to it."""


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Hold the place of a store until it stands there. The system lets go of it if the process dies, however it does.

    Not for workers, which make parts of a store whose place is claimed already.

    Raises:
        UserError: something stands there, another process is making it, or the folder cannot be written.
    """
    check_free(out)
    make_folder(out.parent)
    with alone(out):
        check_free(out)  # it may have been finished while this one waited
        yield


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """The same for any place, whatever stands there; the folder that it is in must be there.

    Raises:
        UserError: another process is at it, or the folder cannot be written.
    """
    path = place.with_name(f".{place.name}.lock")
    try:
        handle = _take(path)
    except OSError as error:
        raise UserError(f"The folder '{place.parent}' cannot be written: {reason(error)}.") from error
    if handle is None:
        raise UserError(f"Another process is writing '{place}' at this moment; wait until it is done, or choose another place.")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before others can have it: they would hold a file without a name
        os.close(handle)


def _take(path: Path) -> int | None:
    """An open file that is locked, and still has its name; None where another process has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError as error:
            if error.errno in _NO_LOCKS_HERE:
                return handle
            os.close(handle)
            raise
        try:
            if os.path.samestat(os.fstat(handle), os.lstat(path)):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)
