"""What a safety reviewer's pages go by: which domains may be harmful, and the variant that changed most on them."""

from __future__ import annotations

from app import data, link
from app.components import pickers
from store.names import may_be_harmful
from store.read.store import Store
from store.reports.foremost import Foremost, foremost


def domains(store: Store) -> tuple[str, ...]:
    """The domains whose text may be harmful, in the store's order."""
    return tuple(name for name in store.domains if may_be_harmful(name))


def shown_first(store: Store) -> Foremost:
    """The variant that the pages open on, and why it is this one."""
    return data.ask(store, foremost, domains=domains(store))


def variant(store: Store) -> str:
    """The variant that the URL names, else the one shown first."""
    return link.read("variant", store.variants, shown_first(store).variant)


def pick_variant(store: Store) -> str:
    """One of the store's variants; the help says why the page opens on the one that it opens on."""
    first = shown_first(store)
    return pickers.pick_variant(store, default=first.variant, help=f"Opens on {first.variant}. {first.why}")
