"""The one exception that users are meant to see."""


class UserError(Exception):
    """Something that the user can mend: one sentence that says what, where and what to do.

    The command line prints it without a traceback and exits with code 2; the app shows it in place of the page.
    """
