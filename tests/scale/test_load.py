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

import numpy as np
import psutil
import pytest

from store import verify
from store.sidecar.entries import sidecar_path
from tests.support.browser import served
from tests.support.session import Session, visitor

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("FEATURESHIFT_LOAD_SECONDS", "300"))
READERS, REVIEWERS = 14, 6
GROWTH = 1.15  # of memory, after everybody has seen every page
THOUGHT = (1.0, 5.0)  # seconds that somebody looks at a page before the next
PAGES = {
    "": ("Overview", ""), "layers": ("Layers", ""), "features": ("Features", "variant=maths"),
    "compare": ("Across variants", ""), "feature": ("Feature", "layer=12&feature=1&variant=maths"),
    "suppressed": ("Suppressed features", "variant=maths"), "documents": ("Documents", ""),
    "words": ("Words", ""), "query": ("Query", ""), "about": ("About this store", ""),
}  # fmt: skip


def judgements(store: Path) -> Counter[str]:
    """Reviewer -> rows that stand in the sidecar."""
    path = sidecar_path(store)
    if not path.is_file():
        return Counter()
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        if not connection.execute("PRAGMA user_version").fetchone()[0]:  # it is being made
            return Counter()
        return Counter(dict(connection.execute("SELECT reviewer, count(*) FROM reviews GROUP BY reviewer").fetchall()))


async def read(session: Session, number: int, until: float) -> list[float]:
    """Page after page, each looked at for a moment; seconds of each."""
    draw, taken = random.Random(number), []
    while time.monotonic() < until:
        await asyncio.sleep(draw.uniform(*THOUGHT))
        page = draw.choice(list(PAGES))
        heading, query = PAGES[page]
        start = time.monotonic()
        await session.visit(page, query)
        taken.append(time.monotonic() - start)
        assert (session.headings[:1], session.complaints) == ([heading], []), page
    return taken


async def review(session: Session, store: Path, name: str, until: float) -> int:
    """Verdict after verdict, each looked up on the disk; how many were given."""
    draw, given = random.Random(name), 0
    await session.visit("review", f"variant=maths&layer=12&list=shifted&reviewer={name}")
    while time.monotonic() < until:
        await asyncio.sleep(draw.uniform(*THOUGHT) / 4)
        label = ("⚑ Concern", "✓ Benign", "? Unclear")[given % 3]
        await session.press(label)
        given += 1
        assert (session.headings[:1], session.complaints) == (["Review"], [])
        assert judgements(store)[name] == given, f"{name}'s verdict number {given} was not written"
    return given


async def watch(memory: psutil.Process, until: float) -> list[int]:
    """The server's memory now and then, bytes."""
    found = []
    while time.monotonic() < until:
        await asyncio.sleep(min(5.0, SECONDS / 20))
        found.append(memory.memory_info().rss)
    return found


async def everybody(address: str, store: Path, memory: psutil.Process) -> tuple[list[list[float]], dict[str, int], list[int]]:
    """(seconds of each reader's pages, verdicts of each reviewer, the server's memory now and then)."""
    names = [f"reviewer-{number}" for number in range(REVIEWERS)]
    until = time.monotonic() + SECONDS

    async def reader(number: int) -> list[float]:
        async with visitor(address) as session:
            return await read(session, number, until)

    async def reviewer(name: str) -> int:
        async with visitor(address) as session:
            return await review(session, store, name, until)

    *done, sizes = await asyncio.gather(*map(reader, range(READERS)), *map(reviewer, names), watch(memory, until))
    return done[:READERS], dict(zip(names, done[READERS:], strict=True)), sizes


def test_twenty_people_at_once(tiny_store, tmp_path, capsys):
    store = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    log = tmp_path / "log"
    with served(store, log) as address:
        port = address.rpartition(":")[2]
        (server,) = [child for child in psutil.Process().children() if port in child.cmdline()]
        seen, given, sizes = asyncio.run(everybody(address, store, server))
    taken = np.concatenate(seen)
    third = sizes[len(sizes) // 3]
    with capsys.disabled():
        print(
            f"\n{len(taken)} pages, median {np.median(taken):.2f} s, p95 {np.quantile(taken, 0.95):.2f}; {sum(given.values())} "
            f"verdicts in {SECONDS:.0f} s; memory after a third {third / 1e6:.0f} MB, at most {max(sizes) / 1e6:.0f}"
        )
    assert min(map(len, seen)) > 0 and min(given.values()) > 0
    assert judgements(store) == given
    assert verify(store) == []
    said = log.read_text(encoding="utf-8")
    assert not re.search(r"Traceback|locked|Error", said), said[-3000:]
    assert max(sizes[len(sizes) // 3 :]) < GROWTH * third
