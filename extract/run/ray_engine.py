"""``--engine ray``: the shards of a run on a Ray cluster, by actors that each load models and corpus once.

All nodes must see this folder, the configuration's inputs and the output at the same paths (a shared file system), since what
a shard leaves is files. A worker that dies is started again, and the shard that it had is given out again.
"""

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from extract import ROOT
from extract.config import RunConfig
from extract.corpus.batches import Shard
from extract.run.workers import ShardWorker, threads_each
from store.errors import UserError, first_line
from store.format.writer import StoreWriter

RESTARTS = 3
"""A worker may die so many times before the run is given up."""


def run_on_ray(
    config: RunConfig, writer: StoreWriter, shards: Sequence[Shard], workers: int, progress: Callable[[int], None]
) -> None:
    """Extract shards on the cluster at $RAY_ADDRESS, or on one that is started on this machine; the pilot must be saved.

    Each worker asks for one GPU where the cluster has any.

    Raises:
        UserError: Ray is not installed or there is no such cluster; a worker found something that the user can mend, or died
            too often. Finished shards are kept.
        OSError: the disk is full.
    """
    ray = _connect()
    try:
        # Shares of what there is, so that every worker finds a place; a worker with a GPU of its own sees no other.
        share = {name: min(1.0, ray.cluster_resources().get(name, 0) / workers) for name in ("CPU", "GPU")}
        options = {"max_restarts": RESTARTS, "max_task_retries": RESTARTS, "num_cpus": share["CPU"], "num_gpus": share["GPU"]}
        remote = ray.remote(**options)(_Actor)
        actors = [remote.remote(config, writer.folder, threads_each(workers)) for _ in range(workers)]
        sizes = {shard.index: shard.n_tokens for shard in shards}
        pool = ray.util.ActorPool(actors)
        for done in pool.map_unordered(lambda actor, index: actor.extract.remote(index), list(sizes)):
            progress(sizes[done])
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError | OSError):
            raise error.cause from error
        raise
    except ray.exceptions.RayActorError as error:
        raise UserError(
            f"A Ray worker died {RESTARTS + 1} times (out of memory, or killed: {first_line(error)}). Finished shards are "
            "kept: run the same command again, with fewer --workers if memory was short."
        ) from error
    finally:
        ray.shutdown()


class _Actor:
    """A worker that loads everything with its first shard: what is wrong then comes back as that shard's error."""

    def __init__(self, config: RunConfig, folder: Path, threads: int) -> None:
        self._arguments = config, folder, threads
        self._worker: ShardWorker | None = None

    def extract(self, index: int) -> int:
        self._worker = self._worker or ShardWorker(*self._arguments, number=0)
        self._worker.do(index)
        return index


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes and then ends the program."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # 'auto', say
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"There is no Ray cluster at '{address}' ({error}); check RAY_ADDRESS.") from error


def _connect():
    """The ray module, connected."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.util
    except ImportError as error:
        raise UserError("--engine ray needs Ray: pip install -r requirements-ray.txt.") from error
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _check_reachable(address)
    try:
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="error",
            runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"at '{address}'" if address else "to be started here"
        raise UserError(f"There is no Ray cluster {where} ({first_line(error)}); check RAY_ADDRESS.") from error
    if torch.cuda.is_available() and not ray.cluster_resources().get("GPU"):
        ray.shutdown()
        raise UserError("This machine has a GPU, the Ray cluster offers none; start it with --num-gpus, or use --engine local.")
    return ray
