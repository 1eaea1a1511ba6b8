"""How much slower this machine is at the moment than the one that time limits were agreed on, when nothing else ran on it.

A limit in seconds says something about the program only on a machine that is as fast as agreed: other guests of one host made
the same pages of the same commit take 0.2 s one week and 0.45 s the next. So times are told in seconds of an unburdened core.
"""

import json
import time
from collections.abc import Callable

UNBURDENED = 0.0141
"""Seconds of :func:`_work` on one of two cores of a 2.4 GHz EPYC: the best hundredth of 2,900 tries over a minute, whose
median was 0.0196 though nothing else ran on that machine."""
_TEXT = json.dumps([{"layer": n, "values": [n / 7, n / 11], "name": f"feature {n}"} for n in range(4000)])


def _work() -> float:
    """What the app does most, without the app: text to objects, objects to text."""
    start = time.perf_counter()
    json.dumps(json.loads(_TEXT))
    return time.perf_counter() - start


def slowness() -> float:
    """At least 1."""
    return max(1.0, sorted(_work() for _ in range(9))[4] / UNBURDENED)


def agreed_seconds(action: Callable[[], object]) -> float:
    """What an action takes, in seconds of an unburdened core."""
    before = slowness()
    start = time.perf_counter()
    action()
    taken = time.perf_counter() - start
    return taken / ((before + slowness()) / 2)
