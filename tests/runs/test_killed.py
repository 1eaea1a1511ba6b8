"""Killed at any moment, or the power cut: the same command finishes, and the store is that of an uninterrupted run."""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import extract.run.pipeline
from extract import resumable as stamped
from store import open_store, verify
from store.errors import UserError
from store.format.manifest import MANIFEST_FILE, read_manifest
from tests.support import runs
from tests.support.world import World

SHORT = {"tokens": 900, "shard_tokens": 200, "token_kl": 100}


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """Digest of an uninterrupted run, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("whole")
    config = world.config(folder, **SHORT)
    runs.finish("check", config, log=folder / "log")  # the first command waits for torch
    start = time.monotonic()
    runs.finish("run", config, "--out", folder / "store", log=folder / "log")
    return read_manifest(folder / "store").digest, time.monotonic() - start


def killed_often(world: World, folder: Path, moments: list[float]) -> Path:
    """A run that is killed after each number of seconds, begun anew each time, and then left to finish; its store."""
    config, out = world.config(folder, **SHORT), folder / "store"
    for moment in moments:
        process = runs.start("run", config, "--out", out, log=folder / "log")
        process.join(moment)
        process.kill()
        process.join()
        if out.exists():  # it was quicker
            assert verify(out) == []
            return out
        with pytest.raises(UserError):
            open_store(out)
    runs.finish("run", config, "--out", out, log=folder / "log")
    return out


def moments(seconds: float, count: int, seed: int) -> list[float]:
    """Moments of a run by chance, one from each of as many equal spans."""
    draw = random.Random(seed)
    return [(number + draw.random()) * seconds / count for number in range(count)]


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.thorough)])
def test_killed(world, whole, tmp_path, kills):
    """Each time somewhat later, so that the run gets ahead."""
    digest, seconds = whole
    seed = random.SystemRandom().randrange(2**32)
    out = killed_often(world, tmp_path, moments(seconds, kills, seed))
    assert verify(out) == [] and read_manifest(out).digest == digest, f"seed {seed}"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("store")) == ["store"]


@pytest.mark.long
def test_killed_thirty_times(world, whole, tmp_path):
    """Thirty runs, each killed once, at moments that cover the whole of it."""
    digest, seconds = whole
    seed = random.SystemRandom().randrange(2**32)
    for number, moment in enumerate(moments(1.1 * seconds, 30, seed)):
        folder = tmp_path / str(number)
        folder.mkdir()
        out = killed_often(world, folder, [moment])
        assert verify(out) == [] and read_manifest(out).digest == digest, f"seed {seed}, at {moment:.2f} s"
        shutil.rmtree(folder)


# ---- the power cut ----


@pytest.fixture(scope="module")
def half_merged(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that ended in the merge, so that every file that a run leaves is there."""
    folder = tmp_path_factory.mktemp("half")
    config = world.config(folder, **SHORT)
    process = runs.start("run", config, "--out", folder / "store", log=folder / "log", before=_end_in_merge)
    process.join()
    assert process.exitcode == 9 and (folder / "store.partial").is_dir() and not (folder / "store").exists()
    return folder


def _end(*_arguments: object) -> None:
    os._exit(9)


def _end_in_merge() -> None:
    extract.run.pipeline.write_features = _end


def cut_short(path: Path) -> None:
    """Half of it never came to the disk."""
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    """Its name came to the disk, its bytes did not."""
    os.truncate(path, 0)


def zeroed(path: Path) -> None:
    """Its size came to the disk, the second half of its bytes did not."""
    size = path.stat().st_size
    os.truncate(path, size // 2)
    os.truncate(path, size)


LEFT = ("latents/part-00001.h5", "work/sums-00001.npz", "pilot.npz", "work/donors.npz", "work/run.json", "work/staging.duckdb",
        "work/kl-00000.npz")  # fmt: skip


@pytest.mark.parametrize("damage", [cut_short, *(pytest.param(one, marks=pytest.mark.long) for one in (emptied, zeroed))])
def test_a_power_cut(whole, half_merged, tmp_path, damage: Callable[[Path], None]):
    """Every kind of file damaged at once: none is taken for what it was."""
    folder = shutil.copytree(half_merged, tmp_path / "run")
    for name in LEFT:
        damage(folder / "store.partial" / name)
    runs.finish("run", folder / "run.yaml", "--out", folder / "store", log=folder / "log")
    assert verify(folder / "store") == [] and read_manifest(folder / "store").digest == whole[0]


@pytest.mark.long
@pytest.mark.parametrize("name", LEFT)
@pytest.mark.parametrize("damage", [cut_short, emptied, zeroed])
def test_a_power_cut_that_took_one_file(whole, half_merged, tmp_path, name, damage):
    """The others are as they were."""
    folder = shutil.copytree(half_merged, tmp_path / "run")
    damage(folder / "store.partial" / name)
    runs.finish("run", folder / "run.yaml", "--out", folder / "store", log=folder / "log")
    assert verify(folder / "store") == [] and read_manifest(folder / "store").digest == whole[0]


@pytest.mark.thorough
def test_what_was_whole_is_kept(whole, half_merged, tmp_path):
    """Only the shard whose part is damaged is extracted again."""
    folder = shutil.copytree(half_merged, tmp_path / "run")
    partial = folder / "store.partial"
    cut_short(partial / "latents/part-00001.h5")
    before = {path.name: path.stat().st_ino for path in (partial / "latents").iterdir()}
    runs.finish("run", folder / "run.yaml", "--out", folder / "store", log=folder / "log")
    after = {path.name: path.stat().st_ino for path in (folder / "store" / "latents").iterdir()}
    assert len(before) >= 4 and {name for name in before if before[name] != after[name]} == {"part-00001.h5"}


# ---- the last step ----


@pytest.fixture(scope="module")
def ended(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that ended when the manifest was written, but the store not yet in its place."""
    folder = tmp_path_factory.mktemp("ended")
    config = world.config(folder, **SHORT)
    process = runs.start("run", config, "--out", folder / "store", log=folder / "log", before=_end_in_place)
    process.join()
    assert process.exitcode == 9 and (folder / "store.partial" / MANIFEST_FILE).is_file()
    return folder


@pytest.fixture
def last_step(ended: Path, tmp_path: Path) -> Path:
    """The same, of the test's own."""
    return Path(shutil.copytree(ended, tmp_path / "run"))


def _end_in_place() -> None:
    extract.run.pipeline.StoreWriter.put_in_place = _end


@pytest.mark.thorough
def test_a_run_that_ended_at_its_last_step(whole, last_step):
    """It is done by the same command, and nothing is computed again."""
    shutil.rmtree(last_step / "store.partial" / "work")
    runs.finish("run", last_step / "run.yaml", "--out", last_step / "store", log=last_step / "log")
    assert "just before its last step" in (last_step / "log").read_text(encoding="utf-8")
    assert verify(last_step / "store") == [] and read_manifest(last_step / "store").digest == whole[0]


@pytest.mark.thorough
def test_a_run_that_ended_at_its_last_step_and_is_damaged(whole, last_step):
    """It is resumed from the shards."""
    cut_short(last_step / "store.partial" / "statistics.duckdb")
    runs.finish("run", last_step / "run.yaml", "--out", last_step / "store", log=last_step / "log")
    assert verify(last_step / "store") == [] and read_manifest(last_step / "store").digest == whole[0]


@pytest.mark.thorough
def test_another_run_does_not_take_its_place(world, last_step):
    """What is nearly finished is not thrown away for another configuration."""
    config = world.config(last_step, **SHORT, context_length=16)
    process = runs.start("run", config, "--out", last_step / "store", log=last_step / "log")
    process.join()
    assert process.exitcode == 2 and "holds a finished run of other input" in (last_step / "log").read_text(encoding="utf-8")
    assert (last_step / "store.partial" / MANIFEST_FILE).is_file()


# ---- stamps ----


@pytest.mark.parametrize("place", range(0, 1000, 37))
def test_no_flipped_byte_of_a_stamped_file_gives_other_numbers(tmp_path, place):
    """Its stamp is not read, or its arrays are as they were written: some bytes of a zip file say nothing."""
    path, values = tmp_path / "file.npz", np.arange(40.0)
    stamped.save(path, {"values": values}, "a stamp")
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 0xFF
    path.write_bytes(content)
    if stamped.read_stamp(path) is not None:
        with np.load(path) as arrays:
            assert stamped.read_stamp(path) == "a stamp" and np.array_equal(arrays["values"], values)
