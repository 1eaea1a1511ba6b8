"""Runs of the command line in processes of their own, which a test can kill: quick to start, since torch is loaded once."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["extract.run.pipeline"])


def start(*arguments: object, log: Path, before: Callable[[], None] | None = None) -> multiprocessing.Process:
    """``python -m extract ARGUMENTS``, begun; what it says goes to ``log``.

    Args:
        before: called in that process first.
    """
    process = _CONTEXT.Process(target=_run, args=([str(argument) for argument in arguments], log, before))
    process.start()
    return process


def finish(*arguments: object, log: Path) -> None:
    """The same, to its end, which must be a good one."""
    process = start(*arguments, log=log)
    process.join()
    assert process.exitcode == 0, log.read_text(encoding="utf-8")


def _run(arguments: list[str], log: Path, before: Callable[[], None] | None) -> None:
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import torch

    from extract.__main__ import main

    torch.set_num_threads(1)
    if before is not None:
        before()
    raise SystemExit(main(arguments))


def in_a_process(function: Callable, *arguments: object) -> object:
    """What a function of a module returns in a process of its own, which it may leave as it likes."""
    with ProcessPoolExecutor(1, mp_context=_CONTEXT) as pool:
        return pool.submit(function, *arguments).result()
