"""Untrusted text as safe HTML: markup escaped, and what cannot be seen, or turns writing around, shown as marks. Pure."""

import html
import unicodedata

VISIBLE = {"\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "⍽", "\u200b": "⟨U+200B⟩"}
_HIDDEN = ("Cc", "Cf", "Zl", "Zp", "Co", "Cn", "Cs")
"""Unicode's categories of control, format, separator, private, unassigned and surrogate characters."""


def visible(token: str) -> str:
    """A token's text as safe HTML: markup escaped, line breaks, tabs and invisible characters shown as marks."""
    return "".join(map(_shown, token)) or '<span class="fs-mark">∅</span>'


def lines(text: str) -> str:
    """Text that a person wrote as safe HTML: as :func:`visible`, but line breaks stay line breaks."""
    return "<br>".join("".join(map(_shown, line)) for line in text.replace("\r\n", "\n").split("\n"))


def _shown(character: str) -> str:
    if character in VISIBLE:
        return f'<span class="fs-mark">{VISIBLE[character]}</span>'
    if unicodedata.category(character) in _HIDDEN:
        return f'<span class="fs-mark">⟨U+{ord(character):04X}⟩</span>'
    return html.escape(character, quote=True)
