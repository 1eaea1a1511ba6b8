"""What a reader takes along from a page of the shipped store: pictures of its charts, its tables as CSV, the page on paper."""

import re
from pathlib import Path

import pytest
from pypdf import PdfReader

from tests.support import ROOT
from tests.support.browser import served, visit

pytestmark = [pytest.mark.browser, pytest.mark.thorough]

CHARTS = {
    "": ("Overview", ""),
    "layers": ("Layers", ""),
    "features?variant=safety&layer=9": ("Features", "variant safety · layer 9"),
    "feature?variant=safety&layer=9&feature=1183": ("Feature", "variant safety · layer 9 · feature 1183"),
    "compare?layer=9": ("Across variants", "layer 9"),
    "layers?view=template&variant=safety": ("Layers", "variant safety"),
    "words?variant=safety&layer=9": ("Words", "variant safety · layer 9"),
}
"""Pages with charts -> their heading, and what their pictures are of."""

TEXTS = "svg => [...svg.querySelectorAll('text')].map(text => text.textContent)"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(ROOT / "store" / "demo", tmp_path_factory.mktemp("taken") / "streamlit.log") as address:
        yield address


def saved(page, frame, kind):
    """The name and the bytes of a chart's picture, asked for by keyboard."""
    button = frame.get_by_role("button", name=f"Download as {kind}")
    button.focus()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


@pytest.mark.parametrize("path", CHARTS)
def test_a_chart_is_saved_as_svg_and_png_with_what_it_shows(address, page, path):
    heading, of = CHARTS[path]
    visit(page, f"{address}/{path}", heading)
    charts = page.get_by_test_id("stVegaLiteChart")
    charts.first.locator("svg.marks").wait_for()
    page.wait_for_timeout(1000)
    frames = page.get_by_test_id("stFullScreenFrame").filter(has=charts)
    for frame in (frames.first, frames.last):
        chart = frame.get_by_test_id("stVegaLiteChart")
        title = chart.get_attribute("aria-label")
        name, svg = saved(page, frame, "SVG")
        text = svg.decode()
        assert text.startswith("<svg") and text.count("<rect") >= 1
        said = page.evaluate(f"text => ({TEXTS})(new DOMParser().parseFromString(text, 'image/svg+xml'))", text)
        shown = chart.locator("svg.marks").evaluate(TEXTS)
        assert set(shown) <= set(said), "axes and their titles, marks and legends"
        assert title.split()[0] in said[0]
        assert any(line.startswith(f"{heading} · ") and line.endswith(of) for line in said)
        words = re.sub(r"\W+", "-", title.replace("_", "-"))
        assert name.startswith(words[:100]) and name.endswith(".svg")
        name, png = saved(page, frame, "PNG")
        assert name.endswith(".png") and png.startswith(b"\x89PNG")
        width = int.from_bytes(png[16:20])
        assert width > 2 * chart.bounding_box()["width"]


def test_a_table_is_saved_as_csv(address, page):
    page.add_init_script("delete window.showSaveFilePicker")  # a dialog of the system, where no browser is watched
    visit(page, f"{address}/features", "Features")
    with page.expect_download() as download:
        page.get_by_test_id("stDataFrame").get_by_role("button", name="Download as CSV").dispatch_event("click")
    lines = Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].startswith("label,name,")
    assert len(lines) > 10


@pytest.mark.parametrize(("path", "heading", "most"), [("words?open=shape", "Words", 4), ("layers?view=metrics", "Layers", 6)])
def test_a_page_is_printed_whole(address, page, tmp_path, path, heading, most):
    """Pages that are longer than a sheet: no sheet but the last is left nearly empty, and the last line is on the last."""
    visit(page, f"{address}/{path}", heading)
    page.wait_for_timeout(2000)
    last = page.get_by_test_id("stMain").inner_text().split()[-1]
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    sheets = ["".join(sheet.extract_text().split()) for sheet in PdfReader(tmp_path / "page.pdf").pages]
    assert 2 <= len(sheets) <= most
    assert heading in sheets[0]
    assert all(len(text) > 200 for text in sheets[:-1])
    assert last in sheets[-1][-500:]
    assert "Presentationmode" not in "".join(sheets)


def test_a_dark_page_is_printed_on_white(address, browser):
    page = browser.new_context(color_scheme="dark").new_page()
    visit(page, f"{address}/words", "Words")
    page.emulate_media(media="print", color_scheme="dark")
    page.wait_for_function("() => getComputedStyle(document.querySelector('.stApp')).backgroundColor === 'rgb(255, 255, 255)'")
    ink = page.get_by_role("heading", name="Words", level=2).evaluate("e => getComputedStyle(e).color")
    assert ink == "rgb(26, 26, 26)"
    page.context.close()
