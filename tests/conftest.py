"""Fixtures that many tests share; each is made once a session."""

import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from streamlit.components.v2 import manifest_scanner

from tests.support.browser import browser, page, window  # noqa: F401 - fixtures
from tests.support.document_store import document_store, empty_document_store, poor_document_store  # noqa: F401 - fixtures
from tests.support.hub_cache import hub_cache, no_network  # noqa: F401 - fixtures
from tests.support.series_store import make_series_store
from tests.support.tiny_contributions import add_contributions
from tests.support.tiny_store import make_tiny_store


@pytest.fixture(autouse=True, scope="session")
def packages_read_once() -> Iterator[None]:
    """A server reads every installed package's metadata once, at its start; an AppTest at each of its own: half its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """Streamlit's AppTest leaves the app as the main module, which every process that is started later would run first."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store with hand-written numbers: see tests/support/tiny_store.py."""
    return make_tiny_store(tmp_path_factory.mktemp("stores") / "tiny")


@pytest.fixture
def own(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of the tiny store for one test, since a sidecar will stand beside it, or something of it will be changed."""
    return Path(shutil.copytree(tiny_store, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def contributing_store(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny store with contributions by hand."""
    copy = Path(shutil.copytree(tiny_store, tmp_path_factory.mktemp("contributing") / "tiny"))
    add_contributions(copy)
    return copy


@pytest.fixture(scope="session")
def bare_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny store of a run that computed no control and no twins: no verdicts."""
    return make_tiny_store(tmp_path_factory.mktemp("stores") / "bare", controls=False)


@pytest.fixture(scope="session")
def series_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of three trainings, by hand: see tests/support/series_store.py."""
    return make_series_store(tmp_path_factory.mktemp("series") / "series")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory):
    """A random Gemma 3 with dictionaries, an adapter and a corpus on disk: see tests/support/world.py."""
    from tests.support.world import World  # imports torch, which most tests do without

    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def extracted(world, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store extracted from the small world through the command line."""
    from extract.__main__ import main

    folder = tmp_path_factory.mktemp("extracted")
    assert main(["run", str(world.config(folder)), "--out", str(folder / "store")]) == 0
    return folder / "store"


@pytest.fixture(scope="session")
def contributed(world, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(configuration, store) with contributions beside it: see tests/support/contributed.py."""
    from tests.support.contributed import make_contributed

    return make_contributed(world, tmp_path_factory.mktemp("contributed"))


@pytest.fixture(scope="session")
def brought(world, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters and data of the small world, and a dictionary of another: see tests/support/newcomer.py."""
    from tests.support.newcomer import make_brought

    return make_brought(tmp_path_factory.mktemp("brought"), world)


@pytest.fixture
def newcomer(world, brought: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a base, an adapter, dictionaries and an Alpaca file; the current one."""
    from tests.support.newcomer import lay_out

    place = lay_out(tmp_path / "mine", world, brought)
    monkeypatch.chdir(place)
    return place
