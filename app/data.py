"""Finding and opening stores, and asking them: the only module of the app that caches."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app import link
from store import sandbox
from store.errors import UserError
from store.manifest import MANIFEST_FILE
from store.reader import Store, open_store
from store.sidecar import labels_state, sidecar_path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "store" / "demo"
RUNS = ROOT / "runs"
VARIABLE = "FEATURESHIFT_STORES"
SECONDS = 60
"""What a page may ask of a store's database; far beyond what an honest one takes."""


def stores() -> dict[str, Path]:
    """The stores on offer, by name, in the order given.

    From the command line (`streamlit run app/main.py -- STORE ...`), else from FEATURESHIFT_STORES, else store/demo, else
    the finished stores in runs. A folder that is no store itself offers the stores inside it. Only these can be opened: a
    link names one, never a path.
    """
    found: dict[str, Path] = {}
    for given in _given():
        inside = _stores_in(given)
        for path in inside if inside and not (given / MANIFEST_FILE).exists() else [given]:
            name = path.name if path.name not in found else f"{path.parent.name}/{path.name}"
            found[name] = path
    return found


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
    return _open(str(path), _stamp(path / MANIFEST_FILE), _labels_state(str(path), _stamp(sidecar_path(path))))


def ask(store: Store, question: Callable[..., pd.DataFrame], **filters: Any) -> pd.DataFrame:
    """The answer of a function of store/queries.py or store/feature_lists.py.

    Cached by the store's content, the function's name and its filters.
    """
    return _answer(store.content, str(store.path), question.__name__, filters, store, question)


def query(store: Store, sql: str) -> sandbox.Answer:
    """A reader's own SQL, within the limits of store/sandbox.py. Errors are not kept: the same query may pass next time."""
    return _queried(store.content, str(store.path), sql, store)


def _given() -> list[Path]:
    arguments = sys.argv[1:] if Path(sys.argv[0]).name == "main.py" else []
    named = arguments or [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    if named:
        return [Path(part).expanduser() for part in named]
    return [DEMO] if DEMO.is_dir() else _stores_in(RUNS)


def _stores_in(folder: Path) -> list[Path]:
    """The finished stores right inside a folder, by name."""
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST_FILE}") if path.parent.suffix != ".partial")


def _stamp(file: Path) -> int:
    return file.stat().st_mtime_ns if file.is_file() else 0


@st.cache_data(show_spinner=False, max_entries=16)
def _labels_state(path: str, stamp: int) -> tuple[int, str | None]:
    """Of the sidecar only labels change what a store answers: a review must not open it anew."""
    return labels_state(Path(path))


@st.cache_resource(show_spinner=False, max_entries=16)
def _open(path: str, stamp: int, labels: tuple[int, str | None]) -> Store:
    store = open_store(path)
    store.seconds = SECONDS
    return store


@st.cache_data(show_spinner=False, max_entries=1000)
def _answer(content: str, path: str, name: str, filters: dict, _store: Store, _question: Callable) -> pd.DataFrame:
    return _question(_store, **filters)


@st.cache_data(show_spinner=False, max_entries=16)
def _queried(content: str, path: str, sql: str, _store: Store) -> sandbox.Answer:
    return sandbox.run(_store, sql)
