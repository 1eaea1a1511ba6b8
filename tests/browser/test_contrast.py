"""Text is read in both colour schemes: at least 4.5:1 against what is behind it, icons 3:1, measured in a real Chromium."""

import pytest

from tests.browser.test_browser import PAGES
from tests.support import ROOT, contrast
from tests.support.browser import served, settle

pytestmark = pytest.mark.browser

SCHEMES = ("light", "dark")
QUICK = {
    "review": "?reviewer=Ada",
    "feature": "?text=shown&open=numbers,strengths,directions,tokens",
    "documents": "?document=2",
    "query": "",
}
"""Pages of the tiny store that have between them every kind of text, and what their links ask for."""


@pytest.fixture(scope="module")
def server(tiny_store, tmp_path_factory):
    with served(tiny_store, tmp_path_factory.mktemp("contrast") / "streamlit.log") as address:
        yield address


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    with served(ROOT / "store" / "demo", tmp_path_factory.mktemp("contrast") / "streamlit.log") as address:
        yield address


def pale(page, address, heading):
    """What cannot be read well in one of the schemes, and how much was looked at."""
    found, looked_at = [], 0
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        if scheme == SCHEMES[0]:
            page.goto(address)
            settle(page, heading)
        page.wait_for_timeout(1000)  # colours change over a moment
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        texts = contrast.measure(page)
        looked_at += len(texts)
        found += [f"{scheme} {text.ratio:.2f} {text}" for text in texts if not text.is_enough]
    return found, looked_at


@pytest.mark.parametrize(
    "path", [path if path == "feature" else pytest.param(path, marks=pytest.mark.thorough) for path in QUICK]
)
def test_text_is_readable(server, page, path):
    found, looked_at = pale(page, f"{server}/{path}{QUICK[path]}", PAGES[path][0])
    assert not found, "\n".join(found)
    assert looked_at > 40


@pytest.mark.long
@pytest.mark.parametrize("path", PAGES)
def test_text_of_the_shipped_store_is_readable(shipped, page, path):
    found, looked_at = pale(page, f"{shipped}/{path}{QUICK.get(path, '')}", PAGES[path][0])
    assert not found, "\n".join(found)
    assert looked_at > 40


def test_the_measure_sees_what_is_pale_and_what_is_not(page):
    """By hand: black on white is 21; #767676 on white 4.54; half of black on white, #808080, 3.95; white on #61a5c2 2.74."""
    page.set_content("""<body style="background: #fff; color: #000"><p>black</p><p style="color: #767676">grey</p>
        <p style="opacity: 0.498">half</p><p style="background: #61a5c2; color: rgb(255 255 255 / 1)">button</p>
        <p style="background: rgb(0 0 0 / 0.5)"><b style="opacity: 0.5; background: #000; color: #fff">nested</b></p>
        <p style="visibility: hidden">hidden</p><button disabled>off</button>
        <svg width="200" height="60"><rect width="100" height="60" fill="#000"></rect><text x="9" y="30" fill="#000">on</text>
        <text x="120" y="30" fill="#000">off</text></svg></body>""")
    found = {text.text: text for text in contrast.measure(page)}
    assert {name: round(text.ratio, 2) for name, text in found.items() if name != "nested"} == {
        "black": 21.0, "grey": 4.54, "half": 3.95, "button": 2.74, "on": 1.0, "off": 21.0,
    }  # fmt: skip
    # half of white, and half of black, over half of black over white: (255 + 127.5) / 2 = 191 on 127.5 / 2 = 64
    for colour, by_hand in ((found["nested"].front, 191), (found["nested"].back, 64)):
        assert abs(int(colour[1:3], 16) - by_hand) <= 1
    assert [found[name].is_enough for name in ("grey", "half")] == [True, False]
