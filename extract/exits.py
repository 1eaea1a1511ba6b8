"""How a command ends: its exit code, and one sentence where something stood in its way."""

import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from store.errors import UserError, first_line, reason
from store.text import on_one_line

DONE, FOUND_FAULT, CANNOT, FAULT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 70, 130, 141
"""Done; ``verify`` or a bench found something; the user can mend it; a fault of ours; Ctrl-C; nobody reads the output."""


def carry_out(action: Callable[[], int], debug: bool, interrupted: str) -> int:
    """Run a command to its end.

    Args:
        action: returns its exit code.
        debug: let errors through with their traceback.
        interrupted: what is said after Ctrl-C.

    Returns:
        The exit code, see above.
    """
    _prepare_output()
    try:
        code = action()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _say(f"\n{interrupted}")
        return INTERRUPTED
    except BrokenPipeError:
        _flush_or_let_go()
        return PIPE_CLOSED
    except Exception as error:
        if debug:
            raise
        sentence, code = _in_words(error)
        _say(f"error: {on_one_line(sentence)}")
        _flush_or_let_go()
        return code


def _prepare_output() -> None:
    """A terminal of a narrow encoding, or none at all, is no reason to fail."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - as long as the program runs
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # where that cannot be written either, the exit code has to do
        print(text, file=sys.stderr, flush=True)


def _in_words(error: Exception) -> tuple[str, int]:
    """The sentence for an error that nobody met on the way, and the exit code."""
    if isinstance(error, UserError):
        return str(error), CANNOT
    if isinstance(error, OSError):
        where = f"'{_shortened(error.filename)}'" if error.filename else "A file, or the output of this command"
        return f"{where} cannot be read or written: {reason(error)}.", CANNOT
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return (
            "There is not enough memory for this; close other programs, or set smaller batch_tokens and shard_tokens. Finished "
            "shards are kept."
        ), CANNOT
    return (
        f"A fault of this program, not of your input: {type(error).__name__}: {first_line(error)}; please report it with "
        f"{_kept_traceback(error)}."
    ), FAULT


def _shortened(path: object) -> str:
    """A path that fits into a sentence."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)
    return text if len(text) <= 300 else f"{text[:140]} ... {text[-140:]}"


def _kept_traceback(error: Exception) -> str:
    """Where the traceback is, so that nobody has to run the command again for it."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="featureshift-", suffix=".log", delete=False, encoding="utf-8",
                                         errors="backslashreplace") as file:  # fmt: skip
            file.write(text)
    except OSError:
        return "what the same command prints with --debug"
    return f"the file '{file.name}'"


def _flush_or_let_go() -> None:
    """Where the output cannot take what is left in the buffer, that goes nowhere: the interpreter must not fail on it."""
    with contextlib.suppress(ValueError, AttributeError):  # no real output, as under a test
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
