"""Several processes for one run: each loads models and corpus for itself, and takes the shards it is given.

The shards' files are the same whichever process made them, so the store has the same digest for any number of workers, where
each uses as many threads. Here they are processes of this machine; on a Ray cluster: :mod:`extract.run.ray_engine`.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from extract.config import RunConfig
from extract.corpus.batches import Shard, make_shards
from extract.measure.shard import run_shards
from extract.pilot import layer_pilot
from extract.run.inputs import load_inputs, plant_variants, run_context
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
        inputs = load_inputs(config, lambda _text: None, _device(config.device, number), quiet=True)
        self.writer = StoreWriter(folder)
        layers = [dictionary.layer for dictionary in inputs.dictionaries]
        fixed = layer_pilot.load(self.writer, layers, list(config.variants))
        plant_variants(inputs.models, inputs.dictionaries, fixed)
        self.context = run_context(config, inputs, fixed, self.writer)
        self.shards = make_shards(inputs.corpus.documents, config.shard_tokens)

    def extract(self, index: int) -> int:
        """Extract a shard; its number, to know by which one is done."""
        run_shards(self.context, [self.shards[index]], self.writer, lambda _tokens: None)
        return index


_worker: ShardWorker | None = None
"""Of a worker process, made once when it starts."""


def run_in_processes(
    config: RunConfig, writer: StoreWriter, shards: Sequence[Shard], workers: int, progress: Callable[[int], None]
) -> None:
    """Extract shards in worker processes; the pilot must be saved.

    Raises:
        UserError: a worker found something that the user can mend, or died. Finished shards are kept.
        OSError: the disk is full.
    """
    context = process_context()
    numbers = context.Queue()
    for number in range(workers):
        numbers.put(number)
    arguments = (config, writer.folder, threads_each(workers), numbers)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=arguments) as pool:
        futures = {pool.submit(_extract, shard.index): shard for shard in shards}
        try:
            for future in as_completed(futures):
                future.result()
                progress(futures[future].n_tokens)
        except BrokenProcessPool as error:
            raise UserError(
                "A worker process died (out of memory, or killed). Finished shards are kept: run the same command again, "
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


def _start(config: RunConfig, folder: Path, threads: int, numbers: multiprocessing.Queue) -> None:
    global _worker
    _worker = ShardWorker(config, folder, threads, numbers.get())


def _extract(index: int) -> int:
    return _worker.extract(index)


def _device(wanted: str, number: int) -> str:
    """The device of one worker."""
    several = wanted in ("auto", "cuda") and torch.cuda.device_count() > 1
    return f"cuda:{number % torch.cuda.device_count()}" if several else wanted
