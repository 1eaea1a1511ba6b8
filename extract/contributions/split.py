"""A change at a site, taken apart: what it does through each feature, and through what the dictionary cannot express."""

from dataclasses import dataclass

import torch

from extract.saes.codes import SparseCodes
from extract.saes.dictionary import Dictionary

PAIRS_AT_ONCE = 2**16
"""Codes whose decoder rows are multiplied together."""


@dataclass(frozen=True)
class FeatureChanges:
    """Where the codes of two models differ, in (token, feature) order.

    Attributes:
        row: int64 [k], token.
        feature: int64 [k].
        value: float64 [k], raw code of the variant less the base's; never 0.
    """

    row: torch.Tensor
    feature: torch.Tensor
    value: torch.Tensor

    @classmethod
    def between(cls, base: SparseCodes, variant: SparseCodes, d_sae: int) -> "FeatureChanges":
        """Of the same tokens."""
        key = torch.cat([codes.row * d_sae + codes.feature for codes in (base, variant)])
        value = torch.cat([-base.value.double(), variant.value.double()])
        keys, place = key.unique(return_inverse=True)
        change = torch.zeros(len(keys), dtype=torch.float64, device=key.device).index_add_(0, place, value)
        differs = change != 0
        keys = keys[differs]
        return cls(keys // d_sae, keys % d_sae, change[differs])

    def through(self, gradient: torch.Tensor, dictionary: Dictionary) -> torch.Tensor:
        """float64 [k]: what each does along a gradient, (g_t . W_dec,j) (b - a)_tj.

        Args:
            gradient: float64 [tokens, d_model], at the same tokens.
        """
        found = torch.empty_like(self.value)
        for start in range(0, len(found), PAIRS_AT_ONCE):
            some = slice(start, start + PAIRS_AT_ONCE)
            rows, directions = gradient[self.row[some]], dictionary.decoder[self.feature[some]]
            found[some] = (rows * directions).sum(1) * self.value[some]
        return found
