"""``bench``: what an extraction costs beside the bare passes that no extractor can do without.

Everything is measured in one run on the same documents, each stage in a process of its own, so that its peak of memory is its
own too: the bare passes (truncated forward passes of base, variants and twins; encoding alone; sparse decoding for fvu), then
the whole extraction without twins and controls, and with both.
"""

import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import torch

from extract import ROOT
from extract.bench.page import Row
from extract.config import RunConfig
from extract.corpus.batches import Batch, make_batches, make_shards
from extract.models.hooks import capture_activations, run_truncated
from extract.progress import Phases, progress_bar
from extract.run import pipeline
from extract.run.inputs import Inputs, load_inputs
from extract.run.workers import process_context
from extract.saes.dictionary_set import sites_of
from store import open_store
from store.format.manifest import DATABASE_FILE, Manifest
from store.names import BASE, DEFAULT_CONTROLS

PAGE = ROOT / "docs" / "bench.md"
LIMIT = 1.2
"""Of the bare passes, that a run's shards may take."""
CODE_BYTES, FEATURE_BYTES, PADDING = 6.0, 200.0, 0.05
TWINS = 2
"""Of each variant."""


@dataclass(frozen=True)
class Bare:
    """The bare passes: seconds of each, over all tokens.

    Attributes:
        forward: model -> seconds of its truncated forward passes; twins too.
        twins: which of the models are twins.
        encode: seconds of ``sae.encode``, all models and layers.
        decode: seconds of compaction and of float64 reconstruction from the sparse codes, all models and layers.
        n_tokens: document tokens.
        padding: share of the batches' positions that are padding.
        memory: peak of the process, bytes; of the GPU where it runs on one.
    """

    forward: dict[str, float]
    twins: Sequence[str]
    encode: float
    decode: float
    n_tokens: int
    padding: float
    memory: int

    def limit(self, twins: bool) -> float:
        """Seconds of forward passes and encodings together; of base and variants, or of their twins too."""
        models = [name for name in self.forward if twins or name not in self.twins]
        return sum(self.forward[name] for name in models) + self.encode * len(models) / len(self.forward)


@dataclass(frozen=True)
class Whole:
    """One whole extraction.

    Attributes:
        phases: phase -> seconds, :class:`extract.progress.Phases`.
        memory: as of :class:`Bare`.
        code_bytes: of the parts, for each non-zero code.
        feature_bytes: of the table feature_stats, for each feature x variant x layer of the dictionaries.
        database_bytes: of the whole database, for the same.
    """

    phases: dict[str, float]
    memory: int
    code_bytes: float
    feature_bytes: float
    database_bytes: float


def run(config: RunConfig, say: Callable[[str], None] = print) -> dict[str, list[Row]]:
    """Measure; see the module's text.

    Raises:
        UserError: something about the configuration's input that the user can mend.
    """
    say("Bare passes")
    whole = config.model_copy(update={"controls": list(DEFAULT_CONTROLS), "twins": TWINS})
    bare = _alone(_measure_bare, whole)
    say("Extraction without twins and controls")
    off = _alone(_measure_whole, config.model_copy(update={"controls": [], "twins": 0}))
    say("Extraction with twins and the usual controls")
    return rows(bare, off, _alone(_measure_whole, whole))


def machine() -> str:
    """In words, what the numbers were measured on."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] \
        if cpuinfo.is_file() else []  # fmt: skip
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores of {name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def rows(bare: Bare, off: Whole, on: Whole) -> dict[str, list[Row]]:
    """What was measured, beside what was asked for."""
    n, n_models = bare.n_tokens, len(bare.forward)
    variants = [seconds for name, seconds in bare.forward.items() if name != BASE and name not in bare.twins]
    twins = [bare.forward[name] for name in bare.twins]
    plain, with_twins = bare.limit(twins=False), bare.limit(twins=True)
    steady, steady_on = off.phases["shards"], on.phases["shards"]
    bare_rows = [
        _told("truncated forward, base, ms a token", 1e3 * bare.forward[BASE] / n),
        _told(f"truncated forward, a variant (mean of {len(variants)}), ms a token", 1e3 * sum(variants) / len(variants) / n),
        _told(f"truncated forward, a twin (mean of {len(twins)}), ms a token", 1e3 * sum(twins) / max(1, len(twins)) / n),
        _told(f"encoding alone, all {n_models} models, ms a token", 1e3 * bare.encode / n),
        _told("compaction and sparse decoding (in no limit), ms a token", 1e3 * bare.decode / n),
        _told("the limit of base and variants: forward passes and encoding, ms a token", 1e3 * plain / n),
        _told("the limit with twins, ms a token", 1e3 * with_twins / n),
        _at_most("share of padding in the batches", bare.padding, PADDING),
        _told("peak memory, GB", bare.memory / 1e9),
    ]
    off_rows = [
        _told("shards, ms a token", 1e3 * steady / n),
        _told("shards, tokens a second", n / steady),
        _at_most("shards / the limit, which delphi's cache of one model takes 1.15 to 1.28 of", steady / plain, LIMIT),
        *_phase_rows(off, plain),
    ]
    on_rows = [
        _told("shards, ms a token", 1e3 * steady_on / n),
        _told("shards, tokens a second", n / steady_on),
        _at_most("shards / the limit with twins", steady_on / with_twins, LIMIT),
        *_phase_rows(on, with_twins),
    ]
    disk = [
        _at_most("codes, both indexes, bytes a non-zero (delphi's cache: 9)", off.code_bytes, CODE_BYTES),
        _at_most("feature_stats, bytes a feature x variant, with twins", on.feature_bytes, FEATURE_BYTES),
        _told("the whole database, contexts and tokens too, bytes a feature x variant", on.database_bytes),
    ]
    return {
        f"Bare passes, {n:,} tokens": bare_rows,
        "The extraction, no twins, no controls": off_rows,
        "The extraction, two twins and the usual controls": on_rows,
        "Disk": disk,
    }


def _phase_rows(whole: Whole, limit: float) -> list[Row]:
    """What a run takes beside its shards, most of which does not grow with its tokens."""
    told = [_told(f"{name}, s", seconds) for name, seconds in whole.phases.items() if name != "shards"]
    beside = ("loading", "output tokens")
    counted = sum(seconds for name, seconds in whole.phases.items() if name not in beside)
    return [
        *told,
        _told(f"all but {' and '.join(beside)}, which know nothing of the tokens / the limit", counted / limit),
        _told("peak memory, GB", whole.memory / 1e9),
    ]


def _told(name: str, value: float) -> Row:
    return Row(name, float(value), "", None)


def _at_most(name: str, value: float, limit: float) -> Row:
    return Row(name, float(value), f"at most {limit:g}", bool(value <= limit))


def _alone(measure: Callable, config: RunConfig):
    """Its result from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=process_context()) as pool:
        return pool.submit(measure, config).result()


def _measure_bare(config: RunConfig) -> Bare:
    inputs = load_inputs(config, lambda _text: None)
    sites = sites_of(inputs.dictionaries)
    watch = _Stopwatch(inputs.models.device)
    positions = used = 0
    batches = list(_batches(config, inputs))
    with progress_bar(len(batches), "bare passes", "batch") as bar, torch.inference_mode():
        for number, batch in enumerate([batches[0], *batches]):
            if number == 1:  # the first one was only to warm up
                watch.seconds.clear()
            input_ids = torch.from_numpy(batch.input_ids).to(inputs.models.device)
            mask = torch.from_numpy(batch.attention_mask).to(inputs.models.device)
            kept = torch.from_numpy(batch.rows >= 0).to(inputs.models.device)
            for name in (*inputs.models.names, *inputs.models.twins):
                with (
                    watch.time(name),
                    inputs.models.active(name, input_ids) as model,
                    capture_activations(model, sites) as found,
                ):
                    run_truncated(model, input_ids, mask)
                for dictionary in inputs.dictionaries:
                    residuals = dictionary.prepare(found[dictionary.reads][kept].float(), dictionary.reads)
                    with watch.time("encode"):
                        dictionary.sae.encode(residuals)
                    with watch.time("encode, compact and decode"):
                        dictionary.encode(residuals)
            if number:
                positions += mask.numel()
                used += int(mask.sum())
                bar.update(1)
    seconds = watch.seconds
    return Bare(
        {name: seconds[name] for name in (*inputs.models.names, *inputs.models.twins)},
        inputs.models.twins,
        seconds["encode"],
        max(0.0, seconds["encode, compact and decode"] - seconds["encode"]),
        inputs.corpus.n_tokens,
        1 - used / positions,
        _peak_memory(),
    )


def _batches(config: RunConfig, inputs: Inputs) -> Iterator[Batch]:
    for shard in make_shards(inputs.corpus.documents, config.shard_tokens):
        yield from make_batches(shard, config.context_length, config.batch_tokens, inputs.bos, inputs.pad)


def _measure_whole(config: RunConfig) -> Whole:
    phases = Phases()
    with tempfile.TemporaryDirectory(prefix="featureshift-bench-") as folder:
        out = Path(folder) / "store"
        manifest = pipeline.run(config, out, lambda _text: None, phases=phases)
        return Whole(dict(phases), _peak_memory(), *_bytes(out, manifest))


def _bytes(out: Path, manifest: Manifest) -> tuple[float, float, float]:
    """Bytes a non-zero of the parts; of feature_stats and of the whole database a feature x variant."""
    parts = [out / name for name in manifest.files if name.endswith(".h5")]
    non_zeros = sum(map(_non_zeros, parts))
    with open_store(out) as store:
        pairs = store.sql("SELECT sum(d_sae) AS n FROM layers")["n"][0] * len(store.variants)
        blocks = store.sql(
            "SELECT count(DISTINCT block_id) AS n FROM pragma_storage_info('feature_stats') WHERE block_id >= 0"
        )["n"][0]
        block_size = store.sql("SELECT block_size FROM pragma_database_size() LIMIT 1")["block_size"][0]
    database = manifest.files[DATABASE_FILE]["bytes"]
    return sum(path.stat().st_size for path in parts) / non_zeros, blocks * block_size / pairs, database / pairs


def _non_zeros(part: Path) -> int:
    """Codes that a part holds, of all models and layers; each stands in it twice."""
    count = 0

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        nonlocal count
        if name.endswith("by_token/value"):
            count += item.shape[0]

    with h5py.File(part, "r") as file:
        file.visititems(add)
    return count


class _Stopwatch:
    """Seconds by name; on a GPU each span waits for what was begun in it."""

    def __init__(self, device: str) -> None:
        self.seconds: dict[str, float] = {}
        self._wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def _peak_memory() -> int:
    """Bytes: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
