"""``--engine ray`` on a real local Ray cluster: one worker's content, also when a worker is killed midway."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from extract.run import ray_engine
from store import verify
from store.format.manifest import read_manifest
from tests.support import runs
from tests.support.world import World

pytestmark = pytest.mark.long
SHORT = {"tokens": 1200, "shard_tokens": 150}


@pytest.fixture(scope="module")
def digest(world: World, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a store that one process made."""
    folder = tmp_path_factory.mktemp("alone")
    runs.finish("run", world.config(folder, **SHORT), "--out", folder / "store", log=folder / "log")
    return read_manifest(folder / "store").digest


def start(config: Path, out: Path) -> subprocess.Popen:
    """Two workers on a cluster that the command starts itself."""
    command = [sys.executable, "-m", "extract", "run", str(config), "--out", str(out), "--engine", "ray", "--workers", "2"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers() -> list[int]:
    """Process ids of Ray workers that extract."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and b"ray::_Actor" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it has just ended
    return found


def test_a_worker_killed_midway_changes_nothing(world, digest, tmp_path):
    """Its shard is given out again, and the command ends well; both workers had work."""
    out = tmp_path / "store"
    process = start(world.config(tmp_path, **SHORT), out)
    work, deadline = tmp_path / "store.partial" / "work", time.monotonic() + 180
    while not list(work.glob("sums-*.npz")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    there = workers()
    assert len(there) == 2
    os.kill(there[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert verify(out) == [] and read_manifest(out).digest == digest
    assert there[0] not in workers()


def test_what_is_wrong_comes_back_as_one_sentence(world, tmp_path):
    """Found out by a worker: an adapter that went missing after the main process had read it."""
    moved = tmp_path / "moved"
    shutil.copytree(world.adapter, moved)
    process = start(world.config(tmp_path, variants={"tuned": {"adapter": str(moved)}}), tmp_path / "store")
    while not (tmp_path / "store.partial" / "pilot.npz").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    moved.rename(tmp_path / "elsewhere")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2 and not (tmp_path / "store").exists()
    (error,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "adapter for the variant 'tuned'" in error


def test_without_ray_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ray_engine.UserError, match=re.escape("pip install -r requirements-ray.txt")):
        ray_engine._connect()


def test_a_cluster_that_is_not_there(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ray_engine.UserError, match=re.escape("no Ray cluster at '127.0.0.1:1'")):
        ray_engine._connect()
