"""Example text may be harmful: it stays blurred until somebody asks for it. Whether it is shown is part of the link."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import link

SHOWN = "shown"


def is_shown() -> bool:
    """Whether the link asks for example text to be readable."""
    return link.read("text", (SHOWN, "blurred"), "blurred") == SHOWN


def button(place: Any = st) -> None:
    """A button, and the key T, that shows example text or blurs it again."""
    lifted = is_shown()
    place.button(
        "Blur example text" if lifted else "Show example text",
        key="blur",
        icon=":material/visibility_off:" if lifted else ":material/visibility:",
        shortcut="T",
        on_click=link.write,
        kwargs={"text": None if lifted else SHOWN},
        help=None if lifted else "Texts that features fire on may be harmful, so they are blurred until asked for.",
    )


def examples() -> st.delta_generator.DeltaGenerator:
    """A container for contexts (app/markup/contexts.py), blurred until asked for."""
    return st.container(key="shown" if is_shown() else "blurred")


HARMFUL = ("harm", "alarm", "toxic", "unsafe", "safety", "jailbreak", "abuse", "violen")


def may_be_harmful(name: str) -> bool:
    """Whether a domain's or task's name says that its texts may be harmful: it contains a word of HARMFUL."""
    return any(word in name.lower() for word in HARMFUL)
