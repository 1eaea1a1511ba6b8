"""Every page of the shipped store for readers who have no mouse, who hear a page instead of seeing it, or on small screens."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from app import pages
from tests.support import ROOT
from tests.support.browser import served, settle, visit
from tests.support.keyboard import walk

pytestmark = [pytest.mark.browser, pytest.mark.thorough]

PAGES = {"" if path == next(iter(pages.every())) else path: page.title for path, page in pages.every().items()}
"""Every page's address and heading."""

SCHEMES = ("light", "dark")
WIDTHS = (1440, 1024, 390)

GRAVE = ("serious", "critical")
ALSO = ("heading-order",)
"""Rules of axe that count although it calls a breach of them moderate."""

EXCEPTIONS = {
    ("link-in-text-block", ".fs-document"): "a document is nothing but links, one a token: there is no plain text beside them",
}
"""(rule, where) -> why a breach of it is none."""

WIDE = """() => Math.max(document.scrollingElement.scrollWidth,
  document.querySelector('[data-testid=stMain]').scrollWidth)"""

CUT = """() => [...document.querySelectorAll('[data-testid=stMain] :is(h1, h2, h3, h4, button, button *)')].filter((element) =>
  element.checkVisibility() && element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1
  && getComputedStyle(element).overflowX !== 'visible').map((element) => element.innerText.slice(0, 60))"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(ROOT / "store" / "demo", tmp_path_factory.mktemp("accessibility") / "streamlit.log") as address:
        yield address


def breaches(page) -> list[str]:
    """What axe finds on a page, but for EXCEPTIONS."""
    found = []
    for rule in Axe().run(page).response["violations"]:
        if rule["impact"] not in GRAVE and rule["id"] not in ALSO:
            continue
        for node in rule["nodes"]:
            if not any(rule["id"] == but and where in node["target"][-1] for but, where in EXCEPTIONS):
                found.append(f"{rule['impact']} {rule['id']}: {node['html'][:200]}")
    return found


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_grave_in_either_scheme(address, page, path):
    visit(page, f"{address}/{path}", PAGES[path])
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(1000)
        settle(page, PAGES[path])
        assert breaches(page) == [], scheme


@pytest.fixture(scope="module")
def steps_address(series_store, tmp_path_factory):
    """Of a store with checkpoints of trainings, which the shipped one has none of."""
    with served(series_store, tmp_path_factory.mktemp("accessible_steps") / "streamlit.log") as address:
        yield f"{address}/layers?view=steps"


def test_axe_finds_nothing_grave_over_steps(steps_address, page):
    visit(page, steps_address, "Layers")
    page.get_by_text("When features changed").wait_for()
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(1000)
        settle(page, "Layers")
        assert breaches(page) == [], scheme


@pytest.mark.parametrize("width", WIDTHS)
def test_over_steps_nothing_is_cut_or_wider_than_the_window(steps_address, page, width):
    page.set_viewport_size({"width": width, "height": 900})
    visit(page, steps_address, "Layers")
    page.get_by_text("When features changed").wait_for()
    assert page.evaluate(WIDE) <= width and page.evaluate(CUT) == []


def test_axe_sees_what_is_wrong(page):
    page.set_content(
        """<html lang="en"><title>Page</title><main><h2>Two</h2><h4>Four</h4><img src="data:,">
        <p style="color: #bbb">Pale</p></main></html>"""
    )
    found = {line.split(":")[0] for line in breaches(page)}
    assert found == {"moderate heading-order", "critical image-alt", "serious color-contrast"}


@pytest.mark.parametrize("path", PAGES)
def test_tab_reaches_every_control_and_shows_where_it_is(address, page, path):
    visit(page, f"{address}/{path}", PAGES[path])
    page.wait_for_timeout(1000)  # charts and their buttons come after the page
    before = page.url
    reached, unreached, unseen = walk(page)
    assert page.url == before
    assert reached > len(PAGES)
    assert unreached == []
    assert unseen == []


def test_the_keyboard_skips_the_sidebar_and_opens_a_page(address, page):
    visit(page, address, "Overview")
    page.keyboard.press("Tab")
    page.get_by_role("link", name="Skip to main content").and_(page.locator(":focus")).wait_for()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('[data-testid=stMain]') !== null")
    page.get_by_test_id("stSidebar").get_by_role("link", name="Words").focus()
    page.keyboard.press("Enter")
    settle(page, "Words")


def test_enter_in_a_table_opens_its_first_row(address, page):
    visit(page, f"{address}/features", "Features")
    page.wait_for_timeout(1000)
    page.get_by_test_id("stDataFrame").get_by_role("button", name="Fullscreen").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.tagName") == "CANVAS"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/feature\?"))
    settle(page, "Feature")


@pytest.mark.parametrize("path", PAGES)
def test_no_page_scrolls_sideways_and_no_heading_or_button_is_cut(address, page, path):
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        visit(page, f"{address}/{path}", PAGES[path])
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(500)
            assert page.evaluate(WIDE) <= width, (scheme, width)
            assert page.evaluate(CUT) == [], (scheme, width)
