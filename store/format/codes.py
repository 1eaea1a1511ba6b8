"""Sparse codes as a store keeps them: one part of its HDF5 side holds those of a group of whole documents.

Layout of ``latents/part-00000.h5``::

    attrs: part, n_tokens
    layer_12/              attrs: code_scale, d_sae
        counted            bool [n_tokens]: False for attention sinks, whose codes are not stored
        codes/base/        and one such group for each variant
            by_token/      indptr [n_tokens + 1], index [nnz] (feature),  value [nnz]
            by_feature/    indptr [d_sae + 1],    row   [nnz] (token row), value [nnz]; not in a copy to share

``value`` is float16 of raw code / code_scale, a power of two, so that codes of any size neither overflow nor underflow;
``index`` is uint16 where d_sae <= 65,536, else uint32; ``row`` is uint16, hence at most 65,536 tokens a part. gzip and
shuffle, which plain h5py reads everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Codes:
    """Sparse raw codes of one model at one layer, token-major (CSR), features ascending within a token.

    Attributes:
        indptr: int64 [n_tokens + 1].
        index: int64 [nnz], feature.
        value: float32 [nnz], raw code, above 0.
    """

    indptr: np.ndarray
    index: np.ndarray
    value: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """int64 [nnz]: the token row of each entry."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))


@dataclass(frozen=True)
class LayerCodes:
    """What a part keeps of one layer.

    Attributes:
        d_sae: number of features.
        code_scale: power of two that raw codes are divided by before float16.
        counted: bool [n_tokens].
        codes: model ('base' or a variant) -> :class:`Codes`.
    """

    d_sae: int
    code_scale: float
    counted: np.ndarray
    codes: Mapping[str, Codes]


def part_file(part: int) -> str:
    """Path of a part inside its store."""
    return f"latents/part-{part:05d}.h5"
