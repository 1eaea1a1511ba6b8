"""Sparse codes of some tokens: exactly as many as there are, or in arrays of a size fixed beforehand."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class SparseCodes:
    """Non-zero raw codes of some tokens, in (token, feature) order.

    Attributes:
        row: int64 [nnz], token.
        feature: int64 [nnz].
        value: float32 [nnz], raw code as the dictionary gives it.
        n_rows: number of tokens.
    """

    row: torch.Tensor
    feature: torch.Tensor
    value: torch.Tensor
    n_rows: int

    def of(self, chosen: slice | torch.Tensor) -> "SparseCodes":
        """Some of the codes, of the same tokens."""
        return SparseCodes(self.row[chosen], self.feature[chosen], self.value[chosen], self.n_rows)

    def only(self, kept: torch.Tensor) -> "SparseCodes":
        """The codes of some tokens, renumbered; kept: int64, ascending."""
        number = torch.full((self.n_rows,), -1, dtype=torch.int64)
        number[kept] = torch.arange(len(kept))
        row = number[self.row]
        here = row >= 0
        return SparseCodes(row[here], self.feature[here], self.value[here], len(kept))


@dataclass(frozen=True)
class PaddedCodes:
    """Raw codes in arrays longer than needed, so that nobody has to wait for the device to say how many there are.

    Attributes:
        codes: after the last real one, zeros of feature 0 of the last token; where the capacity was too small, cut off.
        count: int64 [], how many are real, or would be.
        is_finite, is_positive: bool [], of the real ones.
    """

    codes: SparseCodes
    count: torch.Tensor
    is_finite: torch.Tensor
    is_positive: torch.Tensor
