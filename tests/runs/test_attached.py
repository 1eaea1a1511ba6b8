"""Contributions beside a store: read as a part of it, verified, published, queried, and refused where no pass wrote them."""

import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from extract.__main__ import main
from store import open_store
from store.errors import UserError
from store.format.additions import addition_path
from store.read.verification import verify
from store.sandbox import run as sandbox
from tests.support.contributed import table


@pytest.fixture(scope="module")
def store(contributed: tuple[Path, Path]) -> Path:
    return contributed[1]


def test_they_are_read_as_a_part_of_the_store(store: Path):
    with open_store(store) as opened:
        assert opened.has_contributions
        best = opened.contributions("tuned", layer=2, limit=3)
        assert best["gain"].is_monotonic_decreasing and best["rank"].tolist() == [1, 2, 3]
        worst = opened.contributions("tuned", layer=2, order="loss", limit=1)["gain"].iloc[0]
        layer = opened.layer_gains("tuned").query("control == 'observed' and layer == 2").iloc[0]
        assert worst == pytest.approx(layer["smallest"])
        feature = int(best["feature"].iloc[0])
        assert set(opened.feature_contributions(2, feature)["domain"]) >= {"all", "*task", "chats", "stories"}
        assert opened.acts("tuned", 2, feature)["gain"].abs().is_monotonic_decreasing
        assert set(opened.learned("tuned")["control"]) == {"observed", "twin_1"}
        words = opened.word_changes("tuned")
        assert words.groupby("control")["change"].apply(lambda change: change.is_monotonic_decreasing).all()
        assert (opened.change_words("tuned").query("chance == chance").eval("score > chance")).all()
        assert set(opened.predictions("tuned")["domain"]) == {"chats", "stories"}
    assert verify(store) == []


def test_a_store_without_them_says_how_to_add_them(extracted: Path):
    with open_store(extracted) as opened:
        assert not opened.has_contributions
        with pytest.raises(UserError, match="python -m extract contributions adds it"):
            opened.learned()


def test_those_of_another_store_are_let_alone(store: Path, tmp_path: Path):
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    shutil.copy(addition_path(store), addition_path(copy))
    _change(copy, "UPDATE about SET value = 'another' WHERE name = 'store_digest'")
    with open_store(copy) as opened:
        assert not opened.has_contributions
        assert len(opened.layer_metrics(variant="tuned"))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE about SET value = '0' WHERE name = 'version'", "are of version 0 of their format, this program reads"),
        ("CREATE VIEW more AS SELECT 1", "a view 'more', which no pass writes"),
        ("ALTER TABLE learned ADD COLUMN more INTEGER", "a table 'learned' with other columns"),
        ("UPDATE features SET feature = 1000000", "column 'feature' of the table 'features' has the value 1,000,000, beyond"),
        ("UPDATE predictions SET slot = 'elsewhere'", "column 'slot' of the table 'predictions' has the value 'elsewhere'"),
    ],
)
def test_what_no_pass_writes_is_refused(store: Path, tmp_path: Path, statement: str, said: str):
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    shutil.copy(addition_path(store), addition_path(copy))
    _change(copy, statement)
    with pytest.raises(UserError, match=said):
        open_store(copy)


def test_a_file_that_is_none_is_refused(store: Path, tmp_path: Path):
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    addition_path(copy).write_bytes(b"not a database")
    with pytest.raises(UserError, match=r"are damaged .*; copy them again, or take them away"):
        open_store(copy)


def test_verify_finds_a_changed_number(store: Path, tmp_path: Path):
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    shutil.copy(addition_path(store), addition_path(copy))
    _change(copy, "UPDATE learned SET gain = gain + 1")
    assert verify(copy) == [
        "The content of 'store.contributions.duckdb' does not match its digest: it is not what was measured."
    ]


def test_a_published_copy_has_them(store: Path, tmp_path: Path):
    assert main(["publish", str(store), "--out", str(tmp_path / "copy")]) == 0
    with open_store(store) as source, open_store(tmp_path / "copy") as copy:
        assert copy.has_contributions
        assert source.manifest.digest != copy.manifest.digest
        pd.testing.assert_frame_equal(source.learned(), copy.learned())
    assert verify(tmp_path / "copy") == []


def test_a_query_reads_them(store: Path):
    with open_store(store) as opened:
        answer = sandbox.run(opened, "SELECT count(*) AS n FROM contributions.learned").frame()
        assert answer["n"].iloc[0] == len(table(store, "learned"))


def _change(store: Path, statement: str) -> None:
    with duckdb.connect(str(addition_path(store))) as connection:
        connection.execute(statement)
        connection.execute("CHECKPOINT")
