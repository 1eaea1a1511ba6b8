"""Where a shard's tokens stand: what decides on hashed random numbers, donors and groups, laid out by the shard's rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from extract.corpus.batches import Shard
from extract.corpus.render import SEGMENTS
from extract.hashed_random import text_key

POSITION_BINS = (8, 24, 56)
"""A token's place in its context window: before 8, before 24, before 56, or later."""


@dataclass(frozen=True)
class TokenIndex:
    """Where tokens stand; every field int64 [n_rows].

    Attributes:
        document: within the shard.
        document_key: a hash of the document's source.
        position: token of its document.
        domain, segment: their numbers.
        position_bin: see :data:`POSITION_BINS`.
    """

    document: torch.Tensor
    document_key: torch.Tensor
    position: torch.Tensor
    domain: torch.Tensor
    segment: torch.Tensor
    position_bin: torch.Tensor

    @classmethod
    def of(cls, shard: Shard, domains: Sequence[str], window_tokens: int) -> "TokenIndex":
        """Those of a shard's rows."""
        document = shard.document_of_row
        keys = np.array([text_key(entry.source) for entry in shard.documents])
        domain = np.array([domains.index(entry.domain) for entry in shard.documents])
        position = shard.position_of_row
        bins = np.searchsorted(POSITION_BINS, position % window_tokens, side="right")
        columns = (document, keys[document], position, domain[document], shard.segments.astype(np.int64), bins)
        return cls(*map(torch.from_numpy, columns))

    def at(self, rows: torch.Tensor) -> "TokenIndex":
        """Those of some rows, int64 [n]."""
        return TokenIndex(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.document)

    @property
    def cell(self) -> torch.Tensor:
        """int64 [n_rows]: (domain, segment) as one number."""
        return self.domain * len(SEGMENTS) + self.segment
