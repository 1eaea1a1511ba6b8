"""The Makefile, with a Python that only writes down what it is asked: which one is refused, and how a store is handed on."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT


@pytest.fixture
def folder(tmp_path) -> Path:
    """What make reads, in a folder of its own."""
    for file in (ROOT / "Makefile", *ROOT.glob("requirements*.txt")):
        shutil.copy(file, tmp_path)
    return tmp_path


def fake_python(path: Path, version: str) -> Path:
    """Answers for its version as a Python of that version would; everything else it is asked goes to ``path``.log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fits = (3, 11) <= tuple(map(int, version.split(".")))[:2] <= (3, 13)
    path.write_text(
        f"#!/bin/sh\ncase $1 in\n-V) echo Python {version} ;;\n-c) exit {int(not fits)} ;;\n"
        f"*) for word; do printf '%s\\n' \"$word\"; done >> '{path}.log'\n"
        f"echo \"$FEATURESHIFT_STORES\" >> '{path}.env' ;;\nesac\n"
    )
    path.chmod(0o755)
    return path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "STORE")}
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("version", ["2.7.18", "3.10.13", "3.14.0"])
def test_a_python_that_is_not_supported(folder, version):
    python = fake_python(folder / "python", version)
    ended = make(folder, "app", f"PYTHON={python}")
    said = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.returncode == 2 and len(said) == 1
    assert "3.11, 3.12 or 3.13" in said[0] and f"Python {version}" in said[0] and "make PYTHON=python3.12 app" in said[0]
    assert not (folder / ".venv").exists() and not Path(f"{python}.log").exists()


def test_no_python_at_all(folder):
    ended = make(folder, "app", "PYTHON=no-such-python")
    assert ended.returncode == 2 and "error: Featureshift runs on Python" in ended.stderr and "not found" in ended.stderr


@pytest.mark.parametrize("version", ["3.11.7", "3.12.1", "3.13.0"])
def test_a_python_that_is(folder, version):
    python = fake_python(folder / "python", version)
    make(folder, "app", f"PYTHON={python}")
    assert Path(f"{python}.log").read_text().split()[:3] == ["-m", "venv", ".venv"]


def test_an_environment_of_a_python_that_is_not_supported(folder):
    """Made before, by a Python that was the system's then."""
    fake_python(folder / ".venv/bin/python", "3.10.13")
    ended = make(folder, "app")
    assert ended.returncode == 2 and "Remove .venv" in ended.stderr


def served(folder: Path, *arguments: str) -> list[str]:
    """What streamlit is given behind the --."""
    python = fake_python(folder / ".venv/bin/python", "3.11.7")
    ended = make(folder, "app", *arguments)
    assert ended.returncode == 0, ended.stderr
    words = Path(f"{python}.log").read_text().splitlines()
    return words[words.index("--") + 1 :]


@pytest.mark.parametrize(
    "store", ["runs/plain", "my folder/store", 'Müller\'s "best" store', "a;b & c|d", "50% #1 [x] (y)", "~/stores/*"]
)
def test_a_store_of_any_name(folder, store):
    assert served(folder, f"STORE={store}") == [store]


def test_no_store_is_named(folder):
    assert served(folder) == []


def test_the_demo_opens_the_shipped_store_and_its_own(folder):
    for store in ("store/demo", "runs/demo"):
        (folder / store).mkdir(parents=True)
        (folder / store / "manifest.json").touch()
    python = fake_python(folder / ".venv/bin/python", "3.11.7")
    ended = make(folder, "demo")
    assert ended.returncode == 0, ended.stderr
    assert Path(f"{python}.env").read_text().splitlines()[-1] == "store/demo:runs/demo"
    assert Path(f"{python}.log").read_text().splitlines()[-1] == "--"


def test_a_demo_that_ended_before_what_was_learned_goes_on(folder):
    """The store is whole then, and what is measured beside it is not."""
    (folder / "runs/demo").mkdir(parents=True)
    (folder / "runs/demo/manifest.json").touch()
    python = fake_python(folder / ".venv/bin/python", "3.11.7")
    assert "is there already" in make(folder, "demo", "SERVE=0").stdout
    (folder / "runs/demo.contributions.duckdb.partial").mkdir()
    ended = make(folder, "demo", "SERVE=0")
    assert ended.returncode == 0 and "is there already" not in ended.stdout
    assert Path(f"{python}.log").read_text().splitlines()[-4:] == ["extract", "demo", "--out", "runs/demo"]
