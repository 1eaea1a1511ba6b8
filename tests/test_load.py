"""Twenty people at once for five minutes: no review is lost, nobody sees an error, and the server's memory stays flat."""

import asyncio
import os
import random
import re
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from playwright.async_api import Page, async_playwright

from store import verify
from store.sidecar import sidecar_path
from tests.support.browser import CHROMIUM, served

pytestmark = [pytest.mark.browser, pytest.mark.long]

SECONDS = float(os.environ.get("FEATURESHIFT_LOAD_SECONDS", "300"))
READERS, REVIEWERS = 14, 6
GROWTH = 1.15  # of memory, after everybody has seen every page
PATIENCE = 60_000  # ms, on two cores that Chromium shares with the server
PAGES = {
    "": "Overview", "layers": "Layers", "features?variant=maths": "Features", "compare": "Across variants",
    "feature?layer=12&feature=1&variant=maths": "Feature", "suppressed?variant=maths": "Suppressed features",
    "documents": "Documents",
}  # fmt: skip


def judgements(store: Path) -> Counter[str]:
    """Reviewer -> rows that stand in the sidecar."""
    path = sidecar_path(store)
    if not path.is_file():
        return Counter()
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        return Counter(dict(connection.execute("SELECT reviewer, count(*) FROM reviews GROUP BY reviewer").fetchall()))


async def settled(page: Page, heading: str) -> None:
    await page.get_by_role("heading", name=heading, exact=True, level=2).wait_for(timeout=PATIENCE)
    await page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')", timeout=PATIENCE)
    assert await page.locator("[data-testid=stException], [data-testid=stAlertContentError]").count() == 0


async def read(page: Page, address: str, number: int, until: float) -> int:
    """Page after page; how many."""
    draw, seen = random.Random(number), 0
    while time.monotonic() < until:
        path = draw.choice(list(PAGES))
        await page.goto(f"{address}/{path}", timeout=PATIENCE)
        await settled(page, PAGES[path])
        seen += 1
    return seen


async def review(page: Page, address: str, store: Path, name: str, until: float) -> int:
    """Verdict after verdict by keyboard, each on the next feature; how many were given.

    A key does nothing before its button is there, which on a busy machine is long after the heading.
    """
    benign = page.get_by_role("button", name=re.compile("Benign"))
    await page.goto(f"{address}/review?variant=maths&layer=12&list=shifted&reviewer={name}", timeout=PATIENCE)
    await settled(page, "Review")
    given = 0
    while time.monotonic() < until:
        await benign.wait_for(timeout=PATIENCE)
        await page.keyboard.press("123"[given % 3])
        given += 1
        deadline = time.monotonic() + PATIENCE / 1000
        while judgements(store)[name] < given:
            assert time.monotonic() < deadline, f"{name}'s verdict number {given} was not written"
            await asyncio.sleep(0.2)
        await settled(page, "Review")
    return given


async def everybody(address: str, store: Path, memory: psutil.Process) -> tuple[list[int], dict[str, int], list[int]]:
    """(pages of each reader, verdicts of each reviewer, the server's memory now and then)."""
    names = [f"reviewer-{number}" for number in range(REVIEWERS)]
    async with async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        pages = [await (await browser.new_context()).new_page() for _ in range(READERS + REVIEWERS)]
        until = time.monotonic() + SECONDS

        async def watch() -> list[int]:
            found = []
            while time.monotonic() < until:
                await asyncio.sleep(min(5.0, SECONDS / 20))
                found.append(memory.memory_info().rss)
            return found

        readers = [read(page, address, number, until) for number, page in enumerate(pages[:READERS])]
        reviewers = [review(page, address, store, name, until) for page, name in zip(pages[READERS:], names, strict=True)]
        *done, sizes = await asyncio.gather(*readers, *reviewers, watch())
        await browser.close()
    return done[:READERS], dict(zip(names, done[READERS:], strict=True)), sizes


def test_twenty_people_at_once(tiny_store, tmp_path, capsys):
    store = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    log = tmp_path / "log"
    with served(store, log) as address:
        port = address.rpartition(":")[2]
        (server,) = [child for child in psutil.Process().children() if port in child.cmdline()]
        seen, given, sizes = asyncio.run(everybody(address, store, server))
    with capsys.disabled():
        print(
            f"\n{sum(seen)} pages, {sum(given.values())} verdicts in {SECONDS:.0f} s; memory after a third "
            f"{sizes[len(sizes) // 3] / 1e6:.0f} MB, at most {max(sizes) / 1e6:.0f}, at the end {sizes[-1] / 1e6:.0f}"
        )
    assert min(seen) > 0 and min(given.values()) > 0
    assert judgements(store) == given
    assert verify(store) == []
    said = log.read_text(encoding="utf-8")
    assert not re.search(r"Traceback|locked|Error", said), said[-3000:]
    assert max(sizes[len(sizes) // 3 :]) < GROWTH * sizes[len(sizes) // 3]
