"""The one exception that users are meant to see, and what the operating system's errors are in words."""

import errno
import os


class UserError(Exception):
    """Something that the user can mend: one sentence that says what, where and what to do.

    The command line prints it without a traceback and exits with code 2; the app shows it in place of the page.
    """


def first_line(error: Exception, lines: int = 1) -> str:
    """What a library's error says at its head, for a sentence of our own; its kind where it says nothing."""
    return " ".join((str(error).strip().splitlines() or [type(error).__name__])[:lines]).strip()


_FORBIDDEN = "this user may not do that; ask for the right to, or choose another place"
_FULL = "the disk is full; make room, or choose another place"
_FILES = "too many files are open; close other programs, or allow more (ulimit -n)"
_WHY = {
    errno.ENOENT: "there is no such file or folder; check the path",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: "the disk can only be read; choose another place",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "the file grew beyond what is allowed here; choose another place",
    errno.EISDIR: "it is a folder; give a file",
    errno.ENOTDIR: "a part of the path is a file, not a folder; check the path",
    errno.EEXIST: "something stands there already; choose another place",
    errno.ENOTEMPTY: "something stands there already; choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "its links go round in a circle; check the path",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EIO: "the disk reports an error; check it",
    errno.ESTALE: "the network disk has lost it; connect the disk again",
    errno.ENOMEM: "there is not enough memory; close other programs",
}


def why(error: OSError) -> str:
    """What the operating system refused and what to do about it, without the path: "the disk is full; make room, ..."."""
    return _WHY.get(error.errno) or (os.strerror(error.errno) if error.errno else first_line(error))
