"""Damage: a flipped byte in any file is found, no reader takes it for other numbers, and the app says which file it is."""

import random
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest

from app import data
from store import open_store, verify
from store.errors import UserError
from store.format import tables
from store.format.codes import part_file
from store.format.manifest import DATABASE_FILE, MANIFEST_FILE
from store.format.part_reading import n_tokens, read_codes, read_counted, read_feature
from store.names import BASE
from store.read.opening import READ_ONLY
from store.sidecar.entries import Label, sidecar_path, write_labels
from tests.support import pages
from tests.support.tiny_store import D_SAE, LAYERS, VARIANTS

PART = part_file(0)
FILES = (MANIFEST_FILE, DATABASE_FILE, "pilot.npz", PART)


@pytest.fixture
def own(tiny_store, tmp_path) -> Path:
    """A store of the test's own."""
    return Path(shutil.copytree(tiny_store, tmp_path / "store"))


def flipped(content: bytes, place: int, bits: int = 0xFF) -> bytes:
    return content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]


def flips(content: bytes, count: int) -> list[bytes]:
    """Contents with one byte other, at places by chance (the same every time): all its bits, or one of them."""
    draw = random.Random(7)
    return [flipped(content, draw.randrange(len(content)), draw.choice([0xFF, 1 << draw.randrange(8)])) for _ in range(count)]


@pytest.mark.parametrize("name", FILES)
def test_verify_finds_a_flipped_byte(own, name):
    """Wherever it is, in whatever file; of the manifest, which cannot be opened then, by a sentence of its own."""
    file = own / name
    content = file.read_bytes()
    for damaged in flips(content, 25):
        file.write_bytes(damaged)
        try:
            problems = verify(own)
        except UserError as error:
            problems = [str(error)]
            assert name == MANIFEST_FILE
        assert problems and ("manifest" in problems[0] if name == MANIFEST_FILE else name in problems[0])
    file.write_bytes(content)
    assert verify(own) == []


def test_every_bit_of_the_manifest_matters(own):
    """Of each twentieth byte all eight; blanks and line ends too."""
    file = own / MANIFEST_FILE
    content = file.read_bytes()
    for place in range(0, len(content), 20):
        for bit in range(8):
            file.write_bytes(flipped(content, place, 1 << bit))
            with pytest.raises(UserError):
                open_store(own)


def everything(path: Path) -> list[bytes]:
    """All that is ever read from a part."""
    found = [str(n_tokens(path)).encode()]
    for layer in LAYERS:
        found.append(read_counted(path, layer).tobytes())
        for model in (BASE, *VARIANTS):
            for codes in (read_codes(path, layer, model), read_codes(path, layer, model, 6, 4)):
                found += [codes.indptr.tobytes(), codes.index.tobytes(), codes.value.tobytes()]
            for feature in range(D_SAE):
                found += [values.tobytes() for values in read_feature(path, layer, model, feature)]
    return found


def test_a_damaged_part_is_never_read_as_other_numbers(own):
    """Reading says which part it is, or gives what was written."""
    path = own / PART
    content, expected = path.read_bytes(), everything(path)
    noticed = 0
    for damaged in flips(content, 60):
        path.write_bytes(damaged)
        try:
            assert everything(path) == expected
        except UserError as error:
            assert path.name in str(error)
            noticed += 1
    assert noticed > 50


def test_a_damaged_database_is_never_read_as_other_numbers(own):
    """DuckDB has a checksum for each block; nothing of ours is needed, but it must stay so."""
    path = own / DATABASE_FILE

    def everything() -> str:
        with duckdb.connect(str(path), read_only=True, config=READ_ONLY) as connection:
            return tables.STORE.digest(connection)

    content, expected = path.read_bytes(), everything()
    noticed = 0
    for damaged in flips(content, 25):
        path.write_bytes(damaged)
        try:
            assert everything() == expected
        except duckdb.Error:
            noticed += 1
    assert noticed > 12


@pytest.mark.parametrize("name", FILES[1:])
def test_a_file_that_is_cut_short_is_named(own, name):
    """Before anything is read from it."""
    file = own / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=Path(name).name):
        open_store(own)


def test_a_damaged_sidecar_is_named(own):
    """Its pages are checked by SQLite."""
    write_labels(own, "digest", [Label(5, feature, "a label" * 20, "me") for feature in range(200)])
    sidecar = sidecar_path(own)
    assert verify(own) == []
    content = bytearray(sidecar.read_bytes())
    content[4096:8192] = np.random.default_rng(0).bytes(4096)
    sidecar.write_bytes(content)
    (*_, problem) = verify(own)
    assert sidecar.name in problem


@pytest.mark.parametrize(("name", "view"), [(PART, "documents"), (PART, "feature"), (DATABASE_FILE, "overview")])
def test_the_app_says_which_file_is_damaged(own, monkeypatch, name, view):
    """In place of the page; and nothing else is shown of it."""
    file = own / name
    content = bytearray(file.read_bytes())
    for place in range(2048 if name == PART else 12288, len(content), 64):  # what is opened first stays as it is
        content[place] ^= 0xFF
    file.write_bytes(bytes(content))
    monkeypatch.setenv(data.VARIABLE, str(own))
    one = {"layer": "12", "feature": "1", "variant": "maths", "open": "tokens"}
    app = pages.open_page(view, **(one if view == "feature" else {}))
    assert not app.exception
    assert len(app.error) == 1 and Path(name).name in app.error[0].value.replace("\\", "")
