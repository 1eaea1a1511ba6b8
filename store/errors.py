"""The exceptions that users are meant to see, and what the operating system's errors mean for them."""

import errno
import os

from store.text import printable


class UserError(Exception):
    """Something that the user can mend: one sentence that says what, where and what to do.

    The command line prints it without a traceback and exits with code 2; the app shows it in place of the page.
    """


class Unavailable(UserError):
    """Something cannot be read or written just now, by this user or on this machine. Nothing says that it is damaged."""


class Replaced(UserError):
    """A store is not the one any more that was opened."""


_LOCKED = (errno.EAGAIN, errno.EBUSY, errno.ETXTBSY, errno.EDEADLK)
_GONE = tuple(
    getattr(errno, name)
    for name in "EIO ENXIO ENODEV ESTALE ENOTCONN ETIMEDOUT EHOSTDOWN EHOSTUNREACH ENETUNREACH EREMOTEIO ENOLINK".split()
    if hasattr(errno, name)
)
_MEANINGS = {
    (errno.EACCES, errno.EPERM): ("this user has no right to", "give this user the right, or use one that has it"),
    (errno.EROFS,): ("its disk can only be read", "work on a copy at a place that can be written"),
    (errno.ENOSPC, errno.EDQUOT): ("its disk is full", "make room there, then try again"),
    (errno.EMFILE, errno.ENFILE): ("too many files are open", "close other programs or notebooks, or raise 'ulimit -n'"),
    (errno.ENOMEM,): ("there is too little memory", "close other programs, then try again"),
    (errno.ELOOP,): ("its links go round in a circle", "put it there without links"),
    (errno.ENAMETOOLONG,): ("its path is too long", "move it to a shorter one"),
    (errno.ENOTDIR,): ("a part of its path is a file", "give the path of the folder"),
    (errno.EISDIR,): ("it is a folder", "put the file there"),
    _LOCKED: ("another program holds it", "close it there, or try again when that is done"),
    (errno.ENOLCK,): ("its disk cannot lock files", "copy it to a local disk"),
    _GONE: ("its disk or network drive does not answer", "mount it again or check the disk, then try again"),
}
"""errno -> what it means here, and what to do."""


def unavailable(what: str, error: OSError, verb: str = "read") -> Unavailable:
    """The sentence for an error of the operating system.

    Args:
        what: the subject of the sentence: "The manifest 'x/manifest.json'".
        verb: what could not be done to it, as a participle.
    """
    return Unavailable(f"{what} cannot be {verb}: {reason(error)}.")


def reason(error: OSError) -> str:
    """Why, and after a semicolon what to do."""
    if error.errno == errno.ENOENT:
        return "there is no such file or folder; check the path"
    for codes, (why, remedy) in _MEANINGS.items():
        if error.errno in codes:
            return f"{why} ({os.strerror(error.errno)}); {remedy}"
    return f"{error.strerror or first_line(error)}; mend that, then try again"


def is_known(error: BaseException) -> bool:
    """Whether the operating system says it, of permission, locks, disks and the like, and not of bytes that are wrong."""
    return isinstance(error, OSError) and any(error.errno in codes for codes in _MEANINGS)


def system_error(text: str) -> OSError | None:
    """The operating system's error that a library's message quotes; None where it quotes none that is known here."""
    for codes in _MEANINGS:
        for code in codes:
            if os.strerror(code) in text:
                return OSError(code, os.strerror(code))
    return None


def first_line(error: Exception, lines: int = 1) -> str:
    """What a library's error says at its head, for a sentence of our own; its kind where it says nothing.

    A line that ends in a colon says nothing without the next. What a file put into it that cannot be printed is a space.
    """
    said = str(error).strip().splitlines() or [type(error).__name__]
    while lines < len(said) and said[lines - 1].rstrip().endswith(":"):
        lines += 1
    return printable(" ".join(said[:lines]))
