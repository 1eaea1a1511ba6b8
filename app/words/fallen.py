"""What a list of suppressed features comes down to, in a sentence each; names in them are escaped for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from app.words.text import plain
from store.numbers import counted, listing


def here_alone(variant: str, n: int, alone: int, in_all: int, n_others: int) -> str:
    """How many of the suppressed features of a variant are suppressed in it alone.

    Args:
        n: suppressed features; alone: of these, suppressed in no other recipe; in_all: in every other one.
        n_others: other recipes that have verdicts.
    """
    name, features = f"**{plain(variant)}**", counted(n, "feature")
    if n == 0:
        return f"No feature is called suppressed in {name}."
    if n_others == 0:
        return f"{features} suppressed in {name}; whether in it alone cannot be said: no other recipe here has verdicts."
    if alone == 0:
        return f"Nothing fell in {name} alone: every one of {features} is suppressed in another recipe too."
    every = f", {in_all:,} of these in all {n_others:,} others" if n_others > 1 and in_all else ""
    elsewhere = f"{n - alone:,} in other recipes too{every}" if alone < n else "none in another recipe"
    return f"Of {features} suppressed in {name}, **{alone:,} only here**; {elsewhere}."


def on_harmful(n: int, material: int, unseen: int, alone: int | None, domains: Sequence[str], judged: bool = True) -> str:
    """How many of n features lost a material share on text that may be harmful.

    Args:
        material: lost as much there; unseen: could not be seen to, as they fire too seldom there.
        alone: of the material ones, suppressed in no other recipe; None where nothing says so.
        domains: whose text may be harmful.
        judged: whether the variant has verdicts: then a sentence before this one says what the n are.
    """
    where = f"text that may be harmful ({plain(listing(list(domains)))})"
    only = "" if alone is None or material == 0 else f", {alone:,} of them only here"
    seldom = f"; for {unseen:,}, too few firings there to tell" if unseen else ""
    if judged:
        return f"On {where} {material:,} of the {n:,} lost a material share{only}{seldom}."
    of = f"Of {counted(n, 'feature')} that fell materially (no verdicts)"
    return f"{of}, {material:,} lost a material share on {where}{only}{seldom}."
