"""A cache of the hub without a network, whose repositories a test fills itself."""

import socket
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest

COMMIT = "0" * 40


@pytest.fixture
def no_network(monkeypatch):
    """What asks for a name or a connection is told that there is no network."""
    from extract.saes.hub_files import hub_answers  # not where a page alone is tested

    def refuse(*_arguments, **_options):
        raise OSError("there is no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    hub_answers.cache_clear()
    yield
    hub_answers.cache_clear()


@pytest.fixture
def hub_cache(tmp_path, monkeypatch, no_network) -> Callable[[str], Path]:
    """hub_cache(repository) -> its folder in the cache, which holds what the test puts there."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def folder(repository: str) -> Path:
        root = tmp_path / "cache" / f"models--{repository.replace('/', '--')}"
        (root / "refs").mkdir(parents=True, exist_ok=True)
        (root / "refs" / "main").write_text(COMMIT)
        (root / "snapshots" / COMMIT).mkdir(parents=True, exist_ok=True)
        return root / "snapshots" / COMMIT

    return folder
