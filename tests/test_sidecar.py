"""The sidecar's causal checks: what is written comes back, the newest wins, and a sidecar of version 1 goes on being one."""

import dataclasses
import sqlite3

import pytest

from store.errors import UserError
from store.sidecar import Label, read_labels, read_steering, sidecar_path, write_labels, write_steering
from store.sidecar_file import VERSION
from store.steering import Steering

RESULT = Steering(12, 1, "maths", "restore", 10, 212, 0.25, 0.125, -0.2, -0.05, {3: 0.3, 70: 0.1}, 4)
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
