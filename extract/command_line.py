"""What both command lines have in common: Cyclopts with help in plain text, and a wrong line as one of our own errors."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError
from cyclopts.help import PlainFormatter

from extract.exits import DONE
from store.errors import UserError


def _whole(_type: object, tokens: Sequence) -> int:
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f'"{tokens[0].value}" is not a whole number.') from None


Whole = Annotated[int, Parameter(converter=_whole)]
"""A whole number as it is written; Cyclopts alone rounds 1.5 to 2."""

Words = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]
"""The words of a command, its options too, for a function that hands them on."""


class Help(PlainFormatter):
    """Names on the left, what they mean on the right; no colours, no boxes, and printed as all else is."""

    def __call__(self, console, _options, panel) -> None:
        """Print one part of a help page."""
        if not panel.entries:
            return
        print(f"{panel.title}:")
        for entry in panel.entries:
            name = "  " + ", ".join(entry.display_labels_with_metavar)
            facts = [f"one of {', '.join(entry.choices)}"] if entry.choices else []
            facts += [f"default: {entry.default}"] if entry.default else ["required"] if entry.required else []
            text = _plain(entry.description) + (f" ({'; '.join(facts)})" if facts else "")
            print(textwrap.fill(text, max(console.width, 50), initial_indent=f"{name:<22}  ", subsequent_indent=" " * 24))
        print()

    def render_usage(self, console, _options, usage) -> None:
        """Print the line of a command's arguments."""
        self.render_description(console, _options, f"Usage: {usage}")

    def render_description(self, console, _options, description) -> None:
        """Print what a command is for."""
        print(textwrap.fill(_plain(description), max(console.width, 50)), end="\n\n")


def _plain(text: object) -> str:
    return str(getattr(text, "primary_renderable", text))


def command_line(program: str, text: str, commands: Iterable[Callable[..., int]]) -> App:
    """The command line of some functions, one command each: named after it, with the help of its docstring.

    Args:
        program: how it is started.
        text: what it is for.
        commands: in the order of the help; positional-only arguments are given by place, the others by name.
    """
    usual = Parameter(negative=(), show_default=lambda value: str(value) if value else None)
    app = App(
        name=program, help=text, help_format="plaintext", help_formatter=Help(), version_flags=(), default_parameter=usual
    )  # fmt: skip
    for number, command in enumerate(commands):
        app.command(command, sort_key=number)
    return app


def parse(app: App, words: Sequence[str]) -> Callable[..., int]:
    """What a line asks for, as a function to call.

    Raises:
        UserError: the line asks for nothing that there is.
    """
    if not words:
        raise UserError("A command is missing. See '--help'.")
    try:
        command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        what = f"There is no place for {error.unused_tokens}." if isinstance(error, UnusedCliTokensError) else str(error)
        raise UserError(f"{what} See '{' '.join([*(error.command_chain or ()), '--help'])}'.") from error
    return lambda **more: command(*bound.args, **bound.kwargs, **more) or DONE  # what prints the help returns nothing
