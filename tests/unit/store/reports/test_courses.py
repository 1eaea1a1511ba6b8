"""What is told of a training with several checkpoints: tests/support/series_store.py has the numbers."""

import shutil
from dataclasses import replace

import pytest

from store import open_store
from store.reports.courses import courses, earlier_checkpoints
from store.reports.findings import findings
from store.reports.story import stories
from store.reports.terminal import amounts, describe
from tests.support.forged import forge_without_twins
from tests.support.series_store import make_uneven_store


@pytest.fixture(scope="module")
def store(series_store):
    with open_store(series_store) as opened:
        yield opened


def test_the_last_checkpoint_tells_how_its_training_came_there(store):
    found = courses(store)
    assert list(found) == ["maths-400", "code-20"]
    maths = found["maths-400"]
    assert (maths.fell, maths.rose) == ([1, 2, 1], [1, 1, 2])
    assert (maths.onsets, maths.went, maths.flickered) == ({100: 1, 200: 1, 400: 1}, 1, 1)
    assert maths.checkpoints == "3 checkpoints, optimiser steps 100, 200 and 400"
    assert maths.began == (
        "3 features claimed at the last step: 1 from step 100, 1 from step 200 and 1 from step 400 on (1 of them at some step "
        "before that too); 1 came and went, claimed at an earlier step and not at the last."
    )
    assert [one.gain for one in maths.learned["*task"]] == [0.1, 0.4, 0.5]
    assert maths.taught.startswith("Nats a token at each step: on its own task +0.100, +0.400, +0.500; on text that no")


def test_of_one_run_nothing_is_claimed_over_its_steps(store):
    assert courses(store)["code-20"].text == (
        "2 checkpoints, optimiser steps 5 and 20. Not every step was run twice, so nothing is claimed over the steps. 1 "
        "feature standing out in this run alone at the last step: 1 from step 20 on."
    )


def test_without_twins_there_are_no_onsets(series_store, tmp_path):
    copy = shutil.copytree(series_store, tmp_path / "copy")
    forge_without_twins(copy, "maths-200")
    with open_store(copy) as opened:
        assert "without which nothing can be claimed: no change has an onset" in courses(opened)["maths-400"].began


def test_what_turned_is_claimed_at_the_last_and_did_not_go(store):
    """[-1, 1, 1]: it fell first, and is claimed to have risen since."""
    alone = dict(steps=(1, 2, 3), onsets={2: 1}, went=0, flickered=0)
    assert replace(courses(store)["maths-400"], **alone, turned=1).began == (
        "1 feature claimed at the last step: 1 from step 2 on (1 of them the other way before)."
    )


def test_each_training_is_told_once(store):
    earlier = {"maths-100", "maths-200", "second-100", "second-200", "code-5"}
    assert earlier_checkpoints(store) == earlier
    assert [one.variant for one in stories(store)] == ["maths-400", "code-20", "safety"]
    lines = amounts(store).splitlines()
    assert [line.split(":")[0] for line in lines] == ["maths-400", "second-400", "code-20", "safety", "maths", "code"]
    assert "second-200: adapter second-200-lora (another run of maths-200), step 200 of maths-seed2" in describe(store)


def test_seeds_whose_last_steps_differ_are_one_training_everywhere(tmp_path):
    with open_store(make_uneven_store(tmp_path / "store")) as uneven:
        assert list(courses(uneven)) == ["maths-400", "code-20"]
        assert [one.variant for one in stories(uneven)] == ["maths-400", "code-20", "safety"]
        assert "Not every step was run twice" in courses(uneven)["maths-400"].began
        assert "step 450 of maths-seed2" in describe(uneven)
        of_changes = findings(uneven).partition("## The table")[0]
        assert "### maths-400" in of_changes and "### second-400" not in of_changes


def test_findings_tell_it_once_too(store):
    page = findings(store)
    of_changes = page.partition("## The table")[0]
    assert "### maths-100" not in page and "### maths-400" in of_changes
    assert "It is the last checkpoint of the training maths: 3 checkpoints, optimiser steps 100, 200 and 400." in of_changes
    assert "| maths-100 | 5 |" in page


def test_a_store_without_series_has_no_courses(tiny_store):
    with open_store(tiny_store) as tiny:
        assert courses(tiny) == {} and earlier_checkpoints(tiny) == set()
        assert {one.course for one in stories(tiny)} == {None}
