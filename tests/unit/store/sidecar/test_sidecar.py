"""The sidecar: what is written comes back; what is not ours, or not as it was written, is not read, and never written to.

Long because every way in which a sidecar's file can be wrong stands here.
"""

import contextlib
import dataclasses
import os
import random
import sqlite3
import threading

import pytest

from store.errors import UserError
from store.sidecar import database as sidecar_file
from store.sidecar import schema as sidecar_schema
from store.sidecar.entries import (
    Label,
    check,
    notes,
    read_labels,
    read_reviews,
    read_set_steering,
    read_steering,
    sidecar_path,
    write_labels,
    write_review,
    write_set_steering,
    write_steering,
)
from store.sidecar.reviews import Review
from store.sidecar.schema import VERSION
from store.sidecar.sets import Gone, SetSteering
from store.sidecar.steering import Steering
from tests.support import ROOT

RESULT = Steering(12, 1, "maths", "restore", 10, 212, 0.25, 0.125, -0.2, -0.05, {3: 0.3, 70: 0.1}, 4)
GONE = Gone(0.5, 0.3, 0.1, 0.5, 0.25, 0.05, 0.45, 0.4, 0.1, (0.05, -0.01))
SET = SetSteering("maths", 12, "*task", "contribution", (0, 5), 64, 8, 0, GONE, dataclasses.replace(GONE, low=None), GONE)
REVIEW = Review("maths", 12, 1, "Ada", "concern", "high", "Refusals fade.")
VERSION_1 = """
CREATE TABLE labels (
    store TEXT NOT NULL, layer INTEGER NOT NULL, feature INTEGER NOT NULL, label TEXT NOT NULL, label_source TEXT NOT NULL,
    imported TEXT NOT NULL, PRIMARY KEY (store, layer, feature)
) WITHOUT ROWID;
INSERT INTO labels VALUES ('d', 5, 1, 'small words', 'somebody', '2026-01-01T00:00:00+00:00');
PRAGMA user_version = 1;
"""


@pytest.fixture
def own(tmp_path):
    """The place of a store; a sidecar asks nothing of what is in it."""
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@pytest.fixture
def of_version_1(own):
    """The place of a store whose sidecar an earlier program wrote."""
    connection = sqlite3.connect(sidecar_path(own))
    connection.executescript(VERSION_1)
    connection.close()
    return own


def version(store):
    connection = sqlite3.connect(sidecar_path(store))
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return number


def test_there_and_back(own):
    few = dataclasses.replace(RESULT, layer=5, variant="safety", mode="ablate", low=None, high=None)
    assert write_steering(own, "d", RESULT) == sidecar_path(own)
    write_steering(own, "d", few)
    assert read_steering(own, "d") == [few, RESULT]
    assert read_labels(own, "d").empty


def test_without_a_sidecar_there_are_none(own):
    assert read_steering(own, "d") == []
    assert not sidecar_path(own).exists()


def test_the_newest_wins_and_others_stay(own):
    others = [dataclasses.replace(RESULT, **change) for change in ({"layer": 13}, {"feature": 2}, {"variant": "safety"})]
    for result in (RESULT, *others, newer := dataclasses.replace(RESULT, kl_after=0.5, controls={8: 1.0})):
        write_steering(own, "d", result)
    found = read_steering(own, "d")
    assert len(found) == 4
    assert newer in found and RESULT not in found
    assert all(other in found for other in others)


def test_another_store_does_not_see_them(own):
    write_steering(own, "d", RESULT)
    assert read_steering(own, "e") == []


def test_a_sidecar_of_version_1_is_read_as_it_is(of_version_1):
    before = sidecar_path(of_version_1).read_bytes()
    assert read_labels(of_version_1, "d").values.tolist() == [[5, 1, "small words", "somebody"]]
    assert read_steering(of_version_1, "d") == []
    assert sidecar_path(of_version_1).read_bytes() == before


def test_the_first_write_brings_version_1_up_to_date_and_keeps_its_labels(of_version_1):
    write_steering(of_version_1, "d", RESULT)
    assert version(of_version_1) == VERSION
    assert read_steering(of_version_1, "d") == [RESULT]
    assert read_labels(of_version_1, "d").values.tolist() == [[5, 1, "small words", "somebody"]]


def test_labels_too_bring_version_1_up_to_date(of_version_1):
    write_labels(of_version_1, "d", [Label(5, 2, "x", "y")])
    assert version(of_version_1) == VERSION
    assert read_labels(of_version_1, "d")["feature"].tolist() == [1, 2]
    assert read_steering(of_version_1, "d") == []


def test_what_is_no_number_is_not_kept(own):
    with pytest.raises(ValueError, match="JSON"):
        write_steering(own, "d", dataclasses.replace(RESULT, controls={3: float("nan")}))
    assert read_steering(own, "d") == []


def test_a_damaged_sidecar_is_said_in_a_sentence(own):
    sidecar_path(own).write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="move it away to have the store without imported labels, causal checks and reviews"):
        read_steering(own, "d")


# ---- a file that is not ours, or not as it was ----


def other_program(path):
    """Another program's database."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE reviews (precious TEXT); INSERT INTO reviews VALUES ('keep me');")
    return path


def everything(store):
    """All that is ever read from a sidecar."""
    return read_labels(store, "d").values.tolist(), read_steering(store, "d"), read_reviews(store, "d", "maths")


def filled(store):
    write_labels(store, "d", [Label(5, feature, f"label {feature}", "me") for feature in range(30)])
    write_steering(store, "d", RESULT)
    for note in ("one", "two", "three"):
        write_review(store, "d", dataclasses.replace(REVIEW, note=note))
    return sidecar_path(store)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("target", ["other.sqlite", "nowhere"])
def test_a_link_is_not_followed(own, tmp_path, suffix, target):
    other = other_program(tmp_path / "other.sqlite")
    before = other.read_bytes()
    if suffix:
        filled(own)
    path = sidecar_path(own)
    path.with_name(path.name + suffix).symlink_to(tmp_path / target)
    for action in (lambda: write_review(own, "d", REVIEW), lambda: read_labels(own, "d")):
        with pytest.raises(UserError, match="link to another place"):
            action()
    assert other.read_bytes() == before and not (tmp_path / "nowhere").exists()
    assert len(check(own)) == 1


def test_a_second_name_is_not_written_through(own, tmp_path):
    os.link(filled(own), tmp_path / "backup")
    before = (tmp_path / "backup").read_bytes()
    with pytest.raises(UserError, match="second name"):
        write_review(own, "d", REVIEW)
    assert (tmp_path / "backup").read_bytes() == before and len(read_labels(own, "d")) == 30


def test_another_programs_database_is_left_alone(own):
    other = other_program(sidecar_path(own))
    before = other.read_bytes()
    for action in (lambda: write_review(own, "d", REVIEW), lambda: everything(own)):
        with pytest.raises(UserError, match=r"not one that this program wrote.*'reviews'"):
            action()
    assert other.read_bytes() == before


def test_a_file_that_is_swapped_while_it_is_open(own, tmp_path, monkeypatch):
    """By a link, between opening and writing: nothing is kept anywhere."""
    path, other = filled(own), other_program(tmp_path / "other.sqlite")
    before = other.read_bytes()
    real = sidecar_schema.bring_up_to_date

    def swap(*given):
        path.rename(tmp_path / "moved")
        path.symlink_to(other)
        real(*given)

    monkeypatch.setattr(sidecar_schema, "bring_up_to_date", swap)
    with pytest.raises(UserError, match="link to another place"):
        write_review(own, "d", REVIEW)
    path.unlink()
    (tmp_path / "moved").rename(path)
    assert other.read_bytes() == before and len(read_reviews(own, "d", "maths")) == 3


@pytest.mark.parametrize(
    "statements",
    ["DROP TABLE labels; CREATE VIEW labels AS WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x FROM r) SELECT x FROM r;",
     "CREATE TRIGGER t AFTER INSERT ON reviews BEGIN DELETE FROM reviews; END;", "CREATE VIEW more AS SELECT 1;",
     "ALTER TABLE labels ADD COLUMN more TEXT AS (hex(zeroblob(1000000000)));", "CREATE TABLE more (x);",
     "CREATE INDEX more ON labels (label);", "DROP INDEX reviews_of_a_variant;", "DROP TABLE steering;",
     "PRAGMA user_version = 2;", "PRAGMA user_version = 0;"],
)  # fmt: skip
def test_what_we_do_not_write_is_not_read(own, statements):
    path = filled(own)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)
    for action in (lambda: everything(own), lambda: write_review(own, "d", REVIEW)):
        with pytest.raises(UserError, match="not one that this program wrote"):
            action()
    assert len(check(own)) == 1


@pytest.mark.parametrize(
    "change",
    ["UPDATE labels SET label = 'other' WHERE feature = 3", "UPDATE labels SET layer = 6 WHERE feature = 3",
     "UPDATE labels SET store = 'e' WHERE feature = 3", "UPDATE steering SET kl_after = 0.5",
     "UPDATE reviews SET verdict = 'benign', severity = NULL WHERE id = 2", "UPDATE reviews SET store = 'e' WHERE id = 2",
     "UPDATE reviews SET id = 9 WHERE id = 3", "DELETE FROM reviews WHERE id = 2"],
)  # fmt: skip
def test_a_row_that_was_changed_is_noticed(own, change):
    """By whatever: nothing but a damaged disk, or a hand, changes rows."""
    path = filled(own)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(change)
    with pytest.raises(UserError, match="holds a damaged"):
        everything(own)
    assert len(check(own)) == 1


def test_a_flipped_byte_never_changes_a_judgement(own):
    """Wherever it is: reading gives what was written, or a sentence; every byte of a row's own text is noticed."""
    path = filled(own)
    content, expected = path.read_bytes(), everything(own)
    draw = random.Random(3)
    places = [draw.randrange(len(content)) for _ in range(60)]
    words = [content.rindex(word) for word in (b"three", b"label 17", b"concern", b"Ada", b"restore")]
    for place in places + words:
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :])
        try:
            assert everything(own) == expected
            assert place not in words
        except UserError as error:
            assert path.name in str(error) and "\n" not in str(error)


def test_rows_of_before_checksums_are_read_and_told(of_version_1):
    assert "1 rows of before checksums" in notes(of_version_1)[0]
    write_labels(of_version_1, "d", [Label(5, 2, "x", "y")])
    assert read_labels(of_version_1, "d")["feature"].tolist() == [1, 2]
    assert check(of_version_1) == [] and "1 rows" in notes(of_version_1)[0]
    write_labels(of_version_1, "d", [Label(5, 1, "x", "y")])
    assert notes(of_version_1) == []


def test_the_shipped_sidecar_is_read_as_it_is():
    demo = ROOT / "store" / "demo"
    before = sidecar_path(demo).read_bytes()
    assert check(demo) == notes(demo) == []
    assert sidecar_path(demo).read_bytes() == before


@pytest.mark.parametrize(
    ("code", "expected"),
    [(sqlite3.SQLITE_FULL, "its disk is full (No space left on device); make room"),
     (sqlite3.SQLITE_IOERR_WRITE, "see that its disk is there"),
     (sqlite3.SQLITE_READONLY, "ask for the right"), (sqlite3.SQLITE_CANTOPEN, "ask for the right"),
     (sqlite3.SQLITE_BUSY, "busy by another program"), (sqlite3.SQLITE_INTERRUPT, "seconds to read"),
     (sqlite3.SQLITE_CORRUPT, "move it away"), (sqlite3.SQLITE_NOTADB, "move it away")],
)  # fmt: skip
def test_each_trouble_has_its_own_remedy(own, code, expected):
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    said = str(sidecar_file._failure(sidecar_path(own), error, writing=True))
    assert expected in said and ("move it away" in said) == (expected == "move it away" or "seconds" in expected)


def test_a_full_disk_is_said_and_nothing_is_half_kept(own, monkeypatch):
    """A database that may not grow is what SQLite meets on a full disk, with the same code."""
    filled(own)
    real = sidecar_file._restrict

    def full(connection):
        real(connection)
        connection.execute("PRAGMA max_page_count = 1")

    monkeypatch.setattr(sidecar_file, "_restrict", full)
    with pytest.raises(UserError, match=r"cannot be written: its disk is full .*; make room there, then try again"):
        for number in range(200):
            write_labels(own, "d", [Label(7, 1000 * number + feature, "x" * 900, "y") for feature in range(50)])
    monkeypatch.undo()
    assert check(own) == [] and len(read_labels(own, "d")) % 50 == 30


def test_one_of_before_sets_gets_their_table_and_keeps_its_rows(own, monkeypatch):
    """What a program of version 4 made: no table of sets; its rows keep their checksums."""
    monkeypatch.setattr(sidecar_schema, "VERSION", 4)
    monkeypatch.setattr(sidecar_file, "VERSION", 4)
    monkeypatch.setattr(sidecar_schema, "SINCE", {"labels": 1, "steering": 2, "reviews": 3})
    write_review(own, "d", REVIEW)
    write_steering(own, "d", RESULT)
    monkeypatch.undo()
    sidecar_schema._schema.cache_clear()
    assert read_set_steering(own, "d") == [] and read_steering(own, "d") == [RESULT] and check(own) == []
    write_set_steering(own, "d", SET)
    assert read_set_steering(own, "d") == [SET] and read_steering(own, "d") == [RESULT]
    assert len(read_reviews(own, "d", "maths")) == 1 and check(own) == notes(own) == []
    again = dataclasses.replace(SET, seed=9, opening=None)
    write_set_steering(own, "d", again)
    assert read_set_steering(own, "d") == [again]


def test_a_sidecar_that_another_program_makes_meanwhile_is_no_stranger(own, monkeypatch):
    """Between a look at the version and one at the tables another process may make the file: both are of one moment."""
    real, others = sidecar_schema.check_schema, []

    def late(path, connection, version):
        if not others:
            others.append(threading.Thread(target=write_review, args=(own, "d", REVIEW)))
            others[0].start()
            others[0].join(timeout=0.5)
        real(path, connection, version)

    monkeypatch.setattr(sidecar_schema, "check_schema", late)
    write_review(own, "d", REVIEW)
    others[0].join()
    assert len(read_reviews(own, "d", "maths")) == 2


def test_half_of_a_surrogate_pair_is_no_text(own):
    with pytest.raises(UserError, match="no text that can be kept"):
        write_review(own, "d", dataclasses.replace(REVIEW, note="\ud83d"))
    assert read_reviews(own, "d", "maths") == []


def test_a_journal_that_names_another_file_is_not_played_back(own, tmp_path):
    """SQLite would open that file, and delete it where it names no journal."""
    path = filled(own)
    path.with_name(f"{path.name}-journal").write_bytes(b"\0" * 512 + bytes.fromhex("d9d505f920a163d7"))
    with pytest.raises(UserError, match="names another file"):
        read_labels(own, "d")
