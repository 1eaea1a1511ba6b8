"""A page and a number of the lists are one place each: a made-up one is found everywhere by itself."""

from itertools import groupby

import pandas as pd
import pytest

from app import pages
from app.components import columns, tables
from app.words.meanings import KIND_MEANINGS
from store.metrics import feature_columns
from store.metrics.feature_columns import FeatureColumn
from store.numbers import percent

PAGE = '"""A page."""\n\nTITLE = "Made up"\nICON = ":material/home:"\nGROUP = "Story"\nORDER = {order}\n\nraise RuntimeError\n'


def test_a_new_file_is_a_new_page_and_is_not_executed(tmp_path):
    for name, order in (("later", 20), ("first", 10)):
        (tmp_path / f"{name}.py").write_text(PAGE.format(order=order), encoding="utf-8")
    (tmp_path / "__init__.py").write_text("", encoding="utf-8")
    found = pages.every(tmp_path)
    assert list(found) == ["first", "later"]
    assert (found["first"].file, found["first"].title, found["first"].group) == ("views/first.py", "Made up", "Story")


def test_a_page_that_does_not_say_what_it_is_called_is_named(tmp_path):
    (tmp_path / "nameless.py").write_text('TITLE = "A"\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"nameless\.py has no ICON and no GROUP and no ORDER"):
        pages.every(tmp_path)


def test_no_two_pages_share_a_title_or_a_place():
    for field in ("title", "order", "icon"):
        values = [getattr(page, field) for page in pages.every().values()]
        assert len(set(values)) == len(values)


def test_pages_of_a_group_stand_together():
    groups = [page.group for page in pages.every().values()]
    assert len(list(groupby(groups))) == len(set(groups)) == 4


@pytest.mark.parametrize("needs_twins", [False, True])
def test_a_new_number_is_listed_sorted_written_and_downloaded(monkeypatch, needs_twins):
    made_up = FeatureColumn("made_up", "Made up", "A number.", percent, sort="By it", needs_twins=needs_twins)
    monkeypatch.setitem(feature_columns.COLUMNS, "made_up", made_up)
    known = columns.catalogue()
    monkeypatch.setattr(columns, "COLUMNS", known)
    monkeypatch.setattr(tables, "COLUMNS", known)
    rows = pd.DataFrame({"layer": [5], "feature": [1], "label": [None], "kind": [next(iter(KIND_MEANINGS))], "made_up": [0.25]})
    assert columns.sort_names(columns.NEEDS)["made_up"] == "By it"
    assert ("made_up" in columns.sort_names(())) is not needs_twins
    assert ("made_up" in columns.offered(())) is not needs_twins
    assert tables.printed(rows)["made_up"].to_list() == ["25 %"]
    assert known["made_up"].config()["label"] == "Made up"
    assert tables.csv(rows).splitlines()[0].endswith("made_up")


def test_two_ends_of_a_range_are_one_column():
    assert {"interval", "runs", "twins"} <= set(columns.COLUMNS)
    assert not {"change_low", "replicate_high", "twin_low"} & set(columns.COLUMNS)
    ends = {"change_low": [-0.7, None], "change_high": [-0.52, None]}
    rows = pd.DataFrame({"layer": [5, 5], "feature": [1, 2], "label": None, "kind": ["weakened", "steady"], **ends})
    assert tables.printed(rows)["interval"].to_list() == ["-70 % to -52 %", "–"]


def test_every_number_can_be_sorted_and_shown(tiny_store):
    from store import open_store

    rows = open_store(tiny_store).shifted_features(variant="maths")
    assert set(feature_columns.COLUMNS) <= set(rows)
    for name in columns.sort_names(("twins",)):
        assert len(open_store(tiny_store).shifted_features(variant="maths", sort=name)) == len(rows)
