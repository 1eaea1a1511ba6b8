"""Whose turn it is where several people share a few places: the one who had least of late goes first. Threads wait here."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

REMEMBERED = 60.0
"""Seconds for which it counts what somebody used."""

MUCH = 5.0
"""Seconds within them after which somebody may not take the last free place: it stays for those who ask for little."""

LOOK = 0.5
"""Seconds after which one who waits looks again, time alone having changed what counts."""


class Busy(Exception):
    """Nobody left a place in time. others: how many were running or waiting before."""

    def __init__(self, others: int) -> None:
        super().__init__(f"{others} others")
        self.others = others


class Turns:
    """A number of places, given out in turn."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._waiting: dict[int, str] = {}
        self._running: list[str] = []
        self._used: list[tuple[float, str, float]] = []  # when it ended, whose it was, seconds

    def others(self) -> int:
        """How many run or wait now."""
        with self._changed:
            return len(self._running) + len(self._waiting)

    @contextmanager
    def turn(self, who: str, patience: float) -> Iterator[None]:
        """A place for somebody, waited for and given back.

        Args:
            who: one visitor; what they used of late decides when it is their turn.
            patience: seconds to wait.

        Raises:
            Busy: no place came free in time.
        """
        with self._changed:
            me = next(self._order)
            self._waiting[me] = who
            try:
                self._wait(me, time.monotonic() + patience)
                self._running.append(who)
            finally:
                del self._waiting[me]
                self._changed.notify_all()
        started = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                now = time.monotonic()
                self._running.remove(who)
                self._used.append((now, who, now - started))
                self._changed.notify_all()

    def _wait(self, me: int, until: float) -> None:
        while not self._is_next(me):
            left = until - time.monotonic()
            if left <= 0:
                raise Busy(len(self._running) + len(self._waiting) - 1)
            self._changed.wait(min(left, LOOK))

    def _is_next(self, me: int) -> bool:
        now = time.monotonic()
        self._used = [used for used in self._used if now - used[0] < REMEMBERED]
        free = self.places - len(self._running)
        allowed = [one for one, who in self._waiting.items() if free > 1 or (free == 1 and self._is_modest(who))]
        return bool(allowed) and me == min(allowed, key=lambda one: (*self._share(self._waiting[one]), one))

    def _is_modest(self, who: str) -> bool:
        """Whether somebody may have the last free place: always where there is only one."""
        places, seconds = self._share(who)
        return self.places == 1 or (places == 0 and seconds < MUCH)

    def _share(self, who: str) -> tuple[int, float]:
        """What somebody has: places now, seconds of late."""
        return self._running.count(who), sum(seconds for _, name, seconds in self._used if name == who)
