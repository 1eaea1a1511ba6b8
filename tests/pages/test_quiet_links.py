"""No link and no picker of the app leads to a page that complains of it: notes are for what a reader typed."""

import shutil
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from app import data, pages
from app.components import pickers
from tests.support.forged import forge_without_twins
from tests.support.pages import open_page

Place = tuple[str, tuple[tuple[str, str], ...]]
"""A page and its parameters."""

LISTS = ("suppressed", "review", "features", "feature")
SORTED = {"suppressed": ("variant", "domain"), "features": ("variant",)}
"""Pages with a sort, and the pickers on which it depends what they can be sorted by."""

NUMBERS = ("layer", "feature", "list_layer")
"""Parameters whose value changes nothing about which others are understood."""


@pytest.fixture(params=["contributions", "no contributions", "one variant without twins"])
def offered(request, tiny_store: Path, contributing_store: Path, tmp_path: Path, monkeypatch) -> dict[str, list]:
    """The app on a store; gives what the pickers of the page drawn last offer, by name."""
    path = contributing_store if request.param == "contributions" else tiny_store
    if request.param == "one variant without twins":
        path = shutil.copytree(tiny_store, tmp_path / "mixed")
        forge_without_twins(path, "safety")
    monkeypatch.setenv(data.VARIABLE, str(path))
    drawn, pick = {}, pickers.pick

    def recorded(label, name, options, *others, **settings):
        drawn[name] = list(options)
        return pick(label, name, options, *others, **settings)

    monkeypatch.setattr(pickers, "pick", recorded)
    return drawn


def quiet(app: AppTest, came_by: object) -> AppTest:
    assert not app.exception and not app.error, came_by
    assert [warning.value for warning in app.warning if "The link asks for" in warning.value] == [], came_by
    return app


def links(app: AppTest) -> dict[Place, Place]:
    """Where the page links of a page lead to, one of each kind: those that differ in NUMBERS alone are of one kind."""
    found = {}
    for link in app.get("page_link"):
        if not link.proto.external:
            path = urlsplit(link.proto.page).path.strip("/") or next(iter(pages.every()))
            params = parse_qsl(link.proto.query_string)
            kind = path, tuple(sorted((name, "" if name in NUMBERS else value) for name, value in params))
            found[kind] = path, tuple(params)
    return found


def after_each_choice(offered: dict[str, list], view: str, params: dict[str, str], names: tuple[str, ...] = ()):
    """The page, and as it is after each other choice that its pickers have; names: of these pickers alone."""
    offered.clear()
    app = quiet(open_page(view, **params), (view, params))
    yield app
    for name, options in [(name, options) for name, options in offered.items() if not names or name in names]:
        for option in options:
            app.query_params = params
            (widget,) = [one for one in (*app.run().selectbox, *app.segmented_control) if one.key == f"pick_{name}"]
            if option != widget.value:
                yield quiet(widget.set_value(option).run(), (view, params, name, option))


@pytest.mark.parametrize("page", ["suppressed", "review"])
def test_another_domain_forgets_a_sort_that_it_has_not(tiny_store, monkeypatch, page):
    monkeypatch.setenv(data.VARIABLE, str(tiny_store))
    app = open_page(page, sort="focus_change")
    quiet(app.selectbox(key="pick_domain").set_value("maths").run(), page)
    assert app.query_params["domain"] == "maths" and "sort" not in app.query_params
    kept = quiet(open_page(page, sort="evidence").selectbox(key="pick_domain").set_value("maths").run(), page)
    assert kept.query_params["sort"] == "evidence"


def test_a_feature_opened_from_a_sorted_list_follows_that_list(tiny_store, monkeypatch):
    monkeypatch.setenv(data.VARIABLE, str(tiny_store))
    sorted_list = {"list": "suppressed", "list_layer": "all", "sort": "focus_change"}
    app = quiet(open_page("feature", layer="12", feature="1", **sorted_list), sorted_list)
    quiet(app.segmented_control(key="pick_layer").set_value(5).run(), "another layer, whose first feature is the list's")


def test_the_overview_leads_to_what_was_learned_where_layers_has_it(tiny_store, contributing_store, monkeypatch):
    for path, query in ((tiny_store, {}), (contributing_store, {"view": "learned"})):
        monkeypatch.setenv(data.VARIABLE, str(path))
        (heading,) = [link for link in open_page("overview").get("page_link") if link.proto.label == "Learned, and cost"]
        assert dict(parse_qsl(heading.proto.query_string)) == query


@pytest.mark.thorough
def test_no_link_or_picker_leads_to_a_note(offered):
    found = {}
    for view in pages.every():
        for app in after_each_choice(offered, view, {}) if view in LISTS else [quiet(open_page(view), view)]:
            found |= links(app)
    for view, names in SORTED.items():
        open_page(view)
        for sort in list(offered["sort"]):
            for app in after_each_choice(offered, view, {"sort": sort}, names):
                found |= links(app)
    for view, params in found.values():
        quiet(open_page(view, **dict(params)), (view, params))
