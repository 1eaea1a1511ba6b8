"""What the web server lets a visitor, or a foreign page, do: nothing is uploaded, and no page of the app stands in a frame."""

import http.client
import tomllib
from urllib.parse import urlsplit

import pytest

from tests.support import ROOT
from tests.support.browser import browser, served, settle, window  # noqa: F401

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tiny_store, tmp_path_factory):
    with served(tiny_store, tmp_path_factory.mktemp("server") / "log") as found:
        yield found


def answer(address: str, method: str, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    connection.request(method, path, body, {"Content-Type": "multipart/form-data; boundary=x"})
    return connection.getresponse()


@pytest.mark.parametrize("path", ["/", "/review", "/_stcore/health", "/_stcore/host-config", "/nothing-here"])
def test_every_answer_forbids_frames_and_all_that_is_elsewhere(address, path):
    headers = answer(address, "GET", path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["frame-ancestors"] == "'none'" and headers["X-Frame-Options"] == "DENY"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'self'"
    assert not any("*" in value or "http" in value for value in policy.values())
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
def test_what_would_write_is_refused(address, method):
    refused = answer(address, method, "/_stcore/upload_file/session/file", b"--x\r\n" + b"a" * 200_000)
    assert refused.status == 405 and refused.headers["X-Frame-Options"] == "DENY"


def test_an_upload_is_refused_before_it_is_sent(address):
    """60 MB are announced and not a byte of them is given: the answer comes all the same."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    connection.putrequest("PUT", "/_stcore/upload_file/session/file")
    connection.putheader("Content-Length", "60000000")
    connection.endheaders()
    assert connection.getresponse().status == 405


def test_streamlit_itself_would_take_no_file_either():
    """Should the app be started without app/server.py around it."""
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["server"]
    assert settings["maxUploadSize"] == 0 and settings["maxMessageSize"] <= 50


def test_no_page_shows_in_a_frame(address, window):  # noqa: F811
    """Neither in a page of nobody's nor in one from another place; outside a frame the same address shows the page."""
    framing = window.new_page()
    framing.set_content(f"<h1>Win a prize</h1><iframe src='{address}/review?reviewer=Ada' width=900 height=600></iframe>")
    framing.wait_for_timeout(1500)
    assert [frame.url for frame in framing.frames[1:]] == ["chrome-error://chromewebdata/"]
    framing.goto(f"{address}/review?reviewer=Ada")
    settle(framing, "Review")
    framing.close()


@pytest.mark.thorough
def test_the_apps_pages_ask_for_nothing_that_the_policy_forbids(address, window):  # noqa: F811
    """Charts, tables and texts are drawn under it."""
    page = window.new_page()
    complaints, elsewhere = [], []
    page.on("console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None)
    page.on(
        "request", lambda asked: elsewhere.append(asked.url) if not asked.url.startswith((address, "data:", "blob:")) else None
    )
    for view, heading, drawn in (
        ("layers", "Layers", "[data-testid=stVegaLiteChart] svg.marks"),
        ("features", "Features", "[data-testid=stDataFrame] canvas"),
        ("documents", "Documents", ".fs-legend"),
    ):
        page.goto(f"{address}/{view}")
        settle(page, heading)
        page.locator(drawn).first.wait_for()
    page.close()
    assert (complaints, elsewhere) == ([], [])
