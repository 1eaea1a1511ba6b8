"""The bench of cost: its rows judge what was measured, and the command measures a real small run."""

import json

import pytest

from extract.__main__ import main
from extract.bench.cost import Bare, Whole, rows
from extract.bench.page import BEGIN, END
from tests.support.world import one_thread

TWINS = ["a:twin_1", "b:twin_1"]
FORWARD = dict.fromkeys(["base", "a", "b", *TWINS], 2.0)
BARE = Bare(FORWARD, TWINS, encode=2.5, decode=0.5, n_tokens=1000, padding=0.04, memory=2 * 10**9)


def whole(shards: float, code_bytes: float = 5.0) -> Whole:
    phases = {"loading": 9.0, "pilot": 0.5, "shards": shards, "merging": 0.3, "output tokens": 7.0, "finishing": 0.2}
    return Whole(phases, 3 * 10**9, code_bytes, 150.0, 900.0)


def named(results: dict, section: str, start: str):
    (row,) = [row for row in results[section] if row.name.startswith(start)]
    return row


def test_ratios_by_hand():
    """Of base and variants 6 s of forward passes and 3 fifths of 2.5 of encoding, 7.5 s; with twins 10 + 2.5 = 12.5 s.

    9 s of shards are 1.2 of the one, 14 s with twins 1.12 of the other.
    """
    results = rows(BARE, whole(9.0), whole(14.0))
    bare, off, on, disk = results
    assert bare == "Bare passes, 1,000 tokens"
    assert named(results, bare, "the limit of base").value == pytest.approx(7.5)  # ms a token
    assert named(results, bare, "the limit with twins").value == pytest.approx(12.5)
    assert named(results, off, "shards / the limit").value == pytest.approx(1.2)
    assert named(results, on, "shards / the limit").value == pytest.approx(1.12)
    assert named(results, off, "all but loading").value == pytest.approx(10 / 7.5)
    assert [row.met for section in results.values() for row in section if row.met is not None] == [True] * 5
    assert named(results, disk, "codes").value == 5.0


def test_what_is_missed_is_said():
    results = rows(BARE, whole(9.1, code_bytes=6.1), whole(15.1))
    missed = [row.name.split(",")[0] for section in results.values() for row in section if row.met is False]
    assert missed == ["shards / the limit", "shards / the limit with twins", "codes"]


@pytest.mark.thorough
def test_a_small_run_is_measured(world, tmp_path, capsys):
    """Every row has a number; the page names the machine; too small to meet its targets, it says so by its exit code."""
    page, file = tmp_path / "page.md", tmp_path / "bench.json"
    page.write_text(f"# Cost\n\n{BEGIN}\n{END}\n", encoding="utf-8")
    config = world.config(tmp_path, shard_tokens=250)
    with one_thread():
        code = main(["bench", str(config), "--tokens", "500", "--page", str(page), "--json", str(file)])
    content = json.loads(file.read_text(encoding="utf-8"))
    assert "torch" in content.pop("note") and len(content) == 4
    values = [row for section in content.values() for row in section]
    assert all(row["value"] >= 0 for row in values) and any(row["value"] > 0 for row in values)
    assert code == int(any(row["met"] is False for row in values))
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Cost") and "Measured on" in text and "| shards / the limit with twins |" in text
    assert "shards / the limit" in capsys.readouterr().out


@pytest.mark.parametrize("tokens", ["0", "-5"])
def test_no_tokens_are_refused(world, tmp_path, capsys, tokens):
    assert main(["bench", str(world.config(tmp_path)), "--tokens", tokens]) == 2
    assert "--tokens is" in capsys.readouterr().err
