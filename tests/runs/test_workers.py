"""Several processes for one run: the same content for any number of them, and nothing lost when one dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store import verify
from store.format.manifest import read_manifest
from tests.support import runs
from tests.support.world import World

SHARDS = {"shard_tokens": 200, "twins": 1}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def start(config: Path, out: Path, workers: int) -> subprocess.Popen:
    """The command, as a user would run it."""
    command = [sys.executable, "-m", "extract", "run", str(config), "--out", str(out), "--workers", str(workers)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def alone(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that one process made, in several shards, with a twin."""
    folder = tmp_path_factory.mktemp("alone")
    runs.finish("run", world.config(folder, **SHARDS), "--out", folder / "store", log=folder / "log")
    return folder / "store"


@pytest.mark.parametrize("workers", [2, pytest.param(5, marks=pytest.mark.long)])
def test_any_number_of_workers_gives_the_same_content(world: World, alone: Path, tmp_path: Path, workers: int) -> None:
    """Same digest, and the store is sound."""
    process = start(world.config(tmp_path, **SHARDS), tmp_path / "store", workers)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert verify(tmp_path / "store") == []
    assert read_manifest(tmp_path / "store").digest == read_manifest(alone).digest


@pytest.mark.long
def test_a_killed_worker_loses_nothing(world: World, alone: Path, tmp_path: Path) -> None:
    """The run ends with one sentence and exit code 2; the same command finishes, keeping the shards that were done."""
    config, out = world.config(tmp_path, **SHARDS), tmp_path / "store"
    process = start(config, out, 2)
    work = tmp_path / "store.partial" / "work"
    deadline = time.monotonic() + 120
    while not list(work.glob("sums-*.npz")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    server, *victims = [pid for pid in _descendants(process.pid) if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(victims) == 2 and all(pid in _descendants(server) for pid in victims)
    os.kill(victims[0], signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert any(line.startswith("error: A worker process died") for line in errors.splitlines())
    assert not out.exists()
    kept = {path.name: path.stat().st_mtime_ns for path in work.glob("sums-*.npz")}
    again = start(config, out, 1)
    again.communicate()
    assert again.returncode == 0 and kept
    assert read_manifest(out).digest == read_manifest(alone).digest


def test_no_worker_is_refused(world: World, tmp_path: Path) -> None:
    """One clear sentence."""
    process = start(world.config(tmp_path), tmp_path / "store", 0)
    _, errors = process.communicate()
    assert process.returncode == 2 and errors.startswith("error: --workers is 0")


def _descendants(pid: int) -> list[int]:
    """Child processes, and theirs."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [grandchild for child in children for grandchild in _descendants(child)]
