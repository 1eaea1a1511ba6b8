"""What cannot be read or written just now is told as that, with what to do about it; 'damaged' is said only of wrong bytes.

Long because each thing of the operating system that can fail is a case.
"""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest

from app import data
from extract.__main__ import main
from store import open_store
from store.errors import Unavailable, UserError
from store.format.codes import part_file
from store.format.manifest import DATABASE_FILE, MANIFEST_FILE, read_manifest
from store.sidecar import database as sidecar_file
from store.sidecar import entries as sidecar
from store.sidecar.entries import Label, sidecar_path, write_labels, write_review
from store.sidecar.reviews import Review
from tests.support import pages
from tests.support.nobody import nobody, open_folder
from tests.support.pages import MAIN

WRONG = ("damaged", "xtract it again", "copy it again", "move it away", "do not trust", "Traceback")
"""What is said only where bytes are wrong."""

LABELS = "layer,feature,label\n12,0,named\n"
REVIEW = Review("maths", 12, 0, "Ada", "concern", None, "")


@pytest.fixture
def shared(tiny_store):
    """A folder with a store and labels for it that everybody may read."""
    with open_folder() as folder:
        shutil.copytree(tiny_store, folder / "above" / "store")
        (folder / "labels.csv").write_text(LABELS)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o644)
        yield folder


@pytest.fixture
def store(shared):
    return shared / "above" / "store"


def commands(store: Path, shared: Path) -> dict[str, list[str]]:
    return {
        "info": ["info", str(store)],
        "verify": ["verify", str(store)],
        "findings": ["findings", str(store)],
        "publish": ["publish", str(store), "--out", str(shared / "out")],
        "labels": ["labels", str(store), str(shared / "labels.csv")],
    }


def told(text: str, *wanted: str) -> None:
    """One sentence with these words, and none that blames the bytes."""
    assert "\n" not in text.strip() and text.strip().endswith(".")
    for word in wanted:
        assert word in text
    for word in WRONG:
        assert word not in text


def refused(command: list[str], capsys, *wanted: str) -> None:
    capsys.readouterr()
    code = main(command)
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, ""), captured
    told(captured.err.splitlines()[-1], *wanted)  # publish has drawn its progress above


# ---- rights ----

ALL_COMMANDS = ("info", "verify", "findings", "publish", "labels")
RIGHTS = {
    "the folder": ("", ALL_COMMANDS),
    "the folder above": ("..", ALL_COMMANDS),
    "the manifest": (MANIFEST_FILE, ALL_COMMANDS),
    "the database": (DATABASE_FILE, ALL_COMMANDS),
    "the folder of parts": ("latents", ALL_COMMANDS),
    "a part": (part_file(0), ("verify", "publish")),
    "the sidecar": ("../store.sidecar.sqlite", ALL_COMMANDS),
}


@pytest.mark.parametrize("what", RIGHTS)
def test_without_the_right_to_read(shared, store, capsys, what):
    name, wanted = RIGHTS[what]
    write_labels(store, read_manifest(store).digest, [Label(12, 0, "x", "y")])
    locked = (store / name).resolve()
    locked.chmod(0)
    for command in wanted:
        with nobody():
            refused(commands(store, shared)[command], capsys, "Permission denied", "give this user the right")
    locked.chmod(0o777 if locked.is_dir() else 0o666)
    for path in (store.parent, sidecar_path(store)):
        path.chmod(0o777)
    with nobody():
        assert main(["verify", str(store)]) == 0


def test_one_part_that_cannot_be_read_leaves_the_rest(store):
    (store / part_file(0)).chmod(0)
    with nobody(), open_store(store) as opened:
        assert len(opened.sql("SELECT * FROM documents")) == 3
        with pytest.raises(Unavailable, match=r"part-00000.h5.*this user has no right to \(Permission denied\)"):
            opened.activations(12, 0)


def test_without_the_right_to_write(store):
    """A sidecar in a folder that is read-only for this user: reading goes on, writing says why not."""
    write_labels(store, digest := read_manifest(store).digest, [Label(12, 0, "named", "y")])
    store.parent.chmod(0o755)
    with nobody():
        with open_store(store) as opened:
            assert opened.n_labels == 1
        assert not sidecar.can_write(store)
        with pytest.raises(Unavailable) as refused:
            write_review(store, digest, REVIEW)
    told(str(refused.value), "cannot be written", "Permission denied")


# ---- open elsewhere ----


@pytest.mark.parametrize("written", [False, True], ids=["opened", "written to"])
def test_a_database_that_another_program_may_write_to(shared, store, capsys, written):
    """DuckDB's command line opens so by itself; once it has written, a journal stands beside the file."""
    work = "c.execute('CREATE TABLE scratch (i INT)')" if written else ""
    code = f"import duckdb; c = duckdb.connect({str(store / DATABASE_FILE)!r}); {work}\nprint('up', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "up\n"
        assert (store / f"{DATABASE_FILE}.wal").exists() == written
        for command in commands(store, shared).values():
            refused(command, capsys, "is open in another program", "close it there", "duckdb -readonly")
        other.kill()
    if not written:
        assert main(["verify", str(store)]) == 0


def test_a_database_that_another_program_reads_is_no_matter(store):
    code = f"import duckdb;c = duckdb.connect({str(store / DATABASE_FILE)!r}, read_only=True); print('up', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "up\n"
        assert main(["verify", str(store)]) == 0
        other.kill()


def test_a_part_that_another_program_writes_to(store, capsys):
    code = f"import h5py; f = h5py.File({str(store / part_file(0))!r}, 'r+')\nprint('up', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "up\n"
        with open_store(store) as opened, pytest.raises(UserError) as refused:
            opened.activations(12, 0)
        other.kill()
    told(str(refused.value), "another program holds it", "close it there")


def test_a_sidecar_that_another_program_holds(shared, store, capsys, monkeypatch):
    write_labels(store, digest := read_manifest(store).digest, [Label(12, 0, "x", "y")])
    monkeypatch.setattr(sidecar_file, "TIMEOUT", 0.05)
    holder = sqlite3.connect(sidecar_path(store), isolation_level=None)
    holder.execute("PRAGMA journal_mode = DELETE")
    holder.execute("BEGIN EXCLUSIVE")
    for command in commands(store, shared).values():
        refused(command, capsys, "kept busy by another program", "try again")
    with pytest.raises(Unavailable, match="kept busy"):
        write_review(store, digest, REVIEW)
    holder.close()


# ---- disks and descriptors ----

ERRORS = {
    errno.EIO: "its disk or network drive does not answer",
    errno.ENOTCONN: "its disk or network drive does not answer",
    errno.ESTALE: "mount it again",
    errno.EMFILE: "too many files are open",
    errno.ENOMEM: "too little memory",
    errno.EPERM: "no right",
}


@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", [".", MANIFEST_FILE, DATABASE_FILE, part_file(0)])
def test_what_the_operating_system_says(shared, store, capsys, monkeypatch, code, name):
    """Of any file of a store, when it is looked at or opened."""
    target = (store / name).resolve()

    def failing(method):
        def call(self, *given, **named):
            if self.absolute() == target:
                raise OSError(code, os.strerror(code), str(self))
            return method(self, *given, **named)

        return call

    for method in ("stat", "open", "read_bytes", "iterdir"):
        monkeypatch.setattr(Path, method, failing(getattr(Path, method)))
    for command in commands(store, shared).values():
        refused(command, capsys, ERRORS[code], os.strerror(code))


@pytest.mark.parametrize(("code", "wanted"), [(errno.EROFS, "can only be read"), (errno.ENOSPC, "make room")])
def test_a_review_on_a_disk_that_takes_nothing(store, monkeypatch, code, wanted):
    class Refusing(sqlite3.Connection):
        def execute(self, sql, *given):
            if sql.startswith("PRAGMA journal_mode"):
                error = sqlite3.OperationalError("attempt to write a readonly database")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL if code == errno.ENOSPC else sqlite3.SQLITE_READONLY
                raise error
            return super().execute(sql, *given)

    def no_file(**_where):
        raise OSError(code, os.strerror(code))

    connect = sqlite3.connect
    monkeypatch.setattr(sidecar_file.sqlite3, "connect", lambda *given, **named: connect(*given, factory=Refusing, **named))
    monkeypatch.setattr(tempfile, "TemporaryFile", no_file)
    with pytest.raises(Unavailable) as refused:
        write_review(store, "digest", REVIEW)
    told(str(refused.value), wanted, "cannot be written", os.strerror(code))


def test_no_descriptor_left(store):
    """Everything that opens a store, in a process of its own with all descriptors taken."""
    code = f"""
import os, resource, sys
from store import open_store, UserError
from store.format.manifest import read_manifest
with open_store({str(store)!r}) as first:
    first.activations(12, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    for free in (0, 1, 2):
        for work in (lambda: open_store({str(store)!r}).close(), lambda: first.activations(5, 1)):
            try:
                work()
                print('worked')
            except UserError as error:
                print(error)
        os.close(taken.pop())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=MAIN.parent.parent)
    lines = done.stdout.splitlines()
    assert len(lines) == 6 and not done.stderr
    for line in lines:
        if line != "worked":
            told(line, "too many files are open", "ulimit -n")
    assert lines[0] != "worked" and lines[1] != "worked"


# ---- paths ----


def test_paths_that_are_no_store(shared, store, capsys):
    (shared / "file").write_text("x")
    (shared / "dangling").symlink_to("/mnt/nowhere/store")
    (shared / "loop").symlink_to("loop")
    for path, wanted in (
        (shared / "file", "There is no store at"),
        (shared / "file" / "store", "There is no store at"),
        (shared / "dangling", "is a link to '/mnt/nowhere/store', where nothing is; mount its drive"),
        (shared / "loop", "links go round in a circle"),
        (shared / ("x" * 300), "its path is too long"),
        (shared, "is not a finished store"),
    ):
        refused(["info", str(path)], capsys, wanted)
        refused(["verify", str(path)], capsys, wanted)
    (shared / "link").symlink_to(store)
    assert main(["info", str(shared / "link")]) == 0


def test_a_store_out_of_the_hub_s_cache(tiny_store, tmp_path, capsys):
    """Its files are links into ../../blobs: refused as every link to outside, and told how to fetch plain files."""
    snapshot = tmp_path / "models--me--store" / "snapshots" / "0123"
    blobs = tmp_path / "models--me--store" / "blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(path for path in tiny_store.rglob("*") if path.is_file())):
        shutil.copy(file, blobs / str(number))
        link = snapshot / file.relative_to(tiny_store)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    for command in ("info", "verify"):
        assert main([command, str(snapshot)]) == 2
        said = capsys.readouterr().err
        assert "link to another place" in said and "--local-dir" in said and "local_dir=" in said
    plain = shutil.copytree(snapshot, tmp_path / "plain")  # follows links, as a download with local_dir has none
    assert main(["verify", str(plain)]) == 0


# ---- bytes that are wrong are still called so ----


def test_wrong_bytes_are_called_damaged(store, capsys):
    content = bytearray((store / DATABASE_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (store / DATABASE_FILE).write_bytes(content)
    assert main(["info", str(store)]) == 2
    assert "damaged" in capsys.readouterr().err
    assert main(["verify", str(store)]) == 1
    assert "its SHA-256 does not match" in capsys.readouterr().err


def test_a_database_of_another_version_of_duckdb(store, monkeypatch):
    def refuse(_text, *_given):
        raise duckdb.IOException("Trying to read a database file with version number 99, but this reads 67.\nmore")

    class Connection:
        def __getattr__(self, _name):
            return refuse

        def close(self):
            pass

    monkeypatch.setattr(duckdb, "connect", lambda *_given, **_named: Connection())
    with pytest.raises(UserError) as refused:
        open_store(store)
    told(str(refused.value), "version number 99", "requirements-app.txt")


# ---- the app ----


def readable_by_nobody() -> bool:
    with nobody():
        return os.access(MAIN, os.R_OK, effective_ids=True)


@pytest.fixture
def served(monkeypatch):
    def opened(*given, **params):
        monkeypatch.setenv(data.VARIABLE, os.pathsep.join(map(str, given)))
        app = pages.open_page(params.pop("view", "overview"), **params)
        assert not app.exception
        return app

    return opened


def error(app) -> str:
    (only,) = app.error
    return only.value.replace("\\", "")


def picker(app):
    (found,) = [box for box in app.selectbox if box.key == "pick_store"]
    return found.options


@pytest.mark.skipif(not readable_by_nobody(), reason="this repository is readable by its owner only")
@pytest.mark.parametrize("what", [name for name in RIGHTS if name != "a part"])
def test_the_app_says_which_right_is_missing_and_shows_the_other_store(served, shared, store, tiny_store, what):
    other = shutil.copytree(tiny_store, shared / "other")
    write_labels(store, read_manifest(store).digest, [Label(12, 0, "x", "y")])
    served(other)  # everything that is imported late is imported now
    locked = (store / RIGHTS[what][0]).resolve()
    locked.chmod(0)
    with nobody():
        app = served(store, other)
        told(error(app), "Permission denied", "give this user the right")
        assert picker(app) == ["store", "other"]
        assert not served(store, other, store="other").error


@pytest.mark.skipif(not readable_by_nobody(), reason="this repository is readable by its owner only")
def test_a_folder_of_stores_with_one_that_cannot_be_looked_into(served, shared, store, tiny_store):
    served(shutil.copytree(tiny_store, store.parent / "zoo"))  # everything that is imported late is imported now
    store.chmod(0)
    with nobody():
        app = served(store.parent)
        assert picker(app) == ["zoo", "store"]  # what can be opened comes first
        assert not app.error
        told(error(served(store.parent, store="store")), "Permission denied")
    store.chmod(0o755)
    store.parent.chmod(0o711)
    with nobody():
        told(error(served(store.parent)), "cannot be listed", "Permission denied")
        assert not served(store).error


def test_a_store_that_is_open_to_write_elsewhere_leaves_the_others(served, shared, store, tiny_store):
    other = shutil.copytree(tiny_store, shared / "other")
    code = f"import duckdb; c = duckdb.connect({str(store / DATABASE_FILE)!r})\nprint('up', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout.readline() == "up\n"
        app = served(store, other)
        told(error(app), "is open in another program", "close it there")
        assert picker(app) == ["store", "other"]
        assert not served(store, other, store="other").error
        holder.kill()
    assert not app.run().error


@pytest.mark.parametrize("view", ["feature", "documents", "review"])
def test_an_error_of_the_system_in_the_middle_of_a_page(served, store, monkeypatch, view):
    def ask(*_given, **_named):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/some/file")

    monkeypatch.setattr(data, "ask", ask)
    monkeypatch.setattr(sidecar, "read_reviews", ask)
    app = served(store, view=view)
    told(error(app), "/some/file", "too many files are open")


def test_names_of_stores_that_mean_nothing_here(served, shared, store):
    app = served("~nobody-of-this-name/store", shared / "gone", store)
    assert "There is no store at" in error(app)
    assert picker(app) == ["store", "gone", "above/store"]
    assert not served("~nobody-of-this-name/store", shared / "gone", store, store="above/store").error
