"""The unit of work: one shard of whole documents through all models, to one HDF5 part and one file of sums.

A shard is done when its sums are in place: the part is written before them, and both appear whole, by renaming.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from extract.corpus.batches import Shard
from extract.corpus.token_index import TokenIndex
from extract.measure import sums_file
from extract.measure.comparison import LayerComparison, initial_capacity
from extract.measure.run_context import RunContext
from extract.measure.shard_layer import ShardLayer
from extract.measure.top_contexts import ContextRanker
from extract.models.batch_reader import read_batches
from extract.pilot.controls import is_rerun
from extract.saes.codes import SparseCodes
from store.format.codes import Codes, LayerCodes
from store.format.writer import StoreWriter


def run_shards(context: RunContext, shards: Sequence[Shard], writer: StoreWriter, progress: Callable[[int], None]) -> None:
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


def read_shard(context: RunContext, shard: Shard, scratch: Path, progress: Callable[[int], None]) -> dict[int, ShardLayer]:
    """Run the models over the shard, and add what each batch gives to each layer.

    Args:
        scratch: folder for what waits, :func:`extract.models.batch_reader.read_batches`.
    """
    config = context.config
    token_index = TokenIndex.of(shard, context.domains, context.window_tokens)
    again = is_rerun(token_index).numpy() if "rerun" in config.controls else np.zeros(shard.n_tokens, dtype=bool)
    layers = {dictionary.layer: ShardLayer(context, shard, dictionary, token_index) for dictionary in context.dictionaries}
    comparison = LayerComparison(context, layers, initial_capacity(context))
    for batch in read_batches(context.reader, context.batches(shard), again, context.sites, scratch):
        comparison.add(batch)
        progress(len(batch.rows))
    comparison.finish()
    return layers


def write_shard(context: RunContext, shard: Shard, layers: dict[int, ShardLayer], writer: StoreWriter) -> None:
    """Write what was read of a shard: its part, then its sums."""
    token_index = TokenIndex.of(shard, context.domains, context.window_tokens)
    arrays: dict[str, np.ndarray] = {}
    part: dict[int, LayerCodes] = {}
    contexts = ContextRanker(context, shard, token_index)
    replicas = {replica.layer: replica for replica in context.replicas}
    for dictionary in context.dictionaries:
        layer = dictionary.layer
        shard_layer = layers.pop(layer)
        codes = shard_layer.codes()
        arrays |= shard_layer.sums(codes, contexts)
        if layer in replicas:
            arrays |= shard_layer.replica_sums(replicas[layer])
        part[layer] = LayerCodes(
            dictionary.d_sae,
            context.pilots[layer].code_scale,
            shard_layer.counted.numpy(),
            {name: _to_store(code) for name, code in codes.items()},
        )
    writer.write_part(shard.index, part)
    sums_file.save(writer, shard, context.seal, arrays)


def _to_store(codes: SparseCodes) -> Codes:
    indptr = np.zeros(codes.n_rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(codes.row.numpy(), minlength=codes.n_rows), out=indptr[1:])
    return Codes(indptr, codes.feature.numpy(), codes.value.numpy())
