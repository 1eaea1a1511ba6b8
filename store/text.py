"""Untrusted text, shown as it is: what cannot be seen, or turns writing around, as marks. Pure.

One function for each parser: :func:`visible` and :func:`lines` for HTML, :func:`markdown` for Markdown, :func:`on_one_line` for
places that take text as text.
"""

import re
import unicodedata

from markupsafe import Markup, escape

VISIBLE = {"\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "⍽", "\u200b": "⟨U+200B⟩"}
REST = Markup('<span style="display:inline-block;width:0.3em;height:0.55em;border-bottom:1px dotted"></span>')
MARK = Markup('<span class="fs-mark">{}</span>')
HIDDEN = "[hidden: may be harmful]"
"""What is said in the place of a text that is covered until asked for."""

JOINER = "\u2060"
_READ_ON = re.compile(r":(?=[A-Za-z/])|@(?=\S)|www(?=\.)|<(?=[-=])|-(?=[->])|[>~](?==)", re.IGNORECASE)
"""Where an address, an icon or an arrow would begin that a second reader finds in plain text."""

_JOINED = re.compile(rf"(:|@|www|[<>~-]){JOINER}", re.IGNORECASE)

_HIDDEN = ("Cc", "Cf", "Zl", "Zp", "Co", "Cn", "Cs")
"""Unicode's categories of control, format, separator, private, unassigned and surrogate characters."""


def visible(token: str) -> Markup:
    """A token's text as safe HTML: markup escaped, line breaks, tabs and invisible characters shown as marks."""
    return _shown(token) or MARK.format("∅")


def in_place(token: str, goes_on: bool = True) -> Markup:
    """As :func:`visible`, of a token where it stands; one without a text, which only goes on with the character before it, is a
    narrow place, unless nothing goes on there."""
    return REST if goes_on and not token else visible(token)


def lines(text: str) -> Markup:
    """Text that a person wrote as safe HTML: as :func:`visible`, but line breaks stay line breaks."""
    return Markup("<br>").join(map(_shown, text.replace("\r\n", "\n").split("\n")))


def on_one_line(text: str) -> str:
    """Not HTML: ends of lines and tabs as spaces, other characters that cannot be seen as their number, ⟨U+202E⟩."""
    return "".join(" " if c in "\n\r\t" else _number(c) if _hidden(c) else c for c in text)


def printable(text: str) -> str:
    """One line for storing anywhere: what cannot be printed as a space, runs of spaces as one. It is not escaped by that."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def marked(text: str) -> str:
    """Not HTML: line breaks, tabs and invisible characters shown as marks, as :func:`visible` does."""
    return "".join(VISIBLE.get(c) or (_number(c) if _hidden(c) else c) for c in text)


def markdown(text: str, marks: str) -> str:
    """Text on one line that Markdown takes as text; `marks`: the characters to stand behind a backslash.

    A backslash only keeps from the first reader. A second one reads what comes out, without backslashes: it makes links of bare
    addresses (GitHub's Markdown), icons and arrows of `:material/...:` and `->` (Streamlit's). Where it would begin stands a
    word joiner, which nobody sees.
    """
    unread = _READ_ON.sub(lambda found: found[0] + JOINER, on_one_line(text))
    return "".join("\\" + c if c in marks else c for c in unread)


def unjoined(text: str) -> str:
    """Text that was copied from where :func:`markdown` put it, without its word joiners; others stay."""
    return _JOINED.sub(r"\1", text)


def _shown(text: str) -> Markup:
    if text.isprintable():  # as most tokens: none of _HIDDEN, none of VISIBLE
        return escape(text)
    return Markup("").join(MARK.format(VISIBLE.get(c) or _number(c)) if c in VISIBLE or _hidden(c) else escape(c) for c in text)


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN


def _number(character: str) -> str:
    return f"⟨U+{ord(character):04X}⟩"
