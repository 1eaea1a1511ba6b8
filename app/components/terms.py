"""Terms with what they mean, at the place where they are met."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.markup import contexts
from app.words.glossary import TERMS


def line(*terms: str, place: Any = st) -> None:
    """One small line of terms of the glossary; pointing at one, or reaching it with the keyboard, shows what it means.

    Raises:
        KeyError: a term is not in the glossary.
    """
    place.html(contexts.terms([(term, TERMS[term]) for term in terms]))
