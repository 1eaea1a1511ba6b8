"""What every shard of a run shares."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from extract.config import RunConfig
from extract.corpus.batches import Batch, Shard, make_batches
from extract.models.model_set import ModelSet
from extract.models.residuals import ResidualReader
from extract.models.sites import Site
from extract.pilot.layer_pilot import LayerPilot
from extract.pilot.twin_sizes import TwinSize
from extract.saes.dictionary import Dictionary
from extract.saes.dictionary_set import sites_of


@dataclass(frozen=True)
class RunContext:
    """What every shard of a run shares.

    Attributes:
        reader: what residuals are read with.
        twin_sizes: a twin's name among the models -> how large the pilot made it.
        bos: token id put before each context window, or None.
        pad: token id for padding.
        replicas: second dictionaries of some of the layers.
        domains: sorted labels; a domain's number is its place here.
        seal: names what the run reads and what its pilot fixed; the files that it resumes from carry it.
    """

    config: RunConfig
    models: ModelSet
    reader: ResidualReader
    dictionaries: list[Dictionary]
    replicas: list[Dictionary]
    pilots: Mapping[int, LayerPilot]
    twin_sizes: Mapping[str, TwinSize]
    bos: int | None
    pad: int
    domains: list[str]
    seal: str

    @property
    def layers(self) -> list[int]:
        """Layers with a dictionary, ascending."""
        return [dictionary.layer for dictionary in self.dictionaries]

    @property
    def sites(self) -> list[Site]:
        """What is read of the models: of every layer one point, of transcoders two."""
        return sites_of(self.dictionaries)

    def batches(self, shard: Shard) -> Iterator[Batch]:
        """A shard's context windows, padded, as every model of the run sees them."""
        return make_batches(shard, self.config.context_length, self.config.batch_tokens, self.bos, self.pad)

    @property
    def window_tokens(self) -> int:
        """Document tokens in a full context window."""
        return self.config.context_length - (self.bos is not None)
