"""The unit of work: one shard of whole documents through all models, to one HDF5 part and one file of sums.

A shard is done when its sums are in place: the part is written before them, and both appear whole, by renaming.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from extract.corpus.batches import Shard
from extract.corpus.token_index import Places
from extract.measure import sums_file as sums
from extract.measure.comparison import Taker, rooms
from extract.measure.run_context import RunContext
from extract.measure.shard_layer import ContextRanker, ShardLayer
from extract.models.batch_reader import read_batches
from extract.pilot.controls import is_rerun
from extract.saes.codes import SparseCodes
from store.format.codes import Codes, LayerCodes
from store.format.writer import StoreWriter


def run_shards(
    context: RunContext, shards: Sequence[Shard], writer: StoreWriter, progress: Callable[[int], None]
) -> None:
    """Extract shards in turn; each is summed up and written, mostly on one core, while the next one is read.

    Raises:
        UserError: activations that are not finite, or codes that cannot be stored.
        OSError: the disk is full.
    """
    with ThreadPoolExecutor(1) as pool:
        before: Future | None = None
        for shard in shards:
            layers = read_shard(context, shard, writer.work, progress)
            if before is not None:
                before.result()
            before = pool.submit(write_shard, context, shard, layers, writer)
        if before is not None:
            before.result()


def read_shard(
    context: RunContext, shard: Shard, scratch: Path, progress: Callable[[int], None]
) -> dict[int, ShardLayer]:
    """Run the models over the shard, and let each layer take what it needs of every batch.

    Args:
        scratch: folder for what waits, :func:`extract.models.batch_reader.read_batches`.
    """
    config = context.config
    places = Places.of(shard, context.domains, context.window_tokens)
    again = is_rerun(places).numpy() if "rerun" in config.controls else np.zeros(shard.n_tokens, dtype=bool)
    layers = {
        dictionary.layer: ShardLayer(context, shard, dictionary, places) for dictionary in context.dictionaries
    }
    taker = Taker(context, layers, rooms(context))
    for batch in read_batches(context.reader, context.batches(shard), again, context.layers, scratch):
        taker.take(batch)
        progress(len(batch.rows))
    taker.finish()
    return layers


def write_shard(context: RunContext, shard: Shard, layers: dict[int, ShardLayer], writer: StoreWriter) -> None:
    """Write what was read of a shard: its part, then its sums."""
    places = Places.of(shard, context.domains, context.window_tokens)
    arrays: dict[str, np.ndarray] = {}
    kept: dict[int, LayerCodes] = {}
    contexts = ContextRanker(context, shard, places)
    replicas = {replica.layer: replica for replica in context.replicas}
    for dictionary in context.dictionaries:
        layer = dictionary.layer
        here = layers.pop(layer)
        codes = here.codes()
        arrays |= here.sums(codes, contexts)
        if layer in replicas:
            arrays |= here.replica_sums(replicas[layer])
        kept[layer] = LayerCodes(
            dictionary.d_sae,
            context.pilots[layer].code_scale,
            here.counted.numpy(),
            {name: _to_store(code) for name, code in codes.items()},
        )
    writer.write_part(shard.index, kept)
    sums.save(writer, shard, context.seal, arrays)


def _to_store(codes: SparseCodes) -> Codes:
    indptr = np.zeros(codes.n_rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(codes.row.numpy(), minlength=codes.n_rows), out=indptr[1:])
    return Codes(indptr, codes.feature.numpy(), codes.value.numpy())
