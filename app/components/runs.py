"""The runs of a recipe: which variants are replicates of which, and how a page calls them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app import data, words
from app.charts import axes
from store.read.store import Store
from store.trainings import speakers


def groups(store: Store) -> dict[str, list[str]]:
    """The first variant of each recipe -> it and its replicates; checkpoints of one training in order of their steps."""
    rows = data.ask(store, Store.groups)
    found: dict[str, list[str]] = {}
    for variant, first in zip(rows["variant"].to_list(), rows["first"].to_list(), strict=True):
        found.setdefault(first, []).append(variant)
    return {first: found[first] for first in by_training(store, list(found))}


def compared(store: Store) -> dict[str, list[str]]:
    """The same, but of a training with several checkpoints the last alone: one line or row a training."""
    rows = data.ask(store, Store.compared)
    return {first: members for first, members in groups(store).items() if first in set(rows["first"])}


def compared_variants(store: Store) -> list[str]:
    """The variants of :func:`compared`, in the store's order."""
    return data.ask(store, Store.compared)["variant"].to_list()


def speaker(store: Store, variant: str | None) -> str | None:
    """The recipe of :func:`compared` that a variant is of, or that speaks for its training; None where it is no variant."""
    members = store.members()
    return speakers(members)[members[variant].first] if variant in members else None


def others_said(store: Store) -> str:
    """Where the checkpoints are that :func:`compared` leaves out, as the end of a caption; '' where there are none."""
    left_out = len(groups(store)) > len(compared(store))
    return " Of a training with several checkpoints the last one: the others stand under *Layers*, *Over steps*." * left_out


def by_training(store: Store, variants: Sequence[str]) -> list[str]:
    """Variants, those of one training together, where its first stands, by their steps."""
    about = store.manifest.variants
    place = {name: (about[name].get("series"), name if "series" not in about[name] else "") for name in variants}
    first_at = {training: at for at, training in reversed(list(enumerate(place.values())))}
    return sorted(variants, key=lambda name: (first_at[place[name]], about[name].get("step", 0)))


def firsts(store: Store) -> dict[str, str]:
    """Variant -> the first of its recipe, which may be itself; those of one recipe in a row."""
    return {name: first for first, members in groups(store).items() for name in members}


def name(store: Store, variant: str) -> str:
    """How a picker calls a variant: 'safety', or 'safety · run 2' of a replicate."""
    first = firsts(store)[variant]
    return variant if variant == first else f"{first} · run {groups(store)[first].index(variant) + 1}"


def looks(store: Store) -> dict[str, axes.Look]:
    """Variant -> colour and style of its lines, the same on every page."""
    return axes.recipe_looks(groups(store))


def colours(store: Store) -> dict[str, str]:
    """Variant -> the colour of its recipe, the same on every page."""
    return {name: look.colour for name, look in looks(store).items()}


def said(store: Store, first: str) -> str:
    """'3 runs of one recipe: safety, safety-b and safety-c', or 'one run'; safe Markdown."""
    members = groups(store)[first]
    if len(members) == 1:
        return "one run"
    return f"{len(members)} runs of one recipe: {words.plain(words.listing(members))}"


def listed(store: Store) -> list[str]:
    """Each recipe as '**maths** (2 runs)' or '**safety**'; safe Markdown."""
    several = {first: f" ({len(members)} runs)" if len(members) > 1 else "" for first, members in groups(store).items()}
    return [f"**{words.plain(first)}**{said}" for first, said in several.items()]


def badge(store: Store, variant: str) -> None:
    """Say of a replicate what it is."""
    first = firsts(store)[variant]
    members = groups(store)[first]
    if variant != first:
        of = words.plain(first)
        st.badge(
            f"run {members.index(variant) + 1} of {len(members)} of {of}", color="gray", icon=":material/repeat:",
            help=f"{words.plain(variant)} is a replicate: another run of the recipe of {of}. What is claimed of the recipe has "
            "to show in every run.",
        )  # fmt: skip


def changes(store: Store, row: pd.Series) -> pd.DataFrame:
    """What a feature does in the recipe's other runs: name (as the page calls them), change.

    row: of feature_stats, domain 'all'.
    """
    asked = {"layer": int(row["layer"]), "feature": int(row["feature"]), "variant": row["variant"]}
    found = data.ask(store, Store.replicate_changes, **asked)
    found = found[found["variant"] != row["variant"]]
    return pd.DataFrame({"name": [name(store, one) for one in found["variant"]], "change": found["change"].to_list()})


def counts(store: Store, variant: str) -> dict[int, dict[str, int]] | None:
    """Layer -> how many features of a variant have each verdict; None where it has no verdicts."""
    if not data.ask(store, Store.has_verdicts, variant=variant):
        return None
    rows = data.ask(store, Store.verdict_counts)
    mine = rows[rows["variant"] == variant]
    return {int(layer): dict(zip(of["verdict"], of["n"], strict=True)) for layer, of in mine.groupby("layer")}
