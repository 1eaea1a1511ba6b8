"""The one exception that users are meant to see."""


class UserError(Exception):
    """Something that the user can mend: one sentence that says what, where and what to do.

    The command line prints it without a traceback and exits with code 2; the app shows it in place of the page.
    """


def first_line(error: Exception, lines: int = 1) -> str:
    """What a library's error says at its head, for a sentence of our own; its kind where it says nothing."""
    return " ".join((str(error).strip().splitlines() or [type(error).__name__])[:lines]).strip()
