"""Real runs of a bench: the store of some variants, made in a temporary folder and gone afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from extract.config import RunConfig
from extract.config_sections import VariantConfig
from extract.run import pipeline
from store import open_store
from store.names import DEFAULT_CONTROLS
from store.read.store import Store

UNUSED = {
    "promoted_tokens": 0, "neighbours": 0, "spectrum": 0, "contexts": 1, "neutral_domains": [], "replicas": [], "token_kl": 0,
    "answers": None,
}  # fmt: skip
"""What no bench reads."""
BESIDE = {"twins": 2, "controls": list(DEFAULT_CONTROLS)}
"""What stands beside a variant, unless a bench asks for less."""


@contextmanager
def bench_store(config: RunConfig, variants: Mapping[str, VariantConfig], **changes: object) -> Iterator[Store]:
    """The store of a configuration with other variants; ``changes`` replace further fields."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / "store"
        of_bench = config.model_copy(update=UNUSED | BESIDE | {"variants": dict(variants)} | changes)
        pipeline.run(of_bench, place, say=lambda _: None)
        with open_store(place) as store:
            yield store
