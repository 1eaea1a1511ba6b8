"""Putting files in place so that each is whole or absent, whatever ends the program, a power cut included."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from store.errors import UserError, reason

Identity = tuple[int, int, int, int, int]


def identity(path: Path) -> Identity | None:
    """Changes when another file takes a path's place, or when it is written to: device, inode, size, and both times (ns).

    The time of the last change is kept by the operating system: unlike the other, no program that copies can set it.

    Returns:
        None where nothing is, or nothing that may be looked at.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return identity_of(found)


def identity_of(found: os.stat_result) -> Identity:
    """The same of a file that was looked at."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def partial_of(path: Path) -> Path:
    """Where a file stands while it is written."""
    return path.with_name(f"{path.name}.partial")


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write; it gets its name when everything is on the disk. After an exception there is none.

    Raises:
        OSError: the disk is full, or cannot be written to.
    """
    partial = partial_of(path)
    try:
        with partial.open("wb") as file:
            yield file
        put_in_place(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def put_in_place(partial: Path, path: Path) -> None:
    """Give a finished file or folder its name, once its bytes are on the disk; files in a folder must be there already.

    Raises:
        OSError: the disk is full, or cannot be written to.
    """
    sync(partial)
    partial.rename(path)
    sync(path.parent)


def check_writable(path: Path) -> None:
    """Refuse, before any work, a file that :func:`write_text` could not write at the end of it.

    Raises:
        UserError: it is a folder, or this user may not write there.
    """
    try:
        if path.is_dir():
            raise OSError(errno.EISDIR, "", str(path))
        above = path if path.exists() else next(folder for folder in path.absolute().parents if folder.exists())
        if above != path and not above.is_dir():
            raise OSError(errno.ENOTDIR, "", str(path))
        if not os.access(above, os.W_OK):
            raise OSError(errno.EROFS if os.statvfs(above).f_flag & os.ST_RDONLY else errno.EACCES, "", str(path))
    except OSError as error:
        raise UserError(f"'{path}' cannot be written: {reason(error)}.") from error


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8, whole or not at all, with the folders above it; what is no file (``/dev/stdout``) is written to.

    Raises:
        UserError: it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path.resolve()) as file:
            file.write(text.encode())
    except OSError as error:
        raise UserError(f"'{path}' cannot be written: {reason(error)}.") from error


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's list of names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
