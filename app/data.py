"""Finding and opening stores, and asking them: the only module of the app that caches."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st
from altair.utils import schemapi

from app import ROOT, link
from store.errors import UserError, unavailable
from store.files import Identity, identity
from store.format.manifest import MANIFEST_FILE, read_manifest
from store.points import where_of
from store.read.store import Store, open_store
from store.sandbox import run as sandbox
from store.sidecar.entries import labels_state, sidecar_path

DEMO = ROOT / "store" / "demo"
RUNS = ROOT / "runs"
VARIABLE = "FEATURESHIFT_STORES"
Answer = TypeVar("Answer")
SECONDS = 60
"""What a page may ask of a store's database; far beyond what an honest one takes."""


def stores() -> dict[str, Path]:
    """The stores on offer, by name, in the order given.

    From the command line (`streamlit run app/main.py -- STORE ...`), else from FEATURESHIFT_STORES, else store/demo, else
    the finished stores in runs. A folder that is no store itself offers the stores inside it. Only these can be opened: a
    link names one, never a path. What cannot be opened is offered too: its page says why.
    """
    found: dict[str, Path] = {}
    for given in _given():
        inside = _stores_in(given)
        for path in inside if inside and not _has_manifest(given) else [given]:
            name = path.name if path.name not in found else f"{path.parent.name}/{path.name}"
            found[name] = path
    return found


def points() -> dict[str, str]:
    """Store -> where in a layer it reads, where several are on offer that do not all read the same; else nothing."""
    found = {name: _where(str(path), identity(path / MANIFEST_FILE)) for name, path in stores().items()}
    return {name: where for name, where in found.items() if where} if len(set(filter(None, found.values()))) > 1 else {}


def current() -> Store:
    """The store that the link names, or the first one.

    Raises:
        UserError: there is none, or it cannot be opened.
    """
    found = stores()
    if not found:
        raise UserError(
            "There is no store to show: make one with 'make demo', or open one that you have with 'make app STORE=path'. "
            "Finished stores in the folder runs are found by themselves."
        )
    path = found[link.read("store", found, next(iter(found)))]
    if _has_manifest(path) is False:
        _list(path)
    return _open(str(path), _labels_state(str(path), _stamp(sidecar_path(path))))


def ask(store: Store, question: Callable[..., Answer], **filters: Any) -> Answer:
    """The answer to a question of the class Store, e.g. ``ask(store, Store.overview, domain="maths")``.

    Cached by the store's content, the question's name and its filters.
    """
    return _answer(store.content, str(store.path), _name(question), filters, store, question)


def chart(draw: Callable[..., Any], *what: Any, **how: Any) -> dict[str, Any] | None:
    """The chart that a function of app/charts makes of its arguments, as Vega-Lite; None where it draws nothing.

    Cached by the function's name and its arguments, frames by their content: altair takes some 20 ms to make one.
    """
    return _drawn(_name(draw), what, how, draw)


def query(store: Store, sql: str) -> sandbox.Answer:
    """A reader's own SQL, within the limits of store/sandbox/run.py. Errors are not kept: the same query may pass next time."""
    return _queried(store.content, str(store.path), sql, store, link.visitor())


def _name(function: Callable) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _given() -> list[Path]:
    arguments = sys.argv[1:] if Path(sys.argv[0]).name == "main.py" else []
    named = arguments or [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    if named:
        return [_expanded(part) for part in named]
    return [DEMO] if DEMO.is_dir() else _stores_in(RUNS)


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~somebody whom this machine does not know
        return Path(path)


def _stores_in(folder: Path) -> list[Path]:
    """The finished stores right inside a folder, by name; after them what cannot be looked into, and may be one."""
    try:
        inside = sorted(path for path in _list(folder) if path.name[0] != "." and path.suffix != ".partial")
    except UserError:
        return []
    known = {path: _has_manifest(path) for path in inside}
    return [path for wanted in (True, None) for path in inside if known[path] is wanted]


def _list(folder: Path) -> list[Path]:
    """What is right inside a folder; nothing where there is none.

    Raises:
        UserError: this user cannot list it.
    """
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return []
    except OSError as error:
        raise unavailable(f"The folder '{folder}'", error, "listed") from error


def _has_manifest(folder: Path) -> bool | None:
    """Whether a folder is a finished store; None where this user cannot look."""
    try:
        return (folder / MANIFEST_FILE).stat() is not None
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return None


@st.cache_data(max_entries=256, show_spinner=False)
def _where(path: str, of: Identity | None) -> str:
    """Where a store reads; nothing of one that cannot be opened, whose page says why."""
    try:
        return where_of(read_manifest(Path(path)).saes)
    except UserError:
        return ""


def _stamp(sidecar: Path) -> tuple[Identity | None, ...]:
    """Another value after something was written to a sidecar, or to the journal beside it."""
    return identity(sidecar), identity(sidecar.with_name(f"{sidecar.name}-wal"))


@st.cache_data(show_spinner=False, max_entries=16)
def _labels_state(path: str, stamp: tuple[Identity | None, ...]) -> tuple[int, str | None]:
    """Of the sidecar only labels change what a store answers: a review must not open it anew."""
    return labels_state(Path(path))


@st.cache_resource(show_spinner=False, max_entries=16, validate=Store.is_current)
def _open(path: str, labels: tuple[int, str | None]) -> Store:
    store = open_store(path)
    store.seconds = SECONDS
    return store


@st.cache_data(show_spinner=False, max_entries=1000)
def _answer(content: str, path: str, name: str, filters: dict, _store: Store, _question: Callable[..., Answer]) -> Answer:
    return _question(_store, **filters)


@st.cache_data(show_spinner=False, max_entries=300)
def _drawn(name: str, what: tuple, how: dict[str, Any], _draw: Callable[..., Any]) -> dict[str, Any] | None:
    with schemapi.debug_mode(False):  # altair's checks of every part, half of its time, are made by the tests
        drawn = _draw(*what, **how)
        return None if drawn is None else drawn.to_dict(validate=False)


@st.cache_data(show_spinner=False, max_entries=16)
def _queried(content: str, path: str, sql: str, _store: Store, _who: str) -> sandbox.Answer:
    _store.snapshot.check()
    answer = sandbox.run(_store, sql, who=_who)  # which opens the file by its path
    _store.snapshot.check()
    return answer
