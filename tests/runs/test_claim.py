"""One process at a time makes a store at a place; one that dies lets go of it, and leaves nothing for good."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from extract.__main__ import main
from extract.demo import rebuild as rebuilding
from store import open_store, verify
from store.errors import UserError
from store.exchange import publish as publishing
from store.format.place_lock import alone, claimed
from store.sidecar.entries import read_steering, sidecar_path, write_steering
from store.sidecar.steering import Steering

HOLD = """
import sys, time
from pathlib import Path
from store.format.place_lock import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
PUBLISH = """
import os, signal, sys
from pathlib import Path
from store import files
from store.exchange import publish
last, step = sys.argv[3], publish.files.put_in_place
def die(*given):
    if last == "after":
        step(*given)
    os.kill(os.getpid(), signal.SIGKILL)
publish.files = type("", (), {"put_in_place": staticmethod(die)})
publish.publish(Path(sys.argv[1]), Path(sys.argv[2]), 60)
"""
RESULT = Steering(12, 1, "maths", "restore", 10, 212, 0.25, 0.125, -0.2, -0.05, {3: 0.3, 70: 0.1}, 4)


@pytest.fixture
def own(tiny_store, tmp_path) -> Path:
    """A store of the test's own, with a causal check."""
    store = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    with open_store(store) as opened:
        write_steering(store, opened.manifest.digest, RESULT)
    return store


def hold(out: Path) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_start_is_told_in_a_sentence(own, world, tmp_path, capsys):
    """Whichever command; and the killed one's place is free again."""
    out = tmp_path / "out"
    process = hold(out)
    config = world.config(tmp_path, tokens=300)
    for command in (["run", str(config), "--out", str(out)], ["publish", str(own), "--out", str(out)]):
        assert main(command) == 2
        (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert "Another process is writing" in error and str(out) in error
    assert not out.exists() and not out.with_name("out.partial").exists()
    process.kill()
    process.communicate()
    with claimed(out):
        pass
    assert [path.name for path in tmp_path.iterdir() if "lock" in path.name] == []


@pytest.mark.thorough
def test_many_at_once_hold_it_one_after_the_other(tmp_path):
    """Two never at a time, though each takes the lock's file away when it is done."""
    script = """
import sys, time
from pathlib import Path
from store.format.place_lock import claimed
from store.errors import UserError
out, mark = Path(sys.argv[1]), Path(sys.argv[2])
until, n = time.monotonic() + 3, 0
while time.monotonic() < until:
    try:
        with claimed(out):
            mark.touch(exist_ok=False)
            mark.unlink()
            n += 1
    except UserError:
        pass
print(n)
"""
    arguments = [sys.executable, "-c", script, str(tmp_path / "out"), str(tmp_path / "mark")]
    running = [subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    counts = []
    for process in running:
        counted, error = process.communicate()
        assert process.returncode == 0, error
        counts.append(int(counted))
    assert sum(counts) > 10


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_a_place_that_is_taken(tmp_path, make):
    """By a link to nothing too, which a folder cannot be renamed over."""
    make(tmp_path / "out")
    with pytest.raises(UserError, match="exists already"), claimed(tmp_path / "out"):
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("keep me")
    (tmp_path / ".out.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="cannot be written"), claimed(tmp_path / "out"):
        pass
    assert (tmp_path / "precious").read_text() == "keep me"


@pytest.mark.parametrize("killed", ["before", pytest.param("after", marks=pytest.mark.thorough)])
def test_a_copy_that_is_killed_at_its_last_step(own, tmp_path, killed):
    """Before the rename the same command makes it; after it, it is complete: causal checks and all."""
    out = tmp_path / "copy"
    died = subprocess.run([sys.executable, "-c", PUBLISH, str(own), str(out), killed], capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL
    assert out.exists() == (killed == "after") and (tmp_path / ".copy.publishing").exists()
    if killed == "before":
        publishing.publish(own, out, 60)
        assert not (tmp_path / ".copy.publishing").exists()
    with open_store(out) as copy:
        assert read_steering(out, copy.manifest.digest) == [RESULT]
    assert verify(out) == []


def test_a_copy_beside_a_sidecar_that_is_not_ours(own, tmp_path):
    """Found out before the copy stands there."""
    out = tmp_path / "copy"
    sidecar_path(out).write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="move it away"):
        publishing.publish(own, out, 60)
    assert not out.exists() and not (tmp_path / ".copy.publishing").exists()


def test_what_a_killed_copy_left_is_cleared(own, tmp_path):
    left = tmp_path / ".copy.publishing" / "0.partial" / "work"
    left.mkdir(parents=True)
    (left / "x").touch()
    publishing.publish(own, tmp_path / "copy", 60)
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name) == ["copy", "copy.sidecar.sqlite"]


def test_the_lock_of_an_interrupted_one_is_let_go(tmp_path):
    with pytest.raises(KeyboardInterrupt), claimed(tmp_path / "out"):
        raise KeyboardInterrupt
    with claimed(tmp_path / "out"):
        pass


def test_a_rebuild_of_the_demo_beside_another_one(tmp_path, monkeypatch):
    """What is made on the way is not mixed either; no step is begun."""
    monkeypatch.setattr(rebuilding.subprocess, "run", lambda *_given, **_more: pytest.fail("a step was begun"))
    with alone(tmp_path / "work"), pytest.raises(UserError, match="Another process is writing"):
        rebuilding.rebuild("base", tmp_path / "work", tmp_path / "out")
