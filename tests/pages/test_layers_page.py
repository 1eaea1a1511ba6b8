"""The page Layers on the tiny store: its parts, one at a time."""

import os
import shutil

import pytest

from app import data
from store.read.store import Store
from tests.support import pages
from tests.support.forged import forge_tables, rewrite_manifest
from tests.support.pages import column, text

PARTS = ("overlap", "metrics", "template")


@pytest.fixture
def open_view(monkeypatch, tiny_store):
    """open_view(view='template') -> the page that this link shows; stores= names other stores."""

    def opened(stores=(tiny_store,), **params):
        monkeypatch.setenv(data.VARIABLE, os.pathsep.join(map(str, stores)))
        return pages.open_page("layers", **params)

    return opened


def charts(app):
    return [chart.proto for kind in ("vega_lite_chart", "arrow_vega_lite_chart") for chart in app.get(kind)]


@pytest.mark.parametrize("view", PARTS)
@pytest.mark.parametrize("domain", ["all", "harmful"])
def test_every_part_opens_with_and_without_controls(open_view, tiny_store, bare_store, view, domain):
    for store in (tiny_store, bare_store):
        app = open_view(stores=[store], view=view, domain=domain, variant="safety")
        assert not app.exception and not app.error and not app.warning
        assert ("no verdicts: no twins" in text(app)) == (store == bare_store)


def test_cosine_and_overlap_come_first_and_what_was_learned_only_where_it_was_measured(open_view):
    app = open_view()
    assert app.segmented_control(key="pick_view").options == ["Cosine and overlap", "All metrics", "Template"]
    assert app.segmented_control(key="pick_view").value == "overlap"
    assert len(charts(app)) == 2  # maths and safety, each with its runs
    app.segmented_control(key="pick_view").set_value("template").run()
    assert app.query_params == {"view": "template"}
    assert "On the chat template's own tokens" in text(app)


def test_a_link_that_compares_by_domain_shows_every_metric(open_view):
    app = open_view(by="domain", variant="maths")
    assert app.segmented_control(key="pick_view").value == "metrics"
    assert app.segmented_control(key="pick_by").value == "domain"


def test_what_is_seen_is_said_from_the_numbers(open_view, bare_store):
    """Of both variants at both layers: overlap 0.45 beside 0.40 to 0.42 of twins."""
    said = text(open_view())
    assert "more while overlap goes down to **0.45** (maths, layer 5)." in said
    assert "overlap is explained by the size of the change at every layer of every recipe." in said
    assert "Nothing stands beside it" in text(open_view(stores=[bare_store]))


def test_a_metric_of_one_value_is_said_and_not_drawn(open_view, tiny_store, tmp_path):
    copy = shutil.copytree(tiny_store, tmp_path / "constant")
    drawn = len(charts(open_view(view="metrics")))
    forge_tables(copy, "UPDATE layer_metrics SET value = 0 WHERE metric = 'overlap'")
    app = open_view(stores=[copy], view="metrics")
    assert len(charts(app)) == drawn - 1
    assert "0 at every layer in all variants: Overlap" in text(app)


def test_layers_offer_what_there_is_to_stand_beside(open_view, bare_store):
    app = open_view(view="metrics")
    assert app.segmented_control(key="pick_beside").options == ["twins", "rerun", "isotropic", "rescaled", "all", "none"]
    assert "random changes of the weights of that size" in text(app)
    assert "random shift of that size" in text(open_view(view="metrics", beside="isotropic"))
    every = text(open_view(view="metrics", beside="all"))
    assert "the base at the variant&#39;s norm" in every and "twins, from the lowest random change of the weights" in every
    assert "random changes of the weights" not in text(open_view(view="metrics", beside="none"))
    assert "95 % intervals over clusters" in text(app)
    without = open_view(view="metrics", stores=[bare_store])
    assert "pick_beside" not in [control.key for control in without.segmented_control]
    assert "Too few clusters for intervals, or none computed" in text(without)


def test_the_numbers_behind_the_layers_name_what_stands_beside(open_view):
    def controls(**params):
        return set(open_view(view="metrics", **params).dataframe[0].value["control"])

    assert controls() == {"observed", "twin_1", "twin_2"}
    assert controls(beside="none") == {"observed"}
    assert controls(beside="all") == {"observed", "twin_1", "twin_2", "isotropic", "rescaled", "rerun"}


def test_layers_by_variant_domain_and_segment(open_view):
    for by, names in (("variant", "maths"), ("domain", "harmful"), ("segment", "response")):
        app = open_view(view="metrics", by=by)
        assert not app.exception
        assert names in text(app)


def test_template_says_what_part_of_the_change_is_its_own(open_view):
    app = open_view(view="template", variant="safety", layer="12")
    assert "layer 12: **25 %** of the change on 7.1 % of the tokens (3.50× their part)" in text(app)
    assert column(app, "name") == ["L12:5"]
    assert column(app, "moved") == ["75 %"]
    assert column(app, "did_shift") == ["+0.030"]
    assert column(app, "verdict") == ["? could not be seen"]
    assert "No feature moved by more than 50 % on response tokens" in text(app)


def test_template_where_no_model_has_one_says_so(open_view, tiny_store, tmp_path):
    for name, corpus, said in (("none", {"chat_template": None}, True), ("one", {"chat_template": {"from": "base"}}, False)):
        copy = shutil.copytree(tiny_store, tmp_path / name)
        left_out = {} if said else {"messages are left out in part by the chat template": 12, "characters beyond the cut": 34}
        rewrite_manifest(copy, corpus=corpus, counts={"tokens": 14, "documents": 3, "left_out": left_out})
        app = open_view(view="template", stores=[copy])
        assert any("No model of this run has a chat template" in info.value for info in app.info) == said
        captions = [caption.value.replace("\\", "") for caption in app.caption]
        assert ("12 messages are left out in part by the chat template." in captions) != said and "34" not in " ".join(captions)


def test_template_of_a_corpus_without_chats_says_so(open_view, monkeypatch, tiny_store, tmp_path):
    shutil.copytree(tiny_store, tmp_path / "chatless")
    column = Store._column
    monkeypatch.setattr(Store, "_column", lambda self, query: [value for value in column(self, query) if value != "template"])
    assert "no document is a chat" in open_view(view="template", stores=[tmp_path / "chatless"]).info[0].value


def test_layers_can_be_laid_over_each_other(open_view):
    app = open_view(view="metrics", scale="relative", focus="safety")
    assert not app.exception
    assert app.segmented_control(key="pick_focus").options == ["all", "maths", "maths · run 2", "safety"]
    assert "pick_scale" not in [control.key for control in open_view(view="metrics", by="domain").segmented_control]
