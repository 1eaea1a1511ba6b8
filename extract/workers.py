"""Several processes on one machine: each loads models and corpus for itself, and takes the shards it is given.

The shards' files are the same whoever made them, so the store has the same digest for any number of workers, as long as each
uses as many threads.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from extract import pilot as pilots
from extract.batches import Shard, make_shards
from extract.config import RunConfig
from extract.context import RunContext
from extract.inputs import load_inputs, plant_variants, run_context
from extract.shards import run_shards
from store.errors import UserError
from store.writer import StoreWriter

_state: tuple[RunContext, list[Shard], StoreWriter] | None = None
"""Of a worker process, set once when it starts."""


def run_in_processes(
    config: RunConfig, writer: StoreWriter, shards: Sequence[Shard], workers: int, progress: Callable[[int], None]
) -> None:
    """Extract shards in worker processes; the pilot must be saved.

    Threads are divided among the workers, or are OMP_NUM_THREADS each where that is set. On several GPUs each worker takes
    the next one.

    Raises:
        UserError: a worker found something that the user can mend, or died. Finished shards are kept.
        OSError: the disk is full.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, torch.get_num_threads() // workers))
    spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
    numbers = spawn.Queue()
    for number in range(workers):
        numbers.put(number)
    arguments = (config, writer.folder, threads, numbers)
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start, initargs=arguments) as pool:
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


def _start(config: RunConfig, folder: Path, threads: int, numbers: multiprocessing.Queue) -> None:
    global _state
    torch.set_num_threads(threads)
    inputs = load_inputs(config, lambda _text: None, _device(config.device, numbers.get()), quiet=True)
    writer = StoreWriter(folder)
    layers = [dictionary.layer for dictionary in inputs.dictionaries]
    fixed = pilots.load(writer, layers, list(config.variants))
    plant_variants(inputs.models, inputs.dictionaries, fixed)
    _state = run_context(config, inputs, fixed, writer), make_shards(inputs.corpus.documents, config.shard_tokens), writer


def _extract(index: int) -> None:
    context, shards, writer = _state
    run_shards(context, [shards[index]], writer, lambda _tokens: None)


def _device(wanted: str, number: int) -> str:
    """The device of one worker: where there are several GPUs and none is named, the next one."""
    several = wanted in ("auto", "cuda") and torch.cuda.device_count() > 1
    return f"cuda:{number % torch.cuda.device_count()}" if several else wanted
