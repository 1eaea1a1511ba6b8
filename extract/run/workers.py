"""Several processes for one piece of work: each loads models and text for itself, and takes the tasks it is given.

A task leaves a file, which is the same whichever process made it, so that a store has the same digest for any number of
workers, where each uses as many threads. Here they are processes of this machine, in :mod:`extract.run.ray_engine` of others.
"""

import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

import torch

from extract.config import RunConfig
from extract.corpus.batches import make_shards
from extract.measure.shard import run_shards
from extract.run.inputs import load_inputs, run_context
from extract.run.pilot_pass import read_back
from store.errors import UserError
from store.format.writer import StoreWriter


class ShardWorker:
    """One of several processes; the pilot must be saved.

    Args:
        folder: where the finished store will stand.
        threads: of torch.
        number: counts the workers; where there are several GPUs and none is named, each takes the next one.
    """

    def __init__(self, config: RunConfig, folder: Path, threads: int, number: int) -> None:
        torch.set_num_threads(threads)
        inputs = load_inputs(config, lambda _text: None, device_of(config.device, number), quiet=True)
        self.writer = StoreWriter(folder)
        self.context = run_context(config, inputs, read_back(config, inputs, self.writer), self.writer)
        self.shards = make_shards(inputs.corpus.documents, config.shard_tokens)

    def do(self, task: int) -> None:
        """Extract the shard of a number."""
        run_shards(self.context, [self.shards[task]], self.writer, lambda _tokens: None)


class Worker(Protocol):
    """What a worker process does with the tasks that it is given."""

    def do(self, task: int) -> None:
        """Leave the file of a task."""


_worker: Worker | None = None
"""Of a worker process, made once when it starts."""


def run_in_processes(
    make: Callable[[int, int], Worker], tasks: Mapping[int, int], workers: int, progress: Callable[[int], None]
) -> None:
    """Do tasks in worker processes.

    Args:
        make: (threads of torch, number of the worker) -> it; sent to the processes, which load what they need.
        tasks: number -> its size.
        progress: called with the size of each that is done.

    Raises:
        UserError: a worker found something that the user can mend, or died. What was finished is kept.
        OSError: the disk is full.
    """
    context = process_context()
    numbers = context.Queue()
    for number in range(workers):
        numbers.put(number)
    arguments = (make, threads_each(workers), numbers)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=arguments) as pool:
        futures = {pool.submit(_do, task): size for task, size in tasks.items()}
        try:
            for future in as_completed(futures):
                future.result()
                progress(futures[future])
        except BrokenProcessPool as error:
            raise UserError(
                "A worker process died (out of memory, or killed). What was finished is kept: run the same command again, "
                "with fewer --workers if memory was short."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def process_context() -> multiprocessing.context.BaseContext:
    """How processes are started: forked from one that has only imported everything; where that is unknown, each anew.

    Forked from this one, which has threads and perhaps a GPU, they might hang.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["extract.run.workers"])
    return context


def threads_each(workers: int) -> int:
    """Threads are divided among the workers, or are OMP_NUM_THREADS each where that is set."""
    return int(os.environ.get("OMP_NUM_THREADS") or max(1, torch.get_num_threads() // workers))


def _start(make: Callable[[int, int], Worker], threads: int, numbers: multiprocessing.Queue) -> None:
    global _worker
    _worker = make(threads, numbers.get())


def _do(task: int) -> None:
    _worker.do(task)


def device_of(wanted: str, number: int) -> str:
    """The device of one worker."""
    several = wanted in ("auto", "cuda") and torch.cuda.device_count() > 1
    return f"cuda:{number % torch.cuda.device_count()}" if several else wanted
