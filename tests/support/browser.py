"""The app in a real Chromium: a server, a window, pages, and waiting for them."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.support import ROOT

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"


@contextmanager
def served(store: Path, log: Path) -> Iterator[str]:
    """The app's address, served from a subprocess on a free port.

    Args:
        log: file that Streamlit writes to.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.port", str(port), "--server.headless", "true"]
    with log.open("w") as output:
        process = subprocess.Popen([*command, "--", str(store)], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(address, process, log)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_up(address, process, log):
    for _ in range(150):
        if process.poll() is not None:
            pytest.fail(f"Streamlit stopped: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).read()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"Streamlit did not start within 30 s: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def browser():
    if not Path(CHROMIUM).exists():
        reason = "needs Chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def window(browser):
    """One browser window of 1440 x 900, so that its pages load Streamlit's scripts once."""
    return browser.new_context(viewport={"width": 1440, "height": 900})


@pytest.fixture
def page(window):
    """A fresh page; what its scripts complain of fails the test, and so does any dialog."""
    opened = window.new_page()
    complaints = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    yield opened
    opened.close()
    assert complaints == []


def settle(page, heading):
    """Wait until the page has its heading and has finished running."""
    page.get_by_role("heading", name=heading, exact=True, level=2).wait_for()
    page.wait_for_function("() => document.querySelector('[data-test-script-state=notRunning]')")
    page.wait_for_function("() => !document.querySelector('[data-stale=true]')")


def visit(page, address, heading):
    page.goto(address)
    settle(page, heading)


def click_row(page, row, table=0):
    """Click into the first column of a row of a table, which is drawn on a canvas."""
    place = page.locator("[data-testid=stDataFrame]").nth(table)
    place.scroll_into_view_if_needed()
    place.locator("canvas").first.wait_for()
    page.wait_for_timeout(400)
    box = place.bounding_box()
    page.mouse.click(box["x"] + 70, box["y"] + 35 * (row + 1) + 17)
