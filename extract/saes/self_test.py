"""Whether a dictionary describes the base: what it makes of real residuals. It cannot tell whether they have the scale that
the dictionary was trained at; that is settled by its settings (extract/saes/conventions.py)."""

from dataclasses import dataclass

import torch

from extract.saes.dictionary import Dictionary
from store.errors import UserError

DECODES_ALIKE = {torch.float32: 1e-3, torch.bfloat16: 2e-2}
"""How far sae.decode may be from codes x W_dec + b_dec in float64, as a share: what its dtype rounds."""


@dataclass(frozen=True)
class SelfTest:
    """How well a dictionary describes the base on the pilot's tokens.

    Attributes:
        fvu: share of the residuals' variance that it leaves unexplained.
        l0: mean active features a token.
        median_code: median non-zero raw code.
        median_activation: median non-zero scaled activation.
    """

    fvu: float
    l0: float
    median_code: float
    median_activation: float


def self_test(dictionary: Dictionary, residuals: torch.Tensor, seen: torch.Tensor) -> SelfTest:
    """Reconstruct real residuals of the base, and refuse a dictionary that cannot.

    Args:
        residuals: float32 [n_tokens, d_model], base residuals of tokens that count.
        seen: float32 [n_tokens, d_in], what the dictionary reads at them.

    Raises:
        UserError: there are too few tokens to tell; it reconstructs worse than the mean does, never fires, or does not decode
            as its codes times W_dec.
    """
    exact = residuals.double()
    variance = (exact - exact.mean(0)).square().sum()
    if len(residuals) < 2 or not variance > 0:
        raise UserError(
            f"The pilot has {len(residuals)} token(s) that count at layer {dictionary.layer}, all with one residual, which is "
            "too little to try the dictionary on; give more text."
        )
    codes, reconstruction = dictionary.encode(seen)
    error2 = (exact - reconstruction).square().sum()
    fvu = float(error2 / variance)
    if len(codes.value) == 0 or not fvu < 1:
        raise UserError(
            f"The dictionary '{dictionary.name}' does not describe the base at layer {dictionary.layer}: "
            f"fvu {fvu:.2f} on {len(residuals)} tokens (the mean alone has 1.00) with {len(codes.value) / len(residuals):.1f} "
            "active features a token; check that it was trained on this model, layer and hook."
        )
    sample = seen[:64]
    expected = dictionary.sae(sample).double()
    got = dictionary.encode(sample)[1]
    if (expected - got).norm() > DECODES_ALIKE[dictionary.sae.W_dec.dtype] * expected.norm():
        raise UserError(
            f"The dictionary '{dictionary.name}' (architecture {dictionary.architecture}) does not decode as codes x W_dec + "
            "b_dec, which every metric here assumes; use another architecture."
        )
    scaled = codes.value.double() * dictionary.decoder_norm[codes.feature]
    return SelfTest(fvu, len(codes.value) / len(residuals), float(codes.value.median()), float(scaled.median()))
